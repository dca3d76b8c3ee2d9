# SPDX-License-Identifier: Apache-2.0
"""Block devices of the host in a container, and root file systems on them."""

import os
import pathlib
import subprocess

import pytest
from conftest import BUILD, IMAGE, Sandbox, daemon, remove, unique
from loopdev import SECTOR, loop_device, numbered
from test_resources import pod_options

pytestmark = pytest.mark.once  # what is tested is the runtime, whoever calls it

@pytest.fixture(name="file")
def fixture_file(tmp_path):
    """8 MiB whose every sector says its number."""
    return numbered(tmp_path / "disk")


@pytest.fixture(name="device")
def fixture_device(file):
    with loop_device(file) as device:
        yield device


def open_devices(sandbox, device):
    """How many descriptors QEMU has of this device."""
    folder = pathlib.Path(f"/proc/{sandbox.qemu}/fd")
    return sum(os.readlink(fd) == str(device) for fd in folder.iterdir())


@pytest.mark.parametrize("driver", ["virtio-scsi", "virtio-blk"])
def test_device(containerd, name, config, file, device, driver):
    """--device of a block device: its data, in both directions, under the name that it has on the host."""
    script = (f"dd if={device} bs={SECTOR} skip=4711 count=1 2>/dev/null | head -c 15; echo; "
              f"echo written by the guest | dd of={device} bs={SECTOR} seek=12 conv=notrunc,fsync 2>/dev/null; "
              f"wc -c <{device}")
    done = containerd.run(IMAGE, name, "sh", "-c", script,
                          options=["--device", device, "--runtime-config-path", config(block_device_driver=driver)])
    assert done.stdout.splitlines() == ["sector 00004711", str(8 << 20)]
    assert device.read_bytes()[12 * SECTOR:].startswith(b"written by the guest\n")
    assert file.read_bytes()[11 * SECTOR:].startswith(b"sector 00000011")


def test_only_the_given_device(containerd, name, device):
    """Others in the same VM do not get it, not even by its numbers."""
    sandbox = Sandbox(containerd, name, "sleep", "600", options=pod_options())
    second = unique()
    try:
        owner = Sandbox(containerd, second, "sleep", "600", options=["--device", device, *pod_options(name)])
        numbers = owner.exec("stat", "-c", "%t %T", device).stdout.split()
        major, minor = (str(int(n, 16)) for n in numbers)
        done = sandbox.exec("sh", "-c", f"mknod /tmp/d b {major} {minor} && head -c 1 /tmp/d")
        assert done.returncode != 0 and done.stdout == ""
        assert owner.exec("head", "-c", "6", device).stdout == "sector"
    finally:
        remove(containerd, second)


def test_the_host_gets_its_device_back(containerd, name, device):
    """When the container is removed, not only when its pod ends."""
    sandbox = Sandbox(containerd, name, "sleep", "600", options=pod_options())
    second = unique()
    try:
        Sandbox(containerd, second, "sleep", "600", options=["--device", device, *pod_options(name)])
        assert open_devices(sandbox, device) > 0
    finally:
        remove(containerd, second)
    assert open_devices(sandbox, device) == 0
    assert sandbox.exec("true").returncode == 0


def test_device_that_is_no_block_device(containerd, name):
    done = containerd.run(IMAGE, name, "true", options=["--device", "/dev/kmsg"], check=False)
    assert done.returncode != 0 and "/dev/kmsg" in done.stderr


# --- root file systems ---

@pytest.fixture(name="blockfile", scope="module")
def fixture_blockfile(tmp_path_factory, config, archives):
    """A containerd 2 whose snapshots are files with an ext4 each."""
    folder = tmp_path_factory.mktemp("blockfile")
    scratch = folder / "scratch"
    scratch.touch()
    os.truncate(scratch, 64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", scratch], check=True)
    with daemon.Containerd("2", BUILD, config=config(), snapshotters={
            "blockfile": {"root_path": folder / "snapshots", "scratch_file": scratch, "fs_type": "ext4"}}) as c:
        for archive in archives:
            c.ctr("images", "import", "--local", "--snapshotter", "blockfile", archive)
        yield c


@pytest.fixture(name="block_name")
def fixture_block_name(blockfile):
    name = unique()
    yield name
    remove(blockfile, name)


def snapshot_file(containerd, name):
    """The file behind a container's root."""
    text = containerd.ctr("snapshots", "--snapshotter", "blockfile", "mounts", "/mnt", name).stdout
    return next(word for word in text.split() if word.startswith("/") and word != "/mnt")


@pytest.mark.parametrize("driver", ["virtio-scsi", "virtio-blk"])
def test_root_on_a_block_device(blockfile, block_name, config, driver):
    options = ["--snapshotter", "blockfile", "--runtime-config-path", config(block_device_driver=driver)]
    sandbox = Sandbox(blockfile, block_name, "sh", "-c", "echo kept >/kept; sleep 600", options=options)
    root = next(line.split() for line in sandbox.exec("cat", "/proc/mounts").stdout.splitlines()
                if line.split()[1] == "/")
    assert root[2] == "ext4" and root[0].startswith("/dev/"), root
    assert sandbox.exec("sh", "-c", "echo x >>/kept; cat /kept").stdout == "kept\nx\n"
    file = snapshot_file(blockfile, block_name)
    assert open_devices(sandbox, file) > 0
    sandbox.task("kill", "-s", "SIGKILL")
    sandbox.wait_status("STOPPED")
    sandbox.task("rm")
    # What the guest had not written yet is on the disk, and the file system is clean.
    assert subprocess.run(["debugfs", "-R", "cat /kept", file], check=True, capture_output=True,
                          text=True).stdout == "kept\nx\n"
    assert "clean" in subprocess.run(["dumpe2fs", "-h", file], check=True, capture_output=True, text=True).stdout.split(
        "Filesystem state:")[1].splitlines()[0]


def test_root_without_shared_folder(blockfile, block_name, config):
    """shared_fs = "none": a block device is enough."""
    path = config(shared_fs="none")
    done = blockfile.run(IMAGE, block_name, "echo", "hello",
                         options=["--snapshotter", "blockfile", "--runtime-config-path", path])
    assert done.stdout == "hello\n"


def test_read_only_root_on_a_block_device(blockfile, block_name):
    done = blockfile.run(IMAGE, block_name, "touch", "/x", options=["--snapshotter", "blockfile", "--read-only"],
                         check=False)
    assert done.returncode != 0 and "Read-only file system" in done.stderr


# --- layers on EROFS ---

@pytest.fixture(name="erofs", scope="module")
def fixture_erofs(config, archives):
    """A containerd 2 whose layers are EROFS images, below an overlay."""
    subprocess.run(["modprobe", "-q", "erofs"], check=False)
    if "\terofs\n" not in pathlib.Path("/proc/filesystems").read_text(encoding="ascii"):
        pytest.skip("the host's kernel has no EROFS")
    with daemon.Containerd("2", BUILD, config=config(), snapshotters={"erofs": {}}) as c:
        for archive in archives:
            c.ctr("images", "import", "--local", "--snapshotter", "erofs", archive)
        yield c


def test_root_of_erofs_layers(erofs):
    """The host mounts the layers and shares the result."""
    name = unique()
    try:
        done = erofs.run(IMAGE, name, "sh", "-c", "grep -c root: /etc/passwd; echo new >>/etc/passwd; tail -n 1 /etc/passwd",
                         options=["--snapshotter", "erofs"])
        assert done.stdout.split() == ["1", "new"]
    finally:
        remove(erofs, name)
