# SPDX-License-Identifier: Apache-2.0
"""What was measured, as a table for people and as a dictionary: medians, ratios, and the reference points."""

import statistics

COLUMNS = ("floor", "runc", "kata", "clone")


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def times(bench):
    result = {}
    heads = "".join(f"{name:>10}" for name in COLUMNS)
    print(f"{'median of ' + str(bench.runs):38}{heads} {'kata/runc':>10} {'clone/runc':>10}  min–max of kata, of clone")
    for what, who in bench.samples.items():
        row = {k: median(v) for k, v in who.items()}
        ratios = {k: row[k] / row["runc"] if row.get(k) and row.get("runc") else None for k in ("kata", "clone")}
        cells = "".join(f"{row[k]:10.1f}" if row.get(k) is not None else f"{'':10}" for k in COLUMNS)
        shown = "".join(f" {f'{ratio:.2f}' if ratio else '':>10}" for ratio in ratios.values())
        spans = ", ".join(f"{min(who[k]):.0f}–{max(who[k]):.0f}" for k in ratios if who.get(k))
        print(f"{what:38}{cells}{shown}  {spans}")
        result[what] = {"median": row, "samples": who, "per_runc": ratios}
    return result


def phases(bench):
    """Where the time of a start goes; the guest's own marks count from the start of its kernel."""
    result = {}
    for who, title in (("kata", "phases of a cold start, ms"), ("clone", "phases of a restored start, ms")):
        print(f"\n{title:54} {'median':>9}  min–max")
        result[who] = {phase: median(values) for phase, values in bench.phases[who].items()}
        for phase, values in bench.phases[who].items():
            print(f"{phase:54} {result[who][phase]:9.1f}  {min(values):.1f}–{max(values):.1f}")
    return result


def memory(bench):
    result = {}
    print(f"\n{'memory, KiB':38} {'private dirty':>14} {'PSS':>9} {'RSS':>9}")
    for what, samples in bench.memory.items():
        row = {k: median([s[k] for s in samples]) for k in ("private_dirty", "pss", "rss")}
        print(f"{what:38} " + " ".join(f"{row[k]:>{w}.0f}" if row[k] is not None else " " * w
                                       for k, w in (("private_dirty", 14), ("pss", 9), ("rss", 9))))
        result[what] = row
    return result


def references(result):
    """The values to reach, each from this same run."""
    def value(what, who):
        return result["times"][what]["median"].get(who)

    shim, agent = result["memory_kib"]["shim"], result["memory_kib"]["agent"]
    rows = (
        ("run to first output <= 1.3 x floor + runc, ms", value("run to first output, ms", "kata"),
         1.3 * value("boot to the first byte, ms", "floor") + value("run to first output, ms", "runc")),
        ("run to first output, clone <= runc + 450 ms", value("run to first output, ms", "clone"),
         value("run to first output, ms", "runc") + 450),
        ("exec <= runc + 20 ms", value("exec, ms", "kata"), value("exec, ms", "runc") + 20),
        ("shim start <= runc / 3, ms", value("shim start, ms", "kata"), value("shim start, ms", "runc") / 3),
        ("idle shim, private dirty <= 1 MiB, KiB", shim["private_dirty"], 1024),
        ("idle shim, PSS <= 2 MiB, KiB", shim["pss"], 2048),
        ("agent, RSS <= 2 MiB, KiB", agent["rss"], 2048),
        ("agent, binary <= 1.2 MB, KB", result["agent_binary_kb"], 1200),
        ("guest image, first time <= 1 s, ms", value("guest image, everything new, ms", "kata"), 1000),
        ("guest image, nothing changed <= 50 ms", value("guest image, nothing changed, ms", "kata"), 50),
    )
    print(f"\n{'reference point':48} {'kata':>9} {'limit':>9} {'ratio':>7}")
    result["references"] = {}
    for name, reached, limit in rows:
        print(f"{name:48} {reached:9.1f} {limit:9.1f} {reached / limit:7.2f}" + ("" if reached <= limit else "  MISSED"))
        result["references"][name] = {"kata": reached, "limit": limit}


def report(bench):
    result = {"runs": bench.runs, "agent_binary_kb": bench.agent_binary / 1000}
    result["times"] = times(bench)
    result["phases_ms"] = phases(bench)
    result["memory_kib"] = memory(bench)
    references(result)
    return result
