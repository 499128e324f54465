# The data process is killed, crashes again and again, or gives way to one of another program: sagate serves on, and DTLS
# associations go on.
# SPDX-License-Identifier: GPL-3.0-or-later
import os
import shutil
import signal
import threading
import time

import coap as coaplib
from lib import Closed, DEV1, DEV2, Sagate, check, equal, settle, wait_for


def data_pid(s):
    try:
        return s.pids()["data"]
    except AssertionError:
        return 0


def is_back(s, before):
    return lambda: data_pid(s) not in (0, before) and s.ready()


def patient(client, rqi, seconds=20):
    """A request that is sent again until it is answered, as RFC 7252 4.2 has it. Returns the answer and the seconds."""
    datagram = client.build("get", "cse-in", origin="Cdev1", rqi=rqi)
    token, start = coaplib.decode(datagram).token, time.monotonic()
    while time.monotonic() < start + seconds:
        client.send(datagram)
        answer = client.response(token, 0.25)
        if answer is not None:
            return answer, time.monotonic() - start
    return None, seconds


def program(s, name, text):
    """A script that says what the text says."""
    path = s.dir / name
    path.write_text("#!/bin/sh\ncat <<END\n" + text + "END\n")
    path.chmod(0o755)
    return path


def probe(s):
    return s.t.run([s.t.program("sagate"), "--probe"]).stdout.decode()


def copy_of_sagate(s):
    path = s.dir / "sagate-next"
    shutil.copy(s.t.program("sagate"), path)
    path.chmod(0o755)
    return path


def upgrade(s, path, *more, ok=True):
    return s.ctl("upgrade", "--binary", str(path), *more, ok=ok)


def handshakes(s):
    return s.metric("handshakes_total", result="ok")


# --- Killed ----------------------------------------------------------------------------------------------------------


def test_killed_data_process_is_back_soon(t):
    s = Sagate(t)
    with s.tls(DEV1) as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)
        before = data_pid(s)
        start = time.monotonic()
        os.kill(before, signal.SIGKILL)
        check(stream.closed(), "a TLS association outlives its process")
        with s.tls(DEV1) as other:  # its handshake waits for the next process
            equal(other.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)
        print(f"served again {time.monotonic() - start:.2f} s after the end of the data process")
    wait_for(is_back(s, before), "the data process is back")
    data = s.ctl("status")["processes"]["data"]
    equal(data["restarts"], 1, "restarts")
    check(data["started"].endswith("Z") and data["uptime_seconds"] < 60, f"start of the data process: {data}")


def test_association_outlives_a_killed_data_process(t):
    s = Sagate(t)
    client = s.dtls(DEV1)
    answer, _ = patient(client, "first")
    check(answer is not None, "no answer before anything has happened")
    count = handshakes(s)
    for number in range(2):
        before = data_pid(s)
        os.kill(before, signal.SIGKILL)
        answer, seconds = patient(client, f"after-{number}")
        check(answer is not None, "the association does not go on")
        print(f"answered {seconds:.2f} s after the end of the data process")
        wait_for(is_back(s, before), "the data process is back")
        wait_for(lambda: s.ctl("status")["processes"]["data"]["associations_resumed"] == 1, "the association went on")
    equal(handshakes(s), count, "handshakes: nobody had to come anew")
    equal(s.associations(), 1, "associations")


def test_associations_outlive_it_under_traffic(t):
    s = Sagate(t, overrides={"process": {"workers": 2}})
    clients, stop, wrong, sent = [s.dtls(DEV1) for _ in range(4)], threading.Event(), [], []

    def run(number, client):
        count = 0
        while not stop.is_set():
            count += 1
            rqi = f"c{number}-{count}"
            try:
                answer, _ = patient(client, rqi)
            except (Closed, OSError) as error:
                wrong.append(f"{rqi}: {error}")
                return
            if answer is None or answer.rsc != 2000 or answer.rqi != rqi:
                wrong.append(f"{rqi}: {answer}")
        sent.append(count)

    threads = [threading.Thread(target=run, args=one) for one in enumerate(clients)]
    for thread in threads:
        thread.start()
    wait_for(lambda: s.associations() == len(clients), "all associations are there")
    for _ in range(2):
        settle(0.5)
        before = data_pid(s)
        os.kill(before, signal.SIGKILL)
        wait_for(is_back(s, before), "the data process is back")
    settle(0.5)
    stop.set()
    for thread in threads:
        thread.join(25)
    equal(wrong, [], "requests without an answer, although they were sent again")
    check(len(sent) == len(clients) and min(sent) > 5, f"too little traffic: {sent}")
    equal(handshakes(s), len(clients), "handshakes")


