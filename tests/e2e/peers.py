# Clients of other (D)TLS libraries, driven alike: a Row says what to offer, ask() does the requests and tells what came.
# SPDX-License-Identifier: GPL-3.0-or-later
import contextlib
import pathlib
import re
import subprocess
import time

import coap as coaplib
from clients import CoapEndpoint, HttpStream, ProgramCoap, m2m_request, parse_response, pipe_client
from harness import Failure, Skip, check, need, wait_for

# What sagate has; rows and tests that need something else are left out.
AVAILABLE = {"cid", "dtls13", "dtls_tickets", "tickets"}

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


class Row:
    """One line of the table: a client, a version, a suite, a credential (None: the peer knows only the certificate of
    sagate), the Connection ID that the client wants to be sent (None: no extension), whether the second request goes
    over a resumed session, and whether a key of version 1.3 is used together with ECDHE (psk_dhe_ke) or alone (psk_ke).
    `needs` names features without which the line is left out."""

    def __init__(self, client, version, suite, credential=None, cid=None, resume=False, ecdhe=True, needs=()):
        self.client, self.version, self.suite, self.credential = client, version, suite, credential
        self.cid, self.resume, self.ecdhe, self.needs = cid, resume, ecdhe, set(needs)

    @property
    def dtls(self):
        return self.version.startswith("DTLS")

    def __str__(self):
        words = [self.client, self.version, self.suite, "psk" if self.credential else "certificate"]
        if self.cid is not None:
            words.append(f"cid={self.cid.hex() or 'empty'}")
        return " ".join(words + ["psk_ke"] * (not self.ecdhe) + ["resumed"] * self.resume)


class Told:
    """What came of a row: the answers as (response status code, request identifier), the length of the Connection ID
    that the client writes into its records (None: it does not tell), and whether the session was resumed."""

    def __init__(self, answers, cid_sent=None, resumed=None):
        self.answers, self.cid_sent, self.resumed = answers, cid_sent, resumed


def setup_print(name):
    """The folder of something that scripts/setup --tests builds."""
    done = subprocess.run([ROOT / "scripts" / "setup", "--print", name], capture_output=True)
    if done.returncode != 0:
        raise Skip(done.stderr.decode().strip())
    return pathlib.Path(done.stdout.decode().strip())


# --- Requests and answers that every client carries ------------------------------------------------------------------


def http_request(rqi, last):
    return m2m_request("GET", "/cse-in", origin="Cdev1", rqi=rqi, headers=["Connection: close"] if last else [])


def http_answer(answer):
    return answer.rsc, answer.header("X-M2M-RI")


_builder = CoapEndpoint()


def coap_request(rqi):
    """A datagram without a zero byte, for clients that take it from their command line."""
    while True:
        datagram = _builder.build("get", "cse-in", origin="Cdev1", rqi=rqi)
        if not set(datagram[2:8]) & set(b"\0\r\n"):
            return datagram


def coap_answer(answer):
    check(answer is not None, "no answer")
    return answer.rsc, answer.rqi


def coap_answers_in(output, datagram):
    """The answers to a request in what a program has printed, found by their message ID and token."""
    mark = datagram[2:8]
    found = []
    for match in re.finditer(rb"[\x60-\x6f][\x40-\xbf]" + re.escape(mark), output):
        try:
            found.append(coap_answer(coaplib.decode(output[match.start():])))
        except (ValueError, IndexError):
            pass
    return found


def over_stream(stream, rqis):
    with stream:
        return [http_answer(stream.request("GET", "/cse-in", origin="Cdev1", rqi=rqi)) for rqi in rqis]


def over_datagrams(client, rqis):
    with client:
        return [coap_answer(client.request("get", "cse-in", origin="Cdev1", rqi=rqi)) for rqi in rqis]


# --- wolfSSL ---------------------------------------------------------------------------------------------------------


def wolfssl_argv(t, s, row, host="127.0.0.1", port=None):
    argv = [t.program("sagate-wolfssl-peer"), "--version", row.version[-3:], "--suite", row.suite, "--host", host,
            "--port", port or (s.dtls_port if row.dtls else s.tls_port)]
    if row.dtls:
        argv.append("--dtls")
    if row.credential:
        argv += ["--identity", row.credential.identity, "--key", row.credential.hex]
    else:
        argv += ["--ca", s.chain, "--server-name", "cse.example"]
    if row.cid is not None:
        argv += ["--cid", row.cid.hex()]
    return argv + ["--tickets"] * row.resume + ["--no-ecdhe"] * (not row.ecdhe)


