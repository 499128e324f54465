# The measuring instrument: figures appear, and what was asked was answered. Never how fast.
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import pathlib

from lib import check, equal, free_port

RUN = pathlib.Path(__file__).resolve().parents[2] / "perf" / "run"


def measure(t, scenario, *args):
    """{name: figure}"""
    out = t.dir / f"{scenario}.json"
    done = t.run([RUN, scenario, "--build", t.build, "--json", out, "--ports", free_port(), "--no-namespace", *args], timeout=80)
    equal(done.returncode, 0, f"exit status of perf/run ({(done.stdout + done.stderr).decode()[-2000:]})")
    return {figure["name"]: figure for figure in json.loads(out.read_text())["figures"]}


def test_coap(t):
    found = measure(t, "coap", "--seconds", "1", "--repetitions", "1")
    equal(set(found), {"forward_vs_udp", "forward_vs_libcoap"})
    for figure in found.values():
        check(figure["ratio"] > 0, figure["name"])
        for run in figure["raw"]["ours"] + figure["raw"]["reference"]:
            equal((run["refused"], run["errors"], run["handshakes_failed"]), (0, 0, 0), "what went wrong")


def test_idle(t):
    found = measure(t, "idle", "--associations", "2000", "--sample", "1000", "--settle", "0")
    check("bytes_per_association" in found, "figure of the memory")
    raw = found["bytes_per_association"]["raw"]
    equal(raw["established"]["established"], 2000, "established associations")
    equal(raw["associations_metric"], 2000, "associations that sagate counts")
    equal(raw["sampled"]["answered"], 1000, "answered requests of the sample")
    equal(raw["sampled"]["nonce_repeats"], 0, "repeated nonces")


def test_strangers(t):
    found = measure(t, "strangers", "--quick", "--connections", "16", "--devices", "20000", "--rate", "200")
    equal((found["ended_otherwise"]["ours"], found["requests_lost"]["ours"]), (0, 0), "what went wrong")
    for name in ("refused_per_second", "refused_at_maf_per_second", "peak_bytes"):
        check(found[name]["ratio"] > 0, name)


def test_resolve(t):
    # A rate at which what has real-time priority there leaves room for other tests.
    found = measure(t, "resolve", "--unknown", "300", "--window", "64", "--connections", "4", "--seconds", "1",
                    "--repetitions", "2", "--rate", "200")
    equal(found["associated"]["ours"], 1, "part of the devices that were associated")
    raw = found["associated"]["raw"]
    equal((raw["asked"], raw["answered"]), (600, 600), "identities that the MAF was asked for, keys that it gave")
    check(found["p99_during_vs_before"]["ratio"] > 0 and found["peak_bytes"]["ours"] > 0, "figures")
    equal(found["requests_lost"]["ours"], 0, "lost requests of others")
