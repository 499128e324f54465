# Captures of datagrams, and the search for repeated nonces in one of what the server sends.
# SPDX-License-Identifier: GPL-3.0-or-later
import re
import shutil
import signal
import struct
import subprocess
import time

SNAPSHOT = 128  # bytes of a packet for search(): link, IP and UDP headers, record header, explicit nonce
LINK_HEADERS = {1: 14, 113: 16, 276: 20}  # Ethernet, Linux cooked 1 and 2
HANDSHAKE, CID_RECORD, SERVER_HELLO = 22, 25, 2


def available():
    return shutil.which("tcpdump") is not None


class Capture:
    """UDP datagrams that match a filter of pcap's language, their first `size` bytes, into a file; on the last core, as the
    first is the server's."""

    def __init__(self, bench, wanted, size=SNAPSHOT):
        name = f"capture-{len(bench.processes)}"
        self.path, self.log = bench.path(name + ".pcap"), bench.path(name + ".log")
        self.process = bench.start(["tcpdump", "-i", "lo", "-n", "-s", str(size), "-B", "262144", "-Z", "root", "-w",
                                    self.path, f"udp and {wanted}"], core=bench.cores[-1], log=name + ".log")
        for _ in range(200):
            if "listening on" in self.output() or self.process.poll() is not None:
                break
            time.sleep(0.02)

    def output(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def stop(self):
        """Ends it; the number of packets that the kernel could not keep."""
        time.sleep(1)  # what is under way to it
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        dropped = re.search(r"(\d+) packets? dropped by kernel", self.output())
        return int(dropped[1]) if dropped else 0


def packets(path):
    """(microseconds, link type, bytes) of every packet of a pcap file."""
    with open(path, "rb") as f:
        head = f.read(24)
        order = "<" if head[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
        fraction = 1000 if b"\x4d\x3c" in head[:4] or b"\x3c\x4d" in head[:4] else 1
        link = struct.unpack(order + "I", head[20:24])[0]
        while len(record := f.read(16)) == 16:
            seconds, part, length, _ = struct.unpack(order + "IIII", record)
            yield seconds * 1000000 + part // fraction, link, f.read(length)


def datagrams(path):
    """(microseconds, sender, receiver, payload) of every UDP datagram over IPv4, ends as (address, port); the payload may be
    cut off."""
    for time_us, link, packet in packets(path):
        at = LINK_HEADERS[link]
        if len(packet) < at + 28 or packet[at] >> 4 != 4 or packet[at + 9] != 17:
            continue
        udp = at + (packet[at] & 0x0F) * 4
        ports = struct.unpack_from(">HH", packet, udp)
        yield time_us, (packet[at + 12:at + 16], ports[0]), (packet[at + 16:at + 20], ports[1]), packet[udp + 8:]


def records(payload, cid_bytes):
    """(type, epoch, sequence number, start of the body) of each DTLS 1.2 record of a datagram."""
    while len(payload) >= 13 and payload[1:3] == b"\xfe\xfd":
        header = 13 + (cid_bytes if payload[0] == CID_RECORD else 0)
        if len(payload) < header:
            return
        length = int.from_bytes(payload[header - 2:header], "big")
        yield (payload[0], int.from_bytes(payload[3:5], "big"), int.from_bytes(payload[5:11], "big"),
               payload[header:header + length])
        payload = payload[header + length:]


def search(path, cid_bytes=0):
    """Looks for an (epoch, sequence number) or an explicit nonce that a receiver got twice under the same keys."""
    seen = {}
    found = {"records": 0, "receivers": 0, "repeats": 0, "unreadable": 0}
    for _, _, receiver, payload in datagrams(path):
        if payload and payload[0] & 0xE0 == 0x20:
            found["unreadable"] += 1  # DTLS 1.3: its numbers are encrypted
        for kind, epoch, sequence, body in records(payload, cid_bytes):
            if epoch == 0:
                if kind == HANDSHAKE and body[:1] == bytes([SERVER_HELLO]):
                    seen.pop(receiver, None)  # new keys
                continue
            found["records"] += 1
            numbers = seen.setdefault(receiver, set())
            # The numbers and the explicit nonces that they come with, each in a set of its own.
            number, nonce = (epoch, sequence), body[:8]
            if number in numbers or nonce in numbers:
                found["repeats"] += 1
            numbers.update((number, nonce))
    found["receivers"] = len(seen)
    return found
