#!/usr/bin/python3
# What perf/report makes of results: tables, plots, and complaints.
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import os
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

REPORT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "perf", "report")


def result(**more):
    figure = {"name": "forward_vs_udp", "unit": "requests", "ours": 41000.0, "reference": 60000.0, "ratio": 0.5,
              "reference_is": "a <plain> forwarder | UDP", "goal": "ratio >= 0.6", "met": False, "spread": 0.04,
              "raw": {"ours": [{"p50_us": 100.0, "p99_us": 900.0, "p999_us": 2000.0, "max_us": 4000.0}]}}
    return {"scenario": "coap", "versions": {"sagate": "sagate 1"}, "command": ["coap", "--json", "/tmp/x.json", "--seconds", "4"],
            "machine": {"cpu": "A CPU", "cores": 2, "kernel": "6.1", "memory_bytes": 2**34, "load_before": 0.1},
            "steal_seconds": 0.0, "figures": [figure, {**figure, "name": "answered", "goal": None, "met": None, "ratio": None}],
            "series": [{"name": "sagate", "x_label": "associations", "y_label": "requests/s",
                        "points": [[1000, 5.0], [1000000, 4.0]]}],
            "notes": ["one note"], **more}


class Report(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        for name in ("results", "docs"):
            os.mkdir(self.path(name))

    def path(self, *names):
        return os.path.join(self.folder.name, *names)

    def write(self, name, content):
        with open(self.path("results", name), "w", encoding="utf-8") as f:
            f.write(content if isinstance(content, str) else json.dumps(content))

    def read(self, *names):
        with open(self.path(*names), encoding="utf-8") as f:
            return f.read()

    def report(self):
        return subprocess.run([sys.executable, REPORT, "--results", self.path("results"), "--docs", self.path("docs"),
                               "--html", self.path("page.html")], capture_output=True, text=True, check=False)

    def test_tables_plots_and_remarks(self):
        self.write("coap.json", result())
        self.write("remarks.md", "# Remarks\n\n## coap: forward_vs_udp\n\nThe kernel takes most of it.\n")
        done = self.report()
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        text = self.read("docs", "performance.md")
        self.assertIn("| `forward_vs_udp` | 41000 | 60000 | 0.50 | ratio >= 0.6 | **no** |", text)
        self.assertIn("a <plain> forwarder \\| UDP", text)
        self.assertIn("**`forward_vs_udp`**: The kernel takes most of it.", text)
        self.assertIn("0 of 1 goals are met. Missed: coap: `forward_vs_udp`", text)
        self.assertIn("`perf/run coap --seconds 4`", text)
        plots = sorted(os.listdir(self.path("docs", "performance")))
        self.assertEqual(plots, ["coap-latency.svg", "coap-requests-s-by-associations.svg", "goals.svg"])
        for plot in plots:
            self.assertIn(f"(performance/{plot})", text)
            xml.etree.ElementTree.parse(self.path("docs", "performance", plot))

    def test_series_by_name_are_drawn(self):
        self.write("coap.json", result(series=[{"name": "p99", "x_label": "flood", "y_label": "us",
                                                "points": [["quiet", 5.0], ["hello", 4.0]]}]))
        done = self.report()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("coap-us-by-flood.svg", os.listdir(self.path("docs", "performance")))

    def test_many_names_are_drawn_one_below_the_other(self):
        stages = [[f"stage {i}", 1000.0 * i] for i in range(14)]
        self.write("https.json", result(scenario="https", series=[{
            "name": "Stages of a request (HTTPS)", "x_label": "stage", "y_label": "cycles per request", "points": stages}]))
        done = self.report()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("(performance/https-cycles-per-request-by-stage.svg)", self.read("docs", "performance.md"))
        drawn = self.read("docs", "performance", "https-cycles-per-request-by-stage.svg")
        texts = ["".join(e.itertext()).strip() for e in xml.etree.ElementTree.fromstring(drawn).iter() if e.tag.endswith("}text")]
        names = [text for text in texts if text.startswith("stage ")]
        self.assertEqual(names, [name for name, _ in stages])
        self.assertIn("13,000", texts)
        self.assertIn("Stages of a request (HTTPS)", texts)

    def test_page_holds_everything(self):
        self.write("coap.json", result())
        self.report()
        text = self.read("page.html")
        self.assertEqual(text.count("<svg"), 3)
        self.assertIn("a &lt;plain&gt; forwarder", text)
        self.assertNotIn("<script src", text)
        self.assertNotIn("<link", text)

    def test_same_results_same_bytes(self):
        self.write("coap.json", result())
        self.report()
        before = {name: self.read("docs", "performance", name) for name in os.listdir(self.path("docs", "performance"))}
        self.report()
        self.assertEqual(before, {name: self.read("docs", "performance", name) for name in before})

    def test_missed_goal_without_a_remark_is_told(self):
        self.write("coap.json", result())
        self.assertIn("coap: forward_vs_udp misses its goal, and remarks.md does not say why", self.report().stderr)

    def test_what_is_no_result_is_told(self):
        for content, expected in (("{", "coap.json: "), ("[]", "\"scenario\" is missing"), ({"scenario": 1}, "\"scenario\""),
                                  (None, "no results (make them with perf/run all)")):
            with self.subTest(content=content):
                for name in os.listdir(self.path("results")):
                    os.unlink(self.path("results", name))
                if content is not None:
                    self.write("coap.json", content)
                done = self.report()
                self.assertEqual(done.returncode, 1)
                self.assertIn(expected, done.stderr)


if __name__ == "__main__":
    unittest.main()
