# sagate-tef with clients that are not ours: OpenSSL, GnuTLS, curl.
# SPDX-License-Identifier: GPL-3.0-or-later
import base64
import hashlib
import hmac
import json
import re
import subprocess
import time
import urllib.request

import coap
from clients import Closed, coap_client, pipe_client
from harness import check, equal, need, wait_for
from lib import Credential
from tef import ADMIN, OTHER, SOURCE, TARGET, Tef, connect, key_body
from test_certificates import Authority


def exported_by(client, label, version="-tls1_2", port=None, suid=32):
    """Registers a key without a value; the answer, and what OpenSSL itself exports from that session."""
    stream = connect(client, version, port=port, quiet=False,
                     extra=("-keymatexport", label, "-keymatexportlen", "48"))
    body = json.dumps(key_body(suid))
    stream.send((f"POST / HTTP/1.1\r\nHost: tef\r\nX-M2M-RI: 7\r\nX-M2M-Origin: {client.id}\r\n"
                 f"Content-Type: application/json;ty=2\r\nContent-Length: {len(body)}\r\n\r\n{body}\n").encode())
    # What OpenSSL says of the session stands before the answer.
    before = stream._until(b"HTTP/1.1 ", 10 + time.monotonic())
    stream.buffer = b"HTTP/1.1 " + stream.buffer
    answer = stream.response()
    found = re.search(rb"Keying material: ([0-9A-F]{96})", before)
    check(found, before)
    stream.close()
    return answer, bytes.fromhex(found[1].decode())


def get_key(client, id, **kwargs):
    with connect(client, **kwargs) as stream:
        return stream.request("GET", f"/{id}", origin=client.id)


def test_exported_keys(t):
    tef = Tef(t)
    target, source = tef.client(TARGET), tef.client(SOURCE, "--admin", ADMIN)
    for version in ("-tls1_2", "-tls1_3"):
        answer, exported = exported_by(source, "EXPORTER-oneM2M-Connection", version)
        equal((answer.status, answer.rsc, answer.header("X-M2M-RI")), (201, 2001, "7"))
        key = answer.json["sec:symmKeyReg"]
        equal(key["relativeKeyID"], exported[:16].hex().upper())
        equal((key["sourceID"], key["SUID"], key["targetIDs"]), (SOURCE, 32, [TARGET]))
        check("keyValue" not in key, key)
        answer = get_key(target, key["relativeKeyID"], version=version)
        equal((answer.status, answer.rsc), (200, 2000))
        equal(base64.b64decode(answer.json["sec:symmKeyReg"]["keyValue"]), exported[16:])


def test_mef_credentials(t):
    tef = Tef(t)
    target, source = tef.client(TARGET), tef.client(SOURCE, "--admin", ADMIN)
    answer, exported = exported_by(source, "EXPORTER-oneM2M-Bootstrap", port=tef.mef_port, suid=22)
    equal(answer.rsc, 2001)
    id = answer.json["sec:symmKeyReg"]["relativeKeyID"]
    with connect(target, port=tef.mef_port) as stream:
        answer = stream.request("GET", f"/fetchCredentials/{id}@mef.sp.example/22", origin=TARGET)
    equal((answer.rsc, answer.json["Status"], answer.json["EnroleeID"]), (2000, True, SOURCE))
    text = b"oneM2M Enrolment Key to Provisioned Secure Connection Key derivation" + TARGET.encode()
    equal(base64.b64decode(answer.json["Credential"]), hmac.new(exported[16:], text, hashlib.sha256).digest())
    equal(get_key(target, id).rsc, 4004)  # the MAF knows nothing of it


