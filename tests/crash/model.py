"""The small model that a history of several clients is checked against, offline.

A history is a list of events in the order in which they were begun, dictionaries:

  flag     client box key set clear result   a change: "ok" (acknowledged), "gone" (refused: no such
                                             message), "none" (it was not made: killed before)
  drained  client                            all it had acknowledged before is on the server
  append   box key flags                     by the plain client
  expunge  box key                           by the plain client
  shown    client box key flags              what it shows, while it is offline
  sent     client box key plus flags         a UID STORE it sent, from its trace
  barrier  server clients                    all is healed and drained: {box: {key: flags}}, and of
                                             each client what it stores, shows, and has parked

The plain client's changes (client "C") are on the server when they are acknowledged. The others' take
effect once, at some moment between their acknowledgement and the next time the client was drained,
in the order of the client; or were replaced by a later one of the same client.
"""

PLAIN = "C"


class Violation(AssertionError):
    pass


class Write:
    """A value for one flag of one message."""

    def __init__(self, client, value, start):
        self.client, self.value, self.start = client, value, start
        self.end = start if client == PLAIN else None  # None: not known yet


class Model:
    def __init__(self, server):
        self.now = 0
        self.begin(server)
        self.logged = set()    # (client, box, key, flag, value), ever
        self.writes_seen = self.barriers = 0

    def begin(self, server):
        """From a state in which all agree."""
        self.base = {(box, key): frozenset(flags) for box, keys in server.items()
                     for key, flags in keys.items()}
        self.writes = {}       # (box, key, flag): [Write]
        self.unsent = {}       # client: [Write]
        self.expunged = set()

    def fail(self, what, where=None):
        history = [f"{write.client} {'+' if write.value else '-'} [{write.start}, {write.end}]"
                   for write in self.writes.get(where, [])]
        raise Violation(f"event {self.now}: {what} {where or ''} {history}")

    def run(self, events):
        for self.now, event in enumerate(events):
            getattr(self, f"on_{event['do']}")(event)
        return self

    # --- events ---

    def on_flag(self, event):
        client, place = event["client"], (event["box"], event["key"])
        if event["result"] == "none":
            return
        if event["result"] == "gone":
            if place not in self.expunged:
                self.fail(f"{client} says that a message is gone that is there", (*place, ""))
            return
        for value in (True, False):
            for flag in event["set" if value else "clear"]:
                write = Write(client, value, self.now)
                self.writes.setdefault((*place, flag), []).append(write)
                self.unsent.setdefault(client, []).append(write)
                self.logged.add((client, *place, flag, value))
                self.writes_seen += 1

    def on_drained(self, event):
        for write in self.unsent.pop(event["client"], []):
            if write.end is None:
                write.end = self.now

    def on_append(self, event):
        self.base[event["box"], event["key"]] = frozenset(event["flags"])

    def on_expunge(self, event):
        self.expunged.add((event["box"], event["key"]))

    def on_shown(self, event):
        """What a client changed since it is offline is what it shows, last value by last value."""
        for (box, key, flag), writes in self.writes.items():
            own = [write for write in writes if write.client == event["client"]]
            if (box, key) != (event["box"], event["key"]) or not own or \
                    own[-1].start < event["since"]:
                continue
            if (flag in event["flags"]) != own[-1].value:
                self.fail(f"{event['client']} does not show its own change", (box, key, flag))

    def on_sent(self, event):
        for flag in event["flags"]:
            fact = (event["client"], event["box"], event["key"], flag, event["plus"])
            if fact not in self.logged:
                self.fail(f"{event['client']} sent what nobody asked for: "
                          f"{'+' if event['plus'] else '-'}", fact[1:4])

    # --- the invariants, when all is healed ---

    def on_barrier(self, event):
        server = {(box, key): frozenset(flags) for box, keys in event["server"].items()
                  for key, flags in keys.items()}
        wanted = set(self.base) - self.expunged
        if set(server) != wanted:  # I3
            self.fail(f"messages: lost {sorted(wanted - set(server))}, "
                      f"more {sorted(set(server) - wanted)}")
        parked = {}
        for client, state in event["clients"].items():
            self.check_client(client, state, event["server"])
            for box, key, plus, minus in state["failed"]:
                for flag in [*plus, *minus]:
                    parked.setdefault((box, key, flag), set()).add(client)
        for place, flags in server.items():
            seen = {flag for (*where, flag) in self.writes if tuple(where) == place}
            for flag in seen | flags | self.base[place]:
                self.check_flag(place, flag, flag in flags, parked.get((*place, flag), set()))
        self.barriers += 1
        self.begin(event["server"])

    def check_client(self, client, state, server):  # I1: nothing waits; I6: it has what is there
        if state["pending"]:
            self.fail(f"{client} still has {state['pending']}")
        for what in ("stored", "shown"):
            for box in server:
                mine = {key: frozenset(flags) for key, flags in state[what].get(box, {}).items()}
                theirs = {key: frozenset(flags) for key, flags in server[box].items()}
                if mine != theirs:
                    different = [key for key in mine.keys() | theirs.keys()
                                 if mine.get(key) != theirs.get(key)]
                    self.fail(f"{client}: {what} in {box} is not what is on the server: "
                              f"{[(key, mine.get(key), theirs.get(key)) for key in different]}")

    def check_flag(self, place, flag, value, parked):  # I4
        writes = self.writes.get((*place, flag), [])
        allowed = set() if writes else {flag in self.base[place]}
        for write in writes:
            if not any(self.is_after(other, write) for other in writes):
                allowed.add(write.value)
        if parked:  # those are as if they had not been, or had been and were undone
            allowed |= {flag in self.base[place], *(w.value for w in writes)}
        if value not in allowed:
            self.fail("a flag has no last writer:" + (" set" if value else " not set"),
                      (*place, flag))

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
