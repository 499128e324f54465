# One test: what it may state, the processes that it starts, and what must be ended after it.
# SPDX-License-Identifier: GPL-3.0-or-later
import os
import re
import shutil
import signal
import socket
import subprocess
import time

SANITIZER = re.compile(r"AddressSanitizer|ThreadSanitizer|LeakSanitizer|UndefinedBehaviorSanitizer|runtime error:")


class Failure(AssertionError):
    pass


class Skip(Exception):
    pass


def check(condition, message="the condition does not hold"):
    if not condition:
        raise Failure(message)


def equal(actual, expected, what="value"):
    if actual != expected:
        raise Failure(f"{what}: {actual!r}, expected {expected!r}")


def need(*programs):
    for program in programs:
        if shutil.which(program) is None:
            raise Skip(f"{program} is not installed")


# What may take how long is multiplied by this: for machines that are slow, as an emulated one is.
PATIENCE = float(os.environ.get("SAGATE_E2E_PATIENCE", "1"))


def wait_for(condition, what, seconds=10, every=0.03):
    """Polls until condition() is true and returns its value."""
    seconds *= PATIENCE
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(every)


def remove_tree(path):
    shutil.rmtree(path, ignore_errors=True)


PORTS_EACH, RANGES = 100, 55  # below the ports that the kernel gives by itself
PORTS_FROM = int(os.environ.get("SAGATE_E2E_PORTS", "10000"))  # for two runs at the same time
_ports = iter(range(PORTS_FROM, PORTS_FROM + PORTS_EACH))


def use_ports(number):
    """Tests that run at the same time take their ports from ranges of their own."""
    global _ports
    first = PORTS_FROM + number % RANGES * PORTS_EACH
    _ports = iter(range(first, first + PORTS_EACH))


def free_port():
    """A port of 127.0.0.1 that is free for TCP and for UDP."""
    for port in _ports:
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise Failure("no free port is left")


class Process:
    def __init__(self, name, argv, log, env=None, stdin=subprocess.DEVNULL):
        self.name, self.log_path = name, log
        with open(log, "ab") as out:
            self.popen = subprocess.Popen([str(a) for a in argv], stdin=stdin, stdout=out, stderr=out, env=env)
        self.pid = self.popen.pid

    def log(self):
        return self.log_path.read_text(errors="replace")

    def alive(self):
        return self.popen.poll() is None

    def signal(self, number):
        if self.alive():
            self.popen.send_signal(number)

    def wait(self, seconds=15):
        try:
            return self.popen.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} has not ended within {seconds} s") from None

    def stop(self, seconds=15):
        """Asks it to end; returns its exit status."""
        self.signal(signal.SIGTERM)
        try:
            return self.wait(seconds)
        except Failure:
            self.kill()
            raise

    def kill(self):
        self.signal(signal.SIGKILL)
        return self.popen.wait()


class Context:
    """One test: its folder, and what must be ended after it, last first."""

    def __init__(self, build, folder):
        self.build, self.dir, self._closers = build, folder, []

    def defer(self, closer):
        """closer(failed) runs at the end of the test."""
        self._closers.append(closer)

    def close(self, failed):
        first = None
        while self._closers:
            try:
                self._closers.pop()(failed)
            except BaseException as error:  # all the others still have to be ended
                first = first or error
        if first is not None and not failed:
            raise first

    def program(self, name):
        direct = self.build / name
        if direct.is_file() and os.access(direct, os.X_OK):
            return direct
        for path in sorted(self.build.rglob(name)):
            if path.is_file() and os.access(path, os.X_OK):
                return path
        raise Failure(f"{name} has not been built in {self.build}")

    def spawn(self, name, argv, **kwargs):
        process = Process(name, argv, self.dir / f"{name}.log", **kwargs)
        self.defer(lambda failed: process.kill() if process.alive() else None)
        return process

    def run(self, argv, timeout=20, **kwargs):
        argv = [a if isinstance(a, bytes) else str(a) for a in argv]
        return subprocess.run(argv, capture_output=True, timeout=timeout * PATIENCE, **kwargs)


def settle(seconds=0.3):
    """For what must not happen: gives it the time to happen."""
    time.sleep(seconds)
