"""Processes and directories that belong to a test run, and their certain end.

What is started here is ended here: at exit, at SIGTERM, SIGINT and SIGHUP, and, if this process
is killed outright, by the kernel (PDEATHSIG). Processes are only ever ended by a pid we started.
"""
import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
KEEP = bool(os.environ.get("IMAPFS_KEEP"))  # leave directories for a look afterwards

_ends = {}  # handle -> function, ended last first
_next = 0


def at_end(function):
    """Registers function for the end of the run; returns a handle for forget()."""
    global _next
    _next += 1
    _ends[_next] = function
    return _next


def forget(handle):
    _ends.pop(handle, None)


def end_all():
    while _ends:
        _, function = _ends.popitem()
        with contextlib.suppress(Exception):
            function()


def end_on_signals():
    """Turns the usual signals into an orderly exit, so that end_all() runs. As Ctrl-C does: what
    catches exceptions of tests lets this one through. None stays ignored, as a shell leaves some for
    what it starts in the background: what the tests start would ignore it, too."""
    def interrupt(_number, _frame):
        raise KeyboardInterrupt
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


atexit.register(end_all)


def workdir(name):
    """A directory of its own with a short path (unix sockets), gone at the end."""
    path = tempfile.mkdtemp(prefix=f"imapfs-{name}-", dir="/var/tmp")
    if not KEEP:
        at_end(lambda: shutil.rmtree(path, ignore_errors=True))
    os.chmod(path, 0o755)
    return path


def wait_for(condition, seconds=10.0, every=0.01, what="condition"):
    """Polls until condition() is true and returns its value; AssertionError after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(every)


def free_ports(count):
    """Ports of 127.0.0.1 that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def port_open(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run(*command, **options):
    """subprocess.run that raises with the output in the message."""
    options.setdefault("timeout", 60)
    done = subprocess.run(command, capture_output=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed ({done.returncode}): "
                           f"{(done.stdout + done.stderr).decode(errors='replace')[-2000:]}")
    return done.stdout


class Process:
    """A child, its output in a file, ended at the end of the run at the latest."""

    def __init__(self, command, log, env=None, isolated=False, death_signal="TERM"):
        self.log = log
        if isolated:  # a pid namespace: when its first process goes, everything in it goes
            command = ["unshare", "--pid", "--fork", "--kill-child", *command]
            death_signal = "KILL"
        command = ["setpriv", "--pdeathsig", death_signal, *command]
        with open(log, "ab") as output:
            self._popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=env, start_new_session=True)
        self.pid = self._popen.pid
        self.isolated = isolated
        self._handle = at_end(lambda: self.end(grace=2))

    @property
    def code(self):
        """Exit code, or None while it runs."""
        return self._popen.poll()

    def wait(self, seconds):
        """Exit code, or None if it still runs then."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self, number=signal.SIGKILL):
        if self.code is None:
            os.kill(self.pid, number)

    def end(self, grace=5.0):
        """TERM, and KILL after grace. A namespace needs no grace: its first process is killed, and
        unshare(1) returns when all others in it are gone."""
        if self.code is None and self.isolated:
            with contextlib.suppress(OSError):
                with open(f"/proc/{self.pid}/task/{self.pid}/children") as children:
                    for child in children.read().split():
                        os.kill(int(child), signal.SIGKILL)
            self.wait(10)
        elif self.code is None:
            self.kill(signal.SIGTERM)
            self.wait(grace)
        self.kill()
        self._popen.wait()
        forget(self._handle)
        return self.code

    def output(self):
        with open(self.log, "rb") as file:
            return file.read().decode(errors="replace")
