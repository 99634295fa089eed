"""The programs as a user meets them: the background, the terminal, exit codes, fstab, imapfsctl."""
import contextlib
import fcntl
import os
import pty
import re
import resource
import select
import signal
import struct
import subprocess
import termios
import time
import unittest

import mount as mounts
import proc
import proxy
import servers
from case import Case, without

NOBODY_LISTENS = "alice@127.0.0.1"


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, words, env, columns=80):
        self.output = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.execvpe(words[0], words, env)
            finally:
                os._exit(127)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self._handle = proc.at_end(self.end)
        self.code = None

    def read(self, seconds=0.05):
        """Takes what is there; False when the program's side is closed."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # EIO: nobody has it open any more
            return False
        self.output += data
        return bool(data)

    def expect(self, pattern, seconds=30):
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.output):
            if not self.read() or time.monotonic() > deadline:
                raise AssertionError(f"{pattern!r} did not come: {self.output!r}")

    def type(self, text):
        os.write(self.fd, text)

    def echo(self):
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def wait(self, seconds=30):
        """The exit code, as subprocess gives it."""
        deadline = time.monotonic() + seconds
        while self.code is None:
            open_still = self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                while self.read(0.2) and select.select([self.fd], [], [], 0)[0]:
                    pass
            elif time.monotonic() > deadline:
                raise AssertionError(f"it did not end: {self.output!r}")
            elif not open_still:
                time.sleep(0.02)
        return self.code

    def end(self):
        proc.forget(self._handle)
        if self.code is None:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
        os.close(self.fd)


class ProgramCase(Case):
    @classmethod
    def setUpClass(cls):
        cls.server = servers.Dovecot().start()
        cls.server.prefill("INBOX", [(b"Subject: one\r\n\r\ntext\r\n", None)] * 3)
        cls.addClassCleanup(cls.server.stop)

    def setUp(self):
        self.home = mounts.Home()
        self.mountpoint = self.home.mountpoint
        self.link = proxy.Proxy(self.server.port).start()
        self.addCleanup(self.link.stop)
        self.addCleanup(self.take_away)

    def words(self, source, options=(), *more):
        words = [mounts.PROGRAM, *more]
        for option in options:
            words += ["-o", option]
        return [*words, source, self.mountpoint]

    def start(self, source, options=(), *more, seconds=30, **others):
        """Runs the program until it is in the background or failed."""
        return subprocess.run(self.words(source, options, *more), env=self.home.env, text=True,
                              capture_output=True, timeout=seconds, check=False,
                              stdin=subprocess.DEVNULL, start_new_session=True, **others)

    def take_away(self):
        if mounts.mounted(self.mountpoint):
            subprocess.run(["fusermount3", "-uz", self.mountpoint], timeout=20, check=False)
        if not self.gone(10):
            self.fail("the program did not end after the unmount")
        self.assertEqual(self.home.reports(), "")

    def gone(self, seconds):
        """No program serves this home any more: the store's lock is free."""
        def is_free():
            for folder, _, files in os.walk(self.home.dir):
                for lock in (os.path.join(folder, name) for name in files if "lock" in name):
                    with open(lock) as file:
                        try:
                            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        except BlockingIOError:
                            return False
            return True
        with contextlib.suppress(AssertionError):
            return proc.wait_for(is_free, seconds)
        return False

    def terminal(self, words, **more):
        made = Terminal(words, self.home.env, **more)
        self.addCleanup(made.end)
        return made

    def prompted(self):
        """SOURCE and options of an account whose password nobody knows but the user."""
        source, options = self.server.source(port=self.link.port)
        return source, without(options, "passcmd")

    def control(self, *words, seconds=45, **others):
        return subprocess.run([mounts.CONTROL, *words], env=self.home.env, text=True,
                              capture_output=True, timeout=seconds, check=False, **others)


