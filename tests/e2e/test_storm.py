# Storms: thousands of identities at once that are unknown, or whose MAF or control process dies in the middle of it.
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import os
import pathlib
import re
import signal
import subprocess
import time

from fake_maf import FQDN
from harness import check, equal, settle, wait_for
from lib import DEV1
from raw_dtls import Crowd
from tef import ADMIN, TARGET, Tef
from test_maf import start
from test_maf_bad_input import (Bystander, pids_stay, resident, resolver_rows, rows_about_failure, sanitized,
                                with_maf)

SOURCE = "//sp.example/Sstorm"


class Devices:
    """sagate-load with a device for each line of a file; it holds what it has established."""

    def __init__(self, t, s, file, count, window, name="storm"):
        argv = [t.program("sagate-load"), "--target", f"127.0.0.1:{s.dtls_port}", "--mode", "hold", "--credentials", file,
                "--devices", count, "--window", window, "--cipher", "PSK-AES128-CCM-8", "--source", "127.80.0.0"]
        self.process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=open(t.dir / f"{name}.log", "ab"), text=True)
        t.defer(lambda failed: self.process.kill() if self.process.poll() is None else None)

    def established(self):
        """What came of it, when all have an association."""
        line = self.process.stdout.readline()
        check(line, "the load generator ended early")
        return json.loads(line)

    def end(self):
        self.process.communicate("end\n", timeout=30)
        equal(self.process.returncode, 0, "exit status of sagate-load")


def with_many(t, file, identities):
    """A file for sagate-load of (identity, key in hexadecimal)."""
    path = t.dir / file
    path.write_text("".join(f"{identity} {key}\n" for identity, key in identities))
    return path


def remotes_of(pid, own):
    """(address, port) of everything that a process has a connection to, but for those that came to its own port, and of
    sockets for datagrams."""
    inodes = set()
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(fd))
        except OSError:
            continue
        if found:
            inodes.add(found[1])
    remotes = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in pathlib.Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            address, port = fields[2].split(":")
            if int(fields[1].split(":")[1], 16) == own:
                continue
            if fields[9] in inodes and (port != "0000" or table.startswith("udp")):
                remotes.add((address, int(port, 16)))
    return remotes


UNKNOWN = 20000  # of each wave, and as fast as they can be made


