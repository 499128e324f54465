# Figures: ours beside a reference of the same run, and the goal.
# SPDX-License-Identifier: GPL-3.0-or-later
import operator
import re
import statistics

COMPARE = {">=": operator.ge, "<=": operator.le, "<": operator.lt, "==": operator.eq}


GOAL = re.compile(r"(ours|ratio) (?:(>=|<=|<|==) ([0-9.]+)|([0-9.]+)\.\.([0-9.]+))")


def is_goal(text):
    return isinstance(text, str) and GOAL.fullmatch(text) is not None


def is_met(figure):
    """A goal reads "ratio >= 0.6", "ours <= 512" or, with both bounds, "ratio 0.9..1.1"."""
    if figure["goal"] is None or figure["raw"].get("absent"):
        return None
    what, how, bound, low, high = GOAL.fullmatch(figure["goal"]).groups()
    value = figure[what]
    if value is None:
        return False
    return COMPARE[how](value, float(bound)) if how else float(low) <= value <= float(high)


def set_goals(found, goals):
    """Gives figures the goals of the scenario file, by their names."""
    for figure in found:
        figure["goal"] = goals.get(figure["name"], figure["goal"])
        figure["met"] = is_met(figure)


def spread(values):
    middle = statistics.median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def made(name, unit, ours, reference=None, reference_is=None, ratio=None, goal=None, spread_is=0.0, raw=None):
    figure = {"name": name, "unit": unit, "ours": ours, "reference": reference, "reference_is": reference_is,
              "ratio": ratio, "goal": goal, "met": None, "spread": spread_is, "raw": raw or {}}
    figure["met"] = is_met(figure)
    return figure


def absent(name, unit, reference_is=None):
    """What cannot be measured here; a note says why."""
    return made(name, unit, None, reference_is=reference_is, raw={"absent": True})


def ratios_of(name, unit, ours, reference, reference_is, goal=None, raw=None):
    """Of two lists of numbers, one pair for each repetition."""
    ratios = [a / b for a, b in zip(ours, reference) if b]
    return made(name, unit, statistics.median(ours), statistics.median(reference), reference_is,
                statistics.median(ratios) if ratios else None, goal, spread(ratios) if ratios else 0.0, raw)


def compared(name, unit, ours, reference, reference_is, goal=None):
    """Of two lists of results, one pair for each repetition."""
    ratios = [a["per_core"] / b["per_core"] for a, b in zip(ours, reference)]
    return made(name, unit, statistics.median(r["per_core"] for r in ours),
                statistics.median(r["per_core"] for r in reference), reference_is, statistics.median(ratios), goal,
                spread(ratios), {"ours": ours, "reference": reference})


def measured(name, unit, values, goal=None, reference=None, reference_is=None, raw=None):
    """What has no peer: the median of some values."""
    ours = statistics.median(values)
    ratio = ours / reference if reference else None
    return made(name, unit, ours, reference, reference_is, ratio, goal, spread(values), raw)


def percentiles(name, result):
    """A series of one result: latency by percentile."""
    parts = [(50, "p50_us"), (90, "p90_us"), (99, "p99_us"), (99.9, "p999_us"), (100, "max_us")]
    return {"name": name, "x_label": "percentile", "y_label": "us",
            "points": [[part, result[key]] for part, key in parts if key in result]}


def number(value):
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3f}"


def show(figures):
    width = max([32] + [len(f["name"]) for f in figures])
    print(f"{'figure':{width}} {'ours':>12} {'reference':>12} {'ratio':>8} {'spread':>7}  {'goal':16} {'met':4} reference is")
    for f in figures:
        ratio = "-" if f["ratio"] is None else f"{f['ratio']:.3f}"
        met = {None: "", True: "yes", False: "no"}[f["met"]]
        print(f"{f['name']:{width}} {number(f['ours']):>12} {number(f['reference']):>12} {ratio:>8} {f['spread']:7.0%}  "
              f"{f['goal'] or '':16} {met:4} {f['reference_is'] or f['unit']}")
        for side in ("ours", "reference"):
            for r in f["raw"].get(side, []):
                show_run(side, r)


def show_run(side, r):
    if "per_core" not in r:
        return
    done = f"{r['requests']} requests" if r.get("requests") else f"{r['handshakes']} handshakes"
    line = f"    {side:9} {done}, {r['server_cpu']:.2f} s CPU of the server, {r['seconds']:.2f} s"
    if "p50_us" in r:
        line += (f", p50 {r['p50_us']:.0f} us, p99 {r['p99_us']:.0f} us, errors {r['errors']}, sent again "
                 f"{r['retransmitted']}, lost {r['lost']}, failed handshakes {r['handshakes_failed']}")
    print(line + (", the load generator and the CSE were the limit" if r.get("client_limited") else ""))
