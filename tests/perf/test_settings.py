# Scenario files and the command line: what is taken, and what is told about what is not.
# SPDX-License-Identifier: GPL-3.0-or-later
import argparse
import os
import tempfile
import unittest

import lib  # noqa: F401  # puts perf/lib on the path
import peers
import settings

KNOWN = ("quick", "https")


def scenario(text, name="quick"):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, f"{name}.conf")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return settings.load(path, KNOWN)


def settled(text, *words):
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    settings.add_options(parser)
    args = parser.parse_args(words)
    settings.settle(scenario(text), args)
    return args


class Files(unittest.TestCase):
    def told(self, text, *expected):
        with self.assertRaises(settings.Wrong) as caught:
            scenario(text)
        for part in ("quick.conf", "expected", *expected):
            self.assertIn(part, str(caught.exception))

    def test_that_come_with_sagate(self):
        measures = {settings.load(name, settings.names() + ["handshake"]).measures for name in settings.names()}
        self.assertLessEqual({"quick", "handshake", "coap", "https", "idle", "resolve", "flood", "rebind", "mixed", "soak",
                              "slow-upstream", "restart", "scale", "instrument", "strangers"}, measures)

    def test_values(self):
        read = scenario('seconds = 7; goals: { a = "ratio >= 0.6"; }; peers = [ "haproxy" ]; title = "T";')
        self.assertEqual((read.values["seconds"], read.values["connections"]), (7, 64))
        self.assertEqual((read.goals, read.peers, read.title), ({"a": "ratio >= 0.6"}, ["haproxy"], "T"))

    def test_measures_something_by_another_name(self):
        self.assertEqual(scenario('measures = "https";').measures, "https")

    def test_unknown_setting(self):
        self.told("second = 7;", "'second'")

    def test_unknown_setting_of_quick(self):
        self.told("quick: { second = 7; };", "'quick.second'")

    def test_wrong_kind(self):
        self.told('seconds = "soon";', "'seconds'", "whole number")
        self.told("seconds = 1.5;", "'seconds'")
        self.told("no_cid = 1;", "'no_cid'", "true or false")
        self.told("counts = [ 0 ];", "'counts'")
        self.told("goals = 1;", "'goals'", "group")

    def test_out_of_range(self):
        self.told("seconds = 0;", "'seconds'", "from 1")

    def test_wrong_choice(self):
        self.told('version = "1.1";', "'version'", "1.2, 1.3")

    def test_wrong_mix(self):
        self.told('mix = "retrieve=70,create=20";', "'mix'", "100")
        self.told('mix = "retrieve=100,fetch=0";', "'mix'")

    def test_wrong_goal(self):
        self.told('goals: { a = "more than 3"; };', "'goals.a'")

    def test_measures_nothing_that_is_known(self):
        self.told('measures = "nothing";', "'measures'")

    def test_wrong_syntax(self):
        self.told("seconds = ;")

    def test_that_is_not_there(self):
        with self.assertRaises(settings.Wrong) as caught:
            settings.load("/nowhere/quick.conf", KNOWN)
        self.assertIn("No such file", str(caught.exception))
        with self.assertRaises(settings.Wrong):
            settings.load("nothing", KNOWN)


class CommandLine(unittest.TestCase):
    def test_before_the_file(self):
        args = settled("seconds = 7; window = 8;", "--seconds", "3")
        self.assertEqual((args.seconds, args.window, args.repetitions), (3, 8, 3))

    def test_before_quick_before_the_file(self):
        text = "seconds = 7; repetitions = 4; quick: { seconds = 1; repetitions = 1; };"
        args = settled(text, "--quick", "--repetitions", "2")
        self.assertEqual((args.seconds, args.repetitions), (1, 2))
        self.assertEqual(settled(text).seconds, 7)

    def test_lists_and_flags(self):
        args = settled("", "--counts", "10,20", "--no-cid")
        self.assertEqual((args.counts, args.no_cid), ([10, 20], True))

    def test_wrong_value(self):
        with self.assertRaises(settings.Wrong) as caught:
            settled("", "--seconds", "soon")
        self.assertIn("--seconds", str(caught.exception))


class Chosen(unittest.TestCase):
    READ = 'peers = [ "haproxy", "nginx" ];'

    def choose(self, against, there=("haproxy", "nginx")):
        return peers.Peers(scenario(self.READ), against, find=lambda program: program if program in there else None)

    def test_all(self):
        chosen = self.choose(None)
        self.assertTrue("haproxy" in chosen and "nginx" in chosen)
        self.assertEqual(chosen.notes, [])

    def test_one(self):
        chosen = self.choose(["nginx"])
        self.assertTrue("nginx" in chosen and not chosen.shown("haproxy"))

    def test_not_installed(self):
        chosen = self.choose(None, there=("haproxy",))
        self.assertTrue("nginx" not in chosen and chosen.shown("nginx"))
        self.assertIn("nginx is not installed", chosen.notes[0])

    def test_that_cannot(self):
        chosen = self.choose(["libcoap-proxy"])
        self.assertNotIn("libcoap-proxy", chosen)
        self.assertIn("cannot do quick", chosen.notes[0])
        self.assertIn("Proxy-Uri", chosen.notes[0])


if __name__ == "__main__":
    unittest.main()
