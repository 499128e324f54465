# Devices that are not wolfSSL on both ends: each client, version and suite that client and sagate have in common, with
# and without Connection ID, with and without resumption.
# SPDX-License-Identifier: GPL-3.0-or-later
import contextlib

from lib import DEV1, Failure, Sagate, Skip, check, equal
from peers import AVAILABLE, Row, ask, wolfssl_client

# --- The table. A suite that is missing for a client is one that it does not have. -----------------------------------

PSK_TLS12 = {
    "wolfSSL": ["ECDHE-PSK-AES128-GCM-SHA256", "ECDHE-PSK-AES128-CBC-SHA256", "PSK-AES128-GCM-SHA256", "PSK-AES128-CCM",
                "PSK-AES128-CCM-8", "PSK-AES128-CBC-SHA256"],
    "OpenSSL": ["ECDHE-PSK-AES128-CBC-SHA256", "PSK-AES128-GCM-SHA256", "PSK-AES128-CCM", "PSK-AES128-CCM8",
                "PSK-AES128-CBC-SHA256"],
    # Without "ECDHE-PSK AES-128-CBC SHA256": gnutls-cli 3.7 ends with a segmentation fault after such a handshake, with
    # any server.
    "GnuTLS": ["PSK AES-128-GCM AEAD", "PSK AES-128-CCM AEAD", "PSK AES-128-CCM-8 AEAD", "PSK AES-128-CBC SHA256"],
    "Mbed TLS": ["TLS-ECDHE-PSK-WITH-AES-128-CBC-SHA256", "TLS-PSK-WITH-AES-128-GCM-SHA256", "TLS-PSK-WITH-AES-128-CCM",
                 "TLS-PSK-WITH-AES-128-CCM-8", "TLS-PSK-WITH-AES-128-CBC-SHA256"],
}
ECDSA_TLS12 = {
    "wolfSSL": ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-CCM", "ECDHE-ECDSA-AES128-CCM-8",
                "ECDHE-ECDSA-AES128-SHA256"],
    "OpenSSL": ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-CCM", "ECDHE-ECDSA-AES128-CCM8",
                "ECDHE-ECDSA-AES128-SHA256"],
    "GnuTLS": ["ECDHE-ECDSA AES-128-GCM AEAD", "ECDHE-ECDSA AES-128-CCM AEAD", "ECDHE-ECDSA AES-128-CCM-8 AEAD",
               "ECDHE-ECDSA AES-128-CBC SHA256"],
    "Mbed TLS": ["TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256", "TLS-ECDHE-ECDSA-WITH-AES-128-CCM",
                 "TLS-ECDHE-ECDSA-WITH-AES-128-CCM-8", "TLS-ECDHE-ECDSA-WITH-AES-128-CBC-SHA256"],
}
# With an external key only suites of SHA-256: the other libraries bind such a key to that hash (RFC 8446 4.2.11).
PSK_TLS13 = {
    "wolfSSL": ["TLS13-AES128-GCM-SHA256", "TLS13-CHACHA20-POLY1305-SHA256", "TLS13-AES128-CCM-SHA256",
                "TLS13-AES128-CCM-8-SHA256"],
    "OpenSSL": ["TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_CCM_SHA256",
                "TLS_AES_128_CCM_8_SHA256"],
    "GnuTLS": ["ECDHE-PSK AES-128-GCM AEAD", "ECDHE-PSK CHACHA20-POLY1305 AEAD", "ECDHE-PSK AES-128-CCM AEAD",
               "ECDHE-PSK AES-128-CCM-8 AEAD"],
    "Mbed TLS": ["TLS1-3-AES-128-GCM-SHA256", "TLS1-3-CHACHA20-POLY1305-SHA256", "TLS1-3-AES-128-CCM-SHA256",
                 "TLS1-3-AES-128-CCM-8-SHA256"],
}
# Without (EC)DHE; s_client of OpenSSL 3.0 cannot be told to offer nothing else.
PSK_ONLY_TLS13 = {"wolfSSL": "TLS13-AES128-GCM-SHA256", "GnuTLS": "PSK AES-128-GCM AEAD",
                  "Mbed TLS": "TLS1-3-AES-128-GCM-SHA256"}