class WolfsslCoap(ProgramCoap):
    """wolfSSL's client over DTLS; prefix is for a command that runs it elsewhere."""

    def __init__(self, t, s, row, prefix=(), **kwargs):
        super().__init__(t, list(prefix) + wolfssl_argv(t, s, row, **kwargs), "wolfssl")


def connections(log, count):
    """The lines about the associations that the peer had."""
    lines = wait_for(lambda: len(found := re.findall(r"^connected (.*)$", log(), re.M)) >= count and found,
                     "the peer tells of its association")
    return [dict(re.findall(r"(\w+)=(\w+)", line)) for line in lines]


class WolfsslHttp:
    """wolfSSL's client over TLS."""

    def __init__(self, t, s, row):
        self.path = t.dir / "wolfssl.client.log"
        self.start = self.path.stat().st_size if self.path.exists() else 0
        self.stream = pipe_client(t, wolfssl_argv(t, s, row), "wolfssl")

    def told(self):
        return self.path.read_bytes()[self.start:].decode(errors="replace")

    def order(self, order, word):
        """Returns when the order is carried out, so that it cannot run into the next request."""
        count = self.told().count(word)
        self.stream.send(order)
        wait_for(lambda: self.told().count(word) > count, order.decode())

    def answer(self, rqi):
        return http_answer(self.stream.request("GET", "/cse-in", origin="Cdev1", rqi=rqi))

    def close(self):
        self.stream.close()


class WolfsslDatagrams(WolfsslCoap):
    """The same over DTLS."""

    def order(self, order, word):
        self.send(order)

    def answer(self, rqi):
        return coap_answer(self.request("get", "cse-in", origin="Cdev1", rqi=rqi))


def wolfssl_client(t, s, row):
    return (WolfsslDatagrams if row.dtls else WolfsslHttp)(t, s, row)


def wolfssl(t, s, row, rqis):
    answers, client = [], wolfssl_client(t, s, row)
    with contextlib.closing(client):
        for n, rqi in enumerate(rqis):
            if n == 1 and row.resume:
                client.order(b"!reconnect", "connected")
            answers.append(client.answer(rqi))
        told = connections(client.told, 1 + row.resume)
    return Told(answers, int(told[0]["cid_sent"]), told[-1]["resumed"] == "yes")


# --- OpenSSL ---------------------------------------------------------------------------------------------------------

OPENSSL_VERSIONS = {"DTLS1.2": "-dtls1_2", "TLS1.2": "-tls1_2", "TLS1.3": "-tls1_3"}


def openssl_argv(s, row):
    argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{s.dtls_port if row.dtls else s.tls_port}",
            OPENSSL_VERSIONS[row.version]]
    if row.version == "TLS1.3":
        argv += ["-ciphersuites", row.suite]
    else:
        argv += ["-cipher", f"{row.suite}:@SECLEVEL=0"]
    if row.credential:
        argv += ["-psk", row.credential.hex, "-psk_identity", row.credential.identity]
    else:
        argv += ["-servername", "cse.example", "-CAfile", s.chain, "-verify_return_error"]
    return argv


def openssl_once(t, argv, request, complete):
    """One association and one request, not quiet; returns all that the program has printed."""
    process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, bufsize=0)
    stream = HttpStream.of_pipe(process, "openssl")
    deadline = time.monotonic() + 15
    try:
        while b"Verify return code" not in stream.buffer:
            stream._more(deadline)
        stream.send(request)
        while not complete(stream.buffer):
            stream._more(deadline)
        return stream.buffer
    finally:
        stream.close()


def openssl_resumed(t, s, row, rqis):
    session, answers, output = t.dir / "openssl.session", [], b""
    for n, rqi in enumerate(rqis):
        argv = openssl_argv(s, row) + ["-sess_out" if n == 0 else "-sess_in", session, "-nocommands"]
        if row.dtls:
            datagram = coap_request(rqi)
            output = openssl_once(t, argv, datagram, lambda out, d=datagram: coap_answers_in(out, d))
            answers += coap_answers_in(output, datagram)[:1]
        else:
            output = openssl_once(t, argv, http_request(rqi, False), lambda out: b'm2m:' in out or b"X-M2M-RSC: 4107" in out)
            answers.append(http_answer(parse_response(output[output.index(b"HTTP/1.1 "):])))
    return Told(answers, resumed=b"\nReused, " in output)


def openssl(t, s, row, rqis):
    need("openssl")
    if row.resume:
        return openssl_resumed(t, s, row, rqis)
    argv = openssl_argv(s, row) + ["-quiet"]
    if row.dtls:
        return Told(over_datagrams(ProgramCoap(t, argv + ["-timeout"], "openssl"), rqis))
    return Told(over_stream(pipe_client(t, argv, "openssl"), rqis))