def test_who_may(t):
    tef = Tef(t)
    target, source, other = tef.client(TARGET), tef.client(SOURCE, "--admin", ADMIN), tef.client(OTHER)
    value = base64.b64encode(b"k" * 32).decode()
    with connect(source) as stream:
        answer = stream.request("POST", "/", ty=2, body=key_body(keyValue=value))
        equal(answer.rsc, 2001)
        id = answer.json["sec:symmKeyReg"]["relativeKeyID"]
        equal(stream.request("GET", "/" + id, origin=TARGET).rsc, 4106)
        equal(stream.request("POST", "/", ty=2, body=key_body(adminFQDN="else.example")).rsc, 4103)
        equal(stream.request("POST", "/", ty=2, body=key_body(targets=["//sp.example/none"])).rsc, 4103)
        equal(stream.request("POST", "/", ty=2, body="{").rsc, 4000)
        equal(stream.request("PUT", "/").rsc, 4005)
    equal(get_key(other, id).rsc, 4103)
    equal(get_key(target, "0" * 32).rsc, 4004)
    with connect(target) as stream:
        equal(stream.request("DELETE", "/" + id).rsc, 4103)
        equal(stream.request("GET", "/" + id).json["sec:symmKeyReg"]["keyValue"], value)
    with connect(source) as stream:
        equal(stream.request("DELETE", "/" + id).rsc, 2002)
        equal(stream.request("GET", "/" + id).rsc, 4004)
    lines = [(line["client"], line["procedure"], line["id"], line["rsc"]) for line in tef.audit()]
    check((TARGET, "key_retrieval", id, 2000) in lines and (OTHER, "key_retrieval", id, 4103) in lines, lines)
    check(value not in json.dumps(tef.audit()) and value not in tef.process.log(), "a key is in a log")
    with urllib.request.urlopen(f"http://127.0.0.1:{tef.metrics_port}/metrics", timeout=5) as metrics:
        text = metrics.read().decode()
    check('sagate_tef_answers_total{procedure="key_retrieval",rsc="4103"} 1' in text, text)


def test_wrong_key_and_unknown_identity(t):
    tef = Tef(t)
    source = tef.client(SOURCE, "--admin", ADMIN)
    for version in ("-tls1_2", "-tls1_3"):
        for wrong in ({"key": "00" * 32}, {"identity": "nobody@maf.sp.example"}):
            with connect(source, version, **wrong) as stream:
                try:
                    stream.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
                except Closed:
                    pass
                check(stream.closed(), f"{wrong} stays connected")
    equal(tef.audit(), [])
    equal(get_key(source, "AA").rsc, 4004)


def test_pipelining_and_delay(t):
    tef = Tef(t, "answer_delay_milliseconds = 50;")
    source = tef.client(SOURCE, "--admin", ADMIN)
    with connect(source) as stream:
        stream.send(b"".join(f"GET /{i} HTTP/1.1\r\nHost: a\r\nX-M2M-RI: {i}\r\n\r\n".encode() for i in range(20)))
        equal([stream.response().header("X-M2M-RI") for _ in range(20)], [str(i) for i in range(20)])
        answer = stream.request("GET", "/x", headers=["Connection: close"])
        equal(answer.header("Connection"), "close")
        check(stream.closed(), "it stays open")
    with connect(source) as stream:
        equal(stream.request("BREW", "/").status, 501)
        check(stream.closed(), "it stays open")


def test_gnutls(t):
    need("gnutls-cli")
    tef = Tef(t)
    source = tef.client(SOURCE, "--admin", ADMIN)
    for priority in ("NORMAL:-KX-ALL:+PSK:-VERS-ALL:+VERS-TLS1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.3:+ECDHE-PSK:+PSK"):
        stream = pipe_client(t, ["gnutls-cli", "--logfile", t.dir / "gnutls.info", "--no-ca-verification", "-p",
                                 tef.port, "--pskusername", source.identity, "--pskkey", source.key, "--priority",
                                 priority, "127.0.0.1"], "gnutls-cli")
        with stream:
            equal(stream.request("GET", "/x").rsc, 4004)


def test_client_registration(t):
    tef = Tef(t)
    source = tef.client(SOURCE, "--admin", ADMIN)
    with connect(source) as stream:
        answer = stream.request("POST", "/", ty=1,
                                body={"sec:mafClientReg": {"et": "20990101T000000", "adminFQDN": ADMIN}})
        registration = answer.json["sec:mafClientReg"]
        equal((answer.rsc, registration["adminFQDN"]), (2001, ADMIN))
        check(registration["et"] < "20990101T000000", "the lifetime is not limited")
        path = "/" + registration["ri"]
        equal(answer.header("Content-Location"), path)
        equal(stream.request("GET", path).rsc, 2000)
        equal(stream.request("PUT", path, body={"sec:mafClientReg": {"lbl": ["a"]}}).rsc, 2004)
        equal(stream.request("DELETE", path).rsc, 2002)


