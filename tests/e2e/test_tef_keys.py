# Devices whose keys are at a MAF or MEF, through sagate and sagate-tef.
# SPDX-License-Identifier: GPL-3.0-or-later
import base64

from clients import Closed
from harness import check, equal, wait_for
from lib import Credential, Sagate
from tef import ADMIN, SOURCE, TARGET, Tef, connect, key_body

KEY, OTHER_KEY = "K" * 32, "L" * 32


def gateway(t, tef, **changes):
    """sagate that knows the MAF and MEF of `tef`."""
    target = tef.client(TARGET, "--admin", ADMIN)
    s = Sagate(t, start=False)
    path = s.dir / "km.key"
    path.write_text(target.key + "\n")
    path.chmod(0o600)
    common = {"address": "127.0.0.1", "upstream": "in", "psk_identity": target.identity, "psk": "file:km.key",
              "admin_fqdn": ADMIN, **changes}
    s.settings["mafs"] = [{"name": "maf", "fqdn": "maf.sp.example", "port": tef.port, **common}]
    s.settings["mefs"] = [{"name": "mef", "fqdn": "mef.sp.example", "port": tef.mef_port, "register": False, **common}]
    s.write()
    s.start()
    return s


def registered_key(source, key=KEY, suid=32, port=None, fqdn="maf.sp.example", ae_id="Sdev1", **members):
    """The credential of a key that the source has registered."""
    with connect(source, port=port) as stream:
        body = key_body(suid, keyValue=base64.b64encode(key.encode()).decode(), **members)
        answer = stream.request("POST", "/", ty=2, body=body, origin=source.id)
        equal(answer.rsc, 2001)
        id = answer.json["sec:symmKeyReg"]["relativeKeyID"]
    return Credential(f"{id}@{fqdn}", key, ae_ids=[ae_id])


def refused(open_stream):
    try:
        with open_stream() as stream:
            stream.request("GET", "/cse-in", origin="Sdev1", rqi="no")
    except Closed:
        return
    check(False, "the handshake was not refused")


def test_maf_key(t):
    tef = Tef(t)
    source = tef.client(SOURCE, "--admin", ADMIN)
    s = gateway(t, tef)
    device = registered_key(source)
    with s.tls(device) as stream:
        equal(stream.request("GET", "/cse-in", origin="Sdev1", rqi="own").rsc, 2000)
        equal(stream.request("GET", "/cse-in", origin="Sdev2", rqi="other").rsc, 4106)
        listed = s.command("associations list")["associations"]
        equal([(a["credential_id"], a["framework"]) for a in listed if a["credential_id"]],
              [("12-" + device.identity, "maf")])
    equal(s.coap(device, "get", "/cse-in", origin="Sdev1", tls="openssl").rsc, 2000)  # from the cache
    equal(s.metric("resolver_remote_total", result="found"), 1)
    equal(s.metric("resolver_remote_total", result="asked"), 1)
    shown = s.command("identities list", identity=device.identity)["identities"][0]
    equal((shown["source"], shown["tef"], shown["ae_ids"]), ("maf", "maf", ["Sdev1"]))


def test_mef_key(t):
    tef = Tef(t)
    source = tef.client(SOURCE, "--admin", ADMIN)
    s = gateway(t, tef)
    device = registered_key(source, suid=22, port=tef.mef_port, fqdn="mef.sp.example")
    with s.tls(device) as stream:
        equal(stream.request("GET", "/cse-in", origin="Sdev1", rqi="own").rsc, 2000)


def test_unknown_keys(t):
    tef = Tef(t)
    source = tef.client(SOURCE, "--admin", ADMIN)
    s = gateway(t, tef)
    device = registered_key(source)
    for identity in ("none@maf.sp.example", "none@else.example"):
        refused(lambda: s.tls(Credential(identity, KEY, ae_ids=["Sdev1"])))
    refused(lambda: s.tls(Credential(device.identity, OTHER_KEY, ae_ids=["Sdev1"])))
    with s.tls(device) as stream:
        equal(stream.request("GET", "/cse-in", origin="Sdev1", rqi="own").rsc, 2000)


def test_flush_ends_associations(t):
    tef = Tef(t)
    source = tef.client(SOURCE, "--admin", ADMIN)
    s = gateway(t, tef)
    device = registered_key(source)
    with s.tls(device) as stream:
        equal(stream.request("GET", "/cse-in", origin="Sdev1", rqi="own").rsc, 2000)
        equal(s.command("identities flush", identity=device.identity, end_associations=True)["flushed"], 1)
        wait_for(lambda: not s.associations(), "the association has ended")
    with s.tls(device) as stream:
        equal(stream.request("GET", "/cse-in", origin="Sdev1", rqi="again").rsc, 2000)
    equal(s.metric("resolver_remote_total", result="asked"), 2)


def test_registration_and_status(t):
    tef = Tef(t)
    s = gateway(t, tef)
    wait_for(lambda: s.command("tef status")["tefs"][0]["registered"], "sagate is registered")
    equal([(one["name"], one["kind"]) for one in s.command("tef status")["tefs"]], [("maf", "maf"), ("mef", "mef")])
    equal(s.ctl("tef", "status")["tefs"][0]["fqdn"], "maf.sp.example")
    s.stop()
    wait_for(lambda: any(line["procedure"] == "client_deregistration" for line in tef.audit()), "sagate has de-registered")


def test_a_maf_that_is_down_ends_nothing(t):
    tef = Tef(t)
    source = tef.client(SOURCE, "--admin", ADMIN)
    s = gateway(t, tef)
    device, other = registered_key(source), registered_key(source, key=OTHER_KEY)
    with s.tls(device) as stream:
        equal(stream.request("GET", "/cse-in", origin="Sdev1", rqi="own").rsc, 2000)
        equal(tef.process.stop(), 0)
        s.command("identities flush", identity=device.identity)
        refused(lambda: s.tls(device))
        refused(lambda: s.tls(other))
        equal(stream.request("GET", "/cse-in", origin="Sdev1", rqi="still").rsc, 2000)
    tef.start()

    def served():
        try:
            with s.tls(other) as again:
                return again.request("GET", "/cse-in", origin="Sdev1", rqi="back").rsc == 2000
        except Closed:
            return False

    wait_for(served, "a key is fetched again", seconds=30)
