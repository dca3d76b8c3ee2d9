# SPDX-License-Identifier: Apache-2.0
"""Something dies at some moment: the container ends, the error names the cause, `rm` is quick and leaves nothing.

The agent is the guest's PID 1, which nothing inside can kill: its channel to the host is taken away instead, and it
powers off as when it fails.
"""

import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time

import pytest
from conftest import IMAGE, Sandbox, daemon, kata, limit, remove, unique

import ttrpc
from patience import wait

REMOVE_LIMIT = 3  # seconds
VICTIMS = {"qemu": kata.qemu_of, "virtiofsd": kata.virtiofsd_of, "shim": kata.shim_of, "agent": kata.agent_of}
# Whose end containerd sees itself is its generation's business, too.
EACH = [pytest.param(victim, marks=() if victim == "shim" else pytest.mark.once) for victim in VICTIMS]
# What the error of a pending call must name, one of these.
NAMES = {"qemu": ("qemu", "vm "), "virtiofsd": ("virtiofsd", "vhost-user-fs"), "shim": ("ttrpc", "shim", "connection")}
MIB = 1 << 20


def strike(victim, name):
    """Ends the victim; False: it was not there."""
    struck = False
    for which in VICTIMS[victim](name):
        try:
            if victim == "agent":
                kata.qmp(name, "device_del", id=which)
            else:
                os.kill(which, signal.SIGKILL)
            struck = True
        except OSError:  # it has ended by itself, or QEMU does not listen yet
            pass
    return struck


def await_victim(victim, name, seconds=30):
    deadline = time.monotonic() + limit(seconds)
    while not VICTIMS[victim](name):
        if victim == "agent" and kata.on_vsock(name):
            pytest.skip("the agent's channel is vsock, which cannot be unplugged")
        assert time.monotonic() < deadline, f"no {victim} of {name}"
        time.sleep(0.005)


def kill(victim, name, seconds=30):
    """Ends the victim as soon as it is there."""
    await_victim(victim, name, seconds)
    deadline = time.monotonic() + limit(seconds)
    while not strike(victim, name):
        assert time.monotonic() < deadline, f"{victim} of {name} cannot be ended"
        time.sleep(0.005)


def missed_delete(containerd, name):
    """Whether containerd could not run `delete`: it does so in the bundle, while the failed call that it has under way
    for the same container removes that. Whoever is first wins."""
    return any(f"id={name} " in line and "failed to clean up after shim disconnected" in line and
               "no such file or directory" in line for line in containerd.log.read_text().splitlines())


def remove_quickly(containerd, name):
    start = time.monotonic()
    remove(containerd, name)
    if missed_delete(containerd, name):
        print(f"measured: containerd has removed the bundle of {name} before it could run delete there")
        containerd.shim(name, "delete")
    elapsed = time.monotonic() - start
    assert elapsed <= limit(REMOVE_LIMIT), f"removal took {elapsed:.1f} s"
    assert name not in containerd.ctr("task", "ls").stdout
    assert name not in containerd.ctr("container", "ls").stdout


# In the boot the agent's end is the guest kernel's, which test_bad_input's test_no_agent has.
@pytest.mark.parametrize("victim", [param for param in EACH if param.values != ("agent",)])
@pytest.mark.parametrize("delay", [0, 0.3, 1.0], ids=["at-once", "early", "late"])
def test_while_it_starts(containerd, name, victim, delay):
    command = containerd.command("run", "--runtime", daemon.RUNTIME, IMAGE, name, "sleep", "600")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          text=True) as process:
        await_victim(victim, name)
        time.sleep(delay)
        kill(victim, name)
        start = time.monotonic()
        try:
            _, error = process.communicate(timeout=limit(20))
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        # When it was up before the kill, ctr sees the container end; else create fails.
        assert process.returncode != 0
        print(f"measured: ctr ended {time.monotonic() - start:.2f} s after the end of {victim}: {error.strip()[-300:]}")
        if process.returncode != 128 + signal.SIGKILL:
            assert any(word in error.lower() for word in NAMES[victim]), error
    remove_quickly(containerd, name)
    kata.await_end_of_shim(name)


@pytest.mark.parametrize("victim", EACH)
def test_while_it_runs(containerd, sandbox, victim):
    kill(victim, sandbox.name)
    if victim != "shim":
        sandbox.wait_status("STOPPED", 10)
    remove_quickly(containerd, sandbox.name)


@pytest.mark.parametrize("victim", EACH)
def test_during_an_exec(containerd, sandbox, victim):
    command = containerd.command("task", "exec", "--exec-id", unique("x"), sandbox.name, "sleep", "600")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          text=True) as process:
        time.sleep(1)
        kill(victim, sandbox.name)
        assert process.wait(limit(20)) != 0
    remove_quickly(containerd, sandbox.name)


