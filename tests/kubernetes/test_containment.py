# SPDX-License-Identifier: Apache-2.0
"""Pods without any limits that take all they can get: the VM is the limit, the node and its other pods go on."""

import kata
import pods
from patience import wait

MIB = 1 << 20


def rests(node, other):
    """The node is Ready, and another pod answers."""
    return node.running() and other.output("echo", "alive") == "alive"


def test_fork_bomb(node, pod):
    """Processes without end: in the guest. The pod can be deleted as any other."""
    other = pod(handler="runc", name="bystander")
    p = pod("sh", "-c", "sleep 2; f() { f | f & }; f; sleep 100000", handler="kata", wait=None)
    p.wait_running()
    (qemu,) = kata.qemu_of(p.sandbox)
    used = kata.cpu_seconds(qemu)
    wait("a busy guest", lambda: kata.cpu_seconds(qemu) - used > 5, 60)
    assert rests(node, other)
    p.delete(seconds=120)
    assert not kata.qemu_of(p.name)


def test_memory_hog(node, pod):
    """Memory without end: up to the VM's. The guest ends the process, the container is restarted or over."""
    other = pod(handler="runc", name="bystander")
    p = pod("sh", "-c", "tail /dev/zero", handler="kata", wait=None, spec={"restartPolicy": "Never"})
    phase = p.wait_ended(240)
    assert phase == "Failed" and p.container()["state"]["terminated"]["exitCode"] == 137
    assert rests(node, other)


def test_disk_filler(node, pod):
    """A pod with a limit of ephemeral storage that writes on is evicted; its writes are gone with it."""
    other = pod(handler="runc", name="bystander")
    p = pod("sh", "-c", "dd if=/dev/zero of=/big bs=1M count=64; sleep 100000", handler="kata", wait=None,
            container={"resources": {"limits": {"ephemeral-storage": "16Mi"}}})
    p.wait("the eviction", lambda status: status.get("reason") == "Evicted", 180)
    assert "ephemeral" in p.status["message"]
    assert rests(node, other)
