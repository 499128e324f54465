# The first process in the kernel of the kernel tests: mounts, loads modules, runs the tests, and powers off.
# SPDX-License-Identifier: GPL-3.0-or-later
import ctypes
import importlib
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import resource
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
MODULES = ["ghash-generic", "gcm", "ccm", "ctr", "cmac", "chacha", "chacha_generic", "poly1305_generic", "chacha20poly1305",
           "tls"]
SCRATCH = "/run/tests"  # not /tmp: sagate itself may have been built there
MS_NOSUID, MS_NODEV, POWER_OFF, FINIT_MODULE = 2, 4, 0x4321FEDC, 313
sys.dont_write_bytecode = True


def runner():
    """The end-to-end tests' runner, whose way to run one test this uses too."""
    path = HERE.parent / "e2e" / "run"
    loader = importlib.machinery.SourceFileLoader("e2e_run", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("e2e_run", loader))
    loader.exec_module(module)
    return module


def discover(pattern):
    sys.path.insert(0, str(HERE))
    runner()  # so that tests can import lib
    found = []
    for path in sorted(HERE.glob("test_*.py")):
        module = importlib.import_module(path.stem)
        found += [(f"{path.stem[5:]}.{name[5:]}", function) for name, function in vars(module).items()
                  if name.startswith("test_") and callable(function)]
    return [(name, function) for name, function in found if pattern in name]


# --- The machine -----------------------------------------------------------------------------------------------------


def mount(libc, kind, folder, data=""):
    if libc.mount(kind.encode(), folder.encode(), kind.encode(), MS_NOSUID | MS_NODEV, data.encode()) != 0:
        raise OSError(ctypes.get_errno(), f"mount {kind} at {folder}")


def insert_modules(libc, folder):
    """Loads MODULES with what they need. One that this kernel has not is built in, or missed by a test."""
    needs = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        needs[pathlib.PurePath(path).name.split(".")[0]] = [path] + others.split()
    done = set()
    for name in MODULES:
        for path in reversed(needs.get(name, [])):
            if path in done:
                continue
            done.add(path)
            with open(folder / path, "rb") as module:
                if libc.syscall(FINIT_MODULE, module.fileno(), b"", 0) != 0:
                    raise OSError(ctypes.get_errno(), f"module {path}")


def prepare(libc, options):
    # The root stays read-only; what is written goes to these.
    for kind, folder, data in (("proc", "/proc", ""), ("sysfs", "/sys", ""), ("tmpfs", "/run", "mode=0755")):
        mount(libc, kind, folder, data)
    for folder in ("/dev/shm", SCRATCH):
        os.makedirs(folder, exist_ok=True)
        mount(libc, "tmpfs", folder, "mode=1777")
    os.environ.update(options["environment"], HOME=SCRATCH, TMPDIR=SCRATCH)
    os.environ.setdefault("SAGATE_E2E_PATIENCE", "4")
    resource.setrlimit(resource.RLIMIT_NOFILE, (65536, 65536))
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    insert_modules(libc, pathlib.Path(options["modules"] or f"/usr/lib/uml/modules/{os.uname().release}"))
    if os.system("ip link set lo up") != 0:
        raise OSError("the loopback interface stays down")


# --- The tests -------------------------------------------------------------------------------------------------------


def run_one(run, number, name, function, options):
    test = run.Running(number, name, function, pathlib.Path(options["build"]), pathlib.Path(SCRATCH),
                       options["timeout"])
    status = test.status()
    while status is None:
        time.sleep(0.02)
        status = test.status()
    if options["verbose"] and status == 0:
        print("\n".join("    | " + line for line in (test.folder / "test.log").read_text().splitlines()))
    test.report(status, False)
    return status


def run_all(options):
    os.chdir(SCRATCH)
    run, statuses = runner(), []
    for number, (name, function) in enumerate(discover(options["pattern"])):
        statuses.append(run_one(run, number, name, function, options))
    passed = statuses.count(0)
    print(f"{passed} passed, {len(statuses) - passed - statuses.count(2)} failed", flush=True)


def main():
    libc = ctypes.CDLL(None, use_errno=True)
    report = os.open("/dev/tty1", os.O_WRONLY | os.O_NOCTTY)
    os.dup2(report, 1)
    os.dup2(report, 2)
    try:
        options = json.loads(pathlib.Path(sys.argv[1]).read_text())
        prepare(libc, options)
        print(f"Linux {os.uname().release}, {os.uname().machine}, user mode", flush=True)
        run_all(options)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    os.sync()
    time.sleep(0.2)  # for what the terminal still holds
    libc.reboot(POWER_OFF)


if __name__ == "__main__":
    main()
