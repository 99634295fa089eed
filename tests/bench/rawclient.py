"""The least that an IMAP client can do: send a command, count what comes back. It is the measure of
what the server and the link allow.
"""
import re
import socket
import ssl
import time

import servers


class RawClient:
    """A connection over TLS, logged in."""

    def __init__(self, server, port=None, user="alice"):
        context = ssl.create_default_context(cafile=server.tls.ca)
        self._socket = context.wrap_socket(
            socket.create_connection(("127.0.0.1", port or server.port), 20),
            server_hostname="localhost")
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(900)
        self._tag = 0
        self._socket.recv(4096)
        self.ask(f"LOGIN {user} {servers.USERS[user]}")

    def ask(self, *commands):
        """Sends all, reads until the last one's tagged response; returns the bytes received."""
        first = self._tag + 1
        self._tag += len(commands)
        self._socket.sendall("".join(f"r{first + index} {command}\r\n" for index, command
                                     in enumerate(commands)).encode())
        done = re.compile(rb"(?:^|\r\n)r%d (OK|NO|BAD)[^\r\n]*\r\n\Z" % self._tag)
        octets, tail = 0, b""
        buffer = bytearray(1 << 18)
        while True:
            count = self._socket.recv_into(buffer)
            if count == 0:
                raise ConnectionError("the server closed the connection")
            octets += count
            tail = (tail + buffer[:count])[-1000:]
            match = done.search(tail)
            if match:
                if match.group(1) != b"OK":
                    raise RuntimeError(f"{commands[-1]}: {tail[match.start():]!r}")
                return octets

    def time_of_texts(self, box):
        """(seconds, bytes) of asking for all the texts of a mailbox at once."""
        self.ask(f"EXAMINE {box.name}")
        began = time.monotonic()
        octets = self.ask(*fetches(box.corpus.texts))
        return time.monotonic() - began, octets

    def close(self):
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def fetches(texts):
    """Commands for (uid, section, octets): one for each section that there is."""
    by_section = {}
    for uid, section, _ in texts:
        by_section.setdefault(section, []).append(uid)
    return [f"UID FETCH {uid_set(uids)} (BODY.PEEK[{section}])"
            for section, uids in sorted(by_section.items())]


def uid_set(uids):
    """Ascending UIDs, as short as a set can be."""
    parts, start = [], None
    for index, uid in enumerate(uids):
        start = uid if start is None else start
        if index + 1 == len(uids) or uids[index + 1] != uid + 1:
            parts.append(str(uid) if start == uid else f"{start}:{uid}")
            start = None
    return ",".join(parts)
