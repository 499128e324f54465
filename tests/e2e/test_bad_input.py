# What strangers, broken networks and hurried operators send: nothing of it may hurt anybody else.
# SPDX-License-Identifier: GPL-3.0-or-later
import random
import socket
import subprocess
import time

from lib import DEV1, DEV2, DtlsCoap, Sagate, UdpRelay, check, coap_client, equal, libconfig, settle, wait_for


def alive(s):
    """Both bindings serve a well-behaved device."""
    with s.tls(DEV1) as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1", rqi="alive").rsc, 2000)
    equal(s.coap(DEV2, "get", "/cse-in", origin="Cdev2", rqi="alive").rsc, 2000)


def garbage(rng):
    yield b""
    yield b"\0"
    yield b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    yield b"\x16\xfe\xfd" + b"\0" * 8 + b"\xff\xff"                       # a record that is longer than its datagram
    yield b"\x16\xfe\xff" + b"\0" * 8 + b"\0\0"                           # an empty record
    yield b"\x16\x03\x01\xff\xff" + b"\1" * 100
    yield b"\x16\x03\x01\0\5\1\xff\xff\xff\0"                             # a ClientHello of 16 MB
    yield b"\x17\xfe\xfd\0\1" + b"\0" * 6 + b"\0\x20" + b"\xaa" * 32      # application data of an unknown epoch
    yield b"\x15\xfe\xfd\0\0" + b"\0" * 6 + b"\0\2\2\x28"                 # an alert from nobody
    yield b"\x19\xfe\xfd\0\1" + b"\0" * 6 + b"\x01" * 8 + b"\0\x10" + b"b" * 16  # an unknown Connection ID
    yield b"\x14\xfe\xfd\0\0" + b"\0" * 6 + b"\0\1\1"                     # ChangeCipherSpec without a handshake
    yield b"\x80\x2e\x01\0\2" + b"\0" * 41                                # SSL 2
    for size in (1, 13, 14, 60, 500, 1400, 9000):
        yield rng.randbytes(size)


def test_garbage_on_every_port(t):
    s = Sagate(t)
    rng = random.Random(1)
    with s.tls(DEV1) as stream, s.dtls(DEV2) as client:
        stream.request("GET", "/cse-in", origin="Cdev1")
        client.request("get", "cse-in", origin="Cdev2")
        for data in garbage(rng):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.sendto(data, ("127.0.0.1", s.dtls_port))
            for port in (s.tls_port, s.metrics_port):
                with socket.create_connection(("127.0.0.1", port), 5) as tcp:
                    try:
                        tcp.sendall(data)
                    except OSError:
                        pass
        equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000, "a TLS association that was there before")
        equal(client.request("get", "cse-in", origin="Cdev2").rsc, 2000, "a DTLS association that was there before")
    alive(s)
    check(s.metric("datagrams_dropped_total") >= 5, "dropped datagrams are not counted")


def test_garbage_inside_an_association(t):
    s = Sagate(t)
    rng = random.Random(2)
    for data in garbage(rng):
        if data and not data.startswith(b"GET"):
            with s.tls(DEV1) as stream:
                stream.send(data)
                settle(0.05)
    with s.dtls(DEV2) as client:
        for data in garbage(rng):
            if 0 < len(data) < 1400:
                client.send(data)
        answer = client.request("get", "cse-in", origin="Cdev2", rqi="fine")
        equal(answer and answer.rsc, 2000)
    alive(s)


