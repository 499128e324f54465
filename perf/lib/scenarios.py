# The scenarios of perf/run. Each takes the bench and the command line, and returns (figures, notes).
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time

import alerts
import capture
import figures
import peers
import stages
import wire
from bench import CIPHERS, NICE, PATH, Holder, MemoryPeak, Refused, Server, cpu_seconds, resident_bytes

STORM_SECONDS = 300  # that it may take; its core may have nothing left for it
HOLDER_NETWORK = "127.1.0.0/16"  # of the devices of a generator that is told no other
COAP_UNIT = "CoAP requests per CPU second"
HANDSHAKE_UNIT = "handshakes per CPU second"
LIBCOAPS = ("openssl", "gnutls")


def per_core(results):
    return statistics.median(r["per_core"] for r in results)


def repeat(bench, runs):
    """{name: results} of {name: function}: one after the other, as often as was asked for."""
    results = {name: [] for name in runs}
    for _ in range(bench.args.repetitions):
        for name, run in runs.items():
            results[name].append(run())
    return results


def faster(results):
    """The better of libcoap's servers."""
    tls = max(LIBCOAPS, key=lambda name: per_core(results[name]))
    return tls, results[tls]


def suite(args, credential="psk", version="1.2"):
    return ["--security", f"dtls{version}", "--cipher", CIPHERS[(credential, version)]] + (
        ["--no-cid"] if args.no_cid else ["--cid", str(args.cid)])


def suite_of_libcoap():
    """It has no Connection IDs, which the load generator's library wants to be told."""
    return ["--security", "dtls1.2", "--cipher", CIPHERS[("psk", "1.2")], "--no-cid"]


def cid_notes(args, result):
    """Says so when what was asked for is not what was measured."""
    if args.no_cid or result["with_cid"] > 0 or result["handshakes"] == 0:
        return []
    return ["sagate agreed to no Connection ID: ours is without"]


def quick(bench, args):
    bench.start_cse()
    coaps, https = bench.start_sagate()
    devices = ["--devices", str(args.connections)]
    tls = ["--security", "tls1.2", "--cipher"]
    runs = {"sagate_coap": lambda: bench.load(coaps, suite(args) + devices),
            "sagate_https": lambda: bench.load(https, tls + ["PSK-AES128-GCM-SHA256"])}
    if "libcoap" in bench.peers:
        libcoap = peers.start_libcoap(bench, "openssl")
        runs["libcoap"] = lambda: bench.load(libcoap, suite_of_libcoap() + devices)
    if "haproxy" in bench.peers:
        haproxy = peers.start_haproxy(bench)
        runs["haproxy"] = lambda: bench.load(haproxy, tls + [peers.TLS_SUITE])
    results = repeat(bench, runs)
    return beside(bench, [
        ("forward_vs_libcoap", COAP_UNIT, "sagate_coap", "libcoap", "libcoap's DTLS server that answers by itself"),
        ("requests_vs_haproxy", "HTTPS requests per CPU second", "sagate_https", "haproxy",
         "HAProxy, one thread, to the same CSE")], results), []


def beside(bench, wanted, results):
    """Figures of (name, unit, ours, peer, what the peer is): null where it is not installed, left out where it was not asked
    for."""
    found = []
    for name, unit, ours, peer, reference_is in wanted:
        if peer in results:
            found.append(figures.compared(name, unit, results[ours], results[peer], reference_is))
        elif bench.peers.shown(peer):
            found.append(figures.absent(name, unit, reference_is))
    return found


def coap(bench, args):
    bench.start_cse()
    coaps, _ = bench.start_sagate(identities=args.identities)
    forwarder = bench.start_forwarder()
    devices = ["--devices", str(args.connections)]
    ours = suite(args) + devices
    runs = {"sagate": lambda: bench.load(coaps, ours),
            "forwarder": lambda: bench.load(forwarder, devices)}
    start_libcoaps(bench, runs, devices)
    results = repeat(bench, runs)
    bench.series += [figures.percentiles(f"latency of {name}, {args.connections} requests under way", r[0])
                     for name, r in results.items()]
    found = [figures.compared("forward_vs_udp", COAP_UNIT, results["sagate"], results["forwarder"],
                              "a plain UDP forwarder on the same io driver, to the same CSE")]
    found += beside_libcoap(bench, "forward_vs_libcoap", COAP_UNIT, results, "that answers by itself")
    return found, stages.profile(bench, coaps, ours, "CoAP")


