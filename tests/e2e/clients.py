# Clients that are not sagate's: HTTP and CoAP exact to the byte over openssl and gnutls-cli, and libcoap's client.
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import os
import re
import select
import socket
import subprocess
import threading
import time

import coap as coaplib
from harness import Failure, check, equal, need

# --- HTTP ------------------------------------------------------------------------------------------------------------


class HttpResponse:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def header(self, name):
        values = [v for n, v in self.headers if n.lower() == name.lower()]
        return values[0] if values else None

    @property
    def rsc(self):
        value = self.header("X-M2M-RSC")
        return int(value) if value else None

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"HttpResponse({self.status}, rsc={self.rsc}, {self.body[:200]!r})"


def parse_head(head):
    lines = head.decode("latin-1").split("\r\n")
    match = re.match(r"HTTP/1\.1 (\d{3})(?: |$)", lines[0])
    check(match, f"this is no HTTP status line: {lines[0]!r}")
    headers = []
    for line in lines[1:]:
        if line:
            name, _, value = line.partition(":")
            headers.append((name, value.strip()))
    return int(match[1]), headers


def parse_response(data):
    """One whole response, as curl -i prints it (already without chunks)."""
    while True:
        head, _, body = data.partition(b"\r\n\r\n")
        status, headers = parse_head(head)
        if status != 100:
            return HttpResponse(status, headers, body)
        data = body


def m2m_request(method, path, origin=None, rqi="r1", rvi="3", ty=None, body=None, headers=(), length=True):
    """The bytes of a oneM2M request (TS-0009)."""
    lines = [f"{method} {path} HTTP/1.1", "Host: cse.example"]
    if origin is not None:
        lines.append(f"X-M2M-Origin: {origin}")
    if rqi is not None:
        lines.append(f"X-M2M-RI: {rqi}")
    if rvi is not None:
        lines.append(f"X-M2M-RVI: {rvi}")
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    if body is not None:
        if not any(h.lower().startswith("content-type:") for h in headers):
            lines.append("Content-Type: application/json" + (f";ty={ty}" if ty is not None else ""))
        if length:
            lines.append(f"Content-Length: {len(body)}")
    lines += headers
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


class Timeout(Failure):
    pass


class Closed(Failure):
    pass


class HttpStream:
    """An HTTP/1.1 client over anything that can send and receive bytes, for requests that are exact to the byte."""

    def __init__(self, send, receive, close, description="stream"):
        self._send, self._receive, self._close, self.description = send, receive, close, description
        self.buffer = b""

    @classmethod
    def of_socket(cls, sock):
        def receive(seconds):
            sock.settimeout(seconds)
            try:
                return sock.recv(65536)
            except TimeoutError:
                raise Timeout("no answer") from None
            except OSError:
                return b""

        return cls(sock.sendall, receive, sock.close, "socket")

    @classmethod
    def connect(cls, port):
        return cls.of_socket(socket.create_connection(("127.0.0.1", port), 5))

    @classmethod
    def of_pipe(cls, process, name):
        """Standard input and output of a client program."""
        def send(data):
            try:
                process.stdin.write(data)
                process.stdin.flush()
            except (BrokenPipeError, ValueError):
                raise Closed(f"{name} has ended") from None

        def receive(seconds):
            ready, _, _ = select.select([process.stdout], [], [], seconds)
            if not ready:
                raise Timeout(f"no answer through {name}")
            return os.read(process.stdout.fileno(), 65536)

        def close():
            for pipe in (process.stdin, process.stdout):
                try:
                    pipe.close()
                except OSError:
                    pass
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                process.terminate()
                try:
                    process.wait(2)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

        return cls(send, receive, close, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._close()

    def send(self, data):
        self._send(data)

    def _more(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise Timeout(f"no complete answer through {self.description}; so far {self.buffer[:300]!r}")
        data = self._receive(left)
        if not data:
            raise Closed(f"closed in the middle; so far {self.buffer[:300]!r}")
        self.buffer += data

    def _take(self, count, deadline):
        while len(self.buffer) < count:
            self._more(deadline)
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def _until(self, mark, deadline):
        while mark not in self.buffer:
            self._more(deadline)
        data, _, self.buffer = self.buffer.partition(mark)
        return data

    def response(self, seconds=10, interim=False, head_only=False):
        """The next response; 1xx ones are passed over unless interim is set."""
        deadline = time.monotonic() + seconds
        while True:
            status, headers = parse_head(self._until(b"\r\n\r\n", deadline))
            if status >= 200 or interim:
                break
        answer = HttpResponse(status, headers, b"")
        if status < 200 or status in (204, 304) or head_only:
            return answer
        if (answer.header("Transfer-Encoding") or "").lower() == "chunked":
            while True:
                size = int(self._until(b"\r\n", deadline).split(b";")[0], 16)
                answer.body += self._take(size, deadline)
                equal(self._take(2, deadline), b"\r\n", "end of a chunk")
                if size == 0:
                    return answer
        length = answer.header("Content-Length")
        if length is not None:
            answer.body = self._take(int(length), deadline)
            return answer
        try:
            while True:
                self._more(deadline)
        except Closed:
            answer.body, self.buffer = self.buffer, b""
            return answer

    def request(self, method, path, seconds=10, **kwargs):
        self.send(m2m_request(method, path, **kwargs))
        return self.response(seconds)

    def closed(self, seconds=10):
        """True when the other side closes within this time (what it still sends is dropped)."""
        deadline = time.monotonic() + seconds
        try:
            while True:
                self._more(deadline)
        except Closed:
            return True
        except Timeout:
            return False


def pipe_client(t, argv, name):
    log = open(t.dir / f"{name}.client.log", "ab")
    process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                               bufsize=0)
    stream = HttpStream.of_pipe(process, name)
    stream.process = process
    t.defer(lambda failed: (stream.close(), log.close()))
    return stream


def openssl_psk(t, port, credential, version="-tls1_2", cipher="PSK-AES128-CBC-SHA256", extra=()):
    """openssl s_client with a pre-shared key; a stream."""
    need("openssl")
    argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", version, "-psk", credential.hex, "-psk_identity",
            credential.identity, "-quiet"]
    if cipher:
        argv += ["-ciphersuites" if version == "-tls1_3" else "-cipher",
                 cipher if version == "-tls1_3" else f"{cipher}:@SECLEVEL=0"]
    return pipe_client(t, argv + list(extra), "openssl")


