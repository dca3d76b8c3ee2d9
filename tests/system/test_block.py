# SPDX-License-Identifier: Apache-2.0
"""Block devices of the host in a container, and root file systems on them."""

import os
import pathlib
import stat
import subprocess

import ociimage
import pytest
from conftest import BUILD, IMAGE, Sandbox, daemon, remove, removed_in_the_end, unique
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


def test_drivers_come_with_the_first_disk(containerd, name, config, device):
    """A pod without a disk does not wait for those of SCSI disks."""
    def modules(*options):
        # Those for what is there are loaded beside the pod's start, in any order.
        wait = "until grep -q ^virtio_rng /proc/modules; do sleep 0.1; done; sleep 1; cat /proc/modules"
        done = containerd.run(IMAGE, name, "sh", "-c", wait, options=["--runtime-config-path", config(), *options])
        return {line.split()[0] for line in done.stdout.splitlines()}

    without = modules()
    assert not any("scsi" in module for module in without)
    assert {"virtio_scsi", "sd_mod"} <= modules("--device", device)


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

LAYERS = "localhost/layers:latest"


@pytest.fixture(name="erofs", scope="module")
def fixture_erofs(tmp_path_factory, config):
    """A containerd 2 with an image of three layers, each an EROFS image; a container writes to an ext4 of its own.

    containerd's differ needs a newer mkfs.erofs than Debian's to unpack a layer: here its work is done by hand, before the
    snapshot is committed.
    """
    folder = tmp_path_factory.mktemp("layers")
    trees = [folder / "0", folder / "1", folder / "2"]
    ociimage.busybox_tree(trees[0])
    for tree in trees[1:]:
        (tree / "etc").mkdir(parents=True)
    (trees[0] / "etc/gone").write_text("of the lowest layer\n")
    (trees[1] / "etc/of").write_text("the second layer\n")
    (trees[2] / "etc/of").write_text("the third layer\n")
    ociimage.write(folder / "layers.tar", LAYERS, trees[0], {"Env": ["PATH=/bin"]}, above=trees[1:])
    chain = ociimage.chain_ids(trees[0], trees[1:])
    os.mknod(trees[2] / "etc/gone", 0o600 | stat.S_IFCHR, 0)  # overlayfs' whiteout
    with daemon.Containerd("2", BUILD, config=config(), snapshotters={"erofs": {"default_size": "64MiB"}}) as c:
        c.ctr("images", "import", "--no-unpack", folder / "layers.tar")
        snapshots = c.dir / "root/io.containerd.snapshotter.v1.erofs/snapshots"
        for i, tree in enumerate(trees):
            before = set(snapshots.iterdir())
            c.ctr("snapshots", "--snapshotter", "erofs", "prepare", f"layer{i}", *chain[:i][-1:])
            (made,) = set(snapshots.iterdir()) - before
            subprocess.run(["mkfs.erofs", "--quiet", made / "layer.erofs", tree], check=True, stdout=subprocess.DEVNULL)
            c.ctr("snapshots", "--snapshotter", "erofs", "commit", chain[i], f"layer{i}")
        yield c


@pytest.fixture(name="erofs_name")
def fixture_erofs_name(erofs):
    yield from removed_in_the_end(erofs)


def layers_of(sandbox):
    """The EROFS images that QEMU has open."""
    links = {os.readlink(fd) for fd in pathlib.Path(f"/proc/{sandbox.qemu}/fd").iterdir()}
    return {link for link in links if link.endswith("/layer.erofs")}


@pytest.mark.parametrize("driver", ["virtio-scsi", "virtio-blk"])
def test_root_of_erofs_layers(erofs, erofs_name, config, driver):
    """Each layer is a disk of the VM, and the guest puts them together."""
    sandbox = Sandbox(erofs, erofs_name, "sleep", "600", image=LAYERS,
                      options=["--snapshotter", "erofs", "--runtime-config-path", config(block_device_driver=driver)])
    script = "cat /etc/of; ls /etc/gone 2>&1; echo new >>/etc/passwd; tail -n 1 /etc/passwd; grep ' / ' /proc/mounts"
    said = sandbox.exec("sh", "-c", script).stdout.splitlines()
    assert said[:3] == ["the third layer", "ls: /etc/gone: No such file or directory", "new"]
    assert said[3].startswith("overlay / overlay rw")
    assert len(layers_of(sandbox)) == 3
    script = "mkdir /a && mv /a /b && ln /etc/of /hard && rm -r /bin/ls /etc/of && mknod /null c 1 3 && cat /hard"
    assert sandbox.exec("sh", "-c", script).stdout == "the third layer\n"


def test_erofs_layers_are_shared(erofs, erofs_name):
    """By the containers of a pod: one disk for a layer, but what each writes is its own; the disks go with the last."""
    options = ["--snapshotter", "erofs"]
    sandbox = Sandbox(erofs, erofs_name, "sleep", "600", image=LAYERS, options=[*options, *pod_options()])
    def n_open():
        return sum(open_devices(sandbox, layer) for layer in layers_of(sandbox))

    before = n_open()
    second = unique()
    try:
        other = Sandbox(erofs, second, "sleep", "600", image=LAYERS, options=[*options, *pod_options(erofs_name)])
        assert other.exec("sh", "-c", "echo mine >/etc/of; cat /etc/of").stdout == "mine\n"
        assert sandbox.exec("cat", "/etc/of").stdout == "the third layer\n"
        assert n_open() == before
    finally:
        remove(erofs, second)
    assert sandbox.exec("cat", "/etc/of").stdout == "the third layer\n"
    assert n_open() == before


def test_erofs_layers_without_shared_folder(erofs, erofs_name, config):
    """shared_fs = "none": they need no other way into the guest."""
    done = erofs.run(LAYERS, erofs_name, "cat", "/etc/of",
                     options=["--snapshotter", "erofs", "--runtime-config-path", config(shared_fs="none")])
    assert done.stdout == "the third layer\n"


def test_erofs_layers_on_the_host(erofs, erofs_name, config):
    """disable_block_device_use: the host mounts them, if its kernel can."""
    done = erofs.run(LAYERS, erofs_name, "cat", "/etc/of", check=False,
                     options=["--snapshotter", "erofs", "--runtime-config-path", config(disable_block_device_use=True)])
    if "\terofs\n" in pathlib.Path("/proc/filesystems").read_text(encoding="ascii"):
        assert done.stdout == "the third layer\n"
    else:
        assert done.returncode != 0 and "(erofs) on" in done.stderr and "layers/1: mount: No such device" in done.stderr
