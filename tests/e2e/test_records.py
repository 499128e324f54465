# Datagrams that a bad network or an attacker makes of good ones: the association goes on undisturbed, and nothing of it
# is answered.
# SPDX-License-Identifier: GPL-3.0-or-later
import os
import random
import socket
import time

import coap as coaplib
from lib import DEV1, Sagate, Skip, UdpRelay, check, equal, settle, wait_for
from peers import AVAILABLE, Row, WolfsslCoap

CID = b"\x0a\x1b\x2c\x3d"
VARIANTS = {
    "dtls12": ("DTLS1.2", None, set()),
    "dtls12_cid": ("DTLS1.2", CID, {"cid"}),
    "dtls13": ("DTLS1.3", None, {"dtls13"}),
    "dtls13_cid": ("DTLS1.3", CID, {"cid", "dtls13"}),
}
SUITES = {"DTLS1.2": "PSK-AES128-CCM-8", "DTLS1.3": "TLS13-AES128-CCM-SHA256"}


def dropped(s, **labels):
    of_records = 0 if labels else s.metric("records_dropped_total")
    return s.metric("datagrams_dropped_total", **labels) + of_records


def of_the_handshake(datagram):
    """A record of DTLS 1.3 that says to be of epoch 2. Its keys are gone by then, so a few are answered with an ACK to
    the peer, who may have missed the first (RFC 9147 7.3)."""
    return datagram[:1] != b"" and datagram[0] & 0xe3 == 0x22


class Path:
    """A client, and between it and sagate a relay whose `mangle(datagram)` says what becomes of what the client sends."""

    def __init__(self, t, variant):
        version, cid, needs = VARIANTS[variant]
        if not needs <= AVAILABLE:
            raise Skip("sagate does not have this yet")
        self.sagate = Sagate(t)
        self.mangle = None
        self.relay = UdpRelay(t, self.sagate.dtls_port, self._hook)
        self.client = WolfsslCoap(t, self.sagate, Row("wolfSSL", version, SUITES[version], DEV1, cid=cid),
                                  port=self.relay.port)
        self.answered("start")
        settle()  # what follows the handshake (acknowledgements) is over

    def _hook(self, number, to_server, data):
        return self.mangle(data) if to_server and self.mangle else [data]

    def inject(self, datagram):
        """From the client's address, as sagate sees it."""
        self.relay.back.send(datagram)

    def from_sagate(self):
        return sum(1 for to_server, _ in self.relay.seen if not to_server)

    def answered(self, rqi):
        answer = self.client.request("get", "cse-in", origin="Cdev1", rqi=rqi)
        check(answer is not None, f"{rqi}: no answer")
        equal((answer.rsc, answer.rqi), (2000, rqi))

    def sent_by_client(self, rqi):
        """The datagram of a request that goes its way undisturbed."""
        seen = len(self.relay.seen)
        self.answered(rqi)
        return next(data for to_server, data in self.relay.seen[seen:] if to_server)

    def taken(self, count):
        """Waits until sagate has taken the datagrams that were injected since `count` were received."""
        wait_for(lambda: self.sagate.metric("datagrams_received_total") >= count, "sagate has taken the datagrams")

    def undisturbed(self):
        self.mangle = None
        self.answered(f"still.{time.monotonic_ns()}")
        equal(self.sagate.associations(), 1, "associations")
        equal(self.sagate.metric("handshakes_total", result="ok"), 1, "handshakes")


def for_variants(*variants):
    """test(t, variant) becomes one test for each variant, named test_NAME_VARIANT."""
    def declare(test):
        for variant in variants:
            globals()[f"test_{test.__name__}_{variant}"] = lambda t, variant=variant: test(t, variant)
        return test
    return declare


for_each_variant = for_variants(*VARIANTS)


@for_each_variant
def replayed(t, variant):
    path = Path(t, variant)
    s = path.sagate
    before, answers = dropped(s, reason="record"), path.from_sagate()
    path.mangle = lambda data: [data, data, data]
    for n in range(10):
        path.answered(f"tripled.{n}")
    path.mangle = None
    wait_for(lambda: dropped(s, reason="record") >= before + 20, "replays are counted")
    # All of them once more, long after.
    sent = [data for to_server, data in path.relay.seen if to_server][-10:]
    for data in sent:
        path.inject(data)
    wait_for(lambda: dropped(s, reason="record") >= before + 30, "late replays are counted")
    settle()
    equal(path.from_sagate(), answers + 10, "datagrams from sagate")
    equal(s.metric("coap_duplicates_total"), 0, "a replay reached the binding")
    equal(len(s.cse.records(rqi="tripled.3")), 1)
    path.undisturbed()


