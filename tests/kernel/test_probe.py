# What this kernel does with TLS sockets: the probe's table, and that it holds what sagate builds upon.
# SPDX-License-Identifier: GPL-3.0-or-later
from lib import check, equal

# Lines of the table, and what must stand there for every cipher and version.
REQUIRED = {
    "keys taken, both directions": "ok",
    "1 MiB by send and recv": "ok",
    "records that came before the keys": "ok",
    "error of recv at a forged record": "EBADMSG",
    "alert after that and after SO_ERROR": "ok",
    "sequence number read back, sending": "ok",
    "sequence number read back, receiving": "ok",
    "1 MiB by send": "ok",
    "1 MiB by multishot recv": "ok",
    "286 small records by multishot recv": "ok",
    "error of multishot recv at an alert": "EIO",
    "recvmsg gets an alert after recv's error": "ok",
    "record types by multishot recvmsg": "ok",
    "alert by sendmsg": "ok",
    "multishot recv that waits already when keys come": "ok",
    "a part of a record, then multishot recv: no thread": "ok",
}
NAME, COLUMNS = 56, 8


def test_table(t):
    done = t.run([t.program("ktls-probe")], timeout=170)
    text = done.stdout.decode()
    print(text)
    equal(done.returncode, 0, "exit status of the probe")
    lines = {line[:NAME].rstrip(): line[NAME:].split() for line in text.splitlines()}
    for name, wanted in REQUIRED.items():
        equal(lines.get(name), [wanted] * COLUMNS, name)
    check("stalled" not in text and "died" not in text, "a question was not answered")
    # New keys are for both directions or for none: sagate asks for them once.
    updates = [set(lines[name][1::2]) for name in ("new keys for sending", "new keys for receiving, after a KeyUpdate")]
    check(updates in ([{"ok"}] * 2, [{"EBUSY"}] * 2), f"KeyUpdate in TLS 1.3: {updates}")


test_table.timeout = 700
