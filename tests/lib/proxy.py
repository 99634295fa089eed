#!/usr/bin/env python3
"""A link between a client and a server on loopback: delay, bandwidth, byte counts, and faults.

    proxy.py [--listen PORT] [--rtt MS] [--mbit N] PORT

forwards to 127.0.0.1:PORT, prints its own port, and then obeys lines on standard input: stats,
cut [rst|fin|stall], cut-after BYTES [up|down] [rst|fin|stall], freeze, refuse, resume.

In a program: with Proxy(port, rtt_ms=50, mbit=20) as link: ... link.port ... link.down.bytes ...

All connections share one link, as behind one router, with a queue of 64 KiB before its bottleneck.
The loop is one thread; its times are right to about a millisecond. An ideal link: no loss, no
slow start; the three-way handshake costs its round trip.
"""
import argparse
import collections
import heapq
import itertools
import select
import socket
import struct
import sys
import threading
import time

QUEUE = 64 * 1024         # bytes that wait before the bottleneck
WINDOW = 4 * 1024 * 1024  # bytes of one connection on their way
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST


class Link:
    """One direction."""

    def __init__(self, delay, rate):
        self.delay, self.rate = delay, rate  # seconds; bytes a second, 0 without limit
        self.free_at = 0.0                   # when the bottleneck has sent all it was given
        self.bytes = 0                       # delivered
        self.held = False

    def backlog(self, now):
        return max(0.0, self.free_at - now) * self.rate

    def arrival(self, now, size):
        """When size bytes handed over at now have arrived."""
        if self.rate:
            self.free_at = max(now, self.free_at) + size / self.rate
            now = self.free_at
        return now + self.delay


class Pipe:
    """One direction of one connection."""

    def __init__(self, connection, link):
        self.connection, self.link = connection, link
        self.source = self.sink = None
        self.queue = collections.deque()  # (arrival, bytes; None: end of stream)
        self.waiting = 0                  # bytes in queue
        self.out = bytearray()            # arrived, and the sink would not take it yet
        self.reading = True
        self.done = False


class Connection:
    def __init__(self, proxy, client, now):
        self.client, self.server = client, None
        self.opened = now
        self.stalled = False
        self.closing = False  # FIN sent to the client by a cut: what it still says is dropped
        self.up, self.down = Pipe(self, proxy.up), Pipe(self, proxy.down)
        self.up.source = self.down.sink = client