@for_each_variant
def reordered_within_the_window(t, variant):
    path = Path(t, variant)
    s, client, held = path.sagate, path.client, []

    def backwards(data):
        held.append(data)
        return reversed(held) if len(held) == 8 else []

    path.mangle = backwards
    requests = [client.build("get", "cse-in", origin="Cdev1", rqi=f"order.{n}", kind=coaplib.NON) for n in range(8)]
    before = dropped(s)
    for datagram in requests:
        client.send(datagram)
        settle(0.02)  # so that each is a record
    answers = {client.response().rqi for _ in requests}
    equal(answers, {f"order.{n}" for n in range(8)}, "answers")
    equal(dropped(s), before, "datagrams dropped")
    path.undisturbed()


@for_each_variant
def reordered_beyond_the_window(t, variant):
    path = Path(t, variant)
    s, client, held = path.sagate, path.client, []
    path.mangle = lambda data: held.append(data) or []
    client.send(client.build("get", "cse-in", origin="Cdev1", rqi="late", token=b"late", kind=coaplib.NON))
    wait_for(lambda: held, "the record that is held back")
    path.mangle = None
    for n in range(130):  # more than twice a window of 64
        path.answered(f"next.{n}")
    before = dropped(s, reason="record")
    path.inject(held[0])
    equal(client.response(token=b"late", seconds=1), None, "a record from beyond the window is taken")
    equal(dropped(s, reason="record"), before + 1, "records dropped")
    equal(s.cse.records(rqi="late"), [])
    path.undisturbed()


def spoilt(t, variant, copies_of, at_least):
    """Spoilt copies of a record come before the record itself: none is answered, and the record is still good."""
    path = Path(t, variant)
    s, client = path.sagate, path.client
    answers, before, counts, early, repeated = path.from_sagate(), dropped(s), [], [], []

    def spoil_first(data):
        if of_the_handshake(data):  # a slow client repeats its last flight, which is answered
            repeated.append(data)
            return [data]
        path.mangle = None
        copies = [copy for copy in copies_of(data) if not of_the_handshake(copy)]
        received = s.metric("datagrams_received_total")
        for at in range(0, len(copies), 50):  # not more at a time than a socket's buffer holds
            for copy in copies[at:at + 50]:
                path.inject(copy)
            path.taken(received + min(len(copies), at + 50))
        counts.append(len(copies))
        path.relay.back.setblocking(False)
        try:
            early.append(path.relay.back.recv(65536))
        except BlockingIOError:
            pass
        path.relay.back.setblocking(True)
        return [data]

    path.mangle = spoil_first
    client.send(client.build("get", "cse-in", origin="Cdev1", rqi="good", token=b"good"))
    answer = client.response(token=b"good", seconds=15)
    check(answer is not None and answer.rsc == 2000, f"the good record: {answer}")
    check(len(early) <= len(repeated), f"answers to spoilt records: {early}")
    check(answers < path.from_sagate() <= answers + 1 + len(repeated), "datagrams from sagate")
    check(counts[0] >= at_least, f"only {counts[0]} copies")
    # A spoilt length may make two records of one, and each is counted.
    check(dropped(s) - before >= counts[0], f"{dropped(s) - before} of {counts[0]} are counted")
    equal(s.metric("binding_errors_total"), 0, "a spoilt record reached the binding")
    path.undisturbed()


@for_each_variant
def truncated(t, variant):
    spoilt(t, variant, lambda data: (data[:n] for n in range(1, len(data))), 40)


