# SPDX-License-Identifier: Apache-2.0
"""Pods: several containers in one VM, grouped by the annotations of containerd's CRI plugin and of CRI-O."""

import os
import signal
import subprocess
import time

import pytest
from conftest import IMAGE, PAUSE, daemon, kata, limit, remove, unique

SHM_MIB = 24
# How a manager says which container is the pod's sandbox and which joins it.
MANAGERS = {
    "cri": ("io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"),
    "crio": ("io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"),
}


class Pod:
    """A sandbox container that pauses, and what is added to it, as a Kubernetes node does it: the pod's namespaces
    are the sandbox's, and /dev/shm is a tmpfs of the host that all of them bind."""

    def __init__(self, containerd, shm, manager="cri", start=True):
        self.containerd = containerd
        self.id = unique("pod")
        self.keys = MANAGERS[manager]
        self.shm = shm
        self.containers = []
        self.pid = None
        if start:
            self._run("sandbox", self.id, PAUSE)
            self.pid = self.tasks()[self.id][0]

    def _run(self, kind, name, image, *command, namespaces=(), options=()):
        options = [*options, "--annotation", f"{self.keys[0]}={kind}", "--annotation", f"{self.keys[1]}={self.id}",
                   "--mount", f"type=bind,src={self.shm},dst=/dev/shm,options=rbind:rw"]
        for namespace in namespaces:
            options += ["--with-ns", f"{namespace}:/proc/{self.pid}/ns/{namespace.replace('network', 'net')}"]
        self.containers.append(name)
        self.containerd.ctr("run", "-d", "--runtime", daemon.RUNTIME, *options, image, name, *command)

    def add(self, *command, share=("network", "ipc", "uts"), options=()):
        """A container that joins; returns its name."""
        name = unique("in")
        self._run("container", name, IMAGE, *(command or ("sleep", "600")), namespaces=share, options=options)
        return name

    def exec(self, name, script, **kwargs):
        return self.containerd.ctr("task", "exec", "--exec-id", unique("x"), name, "sh", "-c", script, **kwargs)

    def tasks(self):
        """{container: (pid, status)} of this pod's."""
        lines = [line.split() for line in self.containerd.ctr("task", "ls").stdout.splitlines()[1:]]
        return {name: (int(pid), status) for name, pid, status in lines if name in self.containers}

    def status(self, name):
        return self.tasks()[name][1]

    def wait_status(self, name, wanted, seconds=10):
        deadline = time.monotonic() + limit(seconds)
        while self.status(name) != wanted:
            assert time.monotonic() < deadline, f"{name} is {self.status(name)}, not {wanted}"
            time.sleep(0.1)

    def delete(self, name):
        remove(self.containerd, name)
        self.containers.remove(name)

    def remove(self):
        for name in reversed(self.containers):
            remove(self.containerd, name)


@pytest.fixture(name="shm")
def fixture_shm(tmp_path):
    """The tmpfs that a container manager makes for a pod's /dev/shm."""
    path = tmp_path / "shm"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SHM_MIB}m", "shm", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)


@pytest.fixture(name="pod", params=MANAGERS)
def fixture_pod(request, containerd, shm):
    pod = Pod(containerd, shm, request.param)
    yield pod
    pod.remove()


@pytest.fixture(name="cri_pod")
def fixture_cri_pod(containerd, shm):
    pod = Pod(containerd, shm)
    yield pod
    pod.remove()


def test_late_mount(cri_pod, tmp_path):
    """A container gets what is mounted on the host when it is made, also when the pod is older than the mount, and the
    host's mounts are not shared."""
    volume = tmp_path / "volume"
    volume.mkdir()
    subprocess.run(["mount", "--make-private", "-t", "tmpfs", "late", volume], check=True)
    try:
        (volume / "file").write_text("late")
        name = cri_pod.add(options=["--mount", f"type=bind,src={volume},dst=/volume,options=rbind:rw"])
        assert cri_pod.exec(name, "cat /volume/file").stdout == "late"
        cri_pod.delete(name)
    finally:
        subprocess.run(["umount", volume], check=True)


def test_output_behind_an_exec(cri_pod):
    """What an exec has left running may still write to its client."""
    name = cri_pod.add()
    assert cri_pod.exec(name, "{ sleep 2; echo late; } & echo early").stdout == "early\nlate\n"


def test_failed_container_leaves_no_descriptor(cri_pod):
    (shim,) = kata.shim_of(cri_pod.id)
    cri_pod.delete(cri_pod.add())
    before = len(os.listdir(f"/proc/{shim}/fd"))
    for _ in range(3):
        with pytest.raises(RuntimeError, match="executable file not found"):
            cri_pod.add("nosuchcommand")
        cri_pod.delete(cri_pod.containers[-1])
    assert len(os.listdir(f"/proc/{shim}/fd")) <= before


