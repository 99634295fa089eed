"""The program under test, mounted: started, waited for, watched for sanitizer reports, unmounted.

A Home is a user's directories (configuration, cache, state); give the same one to a second Mount
to see what the first left in the cache.
"""
import contextlib
import glob
import os
import re
import signal
import subprocess
import time

import proc

BUILD = os.environ.get("IMAPFS_BUILD") or os.path.join(proc.ROOT, "build-test")
PROGRAM = os.path.join(BUILD, "src", "ctl", "imapfs")
CONTROL = os.path.join(BUILD, "src", "ctl", "imapfsctl")
MESSAGE = re.compile(r"^\d{4}-\d\d-\d\d .*\.(\d+)$", re.DOTALL)
READY_S = 30

alive = []  # Mounts whose program runs: what a watchdog must end


class Home:
    """Directories of one user, and a mountpoint."""

    def __init__(self):
        self.dir = proc.workdir("home")
        self.mountpoint = os.path.join(self.dir, "mail")
        os.mkdir(self.mountpoint)
        self.env = dict(os.environ, HOME=self.dir, LC_ALL="C.UTF-8",
                        G_DEBUG="fatal-criticals", **self._sanitizers())
        for kind in ("CONFIG", "CACHE", "STATE", "RUNTIME"):
            name = "XDG_RUNTIME_DIR" if kind == "RUNTIME" else f"XDG_{kind}_HOME"
            self.env[name] = os.path.join(self.dir, kind.lower())
            os.mkdir(self.env[name], 0o700)
        self.count = 0

    def _sanitizers(self):
        log = os.path.join(self.dir, "sanitizer")
        return {"ASAN_OPTIONS": f"log_path={log}:detect_leaks=1:abort_on_error=0:exitcode=99",
                "UBSAN_OPTIONS": f"log_path={log}:print_stacktrace=1",
                "TSAN_OPTIONS": f"log_path={log}:exitcode=66:second_deadlock_stack=1:"
                                f"suppressions={proc.ROOT}/tests/lib/tsan.supp"}

    def reports(self):
        """What the sanitizers said."""
        texts = []
        for name in sorted(glob.glob(os.path.join(self.dir, "sanitizer*"))):
            with open(name, errors="replace") as file:
                texts.append(file.read())
        return "\n".join(texts)


class MountFailed(Exception):
    """The program ended without mounting."""

    def __init__(self, code, output):
        super().__init__(f"exit code {code}: {output.strip()}")
        self.code, self.output = code, output


def command(source, mountpoint, options=(), foreground=True, flags=()):
    words = [PROGRAM, *(["-f"] if foreground else []), *flags]
    for option in options:
        words += ["-o", option]
    return [*words, source, mountpoint]


def mounted(mountpoint):
    with open("/proc/self/mountinfo") as table:
        return any(line.split()[4] == mountpoint for line in table)


