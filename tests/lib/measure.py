#!/usr/bin/env python3
"""Measures what scripts/measure prints: times, bytes, memory, on a link of 50 ms and 20 Mbit/s."""
import os
import re
import shlex
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import mail
import mount as mounts
import proc
import proxy
import servers

RTT_MS, MBIT = 50, 20
rows = []


def row(what, value, unit, bound=None):
    """One line of the table; bound: the most it may be."""
    missed = bound is not None and value > bound
    rows.append(missed)
    limit = "" if bound is None else f"{bound:12.2f}"
    print(f"{what:<58} {value:12.2f} {unit:<3} {limit:>12}{'   MISSED' if missed else ''}",
          flush=True)


def timed(*command):
    """Wall seconds of a command."""
    began = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=600)
    return time.monotonic() - began


class Link:
    """A server behind the link, and a home to mount from."""

    def __init__(self, server):
        self.server, self.home = server, mounts.Home()
        self.proxy = proxy.Proxy(server.port, RTT_MS, MBIT).start()

    def mount(self, *options):
        source, more = self.server.source(port=self.proxy.port)
        return mounts.Mount(source, [*more, *options], self.home)

    def moved(self):
        return sum(self.proxy.counted())

    def quiet(self, seconds=1.0):
        """Waits until nothing has moved for a while; returns the bytes moved so far."""
        while True:
            before = self.moved()
            time.sleep(seconds)
            if self.moved() == before:
                return before

    def cost_of(self, action):
        """(seconds, bytes) of an action, the link being quiet before."""
        before, began = self.quiet(), time.monotonic()
        action()
        seconds = time.monotonic() - began
        return seconds, self.quiet() - before


def server_with(count, size):
    server = servers.Dovecot()
    box = os.path.join(server.home(), "Maildir")
    mail.quick_maildir(box, count, size)
    servers.give(server.home())
    server.start()
    with server.client() as client:  # Dovecot's own index, as of a mailbox in use
        client.select("INBOX")
        client.imap.uid("FETCH", "1:*",
                        "(FLAGS RFC822.SIZE INTERNALDATE ENVELOPE BODYSTRUCTURE)")
    return server


def listing():
    """10,000 messages of 6 KB: the first ls, ls -l, the next mount's, an idle resync."""
    count = 10_000
    server = server_with(count, 6000)
    for run, (command, bound) in enumerate((("ls", 3.0), ("ls -l", 6.0))):
        link = Link(server)
        mounted = link.mount()
        words = command.split()
        if run == 0:
            seconds, size = link.cost_of(lambda: timed(*words, mounted.path("INBOX")))
            assert len(mounted.messages("INBOX")) == count
            row("first ls of 10,000 messages", seconds, "s", bound)
            row("    bytes moved", size / 1e6, "MB")
            row("    ls -l after it", timed("ls", "-l", mounted.path("INBOX")), "s")
            mounted.unmount()
            again_bytes = link.moved()
            began = time.monotonic()
            mounted = link.mount()
            ready = time.monotonic() - began
            seconds = timed("ls", mounted.path("INBOX"))
            row("next mount", ready, "s")
            row("    its first ls", seconds, "s", 3 * RTT_MS / 1000 + 0.5)
            assert len(mounted.messages("INBOX")) == count
            row("    all bytes of mount, login and resync", (link.quiet() - again_bytes) / 1e3,
                "KB")
            seconds, size = link.cost_of(lambda: (link.proxy.cut("fin"), time.sleep(3),
                                                  timed("ls", mounted.path("INBOX"))))
            row("    reconnect, login, resync after a cut", size / 1e3, "KB")
        else:
            row("first ls -l of 10,000 messages", timed(*words, mounted.path("INBOX")), "s", bound)
        mounted.unmount()
        link.proxy.stop()
    resync(server)
    server.stop()


def resync(server):
    """Bytes of a resync alone, in clear over a tunnel through the link: no TLS, no login."""
    link = Link(server)
    mounted = link.mount("poll=3600")
    timed("ls", mounted.path("INBOX"))
    mounted.read("INBOX", mounted.messages("INBOX")[1], "body.txt")
    mounted.unmount()
    start = link.quiet()
    mounted = link.mount("poll=3600")
    ready = link.quiet()
    timed("ls", mounted.path("INBOX"))
    row("connect, TLS, login, LIST", (ready - start) / 1e3, "KB")
    row("resync with nothing changed", (link.quiet() - ready) / 1e3, "KB", 4.0)
    mounted.unmount()
    link.proxy.stop()


