# Keys must not be seen anywhere: logs, audit logs, metrics, answers to operators, files of state, cores.
# SPDX-License-Identifier: GPL-3.0-or-later
import base64
import contextlib
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import urllib.request

from clients import openssl_psk
from lib import CREDENTIALS, DEV1, check, equal, wait_for
from odd_handshakes import ending
from tef import ADMIN, SOURCE, TARGET, Tef
from test_maf import device_of, register, start
from test_maf_bad_input import AT, sanitized, with_maf


def forms(key):
    """A key as it could be written somewhere."""
    return {"raw": key, "hexadecimal": key.hex().encode(), "capital hexadecimal": key.hex().upper().encode(),
            "base64": base64.b64encode(key).rstrip(b"=")}


def search(where, keys):
    """What of the keys is in these bytes or this file."""
    data = where if isinstance(where, bytes) else where.read_bytes()
    return [f"{what} of {name}" for name, key in keys.items() for what, form in forms(key).items() if form in data]


def core_of(t, name, pid):
    """A core of a process as the kernel's rules would have it (gcore leaves out what is marked VM_DONTDUMP)."""
    if sanitized(t) or shutil.which("gcore") is None:  # a sanitizer maps more than a core can hold
        return None
    done = t.run(["gcore", "-o", t.dir / f"core.{name}", str(pid)], 60)
    path = t.dir / f"core.{name}.{pid}"
    return path if done.returncode == 0 and path.exists() else None


def cores_of_abort(s, pid):
    """The core of a process that aborts, where this machine writes such: [] or [path]."""
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()
    folder = pathlib.Path(os.readlink(f"/proc/{pid}/cwd"))
    base = folder / re.sub(r"%.*", "", pattern)
    before = set(base.parent.glob(base.name + "*")) if not pattern.startswith("|") else set()
    os.kill(pid, signal.SIGABRT)
    wait_for(lambda: not pathlib.Path(f"/proc/{pid}").exists(), "the process has ended")
    return [] if pattern.startswith("|") else [p for p in base.parent.glob(base.name + "*") if p not in before]


def everything_that_is_told(s):
    told = s.get("/metrics")[1].encode()
    for words in (("status",), ("associations", "list"), ("identities", "list"), ("tef", "status")):
        done = s.t.run([s.t.program("sagatectl"), "-s", s.socket, "--json", *words])
        told += done.stdout + done.stderr
    return told


PLANTED = """
import sys
secret = bytes.fromhex(sys.stdin.readline())
print("ready", flush=True)
sys.stdin.read()
print(len(secret))
"""


