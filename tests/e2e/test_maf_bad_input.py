# A MAF that is bad or gone, and identities that nobody should ask for.
# SPDX-License-Identifier: GPL-3.0-or-later
import pathlib
import re
import time

from fake_maf import BEHAVIOURS, FQDN, GLOBAL, FakeMaf
from lib import DEV1, DEV2, Sagate, check, equal, settle, wait_for
from odd_handshakes import CONNECTED, KINDS, ending, raw_tls12, raw_tls13

WRONG_KEY = "77" * 16
BAD = [b for b in BEHAVIOURS if b not in ("good", "foreign_source", "no_source")]


def with_maf(t, overrides=None, maf=None, **settings):
    """(sagate, its scripted MAF). No listener has a certificate: that would be another way to go on."""
    maf = maf or FakeMaf(t)
    s = Sagate(t, start=False, dtls={"version_max": "1.3"},
               tls={"certificates": None, "version_max": "1.3"})
    more = maf.overrides(s.settings["certificates"], **settings)
    for group, values in (overrides or {}).items():
        more.setdefault(group, {}).update(values)
    s.settings.update({k: v for k, v in more.items() if k != "limits"})
    s.settings["limits"].update(more.get("limits", {}))
    s.write()
    s.start()
    return s, maf


class Bystander:
    """Two associations that must notice nothing of it."""

    def __init__(self, s):
        self.stream, self.client = s.tls(DEV1), s.dtls(DEV2)
        self.serves("at first")

    def serves(self, what):
        equal(self.stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000, f"a TLS association, {what}")
        answer = self.client.request("get", "cse-in", origin="Cdev2")
        equal(answer and answer.rsc, 2000, f"a DTLS association, {what}")


def resolver_rows(s):
    """The counters of the resolver and of the MAF client."""
    return {key: value for key, value in s.metrics().items()
            if re.match(r"sagate_(resolver|remote|tef)_", key[0]) and key[0].endswith("_total")}


def grown(s, before):
    return {key for key, value in resolver_rows(s).items() if value > before.get(key, 0)}


def rows_about_failure(rows):
    """Those that an operator would look at: not how much was asked, but what went wrong."""
    bad = {"not_found", "failed", "deadline", "overflow", "malformed", "malformed_identity", "unknown_fqdn", "unavailable",
           "timeout", "handshake"}
    return {(name, labels) for name, labels in rows
            if name.endswith("refused_total") or bad & {value for _, value in labels}}


def wrong_key_endings(t, s):
    """What a known identity with a wrong key gets, for each kind of handshake."""
    endings = {kind: ending(t, s, kind, DEV1.identity, WRONG_KEY) for kind in KINDS}
    # RFC 4279 2 with RFC 5246 6.2.3.3, RFC 8446 4.2.11
    equal(endings, {kind: "alert 51" if kind.endswith("1.3") else "alert 20" for kind in KINDS}, "endings of a wrong key")
    return endings


def pids_stay(s, before):
    equal(s.pids(), before, "processes of sagate")


def test_good_answer(t):
    """Without this the others would prove nothing."""
    s, maf = with_maf(t)
    for kind in KINDS:
        device = maf.device(f"good-{kind}")
        equal(ending(t, s, kind, device.identity, device.hex), CONNECTED, kind)
    equal(maf.requests, [("GET", f"/good-{kind}") for kind in KINDS], "what the MAF was asked")
    device = maf.device("good-again", fqdn=FQDN.upper())
    with s.tls(device) as stream:
        equal(stream.request("GET", "/cse-in", origin=device.ae_ids[0]).rsc, 2000, "its own AE-ID")
        equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 4106, "another's")


def bad_answer(t, s, maf, behaviour, endings, kinds):
    """What is wrong about the way in which handshakes end, and about what is told of it."""
    settle(1.1)  # the log takes one line a second of each kind
    before, log, wrong = resolver_rows(s), len(s.process.log()), []
    for kind in kinds:
        name = f"{behaviour.replace('_', '-')}-{kind}"
        device = maf.device(name)
        if behaviour not in GLOBAL:
            maf.of[name] = behaviour
        end = ending(t, s, kind, device.identity, device.hex)
        if end != endings[kind]:
            wrong.append(f"{behaviour}, {kind}: {end}, a wrong key: {endings[kind]}")
        if behaviour not in GLOBAL and ("GET", f"/{name}") not in maf.requests:
            wrong.append(f"{behaviour}, {kind}: the MAF was not asked")
        check(maf.key(name) not in s.process.log(), "the key is in the log")
    if not rows_about_failure(grown(s, before)):
        wrong.append(f"{behaviour}: no counter tells of it: {grown(s, before)}")
    if not re.search(r"^\S+ (?:warning|info|error) control: .*\b(?:MAF|maf)\b", s.process.log()[log:], re.M):
        wrong.append(f"{behaviour}: no line of the log tells of it: {s.process.log()[log:]}")
    return wrong


def test_bad_answers(t):
    s, maf = with_maf(t)
    bystander, pids, endings = Bystander(s), s.pids(), wrong_key_endings(t, s)
    wrong = []
    for behaviour in BAD:
        wrong += bad_answer(t, s, maf, behaviour, endings, ("tls1.2", "dtls1.3") if behaviour != "404" else KINDS)
        bystander.serves(f"after {behaviour}")
    check(not wrong, "\n".join(wrong))
    device = maf.device("and-then-a-good-one")
    equal(ending(t, s, "tls1.2", device.identity, device.hex), CONNECTED, "a good answer afterwards")
    pids_stay(s, pids)


test_bad_answers.timeout = 240


