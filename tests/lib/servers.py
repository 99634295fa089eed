#!/usr/bin/env python3
"""Real IMAP servers on loopback for a test: Dovecot 2.3, Cyrus 3.6, Courier 5, and a tunnel.

    servers.py tunnel DIR      prepares DIR and prints a command that speaks IMAP for DIR/Maildir
    servers.py run NAME        starts dovecot, cyrus or courier and waits for Ctrl-C

Each server class has start(), stop() and start() again on the same ports with the same mail. The
users are alice (alicepw) and carol, whose password breaks careless quoting. Cyrus and Courier need
root: their packages conflict with Dovecot's, so they are unpacked into a cache and laid over /usr
and /etc in a mount namespace; nothing of the machine is changed.
"""
import base64
import contextlib
import fcntl
import getpass
import glob
import hmac
import imaplib
import json
import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import mail
import proc

USERS = {"alice": "alicepw", "carol": 'p"a\\s wörd%+'}
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or "/var/tmp", "imapfs-test-cache")
PATIENCE_S = 20  # for an answer to the plain client
DOVECOT_IMAP = "/usr/lib/dovecot/imap"
SPECIAL = {"Drafts": "\\Drafts", "Sent": "\\Sent", "Trash": "\\Trash", "Junk": "\\Junk",
           "Archive": "\\Archive"}


# --- certificates -------------------------------------------------------------------------------

class Certificates:
    """A throwaway CA, and certificates signed by it that are right, for another name, expired."""

    def __init__(self, path):
        self.path = path
        self.ca = os.path.join(path, "ca.pem")
        self.key = os.path.join(path, "key.pem")
        os.makedirs(path)
        self._openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
                      "-subj", "/CN=imapfs test CA", "-keyout", "ca.key", "-out", "ca.pem",
                      "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        self._openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test server",
                      "-keyout", "key.pem", "-out", "server.csr")
        self.good = self._sign("good", "DNS:localhost,IP:127.0.0.1,IP:::1", 30)
        self.wrong_host = self._sign("wrong-host", "DNS:mail.example.invalid", 30)
        self.expired = self._sign("expired", "DNS:localhost,IP:127.0.0.1", -1)
        with open(os.path.join(path, "all.pem"), "w") as out:  # key and chain, as Courier wants it
            for name in (self.key, self.good):
                with open(name) as part:
                    out.write(part.read())
        os.chmod(self.key, 0o644)  # servers read it as their own users

    def _openssl(self, *arguments):
        proc.run("openssl", *arguments, cwd=self.path)

    def _sign(self, name, names, days):
        with open(os.path.join(self.path, "ext"), "w") as ext:
            ext.write(f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n"
                      "basicConstraints=CA:FALSE\n")
        self._openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                      "-CAcreateserial", "-days", str(days), "-extfile", "ext",
                      "-out", f"{name}.crt")
        chain = os.path.join(self.path, f"{name}.pem")
        with open(chain, "w") as out:
            for part in (f"{name}.crt", "ca.pem"):
                with open(os.path.join(self.path, part)) as file:
                    out.write(file.read())
        return chain


_certificates = None


def certificates():
    """The run's certificates, made on first use."""
    global _certificates
    if _certificates is None:
        _certificates = Certificates(os.path.join(proc.workdir("ca"), "tls"))
    return _certificates


# --- another client -----------------------------------------------------------------------------

