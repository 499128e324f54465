# Every place where a second originator can hide, in CoAP and HTTP, as a table of messages exact to the byte.
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import socket
import threading

from lib import Closed, DEV1, MN1, PAIR, Sagate, Timeout, ae, check, cnt, equal, m2m_request, settle

JSON = "Content-Type: application/json;ty=3"
XML = "Content-Type: application/xml;ty=3"
CBOR = "Content-Type: application/cbor;ty=3"
NS = 'xmlns:m2m="http://www.onem2m.org/xml/protocols"'


def cbor_text(text):
    return bytes([0x60 | len(text)]) + text.encode()


def cbor_bytes(text):
    return bytes([0x40 | len(text)]) + text.encode()


# Contents with an originator in them: (name, media type, CoAP content format, bytes). The From of the message is Cone
# and the credential may also use Ctwo; FR stands for the hidden value.
def hidden_in_content(fr):
    container = b'"m2m:cnt":{"rn":"hidden"}'
    quoted = json.dumps(fr).encode()
    return [
        ("json", JSON, b"\x32", b'{"fr":' + quoted + b"," + container + b"}"),
        ("json, last member", JSON, b"\x32", b"{" + container + b',"fr":' + quoted + b"}"),
        ("json, escaped name", JSON, b"\x32", b'{"\\u0066r":' + quoted + b"," + container + b"}"),
        ("json, escaped value", JSON, b"\x32", b'{"fr":"\\u0043' + fr[1:].encode() + b'",' + container + b"}"),
        ("json, two members", JSON, b"\x32", b'{"fr":"Cone","fr":' + quoted + b"," + container + b"}"),
        ("json, white space", JSON, b"\x32", b' \n{ "fr" \t:\n ' + quoted + b" , " + container + b"}"),
        ("json, m2m:rqp", JSON, b"\x32",
         b'{"m2m:rqp":{"fr":' + quoted + b',"op":1,"rqi":"x","pc":{' + container + b"}}}"),
        ("cbor, text name", CBOR, b"\x3c", b"\xa1" + cbor_text("fr") + cbor_text(fr)),
        ("cbor, byte name", CBOR, b"\x3c", b"\xa1" + cbor_bytes("fr") + cbor_bytes(fr)),
        ("cbor, indefinite map", CBOR, b"\x3c", b"\xbf" + cbor_text("fr") + cbor_text(fr) + b"\xff"),
        ("cbor, name in pieces", CBOR, b"\x3c", b"\xa1\x7f\x61f\x61r\xff" + cbor_text(fr)),
        ("cbor, m2m:rqp", CBOR, b"\x3c", b"\xa1" + cbor_text("m2m:rqp") + b"\xa1" + cbor_text("fr") + cbor_text(fr)),
        ("xml", XML, b"\x29", f"<m2m:rqp {NS}><fr>{fr}</fr></m2m:rqp>".encode()),
        ("xml, two", XML, b"\x29", f"<m2m:rqp {NS}><fr>Cone</fr><fr>{fr}</fr></m2m:rqp>".encode()),
        ("xml, other namespace", XML, b"\x29", f'<m2m:rqp {NS} xmlns:x="urn:x"><x:fr>{fr}</x:fr></m2m:rqp>'.encode()),
        ("xml, character data", XML, b"\x29", f"<m2m:rqp {NS}><fr><![CDATA[{fr}]]></fr></m2m:rqp>".encode()),
    ]


# (hidden value, what the device may hear): another's is 4106, another one of its own 4000. Duplicate members and
# elements, CBOR in pieces and the like are malformed in themselves, so 4000 is right for both.
HIDDEN = [("Cdev2", {4106, 4000}), ("Ctwo", {4000}), ("CAdmin", {4106, 4000})]


def never_seen(s):
    settle()
    equal(s.cse.records(event=None), [], "what reached the CSE")


