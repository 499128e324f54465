# The operator's side: sagatectl, reload, metrics.
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import os
import signal
import socket
import stat

from lib import Credential, DEV1, DEV2, Sagate, check, equal, free_port, merge, openssl_psk, settle, wait_for

KEYS = [c.key for c in (DEV1, DEV2)] + [c.hex for c in (DEV1, DEV2)]


def no_keys(text, what):
    for key in KEYS:
        check(key.lower() not in text.lower(), f"key material in {what}")


def use(stream, origin="Cdev1", rqi="use"):
    return stream.request("GET", "/cse-in", origin=origin, rqi=rqi).rsc


def test_status(t):
    s = Sagate(t)
    with s.tls(DEV1) as stream, s.dtls(DEV2) as client:
        use(stream)
        client.request("get", "cse-in", origin="Cdev2")
        status = s.ctl("status")
        equal(status["associations"], {"dtls": 1, "tls": 1})
        equal((status["ready"], status["drain"]), (True, False))
        check(status["version"] and status["handshakes"]["ok"] >= 2, status)
        equal(len({p["pid"] for p in status["processes"].values()}), 3, "processes")
    people = t.run([t.program("sagatectl"), "-s", s.socket, "status"])
    equal(people.returncode, 0)
    check(status["version"] in people.stdout.decode(), people.stdout)


def test_associations(t):
    s = Sagate(t)
    with s.tls(DEV1) as one, s.dtls(DEV2) as two:
        use(one)
        two.request("get", "cse-in", origin="Cdev2")
        listed = s.ctl("associations", "list")["associations"]
        equal(sorted(a["credential_id"] for a in listed), ["12-dev1@sp.example", "12-dev2@sp.example"])
        by_credential = {a["credential_id"]: a for a in listed}
        first = by_credential["12-dev1@sp.example"]
        equal((first["framework"].lower(), first["listener"]), ("psk", "tls"))
        check(first["peer"].startswith("127.0.0.1"), first)
        check("CBC" in first["cipher"], first["cipher"])
        equal(s.ctl("associations", "show", first["id"])["association"]["id"], first["id"])
        s.ctl("associations", "show", "0-999999", ok=False)
        equal(s.ctl("associations", "kill", first["id"])["killed"], 1)
        check(one.closed(), "a killed association stays open")
        equal(two.request("get", "cse-in", origin="Cdev2").rsc, 2000, "the other association")
        equal(len(s.ctl("associations", "list")["associations"]), 1)
        s.ctl("associations", "kill", by_credential["12-dev2@sp.example"]["id"])
        check(two.ended(), "a killed DTLS association is not closed")
    wait_for(lambda: s.associations() == 0, "no association is left")


def test_identities(t):
    s = Sagate(t)
    text = json.dumps(s.ctl("identities", "list"))
    for credential in s.credentials:
        check(credential.identity in text, f"{credential.identity} is not listed")
    no_keys(text, "identities list")
    new = Credential("new@sp.example", "key-of-the-new-identity", ["Cnew"])
    key_file = t.dir / "new.key"
    key_file.write_text(new.hex + "\n")
    key_file.chmod(0o600)
    s.ctl("identities", "add", new.identity, "--key-file", str(key_file), "--ae-id", "Cnew")
    with s.tls(new) as stream:
        equal(use(stream, "Cnew"), 2000, "an identity added at run time")
        s.command("identities add", ok=False, identity=new.identity, key_hex=new.hex, ae_ids=["Cnew"])
        s.ctl("identities", "remove", new.identity)
        check(stream.closed(), "the association of a removed identity stays open")
    with s.tls(new) as stream:
        check(stream.closed(), "a removed identity is accepted")
    check("new@sp.example" not in json.dumps(s.ctl("identities", "list")), "a removed identity is listed")
    s.ctl("identities", "remove", "nobody@sp.example", ok=False)
    check(new.key not in s.process.log() and new.hex not in s.process.log(), "key material in the log")


def test_added_identity_survives_a_restart(t):
    s = Sagate(t)
    new = Credential("new@sp.example", "key-of-the-new-identity", ["Cnew"])
    s.command("identities add", identity=new.identity, key_hex=new.hex, ae_ids=["Cnew"])
    s.restart()
    with s.tls(new) as stream:
        equal(use(stream, "Cnew"), 2000)


def test_upstreams(t):
    s = Sagate(t, cses=2)
    with s.tls(DEV1) as stream:
        use(stream)
    upstream = s.ctl("upstreams")["upstreams"][0]
    equal((upstream["name"], len(upstream["servers"])), ("in", 2))
    check(all(server["http"]["healthy"] and server["coap"]["healthy"] for server in upstream["servers"]), upstream)
    check(sum(server["http"]["requests"] for server in upstream["servers"]) >= 1, upstream)


