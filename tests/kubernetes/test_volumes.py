# SPDX-License-Identifier: Apache-2.0
"""A pod's volumes: what is in them, who may write, what is shared with whom, what changes while they are mounted."""

import base64
import os
import pathlib
import stat
import subprocess
import tempfile

import pods
import pytest
from patience import wait

pytestmark = pytest.mark.usefixtures("handler")  # each with both


def mounted(*mounts, **volumes):
    """(container, spec) with volumes and (volume, path, further keys) mounts of the one container."""
    return {"container": {"volumeMounts": [{"name": name, "mountPath": path, **more} for name, path, more in mounts]},
            "spec": {"volumes": [{"name": name, **source} for name, source in volumes.items()]}}


def test_configmap_and_secret(pod, objects):
    """As files with modes, chosen keys, whole folders, environment; optional ones may be missing."""
    objects("ConfigMap", "cfg", data={"a.conf": "one\n", "b.conf": "two\n"}, binaryData={"raw": base64.b64encode(
        bytes(range(256))).decode()})
    objects("Secret", "key", stringData={"password": "s3cret"})
    p = pod(**{**mounted(("cfg", "/cfg", {}), ("some", "/some", {}), ("key", "/key", {"readOnly": True}), ("none", "/none", {}),
                         ("cfg", "/etc/one.conf", {"subPath": "a.conf"}),
                         cfg={"configMap": {"name": "cfg"}},
                         some={"configMap": {"name": "cfg", "items": [{"key": "b.conf", "path": "deep/b", "mode": 0o400}]}},
                         key={"secret": {"secretName": "key", "defaultMode": 0o440}},
                         none={"configMap": {"name": "missing", "optional": True}})})
    assert p.output("sh", "-c", "cd /cfg; echo *; cat a.conf b.conf").split("\n") == ["a.conf b.conf raw", "one", "two"]
    assert p.output("sh", "-c", "md5sum </cfg/raw") .split()[0] == "e2c865db4162bed963bfaa9ef6ac18f0"
    assert p.output("stat", "-Lc", "%a", "/some/deep/b") == "400"
    assert p.output("stat", "-Lc", "%a", "/key/password") == "440"
    assert p.output("cat", "/key/password", "/etc/one.conf") == "s3cretone"
    assert p.output("ls", "/none") == ""
    assert p.output("readlink", "/cfg/a.conf") == "..data/a.conf"
    assert p.exec("sh", "-c", "echo x >/cfg/a.conf", check=False).returncode != 0
    assert p.exec("sh", "-c", "echo x >/key/new", check=False).returncode != 0


def test_projected_and_downward(pod, objects):
    """A token for the API server, the cluster's certificate, the pod's own fields."""
    objects("Secret", "part", stringData={"x": "y"})
    p = pod(metadata={"labels": {"tier": "front"}}, **mounted(
        ("all", "/all", {}),
        all={"projected": {"sources": [
            {"secret": {"name": "part"}}, {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}},
            {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]}}))
    assert p.output("cat", "/all/x", "/all/labels") == 'ytier="front"'
    assert p.output("cat", "/all/token").count(".") == 2
    token = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert p.output("ls", token).split() == ["ca.crt", "namespace", "token"]


# Notes the names of inotify's events of /cfg in /events, and in /torn what of a snapshot does not belong together.
WATCHER = r"""
import ctypes, os, struct, threading
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.inotify_init()
assert libc.inotify_add_watch(fd, b'/cfg', 0x3c0) > 0  # IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE

def note():
    with open('/events', 'ab', 0) as events:
        while True:
            data = os.read(fd, 4096)
            while data:
                size = struct.unpack_from('iIII', data)[3]
                events.write(data[16:16 + size].rstrip(b'\0') + b'\n')
                data = data[16 + size:]

threading.Thread(target=note, daemon=True).start()
print('watching', flush=True)
while True:
    folder = '/cfg/' + os.readlink('/cfg/..data')
    try:
        first, second = (open(f'{folder}/{name}').read() for name in ('value', 'other'))
    except FileNotFoundError:
        continue  # it has been replaced meanwhile
    if first != second:
        print(first, second, file=open('/torn', 'a'))
"""


