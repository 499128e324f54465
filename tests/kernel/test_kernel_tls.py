# Kernel TLS: the kernel makes and opens the records of folded TLS associations, and every byte arrives as it was sent.
# SPDX-License-Identifier: GPL-3.0-or-later
import hashlib
import json
import os
import re
import socket
import threading
import time

from lib import (Closed, DEV1, Sagate, ae, check, cin, cnt, equal, m2m_request, openssl_psk, pipe_client, wait_for)

SUITES = [("-tls1_2", "PSK-AES128-GCM-SHA256"), ("-tls1_2", "PSK-AES128-CCM"), ("-tls1_3", "TLS_AES_128_GCM_SHA256"),
          ("-tls1_3", "TLS_AES_128_CCM_SHA256"), ("-tls1_3", "TLS_CHACHA20_POLY1305_SHA256")]
SIZES = [1, 100, 16384, 65537, 1 << 20, 5 << 20]
LIMITS = {"http_body_bytes": 8 << 20, "http_body_buffer_bytes": 65536}


def start(t, mode="on", cse_args=()):
    return Sagate(t, cse_args, overrides={"process": {"kernel_tls": mode}, "limits": LIMITS})


def statistics():
    """The kernel's own count of TLS sockets."""
    with open("/proc/net/tls_stat") as lines:
        return {name: int(value) for name, value in (line.split() for line in lines)}


def socket_information(t, port):
    """What ss knows of the TLS layer of the sockets at this port: version, receiving, sending."""
    text = t.run(["ss", "-tieHn", "state", "established", "sport", f"= :{port}"]).stdout.decode()
    return re.findall(r"tcp-ulp-tls version: (\S+) .*?rxconf: (\S+) txconf: (\S+)", text)


def counted(s):
    """Associations that sagate has given to the kernel, for receiving and for sending."""
    return [s.metric("kernel_tls_streams_total", direction=direction) for direction in ("in", "out")]


def content(size):
    """Text that is different everywhere, so that nothing can be lost, doubled or exchanged unseen."""
    text, number = [], 0
    while 64 * number < size:
        text.append(hashlib.sha256(b"%d" % number).hexdigest())
        number += 1
    return "".join(text)[:size]


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def make(stream):
    equal(stream.request("POST", "/cse-in", origin="Cdev1", ty=2, body=ae("dev1")).rsc, 2001)
    equal(stream.request("POST", "/cse-in/dev1", origin="Cdev1", ty=3, body=cnt("data")).rsc, 2001)


def exchange(s, stream, size):
    """One body of this size to the CSE and back."""
    body = json.dumps(cin(content(size)))
    answer = stream.request("POST", "/cse-in/dev1/data?rcn=0", origin="Cdev1", rqi=f"size{size}", ty=4, body=body,
                            seconds=40)
    equal(answer.rsc, 2001, f"{size} bytes to the CSE")
    equal(digest(s.cse.records(rqi=f"size{size}")[-1]["body"]), digest(body), f"{size} bytes as the CSE saw them")
    answer = stream.request("GET", "/cse-in/dev1/data/la", origin="Cdev1", seconds=40)
    equal(digest(answer.json["m2m:cin"]["con"]), digest(content(size)), f"{size} bytes from the CSE")


def bodies(t, suites, cse_args=()):
    s = start(t, cse_args=cse_args)
    for number, (version, cipher) in enumerate(suites):
        before = statistics()
        with s.tls(DEV1, version=version, cipher=cipher) as stream:
            if number == 0:
                make(stream)
            for size in SIZES:
                exchange(s, stream, size)
            after, sockets = statistics(), socket_information(t, s.tls_port)
        for name in ("TlsTxSw", "TlsRxSw"):
            equal(after[name] - before[name], 1, f"{name} with {cipher}")
        equal(sockets, [(version[-3:].replace("_", "."), "sw", "sw")], f"what ss says with {cipher}")
        equal(counted(s), [number + 1] * 2, f"sagate's counters with {cipher}")
        wait_for(lambda: statistics()["TlsCurrTxSw"] == 0 and statistics()["TlsCurrRxSw"] == 0, "the sockets are gone")
    equal(statistics()["TlsDecryptError"], 0)


