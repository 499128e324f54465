# sagate serves in this kernel: its io_uring driver, its system call filter, both bindings, from handshake to answer.
# SPDX-License-Identifier: GPL-3.0-or-later
from lib import DEV1, DEV2, Sagate, ae, check, cin, cnt, equal, openssl_certificate


def register(ask, name):
    """Makes an AE, a container and a content instance, and reads it back; ask(method, path, …) gives the answer."""
    equal(ask("POST", "/cse-in", ty=2, body=ae(name)).rsc, 2001)
    equal(ask("POST", f"/cse-in/{name}", ty=3, body=cnt("data")).rsc, 2001)
    equal(ask("POST", f"/cse-in/{name}/data", ty=4, body=cin("21.5")).rsc, 2001)
    answer = ask("GET", f"/cse-in/{name}/data/la")
    equal((answer.rsc, answer.json["m2m:cin"]["con"]), (2000, "21.5"))


def test_https(t):
    s = Sagate(t)
    with s.tls(DEV1) as stream:
        register(lambda *args, **fields: stream.request(*args, origin="Cdev1", **fields), "cdev1")
    for version in ("-tls1_2", "-tls1_3"):
        with openssl_certificate(t, s.tls_port, version) as stream:
            check(stream.request("GET", "/cse-in", origin="Cdev1").status != 200, "a stranger speaks for Cdev1")
    equal(len(s.cse.records(binding="http")), 4)


def test_coap_over_dtls(t):
    s = Sagate(t)

    def ask(method, path, **fields):
        return s.coap(DEV2, method.lower(), path, origin="Cdev2", **fields)

    register(ask, "cdev2")
    equal(len(s.cse.records(binding="coap")), 4)


def test_reload_and_stop(t):
    s = Sagate(t)
    s.ctl("reload")
    with s.tls(DEV1) as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1").status, 200)
    s.stop()
