# SPDX-License-Identifier: Apache-2.0
"""What only a host with KVM, vhost, a unified control group hierarchy or systemd can show: ./dev test --native."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import host
import pytest
from conftest import BUILD, OUTSIDE, PREFIX, Sandbox, kata, limit, pod_network, unique
from patience import slowness

UNIT = "kata-guest-image.service"

# The generation of containerd makes no difference to any of them.
pytestmark = pytest.mark.once


def systemctl(*args):
    return subprocess.run(["systemctl", *args], capture_output=True, text=True, check=True).stdout


def runtime(*args):
    return subprocess.run([BUILD / "src/cli/kata-runtime", *args], capture_output=True, text=True, check=True).stdout


@pytest.mark.nested
@pytest.mark.native("kvm")
def test_kvm_is_chosen_by_the_probe(containerd, name, config):
    """Nothing in the configuration names KVM or allows emulation."""
    path = config(accelerator=None, allow_emulation=None)
    Sandbox(containerd, name, "sleep", "600", options=["--runtime-config-path", path])
    shown = json.loads(runtime("--config", path, "env", "--json", name))["Hypervisor"]
    assert shown["Emulated"] is False
    words = kata.cmdline(shown["PID"])
    assert "accel=kvm" in words[words.index("-machine") + 1].split(",")
    assert "KVM runs a virtual machine" in runtime("--config", path, "check", "--verbose")


# --- one sandbox with all that the host has ---

@pytest.fixture(name="pod", scope="module")
def fixture_pod():
    """The slice of a pod as kubelet makes it, with a memory limit; without systemd its path alone."""
    name = f"{PREFIX}-pod.slice"
    unit = pathlib.Path("/run/systemd/system", name)
    if "systemd" in host.missing(BUILD):
        yield name
        return
    unit.write_text("[Slice]\nMemoryMax=1G\n")
    try:
        systemctl("start", name)
        yield name
    finally:
        systemctl("stop", f"{PREFIX}.slice")
        unit.unlink()
        systemctl("daemon-reload")


@pytest.fixture(name="shared_sandbox", scope="module")
def fixture_shared_sandbox(containerd, pod):
    """A sandbox as a pod of Kubernetes has it: systemd's notation for its control group, a network."""
    name = unique("pod")
    with pod_network(unique("n")) as netns:
        sandbox = Sandbox(containerd, name, "sleep", "3600", options=["--with-ns", f"network:/run/netns/{netns}",
                                                                      "--cgroup", f"{pod}:cri-containerd:{name}"])
        yield sandbox
        sandbox.remove()


@pytest.mark.nested
@pytest.mark.native("vhost-vsock")
def test_agent_on_vsock(shared_sandbox):
    assert kata.on_vsock(shared_sandbox.name)
    assert shared_sandbox.exec("echo", "hello").stdout == "hello\n"


@pytest.mark.nested
@pytest.mark.native("vhost-net")
def test_network_through_vhost(shared_sandbox):
    """The kernel's thread of the device, and a packet through it in each direction."""
    devices = [word for word in kata.cmdline(shared_sandbox.qemu) if word.startswith("tap,")]
    assert devices and all("vhost=on" in device.split(",") for device in devices)
    assert any(os.readlink(fd) == "/dev/vhost-net" for fd in pathlib.Path(f"/proc/{shared_sandbox.qemu}/fd").iterdir())
    assert "10.88.99.2/24" in shared_sandbox.exec("ip", "addr").stdout
    other = unique("n")
    subprocess.run(["ip", "netns", "add", other], check=True)
    try:
        for command in (["link", "set", OUTSIDE, "netns", other],
                        ["-n", other, "addr", "add", "10.88.99.1/24", "dev", OUTSIDE],
                        ["-n", other, "link", "set", OUTSIDE, "up"]):
            subprocess.run(["ip", *command], check=True)
        done = shared_sandbox.exec("ping", "-c", "3", "-W", str(int(limit(5))), "10.88.99.1")
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        subprocess.run(["ip", "-n", other, "link", "set", OUTSIDE, "netns", "1"], check=True)
        subprocess.run(["ip", "netns", "delete", other], check=True)


