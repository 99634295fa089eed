"""Runs a scenario whole, and then interrupts it at every step, and requires the same end.

After each interruption the driver is started again, goes on with its script after what is in its
store, and must come to the same end: on the server, in the store, in its log. What it had
acknowledged must be in its store; and once more started, it sends nothing that changes anything.
"""
import dataclasses
import re

import world as worlds
from world import Message, flags_of

# Steps that are committed with their number; those of them that name messages.
NAMING = ("flag", "set", "move", "copy", "expunge")
DURABLE = (*NAMING, "cancel", "confirm", "retry", "discard", "append", "mkbox", "rmbox", "renbox")
STORE_ERRORS = ("STORE", "FULL")


@dataclasses.dataclass
class Failed:
    """A parked operation: of which mailbox, what it wanted, and words of its reason."""
    box: str
    set: str = ""
    clear: str = ""
    words: str = ""
    kind: str = "flags"


@dataclasses.dataclass
class Scenario:
    name: str
    boxes: dict                  # name: messages
    steps: list                  # of the driver; KEYs stand for UIDs; ends in drain and sync
    want: dict                   # name: messages, what is on the server in the end
    others: dict = dataclasses.field(default_factory=dict)  # name: function(world)
    profile: dict = dataclasses.field(default_factory=dict)
    shown: dict = dataclasses.field(default_factory=dict)   # as want, where the tree shows other flags
    failed: list = dataclasses.field(default_factory=list)
    errors: dict = dataclasses.field(default_factory=dict)  # step's number from 1: kind
    maybe: dict = dataclasses.field(default_factory=dict)   # as errors, or none
    stores: int = 8              # at most so many STORE commands when nothing is interrupted
    sends: dict = dataclasses.field(default_factory=dict)   # the same of others: {"UID MOVE": 1}
    never: tuple = ()            # commands that are not sent, whatever is interrupted
    hidden: list = dataclasses.field(default_factory=list)  # (box, uid) that the server only marked
    ends: list = dataclasses.field(default_factory=list)    # as want: others that are as right
    may_fail: tuple = ()         # kinds that may be parked, or not
    whole_only: bool = False     # its steps depend on what was sent: not interrupted
    heavy: bool = False          # too long for every step of it: a slice
    slow: bool = False           # each run waits for a pause of the program's own: a thinner slice

    def script(self, uids):
        """Keys become UIDs ({(box, key): uid} of the beginning); and the end is the same for all."""
        lines = []
        for step in [*self.steps, "drain", "sync *"]:
            words = list(step) if isinstance(step, tuple) else step.split()
            if words[0] in NAMING:
                words[2] = ",".join(self.named(uids, words[1], key) for key in words[2].split(","))
            elif words[0] == "append":
                message = Message(words[2])
                words[2:3] = [message.content, *sorted(message.flags)]
            elif words[0] in DURABLE and len(words) > 2 and (words[1], words[2]) in uids:
                words[2] = str(uids[words[1], words[2]])
            lines.append(tuple(words))
        return lines

    def named(self, uids, box, key):
        """=KEY: the message that is there then, whatever its UID."""
        if key[0] in "=+" or re.fullmatch("[0-9:]+", key):
            return key
        return str(uids.get((box, key)) or "=" + self.contents().get(key, key))

    def contents(self):
        return {message.key: message.content for words in self.boxes.values()
                for message in worlds.messages(words)}

    def letters(self):
        steps = [step if isinstance(step, tuple) else step.split() for step in self.steps]
        return " ".join(step[2] for step in steps if step[0] == "append")


class Difference(AssertionError):
    pass


def same(what, got, want):
    if got != want:
        raise Difference(f"{what}:\n    got  {got}\n    want {want}")


