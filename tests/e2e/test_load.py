# The load generator against sagate: that it does what was asked for, and counts it. Never how fast.
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import signal
import subprocess

from lib import Credential, Sagate, check, equal, free_port, settle, wait_for

KEY = "00112233445566778899aabbccddeeff"
IDENTITIES = 8
DEVICES = 40


def key_of(number):
    """The key of identity `number`, as sagate-load makes it."""
    return f"{int(KEY, 16) ^ number:032x}"


class Numbered(Credential):
    """A credential whose key is no text."""

    def settings(self):
        return {"identity": self.identity, "key_hex": self.key, "ae_ids": self.ae_ids}


def gateway(t, version="1.2", upstream=None):
    """sagate before the CSE that answers everything."""
    http, coap = free_port(), free_port()
    cse = t.spawn("perf-cse", [t.program("sagate-perf-cse"), f"127.0.0.1:{http}", f"127.0.0.1:{coap}"])
    of_version = {"version_max": version}
    server = {"name": "perf", "http": f"127.0.0.1:{http}", "coap": f"127.0.0.1:{coap}"}
    s = Sagate(t, cses=0, upstream={"servers": [server], **(upstream or {})}, dtls=of_version, tls=of_version,
               credentials=[Numbered(f"perf{i}@sp.example", key_of(i), [f"Cperf{i}"]) for i in range(IDENTITIES)],
               overrides={"limits": {"associations_per_identity": 0}})
    s.perf_cse = cse
    return s


def command(t, s, security, *args):
    port = s.tls_port if security.startswith("tls") else s.dtls_port
    return [str(a) for a in (t.program("sagate-load"), "--target", f"127.0.0.1:{port}", "--security", security,
                             "--identity", "perf{}@sp.example", "--key-hex", KEY, "--identities", IDENTITIES,
                             "--from", "Cperf{}", "--path", "/cse-in/ae{}/cnt/la", "--devices", DEVICES, *args)]


def load(t, s, security, *args):
    """The last result, after it was checked that nothing went wrong."""
    done = t.run(command(t, s, security, *args), timeout=60)
    equal(done.returncode, 0, f"exit status ({done.stderr.decode()[-500:]})")
    result = json.loads(done.stdout.splitlines()[-1])
    if "requests" in result:
        equal({name: result[name] for name in ("refused", "errors", "lost", "nonce_repeats", "handshakes_failed")},
              {"refused": 0, "errors": 0, "lost": 0, "nonce_repeats": 0, "handshakes_failed": 0}, "what went wrong")
    return result


def everything(t, s, security):
    """All operations at a rate, while associations end and addresses change."""
    result = load(t, s, security, "--rate", 200, "--seconds", 3, "--mix", "retrieve=4,create=3,discover=2,notify=1",
                  "--churn", 1, "--rebind", 1, "--payload", 900, "--histogram")
    equal(sum(result["operations"].values()), result["requests"], "requests by operation")
    check(min(result["operations"].values()) > 0, f"an operation is missing: {result['operations']}")
    check(result["churned"] > 0 and result["again"] > 0, "no association was made anew")
    equal(result["rebound"] > 0, not security.startswith("tls"), "devices went on from other addresses")
    equal(sum(count for _, count in result["histogram"]), result["requests"], "answers in the histogram")
    check(result["p50_us"] <= result["p90_us"] <= result["p99_us"] <= result["p999_us"] <= result["max_us"],
          "percentiles ascend")
    equal(result["rate_wanted"], 200, "the rate that was wanted")
    return result


def test_open_loop(t):
    s = gateway(t)
    before = s.metric("handshakes_total", result="ok")
    result = everything(t, s, "dtls1.2")
    check(s.metric("handshakes_total", result="ok") - before >= DEVICES + result["churned"] // 2,
          "sagate counts the handshakes, too")
    everything(t, s, "tls1.2")
    wait_for(lambda: s.metric("associations") <= DEVICES, "what was closed is gone")


def test_open_loop_of_version_1_3(t):
    s = gateway(t, "1.3")
    everything(t, s, "dtls1.3")
    everything(t, s, "tls1.3")


