# Latency of requests as the wire has it: from a device's datagram to that of its answer, and what of it was the CSE's. How
# late the load generator gets the core is no part of it.
# SPDX-License-Identifier: GPL-3.0-or-later
import ipaddress
import os
import re
import time

import capture

SIZE = 512  # bytes of a packet: all of a small request in clear
PEER = re.compile(rb"(127(?:\.\d{1,3}){3}):(\d{1,5})")  # of the device, which sagate tells the CSE
TOKEN = slice(4, 12)  # of a CoAP message (RFC 7252 3) whose token has 8 bytes, as sagate's have
PARTS = ("wire", "gateway", "to_cse", "cse", "from_cse")
PERCENTILES = (("p50_us", 0.5), ("p90_us", 0.9), ("p99_us", 0.99), ("p999_us", 0.999))


class Exchange:
    """A request on its way: when its datagrams were seen."""

    def __init__(self, asked):
        self.asked, self.forwarded, self.returned = asked, None, None

    def parts(self, answered):
        """Microseconds by PARTS; None when sagate answered by itself."""
        if self.forwarded is None or self.returned is None:
            return None
        cse = self.returned - self.forwarded
        return (answered - self.asked, answered - self.asked - cse, self.forwarded - self.asked, cse, answered - self.returned)


def exchanges(datagrams, server, cse):
    """(when the answer was sent, microseconds by PARTS) of every exchange of `datagrams` through the port `server`, of which
    each device has one under way at most; `cse` is the port behind it. A datagram that was sent again counts from the first."""
    under_way, tokens = {}, {}
    for time_us, sender, receiver, payload in datagrams:
        if receiver[1] == server:
            under_way.setdefault(sender, Exchange(time_us))
        elif receiver[1] == cse:
            found = PEER.search(payload)
            device = (ipaddress.IPv4Address(found[1].decode()).packed, int(found[2])) if found else None
            if device in under_way and under_way[device].forwarded is None:
                under_way[device].forwarded = time_us
                tokens[payload[TOKEN]] = device
        elif sender[1] == cse:
            exchange = under_way.get(tokens.pop(payload[TOKEN], None))
            if exchange is not None:
                exchange.returned = time_us
        elif sender[1] == server and receiver in under_way:
            parts = under_way.pop(receiver).parts(time_us)
            if parts is not None:
                yield time_us, parts


def summary(found):
    """Percentiles of what exchanges() found, by PARTS."""
    columns = [sorted(column) for column in zip(*(parts for _, parts in found))]
    return {name: {"count": len(column), **{key: column[int(len(column) * part)] for key, part in PERCENTILES}}
            for name, column in zip(PARTS, columns)}


class Watch:
    """The wire between the devices of a network, sagate and the CSE, in phases that follow one another."""

    def __init__(self, bench, server, network):
        self.server, self.cse = server.port, bench.cse["coap"]
        self.capture = capture.Capture(bench, f"(port {self.cse} or (port {self.server} and net {network}))", SIZE)
        self.phases = []

    def begin(self, name):
        """A phase begins, and the one before ends."""
        self.phases.append((name, time.time() * 1e6))

    def end(self):
        """summary() of each phase, and packets that the kernel could not keep."""
        last = time.time() * 1e6
        dropped = self.capture.stop()
        found = list(exchanges(capture.datagrams(self.capture.path), self.server, self.cse))
        os.unlink(self.capture.path)
        ends = [begun for _, begun in self.phases[1:]] + [last]
        return {name: summary([one for one in found if begun <= one[0] < end])
                for (name, begun), end in zip(self.phases, ends)}, dropped


class NoWatch:
    """In the place of a Watch where nothing can be captured."""

    def begin(self, name):
        """Nothing begins."""

    def end(self):
        """Nothing was seen."""
        return None, 0
