# A running sagate-tef, its clients, and what they ask for.
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import subprocess

from clients import pipe_client
from harness import SANITIZER, Process, check, equal, free_port, need, wait_for

TARGET, SOURCE, OTHER, ADMIN = "//sp.example/id-in", "//sp.example/Sdev1", "//sp.example/Sdev2", "admin.sp.example"
TLS12_CIPHER = "PSK-AES128-CBC-SHA256:@SECLEVEL=0"


class TefClient:
    """A client that was provisioned with a PSK."""

    def __init__(self, tef, id, key):
        self.tef, self.id, self.key, self.identity = tef, id, key, f"{id.split('/')[-1]}@maf.sp.example"


class Tef:
    """sagate-tef with a MAF and an MEF; ends with the test, and must then exit with status 0."""

    def __init__(self, t, settings="", function="", name="tef", start=True, coap=False, coap_function=""):
        self.t, self.dir = t, t.dir / name
        self.dir.mkdir(mode=0o700)
        self.port, self.mef_port, self.metrics_port = free_port(), free_port(), free_port()
        self.coap_port, self.coap_mef_port = free_port(), free_port()  # only with coap=True
        self.conf = self.dir / "tef.conf"
        key = self.dir / "store.key"
        key.touch(0o600)
        key.write_text("0f" * 32 + "\n")
        both = "" if not coap else f""",
  {{ kind = "maf"; fqdn = "maf.sp.example"; binding = "coap"; address = "127.0.0.1:{self.coap_port}"; {coap_function} }},
  {{ kind = "mef"; fqdn = "mef.sp.example"; binding = "coap"; address = "127.0.0.1:{self.coap_mef_port}";
     {coap_function} }}"""
        self.conf.write_text(f"""
store_key = "file:store.key";
metrics = "127.0.0.1:{self.metrics_port}";
{settings}
functions = (
  {{ kind = "maf"; fqdn = "maf.sp.example"; address = "127.0.0.1:{self.port}"; {function} }},
  {{ kind = "mef"; fqdn = "mef.sp.example"; address = "127.0.0.1:{self.mef_port}"; }}{both}
);
""")
        self.process = None
        if start:
            self.start()
        t.defer(self._close)

    def start(self):
        log = self.dir / "log"
        before = log.read_text().count("ready") if log.exists() else 0
        self.process = Process("sagate-tef", [self.t.program("sagate-tef"), "-c", self.conf], log)
        wait_for(lambda: self.process.log().count("ready") > before or not self.process.alive(), "sagate-tef is ready")
        check(self.process.alive(), f"sagate-tef did not start: {self.process.log()}")

    def _close(self, failed):
        if self.process is None:
            return
        if self.process.alive():
            status = self.process.stop()
            if not failed:
                equal(status, 0, "exit status of sagate-tef")
        check(failed or not SANITIZER.search(self.process.log()), f"sanitizer report: {self.process.log()}")

    def command(self, *argv, status=0):
        done = subprocess.run([str(self.t.program("sagate-tef")), "-c", str(self.conf), *map(str, argv)],
                              capture_output=True, text=True, timeout=30)
        equal(done.returncode, status, f"exit status of {argv}: {done.stderr}")
        return done.stdout if status == 0 else done.stderr

    def client(self, id, *argv):
        """Provisions a client with a generated PSK."""
        identity = f"{id.split('/')[-1]}@maf.sp.example"
        return TefClient(self, id, self.command("client", "add", "--id", id, "--psk-identity", identity, "--generate",
                                                *argv).strip())

    def audit(self):
        path = self.dir / "tef-audit.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def connect(client, version="-tls1_2", cipher=TLS12_CIPHER, port=None, key=None, identity=None, extra=(), quiet=True):
    """openssl s_client with the client's PSK; a stream."""
    need("openssl")
    argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{port or client.tef.port}", version,
            "-psk", key or client.key, "-psk_identity", identity or client.identity, *extra]
    if version == "-tls1_2":
        argv += ["-cipher", cipher]
    return pipe_client(client.tef.t, argv + (["-quiet"] if quiet else []), "openssl")


def key_body(suid=32, targets=(TARGET,), **members):
    return {"sec:symmKeyReg": {"et": "20990101T000000", "adminFQDN": ADMIN, "SUID": suid, "targetIDs": list(targets),
                               **members}}
