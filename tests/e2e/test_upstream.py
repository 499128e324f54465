# Towards CSEs: several of them, sick ones, and the peculiar ones of the field.
# SPDX-License-Identifier: GPL-3.0-or-later
import time

from lib import (CREDENTIALS, Closed, Credential, DEV1, DEV2, Sagate, ae, check, cin, cnt, equal, m2m_request, wait_for)

MANY = [Credential(f"m{n}@sp.example", f"key-number-{n:04d}-0123456", [f"Cm{n}"]) for n in range(12)]


def ask(s, credential, rqi="r", path="/cse-in", **kwargs):
    with s.tls(credential) as stream:
        return stream.request("GET", path, origin=credential.ae_ids[0], rqi=rqi, **kwargs)


def test_one_originator_stays_with_one_cse(t):
    s = Sagate(t, cses=2, credentials=CREDENTIALS + MANY)
    for credential in MANY:
        for rqi in ("a", "b"):
            equal(ask(s, credential, rqi).rsc, 2000)
    by_cse = [{r["from"] for r in cse.records()} for cse in s.cses]
    equal(by_cse[0] & by_cse[1], set(), "originators that went to both")
    check(by_cse[0] and by_cse[1], f"all went to one CSE: {by_cse}")


def test_a_dead_cse_is_left_out(t):
    s = Sagate(t, cses=2, credentials=CREDENTIALS + MANY)
    for credential in MANY:
        equal(ask(s, credential, "before").rsc, 2000)
    at_first = {r["from"] for r in s.cses[0].records()}
    at_second = {r["from"] for r in s.cses[1].records()}
    s.cses[0].kill()
    wait_for(lambda: not s.ctl("upstreams")["upstreams"][0]["servers"][0]["http"]["healthy"], "found to be dead")
    for credential in MANY:
        equal(ask(s, credential, "during").rsc, 2000)
    equal({r["from"] for r in s.cses[1].records(rqi="during")}, at_first | at_second)
    with s.dtls(DEV1) as client:
        answer = client.request("get", "cse-in", origin="Cdev1")
        check(answer is not None and answer.rsc in (2000, 5103), answer)
        wait_for(lambda: not s.ctl("upstreams")["upstreams"][0]["servers"][0]["coap"]["healthy"],
                 "CoAP found to be dead")
        equal(client.request("get", "cse-in", origin="Cdev1").rsc, 2000)
    s.cses[0].start()
    wait_for(lambda: s.ctl("upstreams")["upstreams"][0]["servers"][0]["http"]["healthy"], "found to be alive")
    for credential in MANY:
        equal(ask(s, credential, "after").rsc, 2000)
    equal({r["from"] for r in s.cses[0].records(rqi="after")}, at_first, "originators that came back")


def test_no_cse_is_healthy(t):
    s = Sagate(t)
    with s.tls(DEV1) as stream, s.dtls(DEV2) as client:
        equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)
        equal(client.request("get", "cse-in", origin="Cdev2").rsc, 2000)
        s.cse.kill()
        wait_for(lambda: not any(s.ctl("upstreams")["upstreams"][0]["servers"][0][b]["healthy"]
                                 for b in ("http", "coap")),
                 "found to be dead")
        answer = stream.request("GET", "/cse-in", origin="Cdev1", rqi="none")
        equal((answer.status, answer.rsc, answer.header("X-M2M-RI")), (503, 5103, "none"))
        answer = client.request("get", "cse-in", origin="Cdev2", rqi="none")
        equal((answer.status, answer.rsc, answer.rqi), ("5.03", 5103, "none"))
        s.cse.start()
        wait_for(s.ready, "ready again")
        wait_for(lambda: s.ctl("upstreams")["upstreams"][0]["servers"][0]["http"]["healthy"], "found to be alive")
        equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)


