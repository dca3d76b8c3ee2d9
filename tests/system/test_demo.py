# SPDX-License-Identifier: Apache-2.0
"""./dev demo, the first thing that a person runs."""

import os
import re
import subprocess

from conftest import TESTS, limit

WIDTH = 36


def rows(text):
    """{name: [left, right]} of the table; what was wrapped is joined again."""
    found = {}
    for line in text.splitlines():
        name, cells = line[:22].strip(), [line[23:23 + WIDTH].strip(), line[23 + WIDTH + 2:].strip()]
        if name:
            last = found[name] = cells
        elif found:
            last[:] = [f"{a} {b}".strip() for a, b in zip(last, cells)]
    return found


def test_demo(guest):
    """Both columns have an answer to every question, and the one under kata comes from another machine."""
    done = subprocess.run([TESTS.parent / "dev", "demo"], capture_output=True, text=True, timeout=limit(250), check=False)
    assert done.returncode == 0, done.stderr
    heading, table = done.stdout.split("\n", 2)[1:]
    assert heading.split() == ["runc", "kata"]
    table, end = table.rsplit("\n\n", 1)
    assert "README.md" in end
    found = rows(table)
    assert list(found) == ["uname -r", "cat /proc/uptime", "cat /proc/cmdline", "nproc", "QEMU on the host",
                           "run to first output"]
    host, kata = found["uname -r"]
    assert host == os.uname().release
    assert kata.encode() in (guest / "vmlinux.container").read_bytes()
    uptimes = [float(text.split()[0]) for text in found["cat /proc/uptime"]]
    assert 0 < uptimes[1] < uptimes[0]
    assert found["cat /proc/cmdline"][0] != found["cat /proc/cmdline"][1]
    assert "agent." in found["cat /proc/cmdline"][1]
    assert all(int(n) > 0 for n in found["nproc"])
    none, qemu = found["QEMU on the host"]
    assert none == "none"
    assert re.fullmatch(r"\S*qemu-system\S* -name sandbox-demo-kata\S*", qemu), qemu
    runc, kata = (re.fullmatch(r"(\d+) ms", text) for text in found["run to first output"])
    print(f"measured: demo: run to first output: runc {runc[1]} ms, kata {kata[1]} ms")
    assert 0 < int(runc[1]) < limit(10) * 1000
    assert int(runc[1]) < int(kata[1]) < limit(60) * 1000