def test_configmap_update(pod, node, objects):
    """A change reaches the pod, whole, with inotify events for whoever waits for them; a subPath stays as it was."""
    objects("ConfigMap", "live", data={"value": "0", "other": "0"})
    p = pod("python3", "-c", WATCHER, image=pods.PYTHON, **mounted(
        ("live", "/cfg", {}), ("live", "/sub", {"subPath": "value"}), live={"configMap": {"name": "live"}}))
    wait("the watch", lambda: "watching" in p.logs(), 10)
    assert p.output("cat", "/cfg/value") == "0"
    node.api.patch("ConfigMap", "live", {"data": {"value": "1", "other": "1"}})
    # The kubelet looks every minute, and at once when something of the pod changes.
    node.api.patch("Pod", p.name, {"metadata": {"annotations": {"kick": "1"}}})
    wait("the new value", lambda: p.output("cat", "/cfg/value") == "1", 120)
    wait("an event", lambda: "..data" in p.output("cat", "/events").split(), 10)
    assert p.output("cat", "/sub") == "0"
    assert not p.exec("cat", "/torn", check=False).stdout


def test_empty_dir(pod):
    """Shared by the pod's containers, init containers too; on disk or in memory with a limit; gone with the pod."""
    mounts = {"volumeMounts": [{"name": "disk", "mountPath": "/disk"}, {"name": "memory", "mountPath": "/memory"}]}
    p = pod(spec={
        "volumes": [{"name": "disk", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}}],
        "initContainers": [{"name": "i", "image": pods.BUSYBOX, "command": ["sh", "-c", "echo init >/disk/x; echo init >/memory/x"],
                            **mounts}],
        "containers": [{"name": n, "image": pods.BUSYBOX, "command": pods.FOREVER, **mounts} for n in ("one", "two")]})
    assert p.output("cat", "/disk/x", "/memory/x", container="one").split() == ["init", "init"]
    p.output("sh", "-c", "echo one >/memory/y; echo one >/disk/y", container="one")
    assert p.output("cat", "/disk/y", "/memory/y", container="two").split() == ["one", "one"]
    assert "tmpfs" in p.output("sh", "-c", "grep ' /memory ' /proc/mounts", container="one")
    full = p.exec("dd", "if=/dev/zero", "of=/memory/big", "bs=1M", "count=9", container="two", check=False)
    assert full.returncode != 0 and "No space" in full.stderr
    p.output("rm", "/memory/big", container="one")


SERVER = """
import fcntl, os, socket
lock = open('/shared/lock', 'w')
fcntl.flock(lock, fcntl.LOCK_EX)
os.mkfifo('/shared/fifo')
s = socket.socket(socket.AF_UNIX)
s.bind('/shared/socket')
s.listen()
while True:
    c, _ = s.accept()
    c.sendall(c.recv(100).upper())
    c.close()
    open('/shared/fifo', 'w').write('through the fifo')
"""
CLIENT = """
import fcntl, socket
try:
    fcntl.flock(open('/shared/lock'), fcntl.LOCK_EX | fcntl.LOCK_NB)
    print('no lock')
except BlockingIOError:
    print('locked')
s = socket.socket(socket.AF_UNIX)
s.connect('/shared/socket')
s.sendall(b'hello')
print(s.recv(100).decode(), open('/shared/fifo').read())
"""


@pytest.mark.parametrize("kind", ["emptyDir", "hostPath"])
def test_between_containers(pod, tmp_path, kind):
    """A UNIX socket, a FIFO and a lock on a shared volume."""
    volume = {"emptyDir": {}, "hostPath": {"path": str(tmp_path)}}[kind]
    mounts = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}], "image": pods.PYTHON}
    p = pod(spec={"volumes": [{"name": "shared", kind: volume}], "containers": [
        {"name": "server", "command": ["python3", "-c", SERVER], **mounts},
        {"name": "client", "command": pods.FOREVER, **mounts}]})
    wait("the socket", lambda: "socket" in p.output("ls", "/shared", container="client"), 30)
    assert p.output("python3", "-c", CLIENT, container="client").splitlines() == ["locked", "HELLO through the fifo"]


def test_empty_dir_over_its_limit(pod, node):
    """Who exceeds sizeLimit is evicted, with the reason."""
    p = pod("sh", "-c", "dd if=/dev/zero of=/disk/big bs=1M count=20; exec sleep 100000", wait=None,
            **mounted(("disk", "/disk", {}), disk={"emptyDir": {"sizeLimit": "5Mi"}}))
    p.wait("the eviction", lambda status: status.get("reason") == "Evicted", 120)
    assert "exceeds the limit" in p.status["message"]