def start_libcoaps(bench, runs, arguments):
    """Adds a run with each of libcoap's servers."""
    for tls in LIBCOAPS if "libcoap" in bench.peers else ():
        server = peers.start_libcoap(bench, tls)
        runs[tls] = lambda server=server: bench.load(server, arguments + suite_of_libcoap())


def beside_libcoap(bench, name, unit, results, how):
    """The figure beside the faster of libcoap's servers."""
    if "libcoap" not in bench.peers:
        return [figures.absent(name, unit, "libcoap's DTLS server")] if bench.peers.shown("libcoap") else []
    tls, libcoap = faster(results)
    return [figures.compared(name, unit, results["sagate"], libcoap, f"libcoap's DTLS server ({tls}) {how}")]


def wolfssl(bench, args, version, made):
    """wolfSSL's server side in memory."""
    command = [bench.program("perf/sagate-perf-wolfssl"), "--seconds", str(args.seconds), "--security", f"dtls{version}",
               "--cipher", CIPHERS[("certificate" if made else "psk", version)]] + (["--no-cid"] if args.no_cid else [])
    if made:
        command += ["--trust", made["ca"][0], "--certificate", made["server"][0], "--key", made["server"][1],
                    "--device-certificate", made["device"][0], "--device-key", made["device"][1]]
    core = bench.cores[0]
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          preexec_fn=lambda: os.sched_setaffinity(0, {core}))
    if done.returncode != 0:
        raise SystemExit("perf: " + done.stderr.strip())
    result = json.loads(done.stdout)
    result["per_core"] = result["handshakes"] / max(result["server_cpu"], 0.01)
    return result


def beside_s_server(bench, arguments):
    """One after the other, which is how s_server takes them; a new one for each run, as it waits for a peer that has left."""
    server, process = peers.start_s_server(bench)
    try:
        return bench.load(server, arguments + ["--window", "1"])
    finally:
        bench.end(process)


def handshake(bench, args):
    bench.start_cse()
    kind, version, credential = args.credential, args.version, args.credential
    label = {"psk": "psk_ccm8" if version == "1.2" else "psk_ecdhe_dtls13",
             "certificate": "mutual_p256" if version == "1.2" else "mutual_p256_dtls13"}[kind]
    try:
        server, _ = bench.start_sagate(version, credential, identities=args.identities)
    except Refused as refused:
        return [], [f"{label}: sagate does not take DTLS {version} with this credential: {refused}"]
    made = server.certificates
    mode = ["--mode", "handshake", "--devices", str(args.devices)]
    if made:
        server.load_arguments = ["--certificate", made["device"][0], "--certificate-key", made["device"][1],
                                 "--trust", made["ca"][0]]
    ours = mode + suite(args, credential, version)
    runs = {"sagate": lambda: bench.load(server, ours),
            "wolfssl": lambda: wolfssl(bench, args, version, made)}
    plain = kind == "psk" and version == "1.2"
    if plain:
        start_libcoaps(bench, runs, mode)
    if plain and "openssl" in bench.peers:
        runs["s_server"] = lambda: beside_s_server(bench, mode + suite_of_libcoap())
    try:
        results = repeat(bench, runs)
    except Refused as refused:
        return [], [f"{label}: {refused}"]
    if made and bench.metric("handshakes_total", 'result="ok",framework="certificate"') == 0:
        return [], [f"{label}: sagate does not ask devices for a certificate"]
    found = [figures.compared(f"{label}_vs_wolfssl", HANDSHAKE_UNIT, results["sagate"], results["wolfssl"],
                              "wolfSSL's server side in memory, with cookie and Connection ID")]
    if plain:
        found += beside_libcoap(bench, f"{label}_vs_libcoap", HANDSHAKE_UNIT, results, "through sockets")
        name, peer = f"{label}_vs_openssl", "openssl s_server -dtls1_2, through sockets, one after the other"
        if "s_server" in results:
            found.append(figures.compared(name, HANDSHAKE_UNIT, results["sagate"], results["s_server"], peer))
        elif bench.peers.shown("openssl"):
            found.append(figures.absent(name, HANDSHAKE_UNIT, peer))
    shown = f"DTLS {version}, {'PSK' if kind == 'psk' else 'certificate'}"
    return found, cid_notes(args, results["sagate"][0]) + stages.profile(bench, server, ours, shown, "handshake")


