# SPDX-License-Identifier: Apache-2.0
"""Many pods in VMs: at once, on one node, one after another. CI runs them scaled; ./dev soak in full."""

import pathlib
import time

import kata
import leaks
import pytest
from conftest import SHARED
from kubeapi import wait
from soak import soak

pytestmark = pytest.mark.usefixtures("handler")
ONLY_KATA = pytest.mark.parametrize("handler", ["kata"])


def start(pod, n, seconds):
    """n pods, all asked for before the first is waited for; the seconds until all run."""
    begin = time.monotonic()
    made = [pod(wait=None) for _ in range(n)]
    for p in made:
        p.wait_running(seconds)
    return made, time.monotonic() - begin


@ONLY_KATA
def test_at_once(pod):
    """All start, each answers as itself."""
    n = soak("KATA_TEST_AT_ONCE", 3, 10)
    made, took = start(pod, n, 60 + 20 * n)
    print(f"measured: {n} pods at once run after {took:.1f} s, {took / n:.1f} s each")
    for p in made:
        assert p.output("hostname") == p.name
    assert len({p.ip for p in made}) == n


@ONLY_KATA
def test_on_one_node(pod):
    """A full node: what each costs, and that each can still be entered."""
    n = soak("KATA_TEST_ON_ONE_NODE", 5, 50)
    made, took = start(pod, n, 60 + 20 * n)
    sandboxes = [p.sandbox for p in made]
    memory = sum(kata.memory(pid)["pss"] for s in sandboxes for pid in (*kata.qemu_of(s), *kata.virtiofsd_of(s), *kata.shim_of(s)))
    print(f"measured: {n} pods run after {took:.0f} s, {memory / n / 1024:.0f} MiB PSS each")
    for p in (made[0], made[n // 2], made[-1]):
        assert p.output("echo", "hello") == "hello"


@ONLY_KATA
def test_one_after_another(node, pod):
    """Made, run and deleted, again and again: no error, and not a file, mount, process or descriptor more."""
    n = soak("KATA_TEST_ONE_AFTER_ANOTHER", 4, 200)
    pod().delete()
    before = leaks.snapshot(node.leak_folders())
    open_files = descriptors(node)
    begin = time.monotonic()
    names = set()
    for _ in range(n):
        p = pod(wait="running")
        names |= {p.uid, p.name, p.sandbox}
        p.delete()
    print(f"measured: {n} pods one after another, {(time.monotonic() - begin) / n:.1f} s each")
    assert leaks.after(before, names if SHARED else None, node.leak_folders()) == []
    wait("containerd's descriptors", lambda: descriptors(node) <= open_files + 5, 60)


def descriptors(node):
    return len(list(pathlib.Path(f"/proc/{node.daemons['containerd'].pid}/fd").iterdir()))
