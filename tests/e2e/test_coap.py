# The CoAP binding towards devices (RFC 7252, 7641, 7959).
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import threading

import coap as coaplib
from lib import DEV1, DEV2, Sagate, ae, check, cin, cnt, equal, settle, wait_for


def make(client, origin="Cdev1", name="dev1"):
    equal(client.request("post", "cse-in", origin=origin, ty=2, body=ae(name)).rsc, 2001)
    equal(client.request("post", f"cse-in/{name}", origin=origin, ty=3, body=cnt("data")).rsc, 2001)
    equal(client.request("post", f"cse-in/{name}/data", origin=origin, ty=4, body=cin("0")).rsc, 2001)


def test_duplicates(t):
    s = Sagate(t)
    with s.dtls(DEV1) as client:
        datagram = client.build("post", "cse-in", origin="Cdev1", rqi="dup", ty=2, body=ae("dup"))
        client.send(datagram)
        first = client.response()
        equal(first.rsc, 2001)
        for _ in range(3):
            client.send(datagram)
            again = client.response()
            equal((again.mid, again.rsc, again.payload), (first.mid, 2001, first.payload), "answer to a duplicate")
        # Non-confirmable ones are not carried out twice either.
        datagram = client.build("post", "cse-in/dup", origin="Cdev1", rqi="non", ty=3, body=cnt("c"), kind=coaplib.NON)
        client.send(datagram)
        client.send(datagram)
        answer = client.response()
        equal((answer.kind, answer.rsc), (coaplib.NON, 2001))
        settle()
    equal(len(s.cse.records(rqi="dup")), 1)
    equal(len(s.cse.records(rqi="non")), 1)
    check(s.metric("coap_duplicates_total") >= 4, "duplicates are not counted")


def test_same_message_id_on_two_associations(t):
    s = Sagate(t)
    with s.dtls(DEV1) as one, s.dtls(DEV2) as two:
        for client, origin in ((one, "Cdev1"), (two, "Cdev2")):
            client.send(client.build("get", "cse-in", origin=origin, rqi=origin, mid=4711, token=b"same"))
        for client, origin in ((one, "Cdev1"), (two, "Cdev2")):
            answer = client.response(token=b"same")
            equal((answer.rsc, answer.rqi), (2000, origin))


def test_tokens_come_back(t):
    s = Sagate(t)
    with s.dtls(DEV1) as client:
        for token in (b"", b"\0", b"12345678"):
            client.send(client.build("get", "cse-in", origin="Cdev1", token=token, rqi=f"t{len(token)}"))
            answer = client.response(token=token)
            equal((answer.rsc, answer.rqi), (2000, f"t{len(token)}"))


def test_ping_and_empty_messages(t):
    s = Sagate(t)
    with s.dtls(DEV1) as client:
        client.send(coaplib.encode(coaplib.CON, 0, 99))
        pong = client.receive()
        equal((pong.kind, pong.code, pong.mid), (coaplib.RST, 0, 99))
        for stray in (coaplib.encode(coaplib.ACK, 0, 1), coaplib.encode(coaplib.RST, 0, 2),
                      coaplib.encode(coaplib.NON, 0, 3),
                      coaplib.encode(coaplib.ACK, 0x45, 4, b"x", [], b"stray"),
                      coaplib.encode(coaplib.CON, 0x45, 5, b"x")):
            client.send(stray)
        equal(client.request("get", "cse-in", origin="Cdev1").rsc, 2000)
    equal(len(s.cse.records()), 1)