def test_host_path(pod, tmp_path):
    """A folder, a single file, a socket, read-only and not; what the host changes is seen."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("from the host\n")
    p = pod(**mounted(("folder", "/folder", {}), ("file", "/file", {"readOnly": True}), ("made", "/made", {}),
                      folder={"hostPath": {"path": f"{tmp_path}/folder"}}, file={"hostPath": {"path": f"{tmp_path}/file"}},
                      made={"hostPath": {"path": f"{tmp_path}/made", "type": "DirectoryOrCreate"}}))
    assert p.output("cat", "/file") == "from the host"
    assert p.exec("sh", "-c", "echo x >/file", check=False).returncode != 0
    p.output("sh", "-c", "echo back >/folder/x; chmod 640 /folder/x; chown 7:8 /folder/x; ln -s x /folder/link; touch /made/y")
    info = (tmp_path / "folder/x").stat()
    assert (tmp_path / "folder/x").read_text() == "back\n" and (info.st_uid, info.st_gid, info.st_mode & 0o777) == (7, 8, 0o640)
    assert os.readlink(tmp_path / "folder/link") == "x" and (tmp_path / "made/y").exists()
    (tmp_path / "folder/x").write_text("changed\n")
    wait("the change", lambda: p.output("cat", "/folder/x") == "changed", 10)


def test_wrong_type_of_host_path(pod, node, tmp_path):
    p = pod(wait=None, **mounted(("x", "/x", {}), x={"hostPath": {"path": f"{tmp_path}/none", "type": "Directory"}}))
    wait("the event", lambda: any(reason == "FailedMount" and "is not a directory" in text
                                  for reason, text in node.api.events(p.name)), 60)


def test_dev_of_the_host(pod, handler):
    """/dev as a hostPath is the machine's the container runs on: the guest's under kata, never the host's."""
    p = pod(**mounted(("dev", "/host-dev", {}), dev={"hostPath": {"path": "/dev"}}))
    seen = set(p.output("ls", "/host-dev").split())
    assert {"null", "zero"} <= seen
    if handler == "kata":
        assert "vport" in " ".join(seen) or "hvc0" in seen or "virtio-ports" in seen


def test_sub_path(pod, tmp_path):
    """Folders and files below a volume, with names from the environment; links that lead out are refused."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_text("deep\n")
    p = pod(spec={"volumes": [{"name": "v", "hostPath": {"path": str(tmp_path)}}]},
            container={"env": [{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                       "volumeMounts": [{"name": "v", "mountPath": "/b", "subPath": "a/b"},
                                        {"name": "v", "mountPath": "/file", "subPath": "a/b/file"},
                                        {"name": "v", "mountPath": "/new", "subPath": "made/by/kubelet"},
                                        {"name": "v", "mountPath": "/mine", "subPathExpr": "pods/$(WHO)"}]})
    assert p.output("cat", "/b/file", "/file").split() == ["deep", "deep"]
    p.output("touch", "/new/x", "/mine/y")
    assert (tmp_path / "made/by/kubelet/x").exists() and (tmp_path / f"pods/{p.name}/y").exists()
    (tmp_path / "evil").symlink_to("/etc")
    q = pod(wait=None, **mounted(("v", "/x", {"subPath": "evil"}), v={"hostPath": {"path": str(tmp_path)}}))
    q.wait_waiting("CreateContainerConfigError")


def test_sub_path_in_memory(pod, handler):
    """Of an emptyDir in memory: containers with the same subPath share it, under kata not with the whole volume."""
    def container(name, path):
        return {"name": name, "image": pods.BUSYBOX, "command": pods.FOREVER,
                "volumeMounts": [{"name": "memory", "mountPath": "/m", **({"subPath": path} if path else {})}]}

    p = pod(spec={"volumes": [{"name": "memory", "emptyDir": {"medium": "Memory"}}],
                  "containers": [container("whole", None), container("one", "sub"), container("two", "sub")]})
    p.output("sh", "-c", "echo shared >/m/x", container="one")
    assert p.output("cat", "/m/x", container="two") == "shared"
    seen = p.exec("cat", "/m/sub/x", container="whole", check=False).stdout
    assert seen == ("" if handler == "kata" else "shared\n")


def test_fs_group_and_owner(pod):
    """Volumes belong to fsGroup; files made there inherit it; the process has it among its groups."""
    p = pod(spec={"securityContext": {"runAsUser": 1001, "runAsGroup": 2002, "fsGroup": 3003, "supplementalGroups": [4004]},
                  "volumes": [{"name": "disk", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory"}}]},
            container={"volumeMounts": [{"name": "disk", "mountPath": "/disk"}, {"name": "memory", "mountPath": "/memory"}]})
    assert p.output("id") == "uid=1001 gid=2002 groups=2002,3003,4004"
    for folder in ("/disk", "/memory"):
        p.output("touch", f"{folder}/mine")
        assert p.output("stat", "-c", "%u:%g", f"{folder}/mine") == "1001:3003", folder
        assert stat.S_ISGID & int(p.output("stat", "-c", "%a", folder), 8), folder


def test_nested_mounts(pod, objects):
    """A secret inside of a ConfigMap's folder, and an emptyDir over a folder of the image."""
    objects("ConfigMap", "outer", data={"inner": "x"})
    objects("Secret", "inner", stringData={"k": "v"})
    p = pod(**mounted(("e", "/data", {}), ("s", "/data/secret", {}), e={"emptyDir": {}}, s={"secret": {"secretName": "inner"}}))
    assert p.output("cat", "/data/secret/k") == "v"


