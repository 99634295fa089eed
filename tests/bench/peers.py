"""Who is compared: imapfs, mbsync (isync) into a Maildir, sshfs on the server's Maildir, and nullfs,
which is FUSE with nothing behind it (nullfs.c).

Each is started afresh for what is called cold: an empty cache, a new mount. All go through a Link
to the same server, and compress if imapfs does and they can.
"""
import contextlib
import os
import pwd
import shutil
import subprocess

import link
import mount as mounts
import proc
import servers

START_S = 30


class Imapfs:
    """Mounts of one account, each with its home."""

    def __init__(self, account, settings):
        self.account, self.settings = account, settings
        (self.port,) = proc.free_ports(1)  # of every link: another port is another account

    def mount(self, through=None, home=None, *options):
        """through: a Link, or None for the server's own port."""
        source, own = self.account.server.source(port=through.port if through else None)
        # the link stands for a network, and imapfs sees only that the address is this machine's
        own += ["cache-size=50G", f"compress={self.settings.compress if through else 'auto'}"]
        return mounts.Mount(source, [*own, *self.settings.options, *options], home)

    def link(self, **other):
        """A new link to the server; one at a time."""
        values = {"rtt_ms": self.settings.rtt_ms, "mbit": self.settings.mbit, **other}
        return link.Link(self.account.server.port, listen=self.port, **values)


MBSYNC = """FSync no

IMAPAccount bench
Host localhost
Port {port}
User alice
Pass {password}
SSLType IMAPS
SSLVersions TLSv1.2 TLSv1.3
CertificateFile {ca}

IMAPStore far
Account bench

MaildirStore near
Path {dir}/mail/
Inbox {dir}/mail/INBOX
SubFolders Verbatim

Channel bench
Far :far:
Near :near:
Create Near
Sync Pull
SyncState *
"""


class Mbsync:
    """A new Maildir to pull a mailbox into; gone with close()."""

    def __init__(self, account, through, box):
        self.dir = proc.workdir("mbsync")
        os.mkdir(os.path.join(self.dir, "mail"))
        self.config = os.path.join(self.dir, "config")
        self.path = os.path.join(self.dir, "mail", box, "cur")
        with open(os.open(self.config, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(MBSYNC.format(port=through.port, password=servers.USERS["alice"],
                                     ca=account.server.tls.ca, dir=self.dir)
                       + f"Patterns {box}\n")
        self.pull = ["mbsync", "-c", self.config, "-q", "bench"]

    def close(self):
        shutil.rmtree(self.dir)


SSHD = """Port {port}
ListenAddress 127.0.0.1
HostKey {dir}/host
AuthorizedKeysFile {dir}/user.pub
PidFile none
StrictModes no
UsePAM yes
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
ForceCommand internal-sftp
"""


class Sshd:
    """An sshd of our own, that lets the owner of the mail in with a key made for it, to files only.
    It runs as that owner, so it needs nothing of the machine's configuration."""

    def __init__(self):
        self.dir = proc.workdir("sshd")
        uid, gid = servers.mail_owner()
        self.user = pwd.getpwuid(uid).pw_name
        for name in ("host", "user"):
            proc.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
                     os.path.join(self.dir, name))
        os.chown(os.path.join(self.dir, "host"), uid, gid)
        (self.port,) = proc.free_ports(1)
        config = os.path.join(self.dir, "config")
        with open(config, "w") as file:
            file.write(SSHD.format(port=self.port, dir=self.dir))
        command = ["/usr/sbin/sshd", "-D", "-e", "-f", config]
        if os.getuid() == 0:
            command = ["setpriv", "--reuid", str(uid), "--regid", str(gid), "--clear-groups",
                       "--pdeathsig", "KILL", *command]
        self.process = proc.Process(command, os.path.join(self.dir, "log"),
                                    isolated=os.getuid() == 0)
        try:
            proc.wait_for(lambda: proc.port_open(self.port), START_S, what="sshd to listen")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.process.output()}") from None

    def stop(self):
        self.process.end()


def unmount(mountpoint):
    if mounts.mounted(mountpoint):
        subprocess.run(["fusermount3", "-u", mountpoint], timeout=20, check=False,
                       capture_output=True)
    if mounts.mounted(mountpoint):
        subprocess.run(["fusermount3", "-uz", mountpoint], timeout=20, check=False)


@contextlib.contextmanager
def nullfs(tree, before=()):
    """A new mount of a tree; before: words to start it with."""
    mountpoint = proc.workdir("nullfs")
    words = [*before, os.path.join(mounts.BUILD, "tests", "bench", "nullfs"), tree, mountpoint]
    process = proc.Process(words, mountpoint + ".log")
    handle = proc.at_end(lambda: unmount(mountpoint))
    try:
        proc.wait_for(lambda: process.code is not None or mounts.mounted(mountpoint), START_S,
                      what="nullfs to mount")
        if process.code is not None:
            raise RuntimeError(f"nullfs ended with {process.code}: {process.output()}")
        yield mountpoint
    finally:
        proc.forget(handle)
        unmount(mountpoint)
        process.end()


class Sshfs:
    """A new mount of a directory of the server."""

    def __init__(self, sshd, through, path, compress):
        self.mountpoint = proc.workdir("sshfs")
        options = [f"IdentityFile={sshd.dir}/user", "StrictHostKeyChecking=no",
                   "UserKnownHostsFile=/dev/null", "LogLevel=ERROR",
                   f"compression={'yes' if compress else 'no'}"]
        words = ["sshfs", "-f", "-p", str(through.port), "-o", ",".join(options),
                 f"{sshd.user}@127.0.0.1:{path}", self.mountpoint]
        self.process = proc.Process(words, f"{sshd.dir}/sshfs.log")
        self._handle = proc.at_end(self.close)
        proc.wait_for(self._ready, START_S, what="sshfs to mount")

    def _ready(self):
        if self.process.code is not None:
            raise RuntimeError(f"sshfs ended with {self.process.code}: {self.process.output()}")
        return mounts.mounted(self.mountpoint)

    def close(self):
        proc.forget(self._handle)
        unmount(self.mountpoint)
        self.process.end()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
