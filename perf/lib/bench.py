# What a measurement starts: sagate, its peers, the stand-in CSE and the load generator; and how they are observed.
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

import time
import urllib.request

PATH = "/cse-in/ae/cnt/la"
CIPHERS = {("psk", "1.2"): "PSK-AES128-CCM-8", ("psk", "1.3"): "TLS13-AES128-GCM-SHA256",
           ("certificate", "1.2"): "ECDHE-ECDSA-AES128-CCM-8", ("certificate", "1.3"): "TLS13-AES128-GCM-SHA256"}

NICE = 19  # of what runs beside a measurement and is not measured itself; it gets what others leave (SCHED_IDLE)


class Refused(Exception):
    """sagate does not take this configuration, or the server this kind of device."""


def is_free(port):
    """For TCP and for UDP."""
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def cpu_seconds(pids):
    """CPU time of these processes, user and system, to the nanosecond, with that of threads that have ended. Where a process
    is gone, FileNotFoundError."""
    total = 0.0
    for pid in pids:
        try:
            total += time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3) of another process
        except OSError as error:
            raise FileNotFoundError(f"process {pid}") from error
    return total


def read_text(path):
    with open(path, encoding="ascii", errors="replace") as f:
        return f.read()


def rollup(pid):
    """/proc/PID/smaps_rollup in bytes."""
    lines = [line.split() for line in read_text(f"/proc/{pid}/smaps_rollup").splitlines()][1:]
    return {fields[0].rstrip(":"): int(fields[1]) * 1024 for fields in lines}


def memory_files(pid):
    """{inode: bytes that it occupies} of the memfds that a process has open."""
    found = {}
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        try:
            if os.readlink(path).startswith("/memfd:"):
                status = os.stat(path)
                found[status.st_ino] = status.st_blocks * 512
        except OSError:
            continue  # closed meanwhile
    return found


def resident_bytes(pids):
    """What these processes occupy together: shared pages once, memfds as a whole even where nobody has them mapped."""
    sums = [rollup(pid) for pid in pids]
    private = sum(s.get("Pss_Anon", s["Pss"]) + s.get("Pss_File", 0) for s in sums)
    shared = sum(s.get("Pss_Shmem", 0) for s in sums)
    files = {}
    for pid in pids:
        files.update(memory_files(pid))
    return private + max(shared, sum(files.values()))


def key_of(key_hex, number):
    """The key of identity `number`, as sagate-load makes it."""
    key = bytearray.fromhex(key_hex)
    for i, byte in enumerate(number.to_bytes(4, "big")):
        key[len(key) - 4 + i] ^= byte
    return key.hex()


class Server:
    """Something that is measured: what to aim at, and whose CPU time counts."""

    def __init__(self, port, pids, load, certificates=None):
        self.port, self.pids, self.load_arguments, self.certificates = port, pids, load, certificates


