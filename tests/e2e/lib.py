# What the end-to-end tests share: processes, a running sagate with its CSEs, and clients that are not sagate's.
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import coap as coaplib

SP_ID, CSE_ID, CSE_NAME = "//sp.example", "/id-in", "cse-in"
HEALTH_ORIGINATOR = "SsagateHealth"
SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|UndefinedBehaviorSanitizer|runtime error:")


class Failure(AssertionError):
    pass


class Skip(Exception):
    pass


def check(condition, message="the condition does not hold"):
    if not condition:
        raise Failure(message)


def equal(actual, expected, what="value"):
    if actual != expected:
        raise Failure(f"{what}: {actual!r}, expected {expected!r}")


def need(*programs):
    for program in programs:
        if shutil.which(program) is None:
            raise Skip(f"{program} is not installed")


def wait_for(condition, what, seconds=10):
    """Polls until condition() is true and returns its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"waited {seconds} s in vain: {what}")
        time.sleep(0.03)


def remove_tree(path):
    shutil.rmtree(path, ignore_errors=True)


_given_ports = set()


def free_port():
    """A port of 127.0.0.1 that is free for TCP and for UDP."""
    while True:
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given_ports:
            _given_ports.add(port)
            return port


class Process:
    def __init__(self, name, argv, log, env=None, stdin=subprocess.DEVNULL):
        self.name, self.log_path = name, log
        with open(log, "ab") as out:
            self.popen = subprocess.Popen([str(a) for a in argv], stdin=stdin, stdout=out, stderr=out, env=env)
        self.pid = self.popen.pid

    def log(self):
        return self.log_path.read_text(errors="replace")

    def alive(self):
        return self.popen.poll() is None

    def signal(self, number):
        if self.alive():
            self.popen.send_signal(number)

    def wait(self, seconds=15):
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} has not ended within {seconds} s") from None

    def stop(self, seconds=15):
        """Asks it to end; returns its exit status."""
        self.signal(signal.SIGTERM)
        try:
            return self.wait(seconds)
        except Failure:
            self.kill()
            raise

    def kill(self):
        self.signal(signal.SIGKILL)
        return self.popen.wait()


class Context:
    """One test: its folder, and what must be ended after it, last first."""

    def __init__(self, build, folder):
        self.build, self.dir, self._closers = build, folder, []

    def defer(self, closer):
        """closer(failed) runs at the end of the test."""
        self._closers.append(closer)

    def close(self, failed):
        first = None
        while self._closers:
            try:
                self._closers.pop()(failed)
            except BaseException as error:  # all the others still have to be ended
                first = first or error
        if first is not None and not failed:
            raise first

    def program(self, name):
        direct = self.build / name
        if direct.is_file() and os.access(direct, os.X_OK):
            return direct
        for path in sorted(self.build.rglob(name)):
            if path.is_file() and os.access(path, os.X_OK):
                return path
        raise Failure(f"{name} has not been built in {self.build}")

    def spawn(self, name, argv, **kwargs):
        process = Process(name, argv, self.dir / f"{name}.log", **kwargs)
        self.defer(lambda failed: process.kill() if process.alive() else None)
        return process

    def run(self, argv, timeout=20, **kwargs):
        return subprocess.run([str(a) for a in argv], capture_output=True, timeout=timeout, **kwargs)


# --- The demonstration CSE -------------------------------------------------------------------------------------------


def to_bytes(recorded):
    """Bytes of a recorded value: a string, or {"hex": …} for what is no text."""
    return bytes.fromhex(recorded["hex"]) if isinstance(recorded, dict) else recorded.encode()


class Record(dict):
    def header(self, name):
        """All values of a header, as they came."""
        return [value for field, value in self.get("headers", []) if field.lower() == name.lower()]

    def option(self, number):
        return [to_bytes(value) for n, value in self.get("options", []) if n == number]

    def text(self):
        return json.dumps(self)


class DemoCse:
    def __init__(self, t, *args, name="cse1", http=True, coap=True, http_port=None, coap_port=None):
        self.t, self.name, self.args = t, name, [str(a) for a in args]
        self.http_port = (http_port or free_port()) if http else None
        self.coap_port = (coap_port or free_port()) if coap else None
        self.record_path = t.dir / f"{name}.record"
        self.process = None
        self.start()
        t.defer(self._close)

    def start(self):
        argv = [self.t.program("sagate-demo-cse"), "--record", self.record_path]
        if self.http_port:
            argv += ["--http", f"127.0.0.1:{self.http_port}"]
        if self.coap_port:
            argv += ["--coap", f"127.0.0.1:{self.coap_port}"]
        log = self.t.dir / f"{self.name}.log"
        before = log.read_text().count("ready") if log.exists() else 0
        self.process = Process(self.name, argv + self.args, log)
        wait_for(lambda: self.process.log().count("ready") > before or not self.process.alive(), f"{self.name} is ready")
        check(self.process.alive(), f"{self.name} did not start: {self.process.log()}")

    def _close(self, failed):
        if self.process.alive():
            status = self.process.stop()
            if not failed:
                equal(status, 0, f"exit status of {self.name}")
        check(failed or not SANITIZER.search(self.process.log()), f"sanitizer report in {self.name}: {self.process.log()}")

    def kill(self):
        self.process.kill()

    def records(self, event="request", health=False, **fields):
        """What it has seen, without health requests; fields narrow it: operation="create", to=…, rqi=…"""
        if not self.record_path.exists():
            return []
        found = []
        for line in self.record_path.read_text().splitlines():
            record = Record(json.loads(line))
            if event is not None and record["event"] != event:
                continue
            if not health and record["from"] in (HEALTH_ORIGINATOR, f"{SP_ID}/{HEALTH_ORIGINATOR}", f"/{HEALTH_ORIGINATOR}"):
                continue
            if all(record.get(name) == value for name, value in fields.items()):
                found.append(record)
        return found

    def saw(self, text):
        """Whether this text occurs anywhere in what reached it."""
        return self.record_path.exists() and text in self.record_path.read_text()

    def mode(self, **fields):
        body = json.dumps({name.replace("_", "-"): value for name, value in fields.items()}).encode()
        url = f"http://127.0.0.1:{self.http_port}/__demo/mode"
        urllib.request.urlopen(urllib.request.Request(url, data=body, method="POST"), timeout=5).close()

    def http(self):
        return HttpStream.connect(self.http_port)

    def coap(self):
        return UdpCoap(self.coap_port)

    def request(self, method, path, **kwargs):
        with self.http() as stream:
            return stream.request(method, path, **kwargs)


# --- Configuration and sagate itself ---------------------------------------------------------------------------------


def libconfig(value, indent=0):
    """Writes Python values in libconfig's syntax: dict = group, list of dicts = list, other list = array."""
    pad = "  " * (indent + 1)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        return "{\n" + "".join(f"{pad}{k} = {libconfig(v, indent + 1)};\n" for k, v in value.items()) + "  " * indent + "}"
    if isinstance(value, (list, tuple)):
        items = ", ".join(libconfig(v, indent) for v in value)
        return f"( {items} )" if value and isinstance(value[0], dict) else f"[ {items} ]"
    return json.dumps(str(value))