def test_requests_are_due_while_nothing_answers(t):
    """Their latency counts from when they should have gone, so that far more than one of each device was slow."""
    s = gateway(t, upstream={"health_fall": 10})
    arguments = command(t, s, "dtls1.2", "--mode", "hold", "--rate", 100, "--devices", IDENTITIES + 1, "--histogram")
    held = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    t.defer(lambda failed: held.kill() if held.poll() is None else None)

    def result(order=None):
        if order is not None:
            held.stdin.write(order + "\n")
            held.stdin.flush()
        return json.loads(held.stdout.readline())

    equal(result()["established"], IDENTITIES + 1, "established devices")
    result("load")
    wait_for(lambda: result("measure")["requests"] > 0, "answers come")
    s.perf_cse.signal(signal.SIGSTOP)
    settle(2)
    s.perf_cse.signal(signal.SIGCONT)
    slow = waited = 0

    def caught_up():
        nonlocal slow, waited
        measured = result("measure")
        waited += measured["waited"]
        slow += sum(count for upper_us, count in measured["histogram"] if upper_us > 500000)
        return slow > 4 * IDENTITIES

    wait_for(caught_up, "the requests that were due meanwhile are counted as slow")
    check(waited > IDENTITIES, f"{waited} requests waited for a device")
    equal(result("end")["event"], "end", "the last result")
    held.communicate(timeout=10)
    equal(held.returncode, 0, "exit status")


def test_pauses(t):
    s = gateway(t)
    for security in ("dtls1.2", "tls1.2"):
        result = load(t, s, security, "--think", 200, "--seconds", 2)
        check(result["requests"] > 0, "requests")
        check(result["requests"] < 2 * DEVICES * 2 / 0.2, f"{result['requests']} requests: nobody paused")


def test_content_in_blocks(t):
    s = gateway(t)
    for security in ("dtls1.2", "tls1.2"):
        result = load(t, s, security, "--mix", "create=1", "--payload", 5000, "--rate", 20, "--devices", IDENTITIES,
                      "--seconds", 2)
        check(result["operations"]["create"] > 0, "nothing was created")


def test_content_in_blocks_to_one_path(t):
    """More devices at a time than sagate has source ports, and again after those have gone on the way."""
    s = gateway(t)
    for _ in range(2):
        result = load(t, s, "dtls1.2", "--mix", "create=1", "--payload", 3000, "--path", "/cse-in/ae/cnt/la", "--devices", 16,
                      "--window", 16, "--seconds", 2)
        check(result["operations"]["create"] > 0, "nothing was created")


def resume(t, version):
    s = gateway(t, version)
    for transport in ("dtls", "tls"):
        result = load(t, s, transport + version, "--mode", "handshake", "--resume", "--window", 4, "--devices", 4, "--warm-up",
                      0, "--seconds", 1)
        check(result["resumed"] > 0, f"{transport} {version}: no handshake was resumed")


def test_resumed_handshakes(t):
    resume(t, "1.2")


def test_resumed_handshakes_of_version_1_3(t):
    resume(t, "1.3")


def test_idle_over_tls(t):
    s = gateway(t)
    result = load(t, s, "tls1.2", "--mode", "idle", "--seconds", 0, "--sample", 20)
    equal((result["established"], result["answered"], result["unanswered"]), (DEVICES, 20, 0), "devices of the sample")


def test_floods(t):
    s = gateway(t, "1.3")
    for version in ("1.2", "1.3"):
        for kind in ("hello", "garbage", "record", "cookie"):
            result = load(t, s, f"dtls{version}", "--mode", "flood", "--flood", kind, "--rate", 1000, "--seconds", 1,
                          "--warm-up", 0)
            check(result["sent"] > 0 and result["sent_bytes"] > 32 * result["sent"], f"{kind}: what was sent")
            check(result["received_bytes"] <= result["sent_bytes"], f"{kind}: sagate amplifies")
            equal(result["received"] > 0, kind in ("hello", "cookie"), f"{kind}: sagate answers")
    equal((s.metric("associations"), s.metric("handshakes_total", result="ok")), (0, 0), "what came of the floods")
    check(load(t, s, "dtls1.2", "--seconds", 1)["requests"] > 0, "devices are served afterwards")


def test_handshakes_that_end_with_an_alert(t):
    s = gateway(t)
    for transport in ("dtls", "tls"):
        result = load(t, s, transport + "1.2", "--mode", "handshake", "--alerts", "--identity", "nobody{}@nowhere.example",
                      "--identities", 1000, "--window", 4, "--devices", 1000, "--warm-up", 0, "--seconds", 1)
        check(result["alerted"] > 0, f"{transport}: no handshake ended with an alert")
        equal((result["handshakes"], result["handshakes_failed"]), (0, 0), "handshakes that ended otherwise")