@pytest.mark.parametrize("victim", EACH)
def test_while_it_is_removed(containerd, sandbox, victim):
    await_victim(victim, sandbox.name)
    with subprocess.Popen(containerd.command("task", "rm", "-f", sandbox.name), stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        time.sleep(0.05)
        strike(victim, sandbox.name)
        process.wait(limit(20))
    remove_quickly(containerd, sandbox.name)


@pytest.mark.once
@pytest.mark.parametrize("victim", ["qemu", "virtiofsd"])
def test_after_a_crash_the_error_names_it(containerd, sandbox, victim):
    kill(victim, sandbox.name)
    sandbox.wait_status("STOPPED", 10)
    for done in (sandbox.exec("true"), sandbox.task("pause", check=False)):
        assert done.returncode != 0
        # Which of the two is seen first is not ours to say: QEMU ends when virtiofsd does.
        assert re.search(r"the sandbox is gone: .*(QEMU|virtiofsd).*(signal 9|[Kk]illed|ended|exit)", done.stderr), done.stderr


@pytest.mark.once
def test_guest_panic(containerd, name):
    sandbox = Sandbox(containerd, name, "sh", "-c", "sleep 2; echo c > /proc/sysrq-trigger", options=["--privileged"])
    sandbox.wait_status("STOPPED", 30)
    remove_quickly(containerd, name)


@pytest.mark.once
@pytest.mark.parametrize("victim", VICTIMS)
def test_when_it_is_created(containerd, name, victim):
    """A container that was never started: ctr cannot write the pid file, and goes before its Start."""
    sandbox = Sandbox(containerd, name, "sleep", "600", options=["--pid-file", "/nonexistent/pid"], check=False)
    assert "/nonexistent/" in sandbox.started.stderr and sandbox.status() == "CREATED"
    kill(victim, name)
    if victim != "shim":
        sandbox.wait_status("STOPPED", 10)
    remove_quickly(containerd, name)


@pytest.mark.once
@pytest.mark.parametrize("victim", VICTIMS)
def test_when_it_is_paused(containerd, sandbox, victim):
    sandbox.task("pause")
    kill(victim, sandbox.name)
    if victim != "shim":
        sandbox.wait_status("STOPPED", 10)
    remove_quickly(containerd, sandbox.name)


def written(pid):
    """Bytes that a process has written."""
    return int(pathlib.Path(f"/proc/{pid}/io").read_text().split("wchar: ")[1].split()[0])


@pytest.mark.once
@pytest.mark.parametrize("victim", VICTIMS)
def test_while_bytes_flow(containerd, name, victim):
    """Both ways at once: what ctr reads for stdin comes back on stdout."""
    command = containerd.command("run", "--runtime", daemon.RUNTIME, IMAGE, name, "cat")
    with open("/dev/zero", "rb") as zero, open("/dev/null", "wb") as null, \
            subprocess.Popen(command, stdin=zero, stdout=null, stderr=null) as process:
        try:
            deadline = time.monotonic() + limit(60)
            while written(process.pid) < 2 * MIB:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.01)
            kill(victim, name)
            assert process.wait(limit(20)) != 0
        finally:
            process.kill()
    remove_quickly(containerd, name)


@pytest.mark.once
def test_stopped_virtiofsd(containerd, sandbox):
    """A hanging file system: what does not need it still answers."""
    pids = kata.virtiofsd_of(sandbox.name)
    sandbox.task("metrics")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        for verb in ("metrics", "ps"):
            start = time.monotonic()
            sandbox.task(verb, timeout=limit(20))
            assert time.monotonic() - start < limit(3), verb
        start = time.monotonic()
        sandbox.task("kill", "-s", "SIGKILL", timeout=limit(20))
        sandbox.wait_status("STOPPED", 5)
        assert time.monotonic() - start < limit(5)
        remove_quickly(containerd, sandbox.name)
    finally:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass


def ping(containerd, name):
    """The sandbox service's PingSandbox: Health.Check of the agent."""
    address = (containerd.bundle(name) / "address").read_text().removeprefix("unix://")
    ttrpc.call(address, "containerd.runtime.sandbox.v1.Sandbox", "PingSandbox", {1: name}, limit(10))


def await_growth(log, seconds=20):
    """Waits until the file grows; False: it did not."""
    size = log.stat().st_size
    deadline = time.monotonic() + limit(seconds)
    while time.monotonic() < deadline:
        if log.stat().st_size > size:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.once