CERTIFICATE_TLS13 = {
    "wolfSSL": PSK_TLS13["wolfSSL"] + ["TLS13-AES256-GCM-SHA384"],
    "OpenSSL": PSK_TLS13["OpenSSL"] + ["TLS_AES_256_GCM_SHA384"],
    "GnuTLS": [f"ECDHE-ECDSA {cipher} AEAD" for cipher in
               ("AES-128-GCM", "CHACHA20-POLY1305", "AES-128-CCM", "AES-128-CCM-8", "AES-256-GCM")],
    "Mbed TLS": PSK_TLS13["Mbed TLS"] + ["TLS1-3-AES-256-GCM-SHA384"],
}


def of_dtls12(suites):
    """The suites of a list that sagate offers over DTLS 1.2: AES-128-GCM and AES-128-CCM-8, without ECDHE-PSK."""
    return [suite for suite in suites if "ECDHE-PSK" not in suite and
            ("GCM" in suite or "CCM-8" in suite or "CCM8" in suite)]


# Only wolfSSL's and Mbed TLS's clients have Connection IDs, and only wolfSSL's has DTLS 1.3. wolfSSL takes at most 10
# bytes: to a client that wants more sagate answers without the extension.
CIDS = {"wolfSSL": [b"", b"\x0a\x1b\x2c\x3d", bytes(range(1, 11))],
        "Mbed TLS": [b"", b"\x0a\x1b\x2c\x3d", bytes(range(1, 17))]}
CID_LONGEST = 16
CONNECTION_ID_BYTES = 8  # of those that sagate issues, as long as the configuration says nothing else


def rows_of(client):
    for suites, credential in ((PSK_TLS12, DEV1), (ECDSA_TLS12, None)):
        for suite in suites[client]:
            yield Row(client, "TLS1.2", suite, credential)
        for suite in of_dtls12(suites[client]):
            yield Row(client, "DTLS1.2", suite, credential)
            for cid in CIDS.get(client, []):
                yield Row(client, "DTLS1.2", suite, credential, cid=cid, needs=["cid"])
    for suites, credential in ((PSK_TLS13, DEV1), (CERTIFICATE_TLS13, None)):
        for suite in suites[client]:
            yield Row(client, "TLS1.3", suite, credential)
            if client == "wolfSSL":
                yield Row(client, "DTLS1.3", suite, credential, needs=["dtls13"])
                for cid in CIDS[client]:
                    yield Row(client, "DTLS1.3", suite, credential, cid=cid, needs=["dtls13", "cid"])
    if client in PSK_ONLY_TLS13:
        yield Row(client, "TLS1.3", PSK_ONLY_TLS13[client], DEV1, ecdhe=False)
    if client == "wolfSSL":
        yield Row(client, "DTLS1.3", PSK_ONLY_TLS13[client], DEV1, ecdhe=False, needs=["dtls13"])
        for suite, credential in ((PSK_TLS13[client][0], DEV1), (CERTIFICATE_TLS13[client][0], None)):
            for cid in (None, CIDS[client][1]):
                yield Row(client, "DTLS1.3", suite, credential, cid=cid, resume=True,
                          needs=["dtls13", "dtls_tickets", "cid"])
    # Resumption: tickets (RFC 5077 and RFC 8446 4.6.1).
    psk12 = of_dtls12(PSK_TLS12[client])[0]
    yield Row(client, "TLS1.2", psk12, DEV1, resume=True, needs=["tickets"])
    for suite, credential in ((psk12, DEV1), (of_dtls12(ECDSA_TLS12[client])[0], None)):
        for cid in [None] + CIDS.get(client, [])[1:2]:
            yield Row(client, "DTLS1.2", suite, credential, cid=cid, resume=True, needs=["dtls_tickets", "cid"])
    yield Row(client, "TLS1.3", PSK_TLS13[client][0], DEV1, resume=True, needs=["tickets"])
    yield Row(client, "TLS1.2", ECDSA_TLS12[client][0], resume=True, needs=["tickets"])
    yield Row(client, "TLS1.3", CERTIFICATE_TLS13[client][0], resume=True, needs=["tickets"])


