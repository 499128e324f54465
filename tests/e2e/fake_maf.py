# A MAF that does what a test tells it: answers to key retrievals (TS-0003 8.8.2.8), good and bad, over TLS with
# certificates of both sides.
# SPDX-License-Identifier: GPL-3.0-or-later
import base64
import hashlib
import json
import socket
import ssl
import struct
import threading
import time

from lib import CSE_ID, SP_ID, Credential, free_port
from test_certificates import Authority

FQDN, ADMIN = "maf.sp.example", "admin.sp.example"
TARGET = SP_ID + CSE_ID

# How an answer differs from a good one: (HTTP status, X-M2M-RSC, changes of the key registration).
ANSWERS = {
    "good": (200, 2000, {}),
    "403": (403, 4103, None),
    "404": (404, 4004, None),
    "500": (500, 5000, None),
    "nonsense": (200, 2000, b'{"sec:symmKeyReg": [\0\xff, {"et": 7'),
    "no_json": (200, 2000, b"<html>welcome</html>"),
    "empty": (200, 2000, b""),
    "key_of_0": (200, 2000, {"keyValue": ""}),
    "key_of_65": (200, 2000, {"keyValue": base64.b64encode(bytes(range(65))).decode()}),
    "expired": (200, 2000, {"et": "20200101T000000"}),
    "other_target": (200, 2000, {"targetIDs": ["//sp.example/id-other"]}),
    "other_key": (200, 2000, {"relativeKeyID": "another-one"}),
    "wrong_suid": (200, 2000, {"SUID": 22}),
    "foreign_source": (200, 2000, {"sourceID": "//elsewhere.example/Sdev"}),
    "no_source": (200, 2000, {"sourceID": None}),
}
BEHAVIOURS = list(ANSWERS) + ["slow", "reset", "endless"]
GLOBAL = ["down", "wrong_certificate"]  # of the whole server


class FakeMaf:
    """`requests` holds what it was asked: (method, path). `behaviour` is what it does; `of` the same for single relative
    key IDs."""

    def __init__(self, t):
        self.t, self.behaviour, self.of = t, "good", {}
        self.requests, self.handshakes, self.slow_seconds = [], 0, 3
        authority, stranger = Authority(t, "maf-ca"), Authority(t, "strange-ca")
        self.anchors = authority.chain
        self.client = authority.issue("sagate", "DNS:in.sp.example")
        self.contexts = {name: self._context(*ca.issue(name, f"DNS:{FQDN}"), authority.chain)
                         for name, ca in (("maf", authority), ("stranger", stranger))}
        self.port, self.listening, self.connections = free_port(), None, set()
        self.lock = threading.Lock()
        self.up()
        t.defer(lambda failed: self.down())

    @staticmethod
    def _context(chain, key, anchors):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        context.load_verify_locations(anchors)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    # What it is told
    def up(self):
        if self.listening is None:
            self.listening = socket.create_server(("127.0.0.1", self.port), backlog=128)
            threading.Thread(target=self._accept, args=(self.listening,), daemon=True).start()

    def down(self):
        with self.lock:
            listening, self.listening = self.listening, None
            connections, self.connections = self.connections, set()
        if listening is not None:
            listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        for connection in connections:
            self._abort(connection)

    def behave(self, behaviour):
        """From now on, for everything that has no behaviour of its own. What belongs to connections ends them."""
        if behaviour in GLOBAL or self.behaviour in GLOBAL:
            self.down()
        self.behaviour = behaviour
        if behaviour != "down":
            self.up()

    # The configuration and the devices
    def settings(self, **changes):
        return {"name": "maf", "fqdn": FQDN, "address": "127.0.0.1", "port": self.port, "upstream": "in",
                "admin_fqdn": ADMIN, "register": False, "certificate": "maf-client", "trust_anchors": ["maf"],
                "timeout_milliseconds": 700, **changes}

    def overrides(self, certificates, **settings):
        """For lib.Sagate: its settings, and those of this MAF."""
        chain, key = self.client
        return {"certificates": certificates + [{"name": "maf-client", "chain_file": str(chain), "key_file": str(key)}],
                "trust_anchors": [{"name": "maf", "file": str(self.anchors)}], "mafs": [self.settings(**settings)],
                "resolver": {"deadline_milliseconds": 1500, "negative_seconds": 1}}

    @staticmethod
    def key(name):
        return hashlib.sha256(b"of the fake MAF: " + name.encode()).hexdigest()[:32]

    def device(self, name, fqdn=FQDN):
        """The credential of a device that has registered a key; its AE-ID is S and its name."""
        return Credential(f"{name}@{fqdn}", self.key(name), [f"S{name}"])

    # Connections
    @staticmethod
    def _abort(connection):
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        connection.close()

    def _accept(self, listening):
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with self.lock:
                self.connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        context = self.contexts["stranger" if self.behaviour == "wrong_certificate" else "maf"]
        connection.settimeout(30)
        try:
            connection = context.wrap_socket(connection, server_side=True)
            self.handshakes += 1
            with self.lock:
                self.connections.add(connection)
            buffer = b""
            while True:
                while b"\r\n\r\n" not in buffer:
                    data = connection.recv(65536)
                    if not data:
                        return
                    buffer += data
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                if not self._answer(connection, head.decode("latin-1").split("\r\n")):
                    return
        except (OSError, ValueError):
            pass
        finally:
            with self.lock:
                self.connections.discard(connection)
            connection.close()

    def _registration(self, name, changes):
        fields = {"et": "20300101T000000", "sourceID": f"{SP_ID}/S{name}", "adminFQDN": ADMIN, "SUID": 32,
                  "targetIDs": [TARGET], "keyValue": base64.b64encode(self.key(name).encode()).decode(),
                  "relativeKeyID": name, **changes}
        return json.dumps({"sec:symmKeyReg": {n: v for n, v in fields.items() if v is not None}}).encode()

    def _answer(self, connection, lines):
        """False: the connection is no more to be used."""
        method, path, _ = lines[0].split(" ")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines[1:])}
        self.requests.append((method, path))
        name = path.rpartition("/")[2].partition("?")[0]
        behaviour = self.of.get(name, self.behaviour)
        rqi = headers.get("x-m2m-ri", "")
        end = time.monotonic() + self.slow_seconds
        while self.of.get(name, self.behaviour) == "slow" and time.monotonic() < end:
            time.sleep(0.05)
        status, rsc, what = ANSWERS.get(behaviour, ANSWERS["good"])
        body = what if isinstance(what, bytes) else b"{}" if what is None else self._registration(name, what)
        head = (f"HTTP/1.1 {status} Scripted\r\nX-M2M-RSC: {rsc}\r\nX-M2M-RI: {rqi}\r\n"
                "Content-Type: application/json\r\n")
        if behaviour == "endless":
            connection.sendall((head + "Transfer-Encoding: chunked\r\n\r\n").encode())
            while True:  # until the other side has had enough
                connection.sendall(b"1000\r\n" + b"a" * 4096 + b"\r\n")
        answer = (head + f"Content-Length: {len(body)}\r\n\r\n").encode() + body
        if behaviour == "reset":
            connection.sendall(answer[:len(answer) - 40])
            self._abort(connection)
            return False
        connection.sendall(answer)
        return True