def attachment():
    """The text of a message with a 40 MB attachment."""
    server = servers.Dovecot()
    made = mail.big(1, 40 << 20)
    server.prefill("INBOX", [(made.raw, made.date)])
    server.start()
    link = Link(server)
    mounted = link.mount()
    path = mounted.message("INBOX", 1)
    os.listdir(path)
    file = os.path.join(path, "body.txt")
    seconds, size = link.cost_of(lambda: timed("cat", file))
    assert mounted.text("INBOX", os.path.basename(path), "body.txt") == made.text
    row("cat body.txt beside 40 MB: bytes beyond the text", (size - len(made.text)) / 1e3, "KB",
        8.0)
    row("    time", seconds, "s")
    mounted.unmount()
    link.proxy.stop()
    server.stop()


RAW_FETCH = """
import ssl, socket, sys, time
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
sock = context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
stream = sock.makefile("rb")
stream.readline()
for tag, command in enumerate(("LOGIN %s %s" % tuple(sys.argv[2:4]), "EXAMINE INBOX")):
    sock.sendall(b"%d %s\\r\\n" % (tag, command.encode()))
    while not stream.readline().startswith(b"%d " % tag):
        pass
began = time.monotonic()
sock.sendall(b"9 UID FETCH 1 BODY.PEEK[2]\\r\\n")
left = int(stream.readline().split(b"{")[1].split(b"}")[0])
while left:
    left -= len(stream.read(min(left, 1 << 18)))
while not stream.readline().startswith(b"9 "):
    pass
print(time.monotonic() - began)
"""


def raw_fetch(link):
    """Seconds of one FETCH of the attachment, by a client that does nothing else."""
    user, password = next(iter(servers.USERS.items()))
    done = subprocess.run([sys.executable, "-c", RAW_FETCH, str(link.proxy.port), user, password],
                          stdout=subprocess.PIPE, check=True, timeout=600)
    return float(done.stdout)


def ranges():
    """Parts of a 40 MB attachment, and a copy of it beside one FETCH on the same link."""
    size, turns = 40 << 20, 3
    server = servers.Dovecot()
    made = mail.big(1, size)
    server.prefill("INBOX", [(made.raw, made.date)])
    server.start()
    name, data = made.attachments[0]
    moved, times = {"head -c 65536": [], "64 KB of its middle": []}, {"cp": [], "fetch": []}
    most = 0.0
    for turn in range(turns):
        link = Link(server)
        mounted = link.mount()
        path = os.path.join(mounted.message("INBOX", 1), "attachments", name)
        os.stat(path)
        for what, command in (("head -c 65536", ["head", "-c", "65536", path]),
                              ("64 KB of its middle", [
                                  "dd", "bs=65536", "count=1", "status=none",
                                  "iflag=skip_bytes", f"skip={size // 2 + 777 * turn}",
                                  f"if={path}"])):
            moved[what].append(link.cost_of(lambda command=command: timed(*command))[1])
        link.quiet()
        times["cp"].append(timed("cp", path, os.path.join(mounted.home.dir, "copy")))
        with open(os.path.join(mounted.home.dir, "copy"), "rb") as file:
            assert file.read() == data
        most = max(most, mounted.rss_kb("VmHWM") / 1024)
        mounted.unmount()
        times["fetch"].append(raw_fetch(link))
        link.proxy.stop()
    for what, sizes in moved.items():
        row(f"{what}, attachment of 40 MB, median of {turns}", statistics.median(sizes) / 1e3, "KB",
            150.0)
    cp, fetch = (statistics.median(times[what]) for what in ("cp", "fetch"))
    row("cp of it", cp, "s")
    row("    one raw FETCH of it takes", fetch, "s")
    row("    by how much the copy is slower", 100 * (cp - fetch) / cp, "%", 10.0)
    row("    the most memory (RSS) there ever was", most, "MB", 32.0)
    server.stop()


def changes():
    """From the server's word to the sight of it, over the link."""
    server = servers.Dovecot()
    server.prefill("INBOX", [(mail.quick(n), None) for n in range(100)])
    server.start()
    link = Link(server)
    mounted = link.mount()
    names = mounted.messages("INBOX")
    flags = mounted.path("INBOX", names[1], "flags")
    mounted.read(flags)
    watcher = servers.Watcher(server.client(), "INBOX")
    time.sleep(1)
    late = {"new message": [], "expunge": [], "flag change": []}
    with server.client() as client:
        for turn in range(5):
            uid = turn + 10
            for what, change, word, seen in (
                    ("new message", lambda: client.append("INBOX", mail.quick(1000)), rb"EXISTS",
                     lambda turn=turn: len(mounted.messages("INBOX")) == 101),
                    ("expunge", lambda uid=uid: client.expunge("INBOX", [uid]), rb"EXPUNGE",
                     lambda: len(mounted.messages("INBOX")) == 100),
                    ("flag change", lambda turn=turn: client.store(
                        "INBOX", 1, "FLAGS", [f"mark{turn}"]), rb"FETCH",
                     lambda turn=turn: b"mark%d" % turn in mounted.read(flags))):
                began = time.monotonic()
                change()
                proc.wait_for(seen, 30, 0.002, what)
                # the program may hear it before the watcher does
                late[what].append(max(0.0, time.monotonic() - watcher.when(word, began)))
    for what, times in late.items():
        row(f"{what}: after the server's word, worst of 5", max(times), "s", 1.0)
        row("    median", statistics.median(times), "s")
    watcher.close()
    mounted.unmount()
    link.proxy.stop()
    server.stop()


