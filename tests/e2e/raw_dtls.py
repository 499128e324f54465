# Many DTLS 1.2 handshakes at once with any identities and a key that is nobody's: messages by hand, without any
# cryptography, from an address each.
# SPDX-License-Identifier: GPL-3.0-or-later
import ipaddress
import os
import select
import socket
import struct
import time

from odd_handshakes import _message, _vector

HELLO_VERIFY_REQUEST, SERVER_HELLO_DONE, CLIENT_KEY_EXCHANGE = 3, 14, 16
ALERT, HANDSHAKE = 21, 22
BUFFER = 16 << 20
IP_PKTINFO = 8  # which the socket module does not name
REPEAT_SECONDS = 2.0


def _record(kind, epoch, number, data):
    return bytes([kind, 0xfe, 0xfd]) + struct.pack(">HHI", epoch, 0, number) + _vector(2, data)


def _handshake(kind, sequence, number, body):
    head = _message(kind, body)[:4] + struct.pack(">H", sequence) + b"\0\0\0" + len(body).to_bytes(3, "big")
    return _record(HANDSHAKE, 0, number, head + body)


def _records_of(datagram):
    while len(datagram) >= 13:
        size = 13 + struct.unpack(">H", datagram[11:13])[0]
        yield datagram[0], datagram[13:size]
        datagram = datagram[size:]


class Peer:
    def __init__(self, number, identity):
        self.number, self.identity, self.random, self.cookie = number, identity, os.urandom(32), b""
        self.sent, self.at, self.finished = b"", 0.0, False

    def hello(self):
        again = 1 if self.cookie else 0
        return _handshake(1, again, again, b"\xfe\xfd" + self.random + b"\0" + _vector(1, self.cookie) +
                          _vector(2, b"\xc0\xa8") + b"\1\0" + _vector(2, b"\0\x17\0\0"))

    def last_flight(self):
        """ClientKeyExchange, the change of cipher, and a Finished that no key opens."""
        return (_handshake(CLIENT_KEY_EXCHANGE, 2, 2, _vector(2, self.identity)) + _record(20, 0, 3, b"\1") +
                _record(HANDSHAKE, 1, 0, b"\0" * 8 + b"\x5a" * 32))

    def heard(self, datagram):
        """The alert that ends the handshake, or None."""
        for kind, data in _records_of(datagram):
            if kind == ALERT:
                return f"alert {data[1]}"
            if kind == HANDSHAKE and data[0] == HELLO_VERIFY_REQUEST and not self.cookie:
                self.cookie = data[15:15 + data[14]]
                self.sent = self.hello()
            elif kind == HANDSHAKE and data[0] == SERVER_HELLO_DONE and not self.finished:
                self.finished, self.sent = True, self.last_flight()
        return None


class Crowd:
    """Handshakes with these identities (bytes), so many at a time; `ends` has {how: how many} in the end."""

    def __init__(self, port, source, identities, window=256):
        self.target, self.source = ("127.0.0.1", port), int(ipaddress.IPv4Address(source))
        self.waiting, self.window, self.peers, self.ends = list(reversed(identities)), window, {}, {}
        self.count = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        for option in (33, socket.SO_RCVBUF):  # SO_RCVBUFFORCE, which not everybody may
            try:
                self.socket.setsockopt(socket.SOL_SOCKET, option, BUFFER)
                break
            except OSError:
                pass
        self.socket.bind(("0.0.0.0", 0))
        self.socket.setblocking(False)

    def _send(self, peer):
        peer.at = time.monotonic()
        source = struct.pack("@I4s4s", 0, (self.source + peer.number).to_bytes(4, "big"), b"\0" * 4)
        try:
            self.socket.sendmsg([peer.sent], [(socket.IPPROTO_IP, IP_PKTINFO, source)], 0, self.target)
        except BlockingIOError:
            pass  # as if the network had lost it

    def _begin(self):
        while self.waiting and len(self.peers) < self.window:
            peer = self.peers[self.count] = Peer(self.count, self.waiting.pop())
            self.count += 1
            peer.sent = peer.hello()
            self._send(peer)

    def _receive(self):
        while True:
            try:
                datagram, control, _, _ = self.socket.recvmsg(2048, 64)
            except BlockingIOError:
                return
            number = int.from_bytes(control[0][2][8:12], "big") - self.source
            peer = self.peers.get(number)
            if peer is None:
                continue
            before = peer.sent
            end = peer.heard(datagram)
            if end is not None:
                self.ends[end] = self.ends.get(end, 0) + 1
                del self.peers[number]
            elif peer.sent is not before:
                self._send(peer)

    def run(self, seconds=120, beside=None):
        """Until all have ended; `beside` is called now and then."""
        deadline, due = time.monotonic() + seconds, 0.0
        while (self.waiting or self.peers) and time.monotonic() < deadline:
            self._begin()
            select.select([self.socket], [], [], 0.1)
            self._receive()
            if time.monotonic() < due:
                continue
            due = time.monotonic() + 0.5
            for peer in self.peers.values():
                if peer.at < due - 0.5 - REPEAT_SECONDS:
                    self._send(peer)
            if beside is not None:
                beside()
        self.socket.close()
        return self.ends
