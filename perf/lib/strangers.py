# Crowds of devices that are to be refused: identities that nobody knows, a different one each, beside wrong keys.
# SPDX-License-Identifier: GPL-3.0-or-later
import os

import figures
from bench import NICE, Holder, Loading, MemoryPeak, Server, resident_bytes
from scenarios import suite

# {} is the number of the device. Nobody is configured for the first; the second is of the MAF's domain, which has no such key.
CROWDS = {"wrong_key": "perf{}@sp.example", "elsewhere": "stranger{}@elsewhere.example", "at_maf": "stranger{}@maf.sp.example"}


def crowd(bench, args, coaps, identity, identities, nice=0):
    """One crowd at work, for a run; what the load generator says of it, with the server's CPU time."""
    server = Server(coaps.port, coaps.pids, ["--identity", identity, "--key-hex", os.urandom(16).hex(), "--identities",
                                             str(identities)])
    devices = ["--mode", "handshake", "--alerts", "--devices", str(args.devices), "--source", "127.100.0.0"]
    return Loading(bench, server, suite(args) + devices, nice=nice).result()


def beside_others(bench, args, coaps):
    """The crowd from elsewhere while associations ask in an open loop; what those measured before and during it."""
    holder = Holder(bench, coaps, suite(args) + ["--devices", str(args.connections), "--window", str(args.connections), "--rate",
                                                 str(args.rate)])
    holder.order("load")
    bench.sleep(args.seconds)
    before = holder.order("measure")
    alerted = crowd(bench, args, coaps, "beside{}@elsewhere.example", args.devices, NICE)
    during = holder.order("measure")
    holder.end()
    return {"before": before, "during": during, "crowd": alerted}


def strangers(bench, args):
    bench.start_cse()
    maf, _, _ = bench.start_tef(1, 0)
    coaps, _ = bench.start_sagate(identities=args.connections, maf=maf)
    idle_bytes = resident_bytes(coaps.pids)
    results = {name: [] for name in CROWDS}
    with MemoryPeak(coaps.pids, bench.cores[-1]) as peak:
        for again in range(args.repetitions):
            for name, identity in CROWDS.items():
                if name == "at_maf":
                    asked = bench.metric("tef_requests_total")
                different = args.connections if name == "wrong_key" else args.devices
                results[name].append(crowd(bench, args, coaps, identity.replace("{}", f"{again}x{{}}", name != "wrong_key"),
                                           different))
                if name == "elsewhere" and bench.metric("tef_requests_total") > 0 and again == 0:
                    raise SystemExit("perf: the MAF was asked for identities that are not its own")
        asked = bench.metric("tef_requests_total") - asked
        others = beside_others(bench, args, coaps)
    per_second = {name: [one["alerted"] / one["seconds"] for one in found] for name, found in results.items()}
    wrong = "the same with known identities and wrong keys"
    raw = {"crowds": results, "others": others, "idle_bytes": idle_bytes}
    failed = sum(one["handshakes"] + one["handshakes_failed"] for found in results.values() for one in found)
    return [
        figures.ratios_of("refused_per_second", "handshakes with identities of places that are not configured",
                          per_second["elsewhere"], per_second["wrong_key"], wrong, raw=raw),
        figures.ratios_of("refused_at_maf_per_second", "handshakes with identities that the MAF does not know",
                          per_second["at_maf"], per_second["wrong_key"], wrong),
        figures.measured("ended_otherwise", "handshakes without the alert", [failed]),
        figures.measured("requests_lost", "requests on existing associations, beside the first crowd",
                         [others["during"]["lost"]]),
        figures.made("p99_during_vs_before", "us, p99 of requests on existing associations, as their generator has it",
                     others["during"]["p99_us"], others["before"]["p99_us"], "before",
                     others["during"]["p99_us"] / others["before"]["p99_us"]),
        figures.made("peak_bytes", "resident bytes of sagate's processes", peak.bytes, idle_bytes, "before the first handshake",
                     peak.bytes / idle_bytes),
    ], [f"beside associations {others['crowd']['alerted'] / others['crowd']['seconds']:.0f} handshakes per second were "
        f"refused; the MAF was asked for {asked:.0f} identities in the last of {args.repetitions} passes"]
