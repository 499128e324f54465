# What this kernel does with TLS sockets: the probe's table, and that what sagate builds upon is there.
# SPDX-License-Identifier: GPL-3.0-or-later
from lib import check


def test_table(t):
    done = t.run([t.program("ktls-probe")], timeout=240)
    print(done.stdout.decode())
    check(done.returncode == 0, done.stderr.decode())


test_table.timeout = 250
