# Devices behind a NAT that gives them another address in mid-association (RFC 9146 section 6), and an attacker beside.
# SPDX-License-Identifier: GPL-3.0-or-later
import socket

from lib import DEV1, Sagate, Skip, UdpRelay, check, equal, settle, wait_for
from netns import Capture, Namespace, Nat, enter
from peers import AVAILABLE, Row, WolfsslCoap, coap_answers_in, coap_request, mbedtls_argv

HOME, ATTACKER = "192.0.2.1", "198.51.100.2"
CID = b"\x0a\x1b\x2c\x3d"


def outside(number):
    return f"192.0.2.{10 + number}/24"


class Scene:
    """device - NAT - sagate, and an attacker with a cable of its own to sagate."""

    def __init__(self, t, workers=1):
        enter(t)
        self.nat, self.device, self.attacker = Nat(t), Namespace(t, "device"), Namespace(t, "attacker")
        self.nat.join(None, "outside", outside(0), "home", f"{HOME}/24")
        self.device.join(self.nat, "device", "10.0.0.2/24", "inside", "10.0.0.1/24")
        self.attacker.join(None, "attacker", f"{ATTACKER}/24", "street", "198.51.100.1/24")
        self.device.route("10.0.0.1")
        self.attacker.route("198.51.100.1")
        self.sagate = Sagate(t, dtls={"address": HOME}, overrides={"process": {"workers": workers}})
        self.capture = Capture(t, "home", self.sagate.dtls_port)
        with self.attacker.inside():
            self.attacker_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.attacker_socket.connect((HOME, self.sagate.dtls_port))
        t.defer(lambda failed: self.attacker_socket.close())

    def client(self, t, row):
        return WolfsslCoap(t, self.sagate, row, prefix=self.device.prefix, host=HOME)

    def attack(self, datagram):
        self.attacker_socket.send(datagram)

    def attacker_heard(self):
        self.attacker_socket.settimeout(0.3)
        try:
            return self.attacker_socket.recv(65536)
        except OSError:
            return None


def require(*features):
    if not set(features) <= AVAILABLE:
        raise Skip("sagate does not have this yet")


def row_of(version, cid):
    suite = "PSK-AES128-CCM-8" if version == "DTLS1.2" else "TLS13-AES128-GCM-SHA256"
    return Row("wolfSSL", version, suite, DEV1, cid=cid)


def answered(client, rqi, **kwargs):
    answer = client.request("get", "cse-in", origin="Cdev1", rqi=rqi, **kwargs)
    check(answer is not None, f"{rqi}: no answer")
    equal((answer.rsc, answer.rqi), (2000, rqi))


def state(s):
    return {"handshakes": s.metric("handshakes_started_total"), "associations": s.associations()}


def rebinding(t, version):
    scene = Scene(t)
    s = scene.sagate
    with scene.client(t, row_of(version, CID)) as client:
        answered(client, "before")
        equal({source[0] for source, _ in scene.capture.take()}, {"192.0.2.10"}, "sagate sees the NAT's address")
        before = state(s)
        scene.nat.rebind(outside(1))
        answered(client, "after")
        equal({source[0] for source, _ in scene.capture.take()}, {"192.0.2.11"}, "the NAT's other address")
        equal(state(s), before, "a handshake was needed")
        equal(s.metric("rebindings_total"), 1)
        answered(client, "again")
        equal(s.metric("rebindings_total"), 1, "one change is one rebinding")
        # What sagate answers by itself, in the moment in which the record comes, goes to the new address too.
        scene.nat.rebind(outside(2))
        refused = client.request("get", "cse-in", origin="Cdev2", rqi="refused")
        check(refused is not None, "no answer to what was refused")
        equal(refused.rsc, 4106)
        equal(s.metric("rebindings_total"), 2)
    wait_for(lambda: s.associations() == 0, "close_notify from the new address ends the association")
    equal([len(s.cse.records(rqi=rqi)) for rqi in ("before", "after", "again")], [1, 1, 1])


def test_rebinding_dtls12(t):
    require("cid")
    rebinding(t, "DTLS1.2")


def test_rebinding_dtls13(t):
    require("cid", "dtls13")
    rebinding(t, "DTLS1.3")