def test_deadlines_of_one_device_take_no_cse_out(t):
    s = Sagate(t, upstream={"health_fall": 3, "health_seconds": 30})
    with s.tls(DEV1) as stream, s.tls(DEV2) as other:
        s.cse.mode(delay=400)
        for n in range(5):
            answer = stream.request("GET", "/cse-in", origin="Cdev1", rqi=f"late{n}", headers=["X-M2M-RET: 10"])
            equal(answer.rsc, 4008)
        s.cse.mode(delay=0)
        equal(other.request("GET", "/cse-in", origin="Cdev2").rsc, 2000, "another device")
    check(s.ctl("upstreams")["upstreams"][0]["servers"][0]["http"]["healthy"], "healthy")


# How a CSE fails, and the response status codes that a device may then hear.
FAILURES = [("close-mid-answer", {5103, 4008}), ("nonsense", {5103, 4008, 5000}), ("reset", {5103, 4008}),
            ("never", {4008, 5103})]


def test_http_failures(t):
    s = Sagate(t, upstream={"request_milliseconds": 1500, "http_health": "none"})
    with s.tls(DEV2) as other:
        with s.tls(DEV1) as stream:
            stream.request("POST", "/cse-in", origin="Cdev1", ty=2, body=ae("dev1"))
            stream.request("POST", "/cse-in/dev1", origin="Cdev1", ty=3, body=cnt("fails"))
        for mode, allowed in FAILURES:
            s.cse.mode(fail=mode, match="/fails")
            rqi = f"f-{mode}"
            with s.tls(DEV1) as stream:
                try:
                    answer = stream.request("POST", "/cse-in/dev1/fails", origin="Cdev1", rqi=rqi, ty=4,
                                            body=cin("once"))
                    check(answer.rsc in allowed, f"{mode}: {answer}")
                    equal(answer.header("X-M2M-RI"), rqi)
                    equal(stream.request("GET", "/cse-in/dev1", origin="Cdev1").rsc, 2000, f"after {mode}")
                except Closed:
                    # The head of the answer had been passed on: only the end of the connection can tell the device.
                    equal(mode, "close-mid-answer", "closed without a complete answer")
            equal(len(s.cse.records(rqi=rqi)), 1, f"{mode}: a request that creates something is sent once")
            equal(other.request("GET", "/cse-in", origin="Cdev2").rsc, 2000, f"{mode}: another association")
            s.cse.mode(fail="none")
            with s.tls(DEV1) as stream:
                equal(stream.request("GET", "/cse-in/dev1", origin="Cdev1").rsc, 2000, f"after {mode}")


def test_http_answered_twice(t):
    s = Sagate(t, upstream={"http_health": "none"})
    with s.tls(DEV1) as stream, s.tls(DEV2) as other:
        s.cse.mode(fail="answer-twice", count=3)
        for n in range(6):
            for one, origin in ((stream, "Cdev1"), (other, "Cdev2")):
                rqi = f"{origin}-{n}"
                answer = one.request("GET", "/cse-in", origin=origin, rqi=rqi)
                equal((answer.rsc, answer.header("X-M2M-RI")), (2000, rqi), "an answer went to another request")


def test_coap_failures(t):
    s = Sagate(t, upstream={"request_milliseconds": 1500, "coap_health": "none"})
    with s.dtls(DEV1) as client, s.dtls(DEV2) as other:
        client.request("post", "cse-in", origin="Cdev1", ty=2, body=ae("dev1"))
        client.request("post", "cse-in/dev1", origin="Cdev1", ty=3, body=cnt("fails"))
        for mode, allowed in FAILURES:
            s.cse.mode(fail=mode, match="/fails")
            answer = client.request("post", "cse-in/dev1/fails", origin="Cdev1", rqi=f"f-{mode}", ty=4,
                                    body=cin("once"))
            check(answer is not None, f"{mode}: no answer")
            check(answer.rsc in allowed or mode == "close-mid-answer", f"{mode}: {answer}")
            equal(len(s.cse.records(rqi=f"f-{mode}")), 1,
                  f"{mode}: a request that creates something is carried out once")
            equal(other.request("get", "cse-in", origin="Cdev2").rsc, 2000, f"{mode}: another association")
        s.cse.mode(fail="answer-twice", count=3)
        for n in range(5):
            answer = client.request("get", "cse-in", origin="Cdev1", rqi=f"twice{n}")
            equal((answer.rsc, answer.rqi), (2000, f"twice{n}"))
        equal(client.datagram(0.5), None, "a second answer")


