# What a device does first, with every client: register an AE, make a container and a content instance, read it back.
# SPDX-License-Identifier: GPL-3.0-or-later
from lib import DEV1, DEV2, Sagate, ae, cin, cnt, equal, check


def over_coap(t, s, credential, tls):
    origin, name = credential.ae_ids[0], credential.ae_ids[0].lower()

    def ask(method, path, **kwargs):
        answer = s.coap(credential, method, path, origin=origin, tls=tls, **kwargs)
        check(answer is not None, f"no answer to {method} {path}")
        return answer

    answer = ask("post", "/cse-in", rqi="q1", ty=2, body=ae(name))
    equal((answer.code, answer.rsc, answer.rqi), ("2.01", 2001, "q1"))
    equal(answer.json["m2m:ae"]["aei"], origin)
    equal(ask("post", f"/cse-in/{name}", rqi="q2", ty=3, body=cnt("data")).rsc, 2001)
    equal(ask("post", f"/cse-in/{name}/data", rqi="q3", ty=4, body=cin("21.5")).rsc, 2001)
    answer = ask("get", f"/cse-in/{name}/data/la", rqi="q4")
    equal((answer.code, answer.rsc, answer.rqi), ("2.05", 2000, "q4"))
    equal(answer.json["m2m:cin"]["con"], "21.5")
    records = s.cse.records(binding="coap")
    equal([r["operation"] for r in records], ["create", "create", "create", "retrieve"])
    equal({r["from"] for r in records}, {origin})


def over_http(s, stream, credential):
    origin, name = credential.ae_ids[0], credential.ae_ids[0].lower()
    answer = stream.request("POST", "/cse-in", origin=origin, rqi="q1", ty=2, body=ae(name))
    equal((answer.status, answer.rsc, answer.header("X-M2M-RI")), (201, 2001, "q1"))
    equal(answer.json["m2m:ae"]["aei"], origin)
    equal(stream.request("POST", f"/cse-in/{name}", origin=origin, rqi="q2", ty=3, body=cnt("data")).rsc, 2001)
    equal(stream.request("POST", f"/cse-in/{name}/data", origin=origin, rqi="q3", ty=4, body=cin("21.5")).rsc, 2001)
    answer = stream.request("GET", f"/cse-in/{name}/data/la", origin=origin, rqi="q4")
    equal((answer.status, answer.rsc, answer.json["m2m:cin"]["con"]), (200, 2000, "21.5"))
    records = s.cse.records(binding="http")
    equal([r["operation"] for r in records], ["create", "create", "create", "retrieve"])
    equal({r["from"] for r in records}, {origin})
    equal([r["rqi"] for r in records], ["q1", "q2", "q3", "q4"])


def test_dtls_psk_libcoap_openssl(t):
    over_coap(t, Sagate(t), DEV1, "openssl")


def test_dtls_psk_libcoap_gnutls(t):
    over_coap(t, Sagate(t), DEV2, "gnutls")


def test_tls_psk_openssl(t):
    s = Sagate(t)
    over_http(s, s.tls(DEV1), DEV1)


def test_tls_psk_gnutls(t):
    s = Sagate(t)
    over_http(s, s.gnutls(DEV2), DEV2)


def test_impersonation_is_refused(t):
    s = Sagate(t)
    for tls in ("openssl", "gnutls"):
        answer = s.coap(DEV1, "get", "/cse-in", origin="Cdev2", rqi="imp1", tls=tls)
        equal((answer.code, answer.rsc, answer.rqi), ("4.03", 4106, "imp1"))
    with s.tls(DEV1) as stream:
        answer = stream.request("GET", "/cse-in", origin="Cdev2", rqi="imp2")
        equal((answer.status, answer.rsc, answer.header("X-M2M-RI")), (403, 4106, "imp2"))
        # The association goes on.
        equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="own").rsc, 2000)
    equal([r["rqi"] for r in s.cse.records()], ["own"])
    check(s.metric("refusals_total", reason="originator") >= 3, "refusals are not counted")


def test_identity_reaches_the_cse(t):
    s = Sagate(t)
    with s.tls(DEV1) as stream:
        stream.request("GET", "/cse-in", origin="Cdev1", rqi="h")
    record = s.cse.records(rqi="h")[0]
    equal(record.header("X-M2M-Origin"), ["Cdev1"])
    equal(record.header("X-SAGate-Originator"), ["//sp.example/id-in/Cdev1"])
    equal(record.header("X-SAGate-Credential-ID"), ["12-dev1@sp.example"])
    equal(record.header("X-SAGate-Authenticated"), ["true"])
    equal(len(record.header("X-SAGate-Framework")), 1)
    check("127.0.0.1" in "".join(record.header("Forwarded")), record.header("Forwarded"))
    s.coap(DEV1, "get", "/cse-in", origin="Cdev1", rqi="c")
    record = s.cse.records(rqi="c")[0]
    equal(record.option(279), [b"Cdev1"])
    equal(record.option(65020), [b"//sp.example/id-in/Cdev1"])
    equal(record.option(65052), [b"12-dev1@sp.example"])
    equal(len(record.option(65084)), 1)


def test_wrong_key_and_unknown_identity(t):
    from lib import Credential
    s = Sagate(t)
    for credential in (Credential(DEV1.identity, "not-the-key-of-dev1"), Credential("nobody@sp.example", DEV1.key)):
        equal(s.coap(credential, "get", "/cse-in", origin="Cdev1", seconds=3), None)
        with s.tls(credential) as stream:
            check(stream.closed(), "a TLS association with a wrong credential stays open")
    equal(s.cse.records(), [])
    equal(s.coap(DEV1, "get", "/cse-in", origin="Cdev1").rsc, 2000)
