# Scenarios over many associations: floods, rebinding, a mix, a slow CSE, and scaling.
# SPDX-License-Identifier: GPL-3.0-or-later
import figures
import https as over_https
from bench import NICE, PATH, Holder, Loading, Refused, Server, cpu_seconds, key_of, resident_bytes
from scenarios import cid_notes, suite

IDENTITIES = 32  # that are tried until one is on each of two servers
DATAGRAM_CONTENT = 1024  # bytes of content that fit into one CoAP message
FLOODS = ("hello", "garbage", "record", "cookie")
COOKIE_NOTE = ("cookie_kernel_vs_user: not measurable, as sagate answers all cookies in user space; the kernel's part is not "
               "built yet")


def answered(result):
    """Part of the requests that ended which ended with an answer."""
    ended = result["requests"] + result["lost"]
    return (result["requests"] - result["refused"]) / ended if ended else None


def measure_for(bench, holder, seconds):
    """What a load that goes on measured in so many seconds."""
    holder.order("measure")
    bench.sleep(seconds)
    return holder.order("measure")


# --- floods ----------------------------------------------------------------------------------------------------------


def flood_once(bench, args, server, holder, kind):
    """One kind of flood: (what the legitimate devices measured, what the flood sent)."""
    arguments = ["--mode", "flood", "--flood", kind, "--rate", str(args.flood_rate), "--source", "127.200.0.0"]
    stranger = Server(server.port, server.pids, [])
    attack = Loading(bench, stranger, arguments, seconds=args.seconds + 2, nice=NICE)
    before = cpu_seconds(server.pids)
    during = measure_for(bench, holder, args.seconds)
    during["server_cpu"] = cpu_seconds(server.pids) - before
    return during, attack.line()


def flood(bench, args):
    bench.start_cse()
    server, _ = bench.start_sagate(identities=args.connections)
    holder = Holder(bench, server, suite(args) + ["--devices", str(args.connections), "--window", str(args.connections),
                                                  "--rate", str(args.rate)])
    holder.order("load")
    bench.sleep(1)
    quiet = measure_for(bench, holder, args.seconds)
    floods, sent = {}, {}
    for kind in FLOODS:
        floods[kind], sent[kind] = flood_once(bench, args, server, holder, kind)
        bench.sleep(1)
    after = measure_for(bench, holder, args.seconds)
    holder.end()
    raw = {"quiet": quiet, "floods": floods, "sent": sent, "after": after}
    worst = max(floods, key=lambda kind: floods[kind]["p99_us"])
    bench.series.append({"name": "p99 during floods", "x_label": "flood", "y_label": "us",
                         "points": [["quiet", quiet["p99_us"]]] + [[k, f["p99_us"]] for k, f in floods.items()]})
    bench.series.append({"name": "answered during floods", "x_label": "flood", "y_label": "part of the requests",
                         "points": [["quiet", answered(quiet)]] + [[k, answered(f)] for k, f in floods.items()]})
    notes = [f"{kind}: {sent[kind].get('rate_done', 0):.0f} datagrams per second; {floods[kind]['requests']} requests "
             f"answered, p99 {floods[kind]['p99_us']:.0f} us, sent again {floods[kind]['retransmitted']}, lost "
             f"{floods[kind]['lost']}, new handshakes {floods[kind]['again']}" for kind in FLOODS]
    return [
        figures.made("legitimate_success", "part of the requests, in the worst flood", min(map(answered, floods.values())),
                     raw=raw),
        figures.made("p99_during_vs_before", f"us, p99 of requests during the worst flood ({worst})", floods[worst]["p99_us"],
                     quiet["p99_us"], "the same devices before, in the same run",
                     floods[worst]["p99_us"] / quiet["p99_us"]),
        figures.absent("cookie_kernel_vs_user", "cookie exchanges per CPU second"),
    ], notes + [COOKIE_NOTE]


# --- rebinding -------------------------------------------------------------------------------------------------------


def rebind_run(bench, args, server, options, source):
    """Devices that change their addresses under load; what they measured."""
    holder = Holder(bench, server, options + ["--devices", str(args.connections), "--window", str(args.connections), "--rate",
                                              str(args.rate), "--rebind", str(args.rebind), "--source", source,
                                              "--tries", "2"])
    made = bench.metric("handshakes_total", 'result="ok"')
    holder.order("load")
    bench.sleep(1)
    result = measure_for(bench, holder, args.seconds)
    holder.order("rest")
    result["handshakes_of_server"] = bench.metric("handshakes_total", 'result="ok"') - made
    result["with_cid"] = holder.established["with_cid"]
    holder.end()
    return result