def test_lost_datagrams_towards_the_cse(t):
    s = Sagate(t, upstream={"request_milliseconds": 12000, "coap_health": "none", "http_health": "none"})
    with s.dtls(DEV1) as client:
        s.cse.mode(fail="never", count=1)
        answer = client.request("get", "cse-in", origin="Cdev1", rqi="lost", seconds=12)
        # The demonstration CSE took the first and says nothing to its repetitions: the deadline answers.
        check(answer is None or answer.rsc in (4008, 5103), answer)
        check(len(s.cse.records(event="duplicate")) >= 1, "no retransmission")


def both_bindings(s, from_value="Cdev1", old=False):
    with s.tls(DEV1) as stream:
        answer = stream.request("POST", "/cse-in", origin="Cdev1", rqi="q1", ty=2, body=ae("quirk"))
        equal((answer.rsc, answer.header("X-M2M-RI")), (2001, "q1"))
        equal(stream.request("POST", "/cse-in/quirk?rcn=0", origin="Cdev1", rqi="q2", ty=3, body=cnt("data")).rsc, 2001)
        equal(stream.request("POST", "/cse-in/quirk/data?rcn=0", origin="Cdev1", rqi="q3", ty=4, body=cin("v")).rsc,
              2001)
        answer = stream.request("GET", "/cse-in/quirk/data/la", origin="Cdev1", rqi="q4")
        equal((answer.rsc, answer.json["m2m:cin"]["con"]), (2000, "v"))
        equal(stream.request("GET", "/cse-in/nothing", origin="Cdev1", rqi="q5").rsc, 4004)
    with s.dtls(DEV1) as client:
        answer = client.request("get", "cse-in/quirk/data/la", origin="Cdev1", rqi="q6")
        equal((answer.status, answer.rsc, answer.rqi, answer.json["m2m:cin"]["con"]), ("2.05", 2000, "q6", "v"))
        answer = client.request("post", "cse-in/quirk/data", origin="Cdev1", rqi="q7", ty=4, body=cin("w"))
        equal((answer.status, answer.rsc), ("2.01", 2001))
        check(answer.option(307) is not None, "the device speaks the current numbers")
    equal({r["from"] for r in s.cse.records()}, {from_value})
    equal(s.cse.records(event="split"), [])


def test_like_tinyiot(t):
    s = Sagate(t, ["--one-recv", "--close-each", "--stray-crlf", "--no-content-length", "--refuse-unknown-options",
                   "--from", "stem", "--rqi-max", "110"],
               upstream={"coap_identity": "none", "request_id_bytes": 110})
    both_bindings(s)


def test_long_request_identifier(t):
    s = Sagate(t, ["--rqi-max", "110"], upstream={"request_id_bytes": 110})
    long = "r" * 200
    with s.tls(DEV1) as stream:
        answer = stream.request("GET", "/cse-in", origin="Cdev1", rqi=long)
        check(answer.rsc in (2000, 4000), answer)
        equal(answer.header("X-M2M-RI"), long, "the device's own request identifier")
        equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="short").rsc, 2000)
    with s.dtls(DEV1) as client:
        answer = client.request("get", "cse-in", origin="Cdev1", rqi=long)
        check(answer is not None and answer.rsc in (2000, 4000), answer)
        equal(answer.rqi, long)
    equal(s.cse.records(event="rqi too long"), [])


def test_like_mobius(t):
    s = Sagate(t, ["--old-options", "--chunked"], upstream={"coap_numbering": "old", "coap_identity": "none"})
    both_bindings(s)
    record = s.cse.records(rqi="q6")[0]
    equal((record.option(256), record.option(257), record.option(279)), ([b"Cdev1"], [b"q6"], []))


def test_like_acme(t):
    s = Sagate(t, ["--close-each"])
    both_bindings(s)


