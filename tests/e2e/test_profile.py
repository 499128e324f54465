# Where the workers' time goes: sagatectl profile.
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import subprocess
import threading

from lib import DEV1, DEV2, Sagate, check, equal, wait_for

REQUEST_STAGES = ("io system calls", "io driver", "lookup", "record open", "binding", "pep", "upstream send",
                  "upstream answer", "record seal")


def profiled(t, s, seconds, work):
    """What sagatectl printed while `work` was done again and again."""
    process = subprocess.Popen([t.program("sagatectl"), "-s", str(s.socket), "--json", "profile", str(seconds)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    done = threading.Event()

    def watch():
        process.wait()
        done.set()

    threading.Thread(target=watch, daemon=True).start()
    while not done.is_set():
        work()
    out, err = process.communicate()
    equal(process.returncode, 0, f"exit status of sagatectl profile ({err!r})")
    answer = json.loads(out)
    return answer, {stage["stage"]: stage for stage in answer["stages"]}


def test_requests_by_stage(t):
    s = Sagate(t)
    with s.tls(DEV1) as stream, s.dtls(DEV2) as client:
        stream.request("GET", "/cse-in", origin="Cdev1", rqi="before")
        client.request("get", "cse-in", origin="Cdev2")

        def work():
            equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="r").rsc, 2000)
            equal(client.request("get", "cse-in", origin="Cdev2").rsc, 2000)

        answer, stages = profiled(t, s, 2, work)
    check(answer["requests"] >= 2, answer)
    equal(answer["handshakes"], 0)
    check(answer["workers"] >= 1 and 0 < answer["busy"] < 1, answer)
    for name in REQUEST_STAGES:
        check(stages[name]["calls"] > 0 and stages[name]["ticks"] > 0, f"nothing is counted for {name}: {stages[name]}")
        check(stages[name]["per_request"] > 0, stages[name])
    equal(stages["handshake"]["calls"], 0, "no handshake was made")
    check(stages["io wait"]["ticks"] > 0, "a worker that waits for slow clients waits")
    shares = sum(stage["share"] for stage in answer["stages"] if stage["share"] is not None)
    check(0.99 < shares < 1.01, f"the shares of the busy time are {shares} in all")


def test_handshakes_by_stage(t):
    s = Sagate(t)

    def work():
        with s.tls(DEV1) as stream:
            equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)

    answer, stages = profiled(t, s, 2, work)
    check(answer["handshakes"] >= 1, answer)
    check(stages["handshake"]["calls"] > 0 and stages["handshake"]["per_handshake"] > 0, stages["handshake"])


def test_one_at_a_time_and_for_people(t):
    s = Sagate(t)
    ctl = [t.program("sagatectl"), "-s", str(s.socket), "profile"]
    process = subprocess.Popen(ctl + ["2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: "under way" in s.ctl("profile", "1", ok=False), "the first profile is under way")
    out, err = process.communicate()
    equal(process.returncode, 0, f"exit status ({err!r})")
    check("STAGE" in out.decode() and "timers" in out.decode(), out)
    for wrong in ("0", "100000", "soon"):
        check(t.run(ctl + [wrong]).returncode != 0, f"profile {wrong} is taken")


def test_ends_without_control(t):
    s = Sagate(t)
    command = [t.program("sagatectl"), "-s", str(s.socket), "profile"]

    def begun():
        first = subprocess.Popen(command + ["2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        second = t.run(command + ["1"])
        if b"under way" in second.stderr and first.poll() is None:
            return first
        first.communicate()  # the second came before it
        return None

    process = wait_for(begun, "the profile is under way")
    restarts = s.ctl("status")["processes"]["control"]["restarts"]
    t.run(["kill", "-9", str(s.pids()["control"])])
    process.communicate()
    check(process.returncode != 0, "an answer of a control process that died")
    wait_for(lambda: s.ready() and s.ctl("status")["processes"]["control"]["restarts"] > restarts,
             "the next control process", 20)
    with s.tls(DEV1) as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)
    check(s.ctl("profile", "1")["workers"] >= 1, "the next profile counts nothing")


def test_system_calls_are_counted(t):
    s = Sagate(t)
    with s.tls(DEV1) as stream:
        before = s.metric("io_enters_total")
        for _ in range(20):
            stream.request("GET", "/cse-in", origin="Cdev1")
        wait_for(lambda: s.metric("io_enters_total") > before, "system calls are counted")
    check(s.metric("io_batches_total") > 0 and s.metric("io_submissions_total") > 0, "batches and submissions")
