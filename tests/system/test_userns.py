# SPDX-License-Identifier: Apache-2.0
"""User namespaces: `ctr run --uidmap --gidmap`, whose root is nobody special outside, and mounts with mapped ids.

What runc does is the measure, as far as the runc of the machine can do it: idmapped mounts came with its version 1.2.
"""

import json
import os
import pathlib
import subprocess

import pytest
from conftest import IMAGE, Sandbox, daemon
from patience import wait
from test_volumes import Volume

FIRST = 100000
COUNT = 65536
MAPS = ("--uidmap", f"0:{FIRST}:{COUNT}", "--gidmap", f"0:{FIRST}:{COUNT}")
RUNC = "io.containerd.runc.v2"

LOOK = """
id
tr -s ' ' </proc/self/uid_map
tr -s ' ' </proc/self/gid_map
stat -c '%n %u:%g %a' / /bin /bin/busybox /etc /tmp /dev /dev/shm
stat -c '%n %t:%T %a' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty
touch /mine && chown 7:8 /mine && stat -c '%u:%g' /mine
chown 70000 /mine 2>&1
mkdir /dev/shm/a && stat -c '%u:%g' /dev/shm/a
mknod /tmp/null c 1 3 2>&1
mkdir /m && mount -t tmpfs none /m 2>&1
cat /dev/null; head -c 3 /dev/zero | wc -c
cp /bin/busybox /tmp/su && chmod 4755 /tmp/su && ln -s su /tmp/id && stat -c '%u %a' /tmp/su
hostname
ulimit -n
grep ^Cap /proc/self/status | grep -v Bnd
ls -d /sys/class /proc/1/root
"""


@pytest.fixture(name="passable", autouse=True)
def fixture_passable(containerd):
    """Root of a user namespace has to get to the root file system through the daemon's folder, which is ours alone."""
    containerd.dir.chmod(0o711)


@pytest.fixture(name="files")
def fixture_files(tmp_path):
    """A folder and a file of root's, which nobody else may read, and a file of user 1000's."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "secret").write_text("secret\n")
    (folder / "secret").chmod(0o600)
    (folder / "theirs").write_text("theirs\n")
    os.chown(folder / "theirs", 1000, 1000)
    return folder


def labels(containerd):
    """How the snapshotter can give the root file system other owners: a changed copy, or a mapping for the runtime."""
    return ((), ("--remap-labels",)) if containerd.version == "2" else ((),)


def both(containerd, name, script, *options):
    """What a script says under kata, and what under runc."""
    done = [containerd.run(IMAGE, f"{name}{n}", "sh", "-c", script, options=options, runtime=runtime, check=False)
            for n, runtime in enumerate((daemon.RUNTIME, RUNC))]
    for n in range(2):
        containerd.ctr("container", "rm", f"{name}{n}", check=False)
    assert done[1].returncode == 0, done[1].stderr
    return done[0].stdout + done[0].stderr if done[0].returncode else done[0].stdout, done[1].stdout


def bind(source, target, *options):
    return ("--mount", f"type=bind,src={source},dst={target},options={':'.join(options)}")


def test_as_runc(containerd, name):
    """Users, owners, devices, capabilities and what is refused, line by line."""
    for how in labels(containerd):
        ours, runcs = both(containerd, name, LOOK, *MAPS, *how)
        ours = ours.replace("kata", "")
        assert ours.splitlines()[0] == "uid=0(root) gid=0(root) groups=0(root)"
        assert f" 0 {FIRST} {COUNT}" in ours.splitlines()
        different = {line for line in ours.splitlines() if line not in runcs.splitlines()}
        assert not {line for line in different if line != "vm"}, f"{how}\n{ours}\n--- runc:\n{runcs}"


@pytest.mark.once
def test_options(containerd, name):
    """Another user, a read-only root, privileges: what each means inside."""
    another = "id -u; id -g; touch /x 2>&1; touch /tmp/y && stat -c %u:%g /tmp/y"
    for options, script in ((("--user", "1000:1000"), another), (("--read-only",), "touch /x 2>&1; true"),
                            (("--privileged",), "id -u; grep CapEff /proc/self/status; touch /x; stat -c %u /x")):
        ours, runcs = both(containerd, name, script, *MAPS, *options)
        assert ours == runcs, options


def test_exec(containerd, name):
    """More processes are in the same namespaces, as whoever they are to be."""
    sandbox = Sandbox(containerd, name, "sleep", "600", options=MAPS)
    script = "for n in user mnt ipc uts pid; do test $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) || echo $n; done"
    assert sandbox.exec("sh", "-c", f"{script}; id -u; touch /r; stat -c %u /r").stdout == "0\n0\n"
    done = sandbox.exec("sh", "-c", "id -u; touch /tmp/u; stat -c %u /tmp/u; echo >/dev/null; touch /x",
                        options=("--user", "1000:1000"))
    assert done.stdout == "1000\n1000\n"
    assert "Permission denied" in done.stderr


def test_setuid(containerd, name):
    """Programs of the container's root give its rights, and no others."""
    sandbox = Sandbox(containerd, name, "sleep", "600", options=(*MAPS, "--allow-new-privs"))
    sandbox.exec("sh", "-c", "cp /bin/busybox /tmp/x && chmod 4755 /tmp/x && mv /tmp/x /bin/su; "
                 "echo root:x:0:0::/:/bin/sh >/etc/passwd; echo 'root::0:0:::::' >/etc/shadow")
    done = sandbox.exec("/bin/su", "root", "-c", "id -u; tr -s ' ' </proc/self/uid_map", options=("--user", "1000:1000"))
    assert done.stdout == f"0\n 0 {FIRST} {COUNT}\n", done.stderr


