# Several workers at once under traffic, reloads and orders of the operator: what the thread sanitizer has to see.
# SPDX-License-Identifier: GPL-3.0-or-later
import threading

from lib import CREDENTIALS, Credential, Failure, Sagate, check, equal

MANY = [Credential(f"t{n}@sp.example", f"key-of-thread-{n:04d}", [f"Ct{n}"]) for n in range(6)]


def traffic(s, credential, stop, failures, count):
    """One device: a DTLS and a TLS association after the other, some requests on each."""
    origin = credential.ae_ids[0]
    try:
        while not stop.is_set():
            with s.tls(credential) as stream:
                for n in range(3):
                    equal(stream.request("GET", "/cse-in", origin=origin, rqi=f"h{n}").rsc, 2000)
            with s.dtls(credential) as client:
                for n in range(3):
                    equal(client.request("get", "cse-in", origin=origin, rqi=f"c{n}").rsc, 2000)
            count.append(1)
    except (Failure, OSError, AttributeError) as error:
        failures.append(f"{origin}: {error!r}")


def test_threads_under_reload(t):
    s = Sagate(t, cses=2, overrides={"process": {"workers": 2}}, credentials=CREDENTIALS + MANY)
    stop, failures, count = threading.Event(), [], []
    threads = [threading.Thread(target=traffic, args=(s, c, stop, failures, count)) for c in MANY[:4]]
    for thread in threads:
        thread.start()
    try:
        for n in range(4):
            s.settings["limits"]["requests_per_association"] = 16 + n
            s.write()
            s.ctl("reload")
            s.ctl("status")
            s.ctl("associations", "list")
            s.ctl("log", "level", "info" if n % 2 else "debug")
            s.get("/metrics")
            s.ctl("associations", "kill", "--identity", MANY[5].identity)
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    check(not failures, "\n".join(failures))
    check(len(count) >= 4, f"only {len(count)} rounds of traffic")