def test_separate_answers(t):
    s = Sagate(t, ["--delay", "2500"], upstream={"coap_health": "none", "http_health": "none",
                                                 "request_milliseconds": 8000})
    with s.dtls(DEV1) as client:
        datagram = client.build("get", "cse-in", origin="Cdev1", rqi="sep", token=b"sep")
        client.send(datagram)
        first = client.receive(8)
        equal((first.kind, first.code), (coaplib.ACK, 0), "the CSE is slow, so an empty acknowledgement comes first")
        equal(first.mid, coaplib.decode(datagram).mid)
        answer = client.receive(8)
        equal((answer.kind, answer.token, answer.rsc), (coaplib.CON, b"sep", 2000))
        again = client.receive(8)  # not acknowledged: it comes again
        equal((again.mid, again.payload), (answer.mid, answer.payload), "retransmission")
        client.send(coaplib.encode(coaplib.ACK, 0, answer.mid))
        equal(client.datagram(6), None, "after the acknowledgement")
    equal(len(s.cse.records(rqi="sep")), 1)


def test_non_confirmable(t):
    s = Sagate(t)
    with s.dtls(DEV1) as client:
        answer = client.request("get", "cse-in", origin="Cdev1", kind=coaplib.NON)
        equal((answer.kind, answer.rsc), (coaplib.NON, 2000))
        answer = client.request("get", "cse-in", origin="Cdev2", kind=coaplib.NON)
        equal((answer.kind, answer.rsc), (coaplib.NON, 4106), "a refusal")


def test_observe(t):
    s = Sagate(t)
    with s.dtls(DEV1) as client, s.dtls(DEV2) as other:
        make(client)
        first = client.request("get", "cse-in/dev1/data/la", origin="Cdev1", token=b"obs", options=[(6, b"")])
        check(first.option(6) is not None, "no Observe option in the answer")
        sequence = int.from_bytes(first.option(6), "big")
        for n in range(1, 4):
            equal(other.request("post", "cse-in/dev1/data", origin="Cdev2", ty=4, body=cin(str(n))).rsc, 2001)
            note = client.response(token=b"obs")
            check(note is not None, f"notification {n} did not arrive")
            equal(note.json["m2m:cin"]["con"], str(n))
            check(int.from_bytes(note.option(6), "big") > sequence, "the sequence number does not grow")
            sequence = int.from_bytes(note.option(6), "big")
        check(s.metric("coap_observations") == 1, "the observation is not counted")
        # Given up with a reset: no more notifications, and the CSE hears of it.
        other.request("post", "cse-in/dev1/data", origin="Cdev2", ty=4, body=cin("4"))
        note = client.receive()
        equal(note.token, b"obs")
        client.send(coaplib.encode(coaplib.RST, 0, note.mid))
        settle()
        other.request("post", "cse-in/dev1/data", origin="Cdev2", ty=4, body=cin("5"))
        equal(client.response(token=b"obs", seconds=1), None, "a notification after the reset")
        wait_for(lambda: s.metric("coap_observations") == 0, "the observation is gone")


def test_observation_ends_with_the_association(t):
    s = Sagate(t)
    with s.dtls(DEV2) as other:
        with s.dtls(DEV1) as client:
            make(client)
            client.request("get", "cse-in/dev1/data/la", origin="Cdev1", token=b"obs", options=[(6, b"")])
            equal(s.metric("coap_observations"), 1)
            for entry in s.ctl("associations", "list")["associations"]:
                if entry["credential_id"] == "12-dev1@sp.example":
                    s.ctl("associations", "kill", entry["id"])
        wait_for(lambda: s.metric("coap_observations") == 0, "the observation ends")
        equal(other.request("post", "cse-in/dev1/data", origin="Cdev2", ty=4, body=cin("1")).rsc, 2001)


def test_observe_with_libcoap(t):
    s = Sagate(t)
    with s.dtls(DEV1) as client:
        make(client)
    found = []
    # libcoap's client knows no oneM2M option and so resets the first notification; that it arrives is what counts.
    thread = threading.Thread(target=lambda: found.extend(
        s.coap(DEV2, "get", "/cse-in/dev1/data/la", origin="Cdev2", rqi="watch", extra=["-s", "8"], count=2,
               seconds=8)))
    thread.start()
    wait_for(lambda: s.cse.records(rqi="watch"), "the observation is asked for")
    settle()
    with s.dtls(DEV1) as client:
        client.request("post", "cse-in/dev1/data", origin="Cdev1", ty=4, body=cin("news"))
    thread.join()
    equal([answer.json["m2m:cin"]["con"] for answer in found], ["0", "news"])


