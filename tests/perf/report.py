# SPDX-License-Identifier: Apache-2.0
"""What was measured, as tables for people: percentiles, medians, ratios, and the values to reach.

A page has a table between `<!-- bench: NAME -->` and the end of the block that follows, from where put_into() renews it.
"""

import re

from stats import median, middle, percentile, pod_totals
from variants import BOOTS, LABELS, VARIANTS

COLUMNS = ("floor", "runc", "kata", *LABELS[1:])
FIRST_OUTPUT, TO_FIRST_BYTE = "run to first output, ms", "boot to the first byte, ms"
PERCENTS = (50, 95, 99)


def starts(data):
    samples = data["times"][FIRST_OUTPUT]
    yield f"{FIRST_OUTPUT:38} {'starts':>7}" + "".join(f"{f'p{p}':>10}" for p in PERCENTS) + "  min–max"
    for who, values in samples.items():
        cells = "".join(f"{percentile(values, p):10.1f}" for p in PERCENTS)
        yield f"{who:38} {len(values):7}{cells}  {min(values):.0f}–{max(values):.0f}"


def times(data):
    """A column for each kind that this run has measured."""
    def cell(who, values, runc):
        if who not in values:
            return f"{'':15}"
        ratio = f" ×{median(values[who]) / runc:.2f}" if runc and who not in ("floor", "runc") else ""
        return f"{median(values[who]):8.1f}{ratio:7}"

    columns = [who for who in COLUMNS if any(who in values for values in data["times"].values())]
    yield f"{'median of ' + str(data['runs']):38}" + "".join(f"{who:>8}{'':7}" for who in columns) + "  min–max of kata's"
    for what, values in data["times"].items():
        runc = median(values.get("runc", []))
        spans = ", ".join(f"{min(values[k]):.0f}–{max(values[k]):.0f}" for k in COLUMNS[2:] if k in values)
        yield f"{what:38}" + "".join(cell(who, values, runc) for who in columns) + f"  {spans}"


def at_once(data):
    numbers = sorted({int(n) for counts in data["at_once"].values() for n in counts})
    yield f"{'begun at once, ms: median, last':38}" + "".join(f"{n:>16}" for n in numbers)
    for who, counts in data["at_once"].items():
        cells = {int(n): f"{median(sum(rounds, [])):.0f}, {median(map(max, rounds)):.0f}" for n, rounds in counts.items()}
        yield f"{who:38}" + "".join(f"{cells.get(n, ''):>16}" for n in numbers)


def _durations(traces):
    """{phase: milliseconds of each start}, and what no step has, in the order of the median start."""
    found = {bar[0]: [] for bar in middle(traces)["bars"]}
    for trace in traces:
        for name, begin, end, _ in trace["bars"]:
            found.setdefault(name, []).append(end - begin)
    found["between the steps"] = [t["ms"] - sum(b[2] - b[1] for b in t["bars"] if b[3] != "beside") for t in traces]
    return found


def _guest_shares(traces):
    """Percent of the time since the VM runs in which the guest's processor does; nothing of one that ran before."""
    for trace in traces:
        ends = {name: end for name, _, end, _ in trace["bars"]}
        if runs := ends.get("restored the VM", ends.get("start the virtual machine")):
            yield 100 * trace["guest"]["ms"] / (trace["guest"]["until"] - runs)


def phases(data):
    """Where the time of a start goes; what goes on beside the steps is set in."""
    for who, traces in data["traces"].items():
        kinds = {bar[0]: bar[3] for trace in traces for bar in trace["bars"]}
        yield f"{f'phases of {len(traces)} starts, {who}, ms':54} {'median':>9}  min–max"
        for phase, values in _durations(traces).items():
            name = ("  " if kinds.get(phase) == "beside" else "") + phase
            yield f"{name:54} {median(values):9.1f}  {min(values):.1f}–{max(values):.1f}"
        total = [trace["ms"] for trace in traces]
        yield f"{'in all, logging at debug':54} {median(total):9.1f}  {min(total):.1f}–{max(total):.1f}"
        if shares := list(_guest_shares(traces)):
            yield f"{'guest processor busy since the VM runs, %':54} {median(shares):9.1f}  {min(shares):.1f}–{max(shares):.1f}"
        if who != list(data["traces"])[-1]:
            yield ""


