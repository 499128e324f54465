# HTTPS beside HAProxy, nginx and stunnel: requests, full handshakes, and latency at a rate that both can do.
# SPDX-License-Identifier: GPL-3.0-or-later
import statistics

import figures
import peers
import stages
from bench import PATH, Server

TLS = ["--security", "tls1.2", "--cipher"]
OURS = TLS + ["PSK-AES128-GCM-SHA256"]
THEIRS = TLS + [peers.TLS_SUITE]
REQUESTS = "HTTPS requests per CPU second"
HANDSHAKES = "full handshakes per CPU second"
WHO = {"haproxy": "HAProxy, one thread, to the same CSE", "nginx": "nginx, one process, to the same CSE",
       "stunnel": "stunnel, one core, to the same CSE"}


def without_identity(server):
    """The same server for devices that prove none: it shows its certificate, as its peers do."""
    return Server(server.port, server.pids, ["--from", "Cperf0", "--path", PATH])


def alternate(bench, runs):
    """{name: results}: each in turn, as often as was asked for."""
    results = {name: [] for name in runs}
    for _ in range(bench.args.repetitions):
        for name, run in runs.items():
            results[name].append(run())
    return results


def latency(bench, server, peer, maxima, rate):
    """p99 of both in an open loop at the same rate."""
    runs = alternate(bench, {"ours": lambda: bench.load(server, OURS + ["--rate", str(rate)]),
                             "reference": lambda: bench.load(peer, THEIRS + ["--rate", str(rate)])})
    bench.series += [figures.percentiles(f"latency of {who} at {rate} requests per second", runs[side][0])
                     for side, who in (("ours", "sagate"), ("reference", "HAProxy"))]
    # Microseconds of a busy machine differ by far: the median of each is compared.
    ours, reference = (statistics.median(r["p99_us"] for r in runs[side]) for side in ("ours", "reference"))
    figure = figures.made("p99_at_70_percent_vs_haproxy", f"us, p99 at {rate} requests per second", ours, reference,
                          WHO["haproxy"], ours / reference,
                          spread_is=figures.spread([r["p99_us"] for r in runs["ours"]]),
                          raw={"ours": runs["ours"], "reference": runs["reference"], "closed_loop": maxima, "rate": rate})
    late = max(r.get("late_p99_us", 0) for side in runs.values() for r in side)
    return figure, [f"p99 at {bench.args.part:.0%} of the smaller closed-loop maximum, {rate} of {maxima} requests per second; "
                    f"p99 of what the load generator itself was late: {late:.0f} us"]


def https(bench, args):
    bench.start_cse()
    _, server = bench.start_sagate()
    anonymous = without_identity(server)
    started = {name: start(bench) for name, start in peers.START.items() if name in bench.peers}
    runs = {"sagate": lambda: bench.load(server, OURS)}
    shakes = {"sagate": lambda: bench.load(anonymous, ["--mode", "handshake"] + THEIRS)}
    for name, peer in started.items():
        runs[name] = lambda peer=peer: bench.load(peer, THEIRS)
        shakes[name] = lambda peer=peer: bench.load(peer, ["--mode", "handshake"] + THEIRS)
    requests, handshakes = alternate(bench, runs), alternate(bench, shakes)
    found, notes = [], []
    for what, unit, results in (("requests", REQUESTS, requests), ("handshakes", HANDSHAKES, handshakes)):
        for name, is_what in WHO.items():
            if name in started:
                found.append(figures.compared(f"{what}_vs_{name}", unit, results["sagate"], results[name], is_what))
            elif bench.peers.shown(name):
                found.append(figures.absent(f"{what}_vs_{name}", unit, is_what))
    if "haproxy" in started:
        maxima = {name: round(statistics.median(r["per_second"] for r in requests[name])) for name in ("sagate", "haproxy")}
        rate = max(1, int(min(maxima.values()) * args.part))
        figure, notes = latency(bench, server, started["haproxy"], maxima, rate)
        found.append(figure)
    elif bench.peers.shown("haproxy"):
        found.append(figures.absent("p99_at_70_percent_vs_haproxy", "us", WHO["haproxy"]))
    return found, notes + stages.profile(bench, server, OURS, "HTTPS")