def rebind(bench, args):
    bench.start_cse()
    server, _ = bench.start_sagate(identities=args.connections)
    with_cid = rebind_run(bench, args, server, suite(args), "127.1.0.0")
    psk = ["--security", "dtls1.2", "--cipher", "PSK-AES128-CCM-8", "--no-cid"]
    without = rebind_run(bench, args, server, psk, "127.64.0.0")
    raw = {"ours": [with_cid], "reference": [without]}
    bench.series += [figures.percentiles("latency with Connection ID", with_cid),
                     figures.percentiles("latency without Connection ID", without)]
    is_what = "the same devices without Connection ID, in the same run"
    return [
        figures.made("answered_after_rebind", "part of the requests", answered(with_cid), answered(without), is_what,
                     raw=raw),
        figures.made("handshakes_needed", "handshakes after the first ones", with_cid["handshakes_of_server"],
                     without["handshakes_of_server"], is_what),
        figures.made("p99_us", "us, p99 of requests", with_cid["p99_us"], without["p99_us"], is_what),
    ], [f"rebound: {with_cid.get('rebound')} times with and {without.get('rebound')} times without Connection ID; "
        f"requests sent again {with_cid['retransmitted']} and {without['retransmitted']}"] + cid_notes(
            args, dict(with_cid, handshakes=1))


# --- a mix -----------------------------------------------------------------------------------------------------------


def mixed(bench, args):
    bench.start_cse()
    coaps, https = bench.start_sagate(identities=args.connections)
    common = ["--mix", args.mix, "--payload", str(args.payload)]
    dtls = Loading(bench, coaps, suite(args) + common + ["--devices", str(args.connections), "--rate", str(args.rate)])
    tls = Loading(bench, https, over_https.OURS + common + ["--rate", str(args.tls_rate)])
    results = {"DTLS": dtls.result(refused=True), "TLS": tls.result(refused=True)}  # counted below
    found = []
    for name, rate in (("DTLS", args.rate), ("TLS", args.tls_rate)):
        result = results[name]
        bench.series.append(figures.percentiles(f"latency over {name}, mixed operations", result))
        found += [figures.made(f"{name.lower()}_{p}_us", f"us, {p} of requests over {name}", result.get(f"{p}_us"))
                  for p in ("p50", "p99", "p999")]
        found.append(figures.made(f"{name.lower()}_rate", "requests per second", result["per_second"], rate, "what was asked for",
                                  result["per_second"] / rate, raw={"run": result}))
    found.append(figures.made("errors", "malformed answers, records that do not open, alerts, refusals",
                              sum(r["errors"] + r["refused"] + r["handshakes_failed"] for r in results.values())))
    found.append(figures.made("requests_lost", "requests", sum(r["lost"] for r in results.values())))
    return found, [f"{args.mix}, content of {args.payload} bytes"]


# --- a slow CSE ------------------------------------------------------------------------------------------------------


def device_of(bench, server, number):
    """The server for devices that all have this identity."""
    return Server(server.port, server.pids, ["--identity", f"perf{number}@sp.example", "--key-hex", key_of(bench.key, number),
                                             "--from", f"Cperf{number}", "--path", PATH])


def one_on_each(bench, args, server):
    """{"fast": an identity whose requests go to that server of the CSE, "slow": another}; each asks once, and the metrics
    say where it came to."""
    found = {}
    for number in range(IDENTITIES):
        before = bench.metric("upstream_requests_total", 'server="slow"')
        holder = Holder(bench, device_of(bench, server, number),
                        suite(args) + ["--devices", "2", "--window", "1", "--source", "127.90.0.0"])
        holder.order("sample 1 1 4")
        holder.end()
        after = bench.metric("upstream_requests_total", 'server="slow"')
        found.setdefault("slow" if after > before else "fast", number)
        if len(found) == 2:
            return found
    raise Refused(f"of {IDENTITIES} identities none came to one of the two servers of the CSE")