def flags():
    """A flag change: its commit to the disk, and the whole call that makes it; alone, by eight
    callers at once, and one after the other without the network."""
    server = servers.Dovecot()
    server.prefill("INBOX", [(mail.quick(n), None) for n in range(100)])
    server.start()
    link = Link(server)
    mounted = link.mount("debug=fuse")
    paths = [mounted.path("INBOX", name, "flags") for name in mounted.messages("INBOX").values()]

    def change(path, turn, times):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        began = time.perf_counter()
        os.write(descriptor, b"%cmark\n" % b"+-"[turn % 2])
        times.append((time.perf_counter() - began) * 1000)
        os.close(descriptor)

    for words in ("online", "offline"):
        for order in ("sync", words):
            subprocess.run([mounts.CONTROL, order, mounted.mountpoint], check=True, timeout=60)
        before, times = len(mounted.output()), []
        for turn in range(1000):
            change(paths[turn // 2 % len(paths)], turn, times)
            time.sleep(0.002)
        commits = [int(us) / 1000 for us in re.findall(
            r": 1 changes in \d+ us, of which commit (\d+)", mounted.output()[before:])]
        row(f"a flag change, {words}: commit, median", statistics.median(commits), "ms", 1.5)
        row("    whole call, median", statistics.median(times), "ms")
        row("    whole call, 99th of 100", statistics.quantiles(times, n=100)[98], "ms")
    times = []
    threads = [threading.Thread(target=lambda path=path: [change(path, turn, times)
                                                          for turn in range(200)])
               for path in paths[:8]]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    row("    8 callers at once: changes a second", len(times) / (time.monotonic() - began), "/s")
    row("    8 callers at once: whole call, median", statistics.median(times), "ms")
    mounted.unmount()
    link.proxy.stop()
    server.stop()


def replay():
    """10,000 changes in 20 mailboxes, made without the network: how soon the server has them, by
    how many commands; and one change online until the server has it."""
    boxes, each = 20, 500
    server = servers.Dovecot()
    for box in range(boxes):
        server.prefill(f"Box{box:02}", [(mail.quick(n, 700), None) for n in range(each)])
    server.start()
    link = Link(server)
    mounted = link.mount("debug=imap")
    listed = {f"Box{box:02}": mounted.messages(f"Box{box:02}") for box in range(boxes)}

    def control(word):
        subprocess.run([mounts.CONTROL, word, mounted.mountpoint], check=True, timeout=120)

    def change(name):
        for uid, directory in listed[name].items():
            with open(mounted.path(name, directory, "flags"), "a") as file:
                file.write("+\\Flagged\n" if uid % 2 else "+work\n")
    control("offline")
    threads = [threading.Thread(target=change, args=(name,)) for name in listed]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(mounted.list(".imapfs", "queue")) == boxes * each
    said, began = len(mounted.output()), time.monotonic()
    control("online")
    control("sync")
    row("10,000 changes in 20 mailboxes: from online to done", time.monotonic() - began, "s", 3.0)
    row("    UID STORE commands", mounted.output()[said:].count(" UID STORE "), "", 40)
    with server.client() as client:
        for name in listed:
            assert all(("\\Flagged" if uid % 2 else "work") in kept
                       for uid, kept in client.flags(name).items())
    times = []
    path = mounted.path("Box00", listed["Box00"][1])
    message = os.open(path, os.O_RDONLY)  # its fsync waits for the server
    for turn in range(21):
        with open(os.path.join(path, "flags"), "ab", buffering=0) as file:
            began = time.monotonic()
            file.write(b"%cmark\n" % b"+-"[turn % 2])
            os.fsync(message)
            times.append((time.monotonic() - began) * 1000)
        time.sleep(0.3)  # it is in IDLE again
    os.close(message)
    row("a change online until the server has it: median", statistics.median(times[1:]), "ms",
        RTT_MS + 50)
    row("    the first, which selects the mailbox", times[0], "ms")
    mounted.unmount()
    link.proxy.stop()
    server.stop()


def moves():
    """Messages that are moved, copied, appended and deleted, by a shell while there is a connection
    and without one: what the calls take, how soon the server has them, by how many commands."""
    server = servers.Dovecot()
    server.prefill("From", [(mail.quick(n, 6000), None) for n in range(4000)])
    server.prefill("To", [])
    server.start()
    link = Link(server)
    mounted = link.mount("debug=imap", "delete=expunge", "guard=0")
    names = [mounted.path("From", name) for _, name in sorted(mounted.messages("From").items())]
    to = mounted.path("To")
    letters = os.path.join(mounted.home.dir, "letters")
    os.mkdir(letters)
    for number in range(200):
        with open(os.path.join(letters, f"{number}.eml"), "wb") as file:
            file.write(mail.quick(5000 + number, 20_000))

    def control(word):
        subprocess.run([mounts.CONTROL, word, mounted.mountpoint], check=True, timeout=120)

    def row_of(what, verb, lines, offline, seconds, commands, per_change):
        """A shell's lines, one a change. seconds: for the server to have all of them, from the
        last line on; of appends from the first."""
        script = os.path.join(mounted.home.dir, "script")
        with open(script, "w") as file:
            file.write("set -e\n" + "\n".join(lines) + "\n")
        if offline:
            control("offline")
        said, before, began = len(mounted.output()), link.quiet(), time.monotonic()
        subprocess.run(["bash", script], check=True, timeout=300)
        ended = time.monotonic()
        row(f"{what}, {'offline' if offline else 'online'}: one of {len(lines):,} calls",
            (ended - began) * 1000 / len(lines), "ms")
        if offline:
            said, before, began = len(mounted.output()), link.quiet(), time.monotonic()
            control("online")
        control("sync")
        since = began if offline or verb == "APPEND" else ended
        row("    until the server has all of them", time.monotonic() - since, "s", seconds)
        row(f"    {verb} commands", len(re.findall(rf" {verb} ", mounted.output()[said:])), "",
            commands)
        row("    bytes moved, a change", (link.quiet() - before) / len(lines), "", per_change)

    def each(verb, some, end=""):
        return [f"{verb} {shlex.quote(path)}{end}" for path in some]

    def letter(word):
        return [f"cp {letters}/{n}.eml {to}/{word}{n}.eml" for n in range(200)]

    letter_s = 2 + 200 * 20_000 / 2.5e6
    for offline in (False, True):
        word, some = ("b", names[2000:]) if offline else ("a", names[:2000])
        row_of("mv to another mailbox", "UID MOVE", each("mv", some[:1000], f" {to}/"), offline,
               3.0, 20, 200)
        verb = "ln -L" if offline else "cp"  # who has nothing of it here can link it, not copy it
        row_of(f"{verb[:2]} of a message", "UID COPY",
               [f"{verb} {shlex.quote(path)}/message.eml {to}/{word}c{n}.eml"
                for n, path in enumerate(some[1000:1500])], offline, 3.0, 20, 200)
        row_of("cp of a letter of 20 KB", "APPEND", letter(word), offline, letter_s, 200, 22_000)
        row_of("rm -r of a message", "UID EXPUNGE", each("rm -r", some[1000:2000]), offline, 3.0,
               20, 200)
    with server.client() as client:
        assert len(client.flags("To")) == 3400, len(client.flags("To"))
        assert len(client.flags("From")) == 0, len(client.flags("From"))
    mounted.unmount()
    link.proxy.stop()
    server.stop()


def memory():
    """A mailbox of 100,000 messages, listed."""
    server = server_with(100_000, 700)
    link = Link(server)
    mounted = link.mount()
    seconds = timed("ls", mounted.path("INBOX"))
    assert len(mounted.messages("INBOX")) == 100_000
    row("first ls of 100,000 messages", seconds, "s")
    row("    memory (RSS) after it", mounted.rss_kb() / 1024, "MB", 60.0)
    row("    ls -l", timed("ls", "-l", mounted.path("INBOX")), "s")
    row("    memory (RSS) after it", mounted.rss_kb() / 1024, "MB", 60.0)
    row("    the most it ever was", mounted.rss_kb("VmHWM") / 1024, "MB")
    mounted.unmount()
    link.proxy.stop()
    server.stop()


ALL = {"listing": listing, "attachment": attachment, "ranges": ranges, "changes": changes,
       "flags": flags, "replay": replay, "moves": moves, "memory": memory}


def main(names):
    unknown = [name for name in names if name not in ALL]
    if unknown:
        print(f"no measurement {unknown[0]}; there are: {', '.join(ALL)}", file=sys.stderr)
        return 2
    proc.end_on_signals()
    print(f"{'RTT 50 ms, 20 Mbit/s each way, Dovecot, TLS':<58} {'measured':>12}     "
          f"{'at most':>12}")
    for name in names or ALL:
        ALL[name]()
    return 1 if any(rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
