# A key that a device registers at a MAF or an MEF lets it in: device, sagate-tef, sagate and the CSE together.
# SPDX-License-Identifier: GPL-3.0-or-later
from clients import openssl_psk
from device import VERSIONS, device, key_file, port_of, read_association
from harness import check, equal, wait_for
from lib import Sagate
from tef import ADMIN, SOURCE, TARGET, Tef

# The registrar's public form: sp.example's CSE "id-in" of the tests, and the AE whose key the MAF registers.
AE = SOURCE.split("/")[-1]


class Field:
    """sagate-tef with its clients, and a sagate that asks it."""

    def __init__(self, t, **overrides):
        self.t = t
        self.tef = Tef(t)
        self.gateway = self.tef.client(TARGET)
        self.source = self.tef.client(SOURCE, "--admin", ADMIN)
        self.sagate = Sagate(t, start=False, credentials=[])
        path = self.sagate.dir / "maf.key"
        path.touch(mode=0o600)
        path.write_text(self.gateway.key + "\n")
        place = {"address": "127.0.0.1", "upstream": "in", "admin_fqdn": ADMIN, "psk_identity": self.gateway.identity,
                 "psk": f"file:{path}", "register": False}
        self.sagate.settings["mafs"] = [{"name": "maf", "fqdn": "maf.sp.example", "port": self.tef.port, **place}]
        self.sagate.settings["mefs"] = [{"name": "mef", "fqdn": "mef.sp.example", "port": self.tef.mef_port, **place}]
        self.sagate.settings.update(overrides)
        self.sagate.write()
        self.sagate.start()

    def register(self, name="association", command="register-key", *argv):
        """The association file of a key that was registered just now."""
        maf = command == "register-key"
        path = self.t.dir / name
        run = device(self.t, command, "--maf" if maf else "--mef",
                     f"127.0.0.1:{self.tef.port if maf else self.tef.mef_port}", "--fqdn",
                     "maf.sp.example" if maf else "mef.sp.example", "--psk-identity", self.source.identity, "--psk-file",
                     key_file(self.t, "source.hex", self.source.key), "--client-id", SOURCE, "--target", TARGET,
                     "--admin", ADMIN, "--output", path, *argv).ok()
        identity, key = read_association(path)
        equal(run.step("key")["identity"], identity)
        check(key not in str(run.steps) + run.err.decode(), "the key was printed")
        return path

    def request(self, path, transport="--dtls", version="1.2", sender=AE, *argv):
        return device(self.t, "request", "--connect", f"127.0.0.1:{port_of(self.sagate, transport == '--dtls')}",
                      transport, version, "--association", path, "--from", sender, "--to", "/cse-in", *argv)

    def seen(self):
        return {r["from"] for r in self.sagate.cse.records()}


def everything(t, command):
    field = Field(t)
    for number, (transport, version) in enumerate(VERSIONS):
        path = field.register(f"association{number}", command)
        run = field.request(path, transport, version)
        check("rsc" in run.step("response"), run.steps)
        check(run.step("response")["rsc"] != 4106, run.steps)
        equal(len(field.sagate.cse.records()), number + 1, "requests that reached the CSE")
    equal(field.seen(), {AE})


def test_maf_all_versions(t):
    everything(t, "register-key")


def test_mef_all_versions(t):
    everything(t, "enrol")


def test_maf_handshake_over_tls13_and_given_key(t):
    field = Field(t)
    path = field.register("a", "register-key", "--tls", "1.3")
    field.request(path)
    given = key_file(t, "given.hex", "5a" * 32)
    path = field.register("b", "register-key", "--key-value-file", given)
    equal(read_association(path)[1], "5a" * 32)
    field.request(path, "--tls", "1.3")
    equal((field.seen(), len(field.sagate.cse.records())), ({AE}, 2))


class Exported:
    """A credential of an association file, for clients that are not ours."""

    def __init__(self, path):
        self.identity, self.hex = read_association(path)


def test_openssl_with_the_exported_key(t):
    field = Field(t)
    with openssl_psk(t, field.sagate.tls_port, Exported(field.register())) as stream:
        answer = stream.request("GET", "/cse-in", origin=AE)
    check(answer.rsc is not None and answer.rsc != 4106, answer)
    equal(field.seen(), {AE})


def test_another_originator_is_refused(t):
    field = Field(t)
    path = field.register()
    for transport, version in VERSIONS:
        run = field.request(path, transport, version, "Sdev2")
        equal((run.status, run.step("response")["rsc"]), (1, 4106))
    equal(field.sagate.cse.records(), [])


def test_maf_killed_and_restarted(t):
    field = Field(t)
    first, second = field.register("first"), field.register("second")
    check("rsc" in field.request(first).step("response"))
    field.tef.process.kill()
    # What is known still works; what is not is refused, and sagate lives on.
    check("rsc" in field.request(first).step("response"))
    equal(field.request(second, "--dtls", "1.2", AE, "--timeout", "5").status, 4)
    field.tef.start()
    # An identity that failed is not asked for again at once (negative cache), a back-off ends by itself.
    wait_for(lambda: field.request(second, "--tls", "1.2", AE, "--timeout", "3").status in (0, 1),
             "the second key is resolved", 60)
    equal(field.seen(), {AE})