class Client:
    """The part of another client, by imaplib. Mailboxes are named with '/', whatever the server
    uses; "" and "INBOX" are the INBOX."""

    def __init__(self, imap, delimiter="/", prefix=""):
        self.imap, self.delimiter, self.prefix = imap, delimiter, prefix
        self.selected = None

    def wire(self, name):
        """The quoted wire form of a mailbox name."""
        if name.upper() in ("", "INBOX"):
            return '"INBOX"'
        if not name.startswith("INBOX/"):
            name = self.prefix + name
        name = mail.modified_utf7(name.replace("/", self.delimiter))
        return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def ask(self, answer, *context):
        status, data = answer
        if status != "OK":
            raise RuntimeError(f"server said {status} {data} {context}")
        return data

    def create(self, name):
        self.ask(self.imap.create(self.wire(name)), name)

    def delete(self, name):
        if self.selected == name:
            self.imap.close()
            self.selected = None
        self.ask(self.imap.delete(self.wire(name)), name)

    def rename(self, old, new):
        self.ask(self.imap.rename(self.wire(old), self.wire(new)), old, new)

    def append(self, name, raw, flags=(), date=None):
        when = None if date is None else f'"{date:%d-%b-%Y %H:%M:%S %z}"'
        flags = f"({' '.join(flags)})" if flags else None
        self.ask(self.imap.append(self.wire(name), flags, when, raw), name)

    def select(self, name):
        # always anew: the mailbox may have changed, or been made again
        self.ask(self.imap.select(self.wire(name)), name)
        self.selected = name

    def flags(self, name):
        """{uid: frozenset of flags without \\Recent}, read with EXAMINE, which changes nothing."""
        self.ask(self.imap.select(self.wire(name), readonly=True), name)
        self.selected = name
        found = {}
        for line in self.ask(self.imap.uid("FETCH", "1:*", "(FLAGS)")):
            if line:
                uid = int(re.search(rb"UID (\d+)", line).group(1))
                flags = re.search(rb"FLAGS \(([^)]*)\)", line).group(1).decode().split()
                found[uid] = frozenset(flags) - {"\\Recent"}
        self.imap.close()  # nothing is expunged: it was read-only
        self.selected = None
        return found

    def uids(self, name):
        return sorted(self.flags(name))

    def store(self, name, uid, change, flags):
        """change: "+FLAGS", "-FLAGS" or "FLAGS"."""
        self.select(name)
        self.ask(self.imap.uid("STORE", str(uid), f"{change}.SILENT", f"({' '.join(flags)})"))

    def expunge(self, name, uids):
        self.select(name)
        wanted = ",".join(map(str, uids))
        self.ask(self.imap.uid("STORE", wanted, "+FLAGS.SILENT", "(\\Deleted)"))
        self.ask(self.imap.expunge())

    def uidvalidity(self, name):
        answer = self.ask(self.imap.status(self.wire(name), "(UIDVALIDITY)"))[0]
        return int(re.search(rb"UIDVALIDITY (\d+)", answer).group(1))

    def command(self, *words):
        return self.ask(self.imap.xatom(*words))

    def close(self):
        with contextlib.suppress(Exception):
            self.imap.logout()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Watcher(threading.Thread):
    """A client in IDLE that notes when the server said what: the clock of latency tests."""

    def __init__(self, client, name):
        super().__init__(daemon=True)
        self.client, self.heard = client, []
        client.select(name)
        client.imap.send(b"idle IDLE\r\n")
        while not client.imap.readline().startswith(b"+"):
            pass
        if getattr(client.imap, "sock", None):
            client.imap.sock.settimeout(None)
        self.start()

    def run(self):
        with contextlib.suppress(OSError, ValueError, imaplib.IMAP4.error):
            while line := self.client.imap.readline():
                self.heard.append((time.monotonic(), line))

    def when(self, pattern, since, seconds=15):
        """When a line that matches came after since."""
        def found():
            return [at for at, line in self.heard if at >= since and re.search(pattern, line)]
        return proc.wait_for(found, seconds, what=f"the server's word {pattern!r}")[0]

    def close(self):
        """Ends the connection under the reading thread, which then ends, too."""
        imap = self.client.imap
        with contextlib.suppress(OSError):
            if isinstance(imap, imaplib.IMAP4_stream):
                imap.process.kill()
            else:
                imap.sock.shutdown(socket.SHUT_RDWR)
        self.join(5)


