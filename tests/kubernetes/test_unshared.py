# SPDX-License-Identifier: Apache-2.0
"""The handler kata-unshared: no folder of the host is shared with the guest. Root file systems are block devices, small files
and volumes of the API's objects are copied, an emptyDir is in the guest's memory, and clones share the template's."""

import os
import pathlib

import kata
import pytest

from patience import wait


@pytest.fixture(autouse=True)
def fixture_generation(node):
    if node.generation == "1":
        pytest.skip("containerd 1.6 has one snapshotter for all pods")


def container(name, script, **kwargs):
    return {"name": name, "image": "localhost/busybox:latest", "command": ["sh", "-ec", script], **kwargs}


def test_files_of_every_pod(pod):
    """What kubelet and containerd give to each: as runc shows it."""
    script = ("cat /etc/hosts | sed 's/^[0-9a-f.:]*\\t/IP /'; cat /etc/resolv.conf; test $(cat /etc/hostname) = $HOSTNAME; "
              "ls /var/run/secrets/kubernetes.io/serviceaccount; stat -c '%a %u %g' /etc/hosts /etc/resolv.conf /etc/hostname")
    outputs = []
    for handler in "runc", "kata-unshared":
        p = pod("sh", "-ec", script, handler=handler, spec={"hostname": "same", "restartPolicy": "Never"}, wait=None)
        p.wait_succeeded()
        outputs.append(p.logs())
    assert outputs[0] == outputs[1] and "same" in outputs[1]


def test_written_files_come_back(pod):
    """Termination messages, wherever they are; what is too large is lost, and the container ends all the same."""
    p = pod(handler="kata-unshared", wait="ended", spec={"restartPolicy": "Never", "containers": [
        container("file", "echo -n why >/dev/termination-log; exit 4"),
        container("other", "echo -n here >/tmp/end; exit 5", terminationMessagePath="/tmp/end"),
        container("long", "yes | head -c 3000000 >/dev/termination-log; exit 6",
                  terminationMessagePolicy="FallbackToLogsOnError")]})
    ends = {name: p.container(name)["state"]["terminated"] for name in ("file", "other", "long")}
    assert [(e["exitCode"], e.get("message", "")) for e in ends.values()] == [(4, "why"), (5, "here"), (6, "")]


def test_volumes(pod, objects):
    """Two containers see one emptyDir, with the group that the pod wants, and copies of the API's objects, whole or in part."""
    objects("ConfigMap", "unshared", data={"a": "one", "b": "two"})
    mounts = [{"name": "disk", "mountPath": "/disk"}, {"name": "config", "mountPath": "/config"},
              {"name": "config", "mountPath": "/part", "subPath": "b"}]
    p = pod(handler="kata-unshared", spec={
        "securityContext": {"fsGroup": 4321},
        "volumes": [{"name": "disk", "emptyDir": {}}, {"name": "config", "configMap": {"name": "unshared"}}],
        "containers": [container("writes", "echo hello >/disk/file; exec sleep 100000", volumeMounts=mounts),
                       container("reads", "exec sleep 100000", volumeMounts=mounts)]})
    wait("the other container's file", lambda: p.exec("test", "-s", "/disk/file", container="reads", check=False).returncode == 0, 10)
    assert p.output("cat", "/disk/file", "/config/a", "/part", container="reads") == "hello\nonetwo"
    assert p.output("stat", "-c", "%g", "/disk", container="reads") == "4321"


def test_what_cannot_be(pod, tmp_path):
    """A folder of the host is refused, and the event says why."""
    p = pod(handler="kata-unshared", wait=None, spec={
        "volumes": [{"name": "host", "hostPath": {"path": str(tmp_path)}}],
        "containers": [container("c", "exec sleep 100000", volumeMounts=[{"name": "host", "mountPath": "/host"}])]})
    wait("an event", lambda: "shared_fs" in p.describe(), 30)
    assert f"{tmp_path} is the host's" in p.describe()


@pytest.mark.skipif(bool(os.environ.get("KATA_TEST_BOOT")), reason="sandboxes boot")
def test_pods_share_memory(pod):
    pods = [pod(handler="kata-unshared") for _ in range(2)]
    inodes = set()
    for p in pods:
        (qemu,) = kata.qemu_of(p.sandbox)
        inodes |= {line.split()[4] for line in pathlib.Path(f"/proc/{qemu}/maps").read_text().splitlines()
                   if "/memfd:kata-template-" in line}
    assert len(inodes) == 1
