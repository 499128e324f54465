# sagate-device at a MAF and an MEF: it registers a key there, and associates with it at a sagate that asks for that key.
# SPDX-License-Identifier: GPL-3.0-or-later
from clients import openssl_psk
from device import VERSIONS, device, key_file, port_of, read_association
from harness import check, equal, wait_for
from tef import ADMIN, TARGET, Tef
from test_maf import RegisteredKey, device_of, start


class Field:
    """sagate-tef, a sagate that asks it, and a device that may register there."""

    def __init__(self, t):
        self.t, self.tef = t, Tef(t)
        self.sagate = start(t, self.tef)
        self.client = device_of(self.tef)

    def register(self, command="register-key", *argv):
        """Registers a key; the association file."""
        kind = "maf" if command == "register-key" else "mef"
        path = self.t.dir / f"association{len(list(self.t.dir.glob('association*')))}"
        run = device(self.t, command, f"--{kind}", f"127.0.0.1:{self.tef.port if kind == 'maf' else self.tef.mef_port}",
                     "--fqdn", f"{kind}.sp.example", "--psk-identity", self.client.identity, "--psk-file",
                     key_file(self.t, "client.hex", self.client.key), "--client-id", self.client.id, "--target", TARGET,
                     "--admin", ADMIN, "--output", path, *argv).ok()
        identity, key = read_association(path)
        equal(run.step("key")["identity"], identity)
        check(identity.endswith(f"@{kind}.sp.example"), identity)
        check(key not in (str(run.steps) + run.err.decode()).lower(), "the key was printed")
        return path

    def request(self, path, transport="--dtls", version="1.2", origin="Cdev1", *argv):
        return device(self.t, "request", "--connect", f"127.0.0.1:{port_of(self.sagate, transport == '--dtls')}",
                      transport, version, "--association", path, "--from", origin, "--to", "/cse-in", *argv)


def every_version(t, command):
    field = Field(t)
    for transport, version in VERSIONS:
        run = field.request(field.register(command), transport, version).ok()
        equal(run.step("response")["rsc"], 2000)
    equal([r["from"] for r in field.sagate.cse.records()], ["Cdev1"] * len(VERSIONS))


def test_key_of_a_maf(t):
    every_version(t, "register-key")


def test_key_of_an_mef(t):
    every_version(t, "enrol")


def test_derived_key_of_an_mef(t):
    """The MEF gives the target a derived key (8.3.2.1), and the device derives the same."""
    field = Field(t)
    field.sagate.settings["mefs"][0]["profile"] = {"method": "fetch_credentials"}
    field.sagate.write()
    field.sagate.ctl("reload")
    path = field.register("enrol", "--derive", "kpsa", "--for", TARGET)
    field.request(path, "--dtls", "1.3").ok()
    equal([r["from"] for r in field.sagate.cse.records()], ["Cdev1"])


def test_maf_over_tls13_and_given_key(t):
    field = Field(t)
    field.request(field.register("register-key", "--tls", "1.3")).ok()
    path = field.register("register-key", "--key-value-file", key_file(t, "given.hex", "5a" * 32))
    equal(read_association(path)[1], "5a" * 32)
    field.request(path, "--tls", "1.3").ok()


def test_exported_key_with_openssl(t):
    field = Field(t)
    identity, key = read_association(field.register())
    with openssl_psk(t, field.sagate.tls_port, RegisteredKey(identity, bytes.fromhex(key))) as stream:
        equal(stream.request("GET", "/cse-in", origin="Cdev1").rsc, 2000)


def test_another_originator(t):
    field = Field(t)
    path = field.register()
    for transport, version in VERSIONS:
        run = field.request(path, transport, version, "Cdev2")
        equal((run.status, run.step("response")["rsc"]), (1, 4106))
    equal(field.sagate.cse.records(), [])


def test_refused_registrations(t):
    """What the function refuses is told as its answer, and leaves no file."""
    field = Field(t)
    common = ["register-key", "--maf", f"127.0.0.1:{field.tef.port}", "--fqdn", "maf.sp.example", "--target", TARGET,
              "--psk-identity", field.client.identity, "--output", t.dir / "none", "--timeout", "5"]
    right = key_file(t, "right.hex", field.client.key)
    for client, admin, rsc in (("//sp.example/Sother", ADMIN, 4106), (field.client.id, "else.example", 4103)):
        run = device(t, *common, "--psk-file", right, "--client-id", client, "--admin", admin)
        equal((run.status, run.step("response")["rsc"]), (1, rsc))
    run = device(t, *common, "--psk-file", key_file(t, "wrong.hex", "00" * 32), "--client-id", field.client.id, "--admin",
                 ADMIN)
    equal((run.status, run.step("handshake")["ok"]), (4, False))
    check(not (t.dir / "none").exists(), "a file was written")


def test_maf_killed_and_restarted(t):
    field = Field(t)
    first, second = field.register(), field.register()
    field.request(first).ok()
    field.tef.process.kill()
    field.request(first, "--tls", "1.3").ok()  # what is known needs no MAF
    equal(field.request(second, "--tls", "1.2").status, 4)
    field.tef.start()
    wait_for(lambda: field.request(second, "--tls", "1.2", "Cdev1", "--timeout", "3").status == 0, "the MAF is used again",
             30)
