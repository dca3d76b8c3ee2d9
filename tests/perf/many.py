# SPDX-License-Identifier: Apache-2.0
"""Many sandboxes: begun at once, and side by side for their memory."""

import contextlib
import os
import selectors
import time

import kata

BURST = 4
TRANSLATED = "translated code"


def at_once(bench, who, n):
    """n containers begun together: the milliseconds until each has said something, the last one's at the end."""
    names = [f"bench-{who}-{i + 1}-of-{n}" for i in range(n)]
    options = bench.runtime(who)
    took = []
    with contextlib.ExitStack() as ends, selectors.DefaultSelector() as waiting:
        start = time.monotonic()
        for name in names:
            run = ends.enter_context(bench.talker(options, name))
            ends.callback(bench.remove, name)
            waiting.register(run.stdout, selectors.EVENT_READ, run)
        while waiting.get_map():
            for key, _ in waiting.select():
                if os.read(key.fd, 1) != b"x":
                    raise RuntimeError(f"{n} of {who} at once: {key.data.stderr.read()}")
                took.append((time.monotonic() - start) * 1000)
                waiting.unregister(key.fileobj)
    return took


def processes_of(sandbox):
    return {"QEMU": kata.qemu_of(sandbox), "virtiofsd": kata.virtiofsd_of(sandbox), "shim": kata.shim_of(sandbox)}


def parts_of(sandbox):
    """The KiB (PSS) of its processes by program; what QEMU has translated is apart, since with KVM there is nothing of it."""
    found = processes_of(sandbox)
    parts = {program: sum(kata.memory(pid)["pss"] for pid in pids) for program, pids in found.items()}
    code = sum(map(kata.translated, found["QEMU"]))
    return {**parts, "QEMU": parts["QEMU"] - code, TRANSLATED: code}


def pods(bench, who, n):
    """The memory of n sandboxes that run side by side: the parts of each."""
    names = [f"bench-{who}-pod-{i + 1}" for i in range(n)]
    with contextlib.ExitStack() as ends:
        for name in names:
            ends.callback(bench.remove, name)
            bench.start(who, name)
        time.sleep(1)
        return [parts_of(name) for name in names]


def with_spares(bench, who, config):
    """What those that wait have cost, and what a pod alone and then several at once have of it."""
    bench.runtime(who)
    waiting = [pid for spare in kata.spares(config) for pids in processes_of(spare).values() for pid in pids]
    return {"kib": sum(kata.memory(pid)["pss"] for pid in waiting), "cpu_s": sum(map(kata.cpu_seconds, waiting)),
            "alone": at_once(bench, who, 1), "together": at_once(bench, who, BURST)}
