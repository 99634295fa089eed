#!/usr/bin/env python3
"""Cuts the connection at every byte of the dialogue that sends changes, and requires the same end.

    cuts.py [-k PATTERN] [-j N] [--server dovecot,cyrus,tls] [--how fin,rst,stall] [--stride N]
            [--by-itself]

The driver runs a scenario; after the n-th byte up, or down, from the first SELECT on, the connection
ends, once: fin, rst, or stall (open, and nothing moves any more). It connects again and drains. With
--by-itself nobody tells it to connect at once, so that each cut costs its second of back-off. In the
scenarios of AFTER another client does something between the cut and the next connection.

dovecot: its imap on a socket pair, cutter.c between. cyrus: its TCP port, cutter.c between, so that
the server sees the end or the reset of TCP. tls: Dovecot's TLS port through tests/lib/proxy.py, so
that the client sees them, too, and a byte is one of TLS.
"""
import argparse
import fnmatch
import os
import shlex
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import interrupt  # noqa: E402
import world as worlds  # noqa: E402
from changes import WITHOUT, offline  # noqa: E402
from interrupt import Failed, Scenario  # noqa: E402
from others import append, both, copy, expunge, move, renew, rows, store  # noqa: E402

import proxy  # noqa: E402
import servers  # noqa: E402

CUTTER = os.path.join(worlds.BUILD, "tests", "crash", "crash_cutter")
STALL_MS = 300  # what the driver waits for an answer, when an answer is to stay away

TWO = {"INBOX": "a b:S c:F", "Work": "w"}
DIALOGUES = rows(
    Scenario("one flag", {"INBOX": "a b:S c:F"}, ["flag INBOX a +\\Seen"],
             {"INBOX": "a:S b:S c:F"}),
    Scenario("several", {"INBOX": "a b:S c:F d", "Sent": "s t:S"},
             ["offline", "flag INBOX a,d +\\Seen +work", "flag INBOX b -\\Seen", "set INBOX c \\Seen",
              "flag Sent s,t +\\Answered", "online"],
             {"INBOX": "a:S,work b c:S d:S,work", "Sent": "s:R t:SR"}),
    Scenario("with others", {"INBOX": "a b:S c:F d"},
             ["offline", "flag INBOX a,b,c,d +\\Answered", "flag INBOX c -\\Flagged", "other theirs",
              "online"], {"INBOX": "a:SR c:R,home d:R"},
             {"theirs": both(store("INBOX", "a", "+", "\\Seen"), store("INBOX", "c", "+", "home"),
                             expunge("INBOX", "b"))}),
    Scenario("without CONDSTORE", {"INBOX": "a b:S c:F d"},
             ["offline", "flag INBOX a,b +\\Flagged", "flag INBOX c -\\Flagged", "online"],
             {"INBOX": "a:F b:SF c d"}, profile={"disable": "QRESYNC,CONDSTORE"}),
    Scenario("one refused", {"INBOX": "a b:S c:F"},
             ["offline", f"flag INBOX a +{'k' * 60}", "flag INBOX b +\\Flagged", "online"],
             {"INBOX": "a b:SF c:F"}, failed=[Failed("INBOX", "k" * 60)]),
    # What is placed has no UID of the beginning: where mail cannot be put back, it is made anew.
    Scenario("move", TWO, offline("move INBOX =a,=c Work"), {"INBOX": "b:S", "Work": "w a c:F"}),
    Scenario("copy", TWO, offline("copy INBOX =a,=b Work"),
             {"INBOX": "a b:S c:F", "Work": "w a b:S"}),
    Scenario("append", TWO, offline("append Work n:S"), {"INBOX": "a b:S c:F", "Work": "w n:S"}),
    Scenario("expunge", TWO, offline("expunge INBOX =a"), {"INBOX": "b:S c:F", "Work": "w"}),
    Scenario("mailboxes", TWO, offline("mkbox New", "renbox Work Werk", "move Werk =w New",
                                       "rmbox Werk"), {"INBOX": "a b:S c:F", "New": "w"}),
    Scenario("all kinds", TWO,
             offline("move INBOX =a Work", "copy INBOX =b Work", "append Work n", "append INBOX o:S",
                     "expunge INBOX =c", "flag Work =a +\\Flagged", "move Work =w INBOX"),
             {"INBOX": "b:S o:S w", "Work": "a:F b:S n"}),
    Scenario("move, without MOVE", TWO, offline("move INBOX =a,=c Work"),
             {"INBOX": "b:S", "Work": "w a c:F"}, profile={"disable": "MOVE"}),
    Scenario("placed, without UIDPLUS", TWO,
             offline("move INBOX =a Work", "copy INBOX =b Work", "append Work n:S"),
             {"INBOX": "b:S c:F", "Work": "w a b:S n:S"}, profile=WITHOUT["UIDPLUS"]),
)


