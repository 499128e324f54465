# Km by KeID (TS-0003 8.3.1.2, 8.8.2.2, 8.8.2.3): a device enrols at the MEF and comes to the MAF with what it got there;
# the MAF asks the MEF, which is the same process or another.
# SPDX-License-Identifier: GPL-3.0-or-later
from clients import Closed, coap_client
from device import device, key_file, read_association
from harness import Failure, check, equal, wait_for
from lib import Credential
from tef import ADMIN, TARGET, Tef, connect
from test_maf import DEVICE, device_of, start

MAF = "//sp.example/maf"  # what maf.sp.example is at its MEF
HERE = 'mefs = ( {{ fqdn = "mef.sp.example"; km = "{km}"; }} );'


def enrol(t, mef, client, *argv, target=MAF, suid=21, derive=True):
    """sagate-device enrols for the MAF; the association file."""
    path = t.dir / f"enrolled{len(list(t.dir.glob('enrolled*')))}"
    derivation = ["--derive", "km", "--for", "maf.sp.example"] if derive else []
    device(t, "enrol", "--mef", f"127.0.0.1:{mef.mef_port}", "--fqdn", "mef.sp.example", "--psk-identity",
           client.identity, "--psk-file", key_file(t, "client.hex", client.key), "--client-id", client.id, "--target",
           target, "--suid", suid, "--admin", ADMIN, "--output", path, *derivation, *argv).ok()
    check(read_association(path)[0].endswith("@mef.sp.example"), "the identity is not one of the MEF")
    return path


def register_key(t, maf, enrolled, client_id=DEVICE, *argv):
    """With the credential of `enrolled` at the MAF; (run, association file)."""
    path = t.dir / f"registered{len(list(t.dir.glob('registered*')))}"
    return device(t, "register-key", "--maf", f"127.0.0.1:{maf.port}", "--fqdn", "maf.sp.example", "--association",
                  enrolled, "--client-id", client_id, "--target", TARGET, "--admin", ADMIN, "--output", path,
                  "--timeout", "5", *argv), path


def request(t, s, path, transport, version):
    port = s.dtls_port if transport == "--dtls" else s.tls_port
    return device(t, "request", "--connect", f"127.0.0.1:{port}", transport, version, "--association", path, "--from",
                  "Cdev1", "--to", "/cse-in")


def questions(tef):
    """What the MAF has asked the MEF for, as the audit log tells."""
    return [(line["function"], line["procedure"], line["rsc"]) for line in tef.audit() if line["client"] == MAF]


def whole_way(t, km, procedure):
    tef = Tef(t, HERE.format(km=km))
    tef.client(MAF)
    s = start(t, tef)
    enrolled = enrol(t, tef, device_of(tef), derive=km == "derived")
    for number, (transport, version) in enumerate((("--dtls", "1.2"), ("--dtls", "1.3"), ("--tls", "1.3"))):
        run, path = register_key(t, tef, enrolled, DEVICE, "--tls", version)
        run.ok()
        check(read_association(path)[0].endswith("@maf.sp.example"), "the key is not one of the MAF")
        equal(request(t, s, path, transport, version).ok().step("response")["rsc"], 2000)
        equal(questions(tef), [("mef.sp.example", procedure, 2000)] * (number + 1))
    equal([r["from"] for r in s.cse.records()], ["Cdev1"] * 3)
    key = read_association(enrolled)[1]
    check(key not in (tef.dir / "tef-audit.jsonl").read_text() + tef.process.log(), "a key is in a log")


def test_derived(t):
    whole_way(t, "derived", "fetch_credentials")


def test_registered(t):
    whole_way(t, "registered", "key_retrieval")


def refused(t, maf, enrolled):
    run, _ = register_key(t, maf, enrolled)
    return run.status == 4


def test_who_does_not_come_in(t):
    tef = Tef(t, HERE.format(km="registered"))
    tef.client(MAF)
    tef.client(TARGET)
    client, other = device_of(tef), tef.client("//sp.example/id-other")
    good = enrol(t, tef, client, derive=False)
    register_key(t, tef, good)[0].ok()
    identity, key = read_association(good)

    def association(identity, key):
        path = t.dir / f"made{len(list(t.dir.glob('made*')))}"
        path.touch(0o600)
        path.write_text(f"identity = {identity}\nkey = {key}\n")
        return path
    check(refused(t, tef, association(identity, "00" * 32)), "a wrong key")
    check(refused(t, tef, association("00" * 16 + "@mef.sp.example", key)), "an unknown KeID")
    check(refused(t, tef, association(identity.replace("mef", "else"), key)), "another MEF")
    check(refused(t, tef, association(identity.replace("mef", "maf"), key)), "a KmID that is not assigned yet")
    check(refused(t, tef, association("../x@mef.sp.example", key)), "no RelativeKeyID")
    check(refused(t, tef, enrol(t, tef, client, derive=False, suid=22, target=TARGET)), "a key for a CSE")
    check(refused(t, tef, enrol(t, tef, client, derive=False, target=other.id)), "a key for another target")
    # The enrolee is who the MEF says, and it must be a client here.
    equal(register_key(t, tef, good, "//sp.example/id-in/Cdev2")[0].step("response")["rsc"], 4106)
    tef.command("client", "remove", "--id", DEVICE)
    check(refused(t, tef, good), "somebody who is no client any more")


