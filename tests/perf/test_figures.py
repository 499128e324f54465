# Figures, their goals, and what is read from other tools.
# SPDX-License-Identifier: GPL-3.0-or-later
import argparse
import json
import os
import unittest
import warnings

import lib  # noqa: F401  # puts perf/lib on the path
import bench
import figures
import instrument
import soak
import stages
import wire


def met(goal, ours=None, ratio=None, raw=None):
    return figures.made("name", "unit", ours, ratio=ratio, goal=goal, raw=raw)["met"]


class Goals(unittest.TestCase):
    def test_bounds(self):
        self.assertTrue(met("ours <= 512", 512))
        self.assertFalse(met("ours < 2", 2))
        self.assertTrue(met("ours == 0", 0))
        self.assertFalse(met("ratio >= 0.6", ratio=0.59))

    def test_both_bounds(self):
        self.assertEqual([met("ratio 0.9..1.1", ratio=r) for r in (0.89, 0.9, 1, 1.1, 1.11)],
                         [False, True, True, True, False])

    def test_without(self):
        self.assertIsNone(met(None, 1))

    def test_of_what_was_not_reached(self):
        self.assertIs(met("ours < 2"), False)

    def test_of_what_could_not_be_measured(self):
        found = [figures.absent("name", "unit")]
        figures.set_goals(found, {"name": "ratio >= 1"})
        self.assertEqual((found[0]["goal"], found[0]["met"], found[0]["ours"]), ("ratio >= 1", None, None))

    def test_that_the_file_gives(self):
        found = [figures.made("a", "unit", 1), figures.made("b", "unit", 1)]
        figures.set_goals(found, {"a": "ours == 0"})
        self.assertEqual([f["met"] for f in found], [False, None])

    def test_forms(self):
        for goal in ("ratio >= 0.6", "ours == 1", "ratio 0.9..1.1"):
            self.assertTrue(figures.is_goal(goal))
        for goal in ("spread < 1", "ratio > 1", "ratio", "", 3, None):
            self.assertFalse(figures.is_goal(goal))


class Ratios(unittest.TestCase):
    def test_median_of_the_ratios(self):
        figure = figures.ratios_of("name", "unit", [2, 30, 8], [1, 10, 4], "reference")
        self.assertEqual((figure["ours"], figure["reference"], figure["ratio"]), (8, 4, 2))
        self.assertEqual(figure["spread"], 0.5)


class Wrk(unittest.TestCase):
    TEXT = """Running 2s test @ https://127.0.0.1:1/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.32ms  600.00us  12.00ms   90.00%
    Req/Sec    48.51k     1.20k   50.00k    80.00%
  Latency Distribution
     50%  950.00us
     75%    1.10ms
     90%    1.50ms
     99%    1.02s
  97020 requests in 2.00s, 20.00MB read
Requests/sec:  48510.12
Transfer/sec:     10.00MB
"""

    def test_result(self):
        found = instrument.wrk_result(self.TEXT)
        self.assertEqual((found["per_second"], found["requests"]), (48510.12, 97020))
        self.assertAlmostEqual(found["p50_us"], 950)
        self.assertAlmostEqual(found["p99_us"], 1020000)


class Growth(unittest.TestCase):
    def test_last_quarter_against_second(self):
        samples = [{"memory": m} for m in (1, 9, 10, 10, 50, 50, 20, 20)]
        self.assertEqual(soak.growth(samples, "memory"), (20, 10))


def stage(name, share, per_request):
    return {"stage": name, "calls": 2, "ticks": 2000, "share": share, "per_call": 1000.0, "per_request": per_request,
            "per_handshake": None}


