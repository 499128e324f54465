# The report as Markdown and as one HTML page.
# SPDX-License-Identifier: GPL-3.0-or-later
import os

import results
from figures import number

HEAD = """# Performance

Every figure below stands beside a peer or a limit that was measured in the same run on the same machine; without it, it says
little about another machine. What the scenarios do and how figures are made: [perf/README.md](../perf/README.md). The raw numbers are
in `perf/results/*.json`; this page and its plots are made of them by `perf/report`.
"""

MET = {True: "yes", False: "**no**", None: ""}


def machine_of(found):
    """What the runs were made on; more than one line when they differ."""
    seen = []
    for run in found["runs"]:
        m = run["machine"]
        text = f"{m['cpu']}, {m['cores']} cores, {m['memory_bytes'] / 2**30:.0f} GiB, Linux {m['kernel']}"
        if text not in seen:
            seen.append(text)
    versions = {}
    for run in found["runs"]:
        versions.update({name: text for name, text in run["versions"].items() if text})
    return seen, versions


def ratio_of(f):
    return "-" if f["ratio"] is None else f"{f['ratio']:.2f}"


def row_of(f):
    spread = f"{f['spread']:.0%}" if f["spread"] else ""
    return [f"`{f['name']}`", number(f["ours"]), number(f["reference"]), ratio_of(f), f["goal"] or "", MET[f["met"]], spread,
            f["reference_is"] or "", f["unit"]]


COLUMNS = ["figure", "ours", "reference", "ratio", "goal", "met", "spread", "reference is", "unit"]


def table(rows):
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    return "\n".join(lines + ["| " + " | ".join(str(c).replace("|", "\\|") for c in row) + " |" for row in rows])


def summary(found):
    goals = [(run["title"], f) for run in found["runs"] for f in run["figures"] if f["goal"] and f["met"] is not None]
    missed = [f"{title}: `{f['name']}`" for title, f in goals if not f["met"]]
    text = f"{len(goals) - len(missed)} of {len(goals)} goals are met."
    return text + (" Missed: " + ", ".join(missed) + "; below, each says why." if missed else "")


def about(run):
    words = list(run.get("command") or [run["scenario"]])
    if "--json" in words:  # where the result went says nothing about it
        at = words.index("--json")
        del words[at:at + 2]
    command = "perf/run " + " ".join(words)
    return f"`{command}`; stolen CPU {run.get('steal_seconds', 0)} s, load before {run['machine'].get('load_before', 0):.1f}."


def markdown(found, drawn, folder):
    machines, versions = machine_of(found)
    out = [HEAD, "Machine: " + "; ".join(machines) + ".\n",
           "Versions: " + ", ".join(f"{name}: {text}" for name, text in sorted(versions.items())) + ".\n", summary(found) + "\n"]
    out += [f"![{plot['title']}]({folder}/{plot['file']})\n" for plot in drawn if plot["of"] is None]
    for run in found["runs"]:
        out.append(f"## {run['title']}\n\n{about(run)}\n\n{table(row_of(f) for f in run['figures'])}\n")
        for f in run["figures"]:
            said = results.remark(found, run, f)
            if said:
                out.append(f"**`{f['name']}`**: {said}\n")
        if run.get("notes"):
            out.append("\n".join(f"- {note}" for note in run["notes"]) + "\n")
        out += [f"![{plot['title']}]({folder}/{plot['file']})\n" for plot in drawn if plot["of"] == run["title"]]
    return "\n".join(out)


STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#1f2328}
table{border-collapse:collapse;display:block;overflow-x:auto}td,th{border:1px solid #d0d7de;padding:.25rem .55rem;text-align:left}
th{background:#f6f8fa}td.n{text-align:right;font-variant-numeric:tabular-nums}.no{color:#b35900;font-weight:600}
svg{max-width:100%;height:auto}code{background:#f6f8fa;padding:0 .2rem}"""


def html_table(figures, escape):
    out = ["<table><tr>" + "".join(f"<th>{c}</th>" for c in COLUMNS) + "</tr>"]
    for f in figures:
        met = {True: "<td>yes</td>", False: '<td class="no">no</td>', None: "<td></td>"}[f["met"]]
        spread = f"{f['spread']:.0%}" if f["spread"] else ""
        cells = [f"<td><code>{escape(f['name'])}</code></td>"]
        cells += [f'<td class="n">{value}</td>' for value in (number(f["ours"]), number(f["reference"]), ratio_of(f))]
        cells += [f"<td>{escape(f['goal'] or '')}</td>", met, f'<td class="n">{spread}</td>']
        cells += [f"<td>{escape(text or '')}</td>" for text in (f["reference_is"], f["unit"])]
        out.append("<tr>" + "".join(cells) + "</tr>")
    return "".join(out) + "</table>"


def html_plot(plot, folder):
    with open(os.path.join(folder, plot["file"]), encoding="utf-8") as f:
        text = f.read()
    return "<figure>" + text[text.index("<svg"):] + "</figure>"


def page(found, drawn, folder, escape):
    """One file: the plots are inside, nothing is loaded."""
    machines, versions = machine_of(found)
    out = [f'<!doctype html><html lang="en"><meta charset="utf-8"><title>sagate: performance</title><style>{STYLE}</style>',
           "<h1>Performance of sagate</h1>", f"<p>{escape('; '.join(machines))}</p>",
           "<p>" + escape(", ".join(f"{name}: {text}" for name, text in sorted(versions.items()))) + "</p>",
           "<p>" + escape(summary(found).replace("`", "").replace(", each says why", "")) + "</p>"]
    out += [html_plot(plot, folder) for plot in drawn if plot["of"] is None]
    for run in found["runs"]:
        out.append(f"<h2>{escape(run['title'])}</h2><p>{escape(about(run).replace('`', ''))}</p>")
        out.append(html_table(run["figures"], escape))
        for f in run["figures"]:
            said = results.remark(found, run, f)
            if said:
                out.append(f"<p><code>{escape(f['name'])}</code>: {escape(said)}</p>")
        out.append("<ul>" + "".join(f"<li>{escape(note)}</li>" for note in run.get("notes") or []) + "</ul>")
        out += [html_plot(plot, folder) for plot in drawn if plot["of"] == run["title"]]
    return "\n".join(out) + "</html>\n"
