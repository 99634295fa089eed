"""A mailbox of very many messages: first listing, later listing, changes, memory."""
from clock import expect, timed
from report import Goal, Row

SLOW_MS = 1000  # round trips are counted by the clock, on a link where only they take time
NEW, FLAGGED = 10, 100


def listing(mount, name, count):
    """Seconds of ls, all there."""
    done = timed("ls", mount.path(name))
    expect("messages listed", done.lines, count)
    return done.seconds


def large(bench):
    settings, count = bench.settings, bench.settings.large
    box = bench.account.box("Large", "short", count)
    first = Row(f"first ls of {count:,} messages", goals=[Goal(1.5, "limit")], picture=True)
    moved = Row("    moved", "MB")
    memory = Row("    memory (RSS)", "MB", goals=[Goal(80)])
    most = Row("    the most it ever was", "MB")
    later = Row("its ls on a later mount", goals=[Goal(1 + 2 * settings.rtt_ms / 1000)])
    ready = Row("    after mounting for")
    trips = Row(f"ls after {NEW} new messages and {FLAGGED} changed flags: round trips", "",
                goals=[Goal(3)])
    changed = Row("    moved", "KB", goals=[Goal(30)])
    yield from (first, moved, memory, most, later, ready, trips, changed)
    for _ in range(settings.runs):
        with bench.imapfs.link() as through:
            mount = bench.imapfs.mount(through, None, "poll=3600")
            before = through.quiet()
            seconds = listing(mount, box.name, count)
            octets = through.quiet() - before
            first.add(imapfs=seconds, limit=octets * 8 / (settings.mbit * 1e6)
                      + settings.rtt_ms / 1000)
            moved.add(imapfs=octets / 1e6)
            memory.add(imapfs=mount.rss_kb() / 1024)
            most.add(imapfs=mount.rss_kb("VmHWM") / 1024)
            mount.unmount()
            mount = bench.imapfs.mount(through, mount.home, "poll=3600")
            ready.add(imapfs=mount.ready_after)
            later.add(imapfs=listing(mount, box.name, count))
            memory.add(imapfs=mount.rss_kb() / 1024)
            mount.unmount()
        bench.account.change(box.name, NEW, FLAGGED)
        count += NEW
        seconds, octets = resync(bench, box, mount.home, count)
        trips.add(imapfs=seconds * 1000 // SLOW_MS)
        changed.add(imapfs=octets / 1e3)


def resync(bench, box, home, count):
    """(seconds, bytes) of the first ls that sees the changes."""
    with bench.imapfs.link(rtt_ms=SLOW_MS, mbit=0) as through:
        mount = bench.imapfs.mount(through, home, "poll=3600")
        before = through.quiet(2.5 * SLOW_MS / 1000)
        seconds = listing(mount, box.name, count)
        octets = through.quiet(2.5 * SLOW_MS / 1000) - before
        mount.unmount()
    return seconds, octets


def million(bench):
    """As large, over a link without limits at first: what matters is the store."""
    settings, count = bench.settings, bench.settings.million
    box = bench.account.box("Huge", "short", count)
    first = Row(f"first ls of {count:,} messages, without the link")
    memory = Row("    memory (RSS)", "MB", goals=[Goal(256)])
    later = Row("its ls on a later mount", goals=[Goal(10)])
    ready = Row("    after mounting for")
    yield from (first, memory, later, ready)
    with bench.imapfs.link(rtt_ms=0, mbit=0) as through:
        mount = bench.imapfs.mount(through, None, "poll=3600", "timeout=600")
        first.add(imapfs=listing(mount, box.name, count))
        memory.add(imapfs=mount.rss_kb("VmHWM") / 1024)
        mount.unmount()
    for _ in range(settings.runs):
        with bench.imapfs.link() as through:
            mount = bench.imapfs.mount(through, mount.home, "poll=3600")
            ready.add(imapfs=mount.ready_after)
            later.add(imapfs=listing(mount, box.name, count))
            memory.add(imapfs=mount.rss_kb("VmHWM") / 1024)
            mount.unmount()
