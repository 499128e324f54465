# How long a handshake with a wrong key takes until its alert, beside one with an identity that nobody knows.
# SPDX-License-Identifier: GPL-3.0-or-later
import os
import socket
import statistics
import time

SECONDS = 10
ALERT, HANDSHAKE, CHANGE_CIPHER_SPEC, SERVER_HELLO_DONE = 21, 22, 20, b"\x0e\0\0\0"


def vector(size, data):
    return len(data).to_bytes(size, "big") + data


def message(kind, body):
    return bytes([kind]) + vector(3, body)


def record(kind, data):
    return bytes([kind, 3, 3]) + vector(2, data)


def read_record(stream):
    head = stream.read(5)
    if len(head) < 5:
        raise SystemExit("perf: sagate closed the connection before its alert")
    return head[0], stream.read(int.from_bytes(head[3:], "big"))


def until_alert(port, identity):
    """Microseconds from the last flight of a TLS 1.2 handshake, whose Finished no key opens, to the alert; and which."""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = sock.makefile("rb")
        sock.sendall(record(HANDSHAKE, message(1, b"\3\3" + os.urandom(32) + b"\0" + vector(2, b"\0\xa8") + b"\1\0" +
                                               vector(2, b"\0\x17\0\0"))))  # PSK-AES128-GCM-SHA256
        kind, data = read_record(stream)
        while kind == HANDSHAKE and not data.endswith(SERVER_HELLO_DONE):
            kind, data = read_record(stream)
        flight = (record(HANDSHAKE, message(16, vector(2, identity.encode()))) + record(CHANGE_CIPHER_SPEC, b"\1") +
                  record(HANDSHAKE, b"\0" * 8 + b"\x5a" * 32))
        began = time.perf_counter()
        sock.sendall(flight)
        kind, data = read_record(stream)
        took = (time.perf_counter() - began) * 1e6
        if kind != ALERT:
            raise SystemExit(f"perf: a record of type {kind} instead of an alert")
        return took, data[1]


def compare(port, known, count=200):
    """A note: medians over so many of each kind, one after the other in turn."""
    ways = {"a wrong key": lambda i: known, "an unknown identity": lambda i: f"stranger{i}@nowhere{i}.example",
            "the same a second time": lambda i: f"stranger{i}@nowhere{i}.example"}
    times, alerts = {name: [] for name in ways}, set()
    until_alert(port, known)  # from here on the worker has its key
    for i in range(count):
        for name, identity in ways.items():
            took, alert = until_alert(port, identity(i))
            times[name].append(took)
            alerts.add(alert)
    told = ", ".join(f"{name} {statistics.median(t):.0f} us" for name, t in times.items())
    return f"from the last flight to the alert, medians of {count}: {told}; alerts {sorted(alerts)}"