class TestBackground(ProgramCase):
    def test_returns_when_it_serves(self):
        done = self.start(*self.server.source())
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        self.assertEqual(len(os.listdir(os.path.join(self.mountpoint, "INBOX"))), 3)
        subprocess.run(["fusermount3", "-u", self.mountpoint], check=True, timeout=20)
        self.assertTrue(self.gone(10))

    def test_relative_mountpoint(self):
        source, options = self.server.source()
        os.chdir(self.home.dir)
        self.addCleanup(os.chdir, "/")
        words = [*self.words(source, options)[:-1], "mail/"]
        done = subprocess.run(words, env=self.home.env, capture_output=True, timeout=30,
                              check=False)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertTrue(mounts.mounted(self.mountpoint))

    def test_store_in_the_mountpoint(self):
        source, options = self.server.source()
        for name in ("state-dir", "cache-dir"):
            done = self.start(source, [*options, f"{name}={self.mountpoint}/inside"])
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("is in the mount point", done.stderr)
            self.assertEqual(os.listdir(self.mountpoint), [])

    def test_mountpoint_through_a_link(self):
        """".." is above where the link leads, as for every other program."""
        os.makedirs(os.path.join(self.home.dir, "far", "place"))
        os.mkdir(os.path.join(self.home.dir, "far", "mail"))
        os.symlink("far/place", os.path.join(self.home.dir, "link"))
        self.mountpoint = "link/../mail"
        done = self.start(*self.server.source(), cwd=self.home.dir)
        self.mountpoint = os.path.join(self.home.dir, "far", "mail")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertTrue(mounts.mounted(self.mountpoint))
        self.assertFalse(mounts.mounted(self.home.mountpoint))

    def test_one_line_when_it_fails(self):
        source, options = self.prompted()
        cases = [
            (1, NOBODY_LISTENS, ["port=1", "passcmd=echo x"], "alice@127.0.0.1:1"),
            (2, "nosuch", [], "no section [nosuch]"),
            (2, source, ["tunel=x"], "did you mean tunnel?"),
            (2, source, ["password=hunter2"], "passcmd=COMMAND"),
            (2, "imaps://alice:hunter2@localhost", [], "seems to hold a password"),
            (2, source, ["mode=offline"], "mode=disconnected"),
            (3, source, [*options, "passcmd=echo wrong"], "with the password of passcmd"),
            (3, source, [*options, "passcmd=exit 7"], "exit code 7"),
            (3, source, options, "there is no password"),
            (4, source, ["passcmd=echo x"], "certificate"),
        ]
        for code, source, options, words in cases:
            with self.subTest(words):
                done = self.start(source, options)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertIn(words, done.stderr)
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
                self.assertNotIn("hunter2", done.stderr)
                self.assertEqual(done.stdout, "")
                self.assertFalse(mounts.mounted(self.mountpoint))

    def test_mountpoints(self):
        source, options = self.server.source()
        missing = os.path.join(self.home.dir, "missing")
        file = os.path.join(self.home.dir, "file")
        with open(file, "w"):
            pass
        full = self.home.dir
        for path, words in ((missing, "No such file"), (file, "not a directory"),
                            (full, "not empty")):
            with self.subTest(words):
                self.mountpoint = path
                done = self.start(source, options)
                # before a password is asked for, and whether the server is there or not
                alone = self.start(NOBODY_LISTENS, ["port=1", "passcmd=exit 1"])
                self.mountpoint = self.home.mountpoint
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(words, done.stderr)
                self.assertEqual(alone.stderr, done.stderr)

    def test_dead_mount_is_named(self):
        source, options = self.server.source()
        dead = mounts.Mount(source, options, self.home)
        pid = dead.process.pid
        os.kill(pid, signal.SIGKILL)
        dead.process.wait(10)
        done = self.start(source, options)
        self.assertEqual(done.returncode, 2)
        self.assertIn("fusermount3 -u", done.stderr)
        status = self.control("status", self.mountpoint)
        self.assertEqual(status.returncode, 1)
        self.assertIn("is gone", status.stderr)
        listing = self.control("list")
        self.assertIn(self.mountpoint, listing.stdout)
        dead._gone()

    def test_mount_again_at_once(self):
        """An unmount returns before the program has closed its store: the next one waits for it."""
        source, options = self.server.source()
        first = mounts.Mount(source, options, self.home)
        os.kill(first.process.pid, signal.SIGSTOP)
        subprocess.run(["fusermount3", "-uz", self.mountpoint], check=True, timeout=20)
        second = subprocess.Popen(self.words(source, options), env=self.home.env,
                                  stderr=subprocess.PIPE, text=True)
        time.sleep(1)
        os.kill(first.process.pid, signal.SIGCONT)
        self.assertEqual((second.communicate(timeout=30)[1], second.returncode), ("", 0))
        self.assertEqual(len(os.listdir(os.path.join(self.mountpoint, "INBOX"))), 3)
        self.assertEqual(first.process.wait(20), 0)
        subprocess.run(["fusermount3", "-u", self.mountpoint], check=True, timeout=20)
        first.abandon()

    def test_second_mount_is_refused(self):
        source, options = self.server.source()
        self.mount(source, options, self.home)
        self.mountpoint = os.path.join(self.home.dir, "second")
        os.mkdir(self.mountpoint)
        done = self.start(source, options)
        self.mountpoint = self.home.mountpoint
        self.assertEqual(done.returncode, 2)
        self.assertIn("is in use by another imapfs, process", done.stderr)

    def test_commands_run_where_they_run_later(self):
        """A command that is found only from the directory of the mounter would work once."""
        with open(os.open(os.path.join(self.home.dir, "password"), os.O_WRONLY | os.O_CREAT, 0o700),
                  "w") as file:
            file.write("#!/bin/sh\necho alicepw\n")
        source, options = self.prompted()
        for flags in ((), ("-f",)):
            done = self.start(source, [*options, "passcmd=./password"], *flags, cwd=self.home.dir)
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertIn("exit code 127", done.stderr)

    def test_relative_directories(self):
        source, options = self.server.source()
        self.home.env.update(XDG_STATE_HOME="s", XDG_CACHE_HOME="c")
        done = self.start(source, options, cwd=self.home.dir)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertTrue(os.listdir(os.path.join(self.home.dir, "s", "imapfs")))
        self.assertTrue(os.listdir(os.path.join(self.home.dir, "c", "imapfs")))

    def test_trace_that_others_can_read(self):
        """Mail is not appended to it."""
        source, options = self.server.source()
        trace = os.path.join(self.home.dir, "trace")
        with open(trace, "w") as file:
            file.write("mine\n")
        os.chmod(trace, 0o644)
        done = self.start(source, [*options, f"trace={trace}"])
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn(f"chmod 600 {trace}", done.stderr)
        self.assertFalse(mounts.mounted(self.mountpoint))
        with open(trace) as file:
            self.assertEqual(file.read(), "mine\n")
        os.chmod(trace, 0o600)
        self.assertEqual(self.start(source, [*options, f"trace={trace}"]).returncode, 0)
        os.listdir(os.path.join(self.mountpoint, "INBOX"))
        with open(trace) as file:
            self.assertRegex(file.read(), "(?s)^mine\n.*INBOX")

    def test_started_with_sigchld_ignored(self):
        source, options = self.prompted()
        done = self.start(source, [*options, "passcmd=exit 7"],
                          preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("exit code 7", done.stderr)

    def test_files_that_may_not_grow(self):
        """An error in words, and no death by a signal that leaves a dead mount."""
        source, options = self.server.source()
        limit = 64 * 1024
        done = self.start(source, options, preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (limit, limit)))
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr, "^imapfs: .*(index|content)")
        self.assertFalse(mounts.mounted(self.mountpoint))

    def test_cache_without_network(self):
        source, options = self.server.source(port=self.link.port)
        self.assertEqual(self.start(source, options).returncode, 0)
        self.assertEqual(len(os.listdir(os.path.join(self.mountpoint, "INBOX"))), 3)
        subprocess.run(["fusermount3", "-u", self.mountpoint], check=True, timeout=20)
        self.assertTrue(self.gone(10))
        self.link.refuse()
        done = self.start(source, options)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("mounting what is kept here", done.stderr)
        self.assertEqual(len(os.listdir(os.path.join(self.mountpoint, "INBOX"))), 3)

    def test_interrupted_starter_leaves_nothing(self):
        """A server that never answers, and a starter that is ended meanwhile."""
        process = subprocess.Popen(self.words("x", ["tunnel=exec sleep 60"]), env=self.home.env,
                                   stderr=subprocess.PIPE)
        proc.wait_for(lambda: os.listdir(self.home.env["XDG_STATE_HOME"]), 20)
        process.kill()
        process.communicate(timeout=20)
        self.assertTrue(self.gone(20))
        self.assertFalse(mounts.mounted(self.mountpoint))

    def test_tunnel_that_fails_is_heard(self):
        done = self.start("x", ["tunnel=echo no\\, such host >&2; exit 3"])
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("no, such host", done.stderr)

    def test_configuration_file(self):
        source, options = self.server.source()
        directory = os.path.join(self.home.env["XDG_CONFIG_HOME"], "imapfs")
        os.makedirs(directory)
        with open(os.path.join(directory, "config"), "w") as file:
            file.write("[work]\nhost=localhost\nuser=alice\n"
                       f"port={self.server.port}\n" + "\n".join(options) + "\n")
        done = self.start("work")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        listing = self.control("list")
        self.assertIn(f"work\t{self.mountpoint}\n", listing.stdout)

    def test_netrc(self):
        source, options = self.prompted()
        with open(os.open(os.path.join(self.home.dir, ".netrc"), os.O_WRONLY | os.O_CREAT, 0o600),
                  "w") as file:
            file.write("default login alice password wrong\n"
                       "machine localhost login bob password wrong\n"
                       f"machine localhost:{self.link.port} login alice password alicepw\n")
        done = self.start(source, options)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        subprocess.run(["fusermount3", "-u", self.mountpoint], check=True, timeout=20)
        os.chmod(os.path.join(self.home.dir, ".netrc"), 0o644)
        self.assertTrue(self.gone(10))
        done = self.start(source, options)
        self.assertEqual(done.returncode, 2)
        self.assertIn("chmod 600", done.stderr)


