# The load generator itself, beside tools that are not ours, on the same servers: do they measure the same?
# SPDX-License-Identifier: GPL-3.0-or-later
import os
import re
import resource
import subprocess
import time

import figures
import https as over_https
import peers
from bench import PATH, Refused, Server, cpu_seconds

ALL_OF_IT = 0.9  # of a core, and a tool is the limit itself
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
BLOCKS = 2000  # that libcoap's client asks for one after the other, for each second of the other runs


def wrk_result(text):
    """Of what wrk prints: {"per_second", "p50_us", "p99_us", "requests"}."""
    found = {"per_second": float(re.search(r"Requests/sec:\s+([0-9.]+)", text)[1]),
             "requests": int(re.search(r"(\d+) requests in", text)[1])}
    for part in (50, 99):
        value = re.search(rf"^\s+{part}%\s+([0-9.]+)(us|ms|s)\s*$", text, re.MULTILINE)
        if value:
            found[f"p{part}_us"] = float(value[1]) * UNITS[value[2]] * 1e6
    return found


def children_cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def wrk(bench, server):
    core = bench.cores[-1]
    headers = ["X-M2M-Origin: Cperf0", "X-M2M-RI: 1", "X-M2M-RVI: 3", "Accept: application/json"]
    command = ["wrk", "-t", "1", "-c", str(bench.args.connections), "-d", f"{bench.args.seconds}s", "--latency"]
    command += [word for header in headers for word in ("-H", header)]
    cpu, own = cpu_seconds(server.pids), children_cpu()
    done = subprocess.run(command + [f"https://127.0.0.1:{server.port}{PATH}"], capture_output=True, text=True, check=False,
                          preexec_fn=lambda: os.sched_setaffinity(0, {core}))
    if done.returncode != 0:
        raise SystemExit("perf: wrk: " + done.stderr.strip())
    found = wrk_result(done.stdout)
    found["server_cpu"], found["client_cpu"] = cpu_seconds(server.pids) - cpu, children_cpu() - own
    found["client_limited"] = found["client_cpu"] > ALL_OF_IT * bench.args.seconds
    found["per_core"] = found["requests"] / max(found["server_cpu"], 0.01)
    return found


def beside_wrk(bench, name, server, what):
    """Requests per second that both tools bring out of one server with the same connections."""
    runs = over_https.alternate(bench, {
        "wrk": lambda: wrk(bench, server),
        "load": lambda: bench.load(server, over_https.THEIRS, refused=True)})
    limited = any(run["client_limited"] for run in runs["wrk"])
    notes = [f"{name}: wrk used its core whole; it, and not the server, was the limit"] if limited else []
    return [figures.ratios_of(name, "HTTPS requests per second, by wrk", [r["per_second"] for r in runs["wrk"]],
                              [r["per_second"] for r in runs["load"]], f"by sagate-load, {what}", raw=runs),
            figures.ratios_of(name + "_per_core", "HTTPS requests per CPU second of the server, by wrk",
                              [r["per_core"] for r in runs["wrk"]], [r["per_core"] for r in runs["load"]],
                              "by sagate-load, without the handshakes that wrk begins with")], notes


def coap_client(bench, server):
    """libcoap's client asks for a resource in blocks, each a request of its own, one after the other."""
    core, blocks = bench.cores[-1], bench.args.seconds * BLOCKS
    command = ["coap-client-notls", "-m", "get", "-b", "16", "-B", str(60 * bench.args.seconds), "-o",
               bench.path("blocks.out"), f"coap://127.0.0.1:{server.port}{PATH}"]
    cpu, start = cpu_seconds(server.pids), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          preexec_fn=lambda: os.sched_setaffinity(0, {core}))
    seconds, cpu = time.monotonic() - start, cpu_seconds(server.pids) - cpu
    # Blocks of 16 bytes: the size of what came tells how many requests were answered.
    size = os.path.getsize(bench.path("blocks.out")) if os.path.exists(bench.path("blocks.out")) else 0
    if done.returncode != 0 or size != blocks * 16:
        raise Refused(f"libcoap's client got {size} of {blocks * 16} bytes: {(done.stdout + done.stderr).strip()[-200:]}")
    return {"requests": blocks, "seconds": seconds, "server_cpu": cpu, "per_core": blocks / cpu,
            "per_second": blocks / seconds}


def beside_coap_client(bench, args):
    """One device with one request under way, in clear, as libcoap's client drops answers with oneM2M's critical options."""
    ports = dict(zip(("http", "coap"), bench.ports(2)))
    cse = bench.start(bench.cse_command(ports, ["--blocks", str(args.seconds * BLOCKS)]), core=bench.cores[0])
    bench.wait_tcp(ports["http"])
    server = Server(ports["coap"], [cse.pid], ["--security", "none", "--path", PATH, "--devices", "1"])
    runs = over_https.alternate(bench, {"client": lambda: coap_client(bench, server),
                                        "load": lambda: bench.load(server, ["--window", "1"])})
    client, load = runs["client"], runs["load"]
    bench.end(cse)
    return [figures.ratios_of("coap_client_vs_load", "CoAP requests per CPU second of the server, by libcoap's client",
                              [r["per_core"] for r in client], [r["per_core"] for r in load], "by sagate-load", raw=runs),
            figures.ratios_of("coap_client_rate_vs_load", "CoAP requests per second, one after the other, by libcoap's client",
                              [r["per_second"] for r in client], [r["per_second"] for r in load],
                              "by sagate-load; what each program itself needs is in it")]


def instrument(bench, args):
    # The server shares its core with the CSE, so that it and not the tool is the limit.
    bench.start_cse(core=bench.cores[0])
    # TLS 1.2, as with HAProxy: else each tool would negotiate another version.
    _, https = bench.start_sagate(https='version_max = "1.2"; ')
    found, notes = [], ["coap_client: the server is sagate-perf-cse, in clear; wrk: the server and the CSE share a core"]
    anonymous = over_https.without_identity(https)
    for name, server, peer, what in (
            ("wrk_vs_load", lambda: anonymous, "wrk", "sagate, devices without identity, which it refuses by itself"),
            ("wrk_vs_load_haproxy", lambda: peers.start_haproxy(bench), "haproxy", "HAProxy and the CSE")):
        if "wrk" in bench.peers and peer in bench.peers:
            beside, said = beside_wrk(bench, name, server(), what)
            found, notes = found + beside, notes + said
        elif bench.peers.shown("wrk") and bench.peers.shown(peer):
            found.append(figures.absent(name, "HTTPS requests per second, by wrk"))
    if "coap-client" in bench.peers:
        found += beside_coap_client(bench, args)
    elif bench.peers.shown("coap-client"):
        found.append(figures.absent("coap_client_vs_load", "CoAP requests per CPU second of the server"))
    return found, notes
