# sagate-device as a client of the tests: its steps, and its files.
# SPDX-License-Identifier: GPL-3.0-or-later
import json

from harness import Failure, check, equal


class Run:
    """One run: its exit status and the steps that it told."""

    def __init__(self, done):
        self.status, self.steps, self.err = done.returncode, [json.loads(l) for l in done.stdout.splitlines()], done.stderr

    def step(self, name):
        for step in self.steps:
            if step["step"] == name:
                return step
        raise Failure(f"no step {name}: {self.steps} {self.err!r}")

    def all(self, name):
        return [step for step in self.steps if step["step"] == name]

    def ok(self):
        equal(self.status, 0, f"exit status, after {self.steps} {self.err!r}")
        return self


def device(t, *argv, seconds=30):
    return Run(t.run([t.program("sagate-device"), *argv, "--json"], timeout=seconds))


def key_file(t, name, hex_key):
    path = t.dir / name
    path.touch(mode=0o600)
    path.write_text(hex_key + "\n")
    return path


def psk(t, credential):
    """The options for a credential of the tests."""
    return ["--psk-identity", credential.identity, "--psk-file", key_file(t, f"{credential.identity}.hex", credential.hex)]


def port_of(s, dtls):
    return s.dtls_port if dtls else s.tls_port


VERSIONS = [("--dtls", "1.2"), ("--dtls", "1.3"), ("--tls", "1.2"), ("--tls", "1.3")]


def read_association(path):
    lines = dict(line.split(" = ", 1) for line in path.read_text().splitlines())
    equal(path.stat().st_mode & 0o777, 0o600, "mode of the association file")
    check(set(lines) == {"identity", "key"}, list(lines))
    return lines["identity"], lines["key"]
