# The demonstration CSE by itself: the tests of sagate are worth what it records.
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import socket
import time

import coap as coaplib
from lib import (DemoCse, ae, check, cin, cnt, coap_client, equal, free_port, m2m_request, parse_response, settle,
                 wait_for)


def curl(t, cse, *args, path="/cse-in", origin="CAdmin", rqi="r1"):
    argv = ["curl", "-si", "--noproxy", "*", "--max-time", "5"]
    if origin is not None:
        argv += ["-H", f"X-M2M-Origin: {origin}"]
    if rqi is not None:
        argv += ["-H", f"X-M2M-RI: {rqi}"]
    done = t.run(argv + ["-H", "X-M2M-RVI: 3"] + list(args) + [f"http://127.0.0.1:{cse.http_port}{path}"])
    equal(done.returncode, 0, "curl")
    return parse_response(done.stdout)


def create(ty, body):
    return ["-H", f"Content-Type: application/json;ty={ty}", "-d", json.dumps(body)]


def test_crud_over_http(t):
    cse = DemoCse(t)
    answer = curl(t, cse, *create(2, ae("dev1")), origin="Cdev1")
    equal((answer.status, answer.rsc, answer.header("X-M2M-RI")), (201, 2001, "r1"))
    equal(answer.json["m2m:ae"]["aei"], "Cdev1")
    equal(answer.json["m2m:ae"]["ri"], "Cdev1")
    equal(curl(t, cse, *create(2, ae("dev1b")), origin="Cdev1").rsc, 4117)
    equal(curl(t, cse, *create(3, cnt("data")), origin="Cdev1", path="/cse-in/dev1").rsc, 2001)
    equal(curl(t, cse, *create(3, cnt("data")), origin="Cdev1", path="/cse-in/dev1").rsc, 4105)
    for n in range(3):
        equal(curl(t, cse, *create(4, cin(f"value {n}")), origin="Cdev1", path="/Cdev1/data").rsc, 2001)
    for path in ("/cse-in/dev1/data/la", "/-/dev1/data/la", "/Cdev1/data/la", "/~/id-in/cse-in/dev1/data/la",
                 "/~/id-in/Cdev1/data/la", "/_/sp.example/id-in/cse-in/dev1/data/la"):
        equal(curl(t, cse, path=path).json["m2m:cin"]["con"], "value 2", path)
    equal(curl(t, cse, path="/cse-in/dev1/data/ol").json["m2m:cin"]["con"], "value 0")
    equal(curl(t, cse, path="/cse-in/dev1/data").json["m2m:cnt"]["cni"], 3)
    answer = curl(t, cse, "-X", "PUT", "-H", "Content-Type: application/json", "-d",
                  '{"m2m:cnt":{"mni":2,"lbl":["x"]}}',
                  origin="Cdev1", path="/cse-in/dev1/data")
    equal((answer.status, answer.rsc, answer.json["m2m:cnt"]["cni"]), (200, 2004, 2))
    equal(curl(t, cse, "-X", "PUT", "-H", "Content-Type: application/json", "-d", '{"m2m:cnt":{"mni":9}}',
               origin="Cdev2",
               path="/cse-in/dev1/data").rsc, 4103)
    equal(curl(t, cse, "-X", "DELETE", origin="Cdev1", path="/cse-in/dev1").rsc, 2002)
    answer = curl(t, cse, path="/cse-in/dev1/data")
    equal((answer.status, answer.rsc), (404, 4004))
    equal(curl(t, cse, "-X", "DELETE", path="/cse-in").rsc, 4005)


def test_result_content_and_discovery(t):
    cse = DemoCse(t)
    curl(t, cse, *create(2, ae("dev1")), origin="Cdev1")
    equal(curl(t, cse, *create(3, {"m2m:cnt": {"rn": "a", "lbl": ["red", "hot"]}}), path="/cse-in/dev1?rcn=2").json,
          {"m2m:uri": "cse-in/dev1/a"})
    equal(curl(t, cse, *create(3, {"m2m:cnt": {"rn": "b", "lbl": ["blue"]}}), path="/cse-in/dev1?rcn=0").body, b"")
    tree = curl(t, cse, path="/cse-in/dev1?rcn=4").json["m2m:ae"]
    equal([c["rn"] for c in tree["m2m:cnt"]], ["a", "b"])
    equal(curl(t, cse, path="/cse-in?fu=1&ty=3").json["m2m:uril"], ["cse-in/dev1/a", "cse-in/dev1/b"])
    equal(curl(t, cse, path="/cse-in?fu=1&lbl=hot").json["m2m:uril"], ["cse-in/dev1/a"])
    equal(curl(t, cse, path="/cse-in?fu=1&ty=2+3&lim=1").json["m2m:uril"], ["cse-in/dev1"])
    equal(curl(t, cse, path="/cse-in?rcn=0").rsc, 4000)