# --- servers ------------------------------------------------------------------------------------

class Server:
    """What all servers have. port: TLS; plain_port: plain with STARTTLS."""

    name = ""
    delimiter = "/"
    prefix = ""          # of the personal namespace, in names of Client
    security = "tls"     # what source() means when nothing is said
    patience = 1         # how many times longer its answers may take
    options = ()         # of a mount
    idles = True         # tells about changes by itself
    overlooks = False    # ... but not about each, or much later
    tells_flags = True   # ... about changed flags, too
    odd_names = ("name with spaces", 'quo"te', "Entwürfe", "日本語", "R&D", "a.b", "100%", "it's")

    def __init__(self, dir=None):
        self.dir = dir or proc.workdir(self.name)
        self.tls = certificates()
        self.port, self.plain_port = proc.free_ports(2)
        self.process = None
        self._secrets = {}

    # started by subclasses' launch()
    def start(self):
        self.launch()
        try:
            proc.wait_for(self.ready, 20, 0.02, f"{self.name} to listen")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None
        return self

    def ready(self):
        if self.process.code is not None:
            raise AssertionError(f"{self.name} ended with {self.process.code}")
        return proc.port_open(self.port) and proc.port_open(self.plain_port)

    def stop(self):
        if self.process:
            self.process.end()
            self.process = None

    def log(self):
        texts = []
        for name in glob.glob(os.path.join(self.dir, "*.log")):
            with open(name, errors="replace") as file:
                texts.append(f"--- {name}\n{file.read()[-3000:]}")
        return "\n".join(texts)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # for the program under test
    def source(self, security=None, user="alice", port=None, host="localhost"):
        """(SOURCE, [options]) of the program's command line."""
        security = security or self.security
        scheme, own = ("imaps", self.port) if security == "tls" else ("imap", self.plain_port)
        return (f"{scheme}://{user}@{host}:{port or own}",
                [f"cafile={self.tls.ca}", f"passcmd={self.passcmd(user)}", *self.options])

    def passcmd(self, user="alice", password=None):
        secret = password or USERS[user]
        if secret not in self._secrets:
            path = os.path.join(self.dir, f"secret{len(self._secrets)}")
            with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                file.write(secret + "\n")
            self._secrets[secret] = f"cat {path}"
        return self._secrets[secret]

    # for the other client
    def client(self, user="alice"):
        imap = imaplib.IMAP4("127.0.0.1", self.plain_port, timeout=PATIENCE_S * self.patience)
        # a literal and the line end after it are two writes: 40 ms for each APPEND else
        imap.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        imap.login(user, USERS[user])
        return Client(imap, self.delimiter, self.prefix)

    def path(self, name):
        """Where a mailbox is in the mounted tree."""
        return name if name == "INBOX" or name.startswith("INBOX/") else self.prefix + name

    def deliver(self, name, raw, **options):
        with self.client() as client:
            client.append(name, raw, **options)

    def clear(self, names):
        """Takes these mailboxes away, of the INBOX what is in it: when a test is over."""
        with self.client() as client:
            for name in sorted(names, reverse=True):
                if name != "INBOX":
                    client.delete(name)
                elif client.uids(name):
                    client.expunge(name, client.uids(name))


def mail_owner():
    """(uid, gid) that a Dovecot we start may own mail as: it refuses uid 0."""
    if os.getuid():
        return os.getuid(), os.getgid()
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def give(path):
    """Hands a directory to the user who owns the mail."""
    if os.getuid() == 0:
        proc.run("chown", "-R", ":".join(map(str, mail_owner())), path, timeout=300)


DOVECOT_COMMON = """
base_dir = {dir}/run
state_dir = {dir}/run
log_path = {dir}/dovecot.log
mail_location = maildir:~/Maildir:LAYOUT=fs
mail_plugins = zlib
mail_privileged_group =
first_valid_uid = 1
first_valid_gid = 1
namespace inbox {{
  inbox = yes
  separator = /
{special}
}}
protocol imap {{
  mail_plugins = $mail_plugins imap_zlib
}}
"""