class Stages(unittest.TestCase):
    ANSWER = {"ok": True, "workers": 1, "unit": "cycles", "ticks_per_nanosecond": 2.0964, "nanoseconds": 2000100000,
              "requests": 1234, "handshakes": 0, "busy": 0.75, "busy_per_request": 60000.4, "busy_per_handshake": None,
              "stages": [stage("io wait", None, 20000.0), stage("pep", 0.25, 15000.14), stage("content", 0, 0.0)]}

    def setUp(self):
        warnings.simplefilter("ignore", ResourceWarning)  # logs and pipes stay open until perf/run ends
        self.bench = bench.Bench(argparse.Namespace(ports=0, connections=1, quick=True, build=None))
        self.addCleanup(self.bench.stop)
        self.bench.args.build = self.bench.folder
        self.bench.cse_process = argparse.Namespace(pid=os.getpid())
        self.program("perf/sagate-load", "echo begun\nexec sleep 60")

    def program(self, name, script):
        """In the place of one of sagate's."""
        os.makedirs(os.path.dirname(self.bench.path(name)), exist_ok=True)
        self.bench.write(name, f"#!/bin/sh\n{script}\n", 0o755)

    def profile(self, script, per="request"):
        self.program("controlplane/ctl/sagatectl", script)
        return stages.profile(self.bench, bench.Server(1, [os.getpid()], []), [], "CoAP", per)

    def answer(self, **more):
        return f"cat <<'END'\n{json.dumps({**self.ANSWER, **more})}\nEND"

    def told(self, expected, *arguments):
        notes = self.profile(*arguments)
        self.assertEqual((len(notes), self.bench.series), (1, []))
        self.assertIn("not to be had: ", notes[0])
        self.assertIn(expected, notes[0])

    def test_series_and_note(self):
        notes = self.profile(self.answer())
        self.assertEqual(self.bench.series, [{"name": "Stages of a request (CoAP)", "x_label": "stage", "y_label":
                                              "cycles per request", "points": [["pep", 15000.1], ["content", 0.0]]}])
        self.assertEqual(notes, [
            "Stages of a request (CoAP): in 2.0 s more of the same load, profiled and no part of the figures, the worker was "
            "busy for 75.0% of the time and idle for 25.0%; each of 1234 requests took 60000 cycles of the time stamp counter, "
            "of which 2096 are a microsecond"])

    def test_nanoseconds(self):
        notes = self.profile(self.answer(unit="nanoseconds", ticks_per_nanosecond=1.0))
        self.assertEqual(self.bench.series[0]["y_label"], "nanoseconds per request")
        self.assertTrue(notes[0].endswith("each of 1234 requests took 60000 nanoseconds"), notes)

    def test_that_sagate_refuses(self):
        self.told("a profile is under way", "echo 'sagatectl: a profile is under way' >&2; exit 1")

    def test_that_is_no_answer(self):
        self.told("sagatectl profile: Expecting value", "echo soon")

    def test_that_counted_nothing(self):
        self.told("the profile counted no handshakes", self.answer(), "handshake")

    def test_without_sagatectl(self):
        notes = stages.profile(self.bench, bench.Server(1, [os.getpid()], []), [], "CoAP")
        self.assertIn("controlplane/ctl/sagatectl has not been built", notes[0])

    def test_without_load(self):
        self.program("perf/sagate-load", "exit 1")
        self.told("the load generator ended early", self.answer())


class OnTheWire(unittest.TestCase):
    SAGATE, BEHIND, CSE = (b"\x7f\0\0\1", 5684), (b"\x7f\0\0\1", 40000), (b"\x7f\0\0\1", 5683)

    def device(self, number):
        return bytes((127, 1, 0, number)), 41152

    def forwarded(self, time_us, number, token):
        return time_us, self.BEHIND, self.CSE, b"\x48\1\0\1" + token + b"127.1.0.%d:41152" % number

    def returned(self, time_us, token):
        return time_us, self.CSE, self.BEHIND, b"\x68\x45\0\1" + token + b"content"

    def found(self, *datagrams):
        return list(wire.exchanges(datagrams, 5684, 5683))

    def test_parts_of_requests_that_overtake_each_other(self):
        found = self.found((100, self.device(1), self.SAGATE, b"record"), (110, self.device(2), self.SAGATE, b"record"),
                           self.forwarded(130, 2, b"22222222"), self.forwarded(150, 1, b"11111111"),
                           self.returned(200, b"11111111"), (220, self.SAGATE, self.device(1), b"record"),
                           self.returned(300, b"22222222"), (340, self.SAGATE, self.device(2), b"record"))
        self.assertEqual(found, [(220, (120, 70, 50, 50, 20)), (340, (230, 60, 20, 170, 40))])

    def test_request_sent_again_counts_from_the_first(self):
        found = self.found((100, self.device(1), self.SAGATE, b"record"), self.forwarded(120, 1, b"11111111"),
                           (2100, self.device(1), self.SAGATE, b"again"), self.returned(2200, b"11111111"),
                           (2210, self.SAGATE, self.device(1), b"record"))
        self.assertEqual([parts[0] for _, parts in found], [2110])

    def test_what_sagate_answers_by_itself(self):
        self.assertEqual(self.found((100, self.device(1), self.SAGATE, b"record"), (130, self.SAGATE, self.device(1), b"4.03")), [])

    def test_percentiles(self):
        summary = wire.summary([(0, (n, n, n, n, n)) for n in range(1000)])
        self.assertEqual((summary["wire"]["count"], summary["cse"]["p50_us"], summary["gateway"]["p99_us"]), (1000, 500, 990))


if __name__ == "__main__":
    unittest.main()
