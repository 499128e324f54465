# Keys from a MAF and an MEF: a device registers its key there, sagate fetches it in the middle of the handshake, and the
# CSE sees the right originator (TS-0003 8.2.2.3, 8.3.4.3).
# SPDX-License-Identifier: GPL-3.0-or-later
import base64
import os
import signal
import time

from clients import Closed, openssl_psk
from harness import Failure, check, equal, settle, wait_for
from lib import DEV1, Sagate
from peers import Row, ask
from tef import ADMIN, SOURCE, TARGET, Tef, connect, key_body
from test_tef import exported_by

DEVICE = "//sp.example/id-in/Cdev1"  # the AE that the clients of peers.py act as


class RegisteredKey:
    """A key of a MAF or an MEF, as a credential of the clients here."""

    def __init__(self, identity, key):
        self.identity, self.bytes = identity, key
        self.hex = key.hex()


def start(t, tef, **changes):
    """sagate in front of a CSE, with the MAF and the MEF of `tef`; the first credential is provisioned, as ever."""
    target = tef.client(TARGET, "--admin", ADMIN)
    s = Sagate(t, start=False)
    key = s.dir / "km.key"
    key.touch(0o600)
    key.write_text(target.key + "\n")
    common = {"address": "127.0.0.1", "upstream": "in", "admin_fqdn": ADMIN, "psk_identity": target.identity,
              "psk": "file:km.key", **changes}
    s.settings["mafs"] = [{"name": "maf", "fqdn": "maf.sp.example", "port": tef.port, **common}]
    s.settings["mefs"] = [{"name": "mef", "fqdn": "mef.sp.example", "port": tef.mef_port, **common}]
    s.settings["resolver"] = {"negative_seconds": 1}
    s.write()
    s.start()
    return s


def register(tef, device, suid=32, kind="maf"):
    """The device registers a key; OpenSSL exports the same from that session."""
    label = "EXPORTER-oneM2M-Connection" if kind == "maf" else "EXPORTER-oneM2M-Bootstrap"
    answer, exported = exported_by(device, label, port=tef.port if kind == "maf" else tef.mef_port, suid=suid)
    equal(answer.rsc, 2001)
    return RegisteredKey(f"{exported[:16].hex().upper()}@{kind}.sp.example", exported[16:])


def device_of(tef):
    return tef.client(DEVICE, "--admin", ADMIN)


ROWS = [("DTLSv1.2", "PSK-AES128-CCM-8"), ("DTLSv1.3", "TLS13-AES128-GCM-SHA256"),
        ("TLSv1.2", "PSK-AES128-GCM-SHA256"), ("TLSv1.3", "TLS13-AES128-GCM-SHA256")]


def whole_way(t, kind, suid, framework):
    tef = Tef(t)
    s = start(t, tef)
    device = device_of(tef)
    for number, (version, suite) in enumerate(ROWS):
        key = register(tef, device, suid, kind)
        rqi = f"r{number}"
        told = ask(t, s, Row("wolfSSL", version, suite, key), [rqi])
        equal(told.answers, [(2000, rqi)], version)
        record = s.cse.records(rqi=rqi)[0]
        equal(record["from"], "Cdev1", version)
    equal(s.metric("resolver_remote_total", result="found"), len(ROWS))
    equal(s.metric("tef_requests_total", tef=kind, result="ok"), len(ROWS) + 1)  # and one registration
    equal(s.metric("tef_registered", tef=kind), 1)
    equal(s.metric("handshakes_total", result="ok", framework=framework), len(ROWS))


def test_maf_every_version(t):
    whole_way(t, "maf", 32, "maf")


def test_mef_every_version(t):
    whole_way(t, "mef", 22, "psk")


def test_clients_that_are_not_ours(t):
    """From the registration to the request with OpenSSL alone; the key is asked for once."""
    tef = Tef(t)
    s = start(t, tef)
    key = register(tef, device_of(tef))
    for rqi in ("a", "b"):
        with openssl_psk(t, s.tls_port, key) as stream:
            answer = stream.request("GET", "/cse-in", origin="Cdev1", rqi=rqi)
            equal((answer.rsc, answer.header("X-M2M-RI")), (2000, rqi))
    record = s.cse.records(rqi="b")[0]
    equal(record.header("X-SAGate-Framework"), ["maf"])
    equal(record.header("X-SAGate-Originator"), [DEVICE])
    equal(record.header("X-SAGate-Credential-ID"), [f"12-{key.identity}"])
    retrievals = [line for line in tef.audit() if line["procedure"] == "key_retrieval"]
    equal([(line["client"], line["rsc"]) for line in retrievals], [(TARGET, 2000)])


def test_originator_is_enforced(t):
    tef = Tef(t)
    s = start(t, tef)
    with openssl_psk(t, s.tls_port, register(tef, device_of(tef))) as stream:
        for wrong in ("Cdev2", "Sdev1", "CAdmin"):
            answer = stream.request("GET", "/cse-in", origin=wrong, rqi="imp")
            equal((answer.status, answer.rsc), (403, 4106), wrong)
        equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="own").rsc, 2000)
    equal([r["rqi"] for r in s.cse.records()], ["own"])


def refused(t, s, identity, key=b"k" * 32):
    """True when a handshake with this identity ends as one with a wrong key does."""
    with openssl_psk(t, s.tls_port, RegisteredKey(identity, key)) as stream:
        try:
            stream.request("GET", "/cse-in", origin="Cdev1", rqi="never")
        except (Closed, Failure):
            return True
        return False