# Once the connection is cut, and before it is there again, others do something: whether ours was
# done before is for the mail to say.
def where(key, *boxes):
    """The first of these mailboxes with such a message."""
    def find(world):
        for box in boxes:
            if key in (world.uids(box) or (0, {}))[1].values():
                return box
        return None
    return find


def with_it(key, boxes, function):
    def go(world):
        box = where(key, *boxes)(world)
        if box:
            function(box)(world)
    return go


def fill(box, *words):
    """A message is there, though the mailbox may have to be made for it."""
    def go(world):
        if not world.uids(box):
            world.imap(f'CREATE "{box}"')
        append(box, *words)(world)
    return go


AFTER = rows(
    Scenario("move; theirs moves it on", {**TWO, "Sent": "s"}, offline("move INBOX =a,=c Work"),
             {"INBOX": "b:S", "Work": "w c:F", "Sent": "s a"},
             {"cut": with_it("a", ("Work", "INBOX"), lambda box: move(box, "a", "Sent"))},
             may_fail=("move",)),
    Scenario("move; theirs expunges it", TWO, offline("move INBOX =a,=c Work"),
             {"INBOX": "b:S", "Work": "w c:F"},
             {"cut": with_it("a", ("Work", "INBOX"), lambda box: expunge(box, "a"))},
             may_fail=("move",)),
    Scenario("move; theirs changes its flags", TWO, offline("move INBOX =a,=c Work"),
             {"INBOX": "b:S", "Work": "w a:F c:F"},
             {"cut": with_it("a", ("Work", "INBOX"),
                             lambda box: store(box, "a", "+", "\\Flagged"))}),
    Scenario("move; the target is renewed", TWO, offline("move INBOX =a,=c Work"),
             {"INBOX": "b:S", "Work": "w a c:F"}, {"cut": renew("Work")}),
    Scenario("move; the source is renewed", TWO, offline("move INBOX =a,=c Work"),
             {"INBOX": "b:S", "Work": "w a c:F"}, {"cut": renew("INBOX")}),
    Scenario("move; theirs fills the target", TWO, offline("move INBOX =a Work"),
             {"INBOX": "b:S c:F", "Work": "w a n1 n2:S"}, {"cut": append("Work", "n1", "n2:S")}),
    Scenario("copy; the target is renewed", TWO, offline("copy INBOX =a,=c Work"),
             {"INBOX": "a b:S c:F", "Work": "w a c:F"}, {"cut": renew("Work")}),
    Scenario("copy; theirs expunges the source", TWO, offline("copy INBOX =a,=c Work"),
             {"INBOX": "b:S c:F", "Work": "w a c:F"}, {"cut": expunge("INBOX", "a")},
             ends=[{"INBOX": "b:S c:F", "Work": "w c:F"}], may_fail=("copy",)),
    Scenario("copy; theirs copies the same", TWO, offline("copy INBOX =a Work"),
             {"INBOX": "a b:S c:F", "Work": "w a a"}, {"cut": copy("INBOX", "a", "Work")},
             ends=[{"INBOX": "a b:S c:F", "Work": "w a"}]),
    Scenario("append; the target is renewed", TWO, offline("append Work n"),
             {"INBOX": "a b:S c:F", "Work": "w n"}, {"cut": renew("Work")}),
    Scenario("append; theirs appends others", TWO, offline("append Work n"),
             {"INBOX": "a b:S c:F", "Work": "w n n1 n2:S"}, {"cut": append("Work", "n1", "n2:S")}),
    Scenario("append; theirs moves it on", TWO, offline("append Work n"),
             {"INBOX": "a b:S c:F n", "Work": "w"},
             {"cut": with_it("n", ("Work",), lambda box: move(box, "n", "INBOX"))},
             ends=[{"INBOX": "a b:S c:F", "Work": "w n"},      # it was not there yet
                   {"INBOX": "a b:S c:F n", "Work": "w n"}]),  # not found: appended again
    Scenario("expunge; the mailbox is renewed", TWO, offline("expunge INBOX =a"),
             {"INBOX": "b:S c:F", "Work": "w"}, {"cut": renew("INBOX")},
             ends=[{"INBOX": "a b:S c:F", "Work": "w"}, {"INBOX": "a:T b:S c:F", "Work": "w"}],
             may_fail=("expunge",)),
    Scenario("renbox; theirs makes the old one", TWO, offline("renbox Work Werk", "append Werk n"),
             {"INBOX": "a b:S c:F", "Werk": "w n", "Work": ""},
             {"cut": lambda world: world.uids("Work") or world.imap('CREATE "Work"')},
             ends=[{"INBOX": "a b:S c:F", "Werk": "w n"}]),
    Scenario("mkbox; theirs removes it", TWO, offline("mkbox New"), {**TWO},
             {"cut": lambda world: world.uids("New") and world.imap('DELETE "New"')},
             ends=[{**TWO, "New": ""}], may_fail=("mkbox",)),
    Scenario("mkbox; theirs makes it", TWO, offline("mkbox New", "append New n"),
             {**TWO, "New": "n"},
             {"cut": lambda world: world.uids("New") or world.imap('CREATE "New"')}),
    Scenario("rmbox; theirs removes it", {**TWO, "Old": ""}, offline("rmbox Old"), TWO,
             {"cut": lambda world: world.uids("Old") and world.imap('DELETE "Old"')}),
    Scenario("rmbox; theirs makes it anew", {**TWO, "Old": ""}, offline("rmbox Old"), TWO,
             {"cut": lambda world: world.uids("Old") or world.imap('CREATE "Old"')},
             ends=[{**TWO, "Old": ""}]),
    Scenario("rmbox; theirs fills it", {**TWO, "Old": ""}, offline("rmbox Old"),
             {**TWO, "Old": "n"}, {"cut": fill("Old", "n")}, may_fail=("rmbox",)),
    Scenario("renbox; theirs renames it on", TWO, offline("renbox Work Werk"),
             {"INBOX": "a b:S c:F", "Opus": "w"},
             {"cut": lambda world: world.imap(
                 f'RENAME "{where("w", "Work", "Werk")(world)}" "Opus"')}, may_fail=("renbox",)),
    Scenario("renbox; theirs renames it back", TWO, offline("renbox Work Werk"),
             {"INBOX": "a b:S c:F", "Werk": "w"},
             {"cut": lambda world: world.uids("Work") or world.imap('RENAME "Werk" "Work"')},
             ends=[TWO], may_fail=("renbox",)),
)

