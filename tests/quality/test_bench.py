# SPDX-License-Identifier: Apache-2.0
"""The benchmark's arithmetic, tables and pictures, without measuring anything."""

import json
import pathlib
import re
import sys
import xml.etree.ElementTree as ET

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "tests/perf"), str(TOP / "tests/lib")]

# pylint: disable=wrong-import-position
import charts
import report
from stats import middle, percentile
from svg import Scale
from timeline import trace
from variants import LABELS, VARIANTS

SVG = "{http://www.w3.org/2000/svg}"
PAGE = (TOP / "docs/benchmark.md").read_text()
BEGAN = 1795830862.5  # 01:54:22.5
LOG = """\
time=2026-11-28T01:54:22.540000Z level=debug msg="sandbox: new, now booting" name=shim pid=1 sandbox=one
time=2026-11-28T01:54:22.541000Z level=debug msg="make the state directory: 800 us" name=shim pid=1 sandbox=one
time=2026-11-28T01:54:22.542000Z level=debug msg="undo \\"start virtiofsd\\": 900 us" name=shim pid=1 sandbox=other
time=2026-11-28T01:54:22.543000Z level=debug msg="make the state directory: 500 us" name=shim pid=2 sandbox=other
time=2026-11-28T01:54:22.590000Z level=debug msg="QEMU answers: 40000 us" name=shim pid=1 sandbox=one
time=2026-11-28T01:54:22.600000Z level=debug msg="start the virtual machine: 59000 us" name=shim pid=1 sandbox=one
time=2026-11-28T01:54:24.700000Z level=info msg="guest: kata-agent 1 serves port:x; started at 1500 ms, root at 1600, \
channel at 2000" name=shim pid=1 sandbox=one
time=2026-11-28T01:54:24.720000Z level=debug msg="reach the agent: 2120000 us" name=shim pid=1 sandbox=one
time=2026-11-28T01:54:24.730000Z level=debug msg="sandbox: booting, now running" name=shim pid=1 sandbox=one
time=2026-11-28T01:54:24.930000Z level=info msg="guest: container one has been created" name=shim pid=1 sandbox=one
"""


def example():
    """Figures of the shape that a run writes, as they come back from the file."""
    runs = range(1, 21)
    times = {what: {"floor": [9.0, 11.0], "kata": [2.0, 3.0], **{who: [100.0 * (i + 1) + n for n in runs]
                                                                for i, who in enumerate(LABELS)}}
             for what in (report.TO_FIRST_BYTE, report.FIRST_OUTPUT, "exec, ms", "shim start, ms",
                          "guest image, everything new, ms", "guest image, nothing changed, ms")}
    times[report.FIRST_OUTPUT] = {who: times[report.FIRST_OUTPUT][who] for who in LABELS}
    size = {"rss": 3000, "pss": 2000, "private_dirty": 1000}
    return json.loads(json.dumps({
        "runs": 20, "machine": "a machine", "times": times, "agent_binary_kb": 1000,
        "at_once": {who: {n: [[100.0 * n * (i + 1) + k for k in range(n)]] * 3 for n in (1, 2, 4)}
                    for i, who in enumerate(LABELS)},
        "traces": {v.label: [{"ms": 2700.0 + n, "guest": {"ms": 1301.0, "until": 2702.0},
                               "bars": trace(LOG, "one", BEGAN, BEGAN + 2.7)} for n in (3, 1, 2)]
                   for v in VARIANTS},
        "memory_kib": {part: [size] for part in ("shim", "QEMU", "virtiofsd", "agent")},
        "spares": {str(n): [{"kib": 81920 * n, "cpu_s": 1.5 * n, "alone": [900.0 - n], "together": [2000.0, 2300.0 + k]}
                            for k in (0, 2, 1)] for n in (0, 2)},
        "pods_kib": {v.label: [{"QEMU": 60000, "virtiofsd": 3000, "shim": 900, "translated code": 20000}] * 20 for v in VARIANTS if v.pod_mb},
    }))


@pytest.mark.parametrize("values, percent, wanted", [
    ([7], 99, 7),
    ([1, 2], 50, 1.5),
    ([3, 1, 2], 50, 2),
    (range(101), 95, 95),
    (range(100), 99, 98.01),
    ([1, 2], 100, 2),
])
def test_percentile(values, percent, wanted):
    assert percentile(values, percent) == pytest.approx(wanted)


def test_middle():
    assert [middle([{"ms": n} for n in of])["ms"] for of in ([5], [3, 1, 2], [4, 1, 3, 2])] == [5, 2, 2]


def test_trace():
    """Each step where it was; what another sandbox's shim did at the same time is not there."""
    bars = trace(LOG, "one", BEGAN, BEGAN + 2.7)
    assert [(name, round(begin, 1), round(end, 1), kind) for name, begin, end, kind in bars] == [
        ("containerd, until the shim begins", 0, 40, "containerd"),
        ("make the state directory", 40.2, 41, "host"),
        ("start the virtual machine", 41, 100, "host"),
        ("QEMU answers", 50, 90, "beside"),
        ("reach the agent", 100, 2220, "guest"),
        ("guest: before its clock runs", 100, 200, "beside"),
        ("guest: kernel", 200, 1700, "beside"),
        ("guest: root", 1700, 1800, "beside"),
        ("guest: channel", 1800, 2200, "beside"),
        ("create the container", 2230, 2430, "guest"),
        ("start it, until it has said something", 2430, 2700, "guest"),
    ]


