# Protocol versions and cipher suites, and what a peer hears that has proven no identity.
# SPDX-License-Identifier: GPL-3.0-or-later
import os

from lib import DEV1, Sagate, check, equal, make_certificate, need, openssl_certificate


def complete_4107(answer, rqi):
    equal((answer.status, answer.rsc, answer.header("X-M2M-RI")), (403, 4107, rqi))
    check(answer.header("Content-Length") is not None or answer.body, "no length")


def test_certificate_curl(t):
    need("curl")
    s = Sagate(t)
    for version in (["--tls-max", "1.2"], ["--tlsv1.3"]):
        headers = ["X-M2M-Origin: Cdev1", "X-M2M-RI: cert", "X-M2M-RVI: 3"]
        complete_4107(s.curl(*version, headers=headers), "cert")
        complete_4107(s.curl(*version, "-H", "Content-Type: application/json;ty=2", "-d",
                             '{"m2m:ae":{"api":"Nx","rr":false}}',
                             headers=["X-M2M-RI: reg"]), "reg")
    equal(s.cse.records(), [])
    check(s.metric("refusals_total", reason="association_required") >= 4, "refusals are not counted")


def test_certificate_suites(t):
    s = Sagate(t)
    for version, cipher in (("-tls1_2", "ECDHE-ECDSA-AES128-SHA256"), ("-tls1_2", "ECDHE-ECDSA-AES128-GCM-SHA256"),
                            ("-tls1_2", "ECDHE-ECDSA-AES128-CCM"), ("-tls1_3", "TLS_AES_128_GCM_SHA256"),
                            ("-tls1_3", "TLS_AES_128_CCM_SHA256"), ("-tls1_3", "TLS_CHACHA20_POLY1305_SHA256")):
        with openssl_certificate(t, s.tls_port, version, cipher) as stream:
            for rqi in ("one", "two"):  # the connection stays
                complete_4107(stream.request("GET", "/cse-in", origin="Cdev1", rqi=rqi), rqi)
    equal(s.cse.records(), [])


def test_psk_suites(t):
    s = Sagate(t)
    for cipher in ("PSK-AES128-CBC-SHA256", "PSK-AES128-GCM-SHA256", "PSK-AES128-CCM"):
        with s.tls(DEV1, cipher=cipher) as stream:
            answer = stream.request("GET", "/cse-in", origin="Cdev1", rqi=cipher)
            equal((answer.rsc, answer.json["m2m:cb"]["csi"]), (2000, "/id-in"), cipher)
    equal(len(s.cse.records()), 3)


def test_dtls_suites(t):
    s = Sagate(t)
    for cipher in ("PSK-AES128-CCM8", "PSK-AES128-GCM-SHA256"):
        with s.dtls(DEV1, cipher=cipher) as client:
            answer = client.request("get", "cse-in", origin="Cdev1", rqi=cipher)
            check(answer is not None, f"no answer with {cipher}")
            equal((answer.rsc, answer.rqi), (2000, cipher))


def test_psk_tls13(t):
    s = Sagate(t)
    with s.tls(DEV1, version="-tls1_3", cipher="TLS_AES_128_GCM_SHA256") as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)


def test_version_limits(t):
    s = Sagate(t, tls={"version_max": "1.2"})
    with openssl_certificate(t, s.tls_port, "-tls1_3") as stream:
        check(stream.closed(), "TLS 1.3 on a listener that ends at 1.2")
    with openssl_certificate(t, s.tls_port, "-tls1_2") as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 4107)
    with openssl_certificate(t, s.tls_port, "-tls1_1", extra=["-cipher", "ALL:@SECLEVEL=0"]) as stream:
        check(stream.closed(), "TLS 1.1 is accepted")


def test_server_name_selects_the_certificate(t):
    s = Sagate(t, start=False)
    chain, key = make_certificate(s.dir, "other", "other.example")
    s.settings["certificates"].append({"name": "other", "chain_file": str(chain), "key_file": str(key),
                                       "server_names": ["other.example"]})
    s.settings["listeners"][1]["certificates"] = ["server", "other"]
    s.settings["listeners"][1]["unknown_server_name"] = "refuse"
    s.write()
    s.start()

    def subject(name):
        done = t.run(["openssl", "s_client", "-connect", f"127.0.0.1:{s.tls_port}", "-servername", name], input=b"")
        return done.stdout.decode()

    check("CN = cse.example" in subject("cse.example"), "the first certificate")
    check("CN = other.example" in subject("other.example"), "the second certificate")
    check("CN = " not in subject("third.example"), "an unknown server name is served")


def test_kernel_tls_setting(t):
    s = Sagate(t, overrides={"process": {"kernel_tls": "on"}}, start=False)
    checked = t.run([t.program("sagate"), "-t", "-c", s.conf])
    said = (checked.stdout + checked.stderr).decode()
    if os.path.exists("/proc/net/tls_stat"):  # what there is to be seen then is in tests/kernel
        equal(checked.returncode, 0, said)
    else:
        check(checked.returncode != 0 and 'process.kernel_tls is "on", but this kernel offers no TLS' in said, said)
    for mode in ("auto", "off"):
        s.settings["process"]["kernel_tls"] = mode
        s.write()
        s.start() if mode == "auto" else s.restart()
        with s.tls(DEV1, version="-tls1_3", cipher="TLS_AES_128_GCM_SHA256") as stream:
            equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000, mode)
    equal(s.process.log().count("data: kernel TLS: "), 1, "one line, of the start with auto")
