"""The small model that a history of several clients is checked against, offline.

A message is known by its key, wherever it is; a key that is in two places is two copies. A history
is a list of events in the order in which they were begun, dictionaries:

  flag     client key set clear result     a change: "ok" (acknowledged), "gone" (refused: no such
                                           message), "none" (it was not made: killed before). A
                                           flag in both: one of the two
  place    client what key from to result  what: move, copy, expunge, append; from, to: mailboxes, or
                                           None (of a move or a copy from: it is not known)
  drained  client                          all it had acknowledged before is on the server
  shown    client key flags                what it shows, while it is offline
  sent     client key plus flags           a UID STORE it sent, from its trace
  expunged client key                      a UID EXPUNGE it sent
  moved    client key box uid to_uid       a UID MOVE it sent, and the server has done by its own
                                           word; to_uid None: it may have, the answer is not known
  renamed  from to                         a mailbox, by its only owner; names are not used again
  tidied   server clients                  all agree, whatever was done since the last barrier
  trouble  client kind                     it was cut off, killed and so on; for who reads this
  barrier  server clients                  all is healed and drained: {box: {key: flags}}, and of
                                           each client what it stores, shows, and has parked

The second of a key in a mailbox is KEY#2 in a barrier. The plain client's changes (client "C") are on
the server when they are acknowledged, if what they name is still where it was. The others' take
effect once, at some moment between their acknowledgement and the next time the client was drained,
in the order of the client; or were replaced by a later one of the same client. What one client does
to a message that another one has moved, copied from, or deleted meanwhile may come to nothing: then
only this holds, that nothing is lost that nobody deleted, and nothing is there that nobody made. (An
APPEND or COPY whose answer was lost is made again when what it placed was taken elsewhere by another
client before it was looked for: there is no telling. A MOVE is not. But Dovecot may do two MOVEs of
one message that come at the same moment, so that there are two: measured, 2 of 60. That it was so,
and nothing of ours, is seen by both clients' MOVEs of the same UID.)
"""
import collections

PLAIN = "C"


class Violation(AssertionError):
    pass


class Write:
    """A value for one flag of one message."""

    def __init__(self, client, value, start, at_once=False):
        self.client, self.value, self.start = client, value, start
        self.end = start if client == PLAIN or at_once else None  # None: not known yet


class Places:
    """What was done, since all agreed, to where the copies of a key are."""

    def __init__(self):
        self.clients, self.appenders = set(), set()
        self.moved = collections.Counter()   # mailbox: copies that came, or went
        self.named = set()                   # mailboxes where it may be
        self.more = self.fewer = 0           # copies that were made and deleted, at most
        self.appended = 0
        self.exact = True
        self.movers = set()                  # (mailbox, uid, client) for which the server moved it


def base_of(name):
    return name.partition("#")[0]


def by_key(server):
    """{key: {box: [flags]}}"""
    found = {}
    for box, names in server.items():
        for name, flags in names.items():
            found.setdefault(base_of(name), {}).setdefault(box, []).append(frozenset(flags))
    return found


def count(boxes):
    return collections.Counter({box: len(copies) for box, copies in boxes.items()})


