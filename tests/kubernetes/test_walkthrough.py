# SPDX-License-Identifier: Apache-2.0
"""What introductions to sandboxed containers have their readers do, on a node of real parts."""

import os
import pathlib
import re

import kata
import leaks
import pods
import pytest
from patience import limit, wait

HTTP_SERVER = ["python3", "-m", "http.server", "8080"]
FEDORA = "registry.fedoraproject.org/fedora:latest"


@pytest.mark.smoke
def test_runs(pod, handler):
    """The shortest of all: a pod, its log, a command in it, its end."""
    p = pod("sh", "-c", "echo hello; exec sleep 100000")
    wait("the log", lambda: p.logs() == "hello\n", 10)
    assert p.output("hostname") == p.name
    assert len(kata.qemu_of(p.sandbox)) == (handler == "kata")


@pytest.mark.smoke
def test_two_runtimes_on_one_node(node, pod):
    """Two runtime classes, and a web server in each."""
    for name, handler in (("kata-rc", "kata"), ("runc-rc", "runc")):
        node.api.create({"kind": "RuntimeClass", "metadata": {"name": name}, "handler": handler})
    try:
        lines = node.kubectl("get", "runtimeclass", "--no-headers").stdout.splitlines()
        assert {("kata-rc", "kata"), ("runc-rc", "runc")} <= {tuple(line.split()[:2]) for line in lines}

        servers = {handler: pod(image=pods.NGINX, name=f"nginx-on-{handler}", handler=f"{handler}-rc", wait=None)
                   for handler in ("runc", "kata")}
        for server in servers.values():
            server.wait_ready()
            shown = node.kubectl("get", "pod", server.name, "--no-headers").stdout.split()
            assert shown[1:3] == ["1/1", "Running"]
            wait(f"{server.name} answers", lambda s=server: answers(node, s.ip, 80), 30)

        for handler, release in (("runc", os.uname().release), ("kata", guest_release(node))):
            shown = servers[handler].output("uname", "-a", options=("-it",)).split()
            assert shown[:3] == ["Linux", f"nginx-on-{handler}", release]
    finally:
        for name in ("kata-rc", "runc-rc"):
            node.api.delete("RuntimeClass", name)


def answers(node, address, port):
    try:
        return node.http(address, port)[0] == 200
    except OSError:
        return False


def guest_release(node):
    """The version in the guest's kernel image."""
    image = (node.build / "image/vmlinux.container").read_bytes()
    return re.search(rb"Linux version (\S+) ", image)[1].decode()


def test_qemu_of_the_pod(pod):
    """What ps shows of the VM, with all devices in its command line when it boots."""
    p = pod(handler="kata", metadata={"annotations": {"io.katacontainers.config.factory.enable_template": "false"}})
    (qemu,) = kata.qemu_of(p.sandbox)
    words = kata.cmdline(qemu)
    line = " ".join(words)
    assert pathlib.Path(words[0]).name.startswith("qemu-system-x86_64")
    assert words[words.index("-name") + 1].startswith(f"sandbox-{p.sandbox}")
    assert re.fullmatch(r"[0-9a-f-]{36}", words[words.index("-uuid") + 1])
    assert words[words.index("-machine") + 1].startswith("q35,")
    assert words[words.index("-qmp") + 1].startswith(f"unix:/run/vc/vm/{p.sandbox}/qmp.sock,")
    assert words[words.index("-m") + 1].startswith("2048M,slots=10,maxmem=")
    mac = p.output("cat", "/sys/class/net/eth0/address")
    for part in ("virtio-serial-pci", f"/run/vc/vm/{p.sandbox}/console.sock", "virtio-scsi-pci", "virtio-rng-pci",
                 "vhost-user-fs-pci", "tag=kataShared", "-netdev tap,", f"virtio-net-pci,.*mac={mac}"):
        assert re.search(part, line), f"no {part} in {line}"
    assert "kata-containers-initrd.img" in line or "nvdimm" in line
    assert len(kata.shim_of(p.sandbox)) == 1
    assert kata.virtiofsd_of(p.sandbox)


@pytest.mark.smoke
def test_example_fedora(node, pod, handler):
    """A pod with a web server of Python: from its events to its answer."""
    p = pod(*HTTP_SERVER, image=FEDORA, name="example-fedora", wait="ready",
            container={"imagePullPolicy": "Always", "ports": [{"containerPort": 8080}]})
    wait("the server answers", lambda: answers(node, p.ip, 8080), 60)
    reasons = [reason for reason, _ in node.api.events(p.name)]
    assert [r for r in ("Scheduled", "Pulling", "Pulled", "Created", "Started") if r not in reasons] == []
    described = node.kubectl("describe", "pod", p.name).stdout
    assert re.search(rf"Runtime Class Name:\s+{handler}\b", described)


