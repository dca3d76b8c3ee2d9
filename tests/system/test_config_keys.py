# SPDX-License-Identifier: Apache-2.0
"""Keys of configuration.toml whose effect only a real VM shows."""

import os

import pytest
from conftest import IMAGE, kata

pytestmark = pytest.mark.once  # what is tested is the runtime, whoever calls it

GUEST = """
mkdir /tmp/share && mount -t virtiofs kataShared /tmp/share && cd /tmp/share/sandbox-mounts
cat ours/file theirs/file
echo changed > ours/file; echo changed > theirs/file
"""


def test_sandbox_bind_mounts(containerd, name, config, tmp_path):
    """Folders of the host in every guest: below sandbox-mounts of the shared folder, read-only but for ":rw"."""
    for folder in ("ours", "theirs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").write_text(f"{folder}\n")
    path = config({"runtime": {"sandbox_bind_mounts": [f"{tmp_path}/ours", f"{tmp_path}/theirs:rw"]}})
    # A container sees no folder that is not its own; a privileged one can mount the guest's once more.
    done = containerd.run(IMAGE, name, "sh", "-c", GUEST, options=["--privileged", "--runtime-config-path", path])
    assert done.stdout == "ours\ntheirs\n"
    assert "read-only file system" in done.stderr.lower()
    assert (tmp_path / "ours/file").read_text() == "ours\n"
    assert (tmp_path / "theirs/file").read_text() == "changed\n"


@pytest.mark.parametrize("most,mib", [(None, 768), (640, 640)], ids=["added", "limited"])
def test_static_sandbox_resource_mgmt(containerd, name, config, most, mib):
    """The pod's limits, which containerd's CRI plugin announces, are in the VM from the start."""
    path = config({"runtime": {"static_sandbox_resource_mgmt": True}}, default_memory=512, default_maxmemory=most)
    pod = {"sandbox-memory": 256 << 20, "sandbox-cpu-quota": 100000, "sandbox-cpu-period": 100000}
    options = [x for key, value in pod.items() for x in ("--annotation", f"io.kubernetes.cri.{key}={value}")]
    containerd.ctr("run", "-d", "--runtime", "io.containerd.kata.v2", "--runtime-config-path", path, *options, IMAGE,
                   name, "sleep", "600")
    shown = containerd.ctr("task", "exec", "--exec-id", "x", name, "sh", "-c", "nproc; grep MemTotal: /proc/meminfo").stdout
    processors, total = shown.split()[0], int(shown.split()[2]) >> 10
    assert processors == str(min(2, os.cpu_count()))
    assert mib - 140 < total < mib  # less what the kernel keeps for itself
    (qemu,) = kata.qemu_of(name)
    command = kata.cmdline(qemu)
    assert command[command.index("-m") + 1].split(",")[0].removeprefix("size=") in (f"{mib}M", str(mib))


def test_nothing_shared(containerd, name, config):
    """shared_fs = "none": a root file system of files is refused with what it takes, and no virtiofsd runs."""
    path = config(shared_fs="none", virtio_fs_daemon="/nonexistent/virtiofsd",
                  valid_virtio_fs_daemon_paths=["/nonexistent/virtiofsd"])
    done = containerd.run(IMAGE, name, "true", options=["--runtime-config-path", path], check=False)
    assert done.returncode != 0
    assert 'shared_fs = "none" needs a root file system on a block device' in done.stderr.replace("\\", "")
    assert "virtiofsd" not in done.stderr