class TestSignals(ProgramCase):
    def test_usr1_connects(self):
        """After some failed attempts the next one is far away, unless somebody asks for it."""
        source, options = self.server.source(port=self.link.port)
        mount = self.mount(source, options, self.home)
        self.link.refuse()
        self.soon(lambda: "connection: offline" in mount.status(), 20, "to be offline")
        self.link.resume()
        def online():
            os.kill(mount.process.pid, signal.SIGUSR1)
            return "connection: online" in mount.status()
        self.soon(online, 20, "to be online")
        self.assertIsNone(mount.process.code)


class TestTerminal(ProgramCase):
    def test_prompt(self):
        screen = self.terminal(self.words(*self.prompted()))
        screen.expect(rb"Password for alice at localhost: ")
        self.assertFalse(screen.echo())
        screen.type(b"alicepw\n")
        self.assertEqual(screen.wait(), 0, screen.output)
        self.assertNotIn(b"alicepw", screen.output)
        self.assertEqual(len(os.listdir(os.path.join(self.mountpoint, "INBOX"))), 3)
        # The daemon has the password for the next connection, and nobody can read it there.
        self.link.cut()
        def online():
            done = self.control("status", self.mountpoint)
            return "connection: online" in done.stdout
        self.soon(online, 30, "the session to come back")

    def test_wrong_answer_is_asked_again(self):
        screen = self.terminal(self.words(*self.prompted()))
        screen.expect(rb"Password for alice at localhost: ")
        screen.type(b"wrong\n")
        screen.expect(rb"refused that password(.|\n)*Password for alice")
        screen.type(b"alicepw\n")
        self.assertEqual(screen.wait(), 0, screen.output)

    def test_three_wrong_answers(self):
        screen = self.terminal(self.words(*self.prompted()))
        for count in range(3):
            self.soon(lambda: screen.read() and screen.output.count(b"Password for") > count, 30)
            screen.type(b"wrong\n")
        self.assertEqual(screen.wait(), 3, screen.output)
        self.assertEqual(screen.output.count(b"Password for"), 3)
        self.assertTrue(screen.output.endswith(b"Authentication failed.\r\n"), screen.output)

    def test_stored_password_refused(self):
        """A person who is there knows better."""
        with open(os.open(os.path.join(self.home.dir, ".netrc"), os.O_WRONLY | os.O_CREAT, 0o600),
                  "w") as file:
            file.write("machine localhost password wrong\n")
        screen = self.terminal(self.words(*self.prompted()))
        screen.expect(rb"refused that password(.|\n)*Password for alice")
        screen.type(b"alicepw\n")
        self.assertEqual(screen.wait(), 0, screen.output)

    def test_interrupted_prompt(self):
        screen = self.terminal(self.words(*self.prompted()))
        screen.expect(rb"Password for alice at localhost: ")
        screen.type(b"\x03")
        self.assertNotEqual(screen.wait(), 0)
        self.assertTrue(screen.echo())
        self.assertFalse(mounts.mounted(self.mountpoint))
        self.assertTrue(self.gone(20))

    def test_slow_typist(self):
        """Longer than the timeout: the answer still counts."""
        source, options = self.prompted()
        screen = self.terminal(self.words(source, [*options, "timeout=2"]))
        screen.expect(rb"Password for alice at localhost: ")
        time.sleep(5)
        self.link.cut()
        time.sleep(1)
        screen.type(b"alicepw\n")
        self.assertEqual(screen.wait(), 0, screen.output)

    def test_foreground_ends_by_ctrl_c(self):
        source, options = self.server.source()
        screen = self.terminal(self.words(source, options, "-f"))
        self.soon(lambda: mounts.mounted(self.mountpoint), 20) or self.fail(screen.output)
        os.listdir(os.path.join(self.mountpoint, "INBOX"))
        screen.type(b"\x03")
        self.assertEqual(screen.wait(), 0, screen.output)
        self.assertFalse(mounts.mounted(self.mountpoint))

    def test_progress_bar(self):
        self.server.prefill("Large", [(b"Subject: n\r\n\r\nx\r\n", None)] * 20000)
        source, options = self.server.source()
        screen = self.terminal(self.words(source, options, "-f"), columns=60)
        self.soon(lambda: mounts.mounted(self.mountpoint), 20)
        listing = subprocess.Popen(["ls", os.path.join(self.mountpoint, "Large")],
                                   stdout=subprocess.DEVNULL)
        try:
            screen.expect(rb"\r\x1b\[KLarge \[#*\.*\] \d+/\d+\r", 50)
        finally:
            listing.wait(50)
        for line in re.findall(rb"\x1b\[K([^\r]*)\r", screen.output):
            self.assertLess(len(line), 60)
        screen.type(b"\x03")
        self.assertEqual(screen.wait(), 0)


