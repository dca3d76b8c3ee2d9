# SPDX-License-Identifier: Apache-2.0
"""Published bugs of Kata, virtiofsd, runc and containerd's shim, tried as attacks: docs/cves.md has the list.

The attacker is root of the guest: a privileged container, which mounts the shared file systems itself.
"""

import os
import pathlib
import re
import stat
import subprocess

import pytest
from conftest import IMAGE, daemon, kata, ociimage, remove, unique

pytestmark = pytest.mark.once  # what is tested is the runtime, whoever calls it

SECRET = "the host's"
STRONG = (16, 17, 19, 21)  # capabilities: SYS_MODULE, SYS_RAWIO, SYS_PTRACE, SYS_ADMIN
# Sets a capability on a file; makes a file with a mode that the umask leaves alone; writes as another user.
HELPER = r"""
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    static const unsigned capability[5] = {0x02000001, 0x3fff, 0, 0, 0}; /* version 2, effective */
    char value[64];
    int fd;
    if (argc < 3)
        return 9;
    if (!strcmp(argv[1], "setcap"))
        return setxattr(argv[2], "security.capability", capability, sizeof(capability), 0) < 0;
    if (!strcmp(argv[1], "hascap"))
        return getxattr(argv[2], "security.capability", value, sizeof(value)) < 0;
    if (argc < 4)
        return 9;
    umask(0);
    if (setgroups(0, NULL) < 0 || setgid(atoi(argv[3])) < 0 || setuid(atoi(argv[3])) < 0)
        return 8;
    fd = open(argv[2], O_WRONLY | O_CREAT, 02755);
    return fd < 0 || write(fd, "x", 1) != 1;
}
"""


class Pod:
    """An attacker that is root of the guest, and containers that join it, with folders of the host."""

    def __init__(self, containerd, folder, options=()):
        self.containerd = containerd
        self.folder = folder
        self.id = unique("attacker")
        self.names = []
        volumes = [("rw", "/rw", "rw"), ("ro", "/ro", "ro"), ("ro/file", "/rofile", "ro"), ("tools", "/tools", "ro")]
        options = [*options, "--privileged"]
        for source, place, mode in volumes:
            options += ["--mount", f"type=bind,src={folder}/{source},dst={place},options=rbind:{mode}"]
        self.run("sandbox", self.id, *options)

    def run(self, kind, name, *options):
        self.names.append(name)
        self.containerd.ctr("run", "-d", "--runtime", daemon.RUNTIME, "--annotation",
                            f"io.kubernetes.cri.container-type={kind}", "--annotation",
                            f"io.kubernetes.cri.sandbox-id={self.id}", *options, IMAGE, name, "sleep", "3600")

    def add(self, name, *options):
        """A container like any other; returns its name."""
        self.run("container", name, *options)
        return name

    def task(self, name, *command, options=(), check=True):
        return self.containerd.ctr("task", "exec", "--exec-id", unique("x"), *options, name, *command, check=check)

    def attack(self, script):
        return self.task(self.id, "sh", "-c", script, check=False)

    def delete(self, name):
        self.names.remove(name)
        remove(self.containerd, name)

    def remove(self):
        for name in reversed(self.names):
            remove(self.containerd, name)


@pytest.fixture(name="folder", scope="module")
def fixture_folder(tmp_path_factory):
    """What the pod is given of the host, and `canary`, a mount of the host that nobody gave it."""
    folder = tmp_path_factory.mktemp("host")
    for name in ("rw", "ro", "tools", "canary"):
        (folder / name).mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "canary", folder / "canary"], check=True)
    for name in ("ro/file", "canary/file"):
        (folder / name).write_text(SECRET)
    (folder / "helper.c").write_text("#define _GNU_SOURCE\n#include <grp.h>\n" + HELPER)
    ociimage.program(folder / "helper.c", folder / "tools/helper")
    yield folder
    subprocess.run(["umount", folder / "canary"], check=True)


