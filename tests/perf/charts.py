# SPDX-License-Identifier: Apache-2.0
"""The pictures of the benchmark's page: {name of the file: text of the SVG}."""

from many import TRANSLATED
from report import FIRST_OUTPUT, PERCENTS
from stats import median, middle, percentile, pod_totals
from svg import Picture, Scale, number
from variants import LABELS

WIDTH = 860
GOLDEN = 0.618034  # its multiples never bunch
KINDS = {"containerd": ("containerd and ctr", "f0"), "host": ("the shim", "f1"), "guest": ("waits for the guest", "f2"),
         "beside": ("within or beside", "edge")}
PROGRAMS = {"QEMU": "f1", "virtiofsd": "f2", "shim": "f3"}
PARTS = {**PROGRAMS, TRANSLATED: "f4"}


def colour(who):
    return LABELS.index(who) % 5


def seconds(ms):
    return f"{ms / 1000:g} s" if ms >= 1000 else f"{ms:g} ms"


# --- start-up ---

def start_up(data):
    """A row of dots for each kind, its percentiles as upright lines and in figures."""
    samples = data["times"][FIRST_OUTPUT]
    found = {who: [percentile(values, p) for p in PERCENTS] for who, values in samples.items()}
    said = "; ".join(f"{who}: " + ", ".join(f"p{p} {v:.0f} ms" for p, v in zip(PERCENTS, row))
                     for who, row in found.items())
    height = 150 + 66 * len(samples)
    p = Picture(WIDTH, height, "From ctr run to the first output",
                f"{data['runs']} starts of each, in turn. A dot is a start; the upright lines are p50 (long), p95 and p99.",
                f"Distribution of start-up times. {said}.")
    every = [v for values in samples.values() for v in values]
    x = Scale(min(every) * 0.85, max(every) * 1.15, 80, 640, logarithm=True)
    for tick in x.ticks():
        p.line(x(tick), 88, x(tick), height - 52)
        p.text(x(tick), height - 34, seconds(tick), "tick", "middle")
    p.text(360, height - 12, "time until the first output, logarithmic", "note", "middle")
    for i, percent in enumerate(PERCENTS):
        p.text(700 + 65 * i, 80, f"p{percent}", "tick", "end")
    p.text(830, 62, "milliseconds", "tick", "end")
    for row, (who, values) in enumerate(samples.items()):
        _start_up_row(p, x, 122 + 66 * row, who, values, found[who])
    return p


def _start_up_row(p, x, y, who, values, percents):
    p.series(who)
    p.text(20, y + 4, who)
    for i, value in enumerate(values):
        p.shape("circle", f"f{colour(who)}", f"{value:.1f} ms", cx=x(value), cy=y - 16 + 32 * (i * GOLDEN % 1), r=3,
                opacity="0.45")
    for i, value in enumerate(percents):
        reach = 24 if i == 0 else 17
        p.line(x(value), y - reach, x(value), y + reach, "mark")
        p.text(700 + 65 * i, y + 4, f"{value:.0f}", anchor="end")
    p.rest()


# --- at once ---

def at_once(data):
    """For each kind the last one's first output (solid) and the median (dashed), by how many begin together."""
    found = {who: [(int(n), median(sum(rounds, [])), median(map(max, rounds))) for n, rounds in counts.items()]
             for who, counts in data["at_once"].items()}
    said = "; ".join(f"{who}: " + ", ".join(f"{n} at once {m:.0f} ms, the last {last:.0f} ms" for n, m, last in row)
                     for who, row in found.items())
    p = Picture(WIDTH, 420, "Begun together",
                "Until a container has its first output: the last of them (solid) and the median (dashed).",
                f"Start-up times of several at once. {said}.")
    numbers = sorted({n for row in found.values() for n, _, _ in row})
    every = [v for row in found.values() for _, *values in row for v in values]
    y = Scale(min(every) * 0.8, max(every) * 1.25, 360, 80, logarithm=True)
    places = {n: 150 + 500 * i / max(len(numbers) - 1, 1) for i, n in enumerate(numbers)}
    for tick in y.ticks():
        p.line(90, y(tick), 700, y(tick))
        p.text(82, y(tick) + 4, seconds(tick), "tick", "end")
    for n, place in places.items():
        p.text(place, 380, str(n), "tick", "middle")
    p.text(400, 404, "containers begun together", "note", "middle")
    p.turned(24, 220, "time, logarithmic")
    for n in numbers:
        ends = {who: y(row[-1][2]) + 4 for who, row in found.items() if row[-1][0] == n}
        for who, label in _apart(ends).items():
            _at_once_lines(p, places, y, label, who, found[who])
    return p


def _apart(heights, room=15):
    """From the top, each at least so far below the one before that both can be read."""
    placed, last = {}, -room
    for who, height in sorted(heights.items(), key=lambda item: item[1]):
        placed[who] = last = max(height, last + room)
    return placed