def test_mount_propagation(pod, node):
    """HostToContainer: what the host mounts below the volume later appears in the pod. The node's folder is a shared mount,
    which whatever the test has for temporary files need not be."""
    with tempfile.TemporaryDirectory(dir=node.folder) as folder:
        later = pathlib.Path(folder) / "later"
        later.mkdir()
        p = pod(**mounted(("v", "/v", {"mountPropagation": "HostToContainer"}), v={"hostPath": {"path": folder}}))
        subprocess.run(["mount", "-t", "tmpfs", "kata-test", later], check=True)
        try:
            (later / "file").write_text("mounted later\n")
            wait("the mount", lambda: p.exec("cat", "/v/later/file", check=False).stdout == "mounted later\n", 10)
        finally:
            # A guest may keep what it has looked at.
            subprocess.run(["umount", "--lazy", later], check=True)
        wait("its end", lambda: p.exec("ls", "/v/later", check=False).stdout == "", 10)
        p.delete()


def test_huge_pages(pod, tmp_path, handler):
    """A guest could not map the host's: kata says so."""
    subprocess.run(["mount", "-t", "hugetlbfs", "kata-test", tmp_path], check=True)
    try:
        p = pod(wait="running" if handler == "runc" else None,
                **mounted(("v", "/v", {}), v={"hostPath": {"path": str(tmp_path)}}))
        if handler == "kata":
            wait("the event", lambda: any("has huge pages of the host" in text for _, text in p.node.api.events(p.name)), 60)
        p.delete()
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_recursive_read_only(pod, tmp_path, handler):
    """What is mounted below a read-only volume can be written, unless the volume is read-only to its depth. Under kata a
    read-only volume always is."""
    (tmp_path / "deep").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "kata-test", tmp_path / "deep"], check=True)
    try:
        p = pod(**mounted(("v", "/plain", {"readOnly": True}),
                          ("v", "/whole", {"readOnly": True, "recursiveReadOnly": "IfPossible"}),
                          v={"hostPath": {"path": str(tmp_path)}}))

        def refused(path):
            return "Read-only" in p.exec("touch", path, check=False).stderr

        shown = [m["recursiveReadOnly"] for m in p.container()["volumeMounts"] if m["mountPath"] == "/whole"]
        assert refused("/plain/x") and refused("/whole/x")
        assert refused("/plain/deep/x") == (handler == "kata")
        assert refused("/whole/deep/x") == (handler == "kata" or shown == ["Enabled"])
        p.delete()
    finally:
        subprocess.run(["umount", "--lazy", tmp_path / "deep"], check=True)