@pytest.fixture(name="pod", scope="module")
def fixture_pod(containerd, folder, config):
    path = config(virtio_fs_extra_args=["--xattr", "--xattrmap=:map:security.:user.virtiofsd.:"])
    pod = Pod(containerd, folder, ["--runtime-config-path", path])
    pod.attack("mkdir -p /g/volumes /g/roots && mount -t virtiofs kataShared /g/volumes && "
               "mount -t virtiofs kataRootfs /g/roots")
    yield pod
    pod.remove()


@pytest.fixture(name="victim", scope="module")
def fixture_victim(pod):
    """A container of the pod with what containerd gives everybody."""
    return pod.add(unique("victim"))


def check_host(folder):
    """What the pod must not change is as it was."""
    assert os.path.ismount(folder / "canary")
    assert sorted(os.listdir(folder / "canary")) == ["file"] and os.listdir(folder / "ro") == ["file"]
    for name in ("ro/file", "canary/file"):
        assert (folder / name).read_text() == SECRET
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o644


# Each must fail; $d is the root of a shared file system, $next the container to come, $canary a mount of the host.
PLANT = """
for d in /g/volumes /g/roots; do
    mount -o remount,rw $d
    one=$(ls $d | head -n 1); test -n "$one" || echo "empty $d"
    ln -s $canary $d/$next && echo "link $d"
    ln -s $canary $d/$next-0-rw && echo "volume $d"
    mkdir $d/$next && echo "folder $d"
    touch $d/file && echo "file $d"
    mknod $d/node b 8 0 && echo "node $d"
    mv $d/$one $d/aside && echo "move $d"
    rmdir $d/$one && echo "remove $d"
    umount $d/$one && ln -s $canary $d/$one && echo "unmount $d"
    mount --bind /rw $d && mkdir -p $d/../g && umount $d
done 2>/dev/null
mount | grep -c virtiofs
"""


def test_nothing_can_be_planted_for_the_runtime(pod, folder):
    """CVE-2020-2026, CVE-2020-2024: links that a guest had put where the runtime mounts a container's root file system,
    or unmounts it, had it mount and unmount anywhere on the host. They cannot be made, and nothing of the next
    container, its coming and its going, touches what they name."""
    name = unique("victim")
    done = pod.attack(f"next={name} canary={folder}/canary; {PLANT}")
    assert done.stdout.strip().isdigit() and int(done.stdout) > 0, done
    pod.add(name, "--mount", f"type=bind,src={folder}/rw,dst=/rw,options=rbind:rw")
    pod.attack(f"cd /g/roots/{name}/rootfs && rm -rf * ; ln -s {folder}/canary proc; ln -s {folder}/canary rw; "
               f"ln -s {folder}/canary /rw/link")
    assert os.readlink(folder / "rw/link") == f"{folder}/canary", "the attacker could not do what it may"
    pod.delete(name)
    check_host(folder)
    os.unlink(folder / "rw/link")


def test_read_only_volumes(pod, folder):
    """CVE-2020-28914: what the guest was to treat as read-only was writable for its root, which could mount it anew."""
    script = """
    v=$(ls -d /g/volumes/*-ro) f=$(ls /g/volumes/*-file) w=$(ls -d /g/volumes/*-rw)
    test -d "$v" && test -f "$f" && test -d "$w" || echo "not there"
    for d in / /ro /rofile /g/volumes $v; do mount -o remount,rw $d; mount -o remount,bind,rw $d; done
    for file in /ro/file /rofile $v/file $f; do
        echo changed >$file && echo "write $file"
        chmod 777 $file && echo "mode $file"
        chown 1 $file && echo "owner $file"
        touch -d 1990-01-01 $file && echo "time $file"
        ln $file $w/linked && echo "link $file"
    done
    for d in /ro $v; do
        touch $d/new && echo "make $d"
        rm -f $d/file && echo "remove $d"
        mv $d/file $w/moved && echo "move $d"
        rm $w/moved # a copy, which it may have
        mknod $d/node c 1 1 && echo "node $d"
    done
    echo done"""
    done = pod.attack(script)
    assert done.stdout == "done\n", done
    check_host(folder)
    assert os.listdir(folder / "rw") == []


