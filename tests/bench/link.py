"""The emulated link of the benchmark: the tests' proxy, and what physics says about it."""
import time

import proxy


class Link(proxy.Proxy):
    """A link to a port of this machine, for a with block; it counts."""

    def moved(self):
        """Bytes in both directions so far."""
        return sum(self.counted())

    def quiet(self, seconds=0.6, limit=60):
        """Waits until nothing has moved for a while; returns the bytes moved so far."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            before = self.moved()
            time.sleep(seconds)
            if self.moved() == before:
                return before
        raise TimeoutError(f"the link was still busy after {limit} s")


def shortest(octets, settings, trips=1):
    """Seconds that octets take on a link, asked for and streamed without a pause."""
    transfer = octets * 8 / (settings.mbit * 1e6) if settings.mbit else 0.0
    return transfer + trips * settings.rtt_ms / 1000