def test_what_is_mandatory(t):
    cse = DemoCse(t)
    equal(curl(t, cse, rqi=None).rsc, 4000)
    equal(curl(t, cse, origin=None).rsc, 4000)
    equal(curl(t, cse, *create(3, ae("x"))).rsc, 4000)
    equal(curl(t, cse, *create(4, cin("x"))).rsc, 4108)
    equal(curl(t, cse, "-H", "Content-Type: application/xml;ty=3", "-d", "<x/>").rsc, 4015)
    equal(curl(t, cse, *create(3, cnt("x")), path="/cse-in/none").rsc, 4004)
    equal(curl(t, cse, *create(2, {"m2m:ae": {"api": "Xbad", "rr": False}}), origin="C").rsc, 4000)


def test_assigned_identities(t):
    cse = DemoCse(t)
    for origin, first in (("C", "C"), (None, "C"), ("S", "S")):
        made = curl(t, cse, *create(2, ae()), origin=origin).json["m2m:ae"]
        check(len(made["aei"]) == 9 and made["aei"][0] == first, made["aei"])
        equal(made["ri"], made["aei"])


def test_crud_over_coap(t):
    cse = DemoCse(t)

    def ask(method, path, **kwargs):
        return coap_client(t, cse.coap_port, None, method, path, tls="notls", scheme="coap", **kwargs)

    answer = ask("post", "/cse-in", origin="Cdev1", rqi="a1", ty=2, body=ae("dev1"))
    equal((answer.code, answer.rsc, answer.rqi), ("2.01", 2001, "a1"))
    equal(answer.json["m2m:ae"]["aei"], "Cdev1")
    equal(ask("post", "/~/id-in/cse-in/dev1", origin="Cdev1", ty=3, body=cnt("data")).rsc, 2001)
    equal(ask("post", "/cse-in/dev1/data", origin="Cdev1", ty=4, body=cin("42")).rsc, 2001)
    answer = ask("get", "/_/sp.example/id-in/cse-in/dev1/data/la", origin="Cdev1")
    equal((answer.code, answer.rsc, answer.json["m2m:cin"]["con"]), ("2.05", 2000, "42"))
    equal(ask("put", "/cse-in/dev1/data", origin="Cdev1", body={"m2m:cnt": {"lbl": ["x"]}}).rsc, 2004)
    answer = ask("get", "/cse-in/none", origin="Cdev1")
    equal((answer.code, answer.rsc), ("4.04", 4004))
    answer = ask("delete", "/cse-in/dev1", origin="Cdev1")
    equal((answer.code, answer.rsc), ("2.02", 2002))
    equal(ask("get", "/cse-in", origin="Cdev1", extra=["-N"]).kind, "NON")
    record = cse.records(rqi="a1")[0]
    equal((record["binding"], record["operation"], record["from"], record["ty"]), ("coap", "create", "Cdev1", 2))
    equal(record.option(279), [b"Cdev1"])


def test_coap_messages(t):
    cse = DemoCse(t)
    with cse.coap() as client:
        # A duplicate gets the same answer and is carried out once.
        datagram = client.build("post", "cse-in", origin="Cdup", ty=2, body=ae("dup"))
        client.send(datagram)
        first = client.datagram(3)
        client.send(datagram)
        equal(client.datagram(3), first, "answer to a duplicate")
        equal((len(cse.records()), len(cse.records(event="duplicate"))), (1, 1))
        client.send(coaplib.encode(coaplib.CON, 0, 77))
        pong = client.receive(3)
        equal((pong.kind, pong.mid), (coaplib.RST, 77), "ping")
        equal(client.request("get", "cse-in", origin="Cdup", options=[(65001, b"x")]).status, "4.02")
        equal(client.request("get", "cse-in", origin="Cdup", options=[(65020, b"x")]).rsc, 2000, "elective option")
        equal(client.request("get", "cse-in", origin="Cdup", options=[(279, b"Cother")]).status, "4.02", "second From")
        equal(client.request("get", "cse-in", origin="Cdup", rqi=None).rsc, 4000)
        client.send(b"\x40\x01")  # nothing that can be answered
        equal(client.request("get", "cse-in", origin="Cdup").rsc, 2000)