def test_without_a_class(pod):
    """Beside one in a VM, a pod that asks for nothing runs under runc."""
    sandboxed = pod(name="example-fedora", handler="kata", wait=None)
    vanilla = pod(name="example-fedora-vanilla", handler=None)
    sandboxed.wait_running()
    assert not kata.qemu_of(vanilla.sandbox)
    assert len(kata.qemu_of(sandboxed.sandbox)) == 1


def test_uptime(pod, handler):
    """The age of the VM, or of the node."""
    p = pod()
    node_before = float(pathlib.Path("/proc/uptime").read_text().split()[0])
    inside = float(p.output("cat", "/proc/uptime").split()[0])
    if handler == "runc":
        assert inside >= node_before - 1
    else:
        (qemu,) = kata.qemu_of(p.sandbox)
        started = int(pathlib.Path(f"/proc/{qemu}/stat").read_text().rpartition(")")[2].split()[19])
        now = float(pathlib.Path("/proc/uptime").read_text().split()[0])
        # A clone's clock began when its template booted, and stood still while that was saved.
        assert 0 < inside <= now - started / os.sysconf("SC_CLK_TCK") + limit(30)
        assert inside < node_before


def test_cmdline(pod, handler):
    """The guest kernel's parameters, or the node's."""
    p = pod()
    ours = pathlib.Path("/proc/cmdline").read_text().strip()
    inside = p.output("cat", "/proc/cmdline")
    if handler == "runc":
        assert inside == ours
    else:
        assert inside != ours
        assert "agent.log=" in inside


def test_nproc(pod, handler):
    """One processor by default, or all of the node's."""
    assert int(pod().output("nproc")) == (1 if handler == "kata" else len(os.sched_getaffinity(0)))


def test_sandbox_id(node, pod, handler):
    """From the container's ID in the status to the one QEMU of its sandbox."""
    p = pod()
    path = "jsonpath={.status.containerStatuses[*].containerID}"
    shown = node.kubectl("get", "pod", p.name, "-o", path).stdout
    assert shown == f"containerd://{p.container_id()}"
    everywhere = [pid for pid in kata.processes(r"qemu-system\S* ") if p.sandbox in " ".join(kata.cmdline(pid))]
    assert len(everywhere) == (handler == "kata")


@pytest.mark.usefixtures("handler")
def test_wrong_image(node, pod):
    """The error is in the status; deleted and made anew with a right one, the pod runs."""
    p = pod(image="registry.example/none:latest", name="example", wait=None)
    message = p.wait("ErrImagePull", lambda status: next(
        (c["state"]["waiting"].get("message") for c in status.get("containerStatuses", [])
         if c["state"].get("waiting", {}).get("reason") in ("ErrImagePull", "ImagePullBackOff")), None))
    assert "registry.example/none" in message
    p.delete()
    assert node.api.get("Pod", "example") is None
    pod(name="example").wait_running()


@pytest.mark.usefixtures("handler")
def test_wrong_command(pod):
    """A program that is not there: CreateContainerError or RunContainerError, with its name."""
    p = pod("/no/such/program", wait=None)
    message = p.wait("the error", lambda status: next(
        (state.get("message") for c in status.get("containerStatuses", []) for kind in ("state", "lastState")
         for state in c[kind].values() if "/no/such/program" in (state.get("message") or "")), None))
    assert "no such file" in message.lower()


@pytest.mark.usefixtures("handler")
def test_delete_leaves_nothing(node, pod):
    """Deleted with kubectl, as a person does it: all that was there for the pod is gone when it returns, or soon."""
    before = leaks.snapshot(node.leak_folders())
    p = pod()
    names = {p.uid, *p.ids()}
    assert [x for x in leaks.snapshot(node.leak_folders()) - before if any(name in x for name in names)]
    node.kubectl("delete", "pod", p.name)
    assert leaks.after(before, names, node.leak_folders()) == []
    wait("the kubelet forgets the sandbox", lambda: not p.ids(), 120, every=0.5)
    there = [x for _, folders, files in os.walk(node.folder / "containerd") for x in folders + files]
    assert not [x for x in there if any(name in x for name in names)]