def test_certificates(t):
    need("curl")
    authority = Authority(t)
    server = authority.issue("maf", "DNS:maf.sp.example")
    tef = Tef(t, function=f'chain_file = "{server[0]}"; key_file = "{server[1]}"; '
                          f'trust_anchors_file = "{authority.chain}";')
    tef.command("client", "add", "--id", TARGET)
    tef.command("client", "add", "--id", SOURCE, "--admin", ADMIN)

    def curl(made, *argv):
        done = subprocess.run(["curl", "-sS", "--max-time", "20", "--resolve", f"maf.sp.example:{tef.port}:127.0.0.1",
                               "--cacert", str(authority.chain), "--cert", str(made[0]), "--key", str(made[1]),
                               "-w", "\n%header{x-m2m-rsc}", *argv], capture_output=True, text=True)
        body, _, rsc = done.stdout.rpartition("\n")
        return rsc, body
    url = f"https://maf.sp.example:{tef.port}/"
    device = authority.issue("dev1", "URI:m2m://sp.example/Sdev1")
    cse = authority.issue("in", "DNS:id-in.sp.example")
    nobody = authority.issue("nobody", "URI:m2m://sp.example/Sdev2")
    for version in (("--tlsv1.2", "--tls-max", "1.2"), ("--tlsv1.3",)):
        rsc, body = curl(device, *version, "-H", "Content-Type: application/json;ty=2", "-d", json.dumps(key_body()), url)
        equal(rsc, "2001")
        id = json.loads(body)["sec:symmKeyReg"]["relativeKeyID"]
        rsc, body = curl(cse, *version, url + id)
        equal(rsc, "2000")
        equal(json.loads(body)["sec:symmKeyReg"]["sourceID"], SOURCE)
        equal(curl(nobody, *version, url + id)[0], "")
    # And a PSK beside them.
    equal(get_key(tef.client(OTHER), id).rsc, 4103)


def test_commands(t):
    tef = Tef(t, start=False)
    check("MAF maf.sp.example" in tef.command("-t"), "nothing is said")
    target, source = tef.client(TARGET), tef.client(SOURCE, "--admin", ADMIN, "--target-any")
    check("there is a client" in tef.command("client", "add", "--id", SOURCE, status=1), "two clients with one ID")
    tef.command("client", "add", "--id", "relative", status=1)
    keys = tef.dir / "keys"
    tef.command("key", "add", "--source", SOURCE, "--target", TARGET, "--suid", 32, "--count", 100, "--output", keys)
    tef.command("key", "add", "--source", SOURCE, "--target", TARGET, "--suid", 32, "--output", keys, status=1)
    equal(keys.stat().st_mode & 0o777, 0o600)
    equal((tef.dir / "tef.db").stat().st_mode & 0o777, 0o600)
    made = [line.split() for line in keys.read_text().splitlines()]
    equal(len(made), 100)
    equal(len(tef.command("key", "list").splitlines()), 100)
    tef.start()
    answer = get_key(target, made[41][0].split("@")[0])
    equal(base64.b64decode(answer.json["sec:symmKeyReg"]["keyValue"]).hex(), made[41][1])
    # Everything is still there after a start, and a client that is removed is gone at once.
    tef.process.stop()
    tef.start()
    equal(get_key(target, made[99][0].split("@")[0]).rsc, 2000)
    with connect(source) as stream:
        equal(stream.request("GET", "/" + made[0][0].split("@")[0]).rsc, 2000)
        tef.command("client", "remove", "--id", SOURCE)
        equal(stream.request("GET", "/" + made[0][0].split("@")[0]).rsc, 4103)
    equal(get_key(target, made[0][0].split("@")[0]).rsc, 4004)
    equal(len(tef.command("client", "list").splitlines()), 1)