def test_observe(t):
    cse = DemoCse(t)
    with cse.coap() as client:
        client.request("post", "cse-in", origin="Cdev1", ty=2, body=ae("dev1"))
        client.request("post", "cse-in/dev1", origin="Cdev1", ty=3, body=cnt("data"))
        client.request("post", "cse-in/dev1/data", origin="Cdev1", ty=4, body=cin("0"))
        first = client.request("get", "cse-in/dev1/data/la", origin="Cdev1", token=b"obs", options=[(6, b"")])
        check(first.option(6) is not None, "no Observe option in the answer")
        last = int.from_bytes(first.option(6), "big")
        with cse.coap() as other:
            for n in (1, 2):
                other.request("post", "cse-in/dev1/data", origin="Cdev1", ty=4, body=cin(str(n)))
                note = client.response(token=b"obs")
                equal(note.json["m2m:cin"]["con"], str(n))
                check(int.from_bytes(note.option(6), "big") > last, "the sequence number has not grown")
                last = int.from_bytes(note.option(6), "big")
            client.request("get", "cse-in/dev1/data/la", origin="Cdev1", token=b"obs", options=[(6, b"\x01")])
            other.request("post", "cse-in/dev1/data", origin="Cdev1", ty=4, body=cin("3"))
            equal(client.response(token=b"obs", seconds=0.5), None, "notification after the end of the observation")


def test_blockwise(t):
    cse = DemoCse(t)
    long = "x" * 3000
    with cse.coap() as client:
        client.request("post", "cse-in", origin="Cdev1", ty=2, body=ae("dev1"))
        client.request("post", "cse-in/dev1", origin="Cdev1", ty=3, body=cnt("data"))
        body = json.dumps(cin(long)).encode()
        parts = [body[i:i + 512] for i in range(0, len(body), 512)]
        for n, part in enumerate(parts):
            more = 8 if n < len(parts) - 1 else 0
            value = n << 4 | more | 5
            answer = client.request("post", "cse-in/dev1/data", origin="Cdev1", ty=4, body=part, query=["rcn=0"],
                                    options=[(27, value.to_bytes(2, "big").lstrip(b"\0"))])
            equal(answer.status, "2.31" if more else "2.01")
        got, n = b"", 0
        while True:
            answer = client.request("get", "cse-in/dev1/data/la", origin="Cdev1",
                                    options=[(23, bytes([n << 4 | 6]) if n else b"\6")])
            got += answer.payload
            if not int.from_bytes(answer.option(23), "big") & 8:
                break
            n += 1
        equal(json.loads(got)["m2m:cin"]["con"], long)
    equal(len(cse.records(operation="create", ty=4)), 1)


def test_separate_and_old_numbers(t):
    cse = DemoCse(t, "--separate", "--old-options")
    with cse.coap() as client:
        client.send(client.build("get", "cse-in", origin="Cdev1", old=True, token=b"s"))
        equal(client.receive().kind, coaplib.ACK)
        answer = client.response(token=b"s")
        equal((answer.kind, answer.rsc, answer.rqi), (coaplib.CON, 2000, "r1"))
        equal(answer.option(307), None)


def test_notifications(t):
    cse, target = DemoCse(t), DemoCse(t, name="target")
    curl(t, cse, *create(2, ae("dev1")), origin="Cdev1")
    curl(t, cse, *create(3, cnt("data")), origin="Cdev1", path="/cse-in/dev1")
    urls = [f"http://127.0.0.1:{target.http_port}/cse-in", f"coap://127.0.0.1:{target.coap_port}/cse-in"]
    curl(t, cse, *create(23, {"m2m:sub": {"nu": urls, "enc": {"net": [3]}}}), origin="Cdev1", path="/cse-in/dev1/data")
    curl(t, cse, *create(4, cin("news")), origin="Cdev1", path="/cse-in/dev1/data")
    wait_for(lambda: len(target.records(operation="notify")) == 2, "two notifications")
    for record in target.records(operation="notify"):
        equal(record["from"], "/id-in")
        equal(json.loads(record["body"])["m2m:sgn"]["nev"]["rep"]["m2m:cin"]["con"], "news")


def test_http_connections(t):
    cse = DemoCse(t)
    with cse.http() as stream:
        stream.send(m2m_request("GET", "/cse-in", "CAdmin", rqi="p1") + m2m_request("GET", "/cse-in", "CAdmin",
                                                                                    rqi="p2"))
        equal([stream.response().header("X-M2M-RI") for _ in range(2)], ["p1", "p2"], "pipelined answers")
        text = json.dumps(cnt("c")).encode()
        chunks = b"2\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (text[:2], len(text) - 2, text[2:])
        stream.send(m2m_request("POST", "/cse-in", "CAdmin", headers=["Transfer-Encoding: chunked",
                                                                      "Content-Type: application/json;ty=3"]) + chunks)
        equal(stream.response().rsc, 2001)
        cse.mode(chunked=True)
        equal(stream.request("GET", "/cse-in/c", origin="CAdmin").json["m2m:cnt"]["rn"], "c")
    equal(len({r["connection"] for r in cse.records()}), 1)