def openssl_certificate(t, port, version="-tls1_2", cipher=None, extra=()):
    need("openssl")
    argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", version, "-quiet", "-servername", "cse.example"]
    if cipher:
        argv += ["-ciphersuites" if version == "-tls1_3" else "-cipher",
                 cipher if version == "-tls1_3" else f"{cipher}:@SECLEVEL=0"]
    return pipe_client(t, argv + list(extra), "openssl")


def gnutls_psk(t, port, credential, priority="NORMAL:-KX-ALL:+PSK:-VERS-ALL:+VERS-TLS1.2", extra=()):
    need("gnutls-cli")
    return pipe_client(t, ["gnutls-cli", "--logfile", t.dir / "gnutls-cli.info", "--no-ca-verification", "-p", port,
                           "--pskusername", credential.identity, "--pskkey", credential.hex, "--priority", priority,
                           *extra, "127.0.0.1"], "gnutls-cli")


# --- CoAP ------------------------------------------------------------------------------------------------------------


_PDU = re.compile(r"v:1 t:(\w+) c:(\d\.\d\d) i:([0-9a-f]+) \{([0-9a-f]*)\} \[ ?(.*?) ?\](?: :: (.*))?$", re.S)
_CODES = {"get": 1, "post": 2, "put": 3, "delete": 4}


class CoapResponse:
    """What libcoap's client printed about a message that it received."""

    def __init__(self, kind, code, options, payload):
        self.kind, self.code, self.options, self.payload = kind, code, options, payload

    def option(self, number):
        return self.options.get(number)

    @property
    def rsc(self):
        value = self.option(307) or self.option(265)
        return int.from_bytes(value, "big") if value else None

    @property
    def rqi(self):
        value = self.option(283) or self.option(257)
        return value.decode() if value is not None else None

    @property
    def json(self):
        return json.loads(self.payload)

    def __repr__(self):
        return f"CoapResponse({self.kind} {self.code}, rsc={self.rsc}, {self.payload[:200]!r})"


def parse_pdu(line):
    match = _PDU.search(line)
    if not match:
        return None
    options = {}
    for part in match[5].split(", "):
        number, _, value = part.partition(":")
        if number.isdigit():
            options[int(number)] = re.sub(rb"\\x([0-9A-Fa-f]{2})", lambda m: bytes([int(m[1], 16)]),
                                          value.encode("latin-1"))
    payload = match[6] or ""
    if payload.startswith("'") and payload.endswith("'"):
        payload = payload[1:-1].replace("\\\"", '"')
    return CoapResponse(match[1], match[2], options, payload)


