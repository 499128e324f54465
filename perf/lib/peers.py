# The servers that sagate is measured against, from the distribution, each with one thread on the first core.
# SPDX-License-Identifier: GPL-3.0-or-later
import shutil
import time

from bench import CIPHERS, PATH, Server

# What has to be installed, and the package that brings it.
PROGRAMS = {"haproxy": ("haproxy", "haproxy"), "nginx": ("nginx", "nginx"), "stunnel": ("stunnel4", "stunnel4"),
            "libcoap": ("coap-server-openssl", "libcoap3-bin"), "libcoap-proxy": ("coap-server-openssl", "libcoap3-bin"),
            "openssl": ("openssl", "openssl"), "wrk": ("wrk", "wrk"), "coap-client": ("coap-client-notls", "libcoap3-bin")}
# Why a peer cannot do what is asked of it, where that is worth a word.
CANNOT = {"libcoap-proxy": "coap-server -P forwards only what has a Proxy-Uri or Proxy-Scheme option, which a primitive does "
                           "not have (TS-0008 6.2.2.2)",
          "libcoap": "it speaks no HTTP, and only answers by itself", "haproxy": "it has no DTLS",
          "nginx": "it has no DTLS", "stunnel": "it has no DTLS towards a CoAP server",
          "openssl": "s_server answers nothing and serves one peer at a time"}
TLS_SUITE = "ECDHE-ECDSA-AES128-GCM-SHA256"
FOREVER = 2000000000


class Peers:
    """Which peers a run is made with."""

    def __init__(self, scenario, against, find=shutil.which):
        self.wanted, self.absent, self.notes = [], [], []
        for name in against or scenario.peers:
            if name not in scenario.peers:
                self.notes.append(f"{name} cannot do {scenario.name}: {CANNOT.get(name, 'it is no peer of it')}")
            elif find(PROGRAMS[name][0]) is None:
                self.absent.append(name)
                self.notes.append(f"{name} is not installed (package {PROGRAMS[name][1]}): its figures are null")
            else:
                self.wanted.append(name)

    def __contains__(self, name):
        return name in self.wanted

    def shown(self, name):
        """True when its figures are to be there, as null where it is not installed."""
        return name in self.wanted or name in self.absent


def http(port, process):
    return Server(port, [process.pid], ["--from", "Cperf0", "--path", PATH])


def server_files(bench):
    """(certificate, key, both in one file) of a server."""
    made = bench.certificates()["server"]
    with open(made[0], encoding="ascii") as chain, open(made[1], encoding="ascii") as key:
        return *made, bench.write("server.both", chain.read() + key.read(), 0o600)


def start_haproxy(bench):
    port = bench.ports(1)[0]
    pem = server_files(bench)[2]
    config = bench.write("haproxy.cfg", f"""
global
    nbthread 1
    ssl-default-bind-ciphers {TLS_SUITE}
    ssl-default-bind-options ssl-min-ver TLSv1.2 ssl-max-ver TLSv1.2
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option http-keep-alive
    http-reuse always
frontend in
    bind 127.0.0.1:{port} ssl crt {pem}
    default_backend cse
backend cse
    server one 127.0.0.1:{bench.cse['http']}
""")
    p = bench.start(["haproxy", "-db", "-f", config], core=bench.cores[0])
    bench.wait_tcp(port)
    return http(port, p)


def start_nginx(bench):
    port = bench.ports(1)[0]
    chain, key, _ = server_files(bench)
    folders = "\n".join(f"  {name}_temp_path {bench.path('nginx-' + name)};"
                        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config = bench.write("nginx.conf", f"""
daemon off;
master_process off;
worker_processes 1;
pid {bench.path('nginx.pid')};
error_log {bench.path('nginx-error.log')} warn;
events {{ worker_connections 8192; }}
http {{
{folders}
  access_log off;
  keepalive_requests {FOREVER};
  keepalive_timeout 3600s;
  client_max_body_size 1m;
  upstream cse {{ server 127.0.0.1:{bench.cse['http']}; keepalive 256; keepalive_requests {FOREVER}; }}
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {chain};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2;
    ssl_ciphers {TLS_SUITE};
    location / {{ proxy_pass http://cse; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
""")
    p = bench.start(["nginx", "-p", bench.folder, "-e", bench.path("nginx-error.log"), "-c", config], core=bench.cores[0])
    bench.wait_tcp(port)
    return http(port, p)


def start_stunnel(bench):
    port = bench.ports(1)[0]
    chain, key, _ = server_files(bench)
    config = bench.write("stunnel.conf", f"""
foreground = yes
syslog = no
debug = warning
pid =
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[https]
accept = 127.0.0.1:{port}
connect = 127.0.0.1:{bench.cse['http']}
cert = {chain}
key = {key}
sslVersion = TLSv1.2
ciphers = {TLS_SUITE}
TIMEOUTclose = 0
""")
    p = bench.start(["stunnel4", config], core=bench.cores[0])
    bench.wait_tcp(port)
    return http(port, p)


def start_libcoap(bench, tls):
    """libcoap's example server; it takes its key as text, and any identity."""
    plain, port = bench.ports(2)
    p = bench.start([f"coap-server-{tls}", "-A", "127.0.0.1", "-p", str(plain), "-k", bench.key, "-h", "sagate"],
                    core=bench.cores[0])
    time.sleep(0.5)
    if p.poll() is not None:
        raise SystemExit(f"perf: coap-server-{tls} did not start")
    return Server(port, [p.pid], ["--identity", "perf", "--key-hex", bench.key.encode().hex(), "--path", "/"])


def start_s_server(bench):
    """OpenSSL's test server, which takes one peer after the other; and its process."""
    port = bench.ports(1)[0]
    p = bench.start(["openssl", "s_server", "-dtls1_2", "-accept", f"127.0.0.1:{port}", "-psk", bench.key, "-nocert",
                     "-cipher", "PSK-AES128-CCM8:@SECLEVEL=0", "-quiet", "-listen"], core=bench.cores[0])
    time.sleep(0.5)
    if p.poll() is not None:
        raise SystemExit("perf: openssl s_server did not start")
    return Server(port, [p.pid], ["--identity", "perf", "--key-hex", bench.key, "--path", "/"]), p


START = {"haproxy": start_haproxy, "nginx": start_nginx, "stunnel": start_stunnel}
SUITE_OF_LIBCOAP = CIPHERS[("psk", "1.2")]