def test_quirks(t):
    one = DemoCse(t, "--one-recv", "--close-each", "--stray-crlf", "--rqi-max", "110", name="one")
    with one.http() as stream:
        answer = stream.request("GET", "/cse-in", origin="CAdmin")
        equal((answer.rsc, answer.header("Connection")), (2000, "close"))
        check(stream.closed(), "not closed after the answer")
        equal(stream.buffer, b"\r\n")
    with one.http() as stream:
        data = m2m_request("GET", "/cse-in", "CAdmin")
        stream.send(data[:30])
        settle(0.2)
        check(stream.closed(), "a split request was taken")
    equal(len(one.records(event="split")), 1)
    with one.http() as stream:
        stream.send(m2m_request("GET", "/cse-in", "CAdmin", rqi="r" * 111))
        check(stream.closed(), "a long request identifier was taken")
    strict = DemoCse(t, "--refuse-unknown-options", "--from", "sp-relative", "--no-content-length", name="strict")
    with strict.coap() as client:
        equal(client.request("get", "cse-in", origin="/id-in/Cdev1").rsc, 2000)
        equal(client.request("get", "cse-in", origin="Cdev1").rsc, 4103)
        equal(client.request("get", "cse-in", origin="/id-in/Cdev1", options=[(65020, b"x")]).status, "4.02")
    with strict.http() as stream:
        answer = stream.request("POST", "/cse-in?rcn=0", origin="/id-in/Cdev1", ty=3, body=cnt("c"))
        equal((answer.rsc, answer.header("Content-Length"), answer.body), (2001, None, b""))


def test_proxy_header(t):
    cse = DemoCse(t, "--proxy-v2")
    with cse.http() as stream:
        addresses = socket.inet_aton("192.0.2.1") + socket.inet_aton("192.0.2.2") + bytes.fromhex("04d21f90")
        tlvs = b"\xe0\x00\x05Cdev1" + b"\xe1\x00\x07" + b"12-dev1"
        stream.send(b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + len(addresses + tlvs).to_bytes(2, "big") + addresses + tlvs)
        equal(stream.request("GET", "/cse-in", origin="CAdmin").rsc, 2000)
    proxy = cse.records()[0]["proxy"]
    equal((proxy["0xE0"], proxy["0xE1"]), ("Cdev1", "12-dev1"))


def test_failures(t):
    cse = DemoCse(t)

    def get():
        with cse.http() as stream:
            stream.send(m2m_request("GET", "/cse-in", "CAdmin"))
            return stream.response(1)

    for mode in ("close-mid-answer", "reset", "nonsense", "never"):
        cse.mode(fail=mode, count=1)
        try:
            get()
            check(False, f"{mode}: answered")
        except AssertionError as error:
            check("answered" not in str(error), str(error))
        equal(get().rsc, 2000, f"after {mode}")
    cse.mode(fail="answer-twice", count=1)
    with cse.http() as stream:
        stream.request("GET", "/cse-in", origin="CAdmin", rqi="t1")
        equal(stream.response().header("X-M2M-RI"), "t1", "second answer")
    cse.mode(fail="never", match="/quiet")
    equal(get().rsc, 2000, "a target that does not match")
    with cse.coap() as client:
        equal(client.request("get", "cse-in/quiet", origin="CAdmin", seconds=0.5), None)
        cse.mode(fail="reset", count=1)
        client.send(client.build("get", "cse-in", origin="CAdmin"))
        equal(client.receive().kind, coaplib.RST)
        cse.mode(fail="answer-twice", count=1)
        client.send(client.build("get", "cse-in", origin="CAdmin"))
        equal(client.datagram(2), client.datagram(2))
        cse.mode(fail="none", delay=300)
        start = time.monotonic()
        equal(client.request("get", "cse-in", origin="CAdmin").rsc, 2000)
        check(time.monotonic() - start >= 0.3, "not delayed")


def test_start_errors(t):
    cse = DemoCse(t)
    done = t.run([t.program("sagate-demo-cse"), "--http", f"127.0.0.1:{cse.http_port}"])
    check(done.returncode != 0 and b"Address already in use" in done.stderr, done.stderr)
    done = t.run([t.program("sagate-demo-cse"), "--coap", f"127.0.0.1:{free_port()}", "--fail", "badly"])
    equal(done.returncode, 2)