def client_hello(dtls):
    """A ClientHello without a cookie, as openssl makes it."""
    version = "-dtls1_2" if dtls else "-tls1_2"
    kind = socket.SOCK_DGRAM if dtls else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as trap:
        trap.bind(("127.0.0.1", 0))
        if not dtls:
            trap.listen(1)
        trap.settimeout(10)
        process = subprocess.Popen(["openssl", "s_client", version, "-connect", f"127.0.0.1:{trap.getsockname()[1]}",
                                    "-psk", "00",
                                    "-psk_identity", "x", "-cipher", "PSK:@SECLEVEL=0"],
                                   stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            if dtls:
                return trap.recv(4096)
            connection, _ = trap.accept()
            with connection:
                connection.settimeout(10)
                return connection.recv(4096)
        finally:
            process.kill()
            process.wait()
            process.stdin.close()


def test_half_open_dtls_handshakes(t):
    s = Sagate(t)
    hello = client_hello(True)
    sockets = []
    with s.dtls(DEV1) as client:
        equal(client.request("get", "cse-in", origin="Cdev1").rsc, 2000)
        for n in range(2000):
            if n < 300:
                sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sockets[n % 300].sendto(hello, ("127.0.0.1", s.dtls_port))
        settle()
        # Nothing is kept for a peer that has not shown the cookie.
        check(s.metric("handshakes_in_progress") <= 1, "state before the cookie is proven")
        check(s.metric("cookies_sent_total") >= 100, "cookies are not counted")
        equal(client.request("get", "cse-in", origin="Cdev1").rsc, 2000)
        alive(s)
    for sock in sockets:
        sock.close()


def test_half_open_tls_handshakes(t):
    s = Sagate(t, overrides={"limits": {"handshakes": 64, "handshake_seconds": 3, "parked": 64,
                                        "parked_milliseconds": 2000}})
    hello = client_hello(False)
    established = s.tls(DEV1)
    equal(established.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)
    open_ones = []
    for n in range(200):
        try:
            tcp = socket.create_connection(("127.0.0.1", s.tls_port), 5)
            if n % 2:
                tcp.sendall(hello)
            open_ones.append(tcp)
        except OSError:
            pass
    check(s.metric("handshakes_in_progress") <= 64, "more handshakes than the limit")
    equal(established.request("GET", "/cse-in", origin="Cdev1").rsc, 2000, "an established association meanwhile")
    wait_for(lambda: s.metric("handshakes_in_progress") == 0, "half-open handshakes end at their deadline", 15)
    for tcp in open_ones:
        tcp.close()
    check(s.metric("limit_hits_total", limit="handshakes") >= 1, "the limit is not counted")
    alive(s)


def relayed(t, s, hook, path="/cse-in", seconds=20):
    relay = UdpRelay(t, s.dtls_port, hook)
    answer = coap_client(t, relay.port, DEV1, "get", path, origin="Cdev1", rqi="relay", seconds=seconds)
    return relay, answer


def test_every_datagram_twice(t):
    s = Sagate(t)
    _, answer = relayed(t, s, lambda number, to_server, data: [data, data])
    equal(answer and answer.rsc, 2000)
    equal(len(s.cse.records()), 1)


def test_old_datagrams_again(t):
    s = Sagate(t)
    seen = []

    def hook(number, to_server, data):
        if not to_server:
            return [data]
        seen.append(data)
        return [data] + seen[-4:-1]

    _, answer = relayed(t, s, hook)
    equal(answer and answer.rsc, 2000)
    equal(len(s.cse.records()), 1)


def test_truncated_datagrams_first(t):
    s = Sagate(t)

    def hook(number, to_server, data):
        return [data[:len(data) // 2], data[:-1], data[:13], data[:1], data] if to_server else [data]

    _, answer = relayed(t, s, hook)
    equal(answer and answer.rsc, 2000)
    equal(len(s.cse.records()), 1)


def test_corrupted_datagrams_first(t):
    s = Sagate(t)
    rng = random.Random(3)

    def hook(number, to_server, data):
        if not to_server or data[0] != 23:  # application data only: a handshake message in clear is another matter
            return [data]
        bad = bytearray(data)
        bad[rng.randrange(13, len(bad))] ^= 1 << rng.randrange(8)
        return [bytes(bad), data]

    _, answer = relayed(t, s, hook)
    equal(answer and answer.rsc, 2000)
    equal(len(s.cse.records()), 1)
    check(s.metric("datagrams_dropped_total", reason="record") >= 1, "not counted")


def test_lost_handshake_datagrams(t):
    s = Sagate(t)
    # The first datagram of each direction after the cookie exchange is lost; retransmission brings it again.
    _, answer = relayed(t, s, lambda number, to_server, data: [] if number == 1 else [data], seconds=30)
    equal(answer and answer.rsc, 2000)


def test_reordered_datagrams(t):
    s = Sagate(t)
    held = []

    def hook(number, to_server, data):
        if not to_server or data[0] != 23:
            return [data]
        held.append(data)
        if len(held) < 2:
            return []
        out = held[::-1]
        held.clear()
        return out

    relay = UdpRelay(t, s.dtls_port, hook)
    with DtlsCoap(t, relay.port, DEV1) as client:
        first, second = client.build("get", "cse-in", origin="Cdev1", rqi="o1", token=b"1"), client.build(
            "get", "cse-in", origin="Cdev1", rqi="o2", token=b"2")
        client.send(first)
        time.sleep(0.1)
        client.send(second)
        answers = {m.token: m.rqi for m in (client.response(), client.response()) if m}
    equal(answers, {b"1": "o1", b"2": "o2"})


def test_stranger_at_a_live_address(t):
    """Whoever can send from the address of a device cannot end its association."""
    s = Sagate(t)
    hello = client_hello(True)
    relay = UdpRelay(t, s.dtls_port, lambda number, to_server, data: [data])
    with DtlsCoap(t, relay.port, DEV1) as client:
        equal(client.request("get", "cse-in", origin="Cdev1").rsc, 2000)
        forged = [hello, b"\x15\xfe\xfd\0\0" + b"\0" * 6 + b"\0\2\1\0",
                  b"\x15\xfe\xfd\0\1" + b"\0\0\0\0\1\0" + b"\0\x12" + b"a" * 18,
                  b"\x17\xfe\xfd\0\1" + b"\0\0\0\0\1\0" + b"\0\x20" + b"a" * 32,
                  b"\x16\xfe\xfd\0\1" + b"\0\0\0\0\1\0" + b"\0\x20" + b"a" * 32]
        for data in forged:
            relay.back.send(data)
            settle(0.1)
            answer = client.request("get", "cse-in", origin="Cdev1", rqi="still")
            equal(answer and answer.rsc, 2000, f"after {data[:13].hex()}")


def test_rebooted_device(t):
    """A device that lost its keys comes back from the same port."""
    s = Sagate(t)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for n in range(2):
        client = s.dtls(DEV1, extra=["-bind", f"127.0.0.1:{port}"])
        equal(client.request("get", "cse-in", origin="Cdev1", rqi=f"boot{n}").rsc, 2000, f"start {n + 1}")
        client.process.kill()  # no close_notify
        client.process.wait()
    wait_for(lambda: s.associations() == 1, "the old association is replaced")


def test_connections_cut_in_the_middle(t):
    s = Sagate(t)
    with s.tls(DEV2) as other:
        for n in range(10):
            stream = s.tls(DEV1)
            stream.send(b"POST /cse-in HTTP/1.1\r\nHost: x\r\nX-M2M-Origin: Cdev1\r\nX-M2M-RI: cut\r\n"
                        b"Content-Type: application/json;ty=3\r\n"
                        b"Content-Length: 100\r\n\r\n{\"m2m"[:30 + n * 17])
            settle(0.05)
            stream.process.kill()
            stream.process.wait()
        equal(other.request("GET", "/cse-in", origin="Cdev2").rsc, 2000)
    wait_for(lambda: s.associations() == 0, "all associations have ended")
    equal([r["rqi"] for r in s.cse.records(event=None) if r["rqi"] == "cut"], [])


# --- Configuration ---------------------------------------------------------------------------------------------------


def check_config(t, s, change=None, text=None):
    """sagate -t; returns (exit status, what it said)."""
    original = s.conf.read_text()
    s.conf.write_text(text if text is not None else change(original))
    done = t.run([t.program("sagate"), "-t", "-c", s.conf])
    s.conf.write_text(original)
    return done.returncode, done.stdout.decode() + done.stderr.decode()


def test_configuration_errors(t):
    s = Sagate(t, cses=1, start=False)
    status, said = check_config(t, s, lambda text: text)
    equal(status, 0, f"a good configuration ({said})")
    for word in ("dtls", "tls", str(s.dtls_port), "cse1"):
        check(word in said, f"-t does not say what it would do: {said}")

    def twin(text):
        listener = dict(s.settings["listeners"][0], name="dtls2")
        return text.replace("listeners = ( {", f"listeners = ( {libconfig(listener)}, {{", 1)

    cases = [
        ("syntax error", lambda x: x.replace("process = {", "process = ", 1), ["sagate.conf"]),
        ("unknown setting", lambda x: x.replace("workers =", "workres =", 1), ["workres"]),
        ("unknown group", lambda x: x + "\nfoo = { bar = 1; };\n", ["foo"]),
        ("wrong unit", lambda x: x.replace("health_timeout_milliseconds", "health_timeout_seconds"),
         ["health_timeout_seconds"]),
        ("wrong type", lambda x: x.replace("workers = 1", 'workers = "one"'), ["workers"]),
        ("out of range", lambda x: x.replace("workers = 1", "workers = -3"), ["workers"]),
        ("unknown choice", lambda x: x.replace('transport = "dtls"', 'transport = "dtsl"'), ["dtsl"]),
        ("no such upstream", lambda x: x.replace('upstream = "in"', 'upstream = "nowhere"', 1), ["nowhere"]),
        ("two listeners on one port", twin, [str(s.dtls_port)]),
        ("missing certificate file", lambda x: x.replace("server.pem", "absent.pem"), ["absent.pem"]),
        ("missing key file", lambda x: x.replace("server.key", "absent.key"), ["absent.key"]),
        ("missing credentials file", lambda x: x.replace("credentials.conf", "absent.conf"), ["absent.conf"]),
        ("missing include", lambda x: x + '\n@include "absent.inc"\n', ["absent.inc"]),
        ("bad address", lambda x: x.replace('address = "127.0.0.1"', 'address = "127.0.0.1.5"', 1), ["127.0.0.1.5"]),
        ("bad port", lambda x: x.replace(f"port = {s.tls_port}", "port = 70000"), ["port"]),
    ]
    failures = []
    for name, change, words in cases:
        status, said = check_config(t, s, change)
        if status == 0:
            failures.append(f"{name}: accepted")
        for word in words:
            if word not in said:
                failures.append(f"{name}: the message does not name {word!r}: {said[:300]}")
        if "AddressSanitizer" in said or "runtime error" in said:
            failures.append(f"{name}: {said}")
    check(not failures, "\n".join(failures))
    done = t.run([t.program("sagate"), "-t", "-c", t.dir / "absent.conf"])
    check(done.returncode != 0 and b"absent.conf" in done.stderr + done.stdout, done)


def test_credentials_errors(t):
    s = Sagate(t, start=False)
    path = s.dir / "credentials.conf"
    good = path.read_text()
    cases = [
        ("readable for others", good, 0o644, ["credentials.conf"]),
        ("syntax", good.replace("credentials = (", "credentials = ", 1), 0o600, ["credentials.conf"]),
        ("no key", good.replace(f'key_text = "{DEV1.key}";', "", 1), 0o600, ["credentials[0]", "key_hex"]),
        ("bad hexadecimal", good.replace(DEV2.hex, "zz" + DEV2.hex[2:]), 0o600, ["credentials[1].key_hex"]),
        ("identity twice", good.replace("dev2@sp.example", "dev1@sp.example"), 0o600, ["credentials[1].identity"]),
        ("neither AE-ID nor CSE-ID", good.replace('cse_id = "/mn1";', ""), 0o600, ["credentials[6]"]),
    ]
    failures = []
    for name, text, mode, words in cases:
        path.write_text(text)
        path.chmod(mode)
        status, said = check_config(t, s, lambda x: x)
        if status == 0:
            failures.append(f"{name}: accepted")
        for word in words:
            if word not in said:
                failures.append(f"{name}: the message does not name {word!r}: {said[:300]}")
        if DEV1.key in said or DEV1.hex in said or DEV2.hex in said:
            failures.append(f"{name}: key material in the message")
    check(not failures, "\n".join(failures))


def test_start_on_a_port_in_use(t):
    s = Sagate(t, start=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", s.tls_port))
        taken.listen(1)
        done = t.run([t.program("sagate"), "-c", s.conf], timeout=20)
    check(done.returncode != 0, "started on a port in use")
    check(str(s.tls_port) in (done.stderr + done.stdout).decode(),
          f"the message does not name the port: {done.stderr!r}")