def test_reload(t):
    s = Sagate(t)
    with s.tls(DEV1) as kept, s.tls(DEV2) as removed, s.dtls(DEV1) as client:
        for stream, origin in ((kept, "Cdev1"), (removed, "Cdev2")):
            use(stream, origin)
        client.request("get", "cse-in", origin="Cdev1")
        s.credentials = [c for c in s.credentials if c is not DEV2]
        extra = free_port()
        s.settings["listeners"].append(merge(dict(s.settings["listeners"][1]), {"name": "tls2", "port": extra}))
        s.write()
        s.ctl("reload")
        check(removed.closed(), "the association of a removed credential stays open")
        equal(use(kept), 2000, "the association of a credential that stays")
        equal(client.request("get", "cse-in", origin="Cdev1").rsc, 2000, "the DTLS association")
        with openssl_psk(t, extra, DEV1) as stream:
            equal(use(stream), 2000, "the new listener")
        with s.tls(DEV2) as stream:
            check(stream.closed(), "a removed credential is accepted")
        # The listener goes again; the associations of the others stay.
        s.settings["listeners"].pop()
        s.write()
        before = s.ctl("status")["generation"]
        s.process.signal(signal.SIGHUP)
        wait_for(lambda: s.ctl("status")["generation"] > before, "SIGHUP reloads")
        equal(use(kept), 2000)
    try:
        with openssl_psk(t, extra, DEV1) as stream:
            check(stream.closed(), "a listener that is gone answers")
    except OSError:
        pass


def test_bad_reload_changes_nothing(t):
    s = Sagate(t)
    with s.tls(DEV1) as stream:
        use(stream)
        good = s.conf.read_text()
        generation = s.ctl("status")["generation"]
        for bad in ("process = {", good.replace("workers", "wrokers"), good.replace('upstream = "in"',
                                                                                    'upstream = "nowhere"')):
            s.conf.write_text(bad)
            message = s.ctl("reload", ok=False)
            check("sagate.conf" in message or "nowhere" in message, f"the message does not say where: {message}")
            s.process.signal(signal.SIGHUP)
            equal(use(stream), 2000, "after a bad reload")
            with s.tls(DEV2) as other:
                equal(use(other, "Cdev2"), 2000, "a new association after a bad reload")
        equal(s.ctl("status")["generation"], generation)
        (s.dir / "credentials.conf").chmod(0o644)
        s.conf.write_text(good)
        s.ctl("reload", ok=False)
        equal(use(stream), 2000, "after a credentials file that others can read")
        (s.dir / "credentials.conf").chmod(0o600)
        s.ctl("reload")
        equal(use(stream), 2000)


def test_fixed_settings_keep_their_values(t):
    s = Sagate(t, overrides={"process": {"workers": 2}})
    process = s.settings["process"]
    for workers, folder in ((1, "elsewhere"), (3, "nowhere")):
        process["workers"], process["state_directory"] = workers, str(s.dir / folder)
        s.settings["limits"]["associations"] = 1
        s.write()
        check("next start" in s.ctl("reload")["text"], "the operator is not told")
        equal(s.ready(), True, "ready")
        equal(s.ctl("status")["workers"], {"configured": 2, "present": 2})
        for _ in range(4):  # the kernel chooses the worker
            with s.tls(DEV1) as stream:
                equal(use(stream), 2000)


def test_second_reload_is_refused_at_once(t):
    s = Sagate(t)
    pids = s.pids()
    os.kill(pids["data"], signal.SIGSTOP)  # so that the first takes its time
    try:
        clients = [t.spawn(f"reload{i}", [t.program("sagatectl"), "-s", s.socket, "reload"]) for i in range(2)]
        wait_for(lambda: not all(c.alive() for c in clients), "a second reload is refused")
        refused, = [c for c in clients if not c.alive()]
        check("a reload is under way; try again" in refused.log(), refused.log())
        for _ in range(2):
            os.kill(pids["supervisor"], signal.SIGHUP)  # is remembered
    finally:
        os.kill(pids["data"], signal.SIGCONT)
    equal(sorted(c.wait() for c in clients), [0, 1], "exit status of the two")
    wait_for(lambda: s.ctl("status")["generation"] == 2, "the reload of SIGHUP")
    s.ctl("reload")
    equal(s.ctl("status")["generation"], 3, "signals during a reload make one more")


