# SPDX-License-Identifier: Apache-2.0
"""What the output of containerd's tests says, and what follows from it for the two runtimes."""

import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
RESULT = re.compile(r"^ *--- (PASS|FAIL|SKIP): (\S+) \(", re.MULTILINE)
SAID = re.compile(r"^ +\S+\.go:\d+: (.*)$", re.MULTILINE)


def listed(name):
    """{test: reason} of a list in this folder: lines "test: reason"."""
    lines = (HERE / name).read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines if line and not line.startswith("#"))


def parts(test, output):
    """{name: PASS, FAIL or SKIP} of a test: of its innermost parts, and of itself when it has none, or fails apart from
    them. One that has ended without a word has failed."""
    found = {name: verdict for verdict, name in RESULT.findall(output)}
    inner = {name: verdict for name, verdict in found.items() if not any(other.startswith(f"{name}/") for other in found)}
    if found.get(test, "FAIL") == "FAIL" and "FAIL" not in inner.values():
        inner[test] = "FAIL"
    return inner


def skip_reason(name, output):
    """What a part has said first."""
    said = SAID.search(output.split(f"=== RUN   {name}\n", 1)[-1])
    return said[1] if said else "it does not say why"


def compare(runc, kata, differences):
    """What is wrong, by the parts' results {name: verdict} with either and {name: reason} of what may differ."""
    wrong = []
    for name in sorted(runc.keys() | kata.keys()):
        with_runc, with_kata = runc.get(name, "no result"), kata.get(name, "no result")
        if with_runc not in ("PASS", "SKIP"):
            wrong.append(f"{name}: {with_runc} with runc, so that it says nothing of kata")
        elif name in differences and with_kata == "PASS":
            wrong.append(f"{name}: no longer a difference: take it out of tests/cri/differences.txt")
        elif name not in differences and with_kata != with_runc:
            wrong.append(f"{name}: {with_runc} with runc, {with_kata} with kata")
    return wrong
