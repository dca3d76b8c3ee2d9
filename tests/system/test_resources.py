# SPDX-License-Identifier: Apache-2.0
"""Limits of containers: the VM grows with them, the guest's control groups enforce them, and OOM is reported."""

import os
import re
import subprocess
import time

import pytest
from conftest import IMAGE, Sandbox, limit, remove, unique

pytestmark = pytest.mark.once  # what is tested is the runtime, whoever calls it

MIB = 1 << 20
DEFAULT_MEMORY = 2048
POD = "io.kubernetes.cri."


def pod_options(sandbox=None):
    """Annotations as containerd's CRI gives them: of a pod's sandbox, or of a container in it."""
    if not sandbox:
        return ["--annotation", f"{POD}container-type=sandbox"]
    return ["--annotation", f"{POD}container-type=container", "--annotation", f"{POD}sandbox-id={sandbox}"]


def memory_total(sandbox):
    """MiB that the guest's kernel has."""
    return int(re.search(r"MemTotal:\s+(\d+)", sandbox.exec("cat", "/proc/meminfo").stdout)[1]) // 1024


def await_memory(sandbox, mib):
    """Until the guest has that much, but for what its kernel keeps for itself; it is brought online in a while."""
    deadline = time.monotonic() + limit(20)
    while not 0.93 * mib < memory_total(sandbox) <= mib:
        assert time.monotonic() < deadline, f"the guest has {memory_total(sandbox)} MiB instead of {mib}"
        time.sleep(0.2)


def await_cpus(sandbox, n):
    deadline = time.monotonic() + limit(20)
    while (have := sandbox.exec("nproc").stdout) != f"{n}\n":
        assert time.monotonic() < deadline, f"{have.strip()} CPUs instead of {n}"
        time.sleep(0.2)


# ctr shows a container its control group only on hosts with version 2.
CGROUP = ["--mount", "type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro"]


def cgroup_file(sandbox, name):
    """A setting of the container's control group, as the container sees it."""
    return sandbox.exec("sh", "-c", f"cat /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/{name}").stdout.strip()


def test_the_vm_grows_with_the_limits(containerd, name):
    sandbox = Sandbox(containerd, name, "sleep", "600",
                      options=[*CGROUP, "--memory-limit", 512 * MIB, "--cpu-quota", 50000, "--cpu-period", 100000])
    await_cpus(sandbox, min(2, os.cpu_count()))
    await_memory(sandbox, DEFAULT_MEMORY + 512)
    assert cgroup_file(sandbox, "memory.max") == str(512 * MIB)
    assert cgroup_file(sandbox, "cpu.max") == "50000 100000"


def test_without_limits_it_stays(containerd, name):
    sandbox = Sandbox(containerd, name, "sleep", "600", options=CGROUP)
    await_memory(sandbox, DEFAULT_MEMORY)
    await_cpus(sandbox, 1)
    assert cgroup_file(sandbox, "memory.max") == "max"


def test_cpus(containerd, name):
    sandbox = Sandbox(containerd, name, "sleep", "600", options=["--cpus", os.cpu_count() + 8])
    await_cpus(sandbox, os.cpu_count())


def test_limit_beyond_the_maximum(containerd, name, config):
    """The VM gets what can be added to it, the container keeps its limit, and others can be made."""
    # 452 MiB can be added; a guest adds memory in steps of 128.
    path = config(default_maxmemory=DEFAULT_MEMORY + 452)
    options = [*CGROUP, "--runtime-config-path", path, "--memory-limit", 4096 * MIB]
    sandbox = Sandbox(containerd, name, "sleep", "600", options=[*options, *pod_options()])
    await_memory(sandbox, DEFAULT_MEMORY + 384)
    assert cgroup_file(sandbox, "memory.max") == str(4096 * MIB)
    second = unique()
    try:
        other = Sandbox(containerd, second, "sleep", "600", options=[*options, *pod_options(name)])
        assert cgroup_file(other, "memory.max") == str(4096 * MIB)
        assert memory_total(other) == memory_total(sandbox), "they are in one VM"
    finally:
        remove(containerd, second)


def test_every_container_adds_its_limit(containerd, name, config):
    """As long as there are slots for it."""
    path = config(memory_slots=1)
    options = [*CGROUP, "--runtime-config-path", path, "--memory-limit", 128 * MIB]
    sandbox = Sandbox(containerd, name, "sleep", "600", options=["--runtime-config-path", path, *pod_options()])
    await_memory(sandbox, DEFAULT_MEMORY)
    others = [unique(), unique()]
    try:
        for other in others:
            container = Sandbox(containerd, other, "sleep", "600", options=[*options, *pod_options(name)])
            await_memory(container, DEFAULT_MEMORY + 128)
            assert cgroup_file(container, "memory.max") == str(128 * MIB)
    finally:
        for other in others:
            remove(containerd, other)


@pytest.fixture(name="events")
def fixture_events(containerd, tmp_path):
    """A function that waits for a line of `ctr events` that has all of these words."""
    path = tmp_path / "events"
    with path.open("wb") as out, subprocess.Popen(containerd.command("events"), stdout=out, stderr=out) as process:
        def wait(*words):
            deadline = time.monotonic() + limit(10)
            while True:
                text = path.read_text()
                if any(all(word in line for word in words) for line in text.splitlines()):
                    return
                assert time.monotonic() < deadline, f"no event with {words}:\n{text}"
                time.sleep(0.1)

        time.sleep(limit(0.5))  # until it listens, which it does not tell
        yield wait
        process.kill()


@pytest.mark.parametrize("command", [["tail", "/dev/zero"], ["sh", "-c", "tail /dev/zero; exit $?"]],
                         ids=["init", "child"])
def test_out_of_memory(containerd, name, events, command):
    done = containerd.run(IMAGE, name, *command, options=["--memory-limit", 64 * MIB], check=False)
    assert done.returncode == 137
    events("/tasks/oom", f'"container_id":"{name}"')


def test_out_of_memory_in_an_exec(containerd, name, events):
    """The container goes on."""
    sandbox = Sandbox(containerd, name, "sleep", "600", options=["--memory-limit", 64 * MIB])
    assert sandbox.exec("tail", "/dev/zero").returncode == 137
    events("/tasks/oom", f'"container_id":"{name}"')
    assert sandbox.status() == "RUNNING"