def test_devices_of_the_guest(pod, victim):
    """CVE-2020-2023, CVE-2026-24834: a container with CAP_MKNOD, which all have, made a node of the guest's own disk or
    memory and changed the guest with it."""
    seen = pod.attack("cat /sys/class/block/*/dev").stdout.split()
    print(f"measured: block devices of the guest: {seen}")
    nodes = [("c", "1:1"), ("c", "1:11"), *(("b", number) for number in seen)]
    for kind, number in nodes:
        script = f"rm -f /n; mknod /n {kind} {number.replace(':', ' ')} && head -c 1 </n; head -c 1 >/n"
        done = pod.task(victim, "sh", "-c", script, check=False)
        assert done.returncode != 0 and done.stderr.count("Operation not permitted") == 2, (number, done)


def test_set_group_id(pod, folder):
    """CVE-2022-0358: virtiofsd kept root's groups, so that a user's new file could be set-group-id to a group that the
    user is not in."""
    shared = folder / "rw/group"
    shared.mkdir()
    os.chown(shared, 0, 0)
    shared.chmod(0o2777)
    assert pod.attack("/tools/helper create /rw/group/file 1000").returncode == 0
    made = (shared / "file").stat()
    (shared / "file").unlink()
    shared.rmdir()
    assert (made.st_uid, made.st_gid) == (1000, 0)
    assert not made.st_mode & stat.S_ISGID


def test_capabilities_of_a_changed_file(pod, folder):
    """CVE-2021-20263: with xattrmap, a file that another user changed kept the capabilities of the old content."""
    file = folder / "rw/program"
    file.write_text("old")
    file.chmod(0o777)
    done = pod.attack("/tools/helper setcap /rw/program && /tools/helper hascap /rw/program && "
                      "/tools/helper write /rw/program 1000; echo $?; /tools/helper hascap /rw/program; echo $?")
    content = file.read_text()
    file.unlink()
    assert done.stdout == "0\n1\n", done
    assert content.startswith("x")