def test_keys_that_are_not_for_us(t):
    tef = Tef(t)
    s = start(t, tef)
    device = device_of(tef)
    tef.client("//sp.example/id-other", "--admin", ADMIN)
    with connect(device) as stream:
        value = base64.b64encode(b"k" * 32).decode()
        answers = [stream.request("POST", "/", ty=2, body=key_body(keyValue=value, targets=["//sp.example/id-other"])),
                   stream.request("POST", "/", ty=2, body=key_body(33, keyValue=value))]
    for answer in answers:
        equal(answer.rsc, 2001)
        check(refused(t, s, answer.json["sec:symmKeyReg"]["relativeKeyID"] + "@maf.sp.example"), answer)
    check(refused(t, s, "00" * 16 + "@maf.sp.example"), "an unknown key")
    equal(s.metric("resolver_remote_refused_total", reason="suid"), 1)
    equal(s.metric("resolver_remote_total", result="not_found"), 2)
    equal(s.cse.records(), [])


def test_nobody_else_is_asked(t):
    tef = Tef(t)
    s = start(t, tef)
    # sagate's own registration there
    before = wait_for(lambda: s.metric("tef_requests_total", tef="maf", result="ok"), "it is registered at the MAF")
    for identity in ("00@other.example", "no-at-sign", "a@b@maf.sp.example", "../x@maf.sp.example", "..@maf.sp.example",
                     "%2f@maf.sp.example", "a b@maf.sp.example", "@maf.sp.example", "x@"):
        check(refused(t, s, identity), identity)
    equal(s.metric("tef_requests_total", tef="maf", result="ok"), before)
    equal(s.metric("tef_requests_total", tef="maf", result="not_found"), 0)
    check(s.metric("resolver_remote_total", result="unknown_fqdn") >= 1, "not counted")
    check(s.metric("resolver_remote_total", result="malformed") >= 6, "not counted")


def test_maf_dies_and_comes_back(t):
    tef = Tef(t)
    s = start(t, tef)
    device = device_of(tef)
    keys = [register(tef, device) for _ in range(3)]
    with openssl_psk(t, s.tls_port, keys[0]) as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="before").rsc, 2000)
        tef.process.signal(signal.SIGKILL)
        tef.process.wait()
        check(refused(t, s, keys[1].identity, keys[1].bytes), "the MAF is away")
        equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="during").rsc, 2000)
        # What is known needs no MAF.
        with openssl_psk(t, s.tls_port, keys[0]) as second:
            equal(second.request("GET", "/cse-in", origin="Cdev1", rqi="second").rsc, 2000)
        tef.start()

        def served():
            return not refused(t, s, keys[2].identity, keys[2].bytes)

        wait_for(served, "the MAF is used again", 20)
        equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="after").rsc, 2000)
    check(s.metric("tef_requests_total", tef="maf", result="unavailable")
          + s.metric("tef_requests_total", tef="maf", result="timeout") >= 1, "not counted")


def test_control_process_dies(t):
    """An association on a key of the MAF outlives the control process, also while the MAF is away."""
    tef = Tef(t)
    s = start(t, tef)
    with openssl_psk(t, s.tls_port, register(tef, device_of(tef))) as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="1").rsc, 2000)
        tef.process.signal(signal.SIGKILL)
        tef.process.wait()
        control = s.pids()["control"]
        os.kill(control, signal.SIGKILL)
        wait_for(lambda: s.pids()["control"] not in (0, control), "another control process")
        settle(1)
        equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="2").rsc, 2000)
        tef.start()


def test_expiry_ends_associations(t):
    tef = Tef(t)
    s = start(t, tef)
    with connect(device_of(tef)) as stream:
        soon = time.strftime("%Y%m%dT%H%M%S", time.gmtime(time.time() + 4))
        answer = stream.request("POST", "/", ty=2, body=key_body(et=soon, keyValue=base64.b64encode(b"k" * 32).decode()))
    identity = answer.json["sec:symmKeyReg"]["relativeKeyID"] + "@maf.sp.example"
    with openssl_psk(t, s.tls_port, RegisteredKey(identity, b"k" * 32)) as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="1").rsc, 2000)
        check(stream.closed(15), "it outlives its key")
    check(refused(t, s, identity), "the key is still good")


def test_operator(t):
    tef = Tef(t)
    s = start(t, tef)
    key = register(tef, device_of(tef))
    tefs = s.ctl("tef", "status")["tefs"]
    equal([(one["name"], one["fqdn"], one["registered"]) for one in tefs],
          [("maf", "maf.sp.example", True), ("mef", "mef.sp.example", True)])
    with openssl_psk(t, s.tls_port, key) as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="1").rsc, 2000)
        equal(s.ctl("identities", "flush", "--identity", key.identity)["flushed"], 1)
        equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="2").rsc, 2000)
        with openssl_psk(t, s.tls_port, key) as second:
            equal(second.request("GET", "/cse-in", origin="Cdev1", rqi="3").rsc, 2000)
        s.ctl("identities", "flush", "--end-associations")
        check(stream.closed(10), "the association goes on")


def test_reload(t):
    """A client whose settings are as before goes on; a key file that is bad leaves all as it is; a MAF that goes takes
    its associations along."""
    tef = Tef(t)
    s = start(t, tef)
    with openssl_psk(t, s.tls_port, register(tef, device_of(tef))) as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="1").rsc, 2000)
        s.ctl("reload")
        equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="2").rsc, 2000)
        equal(len([line for line in tef.audit() if line["procedure"].endswith("registration")
                   and line["client"] == TARGET]), 2)  # one at the MAF, one at the MEF
        del s.settings["mafs"]
        s.write()
        s.ctl("reload")
        check(stream.closed(10), "its association goes on")
    with openssl_psk(t, s.tls_port, DEV1) as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="3").rsc, 2000)