def test_http_content(t):
    s = Sagate(t)
    failures = []
    for fr, allowed in HIDDEN:
        for name, media, _, body in hidden_in_content(fr):
            with s.tls(PAIR) as stream:
                answer = stream.request("POST", "/cse-in", origin="Cone", rqi="hid", body=body, headers=[media])
            if answer.rsc not in allowed or answer.header("X-M2M-RI") != "hid":
                failures.append(f"{name}, {fr}: {answer}")
    check(not failures, "\n".join(failures))
    never_seen(s)


def test_coap_content(t):
    s = Sagate(t)
    failures = []
    with s.dtls(PAIR) as client:
        for fr, allowed in HIDDEN:
            for name, _, form, body in hidden_in_content(fr):
                answer = client.request("post", "cse-in", origin="Cone", rqi="hid", ty=3, body=body,
                                        options=[(12, form)])
                if answer is None or answer.rsc not in allowed or answer.rqi != "hid":
                    failures.append(f"{name}, {fr}: {answer}")
    check(not failures, "\n".join(failures))
    never_seen(s)


class Listener:
    """A CSE that reads whatever comes, as far as it comes."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        self.seen = b""
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            stream, _ = self.socket.accept()
            threading.Thread(target=self.read, args=(stream,), daemon=True).start()

    def read(self, stream):
        try:
            while data := stream.recv(65536):
                self.seen += data
        except OSError:
            pass


def test_http_streamed_content(t):
    cse = Listener()
    s = Sagate(t, upstream={"http_health": "none"}, start=False)
    s.settings["upstreams"][0]["servers"][0]["http"] = cse.address
    s.write()
    s.start()
    for body in (b'{"fr":"CAdmin","m2m:cnt":{}}' + b" " * 300000,
                 b'{"m2m:cnt":{"rn":"' + b"x" * 300000 + b'"},"fr":"CAdmin"' + b" " * 300000 + b"}"):
        with s.tls(DEV1) as stream:
            try:
                stream.send(m2m_request("POST", "/cse-in", "Cdev1", rqi="long",
                                        headers=[JSON, f"Content-Length: {len(body)}"]) + body)
                equal(stream.response().rsc, 4106)
            except Closed:
                pass  # sagate does not read the rest
    settle()
    check(b"X-M2M-RI: long" in cse.seen, "the second body was begun")
    check(b"CAdmin" not in cse.seen, "what reached the CSE")


def test_equal_and_nested_values_pass(t):
    s = Sagate(t)
    with s.tls(PAIR) as stream:
        stream.request("POST", "/cse-in", origin="Cone", rqi="n0", ty=3, body=cnt("box"))
        # A nested value is somebody else's business: content of an instance, not a parameter of the primitive.
        nested = {"m2m:cin": {"con": {"fr": "Cdev2", "m2m:rqp": {"fr": "CAdmin"}}}}
        equal(stream.request("POST", "/cse-in/box", origin="Cone", rqi="n1", ty=4, body=nested).rsc, 2001)
        equal(json.loads(s.cse.records(rqi="n1")[0]["body"]), nested)
        stream.request("POST", "/cse-in", origin="Cone", rqi="n2", ty=3, body={"fr": "Cone", "m2m:cnt": {"rn": "same"}})
        equal(len(s.cse.records(rqi="n2")), 1, "the same originator again")


def http_case(lines, body=b"", method="GET", path="/cse-in"):
    head = [f"{method} {path} HTTP/1.1", "Host: cse.example"] + lines
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


ID = ["X-M2M-RI: sec", "X-M2M-RVI: 3"]
# (name, bytes, response status codes that the device may hear; None stands for an answer without one, status 400)
HTTP_TABLE = [
    ("two origins, second differs", http_case(["X-M2M-Origin: Cdev1", "X-M2M-Origin: Cdev2"] + ID), {4000, None}),
    ("two origins, first differs", http_case(["X-M2M-Origin: Cdev2", "X-M2M-Origin: Cdev1"] + ID), {4000, 4106, None}),
    ("two equal origins", http_case(["X-M2M-Origin: Cdev1", "X-M2M-Origin: Cdev1"] + ID), {4000, None}),
    ("two origins, other case", http_case(["X-M2M-Origin: Cdev1", "x-m2m-origin: Cdev2"] + ID), {4000, None}),
    ("a list", http_case(["X-M2M-Origin: Cdev1, Cdev2"] + ID), {4000, 4106}),
    ("a list without blank", http_case(["X-M2M-Origin: Cdev1,Cdev2"] + ID), {4000, 4106}),
    ("blank before the colon", http_case(["X-M2M-Origin: Cdev1", "X-M2M-Origin : Cdev2"] + ID), {4000, None}),
    ("folded line", http_case(["X-M2M-Origin: Cdev1", "X-Other: a", " X-M2M-Origin: Cdev2"] + ID), {4000, None}),
    ("name with underscores", http_case(["X-M2M-Origin: Cdev1", "X_M2M_Origin: Cdev2"] + ID), {4000, None}),
    ("bare LF", http_case(["X-M2M-Origin: Cdev1", "X-Other: a\nX-M2M-Origin: Cdev2"] + ID), {4000, None}),
    ("bare CR", http_case(["X-M2M-Origin: Cdev1", "X-Other: a\rX-M2M-Origin: Cdev2"] + ID), {4000, None}),
    ("NUL", http_case(["X-M2M-Origin: Cdev1\0Cdev2"] + ID), {4000, None}),
    ("percent encoding", http_case(["X-M2M-Origin: Cdev%31"] + ID), {4000, 4106}),
    ("empty", http_case(["X-M2M-Origin: "] + ID), {4000}),
    ("absent", http_case(ID), {4000}),
    ("SP-relative", http_case(["X-M2M-Origin: /id-in/Cdev1"] + ID), {4000}),
    ("absolute", http_case(["X-M2M-Origin: //sp.example/id-in/Cdev1"] + ID), {4000}),
    ("another's", http_case(["X-M2M-Origin: Cdev2"] + ID), {4106}),
    ("other case of its own", http_case(["X-M2M-Origin: cdev1"] + ID), {4000, 4106}),
    ("admin", http_case(["X-M2M-Origin: CAdmin"] + ID), {4106}),
    ("CSE-ID", http_case(["X-M2M-Origin: /id-in"] + ID), {4106}),
    ("absolute CSE-ID", http_case(["X-M2M-Origin: //sp.example/id-in"] + ID), {4106}),
    ("SP-relative admin", http_case(["X-M2M-Origin: /id-in/CAdmin"] + ID), {4106}),
    ("two request identifiers", http_case(["X-M2M-Origin: Cdev1", "X-M2M-RI: other"] + ID), {4000, None}),
    ("two release versions", http_case(["X-M2M-Origin: Cdev1", "X-M2M-RVI: 2a"] + ID), {4000, None}),
    ("two content types", http_case(["X-M2M-Origin: Cdev1", "Content-Type: application/json;ty=3",
                                     "Content-Type: application/json;ty=2",
                                     "Content-Length: 2"] + ID, b"{}", "POST"), {4000, None}),
    ("in a trailer", http_case(["X-M2M-Origin: Cdev1", "Transfer-Encoding: chunked", "Trailer: X-M2M-Origin",
                                JSON] + ID,
                               b"2\r\n{}\r\n0\r\nX-M2M-Origin: Cdev2\r\n\r\n", "POST"), {4000, 2001, None, "dropped"}),
    ("in the query", http_case(["X-M2M-Origin: Cdev1"] + ID, path="/cse-in?fr=CAdmin"), {4106}),
    ("in the query, another's", http_case(["X-M2M-Origin: Cdev1"] + ID, path="/cse-in?rcn=1&fr=Cdev2"), {4106}),
    ("in the query, encoded", http_case(["X-M2M-Origin: Cdev1"] + ID, path="/cse-in?%66r=%43Admin"), {4106}),
    ("in the query, half encoded", http_case(["X-M2M-Origin: Cdev1"] + ID, path="/cse-in?f%7=CAdmin"), {4000}),
    ("named by Connection", http_case(["X-M2M-Origin: Cdev2", "Connection: X-M2M-Origin"] + ID), {4000, 4106}),
]


def test_http_headers(t):
    s = Sagate(t)
    failures = []
    for name, data, allowed in HTTP_TABLE:
        with s.tls(DEV1) as stream:
            stream.send(data)
            try:
                answer = stream.response(5)
            except (Closed, Timeout) as error:
                failures.append(f"{name}: no answer ({error})")
                continue
            ok = answer.rsc in allowed and (answer.rsc is not None or answer.status == 400)
            if not ok and "dropped" not in allowed:
                failures.append(f"{name}: {answer}")
            if answer.rsc == 4106 and answer.status != 403:
                failures.append(f"{name}: status {answer.status} with 4106")
    check(not failures, "\n".join(failures))
    settle()
    for record in s.cse.records(event=None):  # only the one whose trailer may be dropped
        equal(record.header("X-M2M-Origin"), ["Cdev1"])
        check("Cdev2" not in record.text(), record.text())
        check("CAdmin" not in record.text(), record.text())


def test_http_forged_identity(t):
    s = Sagate(t)
    forged = ["X-SAGate-Originator: //sp.example/id-in/Cforged", "X-SAGate-Credential-ID: 12-forged",
              "X-SAGate-Framework: forged",
              "X-SAGate-Authenticated: forged", "X-SAGate-Other: forged", "x-sagate-originator: forged",
              "Forwarded: for=192.0.2.66;by=forged", "Client-Cert: :Zm9yZ2Vk:", "Client-Cert-Chain: :Zm9yZ2Vk:",
              "remoteaddress: 192.0.2.66", "X-Forwarded-For: 192.0.2.66", "Connection: X-SAGate-Originator"]
    with s.tls(DEV1) as stream:
        answer = stream.request("GET", "/cse-in", origin="Cdev1", rqi="forge", headers=forged)
        equal(answer.rsc, 2000)
    record = s.cse.records(rqi="forge")[0]
    for text in ("forged", "Zm9yZ2Vk", "192.0.2.66"):
        check(text not in record.text(), f"{text} reached the CSE: {record.text()}")
    equal(record.header("X-SAGate-Originator"), ["//sp.example/id-in/Cdev1"])
    equal(record.header("X-SAGate-Credential-ID"), ["12-dev1@sp.example"])
    equal(record.header("X-SAGate-Authenticated"), ["true"])


def test_coap_options(t):
    s = Sagate(t)
    # (name, From, further options, response status codes or CoAP codes that the device may hear)
    table = [
        ("two FR", "Cdev1", [(279, b"Cdev2")], {"4.02"}),
        ("two FR, first differs", None, [(279, b"Cdev2"), (279, b"Cdev1")], {"4.02"}),
        ("two equal FR", "Cdev1", [(279, b"Cdev1")], {"4.02"}),
        ("new and old FR", "Cdev1", [(256, b"Cdev2")], {"4.02", 4000, 4106}),
        ("new and old FR, equal", "Cdev1", [(256, b"Cdev1")], {"4.02", 4000}),
        ("new FR, old RQI", "Cdev1", [(257, b"sec")], {"4.02", 4000}),
        ("two RQI", "Cdev1", [(283, b"other")], {"4.02"}),
        ("two TY", "Cdev1", [(267, b"\2"), (267, b"\3")], {"4.02"}),
        ("FR with NUL", None, [(279, b"Cdev1\0Cdev2")], {4000, "4.02"}),
        ("FR empty", None, [(279, b"")], {4000}),
        ("FR absent", None, [], {4000}),
        ("SP-relative", "/id-in/Cdev1", [], {4000}),
        ("absolute", "//sp.example/id-in/Cdev1", [], {4000}),
        ("another's", "Cdev2", [], {4106}),
        ("admin", "CAdmin", [], {4106}),
        ("CSE-ID", "/id-in", [], {4106}),
        ("absolute CSE-ID", "//sp.example/id-in", [], {4106}),
        ("SP-relative admin", "/id-in/CAdmin", [], {4106}),
        ("unknown critical option", "Cdev1", [(65001, b"x")], {"4.02"}),
        ("proxy URI", "Cdev1", [(35, b"coap://192.0.2.1/")], {"5.05", "4.02"}),
    ]
    failures = []
    with s.dtls(DEV1) as client:
        for name, origin, options, allowed in table:
            answer = client.request("get", "cse-in", origin=origin, rqi="sec", options=options, seconds=5)
            if answer is None or (answer.rsc not in allowed and answer.status not in allowed):
                failures.append(f"{name}: {answer}")
        answer = client.request("get", "cse-in", origin="Cdev1", rqi="after")
        equal(answer and answer.rsc, 2000, "the association afterwards")
    check(not failures, "\n".join(failures))
    equal([r["rqi"] for r in s.cse.records(event=None)], ["after"])


def test_coap_two_transfers_of_one_path(t):
    """Blocks of two transfers with different Request-Tags or request identifiers never make up one for the CSE."""
    s = Sagate(t)
    with s.dtls(DEV1) as client:
        def block(number, more, payload, tag, rqi="two"):
            value = bytes([number << 4 | (8 if more else 0) | 2]) if number or more else b"\2"
            return client.request("post", "cse-in", origin="Cdev1", rqi=rqi, ty=3, body=payload,
                                  options=[(12, b"\x32"), (27, value)] + ([(292, tag)] if tag else []))

        start = b'{"m2m:cnt":{"rn":"two"},'.ljust(62)
        equal(block(0, True, start + b'"f', b"A").status, "2.31")
        equal(block(0, True, start + b'"g', b"B").status, "2.31")
        sent = len(s.cse.records(event=None))
        equal(block(1, False, b'r":"CAdmin"}', b"A").status, "4.08")
        equal(block(1, False, b'r":"CAdmin"}', None).status, "4.08")
        equal(block(1, False, b'r":"CAdmin"}', b"B", rqi="other").rsc, 4000)
        settle()
        equal(len(s.cse.records(event=None)), sent, "what reached the CSE")
        equal(client.request("get", "cse-in", origin="Cdev1", rqi="after").rsc, 2000)


def test_coap_forged_identity(t):
    s = Sagate(t)
    with s.dtls(DEV1) as client:
        options = [(65020, b"//sp.example/id-in/Cforged"), (65052, b"12-forged"), (65084, b"192.0.2.66:1"),
                   (65020, b"forged")]
        equal(client.request("get", "cse-in", origin="Cdev1", rqi="forge", options=options).rsc, 2000)
    record = s.cse.records(rqi="forge")[0]
    check("forged" not in record.text() and "192.0.2.66" not in record.text(), record.text())
    equal(record.option(65020), [b"//sp.example/id-in/Cdev1"])
    equal(record.option(65052), [b"12-dev1@sp.example"])


def test_old_numbers_from_a_device(t):
    s = Sagate(t)
    with s.dtls(DEV1) as client:
        answer = client.request("get", "cse-in", origin="Cdev1", rqi="old", old=True)
        equal(answer and answer.rsc, 2000)
        check(answer.option(265) is not None and answer.option(307) is None, f"numbers of the answer: {answer.options}")
        equal(client.request("get", "cse-in", origin="Cdev2", rqi="bad", old=True).rsc, 4106)
    record = s.cse.records()[0]
    equal((record.option(279), record.option(256)), ([b"Cdev1"], []), "the upstream speaks the current numbers")


def test_cse_principal(t):
    s = Sagate(t)
    # (From, response status code); 2000 passes, since a CSE speaks for its own AEs and for what is behind it
    table = [("/mn1", 2000), ("/mn1/Cabc", 2000), ("/Sabc", 2000), ("//sp.example/mn1/Cabc", 2000), ("/mn9/Cabc", 2000),
             ("Cabc", 4106), ("/id-in", 4106), ("CAdmin", 4106)]
    with s.tls(MN1) as stream:
        for origin, rsc in table:
            answer = stream.request("GET", "/~/id-in/cse-in", origin=origin, rqi="mn")
            equal(answer.rsc, rsc, origin)
        equal(stream.request("POST", "/~/id-in/cse-in", origin="/mn1/Cabc", ty=2, body=ae("x")).rsc, 4000)