# ---------------------------------------------------------------------------------------------------------------------


def run_row(t, s, number, row):
    rqis = [f"{number}.one", f"{number}.two"]
    resumed = s.metric("handshakes_resumed_total")
    told = ask(t, s, row, rqis)
    # Mbed TLS's client repeats its one request; over TLS without resumption it has only one.
    if row.client == "Mbed TLS":
        rqis = [rqis[0]] * (2 if row.dtls or row.resume else 1)
    expected = 2000 if row.credential else 4107  # without an identity: the originator is not proven
    equal(told.answers, [(expected, rqi) for rqi in rqis], "answers")
    if told.cid_sent is not None:
        issued = row.cid is not None and len(row.cid) <= CID_LONGEST
        equal(told.cid_sent, CONNECTION_ID_BYTES if issued else 0, "length of the Connection ID that the client writes")
    if told.resumed is not None:
        equal(told.resumed, row.resume, "resumed")
    equal(s.metric("handshakes_resumed_total") - resumed, int(row.resume), "resumed, as sagate counts")
    seen = [record["from"] for rqi in dict.fromkeys(rqis) for record in s.cse.records(rqi=rqi)]
    if row.credential:
        check(seen and set(seen) == {"Cdev1"}, f"originators at the CSE: {seen}")
    else:
        equal(seen, [], "requests at the CSE")


def run_rows(t, client, version):
    rows = [row for row in rows_of(client) if row.version == version and row.needs <= AVAILABLE]
    if not rows:
        raise Skip("sagate does not have this yet")
    s = Sagate(t, dtls={"certificates": ["server"]})
    failures = []
    for number, row in enumerate(rows):
        try:
            run_row(t, s, number, row)
            print("ok", row)
        except Failure as failure:
            failures.append(f"{row}: {failure}")
    check(not failures, "\n".join(failures))
    print(f"{len(rows)} rows")


def test_wolfssl_dtls12(t):
    run_rows(t, "wolfSSL", "DTLS1.2")


def test_wolfssl_dtls13(t):
    run_rows(t, "wolfSSL", "DTLS1.3")


def test_wolfssl_tls12(t):
    run_rows(t, "wolfSSL", "TLS1.2")


def test_wolfssl_tls13(t):
    run_rows(t, "wolfSSL", "TLS1.3")


def test_openssl_dtls12(t):
    run_rows(t, "OpenSSL", "DTLS1.2")


def test_openssl_tls12(t):
    run_rows(t, "OpenSSL", "TLS1.2")


def test_openssl_tls13(t):
    run_rows(t, "OpenSSL", "TLS1.3")


def test_gnutls_dtls12(t):
    run_rows(t, "GnuTLS", "DTLS1.2")


def test_gnutls_tls12(t):
    run_rows(t, "GnuTLS", "TLS1.2")


def test_gnutls_tls13(t):
    run_rows(t, "GnuTLS", "TLS1.3")


def test_mbedtls_dtls12(t):
    run_rows(t, "Mbed TLS", "DTLS1.2")


def test_mbedtls_tls12(t):
    run_rows(t, "Mbed TLS", "TLS1.2")


def test_mbedtls_tls13(t):
    run_rows(t, "Mbed TLS", "TLS1.3")


def key_updates(t, version):
    """The client changes its keys and asks for sagate's to be changed (RFC 8446 4.6.3, RFC 9147 8)."""
    s = Sagate(t)
    for suite in PSK_TLS13["wolfSSL"]:
        with contextlib.closing(wolfssl_client(t, s, Row("wolfSSL", version, suite, DEV1))) as client:
            for n in range(4):
                equal(client.answer(f"{suite}.{n}"), (2000, f"{suite}.{n}"))
                client.order(b"!rekey", "rekeyed")
            equal(client.answer("last"), (2000, "last"))
    equal(s.metric("handshakes_total", result="ok"), len(PSK_TLS13["wolfSSL"]))


def test_key_updates_tls13(t):
    key_updates(t, "TLS1.3")


def test_key_updates_dtls13(t):
    if "dtls13" not in AVAILABLE:
        raise Skip("sagate does not have this yet")
    key_updates(t, "DTLS1.3")