class Model:
    def __init__(self, server):
        self.now = 0
        self.begin(server)
        self.logged = set()    # (client, key, flag, value), ever
        self.takers = set()    # (client, key) of moves, ever
        self.names = {}        # of mailboxes: what they are called now
        self.writes_seen = self.places_seen = self.barriers = self.exact = 0

    def begin(self, server):
        """From a state in which all agree."""
        self.base = by_key(server)
        self.writes = {}       # (key, flag): [Write]
        self.unsent = {}       # client: [Write]
        self.places = {}       # key: Places

    def fail(self, what, where=None):
        history = [f"{write.client} {'+' if write.value else '-'} [{write.start}, {write.end}]"
                   for write in self.writes.get(where, [])]
        raise Violation(f"event {self.now}: {what} {where or ''} {history}")

    def run(self, events):
        for self.now, event in enumerate(events):
            getattr(self, f"on_{event['do']}")(event)
        return self

    # --- events ---

    def place_of(self, key):
        return self.places.setdefault(key, Places())

    def others_at(self, client, key):
        """Whether somebody else did something to where it is."""
        return bool(key in self.places and
                    (self.places[key].clients | self.places[key].appenders) - {client})

    def refused(self, client, key):
        renamed = any(box in self.names for box in self.base.get(key, {}))  # and not listed anew
        if key in self.base and not self.others_at(client, key) and not renamed and \
                not (key in self.places and self.places[key].fewer):
            self.fail(f"{client} says that a message is gone that is there", (key, ""))

    def on_flag(self, event):
        client, key = event["client"], event["key"]
        if event["result"] == "none":
            return
        if event["result"] == "gone":
            self.refused(client, key)
            return
        for value in (True, False):
            for flag in event["set" if value else "clear"]:
                write = Write(client, value, self.now)
                self.writes.setdefault((key, flag), []).append(write)
                self.unsent.setdefault(client, []).append(write)
                self.logged.add((client, key, flag, value))
                self.writes_seen += 1

    def on_place(self, event):
        client, key, what = event["client"], event["key"], event["what"]
        if event["result"] == "none":
            return
        if event["result"] == "gone":
            self.refused(client, key)
            return
        place = self.place_of(key)
        self.places_seen += 1
        (place.appenders if what == "append" else place.clients).add(client)
        place.named |= {event["from"], event["to"]} - {None}
        place.exact &= event["from"] is not None or what == "append"
        if what in ("move", "expunge") and event["from"]:
            place.moved[event["from"]] -= 1
        if what in ("move", "copy", "append"):
            place.moved[event["to"]] += 1
        place.more += what == "copy"
        if what == "move":
            self.takers.add((client, key))
        place.fewer += what == "expunge"
        place.appended += what == "append"
        if what == "expunge":
            self.logged.add((client, key, "\\Deleted", True))
            self.logged.add((client, key, None, True))
        if what == "append":
            for flag in event["flags"]:
                self.logged.add((client, key, flag, True))
                # nobody else can change it before it is there
                self.writes.setdefault((key, flag), []).append(Write(client, True, self.now, True))

    def on_renamed(self, event):
        self.names[event["from"]] = event["to"]

    def on_moved(self, event):
        self.place_of(event["key"]).movers.add((event["box"], event["uid"], event["client"]))

    def on_trouble(self, event):
        pass

    def on_tidied(self, event):
        for client, state in event["clients"].items():
            self.check_client(client, state, event["server"])
        self.begin(event["server"])

    def name_now(self, box):
        while box in self.names:
            box = self.names[box]
        return box

    def on_drained(self, event):
        for write in self.unsent.pop(event["client"], []):
            if write.end is None:
                write.end = self.now

    def on_shown(self, event):
        """What a client changed since it is offline is what it shows, last value by last value."""
        for (key, flag), writes in self.writes.items():
            own = [write for write in writes if write.client == event["client"]]
            if key != event["key"] or not own or own[-1].start < event["since"]:
                continue
            last = {write.value for write in own if write.start == own[-1].start}
            if (flag in event["flags"]) not in last:
                self.fail(f"{event['client']} does not show its own change", (key, flag))

    def half_moved(self, client, key):
        """Its MOVE may not have been answered, and what somebody copied to the same place may be
        taken for what that has copied: then the source is still to be deleted."""
        return (client, key) in self.takers and self.place_of(key).more > 0

    def on_sent(self, event):
        for flag in event["flags"]:
            fact = (event["client"], event["key"], flag, event["plus"])
            if fact not in self.logged and not (flag == "\\Deleted" and event["plus"] and
                                                self.half_moved(*fact[:2])):
                self.fail(f"{event['client']} sent what nobody asked for: "
                          f"{'+' if event['plus'] else '-'}", fact[1:3])

    def on_expunged(self, event):
        if (event["client"], event["key"], None, True) not in self.logged and \
                not self.half_moved(event["client"], event["key"]):
            self.fail(f"{event['client']} expunged what nobody asked for", (event["key"], ""))

    # --- the invariants, when all is healed ---

    def on_barrier(self, event):
        server, parked = by_key(event["server"]), {}
        for client, state in event["clients"].items():
            self.check_client(client, state, event["server"])
            for kind, key, plus, minus in state["failed"]:
                parked.setdefault((base_of(key), None), []).append((client, kind))
                for flag in [*plus, *minus]:
                    parked.setdefault((base_of(key), flag), []).append((client, kind))
        for key in self.base.keys() | server.keys() | self.places.keys():
            self.check_places(key, server.get(key, {}),
                              [kind for _, kind in parked.get((key, None), [])])
        for key, boxes in server.items():
            self.check_flags(key, [flags for each in boxes.values() for flags in each], parked)
        self.barriers += 1
        self.begin(event["server"])

    def check_client(self, client, state, server):  # I1: nothing waits; I6: it has what is there
        if state["pending"]:
            self.fail(f"{client} still has {state['pending']}")
        for what in ("stored", "shown"):
            for box in server.keys() | state[what].keys():
                mine = {key: frozenset(flags) for key, flags in state[what].get(box, {}).items()}
                theirs = {key: frozenset(flags) for key, flags in server.get(box, {}).items()}
                if mine != theirs:
                    different = [key for key in mine.keys() | theirs.keys()
                                 if mine.get(key) != theirs.get(key)]
                    self.fail(f"{client}: {what} in {box} is not what is on the server: "
                              f"{[(key, mine.get(key), theirs.get(key)) for key in different]}")

    def check_places(self, key, boxes, parked):  # I2, I3
        base, have = self.renamed(count(self.base.get(key, {}))), count(boxes)
        place = self.places.get(key, Places())
        touched = place.clients | place.appenders
        if len(touched) <= 1 and place.exact and not any(kind != "flags" for kind in parked):
            want = base + collections.Counter()
            want.update(self.renamed(place.moved))
            if +want != have:
                self.fail(f"{sorted(touched)} alone moved it: it is in {dict(have)}, "
                          f"and should be in {dict(+want)}", (key, ""))
            self.exact += bool(touched)
            return
        total, begun = sum(have.values()), sum(base.values()) + place.appended
        least = begun - place.fewer - parked.count("append")
        most = begun + place.more + self.doubled(place) + \
            (place.more + place.appended if len(touched) > 1 else 0)
        if not least <= total <= most:
            self.fail(f"there are {total} of it, and should be {max(least, 0)} to {most}: "
                      f"{dict(have)}, before {dict(base)}; parked {parked}", (key, ""))
        if set(have) - set(base) - {self.name_now(box) for box in place.named}:
            self.fail(f"it is where nobody put it: {dict(have)}", (key, ""))

    def doubled(self, place):
        """Copies that the server made of one message by moving it for several clients."""
        movers = {(self.name_now(box), uid, client) for box, uid, client in place.movers}
        return len(movers) - len({(box, uid) for box, uid, _ in movers})

    def renamed(self, counter):
        found = collections.Counter()
        for box, number in counter.items():
            found[self.name_now(box)] += number
        return found

    def check_flags(self, key, copies, parked):  # I4
        before = [flags for each in self.base.get(key, {}).values() for flags in each]
        place = self.places.get(key, Places())
        seen = {flag for name, flag in self.writes if name == key}
        alone = len(copies) == 1 and len(before) + place.appended == 1 and not place.more
        for flag in seen.union(*before, *copies):
            if alone:
                self.check_flag(key, flag, flag in copies[0],
                                any(flag in flags for flags in before), (key, flag) in parked)
            elif any(flag in flags for flags in copies) and \
                    not any(flag in flags for flags in before) and \
                    not any(write.value for write in self.writes.get((key, flag), [])) and \
                    not (flag == "\\Deleted" and place.fewer):
                self.fail("a flag from nowhere", (key, flag))

    def check_flag(self, key, flag, value, base, parked):
        writes = self.writes.get((key, flag), [])
        allowed = set() if writes else {base}
        for write in writes:
            if not any(self.is_after(other, write) for other in writes):
                allowed.add(write.value)
        # those are as if they had not been, or had been and were undone; and what is deleted needs
        # no flags, also where the deletion is parked in the end
        deleted = self.places.get(key, Places()).fewer
        if flag == "\\Deleted" and deleted:  # it was copied or moved on while it was marked
            return
        if parked or deleted or any(self.others_at(write.client, key) for write in writes):
            allowed |= {base, *(write.value for write in writes)}
        if value not in allowed:
            self.fail("a flag has no last writer:" + (" set" if value else " not set"), (key, flag))

    @staticmethod
    def is_after(other, write):
        if other.client == write.client:
            return other.start > write.start
        return write.end is not None and other.start > write.end


def check(events):
    """Raises Violation. events[0] is a barrier, with which all begins."""
    model = Model(events[0]["server"])
    model.run(events[1:])
    return model
