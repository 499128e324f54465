# Devices with certificates (TS-0003 8.2.2.2): OpenSSL, GnuTLS and wolfSSL over TLS and DTLS; who is let in, and as whom.
# SPDX-License-Identifier: GPL-3.0-or-later
import contextlib
import subprocess
import time

from clients import ProgramCoap, pipe_client
from lib import DEV1, Failure, Sagate, check, equal, need, wait_for

CA_CONF = """[ca]
default_ca = d
[d]
database = index.txt
new_certs_dir = .
serial = serial
policy = p
unique_subject = no
[p]
commonName = supplied
"""
AE = "URI:m2m://sp.example/id-in/Cae"
WOLFSSL_SUITES = {"1.2": "ECDHE-ECDSA-AES128-GCM-SHA256", "1.3": "TLS13-AES128-GCM-SHA256"}


class Authority:
    """A certification authority of its own folder, and what it issues: (certificate, key)."""

    def __init__(self, t, name="ca"):
        self.dir = t.dir / name
        self.dir.mkdir()
        (self.dir / "ca.cnf").write_text(CA_CONF)
        (self.dir / "index.txt").write_text("")
        (self.dir / "serial").write_text("1000\n")
        self.run("req", "-x509", *self.new_key("ca"), "-days", "30", "-subj", f"/CN={name}", "-out", "ca.pem")
        self.chain = self.dir / "ca.pem"

    def run(self, *argv):
        subprocess.run(["openssl", *argv], cwd=self.dir, check=True, capture_output=True)

    def new_key(self, name):
        return "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key"

    def issue(self, name, subject, start=-3600, end=86400):
        """start, end: seconds from now."""
        self.run("req", "-new", *self.new_key(name), "-subj", f"/CN={name}", "-out", f"{name}.csr")
        (self.dir / f"{name}.ext").write_text(f"keyUsage = critical, digitalSignature\nsubjectAltName = {subject}\n")
        stamp = [time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + at)) for at in (start, end)]
        self.run("ca", "-batch", "-config", "ca.cnf", "-in", f"{name}.csr", "-out", f"{name}.pem", "-cert", "ca.pem",
                 "-keyfile", "ca.key", "-md", "sha256", "-notext", "-extfile", f"{name}.ext", "-startdate", stamp[0],
                 "-enddate", stamp[1])
        return self.dir / f"{name}.pem", self.dir / f"{name}.key"


def sagate(t, authority, how="required"):
    asks = {"certificates": ["server"], "client_certificates": how, "trust_anchors": ["devices"]}
    return Sagate(t, overrides={"trust_anchors": [{"name": "devices", "file": str(authority.chain)}]}, dtls=asks,
                  tls=asks)


def openssl(t, s, made, version, extra=()):
    need("openssl")
    argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{s.dtls_port if 'dtls' in version else s.tls_port}",
            version, "-quiet", *extra]
    if made:
        argv += ["-cert", made[0], "-key", made[1]]
    if "dtls" in version:
        return ProgramCoap(t, argv + ["-timeout"], "openssl")
    return pipe_client(t, argv, "openssl")


def gnutls(t, s, made, version):
    need("gnutls-cli")
    return pipe_client(t, ["gnutls-cli", "--logfile", t.dir / "gnutls-cli.info", "--no-ca-verification", "-p",
                           s.tls_port, "--x509certfile", made[0], "--x509keyfile", made[1], "--priority",
                           f"NORMAL:-VERS-ALL:+VERS-TLS{version}", "127.0.0.1"], "gnutls-cli")


def wolfssl(t, s, made, version, dtls):
    argv = [t.program("sagate-wolfssl-peer"), "--version", version, "--suite", WOLFSSL_SUITES[version], "--host",
            "127.0.0.1", "--port", s.dtls_port if dtls else s.tls_port, "--ca", s.chain, "--server-name", "cse.example",
            "--certificate", made[0], "--key-file", made[1]]
    return ProgramCoap(t, argv + ["--dtls"], "wolfssl") if dtls else pipe_client(t, argv, "wolfssl")


def rsc(client, origin):
    if isinstance(client, ProgramCoap):
        answer = client.request("get", "cse-in", origin=origin)
        check(answer is not None, "no answer")
        return answer.rsc
    return client.request("GET", "/cse-in", origin=origin).rsc


def is_let_in_as_itself(s, client, what):
    with client:
        equal((rsc(client, "Cae"), rsc(client, "Cdev1")), (2000, 4106), what)
        listed = [a["credential_id"][:3] for a in s.ctl("associations", "list")["associations"]
                  if a["framework"] == "certificate"]
        equal(set(listed), {"33-"}, what)


def is_not_let_in(client, what):
    try:
        with client:
            answer = rsc(client, "Cae")
    except (AssertionError, OSError):
        return  # closed
    raise Failure(f"{what}: {answer}")