def test_bodies_tls12(t):
    bodies(t, [suite for suite in SUITES if suite[0] == "-tls1_2"])


def test_bodies_tls13(t):
    bodies(t, [suite for suite in SUITES if suite[0] == "-tls1_3"])


def test_bodies_chunked(t):
    bodies(t, SUITES[:1] + SUITES[2:3], ["--chunked"])


test_bodies_tls12.timeout = test_bodies_tls13.timeout = test_bodies_chunked.timeout = 360


def test_pipelining(t):
    s = start(t)
    for version, cipher in SUITES[:1] + SUITES[2:3]:
        requests = b"".join(m2m_request("GET", "/cse-in", "Cdev1", rqi=f"p{n}") for n in range(50))
        with s.tls(DEV1, version=version, cipher=cipher) as stream:
            stream.send(requests)
            equal([stream.response().header("X-M2M-RI") for _ in range(50)], [f"p{n}" for n in range(50)])


def test_off(t):
    s = start(t, "off")
    before = statistics()
    for version, cipher in SUITES:
        with s.tls(DEV1, version=version, cipher=cipher) as stream:
            equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)
            equal(socket_information(t, s.tls_port), [])
    equal(statistics(), before, "with kernel_tls = off")
    equal(counted(s), [0, 0])


def test_auto(t):
    s = start(t, "auto")
    before = statistics()
    with s.tls(DEV1, version="-tls1_2", cipher="PSK-AES128-GCM-SHA256") as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)
    equal(statistics()["TlsTxSw"] - before["TlsTxSw"], 1, "with kernel_tls = auto")
    # What the kernel does not have goes on without it.
    with s.tls(DEV1, cipher="PSK-AES128-CCM8") as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)
    equal(statistics()["TlsTxSw"] - before["TlsTxSw"], 1, "with AES-128-CCM-8")


def test_close_is_told(t):
    """The end of an association that sagate closes is a close_notify, not just the end of the stream."""
    s = start(t)
    for version, cipher in SUITES[:1] + SUITES[2:3]:
        with openssl_psk(t, s.tls_port, DEV1, version, cipher) as stream:
            stream.send(m2m_request("GET", "/cse-in", "Cdev1", headers=["Connection: close"]))
            equal(stream.response().rsc, 2000)
            check(stream.closed(), "sagate keeps the connection")
    check(b"unexpected eof" not in (t.dir / "openssl.client.log").read_bytes(), "the end came without close_notify")


def ask(stream, rqi):
    """A request through a client that prints other things around the answer."""
    stream.send(m2m_request("GET", "/cse-in", "Cdev1", rqi=rqi))
    while b"HTTP/1.1 " not in stream.buffer:
        stream._more(time.monotonic() + 10)
    stream.buffer = stream.buffer[stream.buffer.index(b"HTTP/1.1 "):]
    equal(stream.response().header("X-M2M-RI"), rqi)


def test_key_update(t):
    """After a KeyUpdate the association goes on, or it is closed in order where this kernel takes no new keys."""
    s = start(t)
    argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{s.tls_port}", "-tls1_3", "-psk", DEV1.hex, "-psk_identity",
            DEV1.identity, "-ciphersuites", "TLS_AES_128_GCM_SHA256"]
    log, answered = t.dir / "openssl.client.log", 0
    with pipe_client(t, argv, "openssl") as stream:
        try:
            for number in range(5):
                ask(stream, f"k{number}")
                answered += 1
                # With and without asking for the other side's. It takes whatever it reads with it for the command.
                stream.send(b"K" if number % 2 == 0 else b"k")
                wait_for(lambda: log.read_bytes().count(b"KEYUPDATE") > number, "openssl sends KeyUpdate")
        except Closed:
            check(b"unexpected eof" not in log.read_bytes(), "the end came without close_notify")
    print(f"{answered} answers")
    check(answered in (1, 5), f"{answered} answers")
    equal(statistics()["TlsDecryptError"], 0)


