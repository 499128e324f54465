# Networks of a test's own: the test enters a network namespace, and makes more of them, joined by veth pairs. They end
# with the processes that hold them, so nothing of them is left behind.
# SPDX-License-Identifier: GPL-3.0-or-later
import contextlib
import ctypes
import os
import socket
import subprocess

from harness import Skip, check, equal, need, wait_for

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def run(*argv):
    done = subprocess.run([str(a) for a in argv], capture_output=True)
    check(done.returncode == 0, f"{' '.join(map(str, argv))}: {done.stderr.decode().strip()}")


def enter(t):
    """Puts this process, and what it starts from now on, into a network namespace of its own."""
    if os.geteuid() != 0:
        raise Skip("network namespaces need root")
    need("ip", "unshare", "nsenter")
    if _libc.unshare(CLONE_NEWNET) != 0:
        raise Skip(f"no network namespace: {os.strerror(ctypes.get_errno())}")
    run("ip", "link", "set", "lo", "up")


class Namespace:
    """Another namespace, held by a process that sleeps."""

    def __init__(self, t, name):
        own = os.readlink("/proc/self/ns/net")
        self.name = name
        self.process = t.spawn(f"netns-{name}", ["unshare", "--net", "sleep", "1000"])
        wait_for(lambda: os.readlink(f"/proc/{self.process.pid}/ns/net") != own, f"namespace {name}")
        self.run("ip", "link", "set", "lo", "up")

    @property
    def prefix(self):
        """What goes before a command that is to run there."""
        return ["nsenter", f"--net=/proc/{self.process.pid}/ns/net"]

    def run(self, *argv):
        run(*self.prefix, *argv)

    def join(self, other, own_device, own_address, other_device, other_address):
        """A cable to another namespace (None: the test's own). Addresses are like 192.0.2.1/24."""
        self.run("ip", "link", "add", own_device, "type", "veth", "peer", "name", other_device, "netns",
                 str(other.process.pid if other else os.getpid()))
        prefix = other.prefix if other else []
        for before, device, address in ((self.prefix, own_device, own_address), (prefix, other_device, other_address)):
            run(*before, "ip", "address", "add", address, "dev", device)
            run(*before, "ip", "link", "set", device, "up")

    def route(self, gateway):
        self.run("ip", "route", "add", "default", "via", gateway)

    @contextlib.contextmanager
    def inside(self):
        """This process is there meanwhile: a socket that is made here stays there."""
        with open("/proc/self/ns/net") as own, open(f"/proc/{self.process.pid}/ns/net") as there:
            check(_libc.setns(there.fileno(), CLONE_NEWNET) == 0, "setns")
            try:
                yield
            finally:
                check(_libc.setns(own.fileno(), CLONE_NEWNET) == 0, "setns")


class Nat(Namespace):
    """A router whose outside address hides what is behind it (RFC 3022), by the kernel's own masquerading."""

    def __init__(self, t, device="outside"):
        super().__init__(t, "nat")
        need("nft")
        self.device, self.address = device, None
        rules = (f"table ip nat {{\nchain post {{\ntype nat hook postrouting priority 100;\n"
                 f"oifname \"{device}\" masquerade\n}}\n}}\n")
        done = subprocess.run([*self.prefix, "nft", rules], capture_output=True)
        told = done.stderr.decode()
        if "not supported" in told or "No such file" in told:
            raise Skip(f"this kernel does not masquerade: {told.splitlines()[0]}")
        equal(done.returncode, 0, f"nft ({told})")
        self.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")

    def mappings(self):
        done = subprocess.run([*self.prefix, "cat", "/proc/sys/net/netfilter/nf_conntrack_count"], capture_output=True)
        equal(done.returncode, 0, f"number of mappings ({done.stderr.decode()})")
        return int(done.stdout)

    def rebind(self, address):
        """Another outside address; the kernel forgets the mappings of the one before, but not at once."""
        self.run("ip", "address", "flush", "dev", self.device)
        wait_for(lambda: self.mappings() == 0, "the NAT has forgotten its mappings")
        self.run("ip", "address", "add", address, "dev", self.device)


class Capture:
    """The payloads of UDP datagrams that arrive at a device of the test's own namespace, with their source."""

    def __init__(self, t, device, port):
        self.port = port
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        self.socket.bind((device, 0x0800))
        self.socket.setblocking(False)
        t.defer(lambda failed: self.socket.close())

    def take(self):
        """What has arrived since the last time: [((address, port), payload)]."""
        found = []
        while True:
            try:
                data, origin = self.socket.recvfrom(65536)
            except BlockingIOError:
                return found
            head = (data[0] & 15) * 4
            udp = data[head:]
            if data[9] == 17 and origin[2] != socket.PACKET_OUTGOING and udp[2:4] == self.port.to_bytes(2, "big"):
                source = socket.inet_ntoa(data[12:16]), int.from_bytes(udp[0:2], "big")
                found.append((source, udp[8:int.from_bytes(udp[4:6], "big")]))