def test_tls(t):
    authority = Authority(t)
    s = sagate(t, authority)
    made = authority.issue("ae", AE)
    for version in ("-tls1_2", "-tls1_3"):
        is_let_in_as_itself(s, openssl(t, s, made, version), f"OpenSSL {version}")
    for version in ("1.2", "1.3"):
        is_let_in_as_itself(s, gnutls(t, s, made, version), f"GnuTLS {version}")
        is_let_in_as_itself(s, wolfssl(t, s, made, version, False), f"wolfSSL TLS {version}")
    equal(int(s.metric("handshakes_total", result="ok", framework="certificate")), 6)
    seen = s.cse.records()[-1]
    equal((seen.header("X-SAGate-Framework"), seen.header("X-SAGate-Originator")),
          (["certificate"], ["//sp.example/id-in/Cae"]))


def test_dtls(t):
    authority = Authority(t)
    s = sagate(t, authority)
    made = authority.issue("ae", AE)
    is_let_in_as_itself(s, openssl(t, s, made, "-dtls1_2"), "OpenSSL")
    for version in ("1.2", "1.3"):
        is_let_in_as_itself(s, wolfssl(t, s, made, version, True), f"wolfSSL DTLS {version}")
    equal(int(s.metric("handshakes_total", result="ok", framework="certificate")), 3)


def test_refused(t):
    authority, other = Authority(t), Authority(t, "other")
    s = sagate(t, authority)
    refused = {"expired": authority.issue("old", AE, -7200, -3600), "not valid yet": authority.issue("new", AE, 3600),
               "foreign": other.issue("ae", AE), "none": None}
    for what, made in refused.items():
        for version in ("-tls1_2", "-tls1_3", "-dtls1_2"):
            is_not_let_in(openssl(t, s, made, version), f"{what} {version}")
    equal(int(s.metric("handshakes_total", result="credential", framework="certificate")), 12)
    equal(s.cse.records(), [])
    # A key still does.
    with s.tls(DEV1) as stream:
        equal(rsc(stream, "Cdev1"), 2000)
    with s.dtls(DEV1) as client:
        equal(rsc(client, "Cdev1"), 2000)


def test_optional(t):
    authority = Authority(t)
    s = sagate(t, authority, "optional")
    nobody = authority.issue("nobody", "DNS:thing.sp.example")
    for what, made in (("none", None), ("nobody", nobody)):
        for version in ("-tls1_2", "-tls1_3", "-dtls1_2"):
            with openssl(t, s, made, version) as client:
                equal(rsc(client, "Cae"), 4107, f"{what} {version}")
    is_let_in_as_itself(s, openssl(t, s, authority.issue("ae", AE), "-tls1_3"), "with one")


def test_cse(t):
    authority = Authority(t)
    s = sagate(t, authority)
    with openssl(t, s, authority.issue("mn1", "DNS:mn1.id-in.sp.example"), "-tls1_3") as stream:
        equal((rsc(stream, "/mn1"), rsc(stream, "Cae")), (2000, 4106))


def test_ends_with_its_certificate(t):
    authority = Authority(t)
    s = sagate(t, authority)
    made = authority.issue("ae", AE, end=6)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(openssl(t, s, made, version)) for version in ("-tls1_3", "-dtls1_2")]
        for client in clients:
            equal(rsc(client, "Cae"), 2000)
        equal(len(s.ctl("associations", "list")["associations"]), 2)
        wait_for(lambda: not s.ctl("associations", "list")["associations"], "both end", 12)
    equal(int(s.metric("associations_ended_total", reason="revoked")), 2)


def test_session_is_no_certificate(t):
    """What OpenSSL keeps of an association with a certificate is of no use without it."""
    authority = Authority(t)
    s = sagate(t, authority, "optional")
    made = authority.issue("ae", AE)
    for version in ("-tls1_2", "-tls1_3"):
        session = str(t.dir / f"{version}.session")
        with openssl(t, s, made, version, ["-sess_out", session]) as stream:
            equal(rsc(stream, "Cae"), 2000)
        with openssl(t, s, None, version, ["-sess_in", session]) as stream:
            equal(rsc(stream, "Cae"), 4107, version)
    equal(int(s.metric("handshakes_resumed_total")), 0)


def test_reload(t):
    authority, other = Authority(t), Authority(t, "other")
    s = sagate(t, authority)
    with openssl(t, s, authority.issue("ae", AE), "-dtls1_2") as client:
        equal(rsc(client, "Cae"), 2000)
        s.settings["trust_anchors"][0]["file"] = str(other.chain)
        s.write()
        s.ctl("reload")
        equal(rsc(client, "Cae"), 2000, "the association goes on")
        is_not_let_in(openssl(t, s, authority.issue("late", AE), "-tls1_3"), "of the former anchor")
        with openssl(t, s, other.issue("ae", AE), "-tls1_3") as stream:
            equal(rsc(stream, "Cae"), 2000, "of the new one")
    # A file that is no anchor leaves everything as it is.
    s.settings["trust_anchors"][0]["file"] = str(s.key)
    s.write()
    check("no usable PEM certificates" in s.ctl("reload", ok=False), "the reload is refused")
    with openssl(t, s, other.issue("again", AE), "-tls1_3") as stream:
        equal(rsc(stream, "Cae"), 2000)
