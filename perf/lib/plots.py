# The plots of the report: ratios beside their goals, latency percentiles, and the series that a scenario brings.
# SPDX-License-Identifier: GPL-3.0-or-later
import os
import re

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.ticker import FuncFormatter  # noqa: E402

STANDING = 6  # so many names have room below standing bars
OURS, OTHERS = "#1f6feb", ["#d97706", "#6b7280", "#059669", "#9333ea", "#dc2626"]
# Text stays text, and the same results give the same bytes, so that a commit shows what changed.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "sagate", "font.size": 9, "axes.spines.top": False,
                            "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25, "legend.frameon": False})


def short(value, _=None):
    for bound, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= bound:
            return f"{value / bound:g}{sign}"
    return f"{value:g}"


def name_of(*parts):
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


class Drawer:
    def __init__(self, folder, png):
        self.folder, self.png, self.drawn = folder, png, []
        if png:
            os.makedirs(png, exist_ok=True)

    def keep(self, figure, name, title, of):
        figure.savefig(os.path.join(self.folder, name + ".svg"), metadata={"Date": None}, bbox_inches="tight")
        if self.png:
            figure.savefig(os.path.join(self.png, name + ".png"), dpi=130, bbox_inches="tight")
        pyplot.close(figure)
        self.drawn.append({"file": name + ".svg", "title": title, "of": of})


def bound_of(goal):
    """(what, bound) of goals such as "ratio >= 0.6"; the lower bound of "ratio 0.9..1.1"."""
    what, how = goal.split(" ", 1)
    return what, how, float(re.search(r"[\d.]+(?=\.\.)|[\d.]+$", how).group(0))


def draw_ratios(drawer, found):
    """Every ratio with a goal, divided by the goal, so that 1 is the line to reach."""
    rows = []
    for run in found["runs"]:
        for f in run["figures"]:
            if not f["goal"] or f["met"] is None:
                continue
            what, how, bound = bound_of(f["goal"])
            if what == "ratio" and f["ratio"] and how.startswith((">=", "<=")):
                better = f["ratio"] / bound if how.startswith(">=") else bound / f["ratio"]
                rows.append((f"{run['title']}: {f['name']}", better, f"{f['ratio']:.2f} ({f['goal']})", f["met"]))
    if not rows:
        return
    figure, axes = pyplot.subplots(figsize=(8, 0.9 + 0.34 * len(rows)))
    rows.reverse()
    axes.barh([r[0] for r in rows], [r[1] for r in rows], color=[OURS if r[3] else OTHERS[0] for r in rows], height=0.6)
    for at, row in enumerate(rows):
        axes.annotate(row[2], (row[1], at), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.axvline(1, color="#111", linewidth=1)
    axes.set_xlim(0, max(2.0, max(r[1] for r in rows) * 1.3))
    axes.set_xlabel("ratio divided by its goal (to the right of the line: met)")
    axes.grid(axis="y", visible=False)
    drawer.keep(figure, "goals", "Ratios beside their goals", None)


def percentiles_of(raw):
    points = [(label, raw.get(member)) for label, member in (("50 %", "p50_us"), ("90 %", "p90_us"), ("99 %", "p99_us"),
                                                             ("99.9 %", "p999_us"), ("highest", "max_us"))]
    return [(label, value) for label, value in points if value]


def draw_latency(drawer, run):
    """The runs of both sides of each figure that brought percentiles; the middle one by p99."""
    lines = []
    for f in run["figures"]:
        for side, label in (("ours", "sagate"), ("reference", f["reference_is"])):
            raws = [r for r in f["raw"].get(side, []) if isinstance(r, dict) and r.get("p99_us")]
            if raws:
                raws.sort(key=lambda r: r["p99_us"])
                lines.append((f"{f['name']}: {label}", percentiles_of(raws[len(raws) // 2]), side == "ours"))
    lines = [line for line in lines if len(line[1]) > 2]
    if not lines:
        return
    figure, axes = pyplot.subplots(figsize=(7, 3.4))
    shades = iter(OTHERS * 4)
    for label, points, ours in lines:
        axes.plot([p[0] for p in points], [p[1] for p in points], marker="o", markersize=3, label=label,
                  color=OURS if ours else next(shades), alpha=0.9)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(short))
    axes.set_ylabel("microseconds")
    axes.legend(fontsize=7)
    drawer.keep(figure, name_of(run["title"], "latency"), f"{run['title']}: latency", run["title"])


def draw_list(lines, x_label, y_label):
    """Lying bars from the top down, for names that would overlap below standing ones; the figure."""
    names = list(dict.fromkeys(p[0] for series in lines for p in series["points"]))
    figure, axes = pyplot.subplots(figsize=(7, 0.9 + 0.26 * len(names) * len(lines)))
    shades, height = iter(OTHERS * 4), 0.7 / len(lines)
    for at, series in enumerate(lines):
        places = [names.index(p[0]) + (at - (len(lines) - 1) / 2) * height for p in series["points"]]
        bars = axes.barh(places, [p[1] for p in series["points"]], height=height, label=series["name"],
                         color=OURS if at == 0 else next(shades))
        axes.bar_label(bars, [f"{p[1]:.4g}" if p[1] < 100 else f"{p[1]:,.0f}" for p in series["points"]], padding=4, fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.xaxis.set_major_formatter(FuncFormatter(short))
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(y_label)
    axes.set_ylabel(x_label)
    axes.legend(fontsize=8)
    return figure


def draw_lines(lines, x_label, y_label):
    """Lines over numbers, or standing bars over names; the figure."""
    figure, axes = pyplot.subplots(figsize=(7, 3.2))
    shades = iter(OTHERS * 4)
    named = any(isinstance(p[0], str) for series in lines for p in series["points"])
    for at, series in enumerate(lines):
        xs, ys = zip(*series["points"])
        color = OURS if at == 0 else next(shades)
        if named:
            axes.bar(xs, ys, width=0.6, label=series["name"], color=color)
        else:
            axes.plot(xs, ys, marker="o", markersize=3, label=series["name"], color=color)
    if not named:
        positive = [p[0] for series in lines for p in series["points"] if p[0] > 0]
        if positive and max(positive) / min(positive) > 200 and "second" not in x_label:
            axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(short))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(short))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.legend(fontsize=8)
    return figure


def are_many_names(lines):
    return len({p[0] for series in lines for p in series["points"] if isinstance(p[0], str)}) > STANDING


def draw_series(drawer, run):
    groups = {}
    for series in run.get("series", []):
        if len(series["points"]) > 1:
            groups.setdefault((series["x_label"], series["y_label"]), []).append(series)
    for (x_label, y_label), lines in groups.items():
        figure = (draw_list if are_many_names(lines) else draw_lines)(lines, x_label, y_label)
        title = f"{run['title']}: {y_label} by {x_label}"
        drawer.keep(figure, name_of(run["title"], y_label, "by", x_label), title, run["title"])


def draw(found, folder, png=None):
    """Writes NAME.svg (and NAME.png) files; [{"file", "title", "of": title of the run, None: of all}]."""
    drawer = Drawer(folder, png)
    draw_ratios(drawer, found)
    for run in found["runs"]:
        draw_latency(drawer, run)
        draw_series(drawer, run)
    return drawer.drawn
