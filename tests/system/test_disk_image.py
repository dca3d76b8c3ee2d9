# SPDX-License-Identifier: Apache-2.0
"""A guest that boots from a disk image: the host's kernel has the disk's drivers as modules, so that the image's own
initrd mounts it."""

import hashlib

import pytest
from conftest import BUILD, IMAGE, kata

pytestmark = pytest.mark.once  # what is tested is the runtime, whoever calls it

SEEN = """cat /proc/cmdline; ls -d /sys/fs/{fs}/{disk}; cat /sys/class/block/{disk}/ro; echo written > /tmp/x && cat /tmp/x"""
# Root of the guest overwrites its disk, and says whether it reads what it has read before.
OVERWRITE = """
mknod /tmp/d b $(tr : ' ' </sys/class/block/{whole}/dev); blockdev --setrw /tmp/d
before=$(dd if=/tmp/d bs=4k count=1 skip=256 | md5sum)
dd if=/dev/urandom of=/tmp/d bs=4k count=1 seek=256 conv=fsync
echo 3 >/proc/sys/vm/drop_caches
test "$before" = "$(dd if=/tmp/d bs=4k count=1 skip=256 | md5sum)" && echo same
"""


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(name="image", scope="module", params=["erofs", "ext4"])
def fixture_image(request):
    """(file system, folder of an image with it)."""
    return request.param, kata.make_image(BUILD, "--format", request.param, folder=f"image-{request.param}")


@pytest.mark.parametrize("attached,whole,disk", [("virtio-blk", "vda", "vda1"), ("nvdimm", "pmem0", "pmem0p1")])
def test_boot(containerd, name, config, image, attached, whole, disk):
    """Also CVE-2020-2025, CVE-2026-24834: what a guest wrote to its disk went to the image, for all guests to come, or
    to its own memory of it, and so to the programs that run there as root."""
    fs, folder = image
    before = digest(folder / "kata-containers.img")
    path = config(image=str(folder / "kata-containers.img"), initrd=None, kernel=str(folder / "vmlinux.container"),
                  rootfs_type=fs, disable_image_nvdimm=attached == "virtio-blk")
    script = (SEEN + OVERWRITE).format(fs=fs, disk=disk, whole=whole)
    done = containerd.run(IMAGE, name, "sh", "-c", script, options=["--privileged", "--runtime-config-path", path])
    cmdline, mounted, read_only, written, *same = done.stdout.splitlines()
    assert f"root=/dev/{disk}" in cmdline.split()
    assert mounted == f"/sys/fs/{fs}/{disk}"
    assert (read_only, written) == ("1", "written")
    assert same == ["same"]
    assert digest(folder / "kata-containers.img") == before
