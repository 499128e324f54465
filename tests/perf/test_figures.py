# Figures, their goals, and what is read from other tools.
# SPDX-License-Identifier: GPL-3.0-or-later
import unittest

import lib  # noqa: F401  # puts perf/lib on the path
import figures
import instrument
import soak


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


if __name__ == "__main__":
    unittest.main()