def crash_until_given_up(s):
    """The first time does not count when sagate has been running for long."""
    before = 0
    for number in range(8):
        before = wait_for(lambda: data_pid(s) not in (0, before) and data_pid(s), "there is a data process", 15)
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: s.process.log().count("was ended by signal 9") > number, "the supervisor has seen it")
        if "its DTLS associations are given up" in s.process.log():
            wait_for(is_back(s, before), "the data process is back", 15)
            return
    check(False, "the associations are never given up")


def test_crash_loop_gives_associations_up(t):
    s = Sagate(t)
    client = s.dtls(DEV1)
    check(patient(client, "first")[0] is not None, "no answer before anything has happened")
    crash_until_given_up(s)
    equal(s.ctl("status")["processes"]["data"]["associations_resumed"], 0, "associations that went on")
    equal(s.associations(), 0, "associations")
    equal(s.coap(DEV2, "get", "/cse-in", origin="Cdev2").rsc, 2000, "a new association")


def test_stop_ends_associations(t):
    s = Sagate(t)
    client = s.dtls(DEV1)
    check(patient(client, "first")[0] is not None, "no answer before anything has happened")
    s.stop()
    check(client.ended(), "no close_notify at the end of sagate")


# --- Upgrade ---------------------------------------------------------------------------------------------------------


def test_upgrade(t):
    s = Sagate(t)
    path, before = copy_of_sagate(s), s.pids()
    with s.tls(DEV1) as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)
        done = upgrade(s, path)
        check(stream.closed(), "the TLS association stays open")
    equal(done["version"], probe(s).split()[1], "version that serves")
    after = s.pids()
    equal((after["supervisor"], after["control"]), (before["supervisor"], before["control"]), "the other processes")
    check(after["data"] != before["data"], "the data process is the same")
    equal(os.readlink(f"/proc/{after['data']}/exe"), str(path), "its program")
    wait_for(s.ready, "ready again")
    with s.tls(DEV1) as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000, "after the upgrade")
    # It stays the program, also when the file is gone, until the next upgrade: by default to that of the start.
    path.unlink()
    os.kill(after["data"], signal.SIGKILL)
    wait_for(is_back(s, after["data"]), "the data process is back")
    check(str(path) in os.readlink(f"/proc/{data_pid(s)}/exe"), "another program after a restart")
    s.write()
    s.ctl("reload")
    s.ctl("upgrade")
    equal(os.readlink(f"/proc/{data_pid(s)}/exe"), str(t.program("sagate")), "the program by default")


def test_upgrade_keeps_associations(t):
    s = Sagate(t)
    client = s.dtls(DEV1)
    check(patient(client, "first")[0] is not None, "no answer before anything has happened")
    count = handshakes(s)
    done = upgrade(s, copy_of_sagate(s))
    equal((done["associations_resumed"], done["associations_lost"]), (1, 0), "associations that went on, and not")
    check(patient(client, "second")[0] is not None, "the association does not go on")
    done = s.ctl("upgrade")
    equal(done["associations_resumed"], 1, "associations that went on")
    check(patient(client, "third")[0] is not None, "the association does not go on")
    equal(handshakes(s), count, "handshakes")