def test_without_connection_id(t):
    """The same network: there is no answer at the new address, until the device makes another handshake."""
    scene = Scene(t)
    s = scene.sagate
    with scene.client(t, row_of("DTLS1.2", None)) as client:
        answered(client, "before")
        before = state(s)
        scene.nat.rebind(outside(1))
        equal(client.request("get", "cse-in", origin="Cdev1", rqi="lost", seconds=2), None)
        check(s.metric("datagrams_dropped_total", reason="unknown_association") >= 1, "the drop is not counted")
        equal(state(s), before)
        client.send(b"!reconnect")
        answered(client, "reconnected", seconds=15)
        equal(s.metric("handshakes_started_total"), before["handshakes"] + 1)
    equal(s.cse.records(rqi="lost"), [])


def test_back_and_forth_between_workers(t):
    """The kernel spreads addresses over the workers: what comes to another one is handed over."""
    require("cid")
    scene = Scene(t, workers=2)
    s = scene.sagate
    with scene.client(t, row_of("DTLS1.2", CID)) as client:
        answered(client, "start")
        before = state(s)
        for number in range(1, 13):
            scene.nat.rebind(outside(number))
            answered(client, f"at.{number}")
        equal(state(s), before)
        equal(s.metric("rebindings_total"), 12)


def attack(t, version):
    scene = Scene(t)
    s = scene.sagate
    with scene.client(t, row_of(version, CID)) as client:
        answered(client, "first")
        scene.capture.take()
        answered(client, "captured")
        captured = [payload for _, payload in scene.capture.take()]
        before = state(s)
        for datagram in captured:
            scene.attack(datagram)
        equal(scene.attacker_heard(), None, "an answer to a replayed record")
        # The right Connection ID, a number that is yet to come, and no key.
        forged = bytearray(captured[-1])
        forged[-1] ^= 1
        scene.attack(bytes(forged))
        equal(scene.attacker_heard(), None, "an answer to a forged record")
        answered(client, "undisturbed")
        equal(state(s), before)
        equal(s.metric("rebindings_total"), 0, "the association has moved")
        check(s.metric("datagrams_dropped_total", reason="record") >= 2, "drops are not counted")
        # After the device itself has moved, what it sent from its old address does not bring the association back.
        scene.nat.rebind(outside(1))
        answered(client, "moved")
        for datagram in captured:
            scene.attack(datagram)
        answered(client, "stays")
        equal(scene.attacker_heard(), None)
        equal(s.metric("rebindings_total"), 1)
    equal(len(s.cse.records(rqi="captured")), 1)


def test_attacker_dtls12(t):
    require("cid")
    attack(t, "DTLS1.2")


def test_attacker_dtls13(t):
    require("cid", "dtls13")
    attack(t, "DTLS1.3")


def test_attacker_without_connection_id(t):
    scene = Scene(t)
    s = scene.sagate
    with scene.client(t, row_of("DTLS1.2", None)) as client:
        answered(client, "first")
        captured = [payload for _, payload in scene.capture.take()]
        dropped = s.metric("datagrams_dropped_total", reason="unknown_association")
        for datagram in captured[-2:]:
            scene.attack(datagram)
        scene.attacker_heard()  # a ClientHello may be answered with a cookie
        answered(client, "undisturbed")
        check(s.metric("datagrams_dropped_total", reason="unknown_association") > dropped, "drops are not counted")
    equal(len(s.cse.records(rqi="first")), 1)


def test_port_changes_mbedtls(t):
    """Mbed TLS's client behind a relay that takes another port after each answer to it."""
    require("cid")
    s = Sagate(t)
    relay = UdpRelay(t, s.dtls_port, lambda number, to_server, data: [data])
    answers = []

    def hook(number, to_server, data):
        if not to_server and data[0] in (23, 25):
            answers.append(data)
            relay.rebind()
        return [data]

    relay.hook = hook
    row = Row("Mbed TLS", "DTLS1.2", "TLS-PSK-WITH-AES-128-CCM-8", DEV1, cid=CID)
    request = coap_request("mbed")
    done = t.run(mbedtls_argv(s, row, request, port=relay.port, exchanges=4), 40)
    equal(coap_answers_in(done.stdout, request), [(2000, "mbed")] * 4, done.stdout[-500:].decode(errors="replace"))
    check(len(answers) >= 4, "the relay saw no answers")
    equal(s.metric("handshakes_started_total"), 1)
    settle()
    check(s.metric("rebindings_total") >= 3, "rebindings are not counted")
