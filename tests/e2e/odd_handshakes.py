# Handshakes with a pre-shared key whose only interest is how they end, and raw ones that no library would make.
# SPDX-License-Identifier: GPL-3.0-or-later
import os
import re
import socket
import struct
import subprocess

from harness import Failure

KINDS = ("tls1.2", "tls1.3", "dtls1.2", "dtls1.3")
CONNECTED = "connected"
SECONDS = 20


def _alert(said, process):
    found = re.search(rb"SSL alert number (\d+)|^alert (\d+)$", said, re.M)
    if found:
        return f"alert {(found[1] or found[2]).decode()}"
    return f"ended with {process.returncode}: {said[-300:]!r}"


def _openssl(t, s, kind, identity, key):
    version = "-" + kind.replace(".", "_")
    argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{s.dtls_port if 'dtls' in kind else s.tls_port}", version,
            "-psk", key, "-psk_identity", identity]
    argv += ["-timeout"] if "dtls" in kind else []
    argv += ["-ciphersuites", "TLS_AES_128_GCM_SHA256"] if kind == "tls1.3" else \
        ["-cipher", "PSK-AES128-GCM-SHA256:@SECLEVEL=0"]
    done = t.run(argv, SECONDS, input=b"Q\n")
    said = done.stderr + done.stdout
    good = done.returncode == 0 and not re.search(rb"^New, \(NONE\)", said, re.M)
    return CONNECTED if good else _alert(said, done)


def _wolfssl(t, s, kind, identity, key):
    argv = [t.program("sagate-wolfssl-peer"), "--version", kind[-3:], "--suite", "TLS13-AES128-GCM-SHA256", "--host",
            "127.0.0.1", "--port", s.dtls_port, "--dtls", "--identity", identity, "--key", key]
    done = t.run(argv, SECONDS + 10, stdin=subprocess.DEVNULL)
    return CONNECTED if done.stderr.startswith(b"connected ") else _alert(done.stderr, done)


def ending(t, s, kind, identity, key):
    """How a handshake with this identity and key (hexadecimal) ends: CONNECTED, or "alert N"."""
    return (_wolfssl if kind == "dtls1.3" else _openssl)(t, s, kind, identity, key)


# --- Raw, for identities that no library sends -----------------------------------------------------------------------


def _vector(size, data):
    return len(data).to_bytes(size, "big") + data


def _message(kind, body):
    return bytes([kind]) + _vector(3, body)


def _records(kind, data):
    return b"".join(bytes([kind, 3, 3]) + _vector(2, data[i:i + 16000]) for i in range(0, len(data), 16000))


def _read_alert(sock, until):
    """Reads records until one ends with the handshake message `until` in clear, or an alert or the end comes."""
    stream = sock.makefile("rb")
    while True:
        head = stream.read(5)
        if len(head) < 5:
            return "closed"
        body = stream.read(struct.unpack(">H", head[3:])[0])
        if head[0] == 21:
            return f"alert {body[1]}"
        if head[0] == 22 and until is not None and body[-4:] == until:
            return None


def _hello12():
    return _message(1, b"\3\3" + os.urandom(32) + b"\0" + _vector(2, b"\0\xae") + b"\1\0" +
                    _vector(2, b"\0\x17\0\0"))  # PSK with AES-128-CBC and SHA-256; extended master secret


def raw_tls12(s, identity):
    """TLS 1.2 with any bytes as identity, and a Finished that no key fits; how it ends."""
    with socket.create_connection(("127.0.0.1", s.tls_port), 5) as sock:
        sock.settimeout(SECONDS)
        try:
            sock.sendall(_records(22, _hello12()))
            ended = _read_alert(sock, b"\x0e\0\0\0")  # ServerHelloDone
            if ended is not None:
                raise Failure(f"before the ClientKeyExchange: {ended}")
            sock.sendall(_records(22, _message(16, _vector(2, identity))) + b"\x14\3\3\0\1\1" +
                         b"\x16\3\3" + _vector(2, b"\x5a" * 80))
            return _read_alert(sock, None)
        except ConnectionError:
            return "reset"


def raw_tls13(s, identity):
    """TLS 1.3 with any bytes as identity (psk_ke), and a binder that no key fits; how it ends."""
    offered = _vector(2, _vector(2, identity) + b"\0\0\0\0") + _vector(2, _vector(1, b"\x5a" * 32))
    extensions = (b"\0\x2b" + _vector(2, b"\2\3\4") + b"\0\x2d" + _vector(2, b"\1\0") +
                  b"\0\x29" + _vector(2, offered))
    hello = _message(1, b"\3\3" + os.urandom(32) + _vector(1, os.urandom(32)) + _vector(2, b"\x13\1") + b"\1\0" +
                     _vector(2, extensions))
    with socket.create_connection(("127.0.0.1", s.tls_port), 5) as sock:
        sock.settimeout(SECONDS)
        try:
            sock.sendall(_records(22, hello))
            return _read_alert(sock, None)
        except ConnectionError:
            return "reset"
