# Scenario files: what may stand in them, how they are read, and how the command line overrides them.
# SPDX-License-Identifier: GPL-3.0-or-later
import os
import sys

import figures

try:
    import libconf
except ImportError:  # python3-libconf is a package of the distribution, for the distribution's Python
    libconf = None

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "scenarios")


class Wrong(Exception):
    """A file or a setting is not as it must be; the text names both and says what was expected."""


class Number:
    def __init__(self, default, text, least=0, most=1e9, whole=True):
        self.default, self.text, self.least, self.most, self.whole = default, text, least, most, whole
        self.expected = f"a {'whole ' if whole else ''}number from {least:g} to {most:g}"

    def take(self, value):
        """The value, or ValueError."""
        if isinstance(value, str):
            value = int(value) if self.whole else float(value)
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)):
            raise ValueError
        if not self.least <= value <= self.most:
            raise ValueError
        return value


class Choice:
    def __init__(self, default, text, choices):
        self.default, self.text, self.choices = default, text, choices
        self.expected = "one of " + ", ".join(choices)

    def take(self, value):
        if value not in self.choices:
            raise ValueError
        return value


class Flag:
    def __init__(self, text):
        self.default, self.text, self.expected = False, text, "true or false"

    def take(self, value):
        if not isinstance(value, bool):
            raise ValueError
        return value


class Text:
    def __init__(self, default, text, expected):
        self.default, self.text, self.expected = default, text, expected

    def take(self, value):
        if not isinstance(value, str):
            raise ValueError
        return value


class Mix(Text):
    """retrieve=70,create=20,discover=9,notify=1: parts of a hundred."""
    KINDS = ("retrieve", "create", "discover", "notify")

    def take(self, value):
        parts = [part.split("=") for part in super().take(value).split(",")]
        if any(len(part) != 2 or part[0] not in self.KINDS for part in parts):
            raise ValueError
        if sum(int(part[1]) for part in parts) != 100:
            raise ValueError
        return value


class Numbers:
    """A list of whole numbers; on the command line with commas between them."""

    def __init__(self, default, text, least, most):
        self.default, self.text, self.one = default, text, Number(0, "", least, most)
        self.expected = f"a list of whole numbers from {least} to {most}"

    def take(self, value):
        if isinstance(value, str):
            value = value.split(",")
        if not isinstance(value, (list, tuple)) or not value:
            raise ValueError
        return [self.one.take(v) for v in value]


SETTINGS = {
    "seconds": Number(5, "of one run", 1, 3600),
    "connections": Number(64, "requests or handshakes in progress", 1, 4096),
    "repetitions": Number(3, "how often each run is made", 1, 100),
    "devices": Number(65536, "simulated devices; handshakes: addresses that are used in turn", 1, 10**7),
    "associations": Number(10000, "associations that are established", 2, 10**7),
    "window": Number(256, "handshakes in progress while associations are established", 1, 65536),
    "sample": Number(10000, "devices that are asked at the end", 1, 10**7),
    "settle": Number(2, "seconds before memory is read", 0, 600, whole=False),
    "identities": Number(1, "PSK identities", 1, 10**7),
    "version": Choice("1.2", "of DTLS", ("1.2", "1.3")),
    "credential": Choice("psk", "of devices", ("psk", "certificate")),
    "cid": Number(0, "bytes of the Connection ID that devices give the server; its own is always taken", 0, 16),
    "no_cid": Flag("devices offer no Connection ID"),
    "unknown": Number(10000, "devices whose keys are at the MAF", 1, 10**6),
    "delay": Number(50, "milliseconds that each answer of the MAF, or of the slow CSE, waits", 0, 60000),
    "rate": Number(2000, "requests per second of an open loop", 0, 10**7),
    "tls_rate": Number(500, "requests per second over TLS of an open loop", 1, 10**7),
    "flood_rate": Number(20000, "datagrams per second of a flood", 1, 10**7),
    "part": Number(0.7, "of the smaller closed-loop maximum that is asked for in an open loop", 0.01, 1, whole=False),
    "mix": Mix("retrieve=70,create=20,discover=9,notify=1", "of operations", "KIND=PERCENT,… that add up to 100; kinds: "
               + ", ".join(Mix.KINDS)),
    "payload": Number(64, "bytes of content", 1, 65536),
    "rebind": Number(2, "seconds between two rebindings of all devices", 1, 3600),
    "churn": Number(10, "seconds in which every device ends its association and makes another", 1, 3600),
    "minutes": Number(30, "how long a soak lasts", 1, 1440),
    "reload": Number(60, "seconds between two reloads", 1, 3600),
    "counts": Numbers([1000, 10000, 100000, 1000000], "numbers of associations", 2, 10**7),
    "payloads": Numbers([64, 256, 1024, 4096, 16384, 65536], "bytes of content", 1, 65536),
}
RESERVED = ("measures", "title", "peers", "goals", "quick")