def test_ticks():
    assert Scale(90, 2500, 0, 1, logarithm=True).ticks() == [100, 200, 500, 1000, 2000]
    assert Scale(0, 290, 0, 1).ticks() == [0, 50, 100, 150, 200, 250]
    assert Scale(10, 1000, 0, 100, logarithm=True)(100) == pytest.approx(50)


# --- tables ---

def test_tables():
    made = report.tables(example())
    assert re.search(r"^clone +20 +310\.5 +319\.1 +319\.8  301–320$", made["starts"], re.MULTILINE)
    assert re.search(r"^cold +200, 200 +400, 401 +802, 803$", made["at_once"], re.MULTILINE)
    assert re.search(r"^between the steps +12\.2  11\.2–13\.2$", made["phases"], re.MULTILINE)
    assert re.search(r"^guest processor busy since the VM runs, % +50\.0  50\.0–50\.0$", made["phases"], re.MULTILINE)
    assert re.search(r"^2 +160 +3\.0 +898 +2: 2150, 2301$", made["spares"], re.MULTILINE)
    assert re.search(r"^clone +20 +1639 +81\.9  QEMU 58\.6, virtiofsd 2\.9, shim 0\.9, translated code 19\.5$", made["pods"], re.MULTILINE)
    assert re.search(r"^shim start <= runc / 3, ms +2\.5 +36\.8 +0\.07$", made["references"], re.MULTILINE)
    assert re.search(r"^run to first output, cold .* 123\.5 +1\.70  MISSED$", made["references"], re.MULTILINE)
    assert re.search(r"^20 pods, clone, PSS of each <= 150 MB, MB +85\.9 +150\.0 +0\.57$", made["references"], re.MULTILINE)
    assert re.search(r"^20 pods, shared, .* 40\.0 +2\.15  MISSED$", made["references"], re.MULTILINE)


def test_what_was_not_measured_has_no_column():
    data = example()
    assert "spare" in report.tables(data)["times"]
    data["times"] = {what: {who: v for who, v in samples.items() if who != "spare"} for what, samples in data["times"].items()}
    made = report.tables(data)
    assert "spare" not in made["times"] + made["starts"] and "first output, spare" not in made["references"]


def test_page_is_renewed():
    page = "a\n<!-- bench: one -->\n```\nold\n```\nb\n<!-- bench: two -->\n```\n```\nc\n"
    new = report.put_into(page, {"one": "1\n", "two": "2\n"})
    assert new == "a\n<!-- bench: one -->\n```\n1\n```\nb\n<!-- bench: two -->\n```\n2\n```\nc\n"
    assert report.put_into(new, {"one": "1\n", "two": "2\n"}) == new


def test_page_has_all_tables():
    assert set(re.findall(r"<!-- bench: (\w+) -->\n```\n", PAGE)) == set(report.tables(example()))


# --- pictures ---

def series(root):
    return {group.get("data-series") for group in root.iter(f"{SVG}g")}


@pytest.fixture(name="pictures", scope="module")
def fixture_pictures():
    """{name: root} of all pictures: each is XML that is well-formed."""
    return {name: ET.fromstring(text) for name, text in charts.pictures(example()).items()}


def test_pictures_have_all_series(pictures):
    kinds = {v.label for v in VARIANTS}
    assert set(pictures) == {"start-up.svg", "at-once.svg", "memory.svg", *(f"timeline-{kind}.svg" for kind in kinds)}
    assert series(pictures["start-up.svg"]) == series(pictures["at-once.svg"]) == {"runc", *kinds}
    assert series(pictures["memory.svg"]) == {"QEMU", "virtiofsd", "shim", "translated code"}
    bars = {bar.name for bar in trace(LOG, "one", BEGAN, BEGAN + 2.7) if bar.end - bar.begin > 2.7}
    assert series(pictures["timeline-clone.svg"]) == bars
    assert len(pictures["start-up.svg"].findall(f".//{SVG}circle")) == 20 * len(LABELS)


def test_names_of_lines_do_not_cover_each_other():
    data = example()
    data["at_once"] = {who: {"1": [[100.0]], "2": [[200.0 + i, 201.0 + i]]} for i, who in enumerate(LABELS)}
    root = ET.fromstring(charts.pictures(data)["at-once.svg"])
    names = [float(text.get("y")) for text in root.iter(f"{SVG}text") if text.text.partition(":")[0] in LABELS]
    assert len(names) == len(LABELS) and all(b - a >= 15 for a, b in zip(names, names[1:]))


def test_pictures_stay_inside_and_speak(pictures):
    for name, root in pictures.items():
        width, height = map(float, root.get("viewBox").split()[2:])
        assert root.get("role") == "img" and root.find(f"{SVG}title").text and root.find(f"{SVG}desc").text, name
        for shape in root.iter():
            for key, size in {"x": width, "x1": width, "x2": width, "cx": width, "y": height, "y1": height, "y2": height,
                              "cy": height}.items():
                assert 0 <= float(shape.get(key, 0)) <= size, (name, shape.attrib)
            assert float(shape.get("width", 0)) >= 0 and float(shape.get("height", 0)) >= 0, (name, shape.attrib)


def test_what_was_not_measured_is_not_drawn():
    assert "memory.svg" not in charts.pictures({**example(), "pods_kib": {}})


def test_page_shows_all_pictures():
    shown = re.findall(r"!\[[^\]]+\]\(pictures/([\w-]+\.svg)\)", PAGE)
    assert sorted(shown) == sorted(path.name for path in (TOP / "docs/pictures").iterdir())
    for name in shown:
        ET.parse(TOP / "docs/pictures" / name)
