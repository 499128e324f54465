# Results of perf/run in a folder, and the remarks that go with them.
# SPDX-License-Identifier: GPL-3.0-or-later
import glob
import json
import os

NEEDED = {"scenario": str, "machine": dict, "versions": dict, "figures": list}
# In the order in which a reader asks; what is not named comes behind.
ORDER = ["quick", "coap", "https", "handshake", "idle", "restart", "rebind", "resolve", "strangers", "flood", "mixed",
         "slow-upstream", "scale", "soak", "instrument"]


class Bad(Exception):
    """A file that is no result."""


def read_one(path):
    try:
        with open(path, encoding="utf-8") as f:
            run = json.load(f)
    except (OSError, ValueError) as error:
        raise Bad(f"{path}: {error}") from error
    for member, kind in NEEDED.items():
        if not isinstance(run, dict) or not isinstance(run.get(member), kind):
            raise Bad(f"{path}: \"{member}\" is missing or of another kind: not a result of perf/run --json")
    run["file"] = os.path.basename(path)
    run["title"] = os.path.splitext(run["file"])[0]
    return run


def place(run):
    known = run["scenario"] in ORDER
    return (ORDER.index(run["scenario"]) if known else len(ORDER), run["title"])


def read_remarks(path):
    """{(scenario or title, figure): text}"""
    remarks, key, lines = {}, None, []
    if not os.path.exists(path):
        return remarks
    with open(path, encoding="utf-8") as f:
        for line in f:
            if line.startswith("## "):
                if ":" not in line:
                    raise Bad(f"{path}: \"{line.strip()}\": expected \"## SCENARIO: FIGURE\"")
                key, lines = tuple(part.strip() for part in line[3:].split(":", 1)), []
                remarks[key] = lines
            elif key:
                lines.append(line)
    return {key: "".join(lines).strip() for key, lines in remarks.items()}


def read(folder):
    paths = sorted(glob.glob(os.path.join(folder, "*.json")))
    if not paths:
        raise Bad(f"{folder}: no results (make them with perf/run all)")
    return {"runs": sorted((read_one(path) for path in paths), key=place),
            "remarks": read_remarks(os.path.join(folder, "remarks.md"))}


def remark(found, run, figure):
    return found["remarks"].get((run["title"], figure["name"])) or found["remarks"].get((run["scenario"], figure["name"]))


def unexplained(found):
    return [(run["title"], figure["name"]) for run in found["runs"] for figure in run["figures"]
            if figure["met"] is False and not remark(found, run, figure)]