class Scenario:
    """A scenario file: `name`, `measures` (which function), `title`, `peers`, `goals`, `values`, `quick`."""

    def __init__(self, path, known):
        self.path = os.path.relpath(path)
        self.name = os.path.basename(path).removesuffix(".conf")
        read = self.read(path)
        self.measures = self.text(read, "measures", self.name)
        if self.measures not in known:
            raise self.wrong("measures", "one of " + ", ".join(known), self.measures)
        self.title = self.text(read, "title", "")
        self.peers = list(read.get("peers", ()))
        if not all(isinstance(p, str) for p in self.peers):
            raise self.wrong("peers", "a list of names", read["peers"])
        self.goals = self.group(read, "goals")
        for name, goal in self.goals.items():
            if not figures.is_goal(goal):
                raise self.wrong(f"goals.{name}", 'a goal such as "ratio >= 0.6", "ours == 0" or "ratio 0.9..1.1"', goal)
        self.values = {name: s.default for name, s in SETTINGS.items()}
        self.values.update(self.taken("", {k: v for k, v in read.items() if k not in RESERVED}))
        self.quick = self.taken("quick.", self.group(read, "quick"))

    def read(self, path):
        if libconf is None:
            raise Wrong(f"{self.path}: cannot be read by {sys.executable}; expected the package python3-libconf, and "
                        "the distribution's Python")
        try:
            with open(path, encoding="utf-8") as f:
                return libconf.load(f)
        except OSError as error:
            raise Wrong(f"{self.path}: {error.strerror}; expected a scenario file") from error
        except libconf.ConfigParseError as error:
            raise Wrong(f"{self.path}: {error}; expected the syntax of libconfig") from error

    def wrong(self, name, expected, value):
        return Wrong(f"{self.path}: setting '{name}': {value!r} is not possible; expected {expected}")

    def text(self, read, name, default):
        value = read.get(name, default)
        if not isinstance(value, str):
            raise self.wrong(name, "a text", value)
        return value

    def group(self, read, name):
        value = read.get(name, {})
        if not isinstance(value, dict):
            raise self.wrong(name, "a group { … }", value)
        return dict(value)

    def taken(self, prefix, values):
        found = {}
        for name, value in values.items():
            if name not in SETTINGS:
                raise Wrong(f"{self.path}: there is no setting '{prefix}{name}'; expected one of "
                            + ", ".join((*RESERVED, *SETTINGS)))
            try:
                found[name] = SETTINGS[name].take(value)
            except (ValueError, TypeError) as error:
                raise self.wrong(prefix + name, SETTINGS[name].expected, value) from error
        return found


def names():
    """Of the scenarios that come with sagate."""
    return sorted(name.removesuffix(".conf") for name in os.listdir(FOLDER) if name.endswith(".conf"))


def load(name, known):
    """A scenario by its name, or by the path of its file. Wrong when it is not as it must be."""
    if name.endswith(".conf"):
        return Scenario(name, known)
    if name not in names():
        raise Wrong(f"there is no scenario '{name}'; expected one of " + ", ".join(names()) + ", or a file NAME.conf")
    return Scenario(os.path.join(FOLDER, name + ".conf"), known)


def add_options(parser):
    """Every setting as an option; without a value it is None, and the file counts."""
    for name, setting in SETTINGS.items():
        option = "--" + name.replace("_", "-")
        if isinstance(setting, Flag):
            parser.add_argument(option, action="store_const", const=True, help=setting.text)
        else:
            parser.add_argument(option, metavar="N" if isinstance(setting, Number) else "VALUE", help=setting.text)


def settle(scenario, args):
    """Puts the settings into `args`: the command line before quick's values (with --quick) before the file's."""
    values = dict(scenario.values)
    if args.quick:
        values.update(scenario.quick)
    for name, setting in SETTINGS.items():
        given = getattr(args, name)
        if given is not None:
            try:
                values[name] = setting.take(given)
            except (ValueError, TypeError) as error:
                raise Wrong(f"--{name.replace('_', '-')}: {given!r} is not possible; expected {setting.expected}") from error
    for name, value in values.items():
        setattr(args, name, value)