def test_persistent_volume(pod, node, objects, tmp_path):
    """A claim bound to a volume of the host's file system keeps what a pod has written for the next."""
    host = {"capacity": {"storage": "64Mi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "manual",
            "hostPath": {"path": str(tmp_path)}, "persistentVolumeReclaimPolicy": "Retain"}
    objects("PersistentVolume", tmp_path.name.replace("_", "-"), spec=host)
    objects("PersistentVolumeClaim", "claim", spec={"accessModes": ["ReadWriteOnce"], "storageClassName": "manual",
                                                    "resources": {"requests": {"storage": "64Mi"}}})
    data = mounted(("data", "/data", {}), data={"persistentVolumeClaim": {"claimName": "claim"}})
    first = pod("sh", "-c", "echo kept >/data/x", wait=None, spec={**data["spec"], "restartPolicy": "Never"},
                container=data["container"])
    first.wait_succeeded()
    first.delete()
    assert pod(**data).output("cat", "/data/x") == "kept"


def test_image_volume(pod, node):
    """The files of an image, or a folder of them, never to be written; one that is not to be had is an event."""
    if node.generation == "1":
        pytest.skip("containerd 1.6 knows no image volumes")
    image = {"image": {"reference": pods.NGINX, "pullPolicy": "IfNotPresent"}}
    p = pod(**mounted(("site", "/site", {}), ("site", "/etc-nginx", {"subPath": "etc/nginx"}), site=image))
    assert "Welcome to nginx!" in p.output("cat", "/site/usr/share/nginx/html/index.html")
    assert p.output("ls", "/etc-nginx") == "nginx.conf"
    for path in ("/site/x", "/etc-nginx/x", "/site/etc/nginx/nginx.conf"):
        assert "Read-only" in p.exec("touch", path, check=False).stderr
    missing = {"image": {"reference": "localhost/no-such-image:latest"}}
    q = pod(wait=None, **mounted(("none", "/none", {}), none=missing))
    wait("the event", lambda: any("no-such-image" in text for _, text in node.api.events(q.name)), 60)


def test_root_file_system(pod):
    """What programs expect of one: links, renames, holes, locks, mmap, odd names, devices, O_DIRECT."""
    script = r"""
import fcntl, mmap, os, stat
os.makedirs('/t/d'); os.chdir('/t')
open('a', 'w').write('x' * 5000)
os.link('a', 'b'); assert os.stat('a').st_nlink == 2 and os.path.samefile('a', 'b')
os.rename('b', 'd/c'); assert not os.path.exists('b')
os.rename('/etc/passwd', '/t/passwd'); assert not os.path.exists('/etc/passwd')  # from a lower layer: a whiteout
os.rename('/t/passwd', '/etc/passwd')
with open('sparse', 'wb') as f:
    f.seek(5 << 30); f.write(b'end')
s = os.stat('sparse'); assert s.st_size == (5 << 30) + 3 and s.st_blocks * 512 < 1 << 20
with open('sparse', 'rb') as f:
    f.seek(5 << 30); assert f.read() == b'end'
f = open('a', 'r+b'); fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB); fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
m = mmap.mmap(f.fileno(), 4096); m[:5] = b'hello'; m.flush(); assert open('a').read(5) == 'hello'
names = ['with blank', 'new\nline', '-dash', 'üñí', 'x' * 255, "quote'\"", '\\back']
for n in names: open('d/' + n, 'w').close()
assert set(names) <= set(os.listdir('d'))
os.mkfifo('fifo'); os.mknod('null', stat.S_IFCHR | 0o666, os.makedev(1, 3)); assert open('null').read() == ''
os.symlink('/nowhere', 'link'); assert os.readlink('link') == '/nowhere'
fd = os.open('direct', os.O_RDWR | os.O_CREAT | os.O_DIRECT)
page = mmap.mmap(-1, 4096); page[:4] = b'page'; assert os.write(fd, page) == 4096
os.chown('a', 12, 34); os.chmod('a', 0o4751); s = os.stat('a'); assert (s.st_uid, s.st_gid, s.st_mode & 0o7777) == (12, 34, 0o4751)
os.utime('a', ns=(1, 123456789)); assert os.stat('a').st_mtime_ns == 123456789
os.remove('/usr/bin/env') if os.path.exists('/usr/bin/env') else None
os.truncate('a', 3); assert os.path.getsize('a') == 3
fd = os.open('unlinked', os.O_RDWR | os.O_CREAT); os.unlink('unlinked'); os.write(fd, b'still'); os.lseek(fd, 0, 0); assert os.read(fd, 9) == b'still'
for i in range(500): open(f'd/many{i}', 'w').close()
assert len([n for n in os.listdir('d') if n.startswith('many')]) == 500
print('all right')
"""
    p = pod("sh", "-c", "exec sleep 100000", image=pods.PYTHON)
    assert p.output("python3", "-c", script, timeout=60) == "all right"


def test_extended_attributes(pod, handler):
    """Off under kata, as Kata has them, unless virtio_fs_extra_args says otherwise."""
    script = "import os; os.setxattr('/disk', 'user.note', b'v' * 200); print(len(os.getxattr('/disk', 'user.note')))"
    p = pod(image=pods.PYTHON, container={"command": pods.FOREVER, "volumeMounts": [{"name": "disk", "mountPath": "/disk"}]},
            spec={"volumes": [{"name": "disk", "emptyDir": {}}]})
    done = p.exec("python3", "-c", script, check=False)
    assert "Operation not supported" in done.stderr if handler == "kata" else done.stdout == "200\n"