DOVECOT_DAEMON = """
instance_name = imapfs-test
protocols = imap
listen = 127.0.0.1
default_login_user = {login_user}
default_internal_user = {internal_user}
default_internal_group = {internal_group}
mail_max_userip_connections = 100
ssl = {ssl}
ssl_cert = <{cert}
ssl_key = <{key}
ssl_min_protocol = TLSv1.2
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {dir}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {dir}/users
}}
service imap-login {{
  inet_listener imap {{
    port = {plain_port}
  }}
  inet_listener imaps {{
    port = {port}
    ssl = yes
  }}
  service_count = 0
  client_limit = 1000
  {chroot}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""


def _dovecot_common(dir):
    special = "\n".join(f"  mailbox {name} {{\n    special_use = {use}\n  }}"
                        for name, use in SPECIAL.items())
    return DOVECOT_COMMON.format(dir=dir, special=special)


class Dovecot(Server):
    name = "dovecot"

    def __init__(self, dir=None, cert=None, security="tls", has_tls=True, extra=""):
        """extra: more of dovecot.conf."""
        super().__init__(dir)
        self.security, self.has_tls = security, has_tls
        uid, gid = mail_owner()
        me = getpass.getuser()
        root = os.getuid() == 0
        os.makedirs(os.path.join(self.dir, "run"), exist_ok=True)
        with open(os.path.join(self.dir, "users"), "w") as users:
            for user, password in USERS.items():
                os.makedirs(self.home(user), exist_ok=True)
                users.write(f"{user}:{{PLAIN}}{password}:{uid}:{gid}::{self.home(user)}::\n")
        with open(os.path.join(self.dir, "dovecot.conf"), "w") as conf:
            conf.write(_dovecot_common(self.dir) + DOVECOT_DAEMON.format(
                dir=self.dir, port=self.port, plain_port=self.plain_port,
                ssl="yes" if has_tls else "no",
                cert=cert or self.tls.good, key=self.tls.key,
                login_user="dovenull" if root else me,
                internal_user="dovecot" if root else me,
                internal_group="dovecot" if root else _group(),
                chroot="" if root else "chroot =") + extra)
        give(os.path.join(self.dir, "home"))

    def home(self, user="alice"):
        return os.path.join(self.dir, "home", user)

    def prefill(self, name, messages, **options):
        """Writes messages, (raw, datetime or None), straight into a mailbox's Maildir: fast, and
        only before the mailbox is used."""
        box = os.path.join(self.home(), "Maildir", mail.modified_utf7(name) if name != "INBOX"
                           else "")
        mail.maildir(box, messages, **options)
        give(self.home())

    def ready(self):
        return super().ready() if self.has_tls else proc.port_open(self.plain_port)

    def launch(self):
        self.process = proc.Process(
            ["/usr/sbin/dovecot", "-F", "-c", os.path.join(self.dir, "dovecot.conf")],
            os.path.join(self.dir, "start.log"), isolated=os.getuid() == 0)


TOKENS = """
auth_mechanisms = plain login oauthbearer xoauth2
passdb {{
  driver = oauth2
  mechanisms = oauthbearer xoauth2
  args = {dir}/oauth2.conf
}}
"""


class TokenDovecot(Dovecot):
    """Takes OAuth 2.0 access tokens, too: JSON Web Tokens (RFC 7519) that token() signs."""
    KEY = b"a key of thirty-two octets, or so"

    def __init__(self):
        dir = proc.workdir("dovecot")
        keys = os.path.join(dir, "keys", "default", "HS256")
        os.makedirs(keys)
        with open(os.path.join(keys, "default"), "wb") as file:
            file.write(base64.b64encode(self.KEY))
        with open(os.path.join(dir, "oauth2.conf"), "w") as file:
            file.write("introspection_mode = local\nusername_attribute = sub\n"
                       f"local_validation_key_dict = fs:posix:prefix={dir}/keys/\n")
        super().__init__(dir, extra=TOKENS.format(dir=dir))

    def token(self, user="alice", seconds=3600, **claims):
        now = int(time.time())
        parts = ({"alg": "HS256", "typ": "JWT"},
                 {"sub": user, "iat": now - 5, "exp": now + seconds, **claims})
        text = b".".join(map(self.encode, (json.dumps(part).encode() for part in parts)))
        return b".".join((text, self.encode(hmac.digest(self.KEY, text, "sha256")))).decode()

    @staticmethod
    def encode(octets):
        return base64.urlsafe_b64encode(octets).rstrip(b"=")


def _group():
    import grp
    return grp.getgrgid(os.getgid()).gr_name


def tunnel_command(dir):
    """Prepares dir and returns a shell command that speaks IMAP on its standard input and output
    for dir/Maildir, without a daemon. It fails while dir/down exists."""
    os.makedirs(os.path.join(dir, "Maildir"), exist_ok=True)
    os.makedirs(os.path.join(dir, "pids"), exist_ok=True)
    conf = os.path.join(dir, "imap.conf")
    user = "nobody" if os.getuid() == 0 else getpass.getuser()
    group = "nogroup" if os.getuid() == 0 else _group()
    with open(conf, "w") as file:
        file.write(_dovecot_common(dir) +
                   f"ssl = no\nstats_writer_socket_path =\ninfo_log_path = /dev/null\n"
                   f"default_internal_user = {user}\ndefault_login_user = {user}\n"
                   f"default_internal_group = {group}\n")
    script = os.path.join(dir, "tunnel")
    step_down = ("setpriv --reuid nobody --regid nogroup --clear-groups"
                 if os.getuid() == 0 else "")
    words = f"env HOME={shlex.quote(dir)} USER={user} {DOVECOT_IMAP} -c {shlex.quote(conf)}"
    with open(script, "w") as file:
        file.write("#!/bin/sh\n"
                   f"cd {shlex.quote(dir)} || exit 1\n"
                   "[ ! -e down ] || { echo 'the server is down' >&2; exit 1; }\n"
                   ": > pids/$$\n"
                   f"exec {step_down} {words} 2>>imap.log\n")
    os.chmod(script, 0o755)
    os.chmod(conf, 0o644)
    with open(os.path.join(dir, "imap.log"), "a"):  # it writes a line for every connection
        pass
    give(dir)
    return shlex.quote(script)


class Tunnel(Server):
    """IMAP over a command's standard input and output, PREAUTH, no daemon."""
    name = "tunnel"
    security = "tunnel"

    def __init__(self, dir=None):
        super().__init__(dir)
        self.command = tunnel_command(self.dir)

    def launch(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.dir, "down"))

    def ready(self):
        return True

    def stop(self):
        """New connections fail, and the present ones end. A pid is ours only while its process
        still runs our configuration."""
        with open(os.path.join(self.dir, "down"), "w"):
            pass
        for name in os.listdir(os.path.join(self.dir, "pids")):
            with contextlib.suppress(OSError):
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    if self.dir.encode() in file.read():
                        os.kill(int(name), signal.SIGKILL)
            os.unlink(os.path.join(self.dir, "pids", name))

    def source(self, security=None, user="alice", port=None, host=None):
        return "sample", [f"tunnel={self.command}"]

    def client(self, user="alice"):
        return Client(imaplib.IMAP4_stream(f"exec {self.command}"), self.delimiter, self.prefix)

    prefill = Dovecot.prefill

    def home(self, user="alice"):
        return self.dir