@for_each_variant
def bits_flipped(t, variant):
    def flipped(data):
        for bit in range(8 * len(data)):
            copy = bytearray(data)
            copy[bit // 8] ^= 1 << bit % 8
            yield bytes(copy)

    spoilt(t, variant, flipped, 400)


@for_each_variant
def lengthened(t, variant):
    def longer(data):
        rng = random.Random(3)
        for size in (1, 2, 12, 13, 100, 1000):
            yield data[:-1] + bytes([data[-1] ^ 255]) + rng.randbytes(size)

    spoilt(t, variant, longer, 6)


@for_each_variant
def random_from_the_clients_address(t, variant):
    """First bytes that look like records of every kind, and noise after."""
    path = Path(t, variant)
    s, rng = path.sagate, random.Random(4)
    answers, before, count = path.from_sagate(), dropped(s), 0
    received = s.metric("datagrams_received_total")
    firsts = list(range(20, 27)) + list(range(32, 64)) + [0, 1, 19, 64, 128, 255]
    for first in (first for first in firsts if not of_the_handshake(bytes([first]))):
        for size in (0, 1, 12, 13, 29, 60, 600):
            path.inject(bytes([first]) + rng.randbytes(size))
            count += 1
        path.taken(received + count)
    settle()
    equal(path.from_sagate(), answers, "datagrams from sagate")
    check(dropped(s) - before >= count, f"{dropped(s) - before} of {count} are counted")
    path.undisturbed()


@for_variants("dtls13")
def records_of_the_handshake(t, variant):
    """Who says to repeat the last flight draws few ACKs, whatever their number."""
    path = Path(t, variant)
    s, answers, received = path.sagate, path.from_sagate(), path.sagate.metric("datagrams_received_total")
    for n in range(100):
        path.inject(b"\x2e" + os.urandom(2) + b"\0\x20" + os.urandom(32))
    path.taken(received + 100)
    settle()
    check(path.from_sagate() - answers <= 8, f"{path.from_sagate() - answers} answers")
    path.undisturbed()


def cid_record(cid, size=30):
    """A record of type tls12_cid (RFC 9146 section 4) that nobody has sealed."""
    return b"\x19\xfe\xfd\0\1" + os.urandom(6) + cid + size.to_bytes(2, "big") + os.urandom(size)


def flood(s, sock, make, count):
    """Sends at the pace at which sagate takes them; returns how many it has received."""
    before = s.metric("datagrams_received_total")
    for at in range(0, count, 100):
        for _ in range(100):
            sock.send(make())
        wait_for(lambda: s.metric("datagrams_received_total") >= before + at + 100, "sagate takes the datagrams")
    return s.metric("datagrams_received_total") - before


def connect(s):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", s.dtls_port))
    return sock


def silent(sock):
    sock.settimeout(0.3)
    try:
        return sock.recv(65536) is None
    except OSError:
        return True


@for_each_variant
def guessed_connection_ids(t, variant):
    path = Path(t, variant)
    s = path.sagate
    before = dropped(s)
    with connect(s) as sock:
        # 8 bytes is what sagate issues by default; the first is the worker.
        received = flood(s, sock, lambda: cid_record(os.urandom(8)), 5000)
        received += flood(s, sock, lambda: cid_record(b"\0" + os.urandom(7)), 5000)
        # The unified header of DTLS 1.3 with a Connection ID (RFC 9147 section 4).
        received += flood(s, sock, lambda: b"\x3e" + b"\0" + os.urandom(7 + 2) + b"\0\x1e" + os.urandom(30), 2000)
        check(silent(sock), "a guess is answered")
    equal(dropped(s) - before, received, "datagrams dropped")
    equal(s.metric("handshakes_in_progress"), 0)
    path.undisturbed()


@for_variants("dtls12_cid", "dtls13_cid")
def stolen_connection_id(t, variant):
    """Somebody who has seen the Connection ID, but has no key, sends from another address."""
    path = Path(t, variant)
    s, rng = path.sagate, random.Random(5)
    genuine = path.sent_by_client("seen")
    before = dropped(s, reason="record")

    def forge():
        copy = bytearray(genuine)
        copy[-20:] = rng.randbytes(20)
        return bytes(copy)

    with connect(s) as sock:
        received = flood(s, sock, forge, 2000)
        sock.send(genuine)
        check(silent(sock), "a forgery is answered")
    equal(dropped(s, reason="record") - before, received + 1, "records dropped")
    equal(s.metric("rebindings_total"), 0, "the association has moved")
    path.undisturbed()