def test_the_search_finds_what_is_there(t):
    """A process that has a secret in ordinary memory: the same core of it, looked through in the same way, shows it."""
    secret = os.urandom(32)
    process = subprocess.Popen([sys.executable, "-c", PLANTED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    t.defer(lambda failed: process.kill())
    process.stdin.write(secret.hex() + "\n")
    process.stdin.flush()
    equal(process.stdout.readline(), "ready\n")
    core = core_of(t, "planted", process.pid)
    if core is not None:
        found = search(core, {"planted": secret, "another": os.urandom(32)})
        core.unlink()
        check("raw of planted" in found, f"a secret in ordinary memory was not found: {found}")
        check(not any("another" in what for what in found), "something was found that is not there")
    else:
        print("no core was to be had from gcore")
    for path, text in (("some.log", secret.hex()), ("other.log", base64.b64encode(secret).decode())):
        (t.dir / path).write_text(f"2026-01-01 a line with {text} in it\n")
        equal(len(search(t.dir / path, {"planted": secret})), 1, path)
    process.communicate("", timeout=10)


def test_keys_are_nowhere(t):
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
    s, maf = with_maf(t)
    devices = [maf.device(f"secret{n}") for n in range(8)]
    keys = {c.identity: c.key.encode() for c in CREDENTIALS + devices}
    # The search itself finds what is there.
    equal(len(search(DEV1.key.encode() + DEV1.hex.encode(), keys)), 2, "what the search finds")
    with contextlib.ExitStack() as held:
        for number, device in enumerate(devices):
            client = held.enter_context(s.tls(device) if number % 2 else s.dtls(device))
            ask = client.request("GET", "/cse-in", origin=device.ae_ids[0]) if number % 2 else \
                client.request("get", "cse-in", origin=device.ae_ids[0])
            equal(ask and ask.rsc, 2000, device.identity)
        for name in ("key-of-65", "expired", "other-key"):
            maf.of[name] = name.replace("-", "_")
            ending(t, s, "tls1.2", f"{name}{AT}", maf.device(name).hex)
            keys[name] = maf.key(name).encode()
        found = search(everything_that_is_told(s), keys)
        s.ctl("reload")
        found += search(everything_that_is_told(s), keys)
        pids = s.pids()
        for name in ("control", "data"):
            core = core_of(t, name, pids[name])
            if core is not None:
                found += [f"core of {name}: {what}" for what in search(core, keys)]
                core.unlink()
            else:
                print(f"no core of the {name} process was to be had from gcore")
        for name in ("data", "control"):
            for core in cores_of_abort(s, pids[name]):
                found += [f"{core.name} ({name}): {what}" for what in search(core, keys)]
                core.unlink()
    wait_for(s.ready, "sagate serves again")
    found += search(everything_that_is_told(s), keys)
    files = [t.dir / "sagate.log", *(p for p in (s.dir / "state").rglob("*") if p.is_file())]
    for path in files:
        found += [f"{path.name}: {what}" for what in search(path, keys)]
    equal(found, [], "keys that were found")


test_keys_are_nowhere.timeout = 200


def test_keys_of_a_tef_are_nowhere(t):
    """A whole run of sagate-tef and of what asks it, and then everything that it has written or told."""
    tef = Tef(t)
    s = start(t, tef)
    device = device_of(tef)
    keys = {"Km of the device": bytes.fromhex(device.key),
            "Km of the target": bytes.fromhex((s.dir / "km.key").read_text().strip())}
    for number, (kind, suid) in enumerate((("maf", 32), ("mef", 22), ("maf", 32))):
        key = register(tef, device, suid, kind)
        keys[f"key {number} of the {kind}"] = key.bytes
        with openssl_psk(t, s.tls_port, key) as stream:
            equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi=f"r{number}").rsc, 2000, f"key {number}")
    file = t.dir / "more.txt"
    tef.command("client", "add", "--id", SOURCE, "--admin", ADMIN)
    tef.command("key", "add", "--source", SOURCE, "--target", TARGET, "--suid", "32", "--count", 2, "--output", file)
    for line in file.read_text().splitlines():
        identity, hexadecimal = line.split()
        keys[identity] = bytes.fromhex(hexadecimal)
        # As whoever wrote it down wrongly: the key where the identity belongs.
        tef.command("client", "show", hexadecimal, status=2)
    keys["store key"] = bytes.fromhex("0f" * 32)
    check(len(keys) >= 8, f"too few keys: {list(keys)}")
    with urllib.request.urlopen(f"http://127.0.0.1:{tef.metrics_port}/metrics", timeout=5) as answer:
        metrics = answer.read()
    check(b"sagate_tef" in metrics or b"tef_" in metrics, f"metrics: {metrics[:200]}")
    check(len(tef.audit()) >= 6, "the audit log")
    found = [f"metrics: {what}" for what in search(metrics, keys)]
    found += [f"sagate: {what}" for what in search(everything_that_is_told(s), keys)]
    for words in (("client", "list"), ("key", "list")):
        found += [f"{words}: {what}" for what in search(tef.command(*words).encode(), keys)]
    equal(tef.process.stop(), 0, "exit status of sagate-tef")
    files = [p for p in tef.dir.rglob("*") if p.is_file() and p.name != "store.key"] + [t.dir / "sagate.log"]
    check({"log", "tef-audit.jsonl"} <= {p.name for p in files}, f"files: {files}")
    check(any(p.suffix == ".db" for p in files), f"the store is not among {files}")
    for path in files:
        found += [f"{path.name}: {what}" for what in search(path, keys)]
    equal(found, [], "keys that were found")


test_keys_of_a_tef_are_nowhere.timeout = 120