def test_sp_relative_from(t):
    s = Sagate(t, ["--from", "sp-relative"], upstream={"from_form": "sp_relative",
                                                       "health_originator": "/SsagateHealth"})
    both_bindings(s, "/id-in/Cdev1")


def test_absolute_from(t):
    s = Sagate(t, ["--from", "absolute"],
               upstream={"from_form": "absolute", "health_originator": "//sp.example/SsagateHealth"})
    both_bindings(s, "//sp.example/id-in/Cdev1")


def test_separate_answers(t):
    s = Sagate(t, ["--separate", "--delay", "100"])
    both_bindings(s)


def test_proxy_protocol(t):
    s = Sagate(t, ["--proxy-v2"], upstream={"http_identity": "proxy_v2", "http_health": "connect"})
    equal(ask(s, DEV1, "p1").rsc, 2000)
    equal(ask(s, DEV2, "p2").rsc, 2000)
    for rqi, name in (("p1", "dev1"), ("p2", "dev2")):
        record = s.cse.records(rqi=rqi)[0]
        equal(record["proxy"]["0xE0"], f"//sp.example/id-in/C{name}")
        equal(record["proxy"]["0xE1"], f"12-{name}@sp.example")


def test_authorization_of_sagate(t):
    s = Sagate(t, start=False)
    secret = s.dir / "authorization"
    secret.write_text("Basic c2FnYXRlOnNlY3JldA==\n")
    secret.chmod(0o600)
    s.settings["upstreams"][0]["authorization_file"] = str(secret)
    s.write()
    s.start()
    equal(ask(s, DEV1, "auth").rsc, 2000)
    equal(s.cse.records(rqi="auth")[0].header("Authorization"), ["Basic c2FnYXRlOnNlY3JldA=="])
    check("c2FnYXRlOnNlY3JldA" not in s.process.log(), "the credential towards the CSE is in the log")


def test_no_identity_headers(t):
    s = Sagate(t, upstream={"http_identity": "none", "coap_identity": "none"})
    equal(ask(s, DEV1, "plain").rsc, 2000)
    names = [name.lower() for name, _ in s.cse.records(rqi="plain")[0]["headers"]]
    check(not any(name.startswith("x-sagate") for name in names), names)
    s.coap(DEV1, "get", "/cse-in", origin="Cdev1", rqi="c")
    equal([n for n, _ in s.cse.records(rqi="c")[0]["options"] if n > 60000], [])


def test_connections_are_reused(t):
    s = Sagate(t, upstream={"http_health": "none"})
    for n in range(5):
        equal(ask(s, DEV1, f"r{n}").rsc, 2000)
    equal(len({r["connection"] for r in s.cse.records()}), 1, "connections to the CSE")


def test_requests_in_flight_are_bounded(t):
    s = Sagate(t, ["--delay", "700"], upstream={"http_health": "none", "coap_health": "none", "requests": 2})
    streams = [s.tls(DEV1) for _ in range(4)]
    for n, stream in enumerate(streams):
        stream.send(m2m_request("GET", "/cse-in", "Cdev1", rqi=f"b{n}"))
    answers = [stream.response() for stream in streams]
    for answer in answers:
        check((answer.status, answer.rsc) in ((200, 2000), (503, 5103)), answer)
    check(any(a.rsc == 2000 for a in answers) and any(a.status == 503 for a in answers), answers)
    check(s.metric("limit_hits_total", limit="requests_per_upstream") >= 1, "the limit is not counted")


def test_deadline(t):
    s = Sagate(t, ["--delay", "3000"], upstream={"http_health": "none", "coap_health": "none",
                                                 "request_milliseconds": 500})
    start = time.monotonic()
    answer = ask(s, DEV1, "late")
    equal((answer.status, answer.rsc, answer.header("X-M2M-RI")), (504, 4008, "late"))
    with s.dtls(DEV1) as client:
        answer = client.request("get", "cse-in", origin="Cdev1", rqi="late")
        equal((answer.status, answer.rsc), ("5.04", 4008))
    check(time.monotonic() - start < 20, "the deadline was not kept")
