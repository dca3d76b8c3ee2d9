# SPDX-License-Identifier: Apache-2.0
"""Raw block volumes (volumeMode: Block), and root file systems on block devices."""

import pods
import pytest
from loopdev import SECTOR, loop_device, loops_of, numbered
from patience import wait

both = pytest.mark.usefixtures("handler")
SIZE = 8 << 20


@pytest.fixture(name="device")
def fixture_device(tmp_path):
    """A block device of numbered sectors that nobody has open any more when the test ends."""
    file = numbered(tmp_path / "disk")
    with loop_device(file) as device:
        yield device
        # A kubelet keeps a block volume by a loop device of its own, a while longer than the pod.
        wait("the end of the kubelet's loop device", lambda: not loops_of(device), 60)
    assert not loops_of(file), "somebody has the device open"


@pytest.fixture(name="claim")
def fixture_claim(node, device, objects):
    """A claim bound to a volume that is the device."""
    name = device.name
    objects("PersistentVolume", name, spec={
        "capacity": {"storage": str(SIZE)}, "accessModes": ["ReadWriteOnce"], "volumeMode": "Block",
        "storageClassName": "manual", "local": {"path": str(device)}, "persistentVolumeReclaimPolicy": "Retain",
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name]}]}]}}})
    objects("PersistentVolumeClaim", name, spec={
        "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": "manual", "volumeName": name,
        "resources": {"requests": {"storage": str(SIZE)}}})
    return name


def container(name="c", **more):
    return {"name": name, "image": pods.BUSYBOX, "command": pods.FOREVER,
            "volumeDevices": [{"name": "raw", "devicePath": "/dev/raw-disk"}], **more}


def spec(claim, *containers, **source):
    return {"volumes": [{"name": "raw", "persistentVolumeClaim": {"claimName": claim, **source}}],
            "containers": containers or [container()]}


READ = ("sh", "-c", f"dd if=/dev/raw-disk bs={SECTOR} skip=4711 count=1 2>/dev/null | head -c 15; wc -c </dev/raw-disk")


def write(sector, text):
    return ("sh", "-c", f"echo '{text}' | dd of=/dev/raw-disk bs={SECTOR} seek={sector} conv=notrunc")


def read(sector, text):
    return ("sh", "-c", f"dd if=/dev/raw-disk bs={SECTOR} skip={sector} count=1 2>/dev/null | head -c {len(text)}")


@both
@pytest.mark.parametrize("privileged", [False, True], ids=["plain", "privileged"])
def test_block_volume(claim, device, pod, privileged):
    """A device under the name that the pod wants, in both directions; the host's again when the pod has gone."""
    p = pod(spec=spec(claim, container(securityContext={"privileged": privileged})))
    assert p.output("stat", "-c", "%F", "/dev/raw-disk") == "block special file"
    assert p.output(*READ) == f"sector 00004711{SIZE}"
    p.output(*write(12, "written by the pod"))
    p.delete()
    assert device.read_bytes()[12 * SECTOR:].startswith(b"written by the pod\n")


@both
def test_shared_by_containers(claim, pod):
    """What one container of a pod writes the other reads, though it has read it before."""
    p = pod(spec=spec(claim, container("one"), container("two")))
    for writer, reader in (("one", "two"), ("two", "one"), ("one", "two")):
        p.output(*read(7, "x"), container=reader)
        p.output(*write(7, f"by {writer} now"), container=writer)
        assert p.output(*read(7, f"by {writer} now"), container=reader) == f"by {writer} now"


@both
def test_read_only_block_volume(claim, device, pod):
    p = pod(spec=spec(claim, readOnly=True))
    assert p.output(*READ) == f"sector 00004711{SIZE}"
    assert p.exec(*write(12, "no"), check=False).returncode != 0
    assert device.read_bytes()[12 * SECTOR:].startswith(b"sector 00000012")


@both
def test_next_pod_gets_the_data(claim, pod):
    first = pod(*write(5, "for the next"), wait=None, container={"volumeDevices": container()["volumeDevices"]},
                spec={"volumes": spec(claim)["volumes"], "restartPolicy": "Never"})
    first.wait_succeeded()
    first.delete()
    assert pod(spec=spec(claim)).output(*read(5, "for the next")) == "for the next"


def test_root_on_a_block_device(node, pod):
    """The handler kata-blk: containerd's blockfile snapshotter."""
    if node.generation == "1":
        pytest.skip("containerd 1.6 has one snapshotter for all pods")
    p = pod("sh", "-c", "echo kept >/kept; exec sleep 100000", handler="kata-blk")
    root = next(line.split() for line in p.output("cat", "/proc/mounts").splitlines() if line.split()[1] == "/")
    assert root[2] == "ext4" and root[0].startswith("/dev/"), root
    assert p.output("cat", "/kept") == "kept"
    assert p.output("cat", "/etc/hostname") == p.name
