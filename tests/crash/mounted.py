"""A client of the histories that is a mount: what the driver does by calls is done with files."""
import errno
import os
import re
import shutil
import signal
import subprocess
import time

import clients
import mount as mounts
import world as worlds

NAME = re.compile(r"About (\w+)")            # in the name of a message: its key
FAILED = re.compile(r"(\d+)-(\w+)")          # a directory of .imapfs/failed
POLL_S = 5
UNREACHABLE = {errno.ETIMEDOUT, errno.ENETUNREACH}  # a mailbox that was never listed
GONE = {errno.ENOENT, errno.ESTALE}          # no such message, or no more


def key_in(name):
    match = NAME.search(name)
    return match.group(1) if match else None


class MountClient(clients.Client):
    """As clients.Client. It is never killed within a step: nobody was told then whether it was
    made."""
    kills_steps = False
    settle_s = 30                            # it hears of mailboxes when it asks for them: POLL_S

    def begin(self):
        self.home = mounts.Home()
        self.letters = self.moved = 0

    def start(self):
        options = [f"tunnel={self.tunnel()}", f"max-connections={self.connections}", "delete=expunge",
                   "append_seen=no", "append_id=never", f"poll={POLL_S}",
                   f"timeout={int(5 * worlds.PATIENCE)}",
                   *([f"disable={self.disable.replace(',', ':')}"] if self.disable else []),
                   *(["offline"] if self.offline else [])]
        self.mount = mounts.Mount("here", options, self.home)
        self.process = self.mount.process
        self.committed = self.acknowledged = 0

    def end(self):
        """Dead at once."""
        self.mount.kill()

    def close(self):
        if self.mount in mounts.alive:
            self.mount.unmount(30)
        else:
            self.mount.check()

    # --- steps ---

    def run(self, *words):
        started, error, lines = time.monotonic(), None, []
        try:
            lines = getattr(self, f"do_{words[0]}")(*words[1:]) or []
        except OSError as failed:
            error = "GONE" if failed.errno in GONE else \
                "UNREACHABLE" if failed.errno in UNREACHABLE else str(failed)
            self.note(words, failed)
        if time.monotonic() - started > clients.SLOW_S:
            self.slow.append((time.monotonic() - started, self.name, *words, error))
        return error, lines

    def note(self, words, failed):
        """For who looks for the cause."""
        with open(os.path.join(self.dir, "log"), "a") as log, \
                open(self.path(".imapfs", "log")) as said:
            log.write(f"--- {words}: {failed}\n{''.join(said.readlines()[-20:])}")

    def path(self, *parts):
        return self.mount.path(*parts)

    def boxes(self):
        return sorted(name for name in os.listdir(self.path())
                      if not name.startswith(".") and os.path.isdir(self.path(name)))

    def names(self, box, key=None):
        return sorted(name for name in os.listdir(self.path(box))
                      if (found := key_in(name)) and key in (None, found))

    def find(self, box, word):
        """(mailbox, name) of the first message that is called =KEY."""
        return next(self.found(box, word))

    def found(self, box, word):
        """Those of all that are."""
        missed, none = errno.ENOENT, True
        for each in self.boxes() if box == "*" else [box]:
            try:
                for name in self.names(each, word[1:]):
                    none = False
                    yield each, name
            except OSError as failed:  # removed, renamed, not to be had
                missed = failed.errno
        if none:
            raise OSError(missed, "no such message", word)

    def flags(self, box, name):
        with open(self.path(box, name, "flags")) as file:
            return file.read().split()

    def change(self, box, name, plus, minus):
        with open(self.path(box, name, "flags"), "a") as file:
            file.write("".join(f"+{flag}\n" for flag in plus) +
                       "".join(f"-{flag}\n" for flag in minus))

    def do_flag(self, box, key, *signed):
        self.change(*self.find(box, key), [word[1:] for word in signed if word[0] == "+"],
                    [word[1:] for word in signed if word[0] == "-"])

    def do_set(self, box, key, *flags):
        """A full list clears what is shown, which may change meanwhile: all is said."""
        minus = [flag for flag in clients.FLAGS if flag not in flags]
        self.change(*self.find(box, key), flags, minus)
        return [["logged", key, " ".join(flags), " ".join(minus)]]

    def do_move(self, box, keys, to):
        found = [self.find(box, keys)] if box == "*" else \
            [(box, name) for key in keys.split(",") for name in self.names(box, key[1:])]
        for source, name in found:
            if source == to:
                continue
            if os.path.lexists(self.path(to, name)):  # any number will do
                self.moved += 1
                target = f"{name.rpartition('.')[0]}.{900_000 + self.moved}"
            else:
                target = name
            os.rename(self.path(source, name), self.path(to, target))
        return [["from", source] for source, _ in found]

    def do_copy(self, box, key, to):
        source, name = self.find(box, key)
        self.letters += 1
        os.link(self.path(source, name, "message.eml"), self.path(to, f"c{self.letters}.eml"))
        return [["from", source]]

    def do_expunge(self, box, key):
        source, name = self.find(box, key)
        os.rmdir(self.path(source, name))
        return [["from", source]]

    def do_append(self, box, key, *flags):
        self.letters += 1
        shutil.copyfile(os.path.join(self.world.letters, key),
                        self.path(box, f"a{self.letters}.eml"))
        if flags:
            self.change(*self.find(box, f"={key}"), flags, [])

    def do_mkbox(self, name):
        os.mkdir(self.path(name))

    def do_renbox(self, name, to):
        os.rename(self.path(name), self.path(to))

    def do_rmbox(self, name):
        """Others removed what is shown there still."""
        deadline = time.monotonic() + self.settle_s * worlds.PATIENCE
        while self.names(name) and time.monotonic() < deadline:
            time.sleep(0.2)
        os.rmdir(self.path(name))

    def control(self, *words):
        done = subprocess.run([mounts.CONTROL, words[0], self.mount.mountpoint, *words[1:]],
                              env=self.home.env, capture_output=True, text=True, timeout=120,
                              check=False)
        if done.returncode != 0:
            raise OSError(errno.EIO, done.stderr)
        return done.stdout

    def do_offline(self):
        self.control("offline")

    def do_online(self):
        self.control("online")

    def do_drain(self):
        """Nothing waits for the next attempt to connect."""
        deadline = time.monotonic() + 30 * worlds.PATIENCE
        while True:
            try:
                self.control("sync")
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
            self.process.kill(signal.SIGUSR1)
            time.sleep(0.1)

    def do_sync(self, _box):
        for box in self.boxes():
            self.names(box)

    def do_get(self, box, key):
        (box, name), *others = self.found(box, key)
        return [["msg", box, "", "", " ".join(self.flags(box, name)), "", str(1 + len(others))]]

    def do_discard(self, seq, kind):
        self.control("discard", seq)

    def do_show(self):
        """What is stored is what is shown where nothing is pending."""
        lines = []
        for box in self.boxes():
            lines.append(["box", box, "", "", ""])
            for name in self.names(box):
                flags = " ".join(self.flags(box, name))
                lines.append(["msg", box, "", flags, flags, f"About {key_in(name)}", "shown"])
        lines += [["pending", name] for name in os.listdir(self.path(".imapfs", "queue"))]
        for name in os.listdir(self.path(".imapfs", "failed")):
            lines.append(self.failed(name))
        return lines

    def failed(self, name):
        """As the driver's line of it."""
        seq, kind = FAILED.fullmatch(name).groups()
        with open(self.path(".imapfs", "failed", name, "reason.txt")) as file:
            said = dict(line.rstrip("\n").split(": ", 1) for line in file if ": " in line)
        return ["failed", "", seq, "", said.get("set", ""), said.get("clear", ""), "", kind, "",
                f"About {key_in(said.get('message', ''))}"]
