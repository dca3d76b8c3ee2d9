# SPDX-License-Identifier: Apache-2.0
"""Pods with user namespaces of their own (hostUsers: false)."""

import pods
import pytest
from patience import wait

COUNT = 65536
KATA = "kata-userns"  # see lib/nodeconfig.py

VOLUMES = {
    "volumes": [
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
        {"name": "words", "configMap": {"name": "kt-userns"}},
        {"name": "secrets", "secret": {"secretName": "kt-userns", "defaultMode": 0o400}},
    ],
}
MOUNTS = [{"name": v["name"], "mountPath": f"/{v['name']}"} for v in VOLUMES["volumes"]]


@pytest.fixture(name="objects")
def fixture_objects(node):
    """A ConfigMap and a Secret to mount."""
    metadata = {"name": "kt-userns"}
    node.api.create({"kind": "ConfigMap", "metadata": metadata, "data": {"word": "hello"}})
    node.api.create({"kind": "Secret", "metadata": metadata, "stringData": {"key": "sesame"}})
    yield
    for kind in ("ConfigMap", "Secret"):
        node.api.delete(kind, "kt-userns")


def spec(**more):
    return {"hostUsers": False, **more}


def outside(text):
    """The first id outside, from /proc/self/uid_map with one line for all ids of a pod."""
    inside, first, count = map(int, text.split())
    assert (inside, count) == (0, COUNT)
    return first


def test_handlers(node):
    """The node says which of its runtimes can do it; the runc of this machine may be older than 1.2, which cannot."""
    (found,) = node.api.list("Node")
    handlers = {h.get("name", ""): h.get("features", {}) for h in found["status"]["runtimeHandlers"]}
    assert handlers[KATA]["userNamespaces"] is True


@pytest.mark.usefixtures("objects")
def test_volumes(node, pod):
    """Root inside is nobody outside; it owns its volumes, and on disk they are root's."""
    p = pod(handler=KATA, container={"volumeMounts": MOUNTS}, spec=spec(**VOLUMES))
    assert outside(p.output("cat", "/proc/self/uid_map")) >= COUNT
    assert p.output("id", "-u") == "0"
    owners = p.output("stat", "-Lc", "%u:%g", "/", "/bin/sh", "/etc/hosts", "/etc/resolv.conf", "/disk", "/memory",
                      "/words/word", "/secrets/key", "/var/run/secrets/kubernetes.io/serviceaccount/token")
    assert set(owners.split()) == {"0:0"}, owners
    assert p.output("cat", "/words/word", "/secrets/key") == "hellosesame"
    p.exec("sh", "-ec", "echo x >/disk/file; chown 7:8 /disk/file; touch /disk/own; echo y >/memory/file; "
           "echo '#' >>/etc/hosts")
    folder = node.folder / "kubelet/pods" / p.uid / "volumes/kubernetes.io~empty-dir/disk"
    assert ((folder / "file").stat().st_uid, (folder / "file").stat().st_gid) == (7, 8)
    assert (folder / "own").stat().st_uid == 0


def test_one_namespace_for_the_pod(pod):
    """Its containers share it, with their processes, their memory and the network."""
    containers = [{"name": name, "image": pods.BUSYBOX, "command": pods.FOREVER} for name in ("a", "b")]
    p = pod(handler=KATA, spec=spec(containers=containers, shareProcessNamespace=True))
    look = ("sh", "-c", "for n in user ipc uts pid net; do readlink /proc/self/ns/$n; done")
    assert p.output(*look, container="a") == p.output(*look, container="b")
    assert p.output("sh", "-c", "ps | grep -c '[s]leep 100000'", container="a") == "2"
    p.exec("sh", "-ec", "nc -l -p 80 -e hostname & until echo | nc 127.0.0.1 80; do :; done", container="a")
    assert p.output("hostname", container="b") == p.name


def test_two_pods(pod):
    """Each has ids of its own."""
    made = [pod(handler=KATA, spec=spec(), wait=None) for _ in range(2)]
    firsts = set()
    for p in made:
        p.wait_running()
        firsts.add(outside(p.output("cat", "/proc/self/uid_map")))
    assert len(firsts) == 2


def test_user_and_group(pod):
    """runAsUser and fsGroup are ids of the namespace."""
    context = {"runAsUser": 1000, "runAsGroup": 2000, "fsGroup": 3000}
    p = pod(handler=KATA, container={"volumeMounts": MOUNTS[:2]},
            spec=spec(volumes=VOLUMES["volumes"][:2], securityContext=context))
    assert p.output("id", "-u") == "1000"
    for folder in ("/disk", "/memory"):
        assert p.output("stat", "-c", "%u:%g", folder) == "0:3000", folder
        assert p.output("sh", "-ec", f"touch {folder}/x; stat -c '%u:%g' {folder}/x") == "1000:3000", folder
    assert not p.exec("touch", "/x", check=False).returncode == 0


def test_sysctls(pod):
    """Those of the pod's network are set."""
    context = {"sysctls": [{"name": "net.ipv4.ip_local_port_range", "value": "20000 30000"},
                           {"name": "kernel.shm_rmid_forced", "value": "1"}]}
    p = pod(handler=KATA, spec=spec(securityContext=context))
    assert p.output("cat", "/proc/sys/net/ipv4/ip_local_port_range").split() == ["20000", "30000"]
    assert p.output("cat", "/proc/sys/kernel/shm_rmid_forced") == "1"


def test_runc_too_old(node, pod):
    """Where runc cannot do it, the kubelet says so and starts nothing, beside kata, which can."""
    (found,) = node.api.list("Node")
    features = {h.get("name", ""): h.get("features", {}) for h in found["status"]["runtimeHandlers"]}["runc"]
    p = pod(handler="runc", spec=spec(), wait=None)
    if features.get("userNamespaces"):
        p.wait_running()
        assert outside(p.output("cat", "/proc/self/uid_map")) >= COUNT
    else:
        wait("the refusal", lambda: any("user namespaces" in text for _, text in node.api.events(p.name)), 60)
        assert p.phase != "Running"
