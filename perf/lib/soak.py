# Churn, rebinding and reloads for long: memory and descriptors of sagate's processes, and what came of the requests.
# SPDX-License-Identifier: GPL-3.0-or-later
import os
import statistics
import subprocess
import time

import figures
import https as over_https
from bench import Holder, Loading, Refused, resident_bytes
from scenarios import suite

SAMPLES = 240  # of memory and descriptors, over the whole soak


def descriptors(pids):
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)


def quarter(samples, number):
    """Samples of the first (0) to last (3) quarter of the time."""
    size = len(samples) / 4
    return samples[int(number * size):int((number + 1) * size)]


def growth(samples, key):
    """(median of the last quarter, median of the second): the first has what a start needs."""
    return tuple(statistics.median(s[key] for s in quarter(samples, n)) for n in (3, 1))


class Reloader:
    """`sagatectl reload` every so many seconds."""

    def __init__(self, bench, every):
        self.command = [bench.program("controlplane/ctl/sagatectl"), "-s", bench.path("control.sock"), "reload"]
        self.every, self.next, self.seconds, self.failed = every, time.monotonic() + every, [], []

    def look(self):
        if time.monotonic() < self.next:
            return
        self.next += self.every
        start = time.monotonic()
        told = subprocess.run(self.command, capture_output=True, text=True, check=False)
        self.seconds.append(time.monotonic() - start)
        if told.returncode != 0:
            self.failed.append((told.stdout + told.stderr).strip())


def look(bench):
    """What sagate's processes have at this moment. Connections to the CSE come and go with the load, so their descriptors
    are not among those that may not grow."""
    pids = bench.sagate_pids()
    connections = int(bench.metric("upstream_connections"))
    return {"memory": resident_bytes(pids.values()), "descriptors": descriptors(pids.values()) - connections,
            "connections": connections, "associations": bench.metric("associations"),
            "each": {role: resident_bytes([pid]) for role, pid in pids.items()}}


def watch(bench, args, loads):
    """Samples until the time is over, and the reloads meanwhile."""
    seconds = args.minutes * 60
    reloader = Reloader(bench, args.reload)
    samples, start = [], time.monotonic()
    while (at := time.monotonic() - start) < seconds:
        samples.append(dict(look(bench), at=at))
        reloader.look()
        while time.monotonic() - start < min(seconds, len(samples) * seconds / SAMPLES):
            bench.sleep(0.2)
            reloader.look()
            if any(load.client.poll() is not None for load in loads):
                raise Refused("the load generator ended early: " + bench.load_log())
    return samples, reloader


def soak(bench, args):
    bench.start_cse()
    # What fills up to its limit by design has small limits here, so that it is full before the second quarter begins.
    coaps, https = bench.start_sagate(identities=args.associations, associations=args.associations * 2 + 1000,
                                      limits="coap_exchange_bytes = 1048576; ")
    pids = bench.sagate_pids()
    seconds = args.minutes * 60 + 5
    # The processes that count are those there at the end as well: a death would be told by a change.
    dtls = Loading(bench, coaps, suite(args) + ["--devices", str(args.associations), "--rate", str(args.rate), "--churn",
                                                str(args.churn), "--rebind", str(args.rebind)], seconds=seconds)
    tls = Loading(bench, https, over_https.OURS + ["--rate", str(args.tls_rate), "--churn", str(args.churn)],
                  seconds=seconds)
    samples, reloader = watch(bench, args, (dtls, tls))
    results = [dtls.result(refused=True), tls.result(refused=True)]  # counted below
    failed = sum(r["lost"] + r["refused"] + r["errors"] + r["handshakes_failed"] for r in results)
    for key, label in (("memory", "resident bytes"), ("descriptors", "open descriptors, without those to the CSE"),
                        ("associations", "associations")):
        bench.series.append({"name": f"{key} over time", "x_label": "s", "y_label": label,
                             "points": [[round(s["at"], 1), s[key]] for s in samples]})
    memory, opened = growth(samples, "memory"), growth(samples, "descriptors")
    is_what = "median of the second quarter"
    notes = [f"{args.minutes} minutes; {sum(r['requests'] for r in results)} requests, "
             f"{sum(r['handshakes'] for r in results)} handshakes, {sum(r.get('churned', 0) for r in results)} times churned, "
             f"{results[0].get('rebound', 0)} times rebound, {len(reloader.seconds)} reloads"]
    notes += [f"a reload failed: {text}" for text in reloader.failed[:3]]
    if bench.sagate_pids() != pids:
        notes.append("a process of sagate died and was started again")
    return [
        figures.made("memory_growth", "resident bytes, median of the last quarter", memory[0], memory[1], is_what,
                     memory[0] / memory[1], raw={"runs": results, "samples": samples, "reload_seconds": reloader.seconds}),
        figures.made("descriptor_growth", "descriptors without those to the CSE, last quarter less second", opened[0] - opened[1], opened[1], is_what),
        figures.made("requests_failed", "requests and handshakes that failed, reloads that did",
                     failed + len(reloader.failed)),
    ], notes
