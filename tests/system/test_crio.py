# SPDX-License-Identifier: Apache-2.0
"""The shim and its VM under CRI-O's calls (lib/crio.py plays CRI-O): a pod's life, CRI-O's restart, a dead shim."""

import os
import pathlib
import re
import signal
import subprocess
import time

import pytest
from conftest import BUILD, MemoryGroup, kata, limit, unique
from crio import RUNNING, STOPPED, Crio

SHIM = BUILD / "src/shim/containerd-shim-kata-v2"
METRICS = "io.containerd.cgroups.v2.Metrics"
PIDS, CPU, MEMORY = 1, 2, 4  # fields of it
UNTIL_TERM = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.1; done"
UNTIL_KILLED = "trap '' TERM; tty; while :; do sleep 0.1; done"


@pytest.fixture(name="crio")
def fixture_crio(config, netns, tmp_path):
    with MemoryGroup(unique("g")) as group:
        with Crio(SHIM, config(), tmp_path / "storage", netns, group.name) as crio:
            try:
                yield crio
            finally:
                names = [container.id for container in crio.containers]
                for pid in [pid for name in names for pid in kata.shim_of(name)]:
                    os.kill(pid, signal.SIGTERM)
                await_none(kata.shim_of, *names)


def await_none(find, *names, seconds=10):
    deadline = time.monotonic() + limit(seconds)
    while left := [pid for name in names for pid in find(name)]:
        assert time.monotonic() < deadline, f"{find.__name__}: {left}"
        time.sleep(0.1)


def run_pod(crio):
    """The infra container and two others, one with a terminal."""
    pod = unique("pod")
    infra = crio.container(pod, pod, "sleep", "3600").run()
    first = crio.container(unique("in"), pod, "sh", "-c", UNTIL_TERM).run()
    second = crio.container(unique("in"), pod, "sh", "-c", UNTIL_KILLED, tty=True).run()
    return infra, first, second


def test_pod(crio):
    infra, first, second = pod = run_pod(crio)

    # One VM, and what a person sees of it with ps.
    assert len({container.address for container in pod}) == 1
    (shim,), (qemu,) = kata.shim_of(infra.id), kata.qemu_of(infra.id)
    assert not kata.shim_of(first.id) and not kata.qemu_of(first.id)
    shown = rf"containerd-shim-kata-v2 -namespace default -address  -publish-binary /usr/bin/crio -id {infra.id}\b"
    assert re.search(shown, " ".join(kata.cmdline(shim)))
    shared = f"source=/run/kata-containers/shared/sandboxes/{infra.id}/shared"
    assert any(shared in " ".join(kata.cmdline(pid)) for pid in kata.virtiofsd_of(infra.id))
    assert [container.state() for container in pod] == [(RUNNING, 0)] * 3
    first.kill(0)
    assert first.streams.read(1, until="up\n") == "up\n"
    assert "/dev/pts/" in second.streams.read(1, until="\n")

    # Exec and ExecSync, in containers with and without a terminal.
    assert first.exec("sh", "-c", "echo out; echo err >&2; exit 3") == (3, "out\n", "err\n")
    assert first.exec("sh", "-c", "cat; hostname; exit 4", stdin=b"typed\n") == (4, "typed\nweb\n", "")
    done = first.exec("sh", "-c", "read x; stty size", stdin=b"\n", tty=True, size=(111, 33))
    assert done == (0, "\r\n33 111\r\n", "")
    assert second.exec("sh", "-c", "tty; exit 0") == (0, "not a tty\n", "")
    assert first.exec("sleep", "600", timeout=1)[0] == -2
    assert "sleep 600" not in first.exec("ps", "-o", "args")[1].replace("ps -o args", "")
    with pytest.raises(RuntimeError, match="executable file not found"):
        first.exec("nosuchcommand")
    # The pod's /dev/shm is one.
    assert first.exec("sh", "-c", "echo ours > /dev/shm/file")[0] == 0
    assert second.exec("cat", "/dev/shm/file") == (0, "ours\n", "")

    kind, metrics = first.stats()
    assert kind == METRICS and all(metrics.get(field) for field in (CPU, MEMORY, PIDS)), metrics
    first.update({"memory": {"limit": 256 << 20}, "cpu": {"shares": 1024}})

    # CRI-O restarts and finds everything by the bundles.
    for container in pod:
        container.reconnect()
        assert container.state() == (RUNNING, 0)

    # The root file systems are unmounted long before the containers are deleted.
    assert first.stop() == 7
    assert first.streams.read(1) == "bye\n"
    assert second.stop(timeout=1) == 128 + signal.SIGKILL
    assert (first.state(), second.state()) == ((STOPPED, 7), (STOPPED, 137))
    with pytest.raises(RuntimeError, match="already finished"):
        first.kill(0)
    first.kill(signal.SIGTERM)
    assert kata.qemu_of(infra.id) == [qemu]
    infra.stop()
    await_none(kata.qemu_of, infra.id)
    assert kata.shim_of(infra.id) == [shim]
    assert infra.state()[0] == STOPPED and first.state() == (STOPPED, 7)

    for container in (second, first, infra):
        assert kata.shim_of(infra.id) == [shim]
        container.remove()
    await_none(kata.shim_of, infra.id)
    assert not pathlib.Path(infra.address.removeprefix("unix://")).exists()
    for container in pod:
        container.waiter.join(limit(10))
    assert (first.ended, second.ended) == ([7], [137])


def test_out_of_memory(crio):
    """CRI-O learns of it by a file in the bundle, which is there when its Wait returns."""
    pod = unique("pod")
    infra = crio.container(pod, pod, "sleep", "3600").run()
    greedy = crio.container(unique("in"), pod, "sh", "-c", "read x < /dev/shm/go; tail /dev/zero; exit $?")
    greedy.start_shim()
    greedy.create()
    greedy.update({"memory": {"limit": 32 << 20}})
    assert infra.exec("sh", "-c", "echo go > /dev/shm/go")[0] == 0
    greedy.call("Start", {})
    assert greedy.wait() == 128 + signal.SIGKILL
    assert (greedy.bundle / "oom").exists() and not (infra.bundle / "oom").exists()
    greedy.unmount()
    infra.stop()
    greedy.remove()
    infra.remove()
    await_none(kata.shim_of, infra.id)


@pytest.fixture(name="another_netns")
def fixture_another_netns():
    name = unique("n")
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield name
    subprocess.run(["ip", "netns", "delete", name], check=True)


def test_shim_is_killed(another_netns, crio):
    """CRI-O never calls `delete`: whatever a killed shim leaves is removed by that of the next pod."""
    infra, first, second = run_pod(crio)
    (shim,) = kata.shim_of(infra.id)
    os.kill(shim, signal.SIGKILL)
    for container in (infra, first, second):
        container.waiter.join(limit(20))
        assert not container.waiter.is_alive() and container.ended == []
        container.unmount()
    await_none(kata.qemu_of, infra.id)
    await_none(kata.virtiofsd_of, infra.id)
    name = crio.netns = another_netns
    other = crio.container(name, name, "sleep", "3600").run()
    left = [pathlib.Path(path) for path in (infra.address.removeprefix("unix://"), f"/run/vc/vm/{infra.id}",
                                            f"/run/kata-containers/shared/sandboxes/{infra.id}")]
    deadline = time.monotonic() + limit(20)
    while any(path.exists() for path in left):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    other.stop()
    other.remove()
    await_none(kata.shim_of, name)