def wave(number):
    """Half of them are said to be of the MAF, half of places that nobody has configured, a different one each."""
    at_maf = [f"w{number}u{i}@{FQDN}".encode() for i in range(UNKNOWN // 2)]
    elsewhere = [f"w{number}v{i}@maf{i}.elsewhere.example".encode() for i in range(UNKNOWN // 2)]
    return [identity for pair in zip(at_maf, elsewhere) for identity in pair]


def test_twenty_thousand_unknown_identities(t):
    parked_most = 300
    s, maf = with_maf(t, {"limits": {"parked": parked_most, "parked_milliseconds": 2000},
                          "resolver": {"waiting": 100, "cached": 2000, "negative_seconds": 10}})
    maf.behaviour = "404"
    bystander, pids, before = Bystander(s), s.pids(), resolver_rows(s)
    wrong_key = Crowd(s.dtls_port, "127.90.0.0", [DEV1.identity.encode()]).run()
    check(len(wrong_key) == 1 and next(iter(wrong_key)).startswith("alert "), f"a wrong key: {wrong_key}")
    parked, remotes, sizes = [], set(), []

    def beside():
        parked.append(s.metric("handshakes_parked"))
        remotes.update(remotes_of(pids["control"], s.metrics_port))
        bystander.serves("in the storm")

    failed = s.metric("handshakes_total", result="credential")
    for number in range(2):
        began = time.monotonic()
        ends = Crowd(s.dtls_port, f"127.{91 + number}.0.0", wave(number)).run(110, beside)
        print(f"{UNKNOWN} unknown identities in {time.monotonic() - began:.1f} s")
        equal(ends, {next(iter(wrong_key)): UNKNOWN}, "how the handshakes ended, as with a wrong key")
        wait_for(lambda: s.metric("handshakes_parked") == 0, "nothing stays parked", 10)
        sizes.append(sum(resident(pid) for pid in s.pids().values()))
    check(max(parked) <= parked_most, f"{max(parked)} parked handshakes")
    if not sanitized(t):  # a sanitizer keeps what was freed
        check(sizes[1] < sizes[0] + (24 << 20), f"resident memory grows: {sizes}")
    check(s.metric("handshakes_total", result="credential") - failed >= 2 * UNKNOWN, "failed handshakes are not counted")
    rows = {key: value - before.get(key, 0) for key, value in resolver_rows(s).items()}
    elsewhere = sum(value for (_, labels), value in rows.items() if ("result", "unknown_fqdn") in labels)
    check(0 < elsewhere <= UNKNOWN, f"{elsewhere} identities of unknown places are counted")
    check(len(rows_about_failure({key for key, value in rows.items() if value > 0})) > 1, "no counter tells of it")
    check(all(path.rpartition("/")[2].startswith("w") and "v" not in path.rpartition("/")[2]
              for _, path in maf.requests), "the MAF was asked for what is not its own")
    check(remotes and {port for _, port in remotes} == {maf.port},
          f"connections to what is not configured: {remotes}, the MAF is at {maf.port}")
    bystander.serves("afterwards")
    pids_stay(s, pids)


test_twenty_thousand_unknown_identities.timeout = 290


def test_control_killed_with_a_thousand_parked_handshakes(t):
    count = 1000
    s, maf = with_maf(t, {"limits": {"parked": count + 100, "parked_milliseconds": 60000, "handshake_seconds": 90},
                          "resolver": {"deadline_milliseconds": 50000, "waiting": 2 * count}}, timeout_milliseconds=50000)
    bystander, before = Bystander(s), s.pids()
    maf.behaviour, maf.slow_seconds = "slow", 60
    devices = [maf.device(f"p{n}") for n in range(count + 1)]  # the last one when all others are done
    fleet = Devices(t, s, with_many(t, "parked.txt", [(d.identity, d.hex) for d in devices]), count + 1, count)
    wait_for(lambda: settle(0.2) or s.metric("handshakes_parked") == count, f"{count} handshakes are parked", 60)
    opened = len(os.listdir(f"/proc/{before['data']}/fd"))
    os.kill(before["control"], signal.SIGKILL)
    bystander.serves("while the control process is away")
    maf.behaviour = "good"
    told = fleet.established()
    equal((told["established"], told["handshakes_failed"]), (count + 1, 0), "associations that came of it, and failures")
    after = s.pids()
    equal((after["supervisor"], after["data"]), (before["supervisor"], before["data"]), "the other processes")
    check(after["control"] != before["control"], "the control process is another one")
    wait_for(lambda: (s.metric("handshakes_parked"), s.metric("handshakes_in_progress")) == (0, 0), "nothing stays parked")
    check(len(os.listdir(f"/proc/{after['data']}/fd")) <= opened, "descriptors of the data process")
    equal(s.associations(), count + 3, "associations")
    bystander.serves("afterwards")
    fleet.end()


test_control_killed_with_a_thousand_parked_handshakes.timeout = 200


def test_control_killed_and_nobody_answers(t):
    """The same, but the MAF stays silent: each handshake ends when its time is over."""
    count = 1000
    s, maf = with_maf(t, {"limits": {"parked": count + 100, "parked_milliseconds": 15000, "handshake_seconds": 90},
                          "resolver": {"deadline_milliseconds": 50000, "waiting": 2 * count}}, timeout_milliseconds=50000)
    bystander, before = Bystander(s), s.pids()
    wrong_key = Crowd(s.dtls_port, "127.90.0.0", [DEV1.identity.encode()]).run()
    maf.behaviour, maf.slow_seconds = "slow", 60
    killed = []

    def beside():
        if not killed and s.metric("handshakes_parked") == count:
            os.kill(before["control"], signal.SIGKILL)
            killed.append(True)
            bystander.serves("while the control process is away")

    crowd = Crowd(s.dtls_port, "127.91.0.0", [f"q{n}@{FQDN}".encode() for n in range(count)], count)
    ends = crowd.run(100, beside)
    check(killed, "so many were never parked")
    equal(ends, {next(iter(wrong_key)): count}, "how the handshakes ended, as with a wrong key")
    wait_for(lambda: (s.metric("handshakes_parked"), s.metric("handshakes_in_progress")) == (0, 0), "nothing stays parked")
    after = s.pids()
    equal((after["supervisor"], after["data"]), (before["supervisor"], before["data"]), "the other processes")
    bystander.serves("afterwards")
    maf.behaviour = "good"


test_control_killed_and_nobody_answers.timeout = 200


def test_maf_dies_in_mid_storm(t):
    count = 1500
    tef = Tef(t, "answer_delay_milliseconds = 20; limits = { keys_per_client = 10000; };")
    s = start(t, tef)
    tef.command("client", "add", "--id", SOURCE, "--admin", ADMIN)
    tef.command("key", "add", "--source", SOURCE, "--target", TARGET, "--suid", "32", "--count", count, "--output",
                t.dir / "devices.txt")
    bystander, pids = Bystander(s), s.pids()
    fleet = Devices(t, s, t.dir / "devices.txt", count, 64)
    wait_for(lambda: s.associations() > count // 5 or fleet.process.poll() is not None, "the storm is under way", 60)
    tef.process.kill()
    there = s.associations()
    check(there < count * 9 // 10, f"the storm was over too soon: {there}")
    for _ in range(6):
        settle(0.3)
        bystander.serves("while the MAF is away")
    away = s.associations()
    check(away < count, "all were associated without the MAF")
    check(away >= there, f"associations were lost: {there}, then {away}")
    tef.start()
    told = fleet.established()
    print(f"{there} of {count} associations before the MAF died; failed handshakes: {told['handshakes_failed']}")
    equal(told["established"], count, "associations that came of it, without an operator")
    check(told["handshakes_failed"] > 0, "no handshake failed meanwhile")
    equal(s.associations(), count + 2, "associations")
    bystander.serves("afterwards")
    pids_stay(s, pids)
    check(s.metric("tef_requests_total", result="unavailable") + s.metric("tef_requests_total", result="timeout") > 0,
          "no counter tells of it")
    fleet.end()


test_maf_dies_in_mid_storm.timeout = 200
