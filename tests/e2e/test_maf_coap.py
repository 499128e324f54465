# A MAF and an MEF that sagate speaks to in CoAP over DTLS (TS-0008, TS-0003 8.8.2.2): the same flows as over HTTP, and
# what only datagrams have.
# SPDX-License-Identifier: GPL-3.0-or-later
import signal
import socket

from clients import openssl_psk
from harness import check, equal, wait_for
from lib import Sagate
from peers import Row, ask
from tef import ADMIN, TARGET, Tef
from test_certificates import Authority
from test_maf import ROWS, device_of, refused, register


def start(t, tef, maf_port=None, **changes):
    """sagate with the MAF and the MEF of `tef` over CoAP; as in test_maf.py else."""
    target = tef.client(TARGET, "--admin", ADMIN)
    s = Sagate(t, start=False)
    key = s.dir / "km.key"
    key.touch(0o600)
    key.write_text(target.key + "\n")
    common = {"address": "127.0.0.1", "upstream": "in", "admin_fqdn": ADMIN, "binding": "coap", **changes}
    if "certificate" not in changes:
        common = {"psk_identity": target.identity, "psk": "file:km.key", **common}
    s.settings["mafs"] = [{"name": "maf", "fqdn": "maf.sp.example", "port": maf_port or tef.coap_port, **common}]
    s.settings["mefs"] = [{"name": "mef", "fqdn": "mef.sp.example", "port": tef.coap_mef_port, **common}]
    s.settings["resolver"] = {"negative_seconds": 1}
    return s


def up(s):
    s.write()
    s.start()
    return s


def registered(s):
    wait_for(lambda: s.metric("tef_registered", tef="maf") == 1 and s.metric("tef_registered", tef="mef") == 1,
             "sagate is registered at both")


def whole_way(t, s, tef, kind, suid, framework):
    up(s)
    device = device_of(tef)
    for number, (version, suite) in enumerate(ROWS):
        told = ask(t, s, Row("wolfSSL", version, suite, register(tef, device, suid, kind)), [f"r{number}"])
        equal(told.answers, [(2000, f"r{number}")], version)
        equal(s.cse.records(rqi=f"r{number}")[0]["from"], "Cdev1", version)
    registered(s)
    equal(s.metric("resolver_remote_total", result="found"), len(ROWS))
    equal(s.metric("tef_requests_total", tef=kind, result="ok"), len(ROWS) + 1)  # and one registration
    equal(s.metric("handshakes_total", result="ok", framework=framework), len(ROWS))
    status = {one["name"]: one for one in s.ctl("tef", "status")["tefs"]}[kind]
    equal((status["binding"], status["connections"]), ("coap", 1))


def test_maf_every_version(t):
    tef = Tef(t, coap=True)
    whole_way(t, start(t, tef), tef, "maf", 32, "maf")


def test_mef_every_version(t):
    tef = Tef(t, coap=True)
    whole_way(t, start(t, tef), tef, "mef", 22, "psk")


def test_dtls_12_only(t):
    tef = Tef(t, coap=True, coap_function='version_max = "1.2";')
    whole_way(t, start(t, tef), tef, "maf", 32, "maf")


def test_older_mef_method(t):
    """An MEF that gives targets derived keys (TS-0003 8.3.2.1): the path and the answer over CoAP."""
    tef = Tef(t, coap=True)
    s = start(t, tef)
    s.settings["mefs"][0]["profile"] = {"method": "fetch_credentials"}
    up(s)
    registered(s)
    key = register(tef, device_of(tef), 22, "mef")
    check(refused(t, s, key.identity, key.bytes), "the registered key does instead of the derived one")
    equal([(line["client"], line["rsc"]) for line in tef.audit() if line["procedure"] == "fetch_credentials"],
          [(TARGET, 2000)])