def blocks(client, body, size_exponent, origin="Cdev1", path="cse-in/dev1/data", rqi="blk"):
    size = 16 << size_exponent
    parts = [body[i:i + size] for i in range(0, len(body), size)]
    answer = None
    for n, part in enumerate(parts):
        value = n << 4 | (8 if n < len(parts) - 1 else 0) | size_exponent
        answer = client.request("post", path, origin=origin, rqi=rqi, ty=4, body=part, query=["rcn=0"],
                                options=[(27, value.to_bytes(3, "big").lstrip(b"\0"))])
        check(answer is not None, f"block {n}: no answer")
        if n < len(parts) - 1:
            equal(answer.status, "2.31", f"block {n}")
    return answer


def test_blockwise(t):
    s = Sagate(t)
    text = "0123456789" * 300
    with s.dtls(DEV1) as client:
        make(client)
        answer = blocks(client, json.dumps(cin(text)).encode(), 5)
        equal(answer.rsc, 2001)
        got, n = b"", 0
        while True:
            answer = client.request("get", "cse-in/dev1/data/la", origin="Cdev1", options=[(23, bytes([n << 4 | 5]))])
            check(answer is not None and answer.option(23) is not None, f"block {n}: {answer}")
            got += answer.payload
            if not int.from_bytes(answer.option(23), "big") & 8:
                break
            n += 1
        equal(json.loads(got)["m2m:cin"]["con"], text)


def test_blockwise_with_libcoap(t):
    s = Sagate(t)
    with s.dtls(DEV1) as client:
        make(client)
    answer = s.coap(DEV1, "post", "/cse-in/dev1/data?rcn=0", origin="Cdev1", rqi="lib", ty=4, body=cin("y" * 2500),
                    extra=["-b", "512"])
    check(answer is not None, "no answer after the last block")
    equal(answer.code, "2.01")
    equal(json.loads(s.cse.records(rqi="lib")[-1]["body"]), cin("y" * 2500))


def test_originator_of_every_block_is_checked(t):
    s = Sagate(t)
    body = json.dumps(cin("z" * 900)).encode()
    with s.dtls(DEV1) as client:
        make(client)
        answer = client.request("post", "cse-in/dev1/data", origin="Cdev1", rqi="mix", ty=4, body=body[:512],
                                options=[(27, b"\x0d")])
        equal(answer.status, "2.31")
        answer = client.request("post", "cse-in/dev1/data", origin="Cdev2", rqi="mix", ty=4, body=body[512:],
                                options=[(27, b"\x15")])
        equal(answer.rsc, 4106)
    check(not any(r["from"] == "Cdev2" for r in s.cse.records(event=None)), "a foreign block reached the CSE")


def test_second_originator_across_blocks(t):
    s = Sagate(t)
    member = b'{"fr":"Cdev2",'
    # The block that has the member whole, and blocks of 16 bytes that cut its name in two.
    cases = {"whole": (5, member + b" " * 600), "cut": (0, b" " * 13 + member + b" " * 20)}
    with s.dtls(DEV1) as client:
        make(client)
        for name, (size_exponent, start) in cases.items():
            body, size = start + b'"m2m:cin":{"con":"1"}}', 16 << size_exponent
            parts = [body[i:i + size] for i in range(0, len(body), size)]
            refused = False
            for n, part in enumerate(parts):
                value = n << 4 | (8 if n < len(parts) - 1 else 0) | size_exponent
                answer = client.request("post", "cse-in/dev1/data", origin="Cdev1", rqi=name, ty=4, body=part,
                                        options=[(27, value.to_bytes(3, "big").lstrip(b"\0"))])
                check(answer is not None, f"{name}, block {n}: no answer")
                if answer.code >> 5 >= 4:
                    refused = True
                    break
            check(refused, f"{name}: not refused")
            equal(s.cse.records(rqi=name), [], f"{name}: the CSE has the whole of it")