# What is expunged does not come back for the next cut; and it takes long keywords.
NOT_CYRUS = ("with others", "one refused", "placed, without UIDPLUS")

# --- servers ------------------------------------------------------------------------------------

class Pipe(worlds.World):
    """Dovecot on a socket pair, through the cutter."""
    cut = None  # "up:17:fin"
    waits = False  # after the cut, until others have done something

    def server(self):
        wait = f"while [ -e {self.cut_file} ] && [ ! -e {self.go_on} ]; do sleep 0.005; done; " \
            if self.waits else ""
        words = [wait + "exec", CUTTER, "--done", self.cut_file, "--report", self.report,
                 *(["--cut", self.cut] if self.cut else []), shlex.quote(self.target())]
        return ["--tunnel", " ".join(words)]

    def target(self):
        return self.tunnel

    cut_file = property(lambda self: os.path.join(self.dir, "cut"))
    go_on = property(lambda self: os.path.join(self.dir, "go-on"))
    report = property(lambda self: os.path.join(self.dir, "report"))

    def reset(self):
        super().reset()
        for name in (self.cut_file, self.go_on):
            if os.path.exists(name):
                os.unlink(name)

    def was_cut(self):
        return os.path.exists(self.cut_file)

    def sizes(self):
        """Bytes (up, down, up before the first SELECT, down before it) of the last run."""
        with open(self.report) as file:
            return [int(word) for word in file.read().split()]


_daemons = {}


def daemon(kind):
    """This process's own server of a kind."""
    if kind not in _daemons:
        _daemons[kind] = kind().start()
        worlds.kept.update(worlds.children())
    return _daemons[kind]