def coap_client(t, port, credential, method, path, origin=None, rqi="r1", rvi="3", ty=None, body=None, tls="openssl",
                options=(), extra=(), seconds=15, count=1, old=False, scheme="coaps", wait=True):
    """Runs coap-client-{openssl,gnutls,notls} and returns the response that it got (a list when count > 1), or None.

    The client of libcoap 4.3.1 knows no oneM2M option, so it drops a response that has them (they are critical) and
    goes on waiting; what it received is taken from its debug output instead, and it is then stopped.
    Values of -O are text, or bytes when they begin with 0x: TY is "267,0x02"."""
    program = f"coap-client-{tls}"
    need(program)
    argv = [program, "-v", "7", "-B", str(seconds), "-m", method]
    if credential is not None:
        argv += ["-u", credential.identity, "-k", credential.key]
    numbers = {"fr": 256, "rqi": 257} if old else {"fr": 279, "rqi": 283}
    if origin is not None:
        argv += ["-O", f"{numbers['fr']},{origin}"]
    if rqi is not None:
        argv += ["-O", f"{numbers['rqi']},{rqi}"]
    if rvi is not None and not old:
        argv += ["-O", f"271,{rvi}"]
    if ty is not None:
        argv += ["-O", f"267,0x{ty:02x}"]
    for number, value in options:
        argv += ["-O", f"{number},{value}"]
    if body is not None:
        text = body if isinstance(body, str) else json.dumps(body)
        content = t.dir / f"content.{time.monotonic_ns()}"
        content.write_text(text)
        argv += ["-t", "50", "-f", str(content)]
    argv += list(extra) + [f"{scheme}://127.0.0.1:{port}{path}"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
    timer = threading.Timer(seconds + 2, process.kill)
    timer.start()
    found, received, log = [], False, []
    try:
        for raw in process.stdout:
            line = raw.decode("latin-1").rstrip("\n")
            log.append(line)
            if re.search(r"(?:: received \d+ bytes|netif: recv)", line):
                received = True
            elif "sent" in line and "bytes" in line:
                received = False
            elif received and line.startswith("v:1 "):
                answer = parse_pdu(line)
                if answer and answer.code not in ("0.00", "2.31") and answer.code[0] != "0":
                    found.append(answer)
                    if len(found) == count:
                        break
    finally:
        timer.cancel()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()
        with open(t.dir / f"{program}.client.log", "a") as out:
            out.write(" ".join(argv) + "\n" + "\n".join(log) + "\n\n")
    if count > 1:
        return found
    return found[0] if found else None


class CoapEndpoint:
    """A CoAP client that sends exactly the given bytes; subclasses carry datagrams."""

    def __init__(self):
        self.mid = int.from_bytes(os.urandom(2), "big")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def next_mid(self):
        self.mid = (self.mid + 1) & 0xffff
        return self.mid

    def build(self, method, path="", origin=None, rqi="r1", rvi="3", ty=None, body=None, options=(), kind=coaplib.CON,
              token=None, mid=None, query=(), old=False):
        """A oneM2M request (TS-0008) as a datagram; options are (number, bytes) and come in addition."""
        fields = [(11, segment.encode()) for segment in path.split("/") if segment]
        fields += [(15, q.encode()) for q in query]
        if origin is not None:
            fields.append((256 if old else 279, origin.encode()))
        if rqi is not None:
            fields.append((257 if old else 283, rqi.encode()))
        if rvi is not None and not old:
            fields.append((271, rvi.encode()))
        if ty is not None:
            fields.append((267, bytes([ty])))
        if body is not None:
            if isinstance(body, (dict, list)):
                body = json.dumps(body)
            if isinstance(body, str):
                body = body.encode()
            if not any(number == 12 for number, _ in options):
                fields.append((12, b"\x32"))
        fields += list(options)
        token = os.urandom(4) if token is None else token
        mid = self.next_mid() if mid is None else mid
        return coaplib.encode(kind, _CODES[method], mid, token, fields, body or b"")

    def receive(self, seconds=5):
        """The next message, or None."""
        data = self.datagram(seconds)
        return coaplib.decode(data) if data else None

    def response(self, token=None, seconds=8):
        """The next response with this token; CON ones are acknowledged. None when there is none."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            message = self.receive(max(0.05, deadline - time.monotonic()))
            if message is None:
                continue
            if message.kind == coaplib.CON and message.code >> 5 >= 2:
                self.send(coaplib.encode(coaplib.ACK, 0, message.mid))
            if message.code >> 5 >= 2 and (token is None or message.token == token):
                return message
        return None

    def request(self, method, path="", seconds=8, **kwargs):
        datagram = self.build(method, path, **kwargs)
        self.send(datagram)
        return self.response(coaplib.decode(datagram).token, seconds)


class UdpCoap(CoapEndpoint):
    def __init__(self, port):
        super().__init__()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", port))

    def send(self, data):
        self.socket.send(data)

    def datagram(self, seconds):
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(65536)
        except OSError:
            return None

    def close(self):
        self.socket.close()


class ProgramCoap(CoapEndpoint):
    """CoAP through a client program. Its standard input and output are a socket that keeps the bounds of messages, so
    each of ours becomes one record, and each record comes to us as one."""

    def __init__(self, t, argv, name="dtls"):
        super().__init__()
        self.name, self.log_path = name, t.dir / f"{name}.client.log"
        self.log = open(self.log_path, "ab")
        self.log_start = self.log.tell()
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = subprocess.Popen([str(a) for a in argv], stdin=theirs, stdout=theirs, stderr=self.log)
        theirs.close()
        t.defer(lambda failed: self.close())

    def told(self):
        """What it has written to standard error."""
        return self.log_path.read_bytes()[self.log_start:].decode(errors="replace")

    def send(self, data):
        try:
            self.socket.send(data)
        except OSError:
            raise Closed(f"{self.name} has ended") from None

    def datagram(self, seconds):
        self.socket.settimeout(max(0.01, seconds))
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            return None
        except OSError:
            data = b""
        if not data:
            raise Closed("the association has ended")
        return data

    def ended(self, seconds=8):
        """True when the association ends within this time."""
        try:
            return self.process.wait(seconds) is not None
        except subprocess.TimeoutExpired:
            return False

    def close(self):
        self.socket.close()
        if self.process.poll() is None:
            try:
                self.process.wait(0.2)  # it sees the end of its input and closes the association
            except subprocess.TimeoutExpired:
                self.process.terminate()
                try:
                    self.process.wait(2)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    self.process.wait()
        self.log.close()


class DtlsCoap(ProgramCoap):
    """CoAP through "openssl s_client -dtls1_2" with a pre-shared key."""

    def __init__(self, t, port, credential, cipher="PSK-AES128-CCM8", extra=()):
        need("openssl")
        super().__init__(t, ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-dtls1_2", "-psk", credential.hex,
                             "-psk_identity", credential.identity, "-cipher", f"{cipher}:@SECLEVEL=0", "-quiet",
                             "-timeout", *extra])


class UdpRelay:
    """Stands between a client and a UDP port. hook(number, to_server, data) returns the datagrams to pass on."""

    def __init__(self, t, port, hook):
        self.hook, self.target, self.running = hook, ("127.0.0.1", port), True
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", 0))
        self.port = self.front.getsockname()[1]
        self.back = self._toward_server()
        self.client, self.counts, self.seen = None, [0, 0], []
        self.thread = threading.Thread(target=self._loop, daemon=True)
        self.thread.start()
        t.defer(lambda failed: self.close())

    def _toward_server(self):
        back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        back.connect(self.target)
        return back

    def rebind(self):
        """From now on the server sees another port; to be called by the hook."""
        self.back.close()
        self.back = self._toward_server()

    def _loop(self):
        while self.running:
            ready, _, _ = select.select([self.front, self.back], [], [], 0.1)
            for sock in ready:
                to_server = sock is self.front
                try:
                    data, address = sock.recvfrom(65536)
                except OSError:
                    continue
                if to_server:
                    self.client = address
                number = self.counts[to_server]
                self.counts[to_server] += 1
                self.seen.append((to_server, data))
                for datagram in self.hook(number, to_server, data):
                    try:
                        if to_server:
                            self.back.send(datagram)
                        elif self.client:
                            self.front.sendto(datagram, self.client)
                    except OSError:
                        pass

    def close(self):
        self.running = False
        self.thread.join(1)
        self.front.close()
        self.back.close()
