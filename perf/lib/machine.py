# What a measurement ran on: processor, kernel, versions of what took part, and noise.
# SPDX-License-Identifier: GPL-3.0-or-later
import os
import platform
import re
import subprocess


def text_of(path):
    try:
        with open(path, encoding="utf-8") as f:
            return f.read()
    except OSError:
        return ""


def steal():
    """Seconds that the hypervisor gave to others since the start."""
    fields = [int(x) for x in text_of("/proc/stat").split("\n", maxsplit=1)[0].split()[1:]]
    return fields[7] / os.sysconf("SC_CLK_TCK") if len(fields) > 7 else 0.0


def about():
    model = re.search(r"model name\s*:\s*(.*)", text_of("/proc/cpuinfo"))
    governor = text_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip()
    return {"cpu": model.group(1) if model else platform.machine(), "cores": os.cpu_count(),
            "kernel": platform.release(), "governor": governor or None,
            "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            "load_before": os.getloadavg()[0]}


def first_line(command):
    """Of what a command says; None when it is not installed."""
    try:
        out = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    lines = (out.stdout + out.stderr).strip().split("\n")
    return lines[0] or None


def package(name):
    """The version of a package of the distribution; None when it is not installed."""
    try:
        out = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return out.stdout.strip() or None if out.returncode == 0 else None


def wolfssl(build):
    """As the build found it."""
    found = re.search(r"wolfssl-([0-9.]+)", text_of(os.path.join(build, "meson-info", "intro-buildoptions.json")))
    return found.group(1) if found else None


def versions(build):
    return {"sagate": first_line([os.path.join(build, "controlplane/supervisor/sagate"), "-V"]),
            "wolfssl": wolfssl(build), "haproxy": first_line(["haproxy", "-v"]), "nginx": first_line(["nginx", "-v"]),
            "stunnel": package("stunnel4"), "openssl": first_line(["openssl", "version"]),
            "libcoap": package("libcoap3-bin"), "wrk": first_line(["wrk", "-v"])}