class Relay:
    """Between a client and a TCP port. When told, it changes what the client sends next, or holds back all but the
    first bytes of it for a while."""

    changed = staticmethod(lambda data: data[:-1] + bytes([data[-1] ^ 1]))

    def __init__(self, t, port):
        self.change, self.hold, self.release = threading.Event(), threading.Event(), threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.target = self.listener.getsockname()[1], port
        threading.Thread(target=self._serve, daemon=True).start()
        t.defer(lambda failed: self.listener.close())

    def _serve(self):
        client, _ = self.listener.accept()
        server = socket.create_connection(("127.0.0.1", self.target))
        threading.Thread(target=self._pass, args=(server, client, False), daemon=True).start()
        self._pass(client, server, True)

    def _pass(self, source, sink, meddling):
        try:
            while data := source.recv(65536):
                if meddling and self.change.is_set():
                    data = self.changed(data)
                if meddling and self.hold.is_set():
                    sink.sendall(data[:12])
                    data = data[12:]
                    self.hold.clear()
                    self.release.wait(60)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def test_forged_record(t):
    s = start(t)
    for number, (version, cipher) in enumerate(SUITES[:1] + SUITES[2:3]):
        relay = Relay(t, s.tls_port)
        with openssl_psk(t, relay.port, DEV1, version, cipher) as stream:
            equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="genuine").rsc, 2000)
            relay.change.set()
            stream.send(m2m_request("GET", "/cse-in", "Cdev1", rqi="forged"))
            check(stream.closed(), "the association outlives a forged record")
        equal(statistics()["TlsDecryptError"], number + 1, "what the kernel refused")
    equal({record["rqi"] for record in s.cse.records()}, {"genuine"})
    check(b"bad record mac" in (t.dir / "openssl.client.log").read_bytes(), "no alert bad_record_mac")


def test_overlong_record(t):
    s = start(t)
    for version, cipher in SUITES[:1] + SUITES[2:3]:
        relay = Relay(t, s.tls_port)
        relay.changed = lambda data: data[:3] + b"\x4f\xff" + data[5:]
        with openssl_psk(t, relay.port, DEV1, version, cipher) as stream:
            equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="genuine").rsc, 2000)
            relay.change.set()
            stream.send(m2m_request("GET", "/cse-in", "Cdev1", rqi="overlong"))
            check(stream.closed(), "the association outlives a record that is too long")
    equal({record["rqi"] for record in s.cse.records()}, {"genuine"})
    equal((t.dir / "openssl.client.log").read_bytes().count(b"alert record overflow"), 2, "alerts record_overflow")


def test_part_of_a_record(t):
    """Peers that stop in the middle of a record cost no thread and hold up nobody; the rest is taken when it comes."""
    s = start(t)
    data = s.pids()["data"]

    def threads():
        return len(os.listdir(f"/proc/{data}/task"))

    relays = [Relay(t, s.tls_port) for _ in range(6)]
    streams = [openssl_psk(t, relay.port, DEV1, *SUITES[2 * (number % 2)]) for number, relay in enumerate(relays)]
    for stream in streams:
        equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)
    before = threads()
    for number, (relay, stream) in enumerate(zip(relays, streams)):
        relay.hold.set()
        stream.send(m2m_request("GET", "/cse-in", "Cdev1", rqi=f"part{number}"))
        wait_for(lambda: not relay.hold.is_set(), "a part is on its way")
    with s.tls(DEV1) as other:
        for _ in range(10):
            equal(other.request("GET", "/cse-in", origin="Cdev1").rsc, 2000, "another association meanwhile")
    equal(threads(), before, "threads of the data process")
    for number, (relay, stream) in enumerate(zip(relays, streams)):
        relay.release.set()
        equal(stream.response().header("X-M2M-RI"), f"part{number}")