def proc_status(pid):
    return dict(re.findall(r"^(\w+):\s+(.*)$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.MULTILINE))


def serving(pod):
    """The processes of virtiofsd that speak with the guest: the confined ones."""
    pids = kata.virtiofsd_of(pod.id)
    parents = {int(proc_status(pid)["PPid"]) for pid in pids}
    return [pid for pid in pids if pid not in parents]


def test_virtiofsd_is_confined(pod):
    """CVE-2026-47243: virtiofsd ran with --sandbox none and --seccomp none, and made links anywhere on the host for a
    guest that asked in its own words. Ours sees nothing but the share, and has few capabilities.

    CVE-2020-35517: a node that a guest had made opened the host's device. Nothing in the share can be opened as one."""
    pids = serving(pod)
    assert len(pids) == 2
    for pid in pids:
        status = proc_status(pid)
        assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1", status
        assert not int(status["CapEff"], 16) & sum(1 << number for number in STRONG), status
        for namespace in ("mnt", "net", "pid"):
            assert os.readlink(f"/proc/{pid}/ns/{namespace}") != os.readlink(f"/proc/self/ns/{namespace}")
        assert not set(os.listdir(f"/proc/{pid}/root")) & {"etc", "usr", "var"}
        mounts = [line.split() for line in pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
        assert len(mounts) > 2
        for mount in mounts:
            if mount[4] == "/" or pod.id in mount[4]:
                assert {"nosuid", "nodev"} <= set(mount[5].split(",")), mount
    assert pod.attack("mknod /rw/mem c 1 1").returncode == 0
    (mem,) = [path for pid in pids for path in pathlib.Path(f"/proc/{pid}/root").glob("*-rw/mem")]
    with pytest.raises(PermissionError):
        mem.open("rb")
    assert pod.attack("rm /rw/mem").returncode == 0


def test_open_files_are_limited(pod):
    """CVE-2020-10717: a guest that opened files without end took all that the host can have open."""
    most = min(int(pathlib.Path("/proc/sys/fs/file-max").read_text()) - 1, 1 << 20)
    for pid in serving(pod):
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        assert int(re.search(r"^Max open files\s+\d+\s+(\d+)", limits, re.MULTILINE)[1]) <= most


def test_own_program(pod, victim):
    """CVE-2019-5736: a container that executed /proc/self/exe had the runtime's own program open, and wrote to it."""
    pod.task(victim, "/proc/self/exe", "--listen", "unix:///tmp/a.sock", options=["-d"])
    script = """
    while ! test -e /tmp/a.sock; do sleep 0.1; done
    for p in /proc/[0-9]*; do
        exe=$(readlink $p/exe) || continue
        case $exe in */busybox) continue;; esac
        echo $exe
        chmod 0 $p/exe; sh -c ": >>$p/exe"; kill -9 ${p#/proc/}
    done"""
    done = pod.task(victim, "sh", "-c", script, check=False)
    assert len(done.stdout.splitlines()) == 1, done
    # Of the mode; of the content as well, where the kernel lets one write to a program that runs.
    assert re.search(r"chmod: \S+: Read-only file system", done.stderr), done
    assert re.search(r"can't create \S+: (Read-only file system|Text file busy)", done.stderr), done
    assert pod.task(victim, "echo", "alive").stdout == "alive\n"


def test_no_descriptors_come_along(pod, victim):
    """CVE-2024-21626: a descriptor of the runtime's, as a working directory, was the way to the host's files.

    CVE-2016-9962: so were those of a process that enters a container."""
    assert pod.task(victim, "ls", "/proc/self/fd", "/proc/1/fd").stdout.split() == \
        ["/proc/1/fd:", "0", "1", "2", "/proc/self/fd:", "0", "1", "2", "3"]
    for fd in range(3, 16):
        done = pod.task(victim, "ls", options=["--cwd", f"/proc/self/fd/{fd}"], check=False)
        assert done.returncode != 0 and done.stdout == "", fd


def test_no_inheritable_capabilities(pod, victim):
    """CVE-2022-24769, CVE-2022-29162, CVE-2022-27650: processes began with inheritable capabilities, which programs
    with file capabilities then had without right."""
    for name in (victim, pod.id):
        done = pod.task(name, "grep", "-h", "CapInh", "/proc/1/status", "/proc/self/status")
        assert done.stdout.split() == ["CapInh:", "0" * 16] * 2


def test_the_shims_sockets(pod):
    """CVE-2020-15257: containerd's shim listened on an abstract socket, which every process of the host's network
    namespace could open, root in a container of it among them."""
    (shim,) = kata.shim_of(pod.id)
    own = set()
    for fd in os.listdir(f"/proc/{shim}/fd"):
        found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"/proc/{shim}/fd/{fd}"))
        own |= {found[1]} if found else set()
    paths = [line.split()[7:] for line in pathlib.Path(f"/proc/{shim}/net/unix").read_text().splitlines()[1:]
             if line.split()[6] in own]
    paths = [path[0] for path in paths if path]
    assert paths
    for path in paths:
        assert not path.startswith("@")
        if os.path.exists(path):
            modes = [os.stat(place).st_mode & 0o077 for place in (path, os.path.dirname(path))]
            assert os.stat(path).st_uid == 0 and 0 in modes, path


@pytest.mark.parametrize("key,value", [
    ("path", "/bin/busybox"),
    ("virtio_fs_daemon", "/bin/busybox"),
    ("kernel", "/etc/shadow"),
    ("initrd", "/etc/shadow"),
    ("image", "/etc/shadow"),
    ("firmware", "/etc/shadow"),
    ("entropy_source", "/etc/shadow"),
    ("virtio_fs_extra_args", '["-o", "source=/", "--sandbox=none"]'),
])
def test_paths_in_annotations(containerd, name, key, value):
    """CVE-2020-27151: an annotation of a pod named the programs that the runtime starts as root.

    GHSA-rr59-xxvx-96qr: another gave virtiofsd arguments, so that it served the whole host."""
    annotation = f"io.katacontainers.config.hypervisor.{key}={value}"
    done = containerd.run(IMAGE, name, "true", options=["--annotation", annotation], check=False)
    assert done.returncode != 0
    assert key in done.stderr and "enable_annotations" in done.stderr
    assert not kata.qemu_of(name) and not kata.virtiofsd_of(name)