def test_bad_servers(t):
    s, maf = with_maf(t)
    bystander, pids, endings = Bystander(s), s.pids(), wrong_key_endings(t, s)
    wrong = []
    for behaviour in GLOBAL:
        maf.behave(behaviour)
        wrong += bad_answer(t, s, maf, behaviour, endings, ("tls1.2", "dtls1.3"))
        equal(maf.requests, [], f"requests while {behaviour}")
        bystander.serves(f"while {behaviour}")
    maf.behave("good")
    device = maf.device("back")

    def is_back():
        settle(0.5)
        return ending(t, s, "tls1.2", device.identity, device.hex) == CONNECTED

    wait_for(is_back, "the MAF is used again, without an operator", 45)
    check(not wrong, "\n".join(wrong))
    pids_stay(s, pids)


test_bad_servers.timeout = 180

AT = f"@{FQDN}"
ODD = ["a\1b" + AT, "a\nb" + AT, "a\x7f" + AT, "a b" + AT, ".." + AT, "." + AT, "../x" + AT, "a/b" + AT, "a%2fb" + AT,
       "a%2Fb" + AT, "a?b" + AT, "a#b" + AT, "a\r\nX: y" + AT, "a\\b" + AT, "é" + AT, "nobody", "a@b" + AT, AT, "a@",
       "a@other.example", f"a@{FQDN}.", f"a@x.{FQDN}", f"a@{FQDN}:8443", "a@127.0.0.1", "a@[::1]", "a@localhost", "@", ""]
RAW = [b"a\0b" + AT.encode(), b"\0", b"\xff\xfe" + AT.encode(), b"a" * 256 + AT.encode(), b"a" * 10000 + AT.encode(),
       b"a" * 10000, b"a@" * 5000, b"../" * 3000 + AT.encode()]


def test_odd_identities(t):
    s, maf = with_maf(t)
    bystander, pids, endings = Bystander(s), s.pids(), wrong_key_endings(t, s)
    raw12, raw13 = raw_tls12(s, DEV1.identity.encode()), raw_tls13(s, DEV1.identity.encode())
    check(raw12.startswith("alert ") and raw13.startswith("alert "), f"raw handshakes: {raw12}, {raw13}")
    wrong = []
    for identity in ODD + RAW:
        data = identity.encode() if isinstance(identity, str) else identity
        for what, end, expected in (("raw TLS 1.2", raw_tls12(s, data), raw12),
                                    ("raw TLS 1.3", raw_tls13(s, data), raw13 if data else None)):
            if expected is not None and end != expected:
                wrong.append(f"{data[:40]!r} ({len(data)} bytes), {what}: {end}, a wrong key: {expected}")
    for identity in ODD[:12]:
        for kind in ("dtls1.2", "dtls1.3"):
            end = ending(t, s, kind, identity, WRONG_KEY)
            if end != endings[kind]:
                wrong.append(f"{identity!r}, {kind}: {end}, a wrong key: {endings[kind]}")
    equal(wrong, [], "endings that differ from that of a wrong key")
    equal((maf.requests, maf.handshakes), ([], 0), "what reached the MAF")
    bystander.serves("afterwards")
    pids_stay(s, pids)
    check(rows_about_failure(grown(s, {})), "no counter tells of it")
    log = s.process.log()
    check(all(c.isprintable() or c == "\n" for c in log), "control characters in the log")


test_odd_identities.timeout = 180


def sanitized(t):
    return b"__asan_init" in t.program("sagate").read_bytes()


def resident(pid):
    match = re.search(r"^VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)
    return int(match[1]) * 1024


def test_many_unknown_identities(t):
    """As many identities that the MAF does not know as the load generator makes."""
    s, maf = with_maf(t, {"limits": {"parked": 200, "parked_milliseconds": 1000, "handshakes": 1000,
                                     "handshake_seconds": 5},
                          "resolver": {"waiting": 100, "cached": 500}})
    maf.behaviour = "404"
    bystander, pids = Bystander(s), s.pids()
    load = [t.program("sagate-load"), "--target", f"127.0.0.1:{s.dtls_port}", "--mode", "handshake", "--identity",
            f"stranger{{}}{AT}", "--key-hex", "00" * 16, "--identities", "1000000", "--devices", "20000", "--window", "400",
            "--cipher", "PSK-AES128-CCM-8", "--warm-up", "0", "--seconds", "5"]
    sizes, parked = [], []
    for round_ in range(4):
        process = t.spawn(f"load{round_}", load + ["--source", f"127.{round_ + 2}.0.0"])
        end = time.monotonic() + 3
        while process.alive() and time.monotonic() < end:
            settle(0.3)
            parked.append(s.metric("handshakes_parked"))
            bystander.serves("in the storm")
        process.stop()
        sizes.append(sum(resident(pid) for pid in s.pids().values()))
    check(max(parked) <= 200, f"{max(parked)} parked handshakes")
    if not sanitized(t):  # a sanitizer keeps what was freed
        check(sizes[-1] < sizes[0] + (48 << 20), f"resident memory grows: {sizes}")
    check(len(maf.requests) > 50, f"the MAF was hardly asked: {len(maf.requests)}")
    check(rows_about_failure(grown(s, {})), "no counter tells of it")
    wait_for(lambda: s.metric("handshakes_parked") == 0, "nothing stays parked", 10)
    pids_stay(s, pids)
    maf.behaviour = "good"
    device = maf.device("known")
    equal(ending(t, s, "tls1.2", device.identity, device.hex), CONNECTED, "a known identity afterwards")


test_many_unknown_identities.timeout = 150