def certificates(t):
    """Both sides with certificates: (settings of sagate-tef's CoAP functions, changes of sagate's settings)."""
    authority, stranger = Authority(t, "tef-ca"), Authority(t, "strange-ca")
    chain, key = authority.issue("tef", "DNS:maf.sp.example,DNS:mef.sp.example")
    own, own_key = authority.issue("sagate", "DNS:id-in.sp.example")
    function = f'psk = false; chain_file = "{chain}"; key_file = "{key}"; trust_anchors_file = "{authority.chain}";'
    lists = {"certificates": [{"name": "own", "chain_file": str(own), "key_file": str(own_key)}],
             "trust_anchors": [{"name": "tef", "file": str(authority.chain)},
                               {"name": "stranger", "file": str(stranger.chain)}]}
    return function, lists


def with_certificates(t, anchors="tef"):
    function, lists = certificates(t)
    tef = Tef(t, coap=True, coap_function=function)
    s = start(t, tef, certificate="own", trust_anchors=[anchors])
    for name, entries in lists.items():
        s.settings[name] = s.settings.get(name, []) + entries
    return tef, s


def test_certificates(t):
    tef, s = with_certificates(t)
    whole_way(t, s, tef, "maf", 32, "maf")


def handshake_failed(s, tef, words):
    """The operator sees what is wrong, and nothing is asked for."""
    def noted():
        return any(words in one["last_error"] for one in s.ctl("tef", "status")["tefs"] if one["name"] == "maf")

    wait_for(noted, f"'{words}' in the status", 20)
    check(s.metric("tef_requests_total", tef="maf", result="handshake") >= 1, "not counted")
    equal([line for line in tef.audit() if line["client"] == TARGET], [])


def test_wrong_certificate(t):
    """The MAF's certificate is of an authority that sagate does not trust."""
    tef, s = with_certificates(t, "stranger")
    up(s)
    key = register(tef, device_of(tef))
    check(refused(t, s, key.identity, key.bytes), "a MAF that is not proven is believed")
    handshake_failed(s, tef, "DTLS: ")


def test_wrong_key(t):
    tef = Tef(t, coap=True)
    s = start(t, tef)
    (s.dir / "km.key").write_text("ee" * 32 + "\n")
    up(s)
    key = register(tef, device_of(tef))
    check(refused(t, s, key.identity, key.bytes), "a MAF that does not know sagate is believed")
    handshake_failed(s, tef, "refused the session with alert")


def test_wrong_key_in_dtls_12(t):
    tef = Tef(t, coap=True, coap_function='version_max = "1.2";')
    s = start(t, tef)
    (s.dir / "km.key").write_text("ee" * 32 + "\n")
    up(s)
    key = register(tef, device_of(tef))
    check(refused(t, s, key.identity, key.bytes), "a MAF that does not know sagate is believed")
    handshake_failed(s, tef, "refused the session with alert")


def test_silence(t):
    """A port where nobody answers, and one that nobody has."""
    tef = Tef(t, coap=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        s = up(start(t, tef, maf_port=silent.getsockname()[1], timeout_milliseconds=500))
        device = device_of(tef)
        key = register(tef, device)
        check(refused(t, s, key.identity, key.bytes), "silence is believed")
        wait_for(lambda: s.metric("tef_requests_total", tef="maf", result="unavailable") >= 1, "it is counted")
        mef_key = register(tef, device, 22, "mef")
        with openssl_psk(t, s.tls_port, mef_key) as stream:
            equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="mef").rsc, 2000)


def test_maf_dies_and_comes_back(t):
    """Nobody tells sagate that the MAF has lost the association; it finds out and makes another."""
    tef = Tef(t, coap=True)
    s = up(start(t, tef))
    device = device_of(tef)
    keys = [register(tef, device) for _ in range(4)]
    registered(s)
    with openssl_psk(t, s.tls_port, keys[0]) as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="before").rsc, 2000)
        tef.process.signal(signal.SIGKILL)
        tef.process.wait()
        tef.start()
        wait_for(lambda: not refused(t, s, keys[1].identity, keys[1].bytes), "another association", 20)
        tef.process.signal(signal.SIGKILL)
        tef.process.wait()
        check(refused(t, s, keys[2].identity, keys[2].bytes), "the MAF is away")
        equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="during").rsc, 2000)
        tef.start()
        wait_for(lambda: not refused(t, s, keys[3].identity, keys[3].bytes), "the MAF is used again", 20)
        equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="after").rsc, 2000)
