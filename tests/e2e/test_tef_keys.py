# The registration of sagate itself at a MAF: made at the start, told, and taken back at the end.
# SPDX-License-Identifier: GPL-3.0-or-later
from harness import equal, wait_for
from lib import Sagate
from tef import ADMIN, TARGET, Tef


def gateway(t, tef, **changes):
    """sagate that knows the MAF and MEF of `tef`."""
    target = tef.client(TARGET, "--admin", ADMIN)
    s = Sagate(t, start=False)
    path = s.dir / "km.key"
    path.write_text(target.key + "\n")
    path.chmod(0o600)
    common = {"address": "127.0.0.1", "upstream": "in", "psk_identity": target.identity, "psk": "file:km.key",
              "admin_fqdn": ADMIN, **changes}
    s.settings["mafs"] = [{"name": "maf", "fqdn": "maf.sp.example", "port": tef.port, **common}]
    s.settings["mefs"] = [{"name": "mef", "fqdn": "mef.sp.example", "port": tef.mef_port, "register": False, **common}]
    s.write()
    s.start()
    return s


def test_registration_and_status(t):
    tef = Tef(t)
    s = gateway(t, tef)
    wait_for(lambda: s.command("tef status")["tefs"][0]["registered"], "sagate is registered")
    equal([(one["name"], one["kind"]) for one in s.command("tef status")["tefs"]], [("maf", "maf"), ("mef", "mef")])
    equal(s.ctl("tef", "status")["tefs"][0]["fqdn"], "maf.sp.example")
    s.stop()
    wait_for(lambda: any(line["procedure"] == "client_deregistration" for line in tef.audit()), "sagate has de-registered")