class Cyrus(Pipe):
    """Cyrus on TCP, through the cutter. The mail stays there; flags begin anew each time, and where
    more than flags was changed all begins anew."""

    def target(self):
        return str(self.daemon.plain_port)

    def server(self):
        return [*super().server(), "--user", "alice", "--password", servers.USERS["alice"]]

    def make(self, boxes):
        self.wanted, self.daemon = boxes, daemon(servers.Cyrus)
        self.client = self.daemon.client()
        os.makedirs(self.now)
        self.fill()
        os.rename(self.now, self.start)

    def boxes(self):
        """Mailboxes there."""
        lines = self.client.ask(self.client.imap.list())
        return [worlds.mail.from_modified_utf7(line.decode().rsplit(' "/" ', 1)[1].strip('"'))
                for line in lines]

    def fill(self):
        """The mail of the beginning, and a store that knows it."""
        for box in self.boxes():
            if box != "INBOX":
                self.client.delete(box)
            elif self.client.uids(box):
                self.client.expunge(box, self.client.uids(box))
        for box, words in self.wanted.items():
            if box != "INBOX":
                self.client.create(box)
            for message in worlds.messages(words):
                self.client.append(box, message.raw().replace(b"\n", b"\r\n"), message.flags)
        first = self.drive(["sync *"])
        assert first.code == 0 and not first.errors, f"the first sync failed:\n{first}"
        self.forget_trace()
        self.began = {box: self.uids(box) for box in self.wanted}
        self.first_uids = {(box, key): uid for box, (_, keys) in self.began.items()
                           for uid, key in keys.items()}

    def uids(self, box):
        if box not in self.boxes():
            return None
        return self.client.uidvalidity(box), {uid: key for uid, (key, _) in self.look(box).items()}

    def look(self, box):
        """{uid: (key, flags)}; bytes must be those that it was made of."""
        imap, found = self.client.imap, {}
        self.client.ask(imap.select(self.client.wire(box), readonly=True), box)
        for item in self.client.ask(imap.uid("FETCH", "1:*", "(UID FLAGS BODY.PEEK[])")):
            if not isinstance(item, tuple):
                continue
            uid = int(worlds.re.search(rb"UID (\d+)", item[0]).group(1))
            flags = worlds.re.search(rb"FLAGS \(([^)]*)\)", item[0]).group(1).decode().split()
            found[uid] = worlds.content_of(item[1]), frozenset(flags) - {"\\Recent"}
        imap.unselect()
        self.client.selected = None
        return found

    def reset(self):
        there = {box: self.uids(box) for box in self.boxes()}
        if there != self.began:
            worlds.proc.run("rm", "-rf", self.now)
            os.makedirs(self.now)
            self.cut = None
            self.fill()
            worlds.proc.run("rm", "-rf", self.start)
            worlds.proc.run("cp", "-a", self.now, self.start)
        super().reset()
        for box, words in self.wanted.items():
            self.client.select(box)
            for message in worlds.messages(words):
                self.client.ask(self.client.imap.uid(
                    "STORE", str(self.first_uids[box, message.key]), "FLAGS.SILENT",
                    f"({' '.join(message.flags)})"))

    def on_server(self):
        return {box: worlds.counted(self.look(box).values()) for box in self.boxes()}

    def close(self):
        for box in self.boxes():
            if box != "INBOX":
                self.client.delete(box)
        self.client.close()
        super().close()


class Tls(worlds.World):
    """Dovecot's TLS port through the proxy, which counts what is left to the cut. Its mail is the
    world's, by a symbolic link."""

    def make(self, boxes):
        self.daemon = daemon(servers.Dovecot)
        link = os.path.join(self.daemon.home(), "Maildir")
        if os.path.islink(link):
            os.unlink(link)
        os.symlink(os.path.join(self.now, "mail"), link)
        self.proxy = proxy.Proxy(self.daemon.port).start()
        self.cut = None
        super().make(boxes)

    def server(self):
        if self.cut:
            direction, n, how = self.cut.split(":")
            self.cuts_before = self.proxy.cuts
            self.proxy.cut_after(int(n), direction, how)
        self.before = self.proxy.counted()
        return ["--tls", str(self.proxy.port), "--cafile", self.daemon.tls.ca,
                "--user", "alice", "--password", servers.USERS["alice"]]

    def was_cut(self):
        cut = self.proxy.cuts > self.cuts_before
        self.proxy.resume()
        return cut

    def sizes(self):
        up, down = (now - before for now, before in zip(self.proxy.counted(), self.before))
        return up, down, 0, 0

    def close(self):
        self.proxy.stop()
        super().close()


KINDS = {"dovecot": Pipe, "cyrus": Cyrus, "tls": Tls}


# --- cuts ---------------------------------------------------------------------------------------