def memory(data):
    yield f"{'memory, KiB':38} {'private dirty':>14} {'PSS':>9} {'RSS':>9}"
    for what, samples in data["memory_kib"].items():
        row = ((w, median([s[k] for s in samples])) for k, w in (("private_dirty", 14), ("pss", 9), ("rss", 9)))
        yield f"{what:38} " + " ".join(f"{value:>{w}.0f}" if value is not None else " " * w for w, value in row)


def pods(data):
    yield f"{'pods side by side, PSS in MiB':38} {'pods':>7} {'in all':>9} {'each':>9}  of that"
    for who, each in data["pods_kib"].items():
        total = sum(pod_totals(each)) / 1024
        parts = ", ".join(f"{part} {sum(pod[part] for pod in each) / 1024 / len(each):.1f}" for part in each[0])
        yield f"{who:38} {len(each):7} {total:9.0f} {total / len(each):9.1f}  {parts}"


def spares(data):
    """By how many are kept: what they cost while they wait, and how soon pods that take them have their first output."""
    yield f"{'spares kept':12} {'PSS, MiB':>9} {'processor, s':>13} {'one pod, ms':>12} {'several at once, ms: median, last':>34}"
    for number, rounds in data["spares"].items():
        together = [r["together"] for r in rounds]
        several = f"{len(together[0])}: {median(sum(together, [])):.0f}, {median(map(max, together)):.0f}"
        yield (f"{number:12} {median(r['kib'] for r in rounds) / 1024:9.0f} {median(r['cpu_s'] for r in rounds):13.1f} "
               f"{median(sum((r['alone'] for r in rounds), [])):12.0f} {several:>34}")


def _reference_rows(data):
    def value(what, who):
        return median(data["times"][what].get(who, []))

    def of(what, size):
        return median([s[size] for s in data["memory_kib"][what]])

    floor, runc = value(TO_FIRST_BYTE, "floor"), value(FIRST_OUTPUT, "runc")
    for v in VARIANTS:
        if v.label in data["times"][FIRST_OUTPUT]:
            yield f"run to first output, {v.label} {v.limit}", value(FIRST_OUTPUT, v.label), v.reach(floor, runc)
    yield from (
        ("exec <= runc + 20 ms", value("exec, ms", BOOTS), value("exec, ms", "runc") + 20),
        ("shim start <= runc / 3, ms", value("shim start, ms", "kata"), value("shim start, ms", "runc") / 3),
        ("idle shim, private dirty <= 1 MiB, KiB", of("shim", "private_dirty"), 1024),
        ("idle shim, PSS <= 2 MiB, KiB", of("shim", "pss"), 2048),
        ("agent, RSS <= 2 MiB, KiB", of("agent", "rss"), 2048),
        ("agent, binary <= 1.2 MB, KB", data["agent_binary_kb"], 1200),
        ("guest image, first time <= 1 s, ms", value("guest image, everything new, ms", "kata"), 1000),
        ("guest image, nothing changed <= 50 ms", value("guest image, nothing changed, ms", "kata"), 50),
    )
    for v in VARIANTS:
        if each := data["pods_kib"].get(v.label):
            reached = sum(pod_totals(each)) * 1.024e-3 / len(each)
            yield f"{len(each)} pods, {v.label}, PSS of each <= {v.pod_mb} MB, MB", reached, v.pod_mb


def references(data):
    """The values to reach, each from this same run."""
    yield f"{'reference point':48} {'reached':>9} {'limit':>9} {'ratio':>7}"
    for name, reached, limit in _reference_rows(data):
        yield f"{name:48} {reached:9.1f} {limit:9.1f} {reached / limit:7.2f}" + ("" if reached <= limit else "  MISSED")


def tables(data):
    """{name: text} of all tables."""
    made = {"machine": iter([data["machine"]]), **{f.__name__: f(data) for f in
                                                    (starts, at_once, phases, pods, spares, times, memory, references)}}
    return {name: "\n".join(line.rstrip() for line in lines) + "\n" for name, lines in made.items()}


def put_into(page, made):
    """The page with its tables renewed."""
    def renewed(found):
        return found[1] + made[found[2]] + "```"

    return re.sub(r"(<!-- bench: ([\w-]+) -->\n```\n).*?```", renewed, page, flags=re.DOTALL)
