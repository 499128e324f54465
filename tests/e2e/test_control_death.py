# The control process is killed under traffic: associations go on, no request is lost, and it comes back.
# SPDX-License-Identifier: GPL-3.0-or-later
import os
import re
import signal
import threading
import time

from lib import Credential, DEV1, DEV2, Sagate, WILD_C, ae, check, equal, settle, wait_for


def test_kill_9_under_traffic(t):
    s = Sagate(t)
    stream, client = s.tls(DEV1), s.dtls(DEV2)
    equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="h-first").rsc, 2000)
    equal(client.request("get", "cse-in", origin="Cdev2", rqi="c-first").rsc, 2000)
    stop, sent, wrong = threading.Event(), {"h": 0, "c": 0}, []

    def http():
        while not stop.is_set():
            sent["h"] += 1
            rqi = f"h{sent['h']}"
            try:
                answer = stream.request("GET", "/cse-in", origin="Cdev1", rqi=rqi)
                if answer.rsc != 2000 or answer.header("X-M2M-RI") != rqi:
                    wrong.append(f"{rqi}: {answer}")
            except Exception as error:
                wrong.append(f"{rqi}: {error}")
                return

    def coap():
        while not stop.is_set():
            sent["c"] += 1
            rqi = f"c{sent['c']}"
            try:
                answer = client.request("get", "cse-in", origin="Cdev2", rqi=rqi)
                if answer is None or answer.rsc != 2000 or answer.rqi != rqi:
                    wrong.append(f"{rqi}: {answer}")
            except Exception as error:
                wrong.append(f"{rqi}: {error}")
                return

    threads = [threading.Thread(target=f) for f in (http, coap)]
    for thread in threads:
        thread.start()
    settle(0.5)
    for _ in range(2):
        before = s.pids()
        killed = time.monotonic()
        os.kill(before["control"], signal.SIGKILL)

        def back():
            try:
                return s.pids()["control"] != before["control"]
            except (AssertionError, OSError, KeyError):
                return False

        wait_for(back, "the control process is back", 5)
        print(f"the control process was back after {time.monotonic() - killed:.2f} s")
        after = s.pids()
        equal((after["supervisor"], after["data"]), (before["supervisor"], before["data"]), "the other processes")
        # New associations need the control process: they are served again.
        with s.tls(DEV2) as other:
            equal(other.request("GET", "/cse-in", origin="Cdev2", rqi="new").rsc, 2000, "a new association")
    stop.set()
    for thread in threads:
        thread.join(20)
    equal(wrong, [], "requests that were lost or wrong")
    check(sent["h"] > 5 and sent["c"] > 5, f"too little traffic: {sent}")
    for kind in "hc":
        equal(len([r for r in s.cse.records() if (r["rqi"] or "").startswith(kind) and r["rqi"][1:].isdigit()]),
              sent[kind],
              "requests that reached the CSE, each once")


def test_dies_before_the_data_process_is_set_up(t):
    s = Sagate(t, start=False)
    s.launch()

    def pid(role):
        found = re.findall(rf"the {role} process is (\d+)", s.process.log())
        return int(found[-1]) if found else 0

    wait_for(lambda: pid("data"), "there is a data process", every=0.001)
    os.kill(pid("data"), signal.SIGSTOP)
    wait_for(lambda: s.get("/healthz")[0] == 200, "the control process has its configuration")
    before = pid("control")
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: pid("control") not in (0, before), "there is another control process")
    os.kill(pid("data"), signal.SIGCONT)
    wait_for(lambda: s.ready() and s.says_ready(), "sagate is ready")
    with s.tls(DEV1) as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)


def test_handshake_waits_for_the_control_process(t):
    s = Sagate(t)
    os.kill(s.pids()["control"], signal.SIGKILL)
    with s.tls(DEV1) as stream:  # at once, while there is no control process
        equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)


def came_back(s, name, before):
    try:
        return s.ready() and s.pids()[name] not in (0, before[name])
    except AssertionError:
        return False


