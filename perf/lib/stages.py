# Where sagate's time goes under the load of a scenario: one more pass of it, with sagatectl profile on.
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import subprocess

from bench import Loading, Refused

PATIENCE = 15  # seconds that an answer may be late; the load lasts until then


def ask(bench, seconds):
    """sagate's answer to `profile`; Refused, with the reason, when there is none."""
    command = [bench.program("controlplane/ctl/sagatectl"), "-s", bench.path("control.sock"), "--json", "profile", str(seconds)]
    process = bench.start(command, core=bench.cores[-1], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, error = process.communicate(timeout=seconds + PATIENCE)
    except subprocess.TimeoutExpired as late:
        bench.end(process)
        raise Refused("sagatectl profile does not end") from late
    if process.returncode != 0:
        raise Refused(error.strip().split("\n")[-1] or f"sagatectl profile: exit status {process.returncode}")
    try:
        return json.loads(out)
    except ValueError as wrong:
        raise Refused(f"sagatectl profile: {wrong}") from wrong


def ask_under_load(bench, server, arguments, seconds):
    """The same while `server` is loaded as in the measured runs."""
    loading = Loading(bench, server, arguments, seconds=seconds + 2 * PATIENCE)
    try:
        answer = ask(bench, seconds)
        if loading.client.poll() is not None:
            raise Refused("the load generator ended early: " + bench.load_log())
    finally:
        bench.end(loading.client)
    return answer


def series(name, answer, per):
    """Ticks for each "request" or "handshake". io wait, which alone has no share of the busy time, is left out: it is no
    part of what one takes, and the bars add up without it."""
    return {"name": name, "x_label": "stage", "y_label": f"{answer['unit']} per {per}",
            "points": [[stage["stage"], round(stage[f"per_{per}"], 1)] for stage in answer["stages"] if stage["share"] is not None]}


def note(name, answer, per):
    rate = answer["ticks_per_nanosecond"] * 1000
    cycles = f" of the time stamp counter, of which {rate:.0f} are a microsecond" if answer["unit"] == "cycles" else ""
    return (f"{name}: in {answer['nanoseconds'] / 1e9:.1f} s more of the same load, profiled and no part of the figures, the "
            f"worker was busy for {answer['busy']:.1%} of the time and idle for {1 - answer['busy']:.1%}; each of "
            f"{answer[per + 's']} {per}s took {answer['busy_per_' + per]:.0f} {answer['unit']}{cycles}")


def profile(bench, server, arguments, what, per="request"):
    """Adds the series of a pass of its own, to be made when all else has been measured; notes."""
    name = f"Stages of a {per} ({what})"
    try:
        answer = ask_under_load(bench, server, arguments, 1 if bench.args.quick else 2)
        if not answer.get(f"busy_per_{per}"):
            raise Refused(f"the profile counted no {per}s")
    except (Refused, OSError) as error:
        return [f"{name}: not to be had: {error}"]
    bench.series.append(series(name, answer, per))
    return [note(name, answer, per)]