class Runner:
    """A scenario in a world of its own."""

    def __init__(self, scenario, world=worlds.World):
        self.scenario = scenario
        self.world = world(scenario.boxes, scenario.profile)
        self.world.write_letters(scenario.letters())
        self.script = scenario.script(self.world.first_uids)
        self.interruptions = self.runs = 0
        self.done = set()

    def close(self):
        self.world.close()

    def begin(self):
        self.world.reset()
        self.done = set()

    def drive(self, fault=None, more=(), leaks=False):
        self.runs += 1
        return self.world.drive(self.script, {name: lambda name=name: self.other(name)
                                              for name in self.scenario.others}, fault, more, leaks)

    def other(self, name):
        """What another client does happens once, however often the driver comes by."""
        if name not in self.done:
            self.done.add(name)
            self.scenario.others[name](self.world)

    # --- what must hold ---

    def check_errors(self, run):
        for step, (kind, words) in run.errors.items():
            if self.script[step - 1][0] == "drain":  # that tells what was parked
                continue
            if kind != self.scenario.maybe.get(step):
                same(f"step {step}, {words}", kind, self.scenario.errors.get(step))

    def check_end(self, run):
        if run.code != 0:
            raise Difference(f"exit {run.code}")
        self.check_errors(run)
        server = self.world.on_server()
        wants = [{box: flags_of(words) for box, words in want.items()}
                 for want in (self.scenario.want, *self.scenario.ends)]
        want = next((want for want in wants if readable(want) == readable(server)), wants[0])
        same("on the server", readable(server), readable(want))
        same("in the store", readable(self.stored(run, 0)), readable(want))
        shown = {**want, **{box: flags_of(words) for box, words in self.scenario.shown.items()}}
        same("shown", readable(self.stored(run, 1)), readable(shown))
        same("pending", run.pending, [])
        got = sorted((op[6], *op[1:2], *op[3:5]) for op in run.failed
                     if op[6] not in self.scenario.may_fail)
        same("failed", got, sorted((f.kind, f.box, f.set, f.clear) for f in self.scenario.failed))
        for failed in self.scenario.failed:
            if not any(op[1] == failed.box and failed.words in op[5] for op in run.failed):
                raise Difference(f"no reason says \"{failed.words}\": {run.failed}")
        self.check_nothing_left(run)

    def check_nothing_left(self, run):
        """What is pending goes with its operation; and no mailbox is shown that is not there."""
        same("shown as pending", run.placed, [])
        parked = sum(op[6] in ("move", "copy", "append") for op in run.failed)
        if run.strays > parked:
            raise Difference(f"{run.strays} pending messages, and {parked} that were parked")
        appended = sum(op[6] == "append" for op in run.failed)
        same("letters in the spool", len(self.world.spooled()), appended)
        same("hidden", run.hidden, self.scenario.hidden)
        same("mailboxes", sorted(box for box, words in run.words.items()
                                 if "noselect" not in words), sorted(self.world.on_server()))
        same("mailboxes still to be made or removed",
             [box for box, words in run.words.items() if {"local", "doomed"} & set(words)], [])
        for line in self.world.changes():
            verb = verb_of(line)
            if verb in ("EXPUNGE", "CLOSE") or verb in self.scenario.never:
                raise Difference(f"it sent {line}")

    def stored(self, run, which):
        """{box: {key: flags}} of the store: which 0: of the server, 1: what is shown."""
        found = {}
        for box in run.boxes:
            known = self.world.uids(box)
            if not known:
                continue
            uidvalidity, keys = known
            same(f"UIDVALIDITY of {box}", run.boxes[box], uidvalidity)
            mine = {uid: flags[which] for (name, uid), flags in run.store.items()
                    if name == box and not (which and (name, uid) in run.hidden)}
            if set(mine) - set(keys):
                raise Difference(f"messages in {box} that the server does not have: "
                                 f"{sorted(set(mine) - set(keys))}")
            found[box] = worlds.counted((keys[uid], flags) for uid, flags in mine.items())
        return found

    def check_kept(self, told, begun):
        """What was told to be done is in the store."""
        for step in (step for step in told if step > begun):
            if self.script[step - 1][0] in DURABLE:
                raise Difference(f"step {step} was acknowledged and is lost (step {begun} is there)")

    def check_quiet(self):
        self.world.forget_trace()
        run = self.drive()
        same("commands of a run with nothing to do", self.world.changes(), [])
        self.check_end(run)

    def guarded(self, what, function):
        """A difference says where it came from, with all runs of this interruption."""
        try:
            return function()
        except Exception as error:
            where = f"{self.scenario.name} {what}: {error}"
            raise Difference(f"{where}\n{getattr(self, 'last', '')}") from error

    # --- ways to run ---

    def whole(self):
        """Nothing is interrupted. Returns (bytes out, bytes in) and of these the part before the
        first mailbox is selected, for those who want only the rest."""
        def go():
            self.begin()
            self.last = run = self.drive(leaks=True)
            self.check_end(run)
            for step, kind in self.scenario.errors.items():
                same(f"error of step {step}", run.errors.get(step, ("none",))[0], kind)
            self.check_sent()
            sizes = trace_sizes(self.world.trace)
            self.check_quiet()
            return sizes
        return self.guarded("whole", go)

    def check_sent(self):
        """No more commands than need be."""
        allowed = {"UID STORE": self.scenario.stores, **self.scenario.sends}
        sent = {}
        for line in self.world.changes():
            sent.setdefault(verb_of(line), []).append(line)
        for verb, lines in sent.items():
            if len(lines) > allowed.get(verb, 0):
                raise Difference(f"{len(lines)} {verb} commands: {lines[:5]}")

    def once(self, fault, second_fault=None):
        """One interruption; False: it was not reached."""
        def go():
            self.begin()
            self.last = first = self.drive(fault)
            if not first.killed:
                self.check_end(first)
                return False
            self.interruptions += 1
            if fault.endswith("=power"):
                self.world.another_boot()
            acknowledged = first.acknowledged
            if second_fault:
                self.last = second = self.drive(second_fault)
                self.interruptions += second.killed
                if second.lines:
                    self.check_kept(range(acknowledged + 1), second.begun)
                acknowledged = max(acknowledged, second.acknowledged)
            self.last = again = self.drive()
            self.check_kept(range(acknowledged + 1), again.begun)
            self.check_end(again)
            self.check_quiet()
            return True
        return self.guarded(f"{fault} {second_fault or ''}", go)

    def each(self, point, kind="kill", start=1, stride=1, stop=None):
        """At the n-th pass of a point for every n, until it is no longer reached."""
        n = start
        while (stop is None or n < stop) and self.once(f"{point}:{n}={kind}"):
            n += stride
        return n

    def some(self, point, first, last, count, kind="kill"):
        """At `count` passes between first and last, others in each scenario."""
        step = max(1, (last - first + 1) // count)
        begin = first + sum(map(ord, self.scenario.name)) % step
        self.each(point, kind, begin, step, last + 1)

    def twice(self, stride=1):
        """Killed, and while it recovers killed again: every n with an m that goes with it."""
        n = 1
        while self.once(f"*:{n}=kill", f"*:{1 + (n * 7) % 11}=kill"):
            n += stride

    def broken(self, fault):
        """The disk fails once or from then on; what fails is told, and later all is done.
        False: it was not reached."""
        def go():
            self.begin()
            patience = ["--wait", str(int(1000 * worlds.PATIENCE))] if fault.endswith("+") else []
            self.last = first = self.drive(fault, ["--again", *patience])
            if first.killed or first.code < 0:
                raise Difference(f"ended by signal {-first.code}")
            for step, (kind, words) in first.errors.items():
                if self.script[step - 1][0] in DURABLE and kind not in STORE_ERRORS:
                    same(f"step {step}, {words}", kind, self.scenario.errors.get(step))
            if "IMAPFS_FAULT:" not in first.log:
                self.check_end(first)
                return False
            self.interruptions += 1
            self.last = again = self.drive()
            self.check_kept(first.good, again.begun)
            self.check_end(again)
            self.check_quiet()
            return True
        return self.guarded(fault, go)

    def each_broken(self, point, kind, start=1, stride=1):
        n = start
        while self.broken(f"{point}:{n}={kind}"):
            n += stride


def verb_of(line):
    """"C: a1 UID STORE 1 ..." is "UID STORE"."""
    words = line.split()[2:]
    return " ".join(words[:2] if words[0].upper() == "UID" else words[:1]).upper()


def readable(boxes):
    return {box: " ".join(f"{key}:{'+'.join(sorted(flags))}" for key, flags in sorted(keys.items()))
            for box, keys in sorted(boxes.items())}


def trace_sizes(path):
    """(out, in, out before the first SELECT, in before it), bytes by the trace of one run."""
    out = into = 0
    before = None
    with open(path, "rb") as file:
        for line in file:
            size = len(line) - 4 + 1  # "C: " and a line end that was CRLF
            if line.startswith(b"C: "):
                if before is None and b" SELECT " in line:
                    before = (out, into)
                out += size
            elif line.startswith(b"S: "):
                into += size
    return (out, into, *(before or (0, 0)))


__all__ = ["Difference", "Failed", "Message", "Runner", "Scenario"]
