# Session tickets: TLS sessions resumed by OpenSSL and GnuTLS, DTLS sessions by wolfSSL, and what a ticket is not good for.
# SPDX-License-Identifier: GPL-3.0-or-later
import contextlib
import os
import signal

from clients import Closed, Timeout
from lib import Credential, DEV1, DEV2, Sagate, check, equal, gnutls_psk, need, openssl_certificate
from peers import Row, coap_answers_in, coap_request, openssl_argv, openssl_once, wolfssl_client

SUITES = (("-tls1_2", "PSK-AES128-GCM-SHA256"), ("-tls1_2", "PSK-AES128-CBC-SHA256"),
          ("-tls1_3", "TLS_AES_128_GCM_SHA256"))
DTLS_SUITES = (("DTLS1.2", "PSK-AES128-CCM-8"), ("DTLS1.2", "PSK-AES128-GCM-SHA256"),
               ("DTLS1.3", "TLS13-AES128-GCM-SHA256"))


def resumed(s):
    return int(s.metric("handshakes_resumed_total"))


def who(stream, origin="Cdev1", rqi="use"):
    return stream.request("GET", "/cse-in", origin=origin, rqi=rqi).rsc


def keep_session(s, t, version, cipher, credential=DEV1, origin="Cdev1"):
    session = t.dir / f"{version}-{cipher}.session"
    with s.tls(credential, version=version, cipher=cipher, extra=["-sess_out", str(session)]) as stream:
        equal(who(stream, origin), 2000, "first")
    check(session.exists(), "no session was kept")
    return ["-sess_in", str(session)]


def test_openssl_psk(t):
    s = Sagate(t)
    for count, (version, cipher) in enumerate(SUITES, 1):
        use = keep_session(s, t, version, cipher)
        with s.tls(DEV1, version=version, cipher=cipher, extra=use) as stream:
            equal(who(stream), 2000, f"resumed {cipher}")
            equal(who(stream, "Cdev2"), 4106, "another's originator after resumption")
            listed = s.ctl("associations", "list")["associations"]
            equal([(a["credential_id"], a["framework"].lower()) for a in listed], [("12-dev1@sp.example", "psk")])
        equal(resumed(s), count, cipher)


def test_openssl_certificate(t):
    s = Sagate(t)
    for count, version in enumerate(("-tls1_2", "-tls1_3"), 1):
        session = str(t.dir / f"{version}.session")
        for extra in (["-sess_out", session], ["-sess_in", session]):
            with openssl_certificate(t, s.tls_port, version, extra=extra) as stream:
                equal(who(stream), 4107, version)
        equal(resumed(s), count, version)


def test_gnutls(t):
    need("gnutls-cli")
    s = Sagate(t)
    for count, version in enumerate(("1.2", "1.3"), 1):
        kx = "+PSK" if version == "1.2" else "+DHE-PSK:+PSK:+GROUP-ALL"
        with gnutls_psk(t, s.tls_port, DEV1, f"NORMAL:-KX-ALL:{kx}:-VERS-ALL:+VERS-TLS{version}",
                        ["--resume", "--waitresumption"]) as stream:
            equal(who(stream), 2000, version)
        equal(resumed(s), count, version)


def test_removed_identity(t):
    s = Sagate(t)
    for version, cipher in SUITES:
        new = Credential("new@sp.example", "key-of-the-new-identity", ["Cnew"])
        s.command("identities add", identity=new.identity, key_hex=new.hex, ae_ids=["Cnew"])
        use = keep_session(s, t, version, cipher, new, "Cnew")
        s.ctl("identities", "remove", new.identity)
        with s.tls(new, version=version, cipher=cipher, extra=use) as stream:
            try:
                check(who(stream, "Cnew") != 2000, "a removed identity resumes")
            except AssertionError as closed:
                check("closed" in str(closed) or "ended" in str(closed), closed)
        # The session is no way around another key either.
        with s.tls(DEV2, version=version, cipher=cipher, extra=use) as stream:
            equal((who(stream, "Cdev2"), who(stream, "Cnew")), (2000, 4106), cipher)
    equal(resumed(s), 0)