class TestControl(ProgramCase):
    def test_commands(self):
        source, options = self.server.source()
        self.assertEqual(self.start(source, options).returncode, 0)
        inside = os.path.join(self.mountpoint, "INBOX")
        for where in (self.mountpoint, self.mountpoint + "/", inside):
            status = self.control("status", where)
            self.assertEqual((status.returncode, status.stderr), (0, ""))
            self.assertIn("connection: online", status.stdout)
        log = self.control("log", self.mountpoint)
        self.assertIn("online", log.stdout)
        listing = self.control("list")
        self.assertEqual(listing.stdout.count(self.mountpoint), 1)

    def test_misuse(self):
        done = self.control("status", self.home.dir)
        self.assertEqual(done.returncode, 1)
        self.assertIn("not an imapfs mount", done.stderr)
        for words in ((), ("frobnicate",), ("status", "a", "b")):
            self.assertEqual(self.control(*words).returncode, 2)
        self.assertIn("usage", self.control("--help").stdout)

    def test_links_to_a_mount(self):
        source, options = self.server.source()
        self.mount(source, options, self.home)
        for name, target in (("link", "mail"), ("far", f"{self.home.dir}/link/"), ("up", ".."),
                             ("loop", "loop"), ("nowhere", "no/such")):
            os.symlink(target, os.path.join(self.home.dir, name))
        base = os.path.basename(self.home.dir)
        for where in ("link", "link/", "link/INBOX", "far", "far/INBOX/x", f"up/{base}/link"):
            status = self.control("status", os.path.join(self.home.dir, where))
            self.assertEqual((status.returncode, status.stderr), (0, ""), where)
        for where in ("up", "loop", "nowhere"):
            status = self.control("status", os.path.join(self.home.dir, where))
            self.assertEqual(status.returncode, 1)
            self.assertIn("not an imapfs mount", status.stderr)

    def test_failures_are_told(self):
        """Where SIGCHLD is ignored, and where what is shown cannot be written."""
        source, options = self.server.source()
        self.mount(source, options, self.home)
        done = self.control("discard", self.mountpoint, "99",
                            preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
        self.assertEqual(done.returncode, 1)
        self.assertIn("no such change", done.stderr)
        for words in (("status", self.mountpoint), ("list",), ("help",), ("version",)):
            with open("/dev/full", "w") as full:
                done = subprocess.run([mounts.CONTROL, *words], env=self.home.env, text=True,
                                      stdout=full, stderr=subprocess.PIPE, timeout=30, check=False)
            self.assertEqual((done.returncode, done.stderr),
                             (1, "imapfsctl: not all of it could be written\n"))

    def test_does_not_hang(self):
        """The program is stopped: nobody answers."""
        source, options = self.server.source()
        mount = self.mount(source, options, self.home)
        os.kill(mount.process.pid, signal.SIGSTOP)
        try:
            done = subprocess.run([mounts.CONTROL, "list"], env=self.home.env, timeout=10,
                                  capture_output=True, check=False)
            self.assertEqual(done.returncode, 0)
            asked = [subprocess.Popen([mounts.CONTROL, word, self.mountpoint], env=self.home.env,
                                      stderr=subprocess.PIPE, text=True)
                     for word in ("status", "offline")]
            for process in asked:
                self.assertIn("does not answer", process.communicate(timeout=30)[1])
                self.assertEqual(process.returncode, 1)
        finally:
            os.kill(mount.process.pid, signal.SIGCONT)


@unittest.skipUnless(os.getuid() == 0, "needs root")
class TestMountCommand(ProgramCase):
    """mount(8) finds us through mount.fuse3, which runs imapfs SOURCE MOUNTPOINT -o OPTIONS."""

    def run_mount(self, words, home):
        """Runs mount(8), looks, and unmounts, where the program is in /usr/local/bin."""
        script = ('mount --bind "$1" /usr/local/bin && shift && "$@" && '
                  'ls "$WHERE/INBOX" | wc -l; grep -c " $WHERE .*fuse.imapfs " /proc/self/mountinfo; '
                  'umount "$WHERE"')
        env = dict(home.env, WHERE=home.mountpoint)
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script, "sh",
             os.path.dirname(mounts.PROGRAM), *words],
            env=env, capture_output=True, text=True, timeout=30, check=False)

    def check_mount(self, *words):
        done = self.run_mount(words, self.home)
        self.assertEqual((done.returncode, done.stdout.split()), (0, ["3", "1"]), done.stderr)
        self.assertTrue(self.gone(10))

    def test_types(self):
        source, options = self.server.source()
        text = ",".join(["rw,nosuid,noatime,_netdev,x-systemd.automount,nofail", *options])
        self.check_mount("mount", "-t", "fuse.imapfs", "-o", text, source, self.mountpoint)
        self.check_mount("mount", "-t", "fuse3", "-o", text, f"imapfs#{source}", self.mountpoint)

    def test_fstab(self):
        source, options = self.server.source()
        table = os.path.join(self.home.dir, "fstab")
        escaped = ",".join(options).replace(" ", "\\040")
        for line in (f"{source} {self.mountpoint} fuse.imapfs noauto,user,{escaped} 0 0\n",
                     f"imapfs#{source} {self.mountpoint} fuse3 defaults,noauto,{escaped} 0 0\n"):
            with open(table, "w") as file:
                file.write(line)
            self.check_mount("mount", "-T", table, self.mountpoint)

    def test_fstab_of_a_user(self):
        """As README has it: mount(8) gives a user's helper no HOME, and mount.fuse3 then says /root."""
        source, options = self.server.source()
        options = without(options, "passcmd")
        netrc = os.path.join(self.home.dir, ".netrc")
        with open(os.open(netrc, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write("machine localhost login alice password alicepw\n")
        for name, text in (("fstab", f"{source} {self.mountpoint} fuse.imapfs "
                                     f"noauto,user,{','.join(options)} 0 0\n"),
                           ("passwd", "root:x:0:0:root:/root:/bin/sh\n"
                                      f"nobody:x:65534:65534:nobody:{self.home.dir}:/bin/sh\n")):
            with open(os.path.join(self.home.dir, name), "w") as file:
                file.write(text)
        for path, _, _ in os.walk(self.home.dir):
            os.chown(path, 65534, 65534)
        os.chown(netrc, 65534, 65534)
        script = """
            mount --bind "$BIN" /usr/local/bin && mount --bind fstab /etc/fstab &&
            mount --bind passwd /etc/passwd && mkdir dev && mount -t tmpfs none dev &&
            mknod -m 666 dev/fuse c 10 229 && mount --bind dev/fuse /dev/fuse || exit 99
            setpriv --reuid 65534 --regid 65534 --clear-groups sh -c '
                mount "$WHERE" || exit; ls "$WHERE/INBOX" | wc -l; stat -c %u "$WHERE"
                umount "$WHERE"; ls -A "$WHERE" | wc -l'
        """
        env = {key: value for key, value in self.home.env.items() if not key.startswith("XDG_")}
        env.update(WHERE=self.mountpoint, BIN=os.path.dirname(mounts.PROGRAM))
        done = subprocess.run(["unshare", "--mount", "--propagation", "slave", "sh", "-c", script],
                              env=env, cwd=self.home.dir, capture_output=True, text=True,
                              timeout=40, check=False)
        self.assertEqual((done.returncode, done.stdout.split()), (0, ["3", "65534", "0"]),
                         done.stderr)
        self.assertTrue(self.gone(10))