def test_stopped_virtiofsd_with_a_reader(containerd, name, tmp_path):
    """A process that waits in the guest's kernel for a file of the share, where no signal ends it: Health, metrics and
    kill answer, and the container counts as ended."""
    log = tmp_path / "log"
    sandbox = Sandbox(containerd, name, "sh", "-c", "while cat /bin/busybox >/dev/null; do echo read; done",
                      options=["--log-uri", f"file://{log}"])
    assert await_growth(log)
    ping(containerd, name)
    stopped = kata.virtiofsd_of(name)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        while await_growth(log, 2):  # the guest trusts what it knows of the share for a second
            pass
        for answer in (lambda: ping(containerd, name), lambda: sandbox.task("metrics", timeout=limit(20))):
            start = time.monotonic()
            answer()
            assert time.monotonic() - start < limit(3)
        start = time.monotonic()
        sandbox.task("kill", "-s", "SIGKILL", timeout=limit(20))
        sandbox.wait_status("STOPPED", 8)
        assert "has not ended 3 s after SIGKILL" in containerd.log.read_text()
        remove_quickly(containerd, name)
        print(f"measured: a container that cannot be killed is gone after {time.monotonic() - start:.1f} s")
    finally:
        for pid in stopped:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass


@pytest.mark.once
def test_stopped_qemu(containerd, sandbox):
    """A guest that answers nothing can be removed."""
    pid = sandbox.qemu
    os.kill(pid, signal.SIGSTOP)
    start = time.monotonic()
    remove(containerd, sandbox.name)
    elapsed = time.monotonic() - start
    print(f"measured: removal with a stopped QEMU {elapsed:.1f} s")
    assert elapsed < limit(15)
    assert not kata.qemu_of(sandbox.name)


def test_containerd_restart(containerd, sandbox):
    """The shim outlives containerd, which finds it again."""
    shim = sandbox.shim
    containerd.process.kill()
    containerd.process.wait()
    containerd.start()
    assert sandbox.shim == shim
    assert sandbox.status() == "RUNNING"
    assert sandbox.exec("echo", "again").stdout == "again\n"


@pytest.mark.once
def test_without_delete(containerd, sandbox):
    """A shim that died and for which containerd never says `delete`: the next sandbox removes what it has left."""
    address = (containerd.bundle(sandbox.name) / "address").read_text().removeprefix("unix://")
    containerd.process.kill()
    containerd.process.wait()
    kill("shim", sandbox.name)
    shutil.rmtree(containerd.bundle(sandbox.name))
    left = [pathlib.Path(path) for path in (address, f"/run/vc/sbs/{sandbox.name}", f"/run/vc/vm/{sandbox.name}",
                                            f"/run/kata-containers/shared/sandboxes/{sandbox.name}")]
    assert all(path.exists() for path in left)
    containerd.start()
    assert all(path.exists() for path in left)
    other = unique()
    try:
        Sandbox(containerd, other, "sleep", "600")
        deadline = time.monotonic() + limit(10)
        while still := [path for path in left if path.exists()]:
            assert time.monotonic() < deadline, still
            time.sleep(0.1)
        assert kata.qemu_of(other)
    finally:
        remove(containerd, other)
    if not os.environ.get("KATA_TEST_SHARED"):  # or somebody else's sandbox has done it
        assert f"sandbox {sandbox.name}: its shim has ended" in containerd.log.read_text()


def test_socket_of_nobody(containerd, name):
    """A `start` that was killed before there was a daemon has left a socket, of which nothing else on disk tells: the
    next pod removes it, however short it is."""
    path = pathlib.Path(f"/run/containerd/s/{secrets.token_hex(32)}")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        path.chmod(0o700)
    assert path.is_socket()
    try:
        containerd.ctr("run", "--rm", "--runtime", daemon.RUNTIME, IMAGE, name, "true", timeout=limit(60))
        wait("the end of the socket", lambda: not path.exists(), 5)
    finally:
        path.unlink(missing_ok=True)


def test_interrupted_client(containerd, name):
    """Ctrl-C in ctr while the VM boots: the boot ends with it, in order, and nothing is left."""
    command = containerd.command("run", "--runtime", daemon.RUNTIME, IMAGE, name, "sleep", "600")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + limit(30)
        while not kata.qemu_of(name):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.kill()
        process.wait(limit(10))
    deadline = time.monotonic() + limit(8)
    while kata.qemu_of(name) or kata.shim_of(name) or kata.virtiofsd_of(name):
        assert time.monotonic() < deadline, "it goes on without a client"
        time.sleep(0.1)
    assert f"container {name}: its creation is given up" in containerd.log.read_text()
    assert name not in containerd.ctr("task", "ls").stdout