def test_replaced_key(t):
    """Who has the old key is out, whatever ticket it has kept."""
    s = Sagate(t)
    for version, cipher in SUITES:
        old = Credential("new@sp.example", "key-that-was-lost", ["Cnew"])
        new = Credential("new@sp.example", "key-in-its-place", ["Cnew"])
        s.command("identities add", identity=old.identity, key_hex=old.hex, ae_ids=["Cnew"])
        use = keep_session(s, t, version, cipher, old, "Cnew")
        s.ctl("identities", "remove", old.identity)
        s.command("identities add", identity=new.identity, key_hex=new.hex, ae_ids=["Cnew"])
        with s.tls(old, version=version, cipher=cipher, extra=use) as stream:
            try:
                check(who(stream, "Cnew") != 2000, "the old key resumes")
            except AssertionError as closed:
                check("closed" in str(closed) or "ended" in str(closed), closed)
        with s.tls(new, version=version, cipher=cipher, extra=use) as stream:
            equal(who(stream, "Cnew"), 2000, cipher)
        s.ctl("identities", "remove", new.identity)
    equal(resumed(s), 0)


def test_killed_data_process(t):
    """The next one takes the tickets of the one that was killed."""
    s = Sagate(t, overrides={"process": {"workers": 2}})
    sessions = [keep_session(s, t, version, cipher) for version, cipher in SUITES]
    before = s.pids()["data"]
    os.kill(before, signal.SIGKILL)
    for count, ((version, cipher), use) in enumerate(zip(SUITES, sessions), 1):
        with s.tls(DEV1, version=version, cipher=cipher, extra=use) as stream:
            equal(who(stream), 2000, f"resumed {cipher}")
        equal(resumed(s), count, cipher)
    check(s.pids()["data"] != before, "the data process was not killed")


def test_next_process_and_off(t):
    s = Sagate(t, overrides={"process": {"workers": 2}})
    use = keep_session(s, t, *SUITES[2])
    for _ in range(6):  # whichever worker gets it
        with s.tls(DEV1, version=SUITES[2][0], cipher=SUITES[2][1], extra=use) as stream:
            equal(who(stream), 2000)
    equal(resumed(s), 6)
    s.settings["limits"] = {"session_ticket_seconds": 0}
    s.write()
    s.ctl("reload")
    with s.tls(DEV1, version=SUITES[2][0], cipher=SUITES[2][1], extra=use) as stream:
        equal(who(stream), 2000, "in full")
    equal(resumed(s), 6)


def ask(client, origin="Cdev1", seconds=8):
    answer = client.request("get", "cse-in", origin=origin, rqi="use", seconds=seconds)
    return answer and answer.rsc


def test_dtls(t):
    s = Sagate(t, overrides={"process": {"workers": 2}})
    count = 0
    for version, suite in DTLS_SUITES:
        with contextlib.closing(wolfssl_client(t, s, Row("wolfSSL", version, suite, DEV1, resume=True))) as client:
            equal(ask(client), 2000, f"first {suite}")
            for _ in range(4):  # from a new port each time, and so to whichever worker gets it
                client.send(b"!reconnect")
                equal(ask(client), 2000, f"resumed {suite}")
                count += 1
                equal(resumed(s), count, suite)
            equal(ask(client, "Cdev2"), 4106, "another's originator after resumption")
            listed = s.ctl("associations", "list")["associations"]
            equal([(a["credential_id"], a["framework"].lower()) for a in listed], [("12-dev1@sp.example", "psk")])


def test_dtls_removed_identity(t):
    need("openssl")
    s = Sagate(t)
    for number, suite in enumerate(("PSK-AES128-CCM8", "PSK-AES128-GCM-SHA256")):
        new = Credential("new@sp.example", "key-of-the-new-identity", ["Cnew"])
        session, request = t.dir / f"{suite}.session", coap_request(f"{number}.removed")
        argv = openssl_argv(s, Row("OpenSSL", "DTLS1.2", suite, new)) + ["-nocommands"]
        s.command("identities add", identity=new.identity, key_hex=new.hex, ae_ids=["Cnew"])
        for extra in (["-sess_out", session], ["-sess_in", session]):
            openssl_once(t, argv + extra, request, lambda out: coap_answers_in(out, request))
        equal(resumed(s), number + 1, suite)
        s.ctl("identities", "remove", new.identity)
        try:
            openssl_once(t, argv + ["-sess_in", session], request, lambda out: coap_answers_in(out, request))
            raise AssertionError("a removed identity resumes")
        except (Closed, Timeout):
            pass
        equal(resumed(s), number + 1, suite)


def test_dtls_off(t):
    s = Sagate(t)
    s.settings["limits"] = {"session_ticket_seconds": 0}
    s.write()
    with contextlib.closing(wolfssl_client(t, s, Row("wolfSSL", *DTLS_SUITES[0], DEV1, resume=True))) as client:
        equal(ask(client), 2000)
        s.ctl("reload")
        client.send(b"!reconnect")
        equal(ask(client), 2000, "in full")
    equal(resumed(s), 0)
