"""Without a link: what imapfs itself costs, beside a minimal client's one FETCH."""
import os
import shutil

import peers
import proc
import rawclient
from clock import expect, timed
from report import Goal, Row
from workloads import cold


def copied(mount, box):
    """The texts alone, in directories of the same names."""
    folder = proc.workdir("texts")
    for name in os.listdir(mount.path(box.name)):
        os.makedirs(os.path.join(folder, box.name, name))
        shutil.copyfile(mount.path(box.name, name, "body.txt"),
                        os.path.join(folder, box.name, name, "body.txt"))
    return folder


def listed(box, path):
    found = timed("find", path, "-name", "body.txt")
    expect("texts listed", found.lines, box.count)
    return found.seconds


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
        listing.add(imapfs=listed(box, mount.path(box.name)))
        parts.add(imapfs=cold.grep_texts(box, mount))
        texts = bench.once("texts", lambda: copied(mount, box))
        mount.unmount()
        with peers.nullfs(texts) as mountpoint:
            path = os.path.join(mountpoint, box.name)
            listing.add(nullfs=listed(box, path))
            parts.add(nullfs=cold.search_texts(box, path))
        with rawclient.RawClient(bench.account.server) as client:
            parts.add(limit=client.time_of_texts(box)[0])
