# Crowds of devices that are to be refused: identities that nobody knows, a different one each, beside wrong keys.
# SPDX-License-Identifier: GPL-3.0-or-later
import os

import figures
from bench import NICE, Holder, Loading, MemoryPeak, Server, resident_bytes
from scenarios import suite

# {pass} is the number of the repetition, {} that of the device. The first are known, and their keys are wrong; nobody is
# configured for the second; the third are of the MAF's domain, which has no such key.
CROWDS = {"wrong_key": "perf{}@sp.example", "elsewhere": "stranger{pass}x{}@elsewhere.example",
          "at_maf": "stranger{pass}x{}@maf.sp.example"}


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


def asked_of_maf(bench):
    return bench.metric("tef_requests_total")


def one_pass(bench, args, coaps, number):
    """Each crowd once: what the load generator says of each, and how many identities the MAF was asked for."""
    found, asked = {}, {}
    for name, identity in CROWDS.items():
        before = asked_of_maf(bench)
        known = args.connections if name == "wrong_key" else args.devices
        found[name] = crowd(bench, args, coaps, identity.replace("{pass}", str(number)), known)
        asked[name] = asked_of_maf(bench) - before
    return found, asked


def strangers(bench, args):
    bench.start_cse()
    maf, _, _ = bench.start_tef(1, 0)
    coaps, _ = bench.start_sagate(identities=args.connections, maf=maf)
    idle_bytes = resident_bytes(coaps.pids)
    with MemoryPeak(coaps.pids, bench.cores[-1]) as peak:
        passes = [one_pass(bench, args, coaps, number) for number in range(args.repetitions)]
        others = beside_others(bench, args, coaps)
    results = {name: [found[name] for found, _ in passes] for name in CROWDS}
    per_second = {name: [one["alerted"] / one["seconds"] for one in found] for name, found in results.items()}
    wrong = "the same with known identities and wrong keys"
    raw = {"crowds": results, "others": others, "idle_bytes": idle_bytes}
    crowds = [one for found in results.values() for one in found] + [others["crowd"]]
    failed = sum(one["handshakes"] + one["handshakes_failed"] for one in crowds)
    return [
        figures.ratios_of("refused_per_second", "handshakes with identities of places that are not configured",
                          per_second["elsewhere"], per_second["wrong_key"], wrong, raw=raw),
        figures.ratios_of("refused_at_maf_per_second", "handshakes with identities that the MAF does not know",
                          per_second["at_maf"], per_second["wrong_key"], wrong),
        figures.measured("ended_otherwise", "handshakes without the alert", [failed]),
        figures.measured("maf_asked_in_vain", "identities that are not of the MAF's domain, which it was asked for",
                         [sum(asked["elsewhere"] for _, asked in passes)]),
        figures.measured("requests_lost", "requests on existing associations, beside the first crowd",
                         [others["during"]["lost"]]),
        figures.made("p99_during_vs_before", "us, p99 of requests on existing associations, as their generator has it",
                     others["during"]["p99_us"], others["before"]["p99_us"], "before",
                     others["during"]["p99_us"] / others["before"]["p99_us"]),
        figures.made("peak_bytes", "resident bytes of sagate's processes", peak.bytes, idle_bytes, "before the first handshake",
                     peak.bytes / idle_bytes),
    ], [f"beside associations {others['crowd']['alerted'] / others['crowd']['seconds']:.0f} handshakes per second were "
        f"refused; the MAF was asked for {passes[-1][1]['at_maf']:.0f} identities of its domain in the last of {len(passes)} passes"]
