"""Runs commands as a user does, and times them."""
import dataclasses
import os
import resource
import subprocess
import tempfile
import threading
import time

LIMIT_S = 1800  # a command that takes longer has failed


@dataclasses.dataclass
class Timed:
    seconds: float
    cpu: float      # of the command, not of file systems behind it
    output: bytes

    @property
    def lines(self):
        return self.output.count(b"\n")


def timed(*command, limit=LIMIT_S, codes=(0,), cwd=None):
    """A command to its end. Its output goes to a file: grep and tar see through /dev/null."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        cpu, began = _children(), time.monotonic()
        code = _run(command, limit, stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
                    cwd=cwd, env=dict(os.environ, LC_ALL="C.UTF-8"))
        seconds = time.monotonic() - began
        cpu = _children() - cpu
        if code not in codes:
            errors.seek(0)
            raise RuntimeError(f"{' '.join(command[:6])} ...: exit code {code}: "
                               f"{errors.read(2000).decode(errors='replace')}")
        output.seek(0)
        return Timed(seconds, cpu, output.read())


def _run(command, limit, **options):
    """Its exit code. A wait with a timeout looks every 50 ms whether it is over, which is as long
    as what is measured here: so somebody else watches the time."""
    with subprocess.Popen(command, **options) as process:
        watch = threading.Timer(limit, process.kill)
        watch.start()
        try:
            return process.wait()
        finally:
            watch.cancel()


def _children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def processor_s(pid):
    """Processor time that a process has used so far."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def expect(what, got, want):
    """A benchmark of wrong answers is worth nothing."""
    if got != want:
        raise AssertionError(f"{what}: {got} instead of {want}")
