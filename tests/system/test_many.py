# SPDX-License-Identifier: Apache-2.0
"""Many sandboxes, at once and in a row."""

import os
import statistics
import subprocess
import time

from conftest import IMAGE, PREFIX, daemon, limit, remove, unique
from soak import soak

import leaks


def test_at_once(containerd):
    """N sandboxes: all start, each answers as itself, all end."""
    names = [unique() for _ in range(soak("KATA_TEST_PARALLEL", 4, 20))]
    start = time.monotonic()
    try:
        runs = [subprocess.Popen(containerd.command("run", "-d", "--runtime", daemon.RUNTIME, IMAGE, n, "sleep", "600"),
                                 stderr=subprocess.PIPE, text=True) for n in names]
        for run in runs:
            _, error = run.communicate(timeout=limit(280))
            assert run.returncode == 0, error
        print(f"measured: {len(names)} sandboxes at once are up after {time.monotonic() - start:.1f} s")
        for n in names:
            assert containerd.ctr("task", "exec", "--exec-id", "x", n, "echo", n).stdout == f"{n}\n"
        start = time.monotonic()
    finally:
        removals = [subprocess.Popen(containerd.command("task", "rm", "-f", n), stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL) for n in names]
        for removal in removals:
            removal.wait(limit(120))
        for n in names:
            remove(containerd, n)
    print(f"measured: {len(names)} sandboxes at once are gone after {time.monotonic() - start:.1f} s")


def test_in_a_row(containerd):
    """N runs, and not one file, mount, process or socket more than after the first."""
    runs = soak("KATA_TEST_RUNS", 5, 100)
    containerd.run(IMAGE, unique(), "true")
    time.sleep(0.5)
    before = leaks.snapshot()
    descriptors = len(list(open_files(containerd.process.pid)))
    times = []
    for i in range(runs):
        start = time.monotonic()
        assert containerd.run(IMAGE, unique(), "echo", str(i)).stdout == f"{i}\n"
        times.append(time.monotonic() - start)
    print(f"measured: {runs} runs, {sum(times) / runs:.2f} s each (median {statistics.median(times):.2f}; "
          f"{min(times):.2f}–{max(times):.2f})")
    assert leaks.after(before, [PREFIX] if os.environ.get("KATA_TEST_SHARED") else None) == []
    assert len(list(open_files(containerd.process.pid))) <= descriptors + 2


def open_files(pid):
    return os.listdir(f"/proc/{pid}/fd")