def write_config(path, settings):
    path.write_text("".join(f"{k} = {libconfig(v)};\n" for k, v in settings.items()))


def merge(base, over):
    for key, value in (over or {}).items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        elif value is None:
            base.pop(key, None)
        else:
            base[key] = value
    return base


class Credential:
    def __init__(self, identity, key, ae_ids=None, cse_id=None, as_hex=False):
        self.identity, self.key, self.ae_ids, self.cse_id, self.as_hex = identity, key, ae_ids, cse_id, as_hex

    @property
    def hex(self):
        return self.key.encode().hex()

    def settings(self):
        settings = {"identity": self.identity}
        settings["key_hex" if self.as_hex else "key_text"] = self.hex if self.as_hex else self.key
        if self.cse_id:
            settings["cse_id"] = self.cse_id
        else:
            settings["ae_ids"] = self.ae_ids
        return settings


DEV1 = Credential("dev1@sp.example", "first-key-0123456789", ["Cdev1"])
DEV2 = Credential("dev2@sp.example", "second-key-9876543210", ["Cdev2"], as_hex=True)
PAIR = Credential("pair@sp.example", "third-key-abcdefghij", ["Cone", "Ctwo"])
WILD_C = Credential("wildc@sp.example", "fourth-key-klmnopqrst", ["C*"])
WILD_S = Credential("wilds@sp.example", "fifth-key-uvwxyz01234", ["S*"])
WILD_C2 = Credential("wildc2@sp.example", "sixth-key-567890abcde", ["C*"])
MN1 = Credential("mn1@sp.example", "seventh-key-fghijklmno", cse_id="/mn1")
CREDENTIALS = [DEV1, DEV2, PAIR, WILD_C, WILD_S, WILD_C2, MN1]