def held_bytes(bench, args):
    """What a held WOLFSSL object occupies."""
    command = [bench.program("perf/sagate-perf-wolfssl"), "--seconds", "0.1", "--hold", "1000"]
    done = subprocess.run(command + (["--no-cid"] if args.no_cid else []), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["held_bytes"]


def establish(bench, args, server):
    return Holder(bench, server, suite(args) + ["--devices", str(args.associations), "--window", str(args.window),
                                                "--tries", "4"])


def idle(bench, args):
    bench.start_cse()
    server, _ = bench.start_sagate(identities=args.identities, associations=args.associations * 11 // 10 + 1000)
    time.sleep(1)
    before = resident_bytes(server.pids)
    holder = establish(bench, args, server)
    count = holder.established["established"]
    time.sleep(args.settle)
    after = resident_bytes(server.pids)
    on_server = bench.metric("associations")
    cpu = cpu_seconds(server.pids)
    sampled = holder.order(f"sample {args.sample} {args.connections} 4")
    holder.end()
    size = min(args.sample, max(count - 1, 1))
    reference = held_bytes(bench, args)
    raw = {"before": before, "after": after, "established": holder.established, "associations_metric": on_server,
           "sampled": sampled, "server_cpu_of_sample": cpu_seconds(server.pids) - cpu}
    of_reference = "a held WOLFSSL object (heap bytes)"
    notes = [f"{count} associations of {args.identities} identities, established in "
             f"{holder.established['seconds']:.1f} s; sagate counts {on_server:.0f}; "
             f"resident before {before}, after {after} bytes"]
    notes += cid_notes(args, holder.established)
    if on_server < count:
        notes.append("sagate holds fewer associations than were established: the figure is per established one")
    return [
        figures.measured("bytes_per_association", "resident bytes", [(after - before) / count], None, reference,
                         of_reference, raw),
        figures.measured("bytes_per_association_absolute", "resident bytes, what sagate needs by itself included",
                         [after / count], None, reference, of_reference),
        figures.measured("answered", "part of the sample, without another handshake", [sampled["answered"] / size],
                         raw={"sample": size}),
        figures.measured("nonces_repeated", "records", [sampled["nonce_repeats"]]),
    ], notes


def kill_data(bench):
    """kill -9; the moment before, by CLOCK_MONOTONIC, once the process is gone."""
    pid = bench.sagate_pids()["data"]
    moment = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    while True:
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
                if f.read().rsplit(")", 1)[1].split()[0] in "ZX":
                    return moment
        except OSError:
            return moment


def restart_once(bench, holder):
    """Kills the data process under load; (seconds until an old association is served, what the prober saw)."""
    holder.order("load")
    time.sleep(random.uniform(0.5, 1.5))
    moment = kill_data(bench)
    probed = holder.order("probe 15")
    time.sleep(4)  # what was lost inside the process is sent again after 2 s
    holder.order("rest")
    return (probed["at_us"] / 1e6 - moment if probed["answered"] else None), probed


def restart(bench, args):
    bench.start_cse()
    server, _ = bench.start_sagate(identities=args.identities, associations=args.associations * 11 // 10 + 1000)
    holder = establish(bench, args, server)
    ended = 'result="ok"'
    before = bench.metric("handshakes_total", ended)
    capturing = capture.Capture(bench, f"src host 127.0.0.1 and src port {server.port}") if capture.available() else None
    notes = cid_notes(args, holder.established)
    if not capturing:
        notes.append("nonces_repeated_captured: tcpdump is not installed")
    seconds, probes = [], []
    for _ in range(args.repetitions):
        took, probed = restart_once(bench, holder)
        seconds.append(took)
        probes.append(probed)
    alive = None not in seconds
    size = min(args.sample, args.associations - 1) if alive else min(1000, args.associations - 1)
    sampled = holder.order(f"sample {size} {args.connections if alive else size} {4 if alive else 1}")
    after = bench.metric("handshakes_total", ended)
    last = holder.end()
    # A data process that begins to count anew has counted no more than what came after it started.
    needed = max(after - before if after >= before else after, last["again"])
    raw = {"probes": probes, "sampled": sampled, "last": last, "handshakes_before": before, "handshakes_after": after,
           "associations_metric": bench.metric("associations")}
    if alive:
        found = [figures.measured("seconds_to_serve", "s", seconds, raw=raw)]
    else:
        notes.append("seconds_to_serve: existing associations were not served within 15 s of the kill")
        found = [figures.made("seconds_to_serve", "s", None, raw=raw)]
    found += [figures.measured("handshakes_needed", f"handshakes, for a sample of {size} and the load meanwhile", [needed]),
              figures.measured("answered", "part of the sample, without another handshake", [sampled["answered"] / size]),
              figures.measured("nonces_repeated", "records, seen by the devices", [last["nonce_repeats"]])]
    if capturing:
        dropped = capturing.stop()
        searched = capture.search(capturing.path, args.cid)
        searched["packets_dropped"] = dropped
        notes.append(f"capture: {searched}")
        found.append(figures.measured("nonces_repeated_captured", "records in the capture", [searched["repeats"]],
                                      raw={"capture": searched}))
    return found, notes


def portions(bench, path, count):
    """The lines of a file in so many files, as even as they come."""
    with open(path, encoding="ascii") as f:
        lines = f.readlines()
    size = len(lines) // count
    return [bench.write(f"portion-{i}.txt", "".join(lines[i * size:(i + 1) * size]), 0o600) for i in range(count)]


def before_storm(bench, args, holder, watch):
    """The associations there before in quiet, and with the core kept awake that stands for other machines, as it is during
    the storm: what a datagram to it costs sagate depends on that here. What their generator measured then."""
    watch.begin("quiet")
    time.sleep(args.seconds)
    watch.begin("between")
    awake = bench.start([sys.executable, "-c", "while True: pass"], core=bench.cores[-1], nice=NICE)
    time.sleep(0.5)
    holder.order("measure")
    watch.begin("before")
    time.sleep(args.seconds)
    before = holder.order("measure")
    bench.end(awake)
    return before


def resolve_once(bench, args, coaps, holder, credentials):
    """One storm of devices that sagate has never heard of: what the associations there before measured before it and
    during it, on their side and on the wire, what came of it, and the peak of the memory."""
    watch = wire.Watch(bench, coaps, HOLDER_NETWORK) if capture.available() else wire.NoWatch()
    before = before_storm(bench, args, holder, watch)
    arguments = ["--devices", str(args.unknown), "--window", str(args.window), "--source", "127.100.0.0"]
    stranger = Server(coaps.port, coaps.pids, credentials + ["--path", PATH])
    watch.begin("during")
    with MemoryPeak(coaps.pids, bench.cores[-1]) as peak:
        storm = Holder(bench, stranger, suite(args) + arguments, nice=NICE, patience=STORM_SECONDS)
        during = holder.order("measure")
    seen, dropped = watch.end()
    storm.end()
    return {"before": before, "during": during, "storm": storm.established, "peak_bytes": peak.bytes, "wire": seen,
            "packets_dropped": dropped}


def p99_figures(runs):
    """What the storm does to the p99 latency of the others: on the wire, which has the goal, and as the generator has it."""
    def figure(name, unit, pairs, reference_is):
        return figures.ratios_of(name, f"us, p99 of requests on existing associations: {unit}", [pair[0] for pair in pairs],
                                 [pair[1] for pair in pairs], reference_is)

    awake = "the same associations before, in the same run, the others' core kept awake"
    quiet = "the same associations before, in the same run, the others' core at rest"
    found = []
    for name, part, phase, reference_is in (("p99_during_vs_before", "wire", "before", awake),
                                            ("p99_of_gateway_during_vs_before", "gateway", "before", awake),
                                            ("p99_during_vs_quiet", "wire", "quiet", quiet),
                                            ("p99_of_gateway_during_vs_quiet", "gateway", "quiet", quiet)):
        unit = "from a request's datagram to that of its answer" + (", without the CSE's part" if part == "gateway" else "")
        pairs = [(run["wire"]["during"][part]["p99_us"], run["wire"][phase][part]["p99_us"]) for run in runs
                 if run["wire"] and run["wire"]["during"] and run["wire"][phase]]
        found.append(figure(name, unit, pairs, reference_is) if len(pairs) == len(runs) else figures.absent(name, "us", reference_is))
    return found + [figure("p99_of_generator_during_vs_before", "as their generator has it",
                           [(run["during"]["p99_us"], run["before"]["p99_us"]) for run in runs], awake)]


def let_first(pids):
    """What is measured, and what it is measured with: nothing else on its core delays it, where that is allowed."""
    try:
        for thread in (int(name) for pid in pids for name in os.listdir(f"/proc/{pid}/task")):
            os.sched_setscheduler(thread, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        return ["sagate, the measuring devices and the CSE share their cores with all else: no permission for real-time priority"]
    return []


def resolve(bench, args):
    bench.start_cse()
    maf, file, originator = bench.start_tef(args.unknown * args.repetitions, args.delay)
    coaps, https = bench.start_sagate(identities=args.connections, associations=args.unknown * 2 + 10000, maf=maf,
                                      parked=max(1024, args.window))
    idle_bytes = resident_bytes(coaps.pids)
    pace = ["--rate", str(args.rate)] if args.rate else []
    holder = Holder(bench, coaps, suite(args) + ["--devices", str(args.connections + 1), "--window", str(args.connections)] + pace)
    shared = let_first([holder.process.pid, bench.cse_process.pid, bench.sagate_pids()["data"]])
    holder.order("load")
    time.sleep(1)
    runs = [resolve_once(bench, args, coaps, holder, ["--credentials", portion, "--from", originator])
            for portion in portions(bench, file, args.repetitions)]
    holder.end()
    shared.append(alerts.compare(https.port, "perf0@sp.example"))
    asked, answered = bench.metric("tef_requests_total"), bench.metric("tef_requests_total", 'result="ok"')
    raw = {"runs": runs, "idle_bytes": idle_bytes, "asked": asked, "answered": answered}
    notes = ["; ".join(f"{run['storm']['established']} of {args.unknown} devices in {run['storm']['seconds']:.1f} s, failed "
                       f"handshakes on the way {run['storm']['handshakes_failed']}" for run in runs) +
             f"; the MAF was asked for {asked:.0f} identities, answers after {args.delay} ms"] + shared
    dropped = sum(run["packets_dropped"] for run in runs)
    if runs[0]["wire"] is None:
        notes.append("p99_during_vs_before: tcpdump is not installed")
    elif dropped > 0:
        notes.append(f"the captures lack {dropped} packets, and what belongs to them")
    peak = runs[0]["peak_bytes"]  # later storms find room that the first one made
    return [
        figures.made("associated", "part of the devices",
                     sum(run["storm"]["established"] for run in runs) / (args.unknown * len(runs)), raw=raw)
    ] + p99_figures(runs) + [
        figures.made("requests_lost", "requests on existing associations", sum(run["during"]["lost"] for run in runs)),
        figures.made("peak_bytes", "resident bytes of sagate's processes, during the first storm", peak, idle_bytes,
                     "before the first association", peak / idle_bytes),
    ], notes
