# MAFs and MEFs in the configuration: what sagate says of their files at the start and at a reload.
# SPDX-License-Identifier: GPL-3.0-or-later
import os
import pathlib
import signal

from fake_maf import FakeMaf
from lib import DEV1, Sagate, check, equal, wait_for
from test_certificates import Authority

KEY = "00112233445566778899aabbccddeeff"


def key_file(s, name="maf.key", text=KEY + "\n", mode=0o600):
    path = s.dir / name
    path.write_text(text)
    path.chmod(mode)
    return path


def maf(s, **changes):
    return {"name": "maf", "fqdn": "maf.sp.example", "address": "127.0.0.1", "port": 9, "upstream": "in",
            "register": False, "psk_identity": "km@maf.sp.example", "psk": "file:maf.key", **changes}


def refused_start(t, s):
    """What sagate says that does not start."""
    checked = t.run([t.program("sagate"), "-t", "-c", s.conf])
    started = t.run([t.program("sagate"), "-c", s.conf])
    check(checked.returncode != 0 and started.returncode != 0, (checked, started))
    return checked.stderr.decode(), started.stderr.decode()


def test_a_key_file_that_is_no_good(t):
    s = Sagate(t, cses=1, start=False)
    s.settings["mafs"] = [maf(s)]
    s.write()
    path = s.dir / "maf.key"
    for said in refused_start(t, s):
        check(f"setting 'mafs[0].psk': {path}: No such file or directory" in said, said)
    for text, mode, word in ((KEY, 0o644, "0644"), ("no key\n", 0o600, "hexadecimal"), ("", 0o600, "setting"),
                             ("00" * 65, 0o600, "hexadecimal")):
        key_file(s, text=text, mode=mode)
        for said in refused_start(t, s):
            check(f"setting 'mafs[0].psk': {path}: " in said and word in said, f"{text} {mode}: {said}")
            check("no key" not in said, "the content is told")
    path.unlink()
    path.mkdir()
    for said in refused_start(t, s):
        check(f"setting 'mafs[0].psk': {path}: no regular file" in said, said)


def test_certificates_that_are_no_good(t):
    """Told at the check, with the setting and the files, and not only when the client is made."""
    authority, other = Authority(t), Authority(t, "other")
    chain, key = authority.issue("sagate", "DNS:in.sp.example")
    _, other_key = other.issue("stranger", "DNS:in.sp.example")
    s = Sagate(t, cses=1, start=False)
    bad = s.dir / "bad.pem"
    bad.write_text("-----BEGIN CERTIFICATE-----\nbm8gY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n")
    own = {"name": "client", "chain_file": str(chain), "key_file": str(key)}
    anchors = {"name": "tefs", "file": str(authority.chain)}
    s.settings["mefs"] = [{"name": "mef", "fqdn": "mef.sp.example", "address": "127.0.0.1", "port": 9, "upstream": "in",
                           "register": False, "certificate": "client", "trust_anchors": ["tefs"]}]
    for certificate, trusted, told in (({**own, "chain_file": str(bad)}, anchors, "certificate chain"),
                                       ({**own, "key_file": str(other_key)}, anchors, "does not belong"),
                                       (own, {**anchors, "file": str(bad)}, "trust anchors")):
        s.settings["certificates"] = s.settings["certificates"][:1] + [certificate]
        s.settings["trust_anchors"] = [trusted]
        s.write()
        for said in refused_start(t, s):
            check("setting 'mefs[0]': " in said and told in said and "'client'" in said and "'tefs'" in said, said)


def test_anchors_without_a_newline(t):
    """Several files of anchors, the first one without a newline at its end: the certificate of each is one."""
    maf = FakeMaf(t)
    other = Authority(t, "another-ca")
    first = t.dir / "first.pem"
    first.write_text(pathlib.Path(other.chain).read_text().rstrip("\n"))
    s = Sagate(t, start=False, tls={"certificates": None})
    s.settings.update(maf.overrides(s.settings["certificates"], trust_anchors=["other", "maf"]))
    s.settings["trust_anchors"].insert(0, {"name": "other", "file": str(first)})
    s.write()
    s.start()
    device = maf.device("behind-both")
    with s.tls(device) as stream:
        equal(stream.request("GET", "/cse-in", origin=device.ae_ids[0]).rsc, 2000, "with the second file's anchor")


def test_certificate_and_anchors(t):
    authority = Authority(t)
    chain, key = authority.issue("sagate", "DNS:in.sp.example")
    s = Sagate(t, cses=1, start=False)
    s.settings["certificates"].append({"name": "client", "chain_file": str(chain), "key_file": str(key)})
    s.settings["trust_anchors"] = [{"name": "tefs", "file": str(authority.chain)}]
    s.settings["mefs"] = [{"name": "mef", "fqdn": "mef.sp.example", "address": "127.0.0.1", "port": 9, "upstream": "in",
                           "register": False, "certificate": "client", "trust_anchors": ["tefs"]}]
    s.write()
    done = t.run([t.program("sagate"), "-t", "-c", s.conf])
    equal(done.returncode, 0, done.stderr)
    check(b"MEF mef: mef.sp.example at 127.0.0.1:9" in done.stdout, done.stdout)
    s.start()
    with s.dtls(DEV1) as client:
        equal(client.request("get", "cse-in", origin="Cdev1").rsc, 2000)
    s.stop()
    for path in (chain, key, authority.chain):
        moved = path.rename(path.with_suffix(".away"))
        for said in refused_start(t, s):
            check(f"{path}: No such file or directory" in said, said)
        moved.rename(path)


def test_reload(t):
    s = Sagate(t, cses=1)
    s.settings["mafs"] = [maf(s)]
    s.write()
    said = s.ctl("reload", ok=False)
    check(f"setting 'mafs[0].psk': {s.dir / 'maf.key'}: No such file or directory" in said, said)
    key_file(s)
    s.ctl("reload")
    # Processes that are started anew get what the supervisor has kept.
    (s.dir / "maf.key").unlink()
    before = s.pids()
    for name in ("control", "data"):
        os.kill(before[name], signal.SIGKILL)
    wait_for(lambda: s.ready() and s.pids()["control"] != before["control"] and s.pids()["data"] != before["data"],
             "both are back")
    s.settings["minimum_protection_level"] = {"tef_keys": 2}
    s.write()
    said = s.ctl("reload", ok=False)
    check("setting 'mafs[0].psk': a key in a file has protection level 1" in said, said)
    with s.dtls(DEV1) as client:
        equal(client.request("get", "cse-in", origin="Cdev1").rsc, 2000)
    check(KEY not in s.process.log(), "the key is in the log")