# --- servers whose packages are unpacked, not installed -----------------------------------------

def unpacked(name, *packages):
    """A tree with packages, and the libraries they need that the machine lacks, unpacked: once, by
    whoever asks first."""
    tree = os.path.join(CACHE, name)
    os.makedirs(CACHE, exist_ok=True)
    with open(f"{tree}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(os.path.join(tree, "done")):
            unpack(tree, packages)
    return tree


def unpack(tree, packages):
    shutil.rmtree(tree, ignore_errors=True)
    os.makedirs(os.path.join(tree, "debs"))
    for top in ("bin", "sbin", "lib"):  # /usr-merged, also where a package still says /lib
        os.makedirs(os.path.join(tree, "usr", top))
        os.symlink(f"usr/{top}", os.path.join(tree, top))
    plan = proc.run("apt-get", "install", "-s", "--no-install-recommends", *packages).decode()
    wanted = [line.split()[1] for line in plan.splitlines()
              if line.startswith("Inst ") and line.split()[2].startswith("(")
              and not re.match(r"Inst (exim4|libclamav|gawk)", line)]
    subprocess.run(["chown", "_apt", os.path.join(tree, "debs")], capture_output=True, check=False)
    proc.run("apt-get", "download", *wanted, cwd=os.path.join(tree, "debs"), timeout=300)
    for deb in glob.glob(os.path.join(tree, "debs", "*.deb")):
        proc.run("sh", "-c", 'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" '
                 "--keep-directory-symlink", "sh", deb, tree)
    shutil.rmtree(os.path.join(tree, "debs"))
    with open(os.path.join(tree, "done"), "w"):
        pass


class Overlaid(Server):
    """A server of unpacked packages, in namespaces of its own: TREE/usr over /usr, DIR/etc and
    TREE/etc over /etc."""
    packages = ()
    uid = 0
    binds = ()  # (relative to dir, absolute)

    def __init__(self, dir=None):
        if os.getuid():
            raise PermissionError(f"{self.name} needs root")
        super().__init__(dir)
        self.tree = unpacked(self.name, *self.packages)
        os.makedirs(os.path.join(self.dir, "etc"), exist_ok=True)
        for file, line in (("passwd", f"{self.name}:x:{self.uid}:{self.gid}::{self.dir}:/bin/sh"),
                           ("group", f"{self.name}:x:{self.uid}:")):
            with open(f"/etc/{file}") as old, open(f"{self.dir}/etc/{file}", "w") as new:
                new.write(old.read() + line + "\n")
        self.configure()

    gid = property(lambda self: self.uid)

    def inside(self, script):
        """The command that runs a shell script in the mount namespace. Mounts under test are
        taken out of it: a copy there would keep them alive after their unmount."""
        lines = ["set -e", "umount -a -l -t fuse.imapfs",
                 f"mount -t overlay o -o lowerdir={self.tree}/usr:/usr /usr",
                 f"mount -t overlay o -o lowerdir={self.dir}/etc:{self.tree}/etc:/etc /etc"]
        lines += [f"mount --bind {self.dir}/{own} {path}" for own, path in self.binds]
        return ["unshare", "--mount", "--propagation", "private",
                "bash", "-c", "\n".join([*lines, script])]

    def run_inside(self, script, **options):
        return proc.run(*self.inside(script), **options)

    def launch(self):
        self.process = proc.Process(self.inside(self.script()),
                                    os.path.join(self.dir, "start.log"), isolated=True)


CYRUS_IMAPD = """
configdirectory: {dir}/conf
defaultpartition: default
partition-default: {dir}/spool
proc_path: {dir}/run/proc
mboxname_lockpath: {dir}/run/lock
idlesocket: {dir}/run/idle
lmtpsocket: {dir}/run/lmtp
notifysocket: {dir}/run/notify
servername: localhost
cyrus_user: cyrus
admins: cyrus
altnamespace: yes
unixhierarchysep: yes
allowplaintext: yes
delete_mode: immediate
expunge_mode: delayed
specialusealways: yes
idlemethod: idled
search_engine: none
skiplist_unsafe: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {dir}/conf/sasldb2
sasl_mech_list: PLAIN LOGIN
tls_server_cert: {cert}
tls_server_key: {key}
autocreate_quota: 4194304
autocreate_post: yes
"""

CYRUS_CONF = """
START {{
  recover cmd="/usr/lib/cyrus/bin/ctl_cyrusdb -r"
}}
SERVICES {{
  imap  cmd="imapd -U 30" listen="127.0.0.1:{plain_port}" prefork=1 maxchild=100
  imaps cmd="imapd -s -U 30" listen="127.0.0.1:{port}" prefork=0 maxchild=100
}}
DAEMON {{
  idled cmd="idled"
}}
"""


class Cyrus(Overlaid):
    name = "cyrus"
    packages = ("cyrus-imapd", "cyrus-common", "sasl2-bin")
    uid = 5001
    gid = 8  # mail
    odd_names = ("name with spaces", "Entwürfe", "日本語", "R&D", "a.b", "100")

    def configure(self):
        for sub in ("conf", "spool", "run", "run/proc", "run/lock", *(
                f"conf/{x}" for x in ("proc", "socket", "log", "msg", "db", "user", "quota"))):
            os.makedirs(os.path.join(self.dir, sub), exist_ok=True)
        values = {"dir": self.dir, "cert": self.tls.good, "key": self.tls.key,
                  "port": self.port, "plain_port": self.plain_port}
        for file, text in (("imapd.conf", CYRUS_IMAPD), ("cyrus.conf", CYRUS_CONF)):
            with open(f"{self.dir}/etc/{file}", "w") as out:
                out.write(text.format(**values).lstrip())
        for user, password in {"cyrus": "cyruspw", **USERS}.items():
            self.run_inside(f"saslpasswd2 -p -c -f {self.dir}/conf/sasldb2 -u localhost {user}",
                            input=password.encode())
        proc.run("chown", "-R", f"{self.uid}:{self.gid}", *(f"{self.dir}/{sub}" for sub in
                                                            ("conf", "spool", "run")))

    def script(self):
        return (f"cd {self.dir}; exec /usr/lib/cyrus/bin/master -p {self.dir}/master.lock "
                f"-C /etc/imapd.conf -M /etc/cyrus.conf -L {self.dir}/master.log")

    def start(self):
        super().start()
        admin = imaplib.IMAP4("127.0.0.1", self.plain_port, timeout=PATIENCE_S * self.patience)
        admin.login("cyrus", "cyruspw")
        for user in USERS:
            admin.create(f"user/{user}")  # NO when it is there already
        admin.logout()
        return self


class Courier(Overlaid):
    name = "courier"
    # it may wait a minute for a lock that was given back long ago
    patience, options = 6, ("timeout=100",)
    overlooks = True  # it looks for that every minute
    packages = ("courier-imap", "courier-base", "courier-authlib", "courier-authlib-userdb")
    uid = 5002
    delimiter = "."
    prefix = "INBOX/"
    odd_names = ("name with spaces", "Entwürfe", "日本語", "R&D", "100%", "it's")
    binds = (("etc/courier", "/etc/courier"), ("run", "/run"))
    SETTINGS = {
        "imapd": {"ADDRESS": "127.0.0.1", "MAXDAEMONS": "100", "MAXPERIP": "100",
                  "IMAP_ENHANCEDIDLE": "1",
                  "IMAP_ULIMITD": "",
                  "IMAP_CAPABILITY": '"IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=REFERENCES '
                                     'SORT QUOTA IDLE AUTH=PLAIN"',
                  "IMAP_CAPABILITY_TLS": '"$IMAP_CAPABILITY"'},
        "imapd-ssl": {"SSLADDRESS": "127.0.0.1", "TLS_CACHEFILE": "/run/courier/sslcache"},
        "authdaemonrc": {"authmodulelist": '"authuserdb"', "daemons": "2"},
    }

    def configure(self):
        etc = f"{self.dir}/etc/courier"
        os.makedirs(f"{self.dir}/run/courier/authdaemon", exist_ok=True)
        if not os.path.exists(etc):
            shutil.copytree(f"{self.tree}/etc/courier", etc)
        shutil.copy(os.path.join(self.tls.path, "all.pem"), f"{etc}/imapd.pem")
        proc.run("openssl", "dhparam", "-dsaparam", "-out", f"{etc}/dhparams.pem", "1024")
        for file, settings in self.SETTINGS.items():
            with open(f"{etc}/{file}", "a") as out:  # later lines win
                out.writelines(f"{key}={value}\n" for key, value in settings.items())
        shutil.rmtree(f"{etc}/userdb", ignore_errors=True)
        with open(os.open(f"{etc}/userdb", os.O_WRONLY | os.O_CREAT, 0o600), "w") as users:
            for user, password in USERS.items():
                home = f"{self.dir}/home/{user}"
                os.makedirs(home)
                self.run_inside(f"maildirmake.courier {home}/Maildir")
                crypted = proc.run("openssl", "passwd", "-1", password).decode().strip()
                users.write(f"{user}\thome={home}|mail={home}/Maildir|uid={self.uid}|"
                            f"gid={self.uid}|imappw={crypted}\n")
        with open(f"{self.dir}/run/courier/sslcache", "w"):
            pass
        proc.run("chown", "-R", f"{self.uid}:{self.uid}", f"{self.dir}/home", f"{self.dir}/run",
                 f"{etc}/imapd.pem")
        self.run_inside("makeuserdb")

    def script(self):
        login = "/usr/lib/courier/courier/imaplogin /usr/bin/imapd Maildir"
        listen = "/usr/sbin/couriertcpd -address=127.0.0.1 -maxprocs=100 -maxperip=100 " \
                 "-nodnslookup -noidentlookup"
        return f"""
rm -f /run/courier/authdaemon/*
cd /
(set -a; . /etc/courier/authdaemonrc; exec /usr/lib/courier/courier-authlib/authdaemond) &
set -a; prefix=/usr exec_prefix=/usr sbindir=/usr/sbin bindir=/usr/bin
. /etc/courier/imapd; . /etc/courier/imapd-ssl; umask 022
(IMAP_STARTTLS=YES; exec {listen} {self.plain_port} {login}) &
(IMAP_TLS=1; exec {listen} {self.port} /usr/bin/couriertls -server -tcpd -user=courier {login}) &
wait
"""

    def ready(self):
        return super().ready() and os.path.exists(f"{self.dir}/run/courier/authdaemon/socket")

    def clear(self, names):
        """On the disk: its DELETE sleeps for two seconds."""
        maildir = f"{self.dir}/home/alice/Maildir"
        for name in names:
            if name != "INBOX":
                shutil.rmtree(f"{maildir}/.{mail.modified_utf7(name.replace('/', '.'))}")
                continue
            for file in glob.glob(f"{maildir}/cur/*") + glob.glob(f"{maildir}/new/*"):
                os.unlink(file)


ALL = {"dovecot": Dovecot, "tunnel": Tunnel, "cyrus": Cyrus, "courier": Courier}


def main(argv):
    if len(argv) == 3 and argv[1] == "tunnel":
        os.makedirs(argv[2], exist_ok=True)
        print(tunnel_command(os.path.abspath(argv[2])))
        return 0
    if len(argv) == 3 and argv[1] == "run":
        proc.end_on_signals()
        with ALL[argv[2]]() as server:
            source, options = server.source()
            print(source, *(f"-o {shlex.quote(each)}" for each in options), flush=True)
            signal.pause()
    print(__doc__.strip(), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv))
