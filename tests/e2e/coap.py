# CoAP messages (RFC 7252 section 3) for the tests, made and read without any library.
# SPDX-License-Identifier: GPL-3.0-or-later
import json

CON, NON, ACK, RST = range(4)


def _nibble(value):
    if value < 13:
        return value, b""
    if value < 269:
        return 13, bytes([value - 13])
    return 14, (value - 269).to_bytes(2, "big")


def encode(kind, code, mid, token=b"", options=(), payload=b""):
    """A datagram; options are (number, bytes) in any order, kept in their order where numbers are equal."""
    out = bytes([0x40 | kind << 4 | len(token), code]) + mid.to_bytes(2, "big") + token
    last = 0
    for number, value in sorted(options, key=lambda option: option[0]):
        delta, delta_more = _nibble(number - last)
        length, length_more = _nibble(len(value))
        out += bytes([delta << 4 | length]) + delta_more + length_more + value
        last = number
    return out + (b"\xff" + payload if payload else b"")


class Message:
    def __init__(self, kind, code, mid, token, options, payload):
        self.kind, self.code, self.mid, self.token = kind, code, mid, token
        self.options, self.payload = options, payload

    def all(self, number):
        return [value for n, value in self.options if n == number]

    def option(self, number):
        values = self.all(number)
        return values[0] if values else None

    @property
    def status(self):
        return f"{self.code >> 5}.{self.code & 31:02d}"

    @property
    def rsc(self):
        value = self.option(307) or self.option(265)
        return int.from_bytes(value, "big") if value else None

    @property
    def rqi(self):
        value = self.option(283) if self.option(283) is not None else self.option(257)
        return value.decode() if value is not None else None

    @property
    def json(self):
        return json.loads(self.payload)

    def __repr__(self):
        kind = ["CON", "NON", "ACK", "RST"][self.kind]
        return f"Message({kind} {self.status}, rsc={self.rsc}, {self.payload[:120]!r})"


def decode(data):
    if len(data) < 4 or data[0] >> 6 != 1:
        raise ValueError(f"no CoAP message: {data[:40]!r}")
    kind, token_len = data[0] >> 4 & 3, data[0] & 15
    token, at, number, options, payload = data[4:4 + token_len], 4 + token_len, 0, [], b""
    while at < len(data):
        if data[at] == 0xff:
            payload = data[at + 1:]
            break
        parts = [data[at] >> 4, data[at] & 15]
        at += 1
        for i in (0, 1):
            if parts[i] == 13:
                parts[i] = data[at] + 13
                at += 1
            elif parts[i] == 14:
                parts[i] = int.from_bytes(data[at:at + 2], "big") + 269
                at += 2
        number += parts[0]
        options.append((number, data[at:at + parts[1]]))
        at += parts[1]
    return Message(kind, data[1], int.from_bytes(data[2:4], "big"), token, options, payload)
