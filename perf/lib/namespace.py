# A network of a measurement's own, so that nothing else on the machine is in its way or sees it.
# SPDX-License-Identifier: GPL-3.0-or-later
import ctypes
import os
import subprocess

CLONE_NEWNET = 0x40000000
WITHOUT = "--no-namespace measures in the network of the machine"


def enter():
    """Puts this process, and what it starts from now on, into a new network namespace, in which there is loopback only. The
    kernel removes it with the last process in it, however that ends. An error as text, or None."""
    if os.geteuid() != 0:
        return f"a network namespace needs root; {WITHOUT}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        return f"no network namespace: {os.strerror(ctypes.get_errno())}; {WITHOUT}"
    done = subprocess.run(["ip", "link", "set", "lo", "up"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"loopback does not come up: {done.stderr.strip()}; {WITHOUT}"
    return None