def make_certificate(folder, name="server", host="cse.example"):
    key, chain = folder / f"{name}.key", folder / f"{name}.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                    "-keyout", str(key), "-out", str(chain), "-subj", f"/CN={host}",
                    "-addext", f"subjectAltName=DNS:{host},IP:127.0.0.1"], check=True, capture_output=True)
    key.chmod(0o600)
    return chain, key


class Sagate:
    """A running sagate with its demonstration CSEs. Ends with the test, and must then end with status 0 and in peace."""

    def __init__(self, t, cse_args=(), cses=1, overrides=None, upstream=None, dtls=None, tls=None, credentials=None,
                 start=True):
        self.t, self.dir = t, t.dir / "sagate"
        self.dir.mkdir(mode=0o755)
        self.cses = [DemoCse(t, *cse_args, name=f"cse{i + 1}") for i in range(cses)]
        self.cse = self.cses[0] if self.cses else None
        self.dtls_port, self.tls_port, self.metrics_port = free_port(), free_port(), free_port()
        self.credentials = list(CREDENTIALS if credentials is None else credentials)
        self.conf, self.socket = self.dir / "sagate.conf", self.dir / "control.sock"
        self.chain, self.key = make_certificate(self.dir)
        self.settings = self._settings(upstream, dtls, tls)
        merge(self.settings, overrides)
        self.process = None
        self.write()
        if start:
            self.start()
        t.defer(self._close)

    def _settings(self, upstream, dtls, tls):
        root = os.geteuid() == 0
        state = self.dir / "state"
        state.mkdir(mode=0o700)
        if root:
            shutil.chown(state, "daemon")
        servers = [{"name": c.name, "http": f"127.0.0.1:{c.http_port}", "coap": f"127.0.0.1:{c.coap_port}"} for c in self.cses]
        return {
            "process": {"user": "nobody" if root else "", "control_user": "daemon" if root else "",
                        "state_directory": str(state), "workers": 1, "pin_workers": False, "log_level": "debug"},
            "limits": {},
            "certificates": [{"name": "server", "chain_file": str(self.chain), "key_file": str(self.key),
                              "server_names": ["cse.example"]}],
            "upstreams": [merge({
                "name": "in", "sp_id": SP_ID, "cse_id": CSE_ID, "http_identity": "headers", "coap_identity": "options",
                "coap_numbering": "current", "from_form": "stem", "full_access_originators": ["CAdmin"],
                "http_health": "request", "coap_health": "ping", "health_path": f"/{CSE_NAME}",
                "health_originator": HEALTH_ORIGINATOR, "health_seconds": 1, "health_timeout_milliseconds": 500,
                "health_rise": 1, "health_fall": 2, "servers": servers}, upstream)],
            "listeners": [
                merge({"name": "dtls", "transport": "dtls", "binding": "coap", "address": "127.0.0.1", "port": self.dtls_port,
                       "upstream": "in", "psk": True, "coap_numbering": "both"}, dtls),
                merge({"name": "tls", "transport": "tls", "binding": "http", "address": "127.0.0.1", "port": self.tls_port,
                       "upstream": "in", "psk": True, "certificates": ["server"]}, tls)],
            "credentials_file": str(self.dir / "credentials.conf"),
            "control": {"socket": str(self.socket)},
            "metrics": {"address": "127.0.0.1", "port": self.metrics_port},
        }

    def write(self):
        """Writes the configuration and the credentials as they are now in `settings` and `credentials`."""
        write_config(self.conf, self.settings)
        path = self.dir / "credentials.conf"
        path.touch(mode=0o600)
        write_config(path, {"credentials": [c.settings() for c in self.credentials]})

    def start(self):
        env = dict(os.environ, ASAN_OPTIONS="detect_leaks=1:abort_on_error=0", UBSAN_OPTIONS="print_stacktrace=1")
        self.process = Process("sagate", [self.t.program("sagate"), "-c", self.conf], self.t.dir / "sagate.log", env=env)
        try:
            wait_for(lambda: self.ready() or not self.process.alive(), "sagate is ready", 15)
            check(self.process.alive(), "sagate did not start")
        except Failure as failure:
            raise Failure(f"{failure}\n{self.process.log()[-3000:]}") from None

    def ready(self):
        return self.get("/readyz")[0] == 200

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=3) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""
        except OSError:
            return 0, ""

    def stop(self):
        status = self.process.stop()
        equal(status, 0, "exit status of sagate")
        check(not SANITIZER.search(self.process.log()), f"sanitizer report:\n{self.process.log()[-6000:]}")

    def restart(self):
        self.stop()
        self.start()

    def _close(self, failed):
        if self.process is None:
            return
        if failed:
            self.process.signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except Failure:
                self.process.kill()
            print("--- end of sagate's log:\n" + self.process.log()[-4000:])
        elif self.process.alive():
            self.stop()

    # The operator's side
    def ctl(self, *args, ok=True):
        done = self.t.run([self.t.program("sagatectl"), "-s", self.socket, "--json", *args])
        if ok:
            equal(done.returncode, 0, f"exit status of sagatectl {' '.join(args)} ({done.stderr.decode()!r})")
        else:
            check(done.returncode != 0, f"sagatectl {' '.join(args)} succeeded: {done.stdout!r}")
            return done.stderr.decode() + done.stdout.decode()
        return json.loads(done.stdout) if done.stdout.strip() else None

    def metrics(self):
        """{(name, frozenset of label pairs): value}"""
        status, text = self.get("/metrics")
        equal(status, 200, "status of /metrics")
        found = {}
        for line in text.splitlines():
            match = re.fullmatch(r'([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)', line)
            if match:
                labels = frozenset(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
                found[(match[1], labels)] = float(match[3])
        return found

    def metric(self, name, **labels):
        """The sum of the rows of sagate_NAME that have these labels."""
        wanted = set(labels.items())
        return sum(v for (n, have), v in self.metrics().items() if n == "sagate_" + name and wanted <= set(have))

    def associations(self):
        return self.metric("associations")

    def command(self, command, ok=True, **fields):
        """The control socket without sagatectl: one JSON object a line. Returns the answer, or the error's text."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(15)
            client.connect(str(self.socket))
            client.sendall(json.dumps({"v": 1, "command": command, **fields}).encode() + b"\n")
            answer = json.loads(client.makefile().readline())
        equal(answer["ok"], ok, f"control socket, {command}: {answer}")
        return answer if ok else answer["error"]

    def pids(self):
        """{"supervisor": pid, "control": pid, "data": pid}"""
        return {name: entry["pid"] for name, entry in self.ctl("status")["processes"].items()}

    # The devices' side
    def coap(self, credential, method, path, **kwargs):
        return coap_client(self.t, self.dtls_port, credential, method, path, **kwargs)

    def dtls(self, credential, **kwargs):
        return DtlsCoap(self.t, self.dtls_port, credential, **kwargs)

    def tls(self, credential, **kwargs):
        return openssl_psk(self.t, self.tls_port, credential, **kwargs)

    def gnutls(self, credential, **kwargs):
        return gnutls_psk(self.t, self.tls_port, credential, **kwargs)

    def curl(self, *args, path=f"/{CSE_NAME}", headers=(), timeout=15):
        argv = ["curl", "-si", "--noproxy", "*", "--max-time", str(timeout), "--cacert", str(self.chain), "--resolve",
                f"cse.example:{self.tls_port}:127.0.0.1"]
        for header in headers:
            argv += ["-H", header]
        done = self.t.run(argv + list(args) + [f"https://cse.example:{self.tls_port}{path}"], timeout + 5)
        equal(done.returncode, 0, f"exit status of curl ({done.stderr.decode()!r})")
        return parse_response(done.stdout)


def settle(seconds=0.3):
    """For what must not happen: gives it the time to happen."""
    time.sleep(seconds)


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
                process.wait(0.3)
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
    process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0)
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


def gnutls_psk(t, port, credential, priority="NORMAL:-KX-ALL:+PSK:-VERS-ALL:+VERS-TLS1.2"):
    need("gnutls-cli")
    return pipe_client(t, ["gnutls-cli", "--logfile", t.dir / "gnutls-cli.info", "--no-ca-verification", "-p", port,
                           "--pskusername", credential.identity, "--pskkey", credential.hex, "--priority", priority,
                           "127.0.0.1"], "gnutls-cli")


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
            options[int(number)] = re.sub(rb"\\x([0-9A-Fa-f]{2})", lambda m: bytes([int(m[1], 16)]), value.encode("latin-1"))
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
            body = json.dumps(body).encode() if isinstance(body, (dict, list)) else body.encode() if isinstance(body, str) else body
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


class DtlsCoap(CoapEndpoint):
    """CoAP through "openssl s_client -dtls1_2": each write becomes one record, each record read comes as one write."""

    def __init__(self, t, port, credential, cipher="PSK-AES128-CCM8", extra=()):
        super().__init__()
        need("openssl")
        argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-dtls1_2", "-psk", credential.hex, "-psk_identity",
                credential.identity, "-cipher", f"{cipher}:@SECLEVEL=0", "-quiet", "-timeout", *extra]
        self.log = open(t.dir / "dtls.client.log", "ab")
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, bufsize=0)
        self.last_send = 0.0
        t.defer(lambda failed: self.close())

    def send(self, data):
        # Two writes that lie together in the pipe would become one record.
        pause = self.last_send + 0.02 - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        try:
            self.process.stdin.write(data)
        except (BrokenPipeError, ValueError):
            raise Closed("openssl s_client has ended") from None
        self.last_send = time.monotonic()

    def datagram(self, seconds):
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        if not ready:
            return None
        data = os.read(self.process.stdout.fileno(), 65536)
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
        if self.process.stdin and not self.process.stdin.closed:
            self.process.stdin.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        self.log.close()


class UdpRelay:
    """Stands between a client and a UDP port. hook(number, to_server, data) returns the datagrams to pass on."""

    def __init__(self, t, port, hook):
        self.hook, self.target, self.running = hook, ("127.0.0.1", port), True
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", 0))
        self.port = self.front.getsockname()[1]
        self.back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.back.connect(self.target)
        self.client, self.counts, self.seen = None, [0, 0], []
        self.thread = threading.Thread(target=self._loop, daemon=True)
        self.thread.start()
        t.defer(lambda failed: self.close())

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


# --- Contents that many tests use ------------------------------------------------------------------------------------


def ae(name=None, api="Nsagate.test"):
    body = {"api": api, "rr": False, "srv": ["3"]}
    if name:
        body["rn"] = name
    return {"m2m:ae": body}


def cnt(name):
    return {"m2m:cnt": {"rn": name}}


def cin(content):
    return {"m2m:cin": {"con": content}}