# --- GnuTLS ----------------------------------------------------------------------------------------------------------


class GnutlsCoap(ProgramCoap):
    """gnutls-cli writes each byte by itself, so a datagram is what comes without a pause."""

    def datagram(self, seconds):
        data = more = super().datagram(seconds)
        while more:
            more = super().datagram(0.2)
            data += more or b""
        return data


def gnutls(t, s, row, rqis):
    """row.suite is "KEY-EXCHANGE CIPHER MAC" in GnuTLS's words."""
    need("gnutls-cli")
    exchange, cipher, mac = row.suite.split()
    priority = (f"NORMAL:-VERS-ALL:+VERS-{row.version}:-KX-ALL:+{exchange}:-CIPHER-ALL:+{cipher}:-MAC-ALL:+{mac}:"
                "+SIGN-ECDSA-SHA256")
    info = t.dir / "gnutls-cli.info"
    info.unlink(missing_ok=True)
    argv = ["gnutls-cli", "--logfile", info, "-p", s.dtls_port if row.dtls else s.tls_port, "--priority", priority]
    if row.credential:
        argv += ["--pskusername", row.credential.identity, "--pskkey", row.credential.hex]
    else:
        argv += ["--x509cafile", s.chain, "--sni-hostname", "cse.example", "--verify-hostname", "cse.example"]
    if row.dtls:
        argv += ["--udp", "--mtu", "1400"]
    if row.resume:
        argv += ["--resume", "--waitresumption"]
    argv.append("127.0.0.1")
    if row.dtls:
        answers = over_datagrams(GnutlsCoap(t, argv, "gnutls"), rqis)
    else:
        answers = over_stream(pipe_client(t, argv, "gnutls"), rqis)
    return Told(answers, resumed="This is a resumed session" in info.read_text(errors="replace"))


# --- Mbed TLS --------------------------------------------------------------------------------------------------------


def mbedtls_argv(s, row, request, port=None, **options):
    """ssl_client2 as scripts/setup builds it: it sends request_page and nothing else."""
    settings = {"server_addr": "127.0.0.1", "server_port": port or (s.dtls_port if row.dtls else s.tls_port),
                "dtls": int(row.dtls), "request_page": request, "server_name": "cse.example",
                "force_version": {"DTLS1.2": "dtls12", "TLS1.2": "tls12", "TLS1.3": "tls13"}[row.version],
                "force_ciphersuite": row.suite, "read_timeout": 3000, "max_resend": 3}
    if row.credential:
        settings.update(psk=row.credential.hex, psk_identity=row.credential.identity)
        if row.version == "TLS1.3":
            settings["tls13_kex_modes"] = "psk_ephemeral" if row.ecdhe else "psk"
    else:
        settings.update(ca_file=s.chain, auth_mode="required")
    if row.cid is not None:
        settings.update(cid=1, cid_val=row.cid.hex())
    settings.update(options)
    program = setup_print("mbedtls") / "bin" / "ssl_client2"
    return [str(program).encode()] + [f"{name}=".encode() + (value if isinstance(value, bytes) else str(value).encode())
                                      for name, value in settings.items()]


def mbedtls(t, s, row, rqis):
    """The program sends the same request each time, so there is one identifier for both."""
    options = {"debug_level": 3}
    if row.resume:
        options.update(reconnect=1, new_session_tickets=1)
    elif row.dtls:
        options["exchanges"] = 2
    request = coap_request(rqis[0]) if row.dtls else http_request(rqis[0], True)
    done = t.run(mbedtls_argv(s, row, request, **options), 40)
    (t.dir / "mbedtls.client.log").write_bytes(done.stdout + done.stderr)
    if row.dtls:
        answers = coap_answers_in(done.stdout, request)
    else:
        answers = [http_answer(parse_response(b"HTTP/1.1 " + part))
                   for part in done.stdout.split(b"bytes read\n\nHTTP/1.1 ")[1:]]
    cid = re.search(rb"Peer CID \(length (\d+) Bytes\)", done.stdout)
    return Told(answers, int(cid[1]) if cid else 0, b" a session has been resumed" in done.stdout or
                b"Ticket-resumed PSK" in done.stdout)


CLIENTS = {"wolfSSL": wolfssl, "OpenSSL": openssl, "GnuTLS": gnutls, "Mbed TLS": mbedtls}


def ask(t, s, row, rqis):
    """Does the requests of a row with its client."""
    try:
        return CLIENTS[row.client](t, s, row, rqis)
    except subprocess.TimeoutExpired as error:
        raise Failure(str(error)) from None