def groups_of(*pids):
    """The unified control groups that processes are in."""
    lines = [line for pid in pids for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    return {line.removeprefix("0::") for line in lines if line.startswith("0::")}


def processes_of(sandbox):
    return [sandbox.qemu, sandbox.shim, *kata.virtiofsd_of(sandbox.name)]


@pytest.mark.nested
@pytest.mark.native("systemd", "cgroup2")
def test_scope_of_systemd(shared_sandbox, pod):
    """All of the sandbox is in the unit that runc would make, inside the slice whose limits are the pod's."""
    scope = f"cri-containerd-{shared_sandbox.name}.scope"
    parent = pod.partition("-")[0]
    assert groups_of(*processes_of(shared_sandbox)) == {f"/{parent}.slice/{pod}/{scope}"}
    shown = systemctl("show", scope, "-p", "ActiveState,Slice,Delegate,ControlGroup,MemoryCurrent")
    values = dict(line.split("=", 1) for line in shown.splitlines())
    assert (values["ActiveState"], values["Slice"], values["Delegate"]) == ("active", pod, "yes")
    resident = kata.memory(shared_sandbox.qemu)["private_dirty"] * 1024
    assert int(values["MemoryCurrent"]) > resident / 2
    group = pathlib.Path("/sys/fs/cgroup" + values["ControlGroup"])
    assert {"cpu", "io", "memory", "pids"} <= set((group / "cgroup.controllers").read_text().split())
    assert (group.parent / "memory.max").read_text() == f"{1 << 30}\n"
    # What systemd reads again must not take the sandbox out of its group.
    systemctl("daemon-reload")
    assert groups_of(*processes_of(shared_sandbox)) == {values["ControlGroup"]}


@pytest.mark.nested
@pytest.mark.native("journald")
def test_the_journal_has_the_log_of_the_shim(shared_sandbox):
    deadline = time.monotonic() + limit(10)
    command = ["journalctl", "--no-pager", "-o", "json", "-t", "containerd-shim-kata-v2",
               f"KATA_SANDBOX={shared_sandbox.name}"]
    while not (text := subprocess.run(command, capture_output=True, text=True, check=True).stdout):
        assert time.monotonic() < deadline, "no line"
        time.sleep(0.2)
    assert "guest: sandbox created" in [json.loads(line)["MESSAGE"] for line in text.splitlines()]


@pytest.mark.nested
@pytest.mark.native("systemd", "cgroup2")
def test_scope_ends_with_the_sandbox(shared_sandbox, pod):
    """Last in this file of those that use it."""
    scope = f"cri-containerd-{shared_sandbox.name}.scope"
    (group,) = groups_of(shared_sandbox.qemu)
    shared_sandbox.remove()
    assert not pathlib.Path("/sys/fs/cgroup" + group).exists()
    deadline = time.monotonic() + limit(5)
    while (state := systemctl("show", scope, "-p", "LoadState")) != "LoadState=not-found\n":
        assert time.monotonic() < deadline, state
        time.sleep(0.1)
    assert systemctl("is-active", pod) == "active\n"


# --- a control group without systemd's help ---

@pytest.mark.nested
@pytest.mark.native("cgroup2")
def test_unified_control_group(containerd, name):
    """The sandbox is accounted to a group whose parents do not exist before, and what limits these holds for it."""
    top = pathlib.Path("/sys/fs/cgroup", unique("g"))
    try:
        sandbox = Sandbox(containerd, name, "sleep", "600", options=["--cgroup", f"/{top.name}/pod/{name}"])
        own = top / "pod" / f"kata_{name}"
        assert groups_of(*processes_of(sandbox)) == {f"/{top.name}/pod/{own.name}"}
        resident = kata.memory(sandbox.qemu)["private_dirty"] * 1024
        assert int((own / "memory.current").read_text()) > resident / 2
        (top / "pod/memory.max").write_text(str(resident // 2))
        sandbox.wait_status("STOPPED", 20)
        assert f"want of memory in {own}" in containerd.log.read_text()
        sandbox.remove()
        assert not own.exists()
    finally:
        for folder in (top / "pod", top):
            if folder.exists():
                folder.rmdir()


@pytest.mark.native("cgroup2")
@pytest.mark.parametrize("program", ["sandbox", "sandbox_death"])
def test_with_a_fake_vm(program):
    """Sandboxes whose VM and agent are fakes; their groups are real, and nothing of these is left."""
    subprocess.run([BUILD / f"src/runtime/test_runtime_{program}"], check=True,
                   env={**os.environ, "KATA_TEST_SLOWNESS": str(slowness())})


@pytest.mark.native("systemd", "cgroup2")
@pytest.mark.parametrize("bus", [True, False], ids=["bus", "private"])
def test_scope_program(bus):
    """The request itself, over the bus, and where there is none."""
    if not bus:
        systemctl("stop", "dbus.socket", "dbus.service")
    try:
        subprocess.run([BUILD / "src/runtime/test_runtime_systemd_scope"], check=True)
    finally:
        if not bus:
            systemctl("start", "dbus.socket")


# --- the clock ---

@pytest.mark.native("own-machine")
def test_clock_is_set():
    """By an hour, and back: what the kernel tells of that sets the guest's, too. Nobody else may use this machine."""
    subprocess.run([BUILD / "src/runtime/test_runtime_sandbox_clock"], check=True)


# --- units ---

@pytest.fixture(name="unit")
def fixture_unit():
    """The unit under another name, with programs and a cache folder of its own; removed when the test ends."""
    name = unique("unit") + ".service"
    place = pathlib.Path("/run/systemd/system", name)
    cache = pathlib.Path("/var/cache", name)
    # Neither in a home, which the unit does not see, nor in /run, where nothing may be executed.
    with tempfile.TemporaryDirectory(dir="/var/lib") as programs:
        for program in ("builder/kata-guest-image", "agent/kata-agent"):
            shutil.copy(BUILD / "src" / program, programs)
        text = (BUILD / "deploy/systemd" / UNIT).read_text().replace("CacheDirectory=kata-containers",
                                                                     f"CacheDirectory={name}")
        lines = [f"ExecStart={programs}/kata-guest-image --agent {programs}/kata-agent --output {cache}"
                 if line.startswith("ExecStart=") else line for line in text.splitlines()]
        place.write_text("\n".join(lines) + "\n")
        try:
            yield place, cache
        finally:
            place.unlink()
            subprocess.run(["systemctl", "daemon-reload"], check=False)
            subprocess.run(["systemctl", "reset-failed", name], check=False, capture_output=True)
            shutil.rmtree(cache, ignore_errors=True)


@pytest.mark.native("systemd")
def test_guest_image_unit(unit):
    """It is valid, and makes the image inside of its sandbox."""
    place, cache = unit
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", place], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and place.name not in done.stderr, done.stderr
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    done = subprocess.run(["systemctl", "start", place.name], capture_output=True, text=True, check=False)
    log = subprocess.run(["journalctl", "--no-pager", "-u", place.name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + log.stdout
    for file in ("vmlinux.container", "kata-containers-initrd.img"):
        assert os.stat(cache / file).st_size