def test_reload_fails_when_a_process_dies(t):
    s = Sagate(t)
    extra = free_port()
    s.settings["listeners"].append(merge(dict(s.settings["listeners"][1]), {"name": "tls2", "port": extra}))
    s.write()
    for count, name in enumerate(("control", "data"), 1):
        before = s.pids()
        os.kill(before[name], signal.SIGSTOP)
        os.kill(before["supervisor"], signal.SIGHUP)
        settle(0.5)
        os.kill(before[name], signal.SIGKILL)
        wait_for(lambda: s.process.log().count("the old configuration stays in use") == count, "the reload fails")
        wait_for(lambda: back(s, name, before), f"the {name} process is back")
        equal(s.ctl("status")["generation"], 0, "the configuration in use")
        with socket.socket() as client:
            check(client.connect_ex(("127.0.0.1", extra)) != 0, "the listener of a reload that failed answers")
    s.ctl("reload")
    with openssl_psk(t, extra, DEV1) as stream:
        equal(use(stream), 2000, "the new listener")


def back(s, name, before):
    try:
        return s.ready() and s.pids()[name] not in (0, before[name])
    except AssertionError:
        return False


def test_drain(t):
    s = Sagate(t)
    with s.tls(DEV1) as stream:
        use(stream)
        equal(s.ctl("drain", "on")["drain"], True)
        equal(s.metric("draining"), 1)
        equal(s.get("/readyz")[0], 503, "readiness while draining")
        equal(s.get("/healthz")[0], 200, "health while draining")
        with s.tls(DEV2) as late:
            check(late.closed(), "a new association while draining")
        answer = stream.request("GET", "/cse-in", origin="Cdev1", rqi="last")
        equal((answer.rsc, answer.header("Connection")), (2000, "close"))
        s.ctl("drain", "off")
        wait_for(s.ready, "ready again")
    with s.tls(DEV1) as stream:
        equal(use(stream), 2000)


def test_log_level(t):
    s = Sagate(t)
    equal(s.ctl("log", "level", "error")["log_level"], "error")
    equal(s.ctl("status")["log_level"], "error")
    s.ctl("log", "level", "loud", ok=False)
    equal(s.ctl("log", "level", "debug")["log_level"], "debug")


def test_metrics(t):
    s = Sagate(t)
    with s.tls(DEV1) as stream:
        use(stream)
        use(stream, "Cdev2")
        s.coap(DEV2, "get", "/cse-in", origin="Cdev2")
        names = {name for name, _ in s.metrics()}
        for name in ("handshakes_total", "handshakes_in_progress", "handshakes_parked", "associations", "records_total",
                     "primitives_total", "refusals_total", "bytes_total", "limit_hits_total", "cookies_sent_total",
                     "streams_accepted_total", "datagrams_received_total"):
            check("sagate_" + name in names, f"there is no sagate_{name}; there are {sorted(names)}")
        check(any(n.startswith("sagate_build") for n in names), "no build information")
        check(any("latency" in n and n.endswith("_bucket") for n in names), f"no latency histogram: {sorted(names)}")
        check(any("health" in n for n in names), "no upstream health")
        equal(s.metric("associations", transport="tls"), 1)
        equal(s.metric("handshakes_total", result="ok", framework="psk"), 2)
        equal(s.metric("refusals_total", reason="originator"), 1)
        check(s.metric("primitives_total", binding="http", operation="retrieve") >= 2, "HTTP primitives")
        check(s.metric("primitives_total", binding="coap", operation="retrieve") >= 1, "CoAP primitives")
    status, text = s.get("/metrics")
    no_keys(text, "metrics")
    check("Cdev1" not in text and "dev1@" not in text, "identities in metrics")


def test_bad_clients_of_the_control_socket(t):
    import socket
    s = Sagate(t)
    check(stat.S_IMODE(s.socket.stat().st_mode) & 0o007 == 0, "others can reach the control socket")
    for line in (b"{}\n", b"not json\n", b'{"v":99,"command":"status"}\n', b'{"v":1,"command":"explode"}\n',
                 b'{"v":1,"command":["status"]}\n', b"[" * 5000 + b"\n", b"x" * 200000 + b"\n"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(5)
            client.connect(str(s.socket))
            try:
                client.sendall(line)
                answer = client.recv(65536)
            except (BrokenPipeError, ConnectionResetError):
                continue
            check(not answer or json.loads(answer.splitlines()[0])["ok"] is False, f"{line[:40]!r}: {answer!r}")
    equal(s.ctl("status")["ready"], True)


def test_control_gives_way_to_workers(t):
    s = Sagate(t, overrides={"process": {"pin_workers": True, "control_nice": 7}})
    pids = s.pids()
    nice = {name: os.getpriority(os.PRIO_PROCESS, pids[name]) for name in ("control", "data")}
    equal(nice["control"], min(nice["data"] + 7, 19), "priority of the control process")
    mine = os.sched_getaffinity(0)
    equal(os.sched_getaffinity(pids["control"]), mine - {0} or mine, "cores of the control process")
    with s.tls(DEV1) as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)
