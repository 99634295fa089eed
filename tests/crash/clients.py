#!/usr/bin/env python3
"""Two drivers with stores of their own and a plain IMAP client change the same mail, at random.

    clients.py [--ops N] [--seeds N] [--first SEED] [-j N] [--mounts] [--keep FILE]

Connections are cut at random bytes, the server goes away, clients are offline, are killed and come
back. Every so often all is healed and drained. The history is then checked by model.py.
"""
import argparse
import contextlib
import glob
import json
import os
import random
import re
import select
import shlex
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import interrupt  # noqa: E402
import model  # noqa: E402
import wire as wires  # noqa: E402
import world as worlds  # noqa: E402

import mail  # noqa: E402

CUTTER = os.path.join(worlds.BUILD, "tests", "crash", "crash_cutter")
BOXES = {"INBOX": 10, "Work": 6, "Läden": 4}
FLAGS = ["\\Seen", "\\Flagged", "\\Answered", "\\Draft", "work", "$Later"]
HEAL_EVERY = 200
RESULTS = {None: "ok", "GONE": "gone", "UNREACHABLE": "none"}
MOST = 60                         # messages that stay when all is healed
SLOW_S = 5


class Gone(Exception):
    """The driver was killed."""


class Client:
    """A driver that takes a step at a time."""
    kills_steps = True            # it can tell, when it was killed within one, whether it was made
    settle_s = 10                 # by then it has heard of all that others did
    disable = ""                  # capabilities not to use

    def __init__(self, world, name, connections):
        self.world, self.name, self.connections = world, name, connections
        self.dir = os.path.join(world.dir, name)
        os.makedirs(os.path.join(self.dir, "wire"))
        self.wire = wires.Wire(os.path.join(self.dir, "wire"))
        self.offline = self.down = False
        self.since = 0            # the event with which it went offline
        self.box = None           # the mailbox of its own
        self.step = self.acknowledged = 0
        self.slow = []            # steps that took their time: worth a look, and no failure
        self.process = None
        self.plan("down:0:fin")
        self.begin()
        self.start()

    def begin(self):
        """Before it is started for the first time."""

    def plan(self, cut):
        """Where the next connection that lasts so long is cut."""
        with open(os.path.join(self.dir, "cut"), "w") as file:
            file.write(cut)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.dir, "done"))

    def tunnel(self):
        return (f"[ ! -e {self.dir}/down ] || exit 1; exec {CUTTER} --cut $(cat {self.dir}/cut) "
                f"--done {self.dir}/done --log {self.wire.path} "
                f"{shlex.quote(self.world.tunnel)}")

    def start(self):
        command = [worlds.DRIVER, "--state", f"{self.dir}/state", "--cache", f"{self.dir}/cache",
                   "--letters", self.world.letters, "--connections", str(self.connections), "--kick",
                   "--tunnel", self.tunnel(), "--wait", str(int(20_000 * worlds.PATIENCE)),
                   "--timeout", str(int(2000 * worlds.PATIENCE)), "--disable", self.disable,
                   *(["--debug"] if os.environ.get("IMAPFS_CRASH_DEBUG") else []), "-"]
        with open(os.path.join(self.dir, "log"), "a") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=log)
        self.rest = b""
        self.lines = []
        begun = self.read_until("at")
        self.committed, self.refused = int(begun[-1][1]), "refused" in begun[-1]
        if self.offline:
            self.run("offline")

    def read_until(self, *words):
        """Lines up to one that begins with one of words, split."""
        fd, found = self.process.stdout.fileno(), []
        deadline = time.monotonic() + 60 * worlds.PATIENCE
        while True:
            while self.lines:
                found.append(self.lines.pop(0).decode().split("\t"))
                if found[-1][0] in words:
                    return found
            if not select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]:
                self.tell_where()
                raise AssertionError(f"{self.name} hangs")
            piece = os.read(fd, 1 << 20)
            if not piece:
                raise Gone(self.name)
            *self.lines, self.rest = (self.rest + piece).split(b"\n")

    def tell_where(self):
        """Where its threads are, for who looks for the cause."""
        with open(os.path.join(self.dir, "log"), "a") as log, \
                contextlib.suppress(FileNotFoundError, subprocess.TimeoutExpired):
            subprocess.run(["gdb", "-batch", "-p", str(self.process.pid), "-ex",
                            "thread apply all backtrace"], stdout=log, stderr=log,
                           stdin=subprocess.DEVNULL, timeout=60, check=False)

    def send(self, *words):
        self.step += 1
        os.write(self.process.stdin.fileno(), "\t".join((str(self.step), *words)).encode() + b"\n")
        return self.step

    def run(self, *words):
        """(None or the error's kind, the lines before it)."""
        self.send(*words)
        started = time.monotonic()
        *lines, last = self.read_until("ok", "error")
        if time.monotonic() - started > SLOW_S:
            self.slow.append((time.monotonic() - started, self.name, *words, last))
        if last[0] == "ok" and words[0] in interrupt.DURABLE:
            self.acknowledged = self.step
        return (None if last[0] == "ok" else last[2]), lines

    def kill(self):
        """Dead at once; what it left at the server has ended when this returns."""
        servers = self.children()
        self.end()
        deadline = time.monotonic() + 20 * worlds.PATIENCE
        while any(os.path.exists(f"/proc/{pid}") for pid in servers):
            for pid in servers:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            assert time.monotonic() < deadline, "a server that lost its client does not end"
            time.sleep(0.001)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def children(self):
        found, todo = set(), [self.process.pid]
        while todo:
            pid = todo.pop()
            with contextlib.suppress(OSError):  # it ended meanwhile
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/children") as file:
                        more = [int(word) for word in file.read().split()]
                    found.update(more)
                    todo += more
        return found

    def drop(self):
        """The connections end, as when the network fails."""
        for pid in self.children():
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/comm") as file:
                    if file.read().startswith("crash_cutter"):
                        os.kill(pid, 9)

    def set_down(self, down):
        self.down = down
        path = os.path.join(self.dir, "down")
        if down:
            with open(path, "w"):
                pass
            self.drop()
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()