def test_one_vm(pod):
    """One QEMU and one shim, what a pod shares is shared, and what not is not."""
    first = pod.add()
    second = pod.add()
    assert len(kata.qemu_of(pod.id)) == len(kata.shim_of(pod.id)) == 1
    assert not any(kata.qemu_of(name) or kata.shim_of(name) for name in (first, second))
    assert {status for _, status in pod.tasks().values()} == {"RUNNING"}
    # The same kernel, network, names and System V objects.
    for what in ("cat /proc/sys/kernel/random/boot_id", "hostname", "cd /proc/self/ns; readlink net; readlink ipc; readlink uts"):
        assert pod.exec(first, what).stdout == pod.exec(second, what).stdout != ""
    pod.exec(first, "nc -l -p 4711 -e echo heard >/dev/null 2>&1 &")
    deadline = time.monotonic() + limit(10)
    while (done := pod.exec(second, "nc 127.0.0.1 4711", check=False)).stdout != "heard\n":
        assert time.monotonic() < deadline, done
        time.sleep(0.2)
    # One /dev/shm, of the host's size.
    pod.exec(first, "echo ours > /dev/shm/file")
    assert pod.exec(second, "cat /dev/shm/file").stdout == "ours\n"
    for name in (first, second):
        assert pod.exec(name, "df -k /dev/shm | tail -n 1").stdout.split()[1] == str(SHM_MIB * 1024)
    # Files and processes are each container's own.
    pod.exec(first, "echo mine > /tmp/file")
    assert pod.exec(second, "cat /tmp/file", check=False).returncode != 0
    assert pod.exec(first, "readlink /proc/self/ns/pid").stdout != pod.exec(second, "readlink /proc/self/ns/pid").stdout
    assert "pause" not in pod.exec(first, "ps -o comm").stdout


def test_shared_processes(cri_pod):
    """shareProcessNamespace: each container sees the others' processes, and those of the sandbox."""
    first = cri_pod.add("sleep", "601", share=("network", "ipc", "uts", "pid"))
    second = cri_pod.add("sleep", "602", share=("network", "ipc", "uts", "pid"))
    for name in (first, second):
        shown = cri_pod.exec(name, "ps -o args").stdout
        assert all(what in shown for what in ("pause", "sleep 601", "sleep 602")), shown


def test_containers_come_and_go(cri_pod):
    """Each ends and is deleted alone; the sandbox outlives the last of them and takes a new one."""
    first = cri_pod.add("sh", "-c", "trap 'exit 7' TERM; touch /tmp/ready; while :; do sleep 0.1; done")
    second = cri_pod.add()
    while cri_pod.exec(first, "test -e /tmp/ready", check=False).returncode:
        time.sleep(0.1)
    cri_pod.containerd.ctr("task", "kill", "-s", "SIGTERM", first)
    cri_pod.wait_status(first, "STOPPED")
    done = cri_pod.containerd.ctr("task", "rm", first, check=False)
    assert "7" in done.stdout + done.stderr
    cri_pod.delete(first)
    assert cri_pod.exec(second, "echo still").stdout == "still\n"
    cri_pod.delete(second)
    assert cri_pod.status(cri_pod.id) == "RUNNING"
    third = cri_pod.add()
    assert cri_pod.exec(third, "echo new").stdout == "new\n"
    assert len(kata.qemu_of(cri_pod.id)) == 1
    cri_pod.delete(third)
    cri_pod.delete(cri_pod.id)
    deadline = time.monotonic() + limit(5)
    while kata.qemu_of(cri_pod.id) or kata.shim_of(cri_pod.id):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_sandbox_goes_first(cri_pod):
    """Its end is the pod's: the VM goes, and the containers with it."""
    first = cri_pod.add()
    cri_pod.containerd.ctr("task", "kill", "-s", "SIGKILL", cri_pod.id)
    cri_pod.wait_status(cri_pod.id, "STOPPED")
    cri_pod.containerd.ctr("task", "rm", cri_pod.id, check=False)
    assert not kata.qemu_of(cri_pod.id)
    # containerd 1.6 forgets the task, 2 shows that it has ended.
    assert cri_pod.tasks().get(first, (0, "STOPPED"))[1] == "STOPPED"


def test_qemu_dies(cri_pod):
    """All containers have ended, each is removed quickly, nothing is left."""
    names = [cri_pod.add(), cri_pod.add()]
    (qemu,) = kata.qemu_of(cri_pod.id)
    os.kill(qemu, signal.SIGKILL)
    for name in (cri_pod.id, *names):
        cri_pod.wait_status(name, "STOPPED")
    done = cri_pod.exec(names[0], "true", check=False)
    assert done.returncode != 0
    for name in (*names, cri_pod.id):
        start = time.monotonic()
        cri_pod.delete(name)
        assert time.monotonic() - start < limit(3)
    assert not kata.shim_of(cri_pod.id) and not kata.virtiofsd_of(cri_pod.id)


def test_a_container_without_its_sandbox(containerd, shm):
    """A member of a pod that does not run is refused, by name."""
    pod = Pod(containerd, shm, start=False)
    with pytest.raises(RuntimeError, match=pod.id):
        pod.add(share=())
    pod.remove()