class Bench:
    def __init__(self, args):
        self.args = args
        self.folder = tempfile.mkdtemp(prefix="sagate-perf-")
        os.chmod(self.folder, 0o755)
        self.processes = []
        self.key_text = os.urandom(8).hex()  # some peers take keys as text only
        self.key = self.key_text.encode().hex()
        self.cores = sorted(os.sched_getaffinity(0))
        self.next_port = args.ports
        self.supervisor = self.metrics_port = None
        self.cse = self.cse_process = self.made = None
        self.series = []

    def ports(self, count):
        """Free ports, one behind the other, below those that the kernel gives by itself."""
        while not all(is_free(self.next_port + i) for i in range(count)):
            self.next_port += 1
        self.next_port += count
        return range(self.next_port - count, self.next_port)

    # --- files and processes ---------------------------------------------------------------------------------------

    def path(self, name):
        return os.path.join(self.folder, name)

    def program(self, name):
        path = os.path.join(self.args.build, name)
        if not os.path.exists(path):
            raise Refused(f"{path} has not been built; expected a build folder (--build DIR)")
        return path

    def write(self, name, text, mode=0o644):
        with open(self.path(name), "w", encoding="ascii") as f:
            f.write(text)
        os.chmod(self.path(name), mode)
        return self.path(name)

    def start(self, command, core=None, log=None, nice=0, **kwargs):
        out = open(self.path(log or os.path.basename(command[0]) + ".log"), "ab")

        def prepare():
            if core is not None:
                os.sched_setaffinity(0, {core})
            os.nice(nice)
            if nice == NICE:
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

        settings = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out, **kwargs}
        p = subprocess.Popen(command, preexec_fn=prepare, **settings)
        self.processes.append(p)
        return p

    def end(self, p):
        """Ends one process."""
        if p.poll() is None:
            p.send_signal(signal.SIGTERM)
        try:
            p.wait(timeout=15)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()

    def stop(self):
        for p in reversed(self.processes):
            if p.poll() is None:
                p.send_signal(signal.SIGTERM)
        for p in self.processes:
            self.end(p)
        shutil.rmtree(self.folder, ignore_errors=True)

    def wait_tcp(self, port):
        for _ in range(200):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise SystemExit(f"perf: nothing listens on port {port}")

    def certificates(self):
        """A CA, a certificate of the server and one of the devices, all P-256, made once; {"ca", "server", "device"}:
        (chain, key)."""
        if self.made:
            return self.made
        made = {}
        for name in ("ca", "server", "device"):
            key, chain = self.path(f"{name}.key"), self.path(f"{name}.pem")
            command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                       "-keyout", key, "-out", chain, "-days", "2", "-subj", f"/CN={name}.sp.example"]
            if name != "ca":
                command += ["-CA", made["ca"][0], "-CAkey", made["ca"][1], "-addext", "basicConstraints=CA:FALSE"]
            if name == "device":
                command += ["-addext", "subjectAltName=URI:m2m://sp.example/id-in/Cperf0"]
            subprocess.run(command, check=True, capture_output=True)
            os.chmod(key, 0o600)
            made[name] = (chain, key)
        self.made = made
        return made

    # --- servers ---------------------------------------------------------------------------------------------------

    def cse_command(self, ports, options=()):
        return [self.program("perf/sagate-perf-cse"), *options, f"127.0.0.1:{ports['http']}", f"127.0.0.1:{ports['coap']}"]

    def start_cse(self, core=None):
        """The CSE, on the last core unless another is named."""
        self.cse = dict(zip(("http", "coap"), self.ports(2)))
        self.cse_process = self.start(self.cse_command(self.cse), core=self.cores[-1] if core is None else core)
        self.wait_tcp(self.cse["http"])

    def start_slow_cse(self, delay):
        """Another one, whose every answer waits so many milliseconds; its ports."""
        ports = dict(zip(("http", "coap"), self.ports(2)))
        self.start(self.cse_command(ports, ["--delay-ms", str(delay)]), core=self.cores[-1])
        self.wait_tcp(ports["http"])
        return ports

    def psk(self, identities=1):
        return ["--identity", "perf{}@sp.example", "--key-hex", self.key, "--identities", str(identities)]

    def configuration(self, ports, version, credential, associations, maf, parked, servers, https, limits, workers):
        """Of sagate, as text."""
        made = self.certificates()
        servers = ",\n    ".join(f'{{ name = "{name}"; http = "127.0.0.1:{cse["http"]}"; coap = "127.0.0.1:{cse["coap"]}"; }}'
                                for name, cse in (servers or {"one": self.cse}).items())
        coaps = ""
        if credential == "certificate":
            coaps = 'certificates = [ "perf" ]; client_certificates = "required"; trust_anchors = [ "perf" ]; '
        if version != "1.2":
            coaps += f'version_max = "{version}"; '
        return f"""
process: {{ workers = {workers}; pin_workers = true; log_level = "warning"; state_directory = "{self.path('state')}"; }};
limits: {{ parked = {parked}; requests_per_association = 64; associations = {associations};
  association_idle_seconds = 864000; associations_per_identity = 0; {limits}}};
upstreams = ( {{ name = "cse"; sp_id = "//sp.example"; cse_id = "/id-in"; requests = 4096;
  servers = ( {servers} ); }} );
certificates = ( {{ name = "perf"; chain_file = "{made['server'][0]}"; key_file = "{made['server'][1]}"; }} );
trust_anchors = ( {{ name = "perf"; file = "{made['ca'][0]}"; }} );
{maf}listeners = ( {{ name = "coaps"; transport = "dtls"; binding = "coap"; address = "127.0.0.1"; port = {ports['coaps']};
    upstream = "cse"; psk = true; {coaps}}},
  {{ name = "https"; transport = "tls"; binding = "http"; address = "127.0.0.1"; port = {ports['https']};
    upstream = "cse"; psk = true; certificates = [ "perf" ]; {https}}} );
credentials_file = "{self.path('credentials.conf')}";
control: {{ socket = "{self.path('control.sock')}"; }};
metrics: {{ address = "127.0.0.1"; port = {ports['metrics']}; }};
"""

    def start_sagate(self, version="1.2", credential="psk", identities=1, associations=200000, maf="", parked=1024,
                     servers=None, https="", limits="", workers=1):
        """(coaps, https): two servers. Refused when sagate does not take the configuration. `maf`: text of the
        configuration that names one. `servers`: {name: ports} of the CSE's; else the one of start_cse. `https`, `limits`:
        more settings of that listener and that group, as text."""
        ports = dict(zip(("coaps", "https", "metrics"), self.ports(3)))
        made = self.certificates() if credential == "certificate" else None
        entries = ",\n".join(f'{{ identity = "perf{i}@sp.example"; key_hex = "{key_of(self.key, i)}"; '
                             f'ae_ids = [ "Cperf{i}" ]; }}' for i in range(identities))
        self.write("credentials.conf", f"credentials = (\n{entries}\n);\n", 0o600)
        config = self.write("sagate.conf",
                            self.configuration(ports, version, credential, associations, maf, parked, servers, https, limits,
                                               workers))
        program = self.program("controlplane/supervisor/sagate")
        checked = subprocess.run([program, "-t", "-c", config], capture_output=True, text=True, check=False)
        if checked.returncode != 0:
            raise Refused((checked.stderr + checked.stdout).strip().split("\n")[-1])
        self.supervisor = self.start([program, "-c", config], log="sagate.log")
        self.metrics_port = ports["metrics"]
        self.wait_ready()
        pids = list(self.sagate_pids().values())
        from_ = ["--from", "Cperf{}", "--path", PATH]
        return (Server(ports["coaps"], pids, self.psk(identities) + from_, made),
                Server(ports["https"], pids, self.psk() + from_, made))

    def wait_ready(self):
        for _ in range(600):
            if self.supervisor.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/readyz", timeout=2) as answer:
                    if answer.status == 200 and len(self.sagate_pids()) == 3:
                        return
            except OSError:
                pass
            time.sleep(0.05)
        with open(self.path("sagate.log"), encoding="utf-8") as f:
            raise SystemExit("perf: sagate did not start:\n" + f.read())

    def end_sagate(self):
        self.end(self.supervisor)
        shutil.rmtree(self.path("state"), ignore_errors=True)

    def sleep(self, seconds):
        """Waits; SystemExit when sagate ends meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.5))
            if self.supervisor and self.supervisor.poll() is not None:
                raise SystemExit("perf: sagate ended")

    def sagate_pids(self):
        """{"supervisor", "control", "data"}: process IDs of those that run."""
        pids = {"supervisor": self.supervisor.pid}
        children = subprocess.run(["pgrep", "-P", str(self.supervisor.pid)], capture_output=True, text=True, check=False)
        for pid in children.stdout.split():
            try:
                command = read_text(f"/proc/{pid}/cmdline")
            except OSError:
                continue
            for role in ("control", "data"):
                if f"--role={role}" in command:
                    pids[role] = int(pid)
        return pids

    def metric(self, name, labels=""):
        """The sum of the rows of sagate_NAME in which `labels` occurs."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
            rows = answer.read().decode().splitlines()
        found = [row for row in rows if row.split("{")[0].split(" ")[0] == f"sagate_{name}" and labels in row]
        return sum(float(row.rsplit(" ", 1)[1]) for row in found)

    def start_tef(self, devices, delay_milliseconds):
        """sagate-tef as a MAF whose every answer waits so long. (text for sagate's configuration, a file with the identities
        and keys of so many devices, their originator)."""
        port = self.ports(1)[0]
        program = self.program("controlplane/tefserver/sagate-tef")
        target, source, admin = "//sp.example/id-in", "//sp.example/Sperf", "admin.sp.example"
        self.write("store.key", os.urandom(32).hex() + "\n", 0o600)
        km = self.write("km.key", os.urandom(32).hex() + "\n", 0o600)
        config = self.write("tef.conf", f"""store = "tef.db"; store_key = "file:store.key"; audit_log = ""; metrics = "";
log_level = "warning"; answer_delay_milliseconds = {delay_milliseconds};
functions = ( {{ kind = "maf"; fqdn = "maf.sp.example"; address = "127.0.0.1:{port}"; psk = true; }} );
limits = {{ keys_per_client = {devices}; }};
""")

        def provision(*words):
            done = subprocess.run([program, "-c", config, *words], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise SystemExit("perf: sagate-tef: " + done.stderr.strip())

        provision("client", "add", "--id", target, "--psk-identity", "id-in@maf.sp.example", "--psk-hex-file", km, "--admin",
                  admin)
        provision("client", "add", "--id", source, "--admin", admin)
        provision("key", "add", "--source", source, "--target", target, "--suid", "32", "--count", str(devices), "--output",
                  self.path("devices.txt"))
        self.start([program, "-c", config], core=self.cores[-1], nice=NICE)
        self.wait_tcp(port)
        maf = f"""mafs = ( {{ name = "maf"; fqdn = "maf.sp.example"; address = "127.0.0.1"; port = {port}; upstream = "cse";
  psk_identity = "id-in@maf.sp.example"; psk = "file:{km}"; admin_fqdn = "{admin}"; register = false; connections = 16;
  requests_per_connection = 64; }} );\n"""
        return maf, self.path("devices.txt"), "Sperf"

    def start_forwarder(self):
        port = self.ports(1)[0]
        p = self.start([self.program("perf/sagate-perf-forward"), f"127.0.0.1:{port}", f"127.0.0.1:{self.cse['coap']}"],
                       core=self.cores[0])
        time.sleep(0.5)
        if p.poll() is not None:
            raise SystemExit("perf: the UDP forwarder did not start")
        return Server(port, [p.pid], ["--security", "none", "--from", "Cperf0", "--path", PATH])

    # --- load ------------------------------------------------------------------------------------------------------

    def load_command(self, server, arguments):
        return [self.program("perf/sagate-load"), "--target", f"127.0.0.1:{server.port}"] + server.load_arguments + arguments

    def load(self, server, arguments, refused=False):
        """Loads a server for a time; the result of sagate-load, with what the server used meanwhile. `refused`: answers that
        refuse a request are answers too."""
        return Loading(self, server, arguments).result(refused)

    def load_log(self):
        with open(self.path("sagate-load.log"), encoding="utf-8", errors="replace") as f:
            return f.read()[-300:].strip()


def growing_bytes(pids):
    """What of these processes' resident memory can grow: anonymous pages and memfds. Unlike resident_bytes it takes no lock
    that they need."""
    lines = [line.split() for pid in pids for line in read_text(f"/proc/{pid}/status").splitlines()]
    files = {}
    for pid in pids:
        files.update(memory_files(pid))
    return sum(int(line[1]) * 1024 for line in lines if line and line[0] == "RssAnon:") + sum(files.values())


class Loading:
    """A sagate-load that began to measure, for as long as a run lasts or `seconds`."""

    def __init__(self, bench, server, arguments, seconds=None, nice=0):
        self.bench, self.server, self.arguments = bench, server, arguments
        command = bench.load_command(server, ["--seconds", str(seconds or bench.args.seconds), "--window",
                                              str(bench.args.connections)] + arguments)
        self.client = bench.start(command, core=bench.cores[-1], nice=nice, stdout=subprocess.PIPE, text=True)
        if not self.client.stdout.readline():
            raise Refused("the load generator ended early: " + bench.load_log())
        self.before = [cpu_seconds([pid]) for pid in server.pids]
        self.cse_before = cpu_seconds([bench.cse_process.pid])

    def line(self):
        """Waits for the end; what the load generator says."""
        line = self.client.stdout.readline()
        if not line:
            raise Refused("the load generator ended early: " + self.bench.load_log())
        return json.loads(line)

    def result(self, refused=False):
        """The same, with what the server used meanwhile; Refused when there were no valid answers."""
        bench, server = self.bench, self.server
        result = self.line()
        result["server_cpu_each"] = [cpu_seconds([pid]) - was for pid, was in zip(server.pids, self.before)]
        result["cse_cpu"] = cpu_seconds([bench.cse_process.pid]) - self.cse_before
        result["server_cpu"] = sum(result["server_cpu_each"])
        if self.client.wait() != 0:
            raise SystemExit("perf: the load generator failed: " + bench.load_log())
        done = result["requests"] + result["handshakes"] + result["alerted"]
        if done == 0 or (result["refused"] > 0 and not refused):
            raise Refused(f"no valid answers: {result} {bench.load_log()}")
        result["per_core"] = done / max(result["server_cpu"], 0.01)
        result["per_second"] = done / result["seconds"]
        result["command"] = " ".join(self.arguments)
        # The load generator and the CSE, not the server, were the limit when they used their core and the server did not.
        client = result["client_cpu"] + result["cse_cpu"]
        result["client_limited"] = bool(result.get("client_limited")) or client > 0.9 * result["seconds"] > result["server_cpu"]
        return result


class MemoryPeak:
    """The most that processes occupy together while it runs (`with`), looked at ten times a second, from a core that is not
    the worker's."""

    def __init__(self, pids, core):
        self.pids, self.core, self.bytes, self.ended = pids, core, 0, threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        os.sched_setaffinity(threading.get_native_id(), {self.core})
        start, most = growing_bytes(self.pids), 0
        while not self.ended.wait(0.1):
            most = max(most, growing_bytes(self.pids) - start)
        self.bytes += most

    def __enter__(self):
        self.bytes = resident_bytes(self.pids)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


class Holder:
    """A load generator that holds associations and takes orders; see perf/tasks.c."""

    def __init__(self, bench, server, arguments, nice=0, patience=None):
        """Establishes its associations; Refused when that takes more than `patience` seconds."""
        self.process = bench.start(bench.load_command(server, ["--mode", "hold"] + arguments), core=bench.cores[-1], nice=nice,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, text=True)
        if patience and not select.select([self.process.stdout], [], [], patience)[0]:
            raise Refused(f"not all devices had an association after {patience} s")
        self.established = self.result()

    def result(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("perf: the load generator ended early")
        return json.loads(line)

    def order(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self.result()

    def end(self):
        result = self.order("end")
        if self.process.wait() != 0:
            raise SystemExit("perf: the load generator failed")
        return result
