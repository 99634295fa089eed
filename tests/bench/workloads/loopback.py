"""Without a link: what imapfs itself costs, beside a minimal client's one FETCH."""
import rawclient
from clock import expect, timed
from report import Goal, Row
from workloads import cold


def loopback(bench):
    settings = bench.settings
    box = bench.account.box("Cold", "mail", settings.texts)
    parts = Row(f"{box.count:,} cold parts over loopback", goals=[Goal(1.5, "limit")], picture=True,
                note="The limit is a minimal client that asks for all of them at once, over TLS, "
                "too. Listings are known.")
    listing = Row("    listing and structures of these messages before")
    yield from (parts, listing)
    for _ in range(settings.runs):
        mount = bench.imapfs.mount()
        found = timed("find", mount.path(box.name), "-name", "body.txt")
        expect("texts listed", found.lines, box.count)
        listing.add(imapfs=found.seconds)
        parts.add(imapfs=cold.grep_texts(box, mount))
        mount.unmount()
        with rawclient.RawClient(bench.account.server) as client:
            parts.add(limit=client.time_of_texts(box)[0])