def test_upgrade_refused(t):
    s = Sagate(t)
    before, text = s.pids(), probe(s)
    layout = program(s, "layout", text.replace("store ", "store 9"))
    plane = program(s, "plane", text.replace("plane ", "plane 9"))
    open_to_all = copy_of_sagate(s)
    open_to_all.chmod(0o777)
    for path, told in ((layout, "all would be lost; --force"), (plane, "restart the service instead"),
                       ("/bin/true", "does not say that it is a sagate"), (open_to_all, "others may write the program"),
                       (s.dir, "not a program"), (s.conf, "not a program")):
        error = upgrade(s, path, ok=False)
        check(told in error, f"{path}: {error!r} does not tell {told!r}")
    check("restart the service" in upgrade(s, plane, "--force", ok=False), "another plane, by force")
    check("No such file" in s.command("upgrade", ok=False, binary="/nowhere"), "a program that is missing")
    for wrong in ({"binary": "sagate"}, {"binary": 1}, {"force": 1}):
        check("must be" in s.command("upgrade", ok=False, **wrong), f"{wrong}")
    if os.geteuid() == 0:
        layout.chmod(0o755)
        shutil.chown(layout, "nobody")
        check("must belong to root" in upgrade(s, layout, ok=False), "the program of somebody")
    equal(s.pids(), before, "processes")
    with s.tls(DEV1) as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)


def test_upgrade_that_fails_is_undone(t):
    s = Sagate(t)
    before = s.pids()
    error = upgrade(s, program(s, "impostor", probe(s)), ok=False)
    check("ended before it was ready" in error and "serves again" in error, error)
    after = s.pids()
    check(after["data"] not in (0, before["data"]), "no new data process")
    equal(os.readlink(f"/proc/{after['data']}/exe"), str(t.program("sagate")), "its program")
    wait_for(s.ready, "ready again")
    with s.tls(DEV1) as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)
    # The same with associations that the program, by its own account, could not keep.
    odd = program(s, "odd", probe(s).replace("store ", "store 9"))
    check("serves again" in upgrade(s, odd, "--force", ok=False), "by force")


def test_crashing_upgrade_is_left(t):
    s = Sagate(t)
    upgrade(s, copy_of_sagate(s))
    crash_until_given_up(s)
    equal(os.readlink(f"/proc/{data_pid(s)}/exe"), str(t.program("sagate")), "the program after crashes")


def silent_program(s):
    path = s.dir / "silent"
    path.write_text("#!/bin/sh\nexec sleep 60\n")
    path.chmod(0o755)
    return path


def test_silent_program_is_refused(t):
    s = Sagate(t)
    before, errors = s.pids(), []
    asking = threading.Thread(target=lambda: errors.append(upgrade(s, silent_program(s), ok=False)))
    asking.start()
    settle(0.5)
    for command in ("reload", "upgrade"):
        check("an upgrade is under way" in s.ctl(command, ok=False), f"{command} while a program is asked")
    os.kill(before["supervisor"], signal.SIGHUP)  # is remembered
    asking.join(20)
    check("does not answer to --probe" in errors[0], errors[0])
    wait_for(lambda: "the new configuration is in use" in s.process.log(), "the reload that was ordered meanwhile")
    equal(s.pids(), before, "processes")
    s.ctl("upgrade")


def test_stop_while_a_program_is_asked(t):
    s = Sagate(t)
    path = silent_program(s)
    asking = threading.Thread(target=lambda: upgrade(s, path, ok=False))
    asking.start()
    settle(0.5)
    s.stop()
    asking.join(20)


def test_control_dies_in_an_upgrade(t):
    s = Sagate(t)
    before, path = s.pids(), copy_of_sagate(s)
    os.kill(before["data"], signal.SIGSTOP)  # it does not end by itself, and is killed after 10 s
    asking = threading.Thread(target=lambda: upgrade(s, path, ok=False))
    asking.start()
    wait_for(lambda: "upgrade: from sagate" in s.process.log(), "the upgrade has begun")
    os.kill(before["control"], signal.SIGKILL)
    asking.join(20)
    wait_for(lambda: "upgrade: the data process is one of" in s.process.log(), "the upgrade is done", 20)
    wait_for(s.ready, "ready again")
    check(data_pid(s) not in (0, before["data"]), "the data process is the same")
    equal(os.readlink(f"/proc/{data_pid(s)}/exe"), str(path), "its program")
    equal(s.coap(DEV2, "get", "/cse-in", origin="Cdev2").rsc, 2000, "a new association")