def _at_once_lines(p, places, y, label, who, row):
    p.series(who)
    for which, css in ((2, ""), (1, " dashed")):
        points = " ".join(f"{number(places[point[0]])},{number(y(point[which]))}" for point in row)
        p.shape("polyline", f"line s{colour(who)}{css}", points=points)
        for point in row:
            tip = f"{who}, {point[0]} at once: {point[which]:.0f} ms"
            p.shape("circle", f"f{colour(who)}", tip, cx=places[point[0]], cy=y(point[which]), r=2 + which)
    n, _, last = row[-1]
    p.text(places[n] + 12, label, f"{who}: {seconds(float(f'{last:.3g}'))}")
    p.rest()


# --- where the time goes ---

def timeline(who, traces):
    """The start that took the median time: its steps one below the other, what goes on beside them as outlines."""
    chosen = middle(traces)
    total = chosen["ms"]
    shown = [bar for bar in chosen["bars"] if bar[2] - bar[1] >= max(0.5, total / 1000)]
    short = [bar[2] - bar[1] for bar in chosen["bars"] if bar not in shown]
    said = "; ".join(f"{name} from {begin:.0f} to {end:.0f} ms" for name, begin, end, _ in shown)
    height = 150 + 24 * len(shown)
    p = Picture(WIDTH, height, f"Where the time of one start goes: {who}",
                f"The median of {len(traces)} starts, {total:.0f} ms until the first output, logging at debug; "
                f"{len(short)} shorter steps take {sum(short):.1f} ms.", f"Timeline of a start. {said}.")
    x = Scale(0, total, 280, 790)
    p.legend(280, 80, dict(KINDS.values()), 150)
    for tick in x.ticks():
        p.line(x(tick), 92, x(tick), height - 48)
        p.text(x(tick), height - 30, number(tick), "tick", "middle")
    p.text(530, height - 10, "milliseconds since ctr run", "note", "middle")
    for row, bar in enumerate(shown):
        _timeline_bar(p, x, 98 + 24 * row, *bar)
    return p


def _timeline_bar(p, x, y, name, begin, end, kind):
    p.series(name)
    p.text(270, y + 14, name, "tick", "end")
    p.shape("rect", KINDS[kind][1], f"{name}: {begin:.1f} to {end:.1f} ms", x=x(begin), y=y + 3, rx=2, height=15,
            width=max(x(end) - x(begin), 1.5))
    p.text(x(end) + 5, y + 15, f"{end - begin:.0f}" if end - begin >= 10 else f"{end - begin:.1f}", "tick")
    p.rest()


# --- memory ---

def memory(data):
    """A column for each pod, of its programs; the dashed line is one that boots, alone."""
    pods = data["pods_kib"]
    total = "; ".join(f"{len(each)} {who} pods: {sum(pod_totals(each)) / 1024:.0f} MiB in all, "
                      f"{sum(pod_totals(each)) / 1024 / len(each):.0f} MiB each" for who, each in pods.items())
    boots = sum(median([s["pss"] for s in data["memory_kib"][part]]) for part in PROGRAMS) / 1024
    p = Picture(WIDTH, 400, "Memory of many pods side by side", f"Proportional set size (PSS). {total}.",
                f"Memory of each pod. {total}; one that boots takes {boots:.0f} MiB.")
    y = Scale(0, max(boots, *(t / 1024 for each in pods.values() for t in pod_totals(each))) * 1.1, 340, 90)
    for tick in y.ticks():
        p.line(90, y(tick), 830, y(tick))
        p.text(82, y(tick) + 4, number(tick), "tick", "end")
    p.turned(24, 215, "MiB")
    p.legend(90, 78, PARTS)
    step = 740 / sum(len(each) + 1 for each in pods.values())
    place = 90 + step / 2
    for who, each in pods.items():
        p.text(place + step * len(each) / 2, 362, f"{len(each)} pods, {who}", "tick", "middle")
        for pod in each:
            _pod(p, y, place, step * 0.8, pod)
            place += step
        place += step
    p.line(90, y(boots), 830, y(boots), "mark dashed")
    p.text(830, y(boots) - 6, f"one pod that boots: {boots:.0f} MiB", "tick", "end")
    p.text(460, 386, "each column is a pod of one idle container", "note", "middle")
    return p


def _pod(p, y, x, width, pod):
    below = 0
    for part, css in PARTS.items():
        p.series(part)
        above = below + pod[part] / 1024
        p.shape("rect", css, f"{part}: {pod[part] / 1024:.1f} MiB", x=x, y=y(above), width=width,
                height=y(below) - y(above))
        below = above
    p.rest()


def pictures(data):
    """What is empty (`--pods 0`) is not drawn."""
    made = {"start-up": start_up(data)}
    if data["at_once"]:
        made["at-once"] = at_once(data)
    if data["pods_kib"]:
        made["memory"] = memory(data)
    made |= {f"timeline-{who}": timeline(who, traces) for who, traces in data["traces"].items()}
    return {f"{name}.svg": str(picture) for name, picture in made.items()}