def test_configuration_is_checked(t):
    tef = Tef(t, start=False)
    tef.conf.write_text('store_key = "nowhere"; functions = ( { fqdn = "a b"; address = "x"; psk = false; colour = 1; } );')
    errors = tef.command("-t", status=1)
    for word in ("store_key", "fqdn", "address", "psk", "colour"):
        check(word in errors, f"{word} is not complained about: {errors}")
    tef = Tef(t, name="other", start=False)
    tef.client(SOURCE)
    (tef.dir / "store.key").write_text("1f" * 32)
    check("another store_key" in tef.command("-t", status=1), "a wrong store_key is taken")
    (tef.dir / "store.key").write_text("0f" * 32)
    tef.command("-t")
    (tef.dir / "store.key").chmod(0o644)
    check("store_key" in tef.command("-t", status=1), "a store_key that everybody may read is taken")


def test_expiry(t):
    tef = Tef(t, "limits = { key_seconds = 2; };")
    target, source = tef.client(TARGET), tef.client(SOURCE, "--admin", ADMIN)
    with connect(source) as stream:
        id = stream.request("POST", "/", ty=2, body=key_body()).json["sec:symmKeyReg"]["relativeKeyID"]
    with connect(target) as stream:
        wait_for(lambda: stream.request("GET", "/" + id).rsc == 4004, "the key expires")


def test_coap(t):
    key, settings = "first-key-0123456789", 'binding = "coap";'
    tef = Tef(t, function=settings)
    hex_file = tef.dir / "psk.hex"
    hex_file.touch(0o600)
    hex_file.write_text(key.encode().hex())
    for id, extra in ((TARGET, ()), (SOURCE, ("--admin", ADMIN)), (OTHER, ())):
        tef.command("client", "add", "--id", id, "--psk-identity", id.split("/")[-1], "--psk-hex-file", hex_file, *extra)

    def ask(id, method, path, tls="openssl", **kwargs):
        return coap_client(t, tef.port, Credential(id.split("/")[-1], key), method, path, origin=id, tls=tls, **kwargs)
    value = base64.b64encode(b"k" * 32).decode()
    for tls in ("openssl", "gnutls"):
        answer = ask(SOURCE, "post", "/", tls, ty=2, body=key_body(keyValue=value), rqi="c1")
        equal((answer.code, answer.rsc, answer.rqi), ("2.01", 2001, "c1"))
        id = answer.json["sec:symmKeyReg"]["relativeKeyID"]
        answer = ask(TARGET, "get", "/" + id, tls)
        equal((answer.code, answer.rsc, answer.json["sec:symmKeyReg"]["keyValue"]), ("2.05", 2000, value))
        equal(ask(OTHER, "get", "/" + id, tls).rsc, 4103)
        equal(ask(SOURCE, "put", "/" + id, tls, body={"sec:symmKeyReg": {"lbl": ["a"]}}).rsc, 2004)
        equal(ask(SOURCE, "delete", "/" + id, tls).rsc, 2002)
        equal(ask(SOURCE, "get", "/" + id, tls).rsc, 4004)
        equal(coap_client(t, tef.port, Credential("Sdev1", "wrong-key-0123456789"), "get", "/x", seconds=2, tls=tls), None)
    # Exported, and compared with what OpenSSL exports.
    argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{tef.port}", "-dtls1_2", "-cipher",
            "PSK-AES128-GCM-SHA256:@SECLEVEL=0", "-psk", key.encode().hex(), "-psk_identity", "Sdev1",
            "-keymatexport", "EXPORTER-oneM2M-Connection", "-keymatexportlen", "48"]
    stream = pipe_client(t, argv, "openssl-dtls")
    stream.send(coap.encode(coap.CON, 2, 7, b"tokn", [(12, b"\x32"), (267, b"\x02"), (283, b"r")],
                            json.dumps(key_body()).encode()))
    said = stream._until(b'"}}', time.monotonic() + 10)
    exported = re.search(rb"Keying material: ([0-9A-F]{96})", said)[1]
    equal(said.rpartition(b'"')[2], exported[:32])