def test_not_configured(t):
    tef = Tef(t)
    tef.client(MAF)
    check(refused(t, tef, enrol(t, tef, device_of(tef))), "a MAF that was not told of an MEF takes its keys")
    equal(questions(tef), [])


def register_client(maf, identity, key, version="-tls1_2"):
    """Client registration (8.8.2.3); the answer."""
    client = type("Client", (), {"tef": maf, "key": key, "identity": identity})
    with connect(client, version) as stream:
        answer = stream.request("POST", "/", ty=1, body={"sec:mafClientReg": {"adminFQDN": ADMIN}})
        km = (answer.json or {}).get("sec:mafClientReg", {}).get("assignedSymmKeyID", "@").split("@")[0]
        if km:
            equal(stream.request("GET", f"/{km}").rsc, 4004)  # nobody's to fetch
        return answer


def elsewhere(t, km="derived", binding="http", **mef):
    """A MAF and an MEF in two processes: (MAF, MEF, the client at the MEF)."""
    away = Tef(t, name="mef", coap=True, **mef)
    own = away.client(MAF)
    client = device_of(away)
    path = t.dir / "maf-at-mef.key"
    path.touch(0o600)
    path.write_text(own.key + "\n")
    port = away.coap_mef_port if binding == "coap" else away.mef_port
    # Its own function of kind "mef" has the name mef.sp.example too, and is not asked.
    maf = Tef(t, f'''mefs = ( {{ fqdn = "mef.sp.example"; km = "{km}"; address = "127.0.0.1:{port}";
        binding = "{binding}"; psk_identity = "{own.identity}"; psk = "file:{path}"; }} );''', name="maf", coap=True)
    maf.command("client", "add", "--id", DEVICE, "--admin", ADMIN)
    return maf, away, client


def assigned(t, binding, km="derived"):
    maf, away, client = elsewhere(t, km, binding)
    s = start(t, maf)
    enrolled = enrol(t, away, client, derive=km == "derived")
    run, path = register_key(t, maf, enrolled)
    run.ok()
    equal(request(t, s, path, "--dtls", "1.2").ok().step("response")["rsc"], 2000)
    procedure = "fetch_credentials" if km == "derived" else "key_retrieval"
    equal(questions(away), [("mef.sp.example", procedure, 2000)])
    equal(questions(maf), questions(away))
    identity, key = read_association(enrolled)
    answer = register_client(maf, identity, key, "-tls1_3")
    equal(answer.rsc, 2001)
    kmid = answer.json["sec:mafClientReg"]["assignedSymmKeyID"]
    equal(kmid, identity.replace("@mef", "@maf"))
    asked = len(questions(maf))
    away.process.stop()
    away.process = None
    # With KmID the MEF is not needed any more; with KeID it is.
    for version in ("-tls1_2", "-tls1_3"):
        equal(register_client(maf, kmid, key, version).json["sec:mafClientReg"]["assignedSymmKeyID"], kmid)
    equal(len(questions(maf)), asked)
    check(refused(t, maf, enrolled), "an MEF that is not there lets in")
    away.start()
    wait_for(lambda: not refused(t, maf, enrolled), "the MEF is asked again", 30)


def test_elsewhere_over_http(t):
    assigned(t, "http")


def test_elsewhere_over_coap(t):
    assigned(t, "coap", "registered")


def test_a_client_in_coap(t):
    """KeID at a MAF over DTLS, the MEF being elsewhere: the handshake waits for it."""
    maf, away, client = elsewhere(t, "registered")
    key = "text-key-0123456789abcdefghijklm"  # libcoap's clients take text
    given = key_file(t, "given.hex", key.encode().hex())
    for tls in ("openssl", "gnutls"):
        identity, _ = read_association(enrol(t, away, client, "--key-value-file", given, derive=False))
        answer = coap_client(t, maf.coap_port, Credential(identity, key), "post", "/", origin=DEVICE, ty=1, tls=tls,
                             body={"sec:mafClientReg": {"adminFQDN": ADMIN}})
        equal(answer.rsc, 2001, tls)
        equal(answer.json["sec:mafClientReg"]["assignedSymmKeyID"], identity.replace("@mef", "@maf"))


def test_strangers_while_the_mef_is_silent(t):
    """A handshake that waits for the MEF holds up nobody, and ends at its own deadline."""
    maf, away, client = elsewhere(t)
    enrolled = enrol(t, away, client)
    away.process.kill()
    away.process = None
    other = maf.client("//sp.example/Sother", "--admin", ADMIN)
    stranger = type("Client", (), {"tef": maf, "key": "00" * 32, "identity": read_association(enrolled)[0]})
    with connect(stranger) as waiting, connect(other) as stream:
        equal(stream.request("GET", "/AA").rsc, 4004)
        try:
            waiting.request("GET", "/AA")
            raise Failure("it was let in")
        except Closed:
            pass