class Left(Exception):
    """The mailbox has another name by now, or is no more."""


class Plain:
    """The third client: a tunnel, and commands one after the other. Its changes come to "ok", "gone"
    (there was no such message), or "either"."""

    def __init__(self, world):
        self.world, self.tag = world, 0
        self.connect()

    def connect(self):
        self.process = subprocess.Popen(["sh", "-c", self.world.tunnel], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.selected = None
        self.process.stdout.readline()

    def command(self, text, *permitted):
        self.tag += 1
        try:
            self.process.stdin.write(f"c{self.tag} {text}\r\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise Left from error
        return self.answer(*permitted)

    def answer(self, *permitted):
        lines = []
        while True:
            line = self.process.stdout.readline()
            if not line:  # a while after that its server may end, too
                raise Left
            lines.append(line)
            if line.startswith(b"+ "):
                return lines
            if line.startswith(f"c{self.tag} ".encode()):
                if b" NO Mailbox " in line or b" NO [NONEXISTENT]" in line:
                    raise Left
                assert any(word in line for word in (b" OK", *permitted)), line
                return lines

    def select(self, box):
        """What came there since the last command is seen by the next one only when asked for."""
        self.command(f'SELECT "{mail.modified_utf7(box)}"' if self.selected != box else "NOOP")
        self.selected = box

    def has(self, uids):
        return any(b" FETCH (UID " in line for line in self.command(f"UID FETCH {uids} (UID)"))

    def change(self, box, uids, *commands):
        """(what it came to, what was said)"""
        there, lines = False, []
        try:
            self.select(box)
            there = self.has(uids)
            for command in commands:
                lines += self.command(command, b" NO [EXPUNGEISSUED]")
            return ("gone" if not there else "ok" if self.has(uids) else "either"), lines
        except Left:
            self.again()
            return ("either" if there else "gone"), lines

    def store(self, box, uid, plus, minus):
        return self.change(box, uid, *(f"UID STORE {uid} {sign}FLAGS.SILENT ({' '.join(flags)})"
                                       for sign, flags in (("+", plus), ("-", minus)) if flags))[0]

    def append(self, box, flags, raw):
        """A mailbox that is given another name now must not end this."""
        try:
            if self.selected:
                self.command("UNSELECT")
            self.selected = None
        except Left:
            self.again()
        lines = self.command(f'APPEND "{mail.modified_utf7(box)}" ({" ".join(flags)}) {{{len(raw)}}}')
        assert lines[-1].startswith(b"+ ")
        self.process.stdin.write(raw + b"\r\n")
        self.process.stdin.flush()
        return int(re.search(rb"APPENDUID \d+ (\d+)", self.answer()[-1]).group(1))

    def expunge(self, box, uids):
        uids = ",".join(map(str, uids))
        return self.change(box, uids, f"UID STORE {uids} +FLAGS.SILENT (\\Deleted)",
                           f"UID EXPUNGE {uids}")[0]

    def place(self, verb, box, uid, to):
        """(what it came to, the UID that it has there)"""
        result, lines = self.change(box, uid, f'UID {verb} {uid} "{mail.modified_utf7(to)}"')
        for line in lines:
            if given := wires.pairs(line.decode()):
                return "ok", given[uid]
        return ("gone" if lines else result), None

    def again(self):
        self.close()
        self.connect()

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


class Play:
    """One seed."""

    def __init__(self, seed, ops, kind=Client):
        self.random, self.ops = random.Random(seed), ops
        self.world = worlds.World({box: " ".join(f"{box[0].lower()}{i}" for i in range(count))
                                   for box, count in BOXES.items()})
        self.world.reset()
        self.events, self.counts = [], {}
        self.clients = [kind(self.world, "A", 1), kind(self.world, "B", 2)]
        self.plain = Plain(self.world)
        self.made = 0             # messages that were appended
        self.boxes = 0            # mailboxes that were made
        self.ever = {}            # (box, uid): key, those that are gone, too
        self.learn()
        self.copied = set()       # keys that may be in more than one place, or not yet anywhere

    def close(self):
        for client in self.clients:
            client.set_down(False)
            client.close()
        self.plain.close()
        worlds.reap_all(20)
        self.world.close()

    def tell(self, do, **fields):
        self.events.append({"do": do, **fields})
        self.count(fields.get("kind") or fields.get("what", do))

    def count(self, name):
        self.counts[name] = self.counts.get(name, 0) + 1

    def learn(self):
        """What there is now: {(box, uid): key}. A mailbox may be renamed while it is looked at."""
        for _ in range(100):
            with contextlib.suppress(FileNotFoundError):
                self.there = {(box, uid): key for box in self.world.on_server()
                              for uid, key in (self.world.uids(box) or (0, {}))[1].items()}
                break
        self.ever.update(self.there)

    # --- what happens ---

    def some_flags(self):
        flags = self.random.sample(FLAGS, self.random.choice((1, 1, 1, 2, 3)))
        plus = [flag for flag in flags if self.random.random() < 0.5]
        return plus, [flag for flag in flags if flag not in plus]

    def some_key(self):
        keys = sorted(set(self.there.values()))
        return self.random.choice(keys)

    def new_key(self):
        self.made += 1
        return f"new{self.made}"

    def local(self, client):
        dice = self.random.random()
        if dice < 0.45:
            self.local_flags(client)
        elif dice < 0.80:
            self.local_place(client, "move", self.some_key())
        elif dice < 0.87:
            self.local_place(client, "copy", self.some_key())
        elif dice < 0.93:
            self.local_append(client)
        elif dice < 0.97:
            if len(set(self.there.values())) > 12:
                self.local_place(client, "expunge", self.some_key())
        else:
            self.local_mailbox(client)

    def run_step(self, client, words):
        """(result, lines): ok, gone; or none, too, of a client that was killed meanwhile."""
        if self.random.random() < 0.01 and client.kills_steps:
            step = client.send(*words)
            time.sleep(self.random.random() * 0.002)
            self.restart(client)
            return ("none" if client.committed != step else "gone" if client.refused else "ok"), []
        error, lines = client.run(*words)
        if error not in RESULTS:
            raise model.Violation(f"{client.name}: {words}: {error}")
        return RESULTS[error], lines

    def local_flags(self, client):
        key = self.some_key()
        plus, minus = self.some_flags()
        words = ("set", "*", f"={key}", *plus) if self.random.random() < 0.15 else \
            ("flag", "*", f"={key}", *(f"+{flag}" for flag in plus), *(f"-{flag}" for flag in minus))
        result, lines = self.run_step(client, words)
        if words[0] == "set" and result == "ok" and not lines:  # killed: what it is is not known
            plus = minus = [*FLAGS, "\\Deleted"]  # that may be shown, too
        for line in lines:
            if line[0] == "logged":
                plus, minus = line[2].split(), line[3].split()
        self.tell("flag", client=client.name, key=key, set=plus, clear=minus, result=result)
        if client.offline and result == "ok" and key not in self.copied and plus != minus:
            line = self.look(client, "*", key)
            # where another has moved it, and only that was heard of yet, there are two of it, and
            # what was done before may be to the other one
            if line is not None and line[6] == "1":
                self.tell("shown", client=client.name, key=key, since=client.since,
                          flags=line[4].split())

    def look(self, client, box, key):
        error, lines = client.run("get", box, f"={key}")
        return None if error else lines[-1]

    def targets(self, client):
        """The mailboxes of all, and its own."""
        return [*BOXES, *([client.box] if client.box else [])]

    def local_place(self, client, what, key):
        to = self.random.choice(self.targets(client)) if what != "expunge" else None
        if what in ("copy", "expunge"):  # what shows after that was another one of it
            self.copied.add(key)
        words = (what, "*", f"={key}", *([to] if to else []))
        result, lines = self.run_step(client, words)
        source = next((line[1] for line in lines if line[0] == "from"), None)
        if what == "move" and source == to and result == "ok":
            return  # nothing
        self.tell("place", client=client.name, what=what, key=key, result=result, to=to,
                  flags=[], **{"from": source})
        if client.offline and result == "ok" and what != "expunge" and lines:  # not killed meanwhile
            if self.look(client, to, key) is None:
                raise model.Violation(f"event {len(self.events)}: {client.name} does not show what "
                                      f"it did: {words}")

    def local_append(self, client):
        key, flags = self.new_key(), self.some_flags()[0]
        self.world.write_letters(key)
        box = self.random.choice(self.targets(client))
        result, _ = self.run_step(client, ("append", box, key, *flags))
        self.tell("place", client=client.name, what="append", key=key, to=box, flags=flags,
                  result=result, **{"from": None})

    def local_mailbox(self, client):
        """Each has a mailbox of its own, that it makes, names anew, empties and removes."""
        if not client.box:
            self.boxes += 1
            name = f"{client.name}{self.boxes}"
            if self.run_step(client, ("mkbox", name))[0] == "ok":
                client.box = name
        elif self.random.random() < 0.4:
            self.boxes += 1
            name = f"{client.name}{self.boxes}"
            if self.run_step(client, ("renbox", client.box, name))[0] == "ok":
                self.tell("renamed", **{"from": client.box, "to": name})
                client.box = name
        # else: emptied and removed when all is healed, as others may put something in before

    def restart(self, client):
        client.kill()
        client.start()
        if client.committed < client.acknowledged:
            raise model.Violation(f"{client.name}: step {client.acknowledged} was acknowledged, and "
                                  f"{client.committed} is the last in the store")

    def plain_change(self):
        (box, uid), key = self.random.choice(sorted(self.there.items()))
        plus, minus = self.some_flags()
        result = self.plain.store(box, uid, plus, minus)
        if result == "either":
            plus = minus = plus + minus
        if result != "gone":
            self.tell("flag", client=model.PLAIN, key=key, set=plus, clear=minus, result="ok")

    def plain_append(self):
        box, flags, key = self.random.choice(list(BOXES)), self.some_flags()[0], self.new_key()
        raw = worlds.Message(key).raw().replace(b"\n", b"\r\n")
        self.plain.append(box, flags, raw)
        self.tell("place", client=model.PLAIN, what="append", key=key, to=box, flags=flags,
                  result="ok", **{"from": None})

    def plain_place(self):
        """What it names may be gone since it looked: then nothing happens."""
        (box, uid), key = self.random.choice(sorted(self.there.items()))
        what = self.random.choice(("move", "move", "copy"))
        to = self.random.choice([each for each in BOXES if each != box])
        if what == "copy":
            self.copied.add(key)
        result, to_uid = self.plain.place(what.upper(), box, uid, to)
        if result != "gone":
            self.tell("place", client=model.PLAIN, what=what, key=key, to=to, result="ok", flags=[],
                      **{"from": box if result == "ok" else None})
            if what == "move":
                self.tell("moved", client=model.PLAIN, key=key, box=box, uid=uid, to_uid=to_uid)

    def plain_expunge(self):
        (box, uid), key = self.random.choice(sorted(self.there.items()))
        if len(self.there) > 12 and self.plain.expunge(box, [uid]) != "gone":
            self.tell("place", client=model.PLAIN, what="expunge", key=key, to=None, result="ok",
                      flags=[], **{"from": box})

    def trouble(self, client):
        kind = self.random.choice(("offline", "offline", "cut", "cut", "cut", "drop", "down", "kill",
                                   "drain"))
        self.tell("trouble", client=client.name, kind=kind)
        if kind == "offline":
            client.offline = not client.offline
            client.since = len(self.events)
            client.run("offline" if client.offline else "online")
        elif kind == "cut":
            direction = self.random.choice(("up", "down"))
            size = {"up": 600, "down": 3000}[direction]
            client.plan(f"{direction}:{self.random.randrange(1, size)}:"
                        f"{self.random.choice(('fin', 'rst', 'stall'))}")
            client.drop()
        elif kind == "drop":
            client.drop()
        elif kind == "down":
            client.set_down(not client.down)
        elif kind == "kill":
            self.restart(client)
        elif not client.offline and not client.down:
            error, _ = client.run("drain")
            if error is None:
                self.tell("drained", client=client.name)

    # --- and how it ends ---

    def heal(self):
        for client in self.clients:
            client.plan("down:0:fin")
            client.set_down(False)
            if client.offline:
                client.offline = False
                client.run("online")
        for client in self.clients:
            for _ in range(3):  # another may name its mailbox anew meanwhile
                if not client.run("drain")[0]:
                    break
            self.sync(client)
            self.tell("drained", client=client.name)
        self.learn()  # a mailbox that was just renamed has what it had under its new name
        self.tell_sent()
        self.barrier()
        self.tidy()

    def sync(self, client):
        """Another may name its mailbox anew meanwhile."""
        deadline = time.monotonic() + 90 * worlds.PATIENCE
        while error := client.run("sync", "*")[0]:
            self.unlock()
            if time.monotonic() > deadline:
                raise model.Violation(f"{client.name} cannot be brought into sync: {error}")

    def unlock(self):
        """A mailbox that is renamed while another Dovecot has it locked stays locked: its lock file
        has another name when it is to be removed. Each one that comes waits for two minutes, which
        no client does here."""
        for path in glob.glob(f"{self.world.now}/mail/*/dovecot-uidlist.lock"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - os.stat(path).st_mtime > 10:
                    os.unlink(path)
                    self.count("stale lock")

    def barrier(self):
        server = plain(self.world.on_server())
        states = {client.name: self.settled(client, server) for client in self.clients}
        self.tell("barrier", server=server, clients=states)
        self.copied = set()
        self.learn()

    def tidy(self):
        """Of each key one, so that what becomes of its flags is known, and not more and more of
        them; and mailboxes are removed."""
        kept, extra = set(), {}
        found = sorted(self.there.items())
        self.random.shuffle(found)
        for (box, uid), key in found:
            if key in kept or len(kept) == MOST:
                extra.setdefault(box, []).append(uid)
            else:
                kept.add(key)
        for box, uids in extra.items():
            self.plain.expunge(box, uids)
        self.learn()
        for client in self.clients:
            if client.box and self.random.random() < 0.3:
                client.run("sync", "*")
                inside = sorted({key for (box, _), key in self.there.items() if box == client.box})
                error = inside and client.run("move", client.box,
                                              ",".join(f"={key}" for key in inside), "INBOX")[0]
                error = error or client.run("rmbox", client.box)[0]
                if error:
                    raise model.Violation(f"{client.name}: rmbox {client.box}: {error}")
                self.count("rmbox")
                client.run("drain")
                client.box = None
        for client in self.clients:
            client.run("sync", "*")
        server = plain(self.world.on_server())
        own = {client.box for client in self.clients} - {None}
        if set(server) != set(BOXES) | own:
            raise model.Violation(f"mailboxes: {sorted(server)}, and should be {[*BOXES, *own]}")
        self.tell("tidied", server=server,
                  clients={client.name: self.settled(client, server) for client in self.clients})
        self.learn()

    def settled(self, client, server):
        """What it has when it had the time to hear of what others did last: a server tells that of
        itself, and takes its time."""
        deadline = time.monotonic() + client.settle_s * worlds.PATIENCE
        while True:
            state = self.state(client)
            stored = {box: {key: sorted(flags) for key, flags in keys.items()}
                      for box, keys in state["stored"].items() if keys}
            if stored == {box: keys for box, keys in server.items() if keys} or \
                    time.monotonic() > deadline:
                for kind, _, _, _, box in state["failed"]:
                    client.run("discard", box, kind)
                state["failed"] = [fields[:4] for fields in state["failed"]]
                return state
            time.sleep(0.4)  # long enough for its sessions to begin to IDLE
            client.run("sync", "*")

    def state(self, client):
        _, lines = client.run("show")
        state = {"pending": [], "failed": []}
        stored, shown = {}, {}
        for word, *fields in lines:
            if word == "box" and "noselect" not in fields[3]:
                stored[fields[0]], shown[fields[0]] = [], []
            elif word == "msg":
                key = fields[4].removeprefix("About ")
                stored[fields[0]].append((key, fields[2].split()))
                if fields[5] != "hidden":
                    shown[fields[0]].append((key, fields[3].split()))
            elif word == "placed":
                shown[fields[0]].append((fields[3].removeprefix("About "), fields[2].split()))
            elif word == "pending":
                state["pending"].append(fields)
            elif word == "failed":
                state["failed"].append([fields[6], fields[8].rpartition("About ")[2],
                                        fields[3].split(), fields[4].split(), fields[1]])
        for name, boxes in (("stored", stored), ("shown", shown)):
            state[name] = {box: worlds.counted(pairs) for box, pairs in boxes.items()}
        return state

    def tell_sent(self):
        """What went over the wire since the last time, a connection after the other. What came and
        went between two looks has no key: it is not told."""
        for client in self.clients:
            for fact in client.wire.facts():
                getattr(self, f"tell_{fact[0]}")(client, *fact[1:])
            for box, uid in client.wire.unanswered():
                if (box, uid) in self.ever:
                    self.tell("moved", client=client.name, key=self.ever[box, uid], box=box,
                              uid=uid, to_uid=None)

    def tell_store(self, client, box, uids, sign, flags):
        for uid in wires.expand(uids):
            if (box, uid) in self.ever:
                self.tell("sent", client=client.name, key=self.ever[box, uid], plus=sign == "+",
                          flags=flags.split())

    def tell_expunge(self, client, box, uids):
        for uid in wires.expand(uids):
            if (box, uid) in self.ever:
                self.tell("expunged", client=client.name, key=self.ever[box, uid])

    def tell_moved(self, client, box, uid, to, to_uid):
        if key := self.ever.get((box, uid)) or self.ever.get((to, to_uid)):
            self.tell("moved", client=client.name, key=key, box=box, uid=uid, to_uid=to_uid)

    @staticmethod
    def tell_forbidden(client, line):
        raise model.Violation(f"{client.name} sent {line}")

    def play(self):
        self.tell("barrier", server=plain(self.world.on_server()), clients={})
        for client in self.clients:
            client.run("sync", "*")
        for number in range(1, self.ops + 1):
            dice = self.random.random()
            if dice < 0.36:
                self.local(self.clients[0])
            elif dice < 0.72:
                self.local(self.clients[1])
            elif dice < 0.85:
                self.plain_change()
            elif dice < 0.92:
                self.plain_place()
            elif dice < 0.94:
                self.plain_append()
            elif dice < 0.95:
                self.plain_expunge()
            else:
                self.trouble(self.random.choice(self.clients))
            self.learn()
            if number % HEAL_EVERY == 0 or number == self.ops:
                self.heal()
        return self.events


def plain(boxes):
    return {box: {key: sorted(flags) for key, flags in keys.items()} for box, keys in boxes.items()}


def play(seed, ops, keep=None, kind=Client):
    """Plays and checks one seed; returns (the model, what happened)."""
    play = Play(seed, ops, kind)
    try:
        play.play()
        play.counts["slow"] = [slow for client in play.clients for slow in client.slow]
        return model.check(play.events), play.counts
    finally:
        if keep:
            for client in play.clients:
                subprocess.run(["cp", "-rT", client.dir, f"{keep}.{seed}.{client.name}"], check=True)
            with open(f"{keep}.{seed}", "w") as file:
                file.writelines(json.dumps(event) + "\n" for event in play.events)
        play.close()


def work(task):
    seed, ops, keep, is_mounted, disable = task
    started = time.monotonic()
    try:
        kind = Client
        if is_mounted:
            import mounted
            kind = mounted.MountClient
        kind.disable = disable
        checked, counts = play(seed, ops, keep, kind)
        return seed, f"{counts} {checked.writes_seen} writes, {checked.places_seen} placed, " \
            f"{checked.exact} of them exactly known, {checked.barriers} checks", None, \
            time.monotonic() - started
    except Exception as error:
        return seed, "", f"{type(error).__name__}: {error}", time.monotonic() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ops", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("-j", dest="jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--mounts", action="store_true", help="real ones, in the drivers' place")
    parser.add_argument("--disable", metavar="CAP,...", default="", help="not to use")
    parser.add_argument("--keep", help="leave the histories in FILE.SEED")
    options = parser.parse_args()
    tasks = [(seed, options.ops, options.keep, options.mounts, options.disable)
             for seed in range(options.first, options.first + options.seeds)]
    failed = 0
    with worlds.workers(options.jobs) as pool:
        for seed, counts, problem, seconds in pool.imap_unordered(work, tasks):
            print(f"{'FAIL' if problem else 'ok  '} seed {seed} {seconds:6.1f} s {counts}"
                  f"{problem or ''}", flush=True)
            failed += problem is not None
    print(f"{options.seeds} seeds of {options.ops} operations, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
