"""Search in a mailbox that was never read: imapfs, and mbsync pulling it first."""
import os

import corpus
import link
import peers
import rawclient
from clock import expect, timed
from report import Goal, Row


def grep(path, *more):
    return ["grep", "-r", *more, corpus.WORD.decode(), path]


def search_texts(box, path):
    """Seconds of the search in the texts below a path, all found."""
    done = timed(*grep(path, "--include=body.txt"))
    expect("texts found", done.lines, box.corpus.found_texts)
    return done.seconds


def grep_texts(box, mount):
    return search_texts(box, mount.path(box.name))


def grep_all(box, mount):
    done = timed(*grep(mount.path(box.name)))
    expect("parts found", done.lines, box.corpus.found)
    return done.seconds


def of_imapfs(bench, box, search):
    """(seconds, bytes) of a search in a mount that has nothing yet."""
    with bench.imapfs.link() as through:
        mount = bench.imapfs.mount(through)
        before = through.quiet()
        seconds = search(box, mount)
        moved = through.quiet() - before
        mount.unmount()
    return seconds, moved


def of_mbsync(bench, box):
    """(seconds of the pull, of the search, bytes)."""
    with bench.imapfs.link() as through:
        peer = peers.Mbsync(bench.account, through, box.name)
        pull = timed(*peer.pull)
        expect("messages pulled", len(os.listdir(os.path.dirname(peer.path) + "/new"))
               + len(os.listdir(peer.path)), box.count)
        search = timed(*grep(os.path.dirname(peer.path)))
        moved = through.moved()
        peer.close()
    return pull.seconds, search.seconds, moved, search.lines


def raw_texts(bench, box):
    """Seconds of a minimal client that asks for all texts at once: how good the link is."""
    with bench.imapfs.link() as through, \
            rawclient.RawClient(bench.account.server, through.port) as client:
        return client.time_of_texts(box)[0]


def texts(bench):
    """(seconds, bytes) for each run; also of use to the comparison with sshfs."""
    box = bench.account.box("Cold", "mail", bench.settings.texts)
    return bench.once("cold texts", lambda: [of_imapfs(bench, box, grep_texts)
                                             for _ in range(bench.settings.runs)])


def cold(bench):
    settings = bench.settings
    box = bench.account.box("Cold", "mail", settings.texts)
    count, made = f"{box.count:,}", box.corpus
    some = Row(f"grep the texts of {count} messages", goals=[Goal(1.3, "limit"),
                                                            Goal(0.5, "mbsync")], picture=True)
    some_bytes = Row("    moved", "MB")
    whole = Row(f"grep everything of {count} messages, attachments included",
                goals=[Goal(1.0, "mbsync")], picture=True)
    whole_bytes = Row("    moved", "MB")
    raw = Row("a minimal client's FETCH of these texts, for the link")
    yield from (some, some_bytes, whole, whole_bytes, raw)
    for seconds, moved in texts(bench):
        some.add(imapfs=seconds, limit=link.shortest(made.text_octets, settings))
        some_bytes.add(imapfs=moved / 1e6, limit=made.text_octets / 1e6)
    for _ in range(settings.runs):
        raw.add(imapfs=raw_texts(bench, box), limit=link.shortest(made.text_octets, settings))
        pull, search, moved, lines = of_mbsync(bench, box)
        some.add(mbsync=pull + search)
        whole.add(mbsync=pull + search)
        some_bytes.add(mbsync=moved / 1e6)
        whole_bytes.add(mbsync=moved / 1e6)
        seconds, moved = of_imapfs(bench, box, grep_all)
        whole.add(imapfs=seconds, limit=link.shortest(made.raw_octets, settings))
        whole_bytes.add(imapfs=moved / 1e6, limit=made.raw_octets / 1e6)
    whole.note = (f"grep found {made.found} parts in the tree, and {lines} in mbsync's Maildir: it "
                  "does not see through base64.")