def test_unknown_options(t):
    s = Sagate(t)
    with s.dtls(DEV1) as client:
        equal(client.request("get", "cse-in", origin="Cdev1", rqi="crit", options=[(65003, b"x")]).status, "4.02")
        equal(client.request("get", "cse-in", origin="Cdev1", rqi="elec", options=[(65002, b"x")]).rsc, 2000)
    equal([r["rqi"] for r in s.cse.records(event=None)], ["elec"])


def test_malformed_messages(t):
    s = Sagate(t)
    with s.dtls(DEV1) as client:
        good = client.build("get", "cse-in", origin="Cdev1", rqi="x")
        for data in (b"", b"\x40", b"\x40\x01\x00", b"\x49\x01\x00\x01" + b"t" * 9, b"\x80\x01\x00\x01",
                     good[:-1] + b"\xff",
                     good + b"\xff", b"\x40\x01\x12\x34\xf0", b"\x40\x01\x12\x35\x0f", b"\x40\x01\x12\x36\xdd",
                     b"\x40\x01\x12\x37\xe0\xff\xff",
                     b"\x40\x00\x12\x38extra", b"\x40\x1f\x12\x39", b"\x40\x20\x12\x40", b"\x40\xff\x12\x41",
                     bytes(range(256)), good * 3):
            if data:
                client.send(data)
        answer = client.request("get", "cse-in", origin="Cdev1", rqi="fine")
        equal(answer and answer.rqi, "fine")
        settle()
        while client.datagram(0.1):
            pass
    check(all(r["from"] == "Cdev1" for r in s.cse.records(event=None)), "a malformed message reached the CSE")
    check(s.metric("binding_errors_total", binding="coap", error="malformed") >= 5, "not counted")


def test_response_status_codes_pass_unchanged(t):
    s = Sagate(t)
    with s.dtls(DEV1) as client:
        make(client)
        table = [(("get", "cse-in/none"), {}, "4.04", 4004), (("delete", "cse-in"), {}, "4.05", 4005),
                 (("post", "cse-in/dev1"), {"ty": 3, "body": cnt("data")}, "4.03", 4105),
                 (("post", "cse-in"), {"ty": 2, "body": ae("dev1b")}, "4.03", 4117),
                 (("put", "cse-in/dev1/data"), {"body": {"m2m:cnt": {"lbl": ["x"]}}}, "2.04", 2004),
                 (("post", "cse-in/dev1"), {"body": {"m2m:sgn": {}}}, "2.04", 2000),
                 (("delete", "cse-in/dev1/data"), {}, "2.02", 2002)]
        for (method, path), more, status, rsc in table:
            answer = client.request(method, path, origin="Cdev1", **more)
            equal((answer.status, answer.rsc), (status, rsc), f"{method} {path}")


def test_sp_relative_and_absolute_targets(t):
    s = Sagate(t)
    with s.dtls(DEV1) as client:
        for path, to in (("~/id-in/cse-in", "/id-in/cse-in"), ("_/sp.example/id-in/cse-in",
                                                               "//sp.example/id-in/cse-in"), ("-", "-")):
            equal(client.request("get", path, origin="Cdev1", rqi=to).rsc, 2000, path)
            equal(s.cse.records(rqi=to)[0]["to"], to)


def test_server_without_a_socket(t):
    """A server to which no socket can be opened is unhealthy; the others and the associations go on."""
    s = Sagate(t)
    with s.dtls(DEV1) as client:
        make(client)
        s.settings["upstreams"][0]["servers"].append(
            {"name": "nowhere", "http": "127.0.0.1:1", "coap": "255.255.255.255:5683"})
        s.write()
        s.ctl("reload")
        for n in range(3):
            answer = client.request("get", "cse-in/dev1/data/la", origin="Cdev1", rqi=f"r{n}")
            equal(answer and answer.rsc, 2000, "after the reload")
    check("cannot be opened" in s.process.log(), "the log tells the reason")