def slow_upstream(bench, args):
    bench.start_cse()
    slow = bench.start_slow_cse(args.delay)
    server, _ = bench.start_sagate(identities=IDENTITIES, servers={"fast": bench.cse, "slow": slow})
    numbers = one_on_each(bench, args, server)
    half = str(max(1, args.connections // 2))

    def hold(name, source, more):
        return Holder(bench, device_of(bench, server, numbers[name]),
                      suite(args) + ["--devices", half, "--window", half, "--source", source] + more)

    fast = hold("fast", "127.1.0.0", ["--rate", str(args.rate)])
    late = hold("slow", "127.64.0.0", [])
    fast.order("load")
    bench.sleep(1)
    before, during, delayed = [], [], []
    for _ in range(args.repetitions):
        before.append(measure_for(bench, fast, args.seconds))
        late.order("load")
        bench.sleep(1 + args.delay / 1000)
        late.order("measure")
        during.append(measure_for(bench, fast, args.seconds))
        delayed.append(late.order("measure"))
        late.order("rest")
        bench.sleep(1 + args.delay / 1000)
    late.end()
    fast.end()
    bench.series += [figures.percentiles(f"latency at the fast server, {when}", r[0])
                     for when, r in (("before", before), ("beside the slow one", during))]
    failed = sum(r["lost"] + r["refused"] + r["errors"] for r in before + during + delayed)
    delays = [r["p50_us"] for r in delayed]
    return [
        figures.ratios_of("p99_fast_vs_before", "us, p99 of requests to the fast server", [r["p99_us"] for r in during],
                          [r["p99_us"] for r in before], "while nobody asked the slow one, in the same run",
                          raw={"before": before, "during": during, "slow": delayed}),
        figures.ratios_of("p50_slow_us", "us, p50 of requests to the slow server", delays, [args.delay * 1000] * len(delays),
                          "its delay"),
        figures.made("requests_failed", "requests, to either", failed),
    ], [f"{half} devices on each server; {sum(r['requests'] for r in delayed)} requests to the slow one"]


# --- scaling ---------------------------------------------------------------------------------------------------------


def with_associations(bench, args, server, count):
    """So many associations: what they occupy, and throughput of requests that go round all of them."""
    before = resident_bytes(server.pids)
    holder = Holder(bench, server, suite(args) + ["--devices", str(count), "--window", str(args.window), "--tries", "4"])
    bench.sleep(1)
    memory = resident_bytes(server.pids) - before
    cpu = cpu_seconds(server.pids)
    asked = holder.order(f"sample {min(count - 1, args.sample)} {args.connections} 4")
    used = cpu_seconds(server.pids) - cpu
    holder.end()
    return {"count": count, "established": holder.established["established"], "memory": memory, "asked": asked,
            "server_cpu": used, "per_core": asked["answered"] / max(used, 0.01)}


def scale(bench, args):
    bench.start_cse()
    rows = []
    for count in args.counts:
        server, _ = bench.start_sagate(identities=args.identities, associations=count * 11 // 10 + 1000)
        rows.append(with_associations(bench, args, server, count))
        bench.end_sagate()
    bench.series += [
        {"name": "throughput by associations", "x_label": "associations", "y_label": "requests per CPU second",
         "points": [[r["count"], r["per_core"]] for r in rows]},
        {"name": "memory by associations", "x_label": "associations", "y_label": "resident bytes per association",
         "points": [[r["count"], r["memory"] / max(r["established"], 1)] for r in rows]}]
    least, most = rows[0], rows[-1]
    found = [figures.made("throughput_most_vs_least", f"CoAP requests per CPU second with {most['count']} associations",
                          most["per_core"], least["per_core"], f"with {least['count']}, in the same run",
                          most["per_core"] / least["per_core"], raw={"rows": rows}),
             figures.made("bytes_per_association", f"resident bytes, of {most['count']} associations",
                          most["memory"] / max(most["established"], 1))]
    more, notes = payloads(bench, args)
    bench.end_sagate()
    return found + more + workers(bench, args, notes), notes


def workers(bench, args, notes):
    """Throughput by the number of workers, each on a core of its own, which from some number on is the load generator's too."""
    rows = []
    for count in range(1, len(bench.cores) + 1):
        server, _ = bench.start_sagate(identities=args.identities, workers=count)
        rows.append(bench.load(server, suite(args) + ["--devices", str(args.connections)]))
        bench.end_sagate()
    for name, member, unit in (("throughput by workers", "per_core", "requests per CPU second"),
                               ("requests per second by workers", "per_second", "requests per second")):
        bench.series.append({"name": name, "x_label": "workers", "y_label": unit,
                             "points": [[i + 1, row[member]] for i, row in enumerate(rows)]})
    if any(row["client_limited"] for row in rows):
        notes.append("by workers: the load generator and the CSE were the limit, and share the last core with the last worker; "
                     "requests per CPU second are what compares")
    return [figures.made("per_core_by_workers", f"CoAP requests per CPU second with {len(rows)} workers", rows[-1]["per_core"],
                         rows[0]["per_core"], "with one worker, in the same run", rows[-1]["per_core"] / rows[0]["per_core"],
                         raw={"rows": rows})]


def payloads(bench, args):
    """Throughput by the size of content that is created, over HTTPS, and over CoAP as far as a datagram goes."""
    coaps, https = bench.start_sagate(identities=1)
    points, notes, raw = {"CoAP": [], "HTTPS": []}, [], []
    for size in args.payloads:
        options = ["--mix", "create=100", "--payload", str(size)]
        ways = {"HTTPS": lambda o=options: bench.load(https, over_https.OURS + o)}
        if size <= DATAGRAM_CONTENT:
            ways["CoAP"] = lambda o=options: bench.load(coaps, suite(args) + o + ["--devices", str(args.connections)])
        for name, run in ways.items():
            try:
                result = run()
            except Refused as refused:
                notes.append(f"{name}, {size} bytes: {refused}")
                continue
            raw.append(dict(result, way=name, payload=size))
            points[name].append([size, result["per_core"]])
    bench.series += [{"name": f"{name} throughput by content", "x_label": "bytes", "y_label": "requests per CPU second",
                      "points": p} for name, p in points.items()]
    return [figures.made(f"{name.lower()}_by_content", f"requests per CPU second with {p[-1][0]} bytes", p[-1][1], p[0][1],
                         f"with {p[0][0]} bytes, in the same run", p[-1][1] / p[0][1], raw={"rows": raw})
            for name, p in points.items() if p], notes