def test_limits(containerd, name):
    """Limits hold, whoever the process is outside."""
    done = containerd.run(IMAGE, name, "sh", "-c", "x=x; while :; do x=$x$x; done", check=False,
                          options=(*MAPS, "--memory-limit", str(64 << 20)))
    assert done.returncode == 137


@pytest.mark.once
def test_network(containerd, name):
    """The network is the VM's and not this root's: what it can have of it are all ports."""
    script = "nc -l -p 80 -e true & until echo | nc 127.0.0.1 80; do :; done; ifconfig lo mtu 1000 2>&1"
    text = containerd.run(IMAGE, name, "sh", "-c", script, options=MAPS, check=False).stdout
    assert "not permitted" in text.lower(), text


def test_volume(containerd, name, files):
    """What is root's on disk is root's inside, and the other way round: a folder, a file, both ways and read-only."""
    script = "stat -c '%n %u:%g' /v /v/* /one; cat /v/secret /one; echo new >/v/new; mkdir /v/dir; chown 7:8 /v/dir; " \
        "touch /v/new; touch /ro/x 2>&1; cat /ro/secret"
    options = (*bind(files, "/v", "rbind", "rw", "idmap"), *bind(files / "secret", "/one", "bind", "ro", "idmap"),
               *bind(files, "/ro", "rbind", "ro", "ridmap"))
    text = containerd.run(IMAGE, name, "sh", "-c", script, options=(*MAPS, *options)).stdout
    assert text.splitlines() == ["/v 0:0", "/v/secret 0:0", "/v/theirs 1000:1000", "/one 0:0", "secret", "secret",
                                 "touch: /ro/x: Read-only file system", "secret"]
    assert (files / "new").read_text() == "new\n"
    assert (files / "new").stat().st_uid == (files / "new").stat().st_gid == 0
    assert ((files / "dir").stat().st_uid, (files / "dir").stat().st_gid) == (7, 8)
    assert not (files / "x").exists()


def test_volume_as_it_is(containerd, name, files):
    """Without a mapping files belong to nobody, as under runc."""
    script = "stat -c '%n %u:%g' /v /v/*; cat /v/theirs; cat /v/secret 2>&1; touch /v/x 2>&1; true"
    ours, runcs = both(containerd, name, script, *MAPS, *bind(files, "/v", "rbind", "rw"))
    assert ours == runcs
    assert "/v/secret 65534:65534" in ours


@pytest.mark.once
def test_live_volume(containerd, name, tmp_path):
    """The guest's copy of what kubelet changes has the owners that a mapped mount would show, and keeps up."""
    volume = Volume(tmp_path, {"key": b"one"}, "secret", 0o400)
    os.chown(volume.path / "..data/key", 1000, 2000)
    sandbox = Sandbox(containerd, name, "sleep", "600", options=(*MAPS, *bind(volume.path, "/cfg", "rbind", "ro", "idmap")))
    look = "stat -Lc '%u:%g' /cfg /cfg/key; cat /cfg/key; sed -n 's|.* /cfg \\([a-z]*\\) .*|\\1|p' /proc/mounts"
    assert sandbox.exec("sh", "-c", look).stdout == "0:0\n1000:2000\nonetmpfs\n"
    volume.update({"key": b"two"})
    wait("the new text", lambda: sandbox.exec("sh", "-c", look).stdout == "0:0\n0:0\ntwotmpfs\n", 10)