class Proxy:
    def __init__(self, target, rtt_ms=0.0, mbit=0.0, listen=0):
        self.target = target
        self.up, self.down = (Link(rtt_ms / 2000, mbit * 125_000) for _ in range(2))
        self.connects = self.cuts = 0
        self._listen, self._listener = listen, None
        self._connections = set()
        self._events, self._order = [], itertools.count()
        self._epoll, self._by_fd = select.epoll(), {}
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._calls = collections.deque()
        self._trap = None
        self._running = True
        self._add(self._woken, self._run_calls)
        self._open_listener()
        self._thread = threading.Thread(target=self._loop, daemon=True, name="proxy")

    # --- for the test's thread ---

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        if self._running:
            self._call(self._stop)
            self._thread.join(5)

    start = __enter__

    def stop(self):
        self.__exit__()

    @property
    def port(self):
        return self._listen

    @property
    def open_connections(self):
        return len(self._connections)

    def counted(self):
        """(bytes up, bytes down) so far."""
        return self.up.bytes, self.down.bytes

    def cut(self, how="rst"):
        """Ends every connection now: "rst", "fin", or "stall" (open, and nothing moves)."""
        self._call(lambda: [self._end(c, how) for c in list(self._connections)])

    def cut_after(self, count, direction="down", how="rst", again=None):
        """Ends the connection that carries the count-th byte from now on; again() gives the next
        count, or None for no more."""
        pipe = {"up": self.up, "down": self.down}[direction]
        self._call(lambda: setattr(self, "_trap", [pipe, count, how, again]))

    def no_more_cuts(self):
        self._call(lambda: setattr(self, "_trap", None))

    def freeze(self):
        """Nothing moves, not even a new connection's first byte, and nobody is told."""
        self._call(lambda: self._hold(True))

    def refuse(self, cut="rst"):
        """The host is up and nobody listens; what is open ends, too, unless cut is None."""
        self._call(self._close_listener)
        if cut:
            self.cut(cut)

    def resume(self):
        """All is well again; what was frozen or stalled goes on."""
        def again():
            self._trap = None
            self._hold(False)
            if not self._listener:
                self._open_listener()
        self._call(again)

    # --- the loop's thread ---

    def _call(self, function):
        if threading.current_thread() is self._thread or not self._thread.is_alive():
            function()
            return
        done = threading.Event()
        self._calls.append((function, done))
        self._wake.send(b"x")
        if not done.wait(10):
            raise TimeoutError("the proxy's loop does not answer")

    def _run_calls(self, _mask):
        try:
            self._woken.recv(4096)
        except BlockingIOError:
            pass
        while self._calls:
            function, done = self._calls.popleft()
            try:
                function()
            finally:
                done.set()

    def _at(self, when, function):
        heapq.heappush(self._events, (when, next(self._order), function))

    def _add(self, sock, function, mask=select.EPOLLIN):
        self._by_fd[sock.fileno()] = function
        self._epoll.register(sock.fileno(), mask)

    def _remove(self, sock):
        if sock.fileno() >= 0 and self._by_fd.pop(sock.fileno(), None):
            self._epoll.unregister(sock.fileno())

    def _loop(self):
        while self._running:
            timeout = None
            if self._events:
                timeout = max(0.0, self._events[0][0] - time.monotonic())
            # select() on the epoll descriptor: its timeout has microseconds, epoll's has not
            select.select([self._epoll], [], [], timeout)
            for fd, mask in self._epoll.poll(0):
                function = self._by_fd.get(fd)
                if function:
                    function(mask)
            while self._events and self._events[0][0] <= time.monotonic():
                heapq.heappop(self._events)[2]()

    def _stop(self):
        self._running = False
        self._close_listener()
        for connection in list(self._connections):
            self._end(connection, "rst")

    def _open_listener(self):
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self._listen))
        self._listener.listen(64)
        self._listener.setblocking(False)
        self._listen = self._listener.getsockname()[1]
        self._add(self._listener, self._accept)

    def _close_listener(self):
        if self._listener:
            self._remove(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self, _mask):
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        self.connects += 1
        connection = Connection(self, client, time.monotonic())
        self._connections.add(connection)
        self._prepare(client)
        self._watch(connection)
        # the server sees the end of the handshake after one and a half round trips
        self._at(connection.opened + self.up.delay * 2 + self.down.delay,
                 lambda: self._connect(connection))

    @staticmethod
    def _prepare(sock):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _connect(self, connection):
        if connection not in self._connections or connection.server:
            return
        if self.up.held or connection.stalled:
            return  # tried again by resume()
        try:
            server = socket.create_connection(("127.0.0.1", self.target), 5)
        except OSError:
            self._end(connection, "rst")
            return
        self._prepare(server)
        connection.server = connection.up.sink = connection.down.source = server
        self._watch(connection)
        self._deliver(connection.up)

    def _watch(self, connection):
        """Tells epoll what each socket of the connection is to be watched for."""
        for sock, into, out_of in ((connection.client, connection.up, connection.down),
                                   (connection.server, connection.down, connection.up)):
            if sock is None:
                continue
            mask = (select.EPOLLIN if into.reading else 0) | (select.EPOLLOUT if out_of.out else 0)
            if sock.fileno() in self._by_fd:
                self._epoll.modify(sock.fileno(), mask)
            else:
                self._add(sock, lambda m, i=into, o=out_of: self._ready(m, i, o), mask)

    def _ready(self, mask, into, out_of):
        if out_of.connection not in self._connections:
            return
        if mask & select.EPOLLOUT:
            self._flush(out_of)
        if mask & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and \
                into.connection in self._connections:
            self._read(into)

    def _read(self, pipe):
        """Takes what the sender has, and works out when it arrives at the other end."""
        link, now = pipe.link, time.monotonic()
        piece = max(1460, int(link.rate / 1000)) if link.rate else 1 << 16
        try:
            data = pipe.source.recv(piece)
        except BlockingIOError:
            return
        except OSError:
            self._end(pipe.connection, "rst")
            return
        if pipe.connection.closing:
            if not data:
                self._end(pipe.connection, "rst")
            return
        handed_over = now
        if pipe is pipe.connection.up:  # its first byte waits for the handshake
            handed_over = max(now, pipe.connection.opened + self.up.delay + self.down.delay)
        pipe.queue.append((link.arrival(handed_over, len(data)), data or None))
        pipe.waiting += len(data)
        if not data:
            pipe.reading = False
            self._watch(pipe.connection)
        else:
            self._throttle(pipe, now)
        self._at(pipe.queue[-1][0], lambda: self._deliver(pipe))

    def _throttle(self, pipe, now):
        """Stops reading while the bottleneck's queue, or the connection's window, is full."""
        over = pipe.link.backlog(now) - QUEUE
        if over > 0 and pipe.link.rate:
            pipe.reading = False
            self._at(now + over / pipe.link.rate, lambda: self._unthrottle(pipe))
        elif pipe.waiting + len(pipe.out) > WINDOW:
            pipe.reading = False
        if not pipe.reading:
            self._watch(pipe.connection)

    def _unthrottle(self, pipe):
        ended = pipe.queue and pipe.queue[-1][1] is None
        if pipe.connection in self._connections and not pipe.reading and not pipe.done \
                and not ended and pipe.waiting + len(pipe.out) <= WINDOW and pipe.source:
            pipe.reading = True
            self._watch(pipe.connection)

    def _deliver(self, pipe):
        """Hands over what has arrived by now."""
        connection = pipe.connection
        if connection not in self._connections or connection.stalled or pipe.link.held or \
                not pipe.sink:
            return
        now = time.monotonic()
        while pipe.queue and pipe.queue[0][0] <= now:
            _, data = pipe.queue.popleft()
            if data is None:
                pipe.done = True
                break
            pipe.waiting -= len(data)
            trapped = self._trap and self._trap[0] is pipe.link and self._trap[1] <= len(data)
            if trapped and len(data) > self._trap[1]:  # a stall may end: keep the rest
                pipe.queue.appendleft((now, data[self._trap[1]:]))
                pipe.waiting += len(data) - self._trap[1]
                data = data[:self._trap[1]]
            if self._trap and self._trap[0] is pipe.link and not trapped:
                self._trap[1] -= len(data)
            pipe.link.bytes += len(data)
            pipe.out += data
            if trapped:
                self._spring(pipe)
                return
        self._flush(pipe)

    def _spring(self, pipe):
        _, _, how, again = self._trap
        count = again() if again else None
        self._trap = [pipe.link, count, how, again] if count else None
        self._flush(pipe)
        if pipe.connection in self._connections:
            self.cuts += 1
            self._end(pipe.connection, how() if callable(how) else how)

    def _flush(self, pipe):
        if pipe.out:
            try:
                sent = pipe.sink.send(pipe.out)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._end(pipe.connection, "rst")
                return
            del pipe.out[:sent]
        if pipe.done and not pipe.out:
            try:
                pipe.sink.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            if pipe.connection.up.done and pipe.connection.down.done:
                self._end(pipe.connection, "fin")
                return
        if not pipe.reading and pipe.link.backlog(time.monotonic()) <= QUEUE:
            self._unthrottle(pipe)
        self._watch(pipe.connection)

    def _hold(self, held):
        self.up.held = self.down.held = held
        if held:
            return
        for connection in list(self._connections):
            connection.stalled = False
            if not connection.server:
                self._connect(connection)
            for pipe in (connection.up, connection.down):
                self._deliver(pipe)
                if connection in self._connections:
                    self._unthrottle(pipe)

    def _end(self, connection, how):
        """Takes the connection away in one of three manners."""
        if connection not in self._connections:
            return
        if how == "stall":
            connection.stalled = True
            return
        if connection.server:
            self._remove(connection.server)
            connection.server.close()
            connection.server = connection.up.sink = connection.down.source = None
        graceful = how == "fin" and not connection.closing
        if graceful and not (connection.up.done and connection.down.done):
            connection.closing = True
            connection.up.reading = True
            connection.down.out.clear()
            try:
                connection.client.shutdown(socket.SHUT_WR)
                self._watch(connection)
                return  # _read() ends it when the client has closed, too
            except OSError:
                pass
        self._connections.discard(connection)
        self._remove(connection.client)
        if not graceful:
            connection.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.client.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("--listen", type=int, default=0)
    parser.add_argument("--rtt", type=float, default=0)
    parser.add_argument("--mbit", type=float, default=0)
    options = parser.parse_args()
    with Proxy(options.port, options.rtt, options.mbit, options.listen) as proxy:
        print(proxy.port, flush=True)
        for line in sys.stdin:
            name, *words = line.split() or ["stats"]
            if name == "stats":
                print(f"up {proxy.up.bytes} down {proxy.down.bytes} connects {proxy.connects} "
                      f"open {proxy.open_connections} cuts {proxy.cuts}", flush=True)
            elif name == "cut-after":
                proxy.cut_after(int(words[0]), *words[1:])
            elif name in ("cut", "freeze", "refuse", "resume"):
                getattr(proxy, name)(*words)
            else:
                print(f"unknown: {name}", flush=True)


if __name__ == "__main__":
    main()
