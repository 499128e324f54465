# sagate-device with a sagate that knows its key: every transport and version, and what it tells of failures.
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import threading

from device import VERSIONS, device, key_file, port_of, psk
from harness import check, equal, free_port, wait_for
from lib import DEV1, Credential, Sagate, ae, cin, cnt
from test_certificates import AE, Authority, sagate

HEX = "00112233445566778899aabbccddeeff"


def test_requests(t):
    s = Sagate(t)
    for number, (transport, version) in enumerate(VERSIONS):
        common = ["--connect", f"127.0.0.1:{port_of(s, transport == '--dtls')}", transport, version, *psk(t, DEV1),
                  "--from", "Cdev1"]
        run = device(t, "associate", *common[:-2]).ok()
        check(version in run.step("handshake")["version"], run.steps)
        if number == 0:
            run = device(t, "request", *common, "--op", "create", "--to", "/cse-in", "--ty", "2", "--content",
                         json.dumps(ae("cdev1"))).ok()
            equal(run.step("response")["rsc"], 2001)
        content = t.dir / "cnt.json"
        content.write_text(json.dumps(cnt(f"c{number}")))
        run = device(t, "request", *common, "--op", "create", "--to", "/cse-in/cdev1", "--ty", "3", "--content",
                     f"@{content}").ok()
        equal(run.step("response")["rsc_name"], "CREATED")
        run = device(t, "request", *common, "--to", f"/cse-in/cdev1/c{number}").ok()
        equal((run.step("response")["rsc"], run.step("response")["rqi"]), (2000, run.step("request")["rqi"]))
        equal(run.step("response")["content"]["m2m:cnt"]["rn"], f"c{number}")
        run = device(t, "request", *common, "--op", "delete", "--to", f"/cse-in/cdev1/c{number}").ok()
        equal(run.step("response")["rsc"], 2002)
    equal({r["from"] for r in s.cse.records()}, {"Cdev1"})


def test_refusals(t):
    s = Sagate(t)
    for transport, version in VERSIONS:
        common = ["--connect", f"127.0.0.1:{port_of(s, transport == '--dtls')}", transport, version, "--to", "/cse-in",
                  "--timeout", "3"]
        run = device(t, "request", *common, *psk(t, DEV1), "--from", "Cdev2")
        equal((run.status, run.step("response")["rsc"]), (1, 4106))
        check("--from" in run.step("response")["hint"], run.steps)
        run = device(t, "request", *common, "--from", "Cdev1", "--psk-identity", DEV1.identity, "--psk-file",
                     key_file(t, "wrong.hex", HEX))
        equal((run.status, run.step("handshake")["ok"]), (4, False))
        check(HEX not in json.dumps(run.steps) and DEV1.hex not in json.dumps(run.steps), "a key was printed")


def test_nobody_there(t):
    port = free_port()
    path = key_file(t, "a.hex", HEX)
    rest = ["--psk-identity", "a", "--psk-file", path, "--timeout", "2"]
    run = device(t, "associate", "--connect", f"127.0.0.1:{port}", "--tls", "1.2", *rest)
    equal((run.status, run.step("connect")["ok"]), (3, False))
    run = device(t, "associate", "--connect", f"127.0.0.1:{port}", "--dtls", "1.2", *rest)
    equal((run.status, run.step("handshake")["ok"]), (4, False))
    path.write_text("not hex")
    equal(device(t, "associate", "--connect", f"127.0.0.1:{port}", "--dtls", "1.2", *rest).status, 2)
    equal(device(t, "associate").status, 2)


def test_connection_id(t):
    s = Sagate(t)
    for version in ("1.2", "1.3"):
        run = device(t, "request", "--connect", f"127.0.0.1:{s.dtls_port}", "--dtls", version, "--cid", *psk(t, DEV1),
                     "--from", "Cdev1", "--to", "/cse-in")
        check(run.step("handshake")["cid_bytes"] > 0, run.steps)
        check("rsc" in run.step("response"), run.steps)


def test_observe(t):
    s = Sagate(t)
    common = ["--connect", f"127.0.0.1:{s.dtls_port}", "--dtls", "1.2", *psk(t, DEV1), "--from", "Cdev1"]

    def create(path, ty, content):
        device(t, "request", *common, "--op", "create", "--to", path, "--ty", str(ty), "--content",
               json.dumps(content)).ok()

    create("/cse-in", 2, ae("cdev1"))
    create("/cse-in/cdev1", 3, cnt("data"))
    create("/cse-in/cdev1/data", 4, cin("0"))
    found = []
    thread = threading.Thread(target=lambda: found.append(
        device(t, "observe", *common, "--to", "/cse-in/cdev1/data/la", "--count", "2")))
    thread.start()
    wait_for(lambda: s.metric("coap_observations") == 1, "the observation is there")
    for value in ("1", "2"):
        create("/cse-in/cdev1/data", 4, cin(value))
    thread.join()
    notes = found[0].ok().all("notification")
    equal([note["content"]["m2m:cin"]["con"] for note in notes], ["1", "2"])
    wait_for(lambda: s.metric("coap_observations") == 0, "the observation has ended")


def test_certificates(t):
    authority = Authority(t)
    s = sagate(t, authority)
    certificate, key = authority.issue("ae", AE)
    for transport, version in VERSIONS:
        common = ["request", "--connect", f"127.0.0.1:{port_of(s, transport == '--dtls')}", transport, version,
                  "--certificate", certificate, "--key", key, "--to", "/cse-in", "--timeout", "5"]
        run = device(t, *common, "--from", "Cae", "--ca", s.chain, "--server-name", "cse.example").ok()
        equal((run.step("handshake")["server_verified"], run.step("response")["rsc"]), (True, 2000))
        equal(device(t, *common, "--from", "Cdev1").step("response")["rsc"], 4106)
        run = device(t, *common, "--from", "Cae", "--ca", s.chain, "--server-name", "else.example")
        equal((run.status, run.step("handshake")["ok"]), (4, False))
        run = device(t, *common, "--from", "Cae", "--ca", authority.chain, "--server-name", "cse.example")
        equal((run.status, run.step("handshake")["ok"]), (4, False))


def test_longest_identity(t):
    longest = Credential("i" * 512, "a-key-of-the-longest-one", ["Cdev1"], as_hex=True)
    s = Sagate(t, credentials=[longest])
    for transport, version in VERSIONS:
        device(t, "request", "--connect", f"127.0.0.1:{port_of(s, transport == '--dtls')}", transport, version,
               "--psk-identity", longest.identity, "--psk-file", key_file(t, "longest.hex", longest.hex), "--from", "Cdev1",
               "--to", "/cse-in").ok()