class Cuts(interrupt.Runner):
    def __init__(self, scenario, kind, by_itself=False):
        super().__init__(scenario, KINDS[kind])
        self.cuts = 0
        self.more = [] if by_itself else ["--kick"]

    def sizes(self):
        def go():
            self.begin()
            self.last = run = self.drive(more=self.more)
            self.check_end(run)
            return self.world.sizes()
        return self.guarded("whole", go)

    def cut(self, direction, n, how):
        def go():
            self.begin()
            self.world.cut = f"{direction}:{n}:{how}"
            stall = ["--timeout", str(int(STALL_MS * worlds.PATIENCE))] if how == "stall" else []
            self.last = run = self.drive(more=self.more + stall)
            self.world.cut = None
            self.cuts += self.world.was_cut()
            self.check_end(run)
            self.check_quiet()
        self.guarded(f"cut {direction} at {n} by {how}", go)


class CutsAndOthers(Cuts):
    """Others do something between the cut and the next connection."""

    def __init__(self, scenario, kind="dovecot", by_itself=False):
        super().__init__(scenario, kind, by_itself)
        self.world.waits = True

    def sizes(self):
        self.begin()
        run = self.drive(more=self.more)
        interrupt.same("exit", run.code, 0)
        return self.world.sizes()

    def cut(self, direction, n, how):
        def go():
            self.begin()
            self.world.cut = f"{direction}:{n}:{how}"
            stall = ["--timeout", str(int(STALL_MS * worlds.PATIENCE))] if how == "stall" else []
            over = threading.Event()
            other = threading.Thread(target=self.act, args=(over,))
            other.start()
            try:
                self.last = run = self.drive(more=self.more + stall)
            finally:
                over.set()
                other.join()
                self.world.cut = None
            if self.world.was_cut():  # else it was all over before
                self.cuts += 1
                interrupt.same("exit", run.code, 0)
                self.last = again = self.drive()  # perhaps it was the LOGOUT that was cut
                self.check_end(again)
                self.check_quiet()
        self.guarded(f"cut {direction} at {n} by {how}", go)

    def act(self, over):
        while not over.wait(0.005):
            if self.world.was_cut():
                time.sleep(0.02)  # the server has heard of it
                self.other("cut")
                break
        with open(self.world.go_on, "w"):
            pass


def places(sizes, stride):
    """What there is to cut: (direction, n)."""
    up, down, up_before, down_before = sizes
    return [("up", n) for n in range(up_before + 1, up + 1, stride)] + \
        [("down", n) for n in range(down_before + 1, down + 1, stride)]


def run(name, kind, hows, part=0, parts=1, stride=1, by_itself=False):
    """(cuts, runs) of every parts-th place."""
    runner = Cuts(DIALOGUES[name], kind, by_itself) if name in DIALOGUES else \
        CutsAndOthers(AFTER[name], kind, by_itself)
    try:
        todo = [(direction, n, how) for how in hows
                for direction, n in places(runner.sizes(), stride)]
        for direction, n, how in todo[part::parts]:
            runner.cut(direction, n, how)
        return runner.cuts, runner.runs
    finally:
        runner.close()


def work(task):
    started = time.monotonic()
    try:
        return (*task, *run(*task), time.monotonic() - started, None)
    except Exception as error:
        return (*task, 0, 0, time.monotonic() - started, str(error))


def is_task(kind, name, how):
    if name in AFTER:
        return kind == "dovecot"
    if kind == "cyrus":
        return name not in NOT_CYRUS
    return kind != "tls" or how != "stall"  # a handshake has its own, longer patience


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", dest="pattern", default="")
    parser.add_argument("-j", dest="jobs", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--server", default=",".join(KINDS))
    parser.add_argument("--how", default="fin,rst,stall")
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--by-itself", action="store_true")
    options = parser.parse_args()
    known = (*DIALOGUES, *AFTER)
    names = [options.pattern] if options.pattern in known else \
        [name for name in known if fnmatch.fnmatch(name, f"*{options.pattern}*")]
    tasks = [(name, kind, [how], part, 4, options.stride, options.by_itself)
             for kind in options.server.split(",") for name in names
             for how in options.how.split(",") for part in range(4) if is_task(kind, name, how)]
    started, cuts, failed = time.monotonic(), 0, []
    with worlds.workers(options.jobs) as pool:
        for name, kind, how, part, _, _, _, count, runs, seconds, problem in \
                pool.imap_unordered(work, tasks):
            cuts += count
            print(f"{'FAIL' if problem else 'ok  '} {kind:8} {how[0]:6} {name:20} {count:5} cuts "
                  f"{runs:5} runs {seconds:6.1f} s", flush=True)
            if problem:
                failed.append((kind, how[0], name))
                print("    " + problem.replace("\n", "\n    "), flush=True)
    print(f"{cuts} cuts, {len(failed)} failed, {time.monotonic() - started:.0f} s")
    return 1 if failed or not cuts else 0


if __name__ == "__main__":
    sys.exit(main())
