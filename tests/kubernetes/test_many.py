# SPDX-License-Identifier: Apache-2.0
"""Many pods in VMs: at once, on one node, one after another. CI runs them scaled; ./dev soak in full."""

import pathlib
import statistics
import time

import kata
import leaks
import pytest
from conftest import SHARED
from patience import wait
from soak import soak

pytestmark = pytest.mark.usefixtures("handler")
ONLY_KATA = pytest.mark.parametrize("handler", ["kata-many"], ids=["kata"])


def start(pod, n):
    """n pods, all asked for before the first is waited for; the seconds until all run. They share the processors, so
    that most may run at the end only: whenever some do, the rest is given as long again."""
    begin = time.monotonic()
    made = [pod(wait=None) for _ in range(n)]
    missing = list(made)
    while missing:
        running = wait(f"another of {len(missing)} pods", lambda: [p for p in missing if p.runs()], 60 + 10 * n, 0.5,
                       missing[0].describe)
        missing = [p for p in missing if p not in running]
    return made, time.monotonic() - begin


def end(pod):
    """All at once; the seconds until they are gone."""
    begin = time.monotonic()
    pod.clear()
    return time.monotonic() - begin


def complaints(node, made):
    """What went wrong with pods before it went well: the kubelet tries again, and in the end they run. Volumes are its
    own work: on a loaded machine it has not yet heard of a ConfigMap when it first asks for it."""
    names = {p.name for p in made}
    return [f"{event['involvedObject']['name']}: {event['reason']}: {event['message']}"
            for event in node.api.list("Event", fieldSelector="type=Warning")
            if event["involvedObject"]["name"] in names and event["reason"] != "FailedMount"]


def no_complaints(node, made):
    found = complaints(node, made)
    assert not found, "\n".join(found)


@ONLY_KATA
def test_at_once(node, pod):
    """All start, each answers as itself."""
    n = soak("KATA_TEST_AT_ONCE", 3, 10)
    made, took = start(pod, n)
    print(f"measured: {n} pods at once run after {took:.1f} s, {took / n:.1f} s each")
    for p in made:
        assert p.output("hostname") == p.name
    assert len({p.ip for p in made}) == n
    print(f"measured: {n} pods at once are gone after {end(pod):.1f} s")
    no_complaints(node, made)


@ONLY_KATA
def test_on_one_node(node, pod):
    """A full node: what each costs, and that each can still be entered."""
    n = soak("KATA_TEST_ON_ONE_NODE", 5, 50)
    made, took = start(pod, n)
    sandboxes = [p.sandbox for p in made]
    pids = [pid for s in sandboxes for pid in (*kata.qemu_of(s), *kata.virtiofsd_of(s), *kata.shim_of(s))]
    memory = sum(kata.memory(pid)["pss"] for pid in pids)
    print(f"measured: {n} pods run after {took:.0f} s, {memory / n / 1024:.0f} MiB PSS each")
    for p in made:
        assert p.output("hostname") == p.name
    assert sum(p.container()["restartCount"] for p in made) == 0
    print(f"measured: {n} pods are gone after {end(pod):.0f} s")
    no_complaints(node, made)


@ONLY_KATA
def test_one_after_another(node, pod):
    """Made, run and deleted, again and again: no error, and not a file, mount, process or descriptor more."""
    n = soak("KATA_TEST_ONE_AFTER_ANOTHER", 4, 200)
    pod().delete()
    before = leaks.snapshot(node.leak_folders())
    open_files = descriptors(node)
    names, starts, ends, wrong = set(), [], [], []
    for i in range(n):
        begin = time.monotonic()
        p = pod(wait="running")
        starts.append(time.monotonic() - begin)
        names |= {p.uid, p.name, p.sandbox}
        begin = time.monotonic()
        p.delete()
        ends.append(time.monotonic() - begin)
        wrong += complaints(node, [p])
        if (i + 1) % 20 == 0:
            print(f"{i + 1} of {n}: {sum(starts[-20:]) / 20:.1f} s until they run, {sum(ends[-20:]) / 20:.1f} s until gone")
    print(f"measured: {n} pods one after another, {(sum(starts) + sum(ends)) / n:.1f} s each: " + ", ".join(
        f"{what} after {statistics.median(times):.1f} s (median; {min(times):.1f}–{max(times):.1f})"
        for what, times in (("runs", starts), ("gone", ends))))
    assert not wrong, "\n".join(wrong)
    assert leaks.after(before, names if SHARED else None, node.leak_folders()) == []
    wait("containerd's descriptors", lambda: descriptors(node) <= open_files + 5, 60)


def descriptors(node):
    return len(list(pathlib.Path(f"/proc/{node.daemons['containerd'].pid}/fd").iterdir()))
