"""The base of the tests that need processes: a time limit, mounts that are always unmounted."""
import faulthandler
import os
import signal
import subprocess
import sys
import threading
import unittest

import mount as mounts
import proc


class TimeLimit(AssertionError):
    pass


class Watchdog:
    """Ends a test that takes too long: raises TimeLimit in it, then frees it from a hanging file
    system by killing the programs under test, then gives up on the whole run."""

    def __init__(self, seconds):
        self.seconds, self._over = seconds, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        signal.signal(signal.SIGALRM, self._alarm)
        self._thread.start()

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _alarm(self, _number, _frame):
        if not self._over.is_set():
            raise TimeLimit(f"not done within {self.seconds} s")

    def _watch(self):
        if self._over.wait(self.seconds):
            return
        faulthandler.dump_traceback(sys.stderr)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)
        if self._over.wait(5):
            return
        mounts.kill_all()
        if self._over.wait(30):
            return
        print("the run hangs for good", file=sys.stderr, flush=True)
        proc.end_all()
        os._exit(3)


class Case(unittest.TestCase):
    timeout = 60  # seconds, of one test

    def patience(self):
        """How many times longer all may take here."""
        return (float(os.environ.get("IMAPFS_PATIENCE") or 1) *
                getattr(getattr(self, "server", None), "patience", 1))

    def run(self, result=None):
        with Watchdog(self.timeout * self.patience()):
            return super().run(result)

    def mount(self, source, options=(), home=None, **more):
        """A Mount that is unmounted and checked at the end of the test."""
        made = mounts.Mount(source, options, home, **more)
        self.mounts_made = [*getattr(self, "mounts_made", []), made]
        self.addCleanup(made.finish)
        return made

    def refused(self, source, options=(), seconds=20):
        """Starts the program as a user does, not in the foreground, where it must fail; returns
        its exit code and what it said."""
        home = mounts.Home()
        process = proc.Process(mounts.command(source, home.mountpoint, options, foreground=False),
                               os.path.join(home.dir, "log"), env=home.env)
        code = process.wait(seconds)
        left = mounts.mounted(home.mountpoint)
        if left:
            proc.run("fusermount3", "-u", home.mountpoint)
        process.end()
        self.assertIsNotNone(code, f"it should have ended:\n{process.output()}")
        self.assertFalse(left, "it left a mount behind")
        self.assertEqual(home.reports(), "")
        return code, process.output()

    def soon(self, condition, seconds=15, what=""):
        """Polls for what must become true; returns its value."""
        return proc.wait_for(condition, seconds * self.patience(), 0.01, what)

    def asked(self, mounted, condition, what=""):
        """As soon(), of what only a poll would show: asks for it. That polls come by themselves is
        shown in tests/unit/sync."""
        def ask():
            value = condition()
            if not value:
                mounted.kick()
            return value
        return proc.wait_for(ask, 60 * self.patience(), 0.05, what)

    def control(self, *words, code=0):
        """Runs imapfsctl in the home of this test; returns what it says."""
        done = subprocess.run([mounts.CONTROL, *words], env=self.home.env, text=True,
                              capture_output=True, timeout=90 * self.patience(), check=False)
        self.assertEqual(done.returncode, code, (words, done.stdout, done.stderr))
        return done.stdout + done.stderr

    def offline(self, mounted):
        self.control("offline", mounted.mountpoint)

    def online(self, mounted):
        self.control("online", mounted.mountpoint)
        self.soon(lambda: "connection: online" in mounted.status(), what="the connection")
        self.control("sync", mounted.mountpoint)

    def note(self, text):
        """A measured figure, shown beside the test's name."""
        self.notes = [*getattr(self, "notes", []), text]

    def assert_fails(self, errnos, call, *arguments):
        """call must raise OSError with one of these errnos."""
        try:
            result = call(*arguments)
        except OSError as error:
            self.assertIn(error.errno, errnos,
                          f"{os.strerror(error.errno)} instead of "
                          f"{[os.strerror(number) for number in errnos]}")
            return error
        self.fail(f"gave {str(result)[:200]!r} instead of an error")


def without(options, name):
    """The options but for those of this name."""
    return [option for option in options if not option.startswith(f"{name}=")]


class OfServer:
    """Tests of one server; a class below says which."""

    @classmethod
    def make(cls):
        raise NotImplementedError

    @classmethod
    def setUpClass(cls):
        try:
            cls.server = cls.make()
        except PermissionError as error:
            raise unittest.SkipTest(str(error)) from None
        cls.server.start()
        cls.addClassCleanup(cls.server.stop)
