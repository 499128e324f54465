# The load generator itself, beside tools that are not ours, on the same servers: do they measure the same?
# SPDX-License-Identifier: GPL-3.0-or-later
import os
import re
import statistics
import subprocess
import time

import figures
import https as over_https
import peers
from bench import PATH


UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
BLOCKS = 4000  # that libcoap's client asks for one after the other


def wrk_result(text):
    """Of what wrk prints: {"per_second", "p50_us", "p99_us", "requests"}."""
    found = {"per_second": float(re.search(r"Requests/sec:\s+([0-9.]+)", text)[1]),
             "requests": int(re.search(r"(\d+) requests in", text)[1])}
    for part in (50, 99):
        value = re.search(rf"^\s+{part}%\s+([0-9.]+)(us|ms|s)\s*$", text, re.MULTILINE)
        if value:
            found[f"p{part}_us"] = float(value[1]) * UNITS[value[2]] * 1e6
    return found


def wrk(bench, server):
    core = bench.cores[-1]
    headers = ["X-M2M-Origin: Cperf0", "X-M2M-RI: 1", "X-M2M-RVI: 3", "Accept: application/json"]
    command = ["wrk", "-t", "1", "-c", str(bench.args.connections), "-d", f"{bench.args.seconds}s", "--latency"]
    command += [word for header in headers for word in ("-H", header)]
    done = subprocess.run(command + [f"https://127.0.0.1:{server.port}{PATH}"], capture_output=True, text=True, check=False,
                          preexec_fn=lambda: os.sched_setaffinity(0, {core}))
    if done.returncode != 0:
        raise SystemExit("perf: wrk: " + done.stderr.strip())
    return wrk_result(done.stdout)


def beside_wrk(bench, name, server, what):
    """Requests per second that both tools bring out of one server with the same connections."""
    runs = over_https.alternate(bench, {
        "wrk": lambda: wrk(bench, server),
        "load": lambda: bench.load(server, over_https.THEIRS, refused=True)})
    return figures.ratios_of(name, "HTTPS requests per second, by wrk", [r["per_second"] for r in runs["wrk"]],
                             [r["per_second"] for r in runs["load"]], f"by sagate-load, {what}", raw=runs)


def coap_client(bench, server, blocks):
    """Seconds that libcoap's client takes for a resource of so many blocks, each a request of its own."""
    core = bench.cores[-1]
    command = ["coap-client-openssl", "-m", "get", "-u", "perf0@sp.example", "-k", bytes.fromhex(bench.key), "-B", "60", "-o",
               "/dev/null", "-O", "256,Cperf0", "-O", "257,1", "-O", "271,0x03"]
    command += ["-b", "16"] if blocks > 1 else []
    start = time.monotonic()
    done = subprocess.run(command + [f"coaps://127.0.0.1:{server.port}{PATH}"], capture_output=True, check=False,
                          preexec_fn=lambda: os.sched_setaffinity(0, {core}))
    if done.returncode != 0:
        raise SystemExit("perf: coap-client: " + done.stderr.decode(errors="replace").strip())
    return time.monotonic() - start


def beside_coap_client(bench, args):
    """Time of one request of a single device in a closed loop."""
    raise NotImplementedError


def instrument(bench, args):
    # The server shares its core with the CSE, so that it and not the tool is the limit.
    bench.start_cse(core=bench.cores[0])
    _, https = bench.start_sagate()
    found, notes = [], []
    anonymous = over_https.without_identity(https)
    for name, server, peer, what in (
            ("wrk_vs_load", lambda: anonymous, "wrk", "sagate, devices without identity, which it refuses by itself"),
            ("wrk_vs_load_haproxy", lambda: peers.start_haproxy(bench), "haproxy", "HAProxy and the CSE")):
        if "wrk" in bench.peers and peer in bench.peers:
            found.append(beside_wrk(bench, name, server(), what))
        elif bench.peers.shown("wrk") and bench.peers.shown(peer):
            found.append(figures.absent(name, "HTTPS requests per second, by wrk"))
    return found, notes
