"""The comparison that RFC 1733 makes with a network file system: time and bytes, imapfs and sshfs.

Over sshfs a file costs several round trips, so what it does with thousands of files is worked out
from a sample of them, in the order of the directory; "~" marks that.
"""
import os

import corpus
import link
import peers
from clock import expect, timed
from report import Goal, Row
from workloads import cold

# What reads one text of a message in a file: a MIME parser, as mail programs have one
PARSER = """
import email, email.policy, sys
with open(sys.argv[1], "rb") as file:
    message = email.message_from_binary_file(file, policy=email.policy.default)
sys.stdout.write(message.get_body(("plain",)).get_content())
"""


def over_sshfs(bench, path, work):
    """(seconds, bytes) of work(mountpoint, link) on a new mount, or what that says they are."""
    settings = bench.settings
    sshd = bench.once("sshd", peers.Sshd)
    with link.Link(sshd.port, settings.rtt_ms, settings.mbit) as through, \
            peers.Sshfs(sshd, through, path, settings.compress == "yes") as peer:
        before = through.quiet()
        seconds = work(peer.mountpoint)
        return seconds, through.quiet() - before


def sampled(bench, path, *command):
    """(seconds, bytes) of listing a directory over sshfs, and of a command on all of its files,
    worked out from the first of them."""
    settings = bench.settings
    sshd = bench.once("sshd", peers.Sshd)
    with link.Link(sshd.port, settings.rtt_ms, settings.mbit) as through, \
            peers.Sshfs(sshd, through, path, settings.compress == "yes") as peer:
        start = through.quiet()
        listed = timed("ls", peer.mountpoint)
        names = listed.output.decode().split("\n")[:-1]
        some = names[:settings.sample]
        before = through.quiet()
        done = timed(*command, *some, cwd=peer.mountpoint, codes=(0, 1))
        moved = through.quiet() - before
    times = len(names) / len(some)
    return listed.seconds + done.seconds * times, before - start + moved * times


def over_imapfs(bench, work):
    with bench.imapfs.link() as through:
        mount = bench.imapfs.mount(through)
        before = through.quiet()
        seconds = work(mount)
        moved = through.quiet() - before
        mount.unmount()
    return seconds, moved


def remote(bench):
    settings = bench.settings
    yield from subjects(bench)
    yield from one_text(bench)
    box = bench.account.box("Cold", "mail", settings.texts)
    search = Row(f"grep of {box.count:,} texts, cold", goals=[Goal(0.2, "sshfs")], picture=True,
                 scaled=["sshfs"])
    search_bytes = Row("    moved", "MB", scaled=["sshfs"])
    yield from (search, search_bytes)
    for seconds, moved in cold.texts(bench):
        search.add(imapfs=seconds)
        search_bytes.add(imapfs=moved / 1e6)
        seconds, moved = sampled(bench, box.path, "grep", corpus.WORD.decode())
        search.add(sshfs=seconds)
        search_bytes.add(sshfs=moved / 1e6)


def subjects(bench):
    settings = bench.settings
    box = bench.account.box("Subjects", "mail-headers", settings.subjects)
    row = Row(f"subjects of {box.count:,} messages", goals=[Goal(0.2, "sshfs")], picture=True,
              scaled=["sshfs"], note="imapfs shows subjects in ls; over sshfs, grep reads the "
              "beginning of each file.")
    size = Row("    moved", "MB", scaled=["sshfs"])
    yield from (row, size)

    def listing(mount):
        done = timed("ls", mount.path(box.name))
        expect("messages listed", done.lines, box.count)
        return done.seconds

    for _ in range(settings.runs):
        seconds, moved = over_imapfs(bench, listing)
        row.add(imapfs=seconds)
        size.add(imapfs=moved / 1e6)
        seconds, moved = sampled(bench, box.path, "grep", "-h", "-m1", "^Subject:")
        row.add(sshfs=seconds)
        size.add(sshfs=moved / 1e6)


def one_text(bench):
    settings = bench.settings
    box = bench.account.single("Video", settings.attachment)
    megabytes = f"{settings.attachment / 1e6:g} MB"
    row = Row(f"one text beside {megabytes}", goals=[Goal(0.2, "sshfs")], picture=True)
    size = Row("    moved", "KB", goals=[Goal(0.1, "sshfs")],
               note="Over sshfs a MIME parser reads the message, as mail programs do; the line "
               "below is of one that stops where the text ends.")
    stop = Row("    stopping where the text ends", scaled=[])
    stop_size = Row("    moved", "KB")
    yield from (row, size, stop, stop_size)

    def show(mount):
        done = timed("sh", "-c", 'cat "$1"/*/body.txt', "sh", mount.path(box.name))
        expect("the text is there", len(done.output) > 1000, True)
        return done.seconds

    def parse(mountpoint):
        (name,) = os.listdir(mountpoint)
        return timed("/usr/bin/python3", "-c", PARSER, os.path.join(mountpoint, name)).seconds

    def until_end(mountpoint):
        return timed("sh", "-c", "sed -n '/filename=/q;p' \"$1\"/*", "sh", mountpoint).seconds

    for _ in range(settings.runs):
        seconds, moved = over_imapfs(bench, show)
        row.add(imapfs=seconds)
        stop.add(imapfs=seconds)
        size.add(imapfs=moved / 1e3)
        stop_size.add(imapfs=moved / 1e3)
        for work, time_row, size_row in ((parse, row, size), (until_end, stop, stop_size)):
            seconds, moved = over_sshfs(bench, box.path, work)
            time_row.add(sshfs=seconds)
            size_row.add(sshfs=moved / 1e3)