class Mount:
    def __init__(self, source, options=(), home=None, ready_s=READY_S, flags=()):
        self.home = home or Home()
        self.mountpoint = self.home.mountpoint
        self.home.count += 1
        self.log = os.path.join(self.home.dir, f"mount{self.home.count}.log")
        self._checked = False
        started = time.monotonic()
        # its own session: a terminal's Ctrl-C, or the runner's end, must not race the unmount
        self.process = proc.Process(command(source, self.mountpoint, options, flags=flags), self.log,
                                    env=self.home.env)
        alive.append(self)
        self._handle = proc.at_end(self.abandon)
        try:
            self._wait_ready(ready_s)
        except BaseException:
            self.abandon()
            raise
        self.ready_after = time.monotonic() - started

    def _wait_ready(self, seconds):
        deadline = time.monotonic() + seconds
        while not mounted(self.mountpoint):
            if self.process.code is not None:
                raise MountFailed(self.process.code, self.process.output() + self.home.reports())
            if time.monotonic() > deadline:
                raise AssertionError(f"not mounted within {seconds} s\n{self.process.output()}")
            time.sleep(0.005)

    # --- looking at it ---

    def path(self, *parts):
        return os.path.join(self.mountpoint, *parts)

    def list(self, *parts):
        return sorted(os.listdir(self.path(*parts)))

    def read(self, *parts):
        with open(self.path(*parts), "rb") as file:
            return file.read()

    def text(self, *parts):
        return self.read(*parts).decode()

    def messages(self, box):
        """{uid: name of the message's directory}."""
        found = {}
        for name in os.listdir(self.path(box)):
            match = MESSAGE.match(name)
            if match:
                found[int(match.group(1))] = name
        return found

    def message(self, box, uid):
        """Path of a message's directory, by a listing."""
        return self.path(box, self.messages(box)[uid])

    def status(self):
        return self.text(".imapfs", "status")

    def rss_kb(self, kind="VmRSS"):
        """Resident memory now; or kind VmHWM: the most it ever was."""
        with open(f"/proc/{self.program_pid()}/status") as file:
            return int(re.search(kind + r":\s+(\d+)", file.read()).group(1))

    def program_pid(self):
        return self.process.pid  # setpriv(1) became the program

    def output(self):
        return self.process.output()

    def kick(self):
        """Has it look for changes now, not when the next poll is due."""
        self.process.kill(signal.SIGUSR1)

    # --- ending it ---

    def unmount(self, seconds=20):
        """Unmounts as a user does and checks how the program ended. AssertionError when it hung,
        failed, or a sanitizer spoke."""
        started = time.monotonic()
        problem = ""
        done = subprocess.run(["fusermount3", "-u", self.mountpoint], capture_output=True,
                              timeout=seconds, check=False)
        if done.returncode != 0 and mounted(self.mountpoint):
            problem = f"fusermount3 -u: {done.stderr.decode().strip()}\n"
            subprocess.run(["fusermount3", "-uz", self.mountpoint], timeout=seconds, check=False)
        code = self.process.wait(seconds)
        if code is None:
            problem += f"still running {seconds} s after the unmount\n"
        self._gone()
        took = time.monotonic() - started
        self.check(problem, code)
        return took

    def terminate(self, number=signal.SIGTERM, seconds=20):
        """Ends the program by a signal, after which nothing may be mounted."""
        self.process.kill(number)
        code = self.process.wait(seconds)
        left = mounted(self.mountpoint)
        problem = "" if code is not None else f"still running {seconds} s after the signal\n"
        self._gone()
        self.check(problem + ("still mounted after it ended\n" if left else ""), code)

    def kill(self):
        """kill -9, as a crash would; the dead mount is taken away."""
        self.process.kill(signal.SIGKILL)
        self.process.wait(10)
        self._gone()

    def check(self, problem="", code=0):
        """Raises when something is wrong with how it ran."""
        self._checked = True
        reports = self.home.reports()
        if code not in (0, None):
            problem += f"exit code {code}\n"
        if problem or reports:
            raise AssertionError(f"{problem}{reports[:6000]}\n--- its output\n"
                                 f"{self.output()[-3000:]}")

    def finish(self):
        """For a test's end: unmounts if that was not done, and checks."""
        if self in alive:
            self.unmount()
        elif not self._checked:
            self.check()

    def _gone(self):
        with contextlib.suppress(ValueError):
            alive.remove(self)
        if self.process.code is None:
            self.process.kill(signal.SIGKILL)
        if mounted(self.mountpoint):
            subprocess.run(["fusermount3", "-uz", self.mountpoint], capture_output=True,
                           timeout=10, check=False)
        self.process.end()
        proc.forget(self._handle)

    def abandon(self):
        """Ends it whatever state it is in, without a check: for watchdogs and the end of a run."""
        self._checked = True
        self._gone()


def kill_all():
    """Frees whoever hangs in a file system call: a dead program's mount answers at once."""
    for each in list(alive):
        with contextlib.suppress(Exception):
            each.process.kill(signal.SIGKILL)
