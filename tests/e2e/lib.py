# What the end-to-end tests import: a running sagate with its demonstration CSEs, and all of harness and clients.
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request

from clients import *  # noqa: F403
from clients import (DtlsCoap, HttpStream, UdpCoap, coap_client, gnutls_psk, openssl_psk, parse_response)
from harness import *  # noqa: F403
from harness import SANITIZER, Failure, Process, check, equal, free_port, use_ports, wait_for

SP_ID, CSE_ID, CSE_NAME = "//sp.example", "/id-in", "cse-in"
HEALTH_ORIGINATOR = "SsagateHealth"


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
        wait_for(lambda: self.process.log().count("ready") > before or not self.process.alive(),
                 f"{self.name} is ready")
        check(self.process.alive(), f"{self.name} did not start: {self.process.log()}")

    def _close(self, failed):
        if self.process.alive():
            status = self.process.stop()
            if not failed:
                equal(status, 0, f"exit status of {self.name}")
        check(failed or not SANITIZER.search(self.process.log()),
              f"sanitizer report in {self.name}: {self.process.log()}")

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
            if not health and record["from"] in (HEALTH_ORIGINATOR, f"{SP_ID}/{HEALTH_ORIGINATOR}",
                                                 f"/{HEALTH_ORIGINATOR}"):
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
        return "{\n" + "".join(f"{pad}{k} = {libconfig(v, indent + 1)};\n" for k,
                               v in value.items()) + "  " * indent + "}"
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
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "30",
                    "-keyout", str(key), "-out", str(chain), "-subj", f"/CN={host}",
                    "-addext", f"subjectAltName=DNS:{host},IP:127.0.0.1"], check=True, capture_output=True)
    key.chmod(0o600)
    return chain, key


class Sagate:
    """A running sagate with its demonstration CSEs. It ends with the test, and must then exit with status 0."""

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
        servers = [{"name": c.name, "http": f"127.0.0.1:{c.http_port}",
                    "coap": f"127.0.0.1:{c.coap_port}"} for c in self.cses]
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
                "health_originator": HEALTH_ORIGINATOR, "health_seconds": max(1, round(PATIENCE)),
                "health_timeout_milliseconds": round(500 * PATIENCE),
                "health_rise": 1, "health_fall": 2, "servers": servers}, upstream)],
            "listeners": [
                merge({"name": "dtls", "transport": "dtls", "binding": "coap", "address": "127.0.0.1",
                       "port": self.dtls_port,
                       "upstream": "in", "psk": True, "coap_numbering": "both"}, dtls),
                merge({"name": "tls", "transport": "tls", "binding": "http", "address": "127.0.0.1",
                       "port": self.tls_port,
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

    def launch(self):
        env = dict(os.environ, ASAN_OPTIONS="detect_leaks=1:abort_on_error=0", UBSAN_OPTIONS="print_stacktrace=1")
        self.process = Process("sagate", [self.t.program("sagate"), "-c", self.conf], self.t.dir / "sagate.log",
                               env=env)

    def start(self):
        self.launch()
        try:
            # Readiness for devices comes a moment before the supervisor's, which then takes reloads, too.
            wait_for(lambda: self.ready() and self.says_ready() or not self.process.alive(), "sagate is ready", 15)
            check(self.process.alive(), "sagate did not start")
        except Failure as failure:
            raise Failure(f"{failure}\n{self.process.log()[-3000:]}") from None

    def ready(self):
        return self.get("/readyz")[0] == 200

    def says_ready(self):
        quiet = self.settings["process"]["log_level"] in ("warning", "error")
        return quiet or "supervisor: ready: " in self.process.log()

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=3 * PATIENCE) as answer:
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
        for _ in range(50):
            done = self.t.run([self.t.program("sagatectl"), "-s", self.socket, "--json", *args])
            # Devices are served a moment before the supervisor takes a reload.
            if not ok or b"a process is being started" not in done.stderr:
                break
            time.sleep(0.1)
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
            client.settimeout(15 * PATIENCE)
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
        argv = ["curl", "-si", "--noproxy", "*", "--max-time", str(timeout * PATIENCE), "--cacert",
                str(self.chain), "--resolve",
                f"cse.example:{self.tls_port}:127.0.0.1"]
        for header in headers:
            argv += ["-H", header]
        done = self.t.run(argv + list(args) + [f"https://cse.example:{self.tls_port}{path}"], timeout + 5)
        equal(done.returncode, 0, f"exit status of curl ({done.stderr.decode()!r})")
        return parse_response(done.stdout)


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