def run_config(containerd, name, tmp_path, change, *command):
    """A container from a config.json, as `change` makes it; its root file system is a folder."""
    root = tmp_path / "root"
    if not root.exists():
        root.mkdir()
        for folder in ("bin", "dev", "proc", "sys", "tmp", "v"):
            (root / folder).mkdir()
        (root / "bin/busybox").write_bytes(pathlib.Path("/bin/busybox").read_bytes())
        (root / "bin/busybox").chmod(0o755)
        for link in ("sh", "stat", "cat", "touch", "mkdir"):
            (root / "bin" / link).symlink_to("busybox")
    spec = json.loads(containerd.ctr("oci", "spec").stdout)
    spec["root"] = {"path": str(root)}
    spec["process"]["args"] = list(command)
    spec["process"]["terminal"] = False
    spec["mounts"] = [m for m in spec["mounts"] if m["destination"] in ("/proc", "/dev", "/sys")]
    change(spec)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(spec))
    return containerd.ctr("run", "--rm", "--runtime", daemon.RUNTIME, "--config", path, name, check=False)


def mapping(inside, outside, size):
    return [{"containerID": inside, "hostID": outside, "size": size}]


@pytest.mark.once
def test_own_mappings(containerd, name, files, tmp_path):
    """A mount may have mappings of its own, without a user namespace, too."""

    def change(spec):
        spec["mounts"].append({"destination": "/v", "type": "bind", "source": str(files), "options": ["rbind"],
                               "uidMappings": mapping(0, 0, 1) + mapping(1000, 2000, 10), "gidMappings": mapping(1000, 3000, 1)})

    done = run_config(containerd, name, tmp_path, change, "/bin/sh", "-c",
                      "stat -c '%n %u:%g' /v /v/*; touch /v/x")
    assert done.stdout.splitlines() == ["/v 0:65534", "/v/secret 0:65534", "/v/theirs 2000:3000"], done.stderr
    assert "Value too large" in done.stderr or "overflow" in done.stderr.lower()


@pytest.mark.once
def test_refused(containerd, name, files, tmp_path):
    """What cannot be mapped is said, with the mount, the file system and the remedy."""

    def half(spec):
        spec["mounts"].append({"destination": "/v", "type": "bind", "source": str(files), "options": ["rbind"],
                               "uidMappings": mapping(0, 0, 1)})

    def nothing(spec):
        spec["mounts"].append({"destination": "/v", "type": "bind", "source": str(files), "options": ["rbind", "idmap"]})

    def guests(spec):
        spec["mounts"].append({"destination": "/v", "type": "bind", "source": "/sys", "options": ["rbind"],
                               "uidMappings": mapping(0, 5, 1), "gidMappings": mapping(0, 5, 1)})

    def twice(spec):
        spec["mounts"].append({"destination": "/v", "type": "bind", "source": str(files), "options": ["rbind"],
                               "uidMappings": mapping(0, 5, 9) + mapping(3, 5, 9), "gidMappings": mapping(0, 5, 1)})

    for change, text in ((half, "mount /v: needs both uidMappings and gidMappings"), (nothing, 'mount /v: "idmap" needs'),
                         (guests, "mount /v: its ids cannot be mapped"), (twice, "make a user namespace")):
        done = run_config(containerd, name, tmp_path, change, "/bin/sh")
        assert done.returncode != 0 and text in done.stderr, done.stderr
        containerd.ctr("container", "rm", name, check=False)


@pytest.mark.once
def test_file_system_cannot(containerd, name, tmp_path):
    """overlay cannot have its ids mapped; the error names it."""
    folders = [tmp_path / f for f in ("lower", "upper", "work", "merged")]
    for folder in folders:
        folder.mkdir()
    where = ",".join(f"{key}={folder}" for key, folder in zip(("lowerdir", "upperdir", "workdir"), folders))
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", where, folders[3]], check=True)
    try:
        done = containerd.run(IMAGE, name, "true", options=(*MAPS, *bind(folders[3], "/v", "rbind", "idmap")), check=False)
        assert done.returncode != 0
        for part in (str(folders[3]), "overlay of this kernel cannot", "hostUsers: true"):
            assert part in done.stderr
    finally:
        subprocess.run(["umount", folders[3]], check=True)