def test_processes_return_without_their_files(t):
    s = Sagate(t)
    s.chain.rename(s.dir / "chain.away")
    (s.dir / "credentials.conf").write_text("credentials = ( {")  # is being edited
    before = s.pids()
    for name in ("data", "control"):
        os.kill(before[name], signal.SIGKILL)
        wait_for(lambda: came_back(s, name, before), f"the {name} process is back")
    with s.tls(DEV1) as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)
    s.ctl("reload", ok=False)
    (s.dir / "chain.away").rename(s.chain)
    s.write()
    s.ctl("reload")


def test_credential_that_goes_while_control_is_away(t):
    s = Sagate(t)
    with s.tls(DEV1) as gone, s.tls(DEV2) as stays:
        equal(gone.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)
        equal(stays.request("GET", "/cse-in", origin="Cdev2").rsc, 2000)
        before = s.pids()
        s.credentials = [c for c in s.credentials if c is not DEV1]
        s.write()
        os.kill(before["control"], signal.SIGKILL)
        wait_for(lambda: came_back(s, "control", before), "the control process is back")
        s.ctl("reload")
        check(gone.closed(), "the association of a removed credential stays open")
        equal(stays.request("GET", "/cse-in", origin="Cdev2").rsc, 2000)


def test_key_that_changes_while_control_dies_in_a_reload(t):
    s = Sagate(t)
    with s.tls(DEV1) as changed, s.tls(DEV2) as stays:
        equal(changed.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)
        equal(stays.request("GET", "/cse-in", origin="Cdev2").rsc, 2000)
        before = s.pids()
        new = Credential(DEV1.identity, "another-key-0123456789", DEV1.ae_ids)
        s.credentials = [new if c is DEV1 else c for c in s.credentials]
        s.write()
        # Control has checked the configuration and dies before it takes it; the data process takes it later.
        os.kill(before["data"], signal.SIGSTOP)
        os.kill(before["supervisor"], signal.SIGHUP)
        settle(0.5)
        os.kill(before["control"], signal.SIGKILL)
        settle(0.2)
        os.kill(before["data"], signal.SIGCONT)
        wait_for(lambda: "the new configuration is in use" in s.process.log(), "the reload succeeds")
        check(changed.closed(), "the association with the old key stays open")
        equal(stays.request("GET", "/cse-in", origin="Cdev2").rsc, 2000)
        wait_for(lambda: came_back(s, "control", before), "the control process is back")
        equal(s.ctl("status")["generation"], 1, "the configuration in use")
        with s.tls(new) as stream:
            equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000, "with the new key")


def test_orders_survive(t):
    s = Sagate(t)
    s.ctl("drain", "on")
    s.ctl("log", "level", "warning")
    before = s.pids()
    os.kill(before["control"], signal.SIGKILL)

    def status():
        try:
            return s.ctl("status") if s.pids()["control"] != before["control"] else None
        except AssertionError:
            return None

    found = wait_for(status, "the control process is back")
    equal((found["drain"], found["log_level"]), (True, "warning"), "orders of the operator")
    equal(s.get("/readyz")[0], 503, "readiness while draining")
    s.ctl("drain", "off")
    wait_for(s.ready, "ready again")


def test_registrations_survive(t):
    s = Sagate(t)
    with s.tls(WILD_C) as stream:
        aei = stream.request("POST", "/cse-in", origin="C", ty=2, body=ae("x")).json["m2m:ae"]["aei"]
        before = s.pids()["control"]
        os.kill(before, signal.SIGKILL)
        equal(stream.request("GET", "/cse-in", origin=aei).rsc, 2000, "on the same association")
    wait_for(s.ready, "ready again")
    with s.tls(WILD_C) as stream:
        equal(stream.request("GET", "/cse-in", origin=aei).rsc, 2000, "on a new association")


def test_killed_data_process_is_restarted(t):
    s = Sagate(t)
    before = s.pids()
    os.kill(before["data"], signal.SIGKILL)

    def back():
        try:
            return s.ready() and s.pids()["data"] not in (0, before["data"])
        except AssertionError:
            return False

    wait_for(back, "the data process is back")
    with s.tls(DEV1) as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)
    equal(s.coap(DEV1, "get", "/cse-in", origin="Cdev1").rsc, 2000)
