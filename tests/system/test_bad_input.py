# SPDX-License-Identifier: Apache-2.0
"""What is missing, wrong or too much: one clear error that names it, soon, and nothing is left."""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import time

import cpio
import pytest
from conftest import BUILD, IMAGE, Sandbox, both_generations, daemon, leaks, limit, ociimage, remove, unique

pytestmark = pytest.mark.once  # what is tested is the runtime, whoever calls it

MIB = 1 << 20


def refused(containerd, name, *options, seconds=20):
    """Run a container that must not start; returns the error."""
    start = time.monotonic()
    done = containerd.run(IMAGE, name, "true", options=options, check=False)
    elapsed = time.monotonic() - start
    assert done.returncode != 0, "it ran"
    assert elapsed < limit(seconds), f"the error took {elapsed:.1f} s"
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("key", ["path", "kernel", "initrd", "image", "virtio_fs_daemon"])
def test_missing_file(containerd, name, config, key):
    missing = f"/nonexistent/{key}"
    keys = {key: missing}
    if key == "virtio_fs_daemon":
        keys["valid_virtio_fs_daemon_paths"] = [missing]
    if key == "image":
        keys["initrd"] = None
    error = refused(containerd, name, "--runtime-config-path", config(**keys), seconds=5)
    assert missing in error
    assert "no such file" in error.lower()


def test_missing_configuration(containerd, name):
    error = refused(containerd, name, "--runtime-config-path", "/nonexistent/configuration.toml", seconds=5)
    assert "/nonexistent/configuration.toml" in error


def test_unknown_key(containerd, name, config):
    """A typo must not weaken isolation: the line and a suggestion."""
    path = config(seccompsandbx="on")
    error = refused(containerd, name, "--runtime-config-path", path, seconds=5)
    assert "seccompsandbx" in error and "seccompsandbox" in error and f"{path}" in error


def test_emulation_must_be_allowed(containerd, name, config):
    check = subprocess.run([containerd.build / "src/cli/kata-runtime", "--config", config(), "check"],
                           capture_output=True, text=True, check=True)
    if "emulated" not in check.stdout + check.stderr:
        pytest.skip("KVM works on this host")
    error = refused(containerd, name, "--runtime-config-path", config(allow_emulation=False), seconds=5)
    assert "allow_emulation" in error and "kvm" in error.lower()


@pytest.fixture(name="open_folder")
def fixture_open_folder():
    """A folder that QEMU's user can read, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="kata-test-") as folder:
        os.chmod(folder, 0o755)
        yield pathlib.Path(folder)


def test_no_kernel(containerd, name, config, open_folder):
    """A kernel that is none."""
    (open_folder / "kernel").write_bytes(b"not a kernel" * 1000)
    error = refused(containerd, name, "--runtime-config-path", config(kernel=str(open_folder / "kernel")))
    assert "kernel too old" in error or "invalid kernel" in error.lower(), error
    assert "virtiofsd" not in error


def test_no_agent(containerd, name, config, open_folder):
    """An initrd without an agent: the guest's last words are in the error."""
    (open_folder / "initrd").write_bytes(b"\0" * 512)
    error = refused(containerd, name, "--runtime-config-path", config(initrd=str(open_folder / "initrd")), seconds=30)
    assert "panic" in error.lower(), error
    assert "virtiofsd" not in error


def test_agent_that_hangs(containerd, name, config, open_folder):
    """A guest that boots and then only idles is given up after dial_timeout, not after twenty times that."""
    ociimage.program(ociimage.PAUSE, open_folder / "init")
    (open_folder / "initrd").write_bytes(cpio.newc({"init": (open_folder / "init").read_bytes()}))
    path = config({"agent.kata": {"dial_timeout": 5}}, initrd=str(open_folder / "initrd"))
    error = refused(containerd, name, "--runtime-config-path", path, seconds=40)
    found = re.search(r"after (\d+) s, no sign of life .* for (\d+) s", error)
    assert found, error
    print(f"measured: gave up after {found[1]} s")
    assert int(found[2]) >= 5, "the last limit ended it, not the silence"


@pytest.fixture(name="fake_qemu")
def fixture_fake_qemu(open_folder):
    """write(script) makes a program that stands for QEMU, where an unprivileged user can run it."""
    def write(script):
        path = open_folder / "qemu-system-x86_64"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return write


def test_qmp_that_never_answers(containerd, name, config, fake_qemu):
    program = fake_qemu("exec sleep 600")
    error = refused(containerd, name, "--runtime-config-path", config(path=str(program)), seconds=45)
    assert "qmp" in error.lower() or str(program) in error


def test_qemu_that_ends_at_once(containerd, name, config, fake_qemu):
    program = fake_qemu("echo 'out of luck' >&2; exit 1")
    error = refused(containerd, name, "--runtime-config-path", config(path=str(program)), seconds=10)
    assert "out of luck" in error


def test_more_memory_than_there_is(containerd, name, config):
    error = refused(containerd, name, "--runtime-config-path", config(default_memory=1 << 30))
    assert "memory" in error.lower()


def test_out_of_memory_at_the_start(containerd, group, name):
    """The kernel kills QEMU for want of memory in the pod's control group."""
    group.limit(64 * MIB)
    error = refused(containerd, name, "--cgroup", group.of(name))
    assert "QEMU was killed by signal 9" in error
    assert f"want of memory in {group.sandbox(name)}" in error


def test_out_of_memory_while_it_runs(containerd, group, name):
    """The guest takes more than the pod may have."""
    sandbox = Sandbox(containerd, name, "sh", "-c", "sleep 2; tail /dev/zero", options=["--cgroup", group.of(name)])
    group.limit(group.usage() + 64 * MIB)
    sandbox.wait_status("STOPPED", 30)
    assert f"want of memory in {group.sandbox(name)}" in containerd.log.read_text()


@pytest.fixture(name="rootfs", scope="module")
def fixture_rootfs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rootfs")
    ociimage.busybox_tree(folder)
    return folder


@pytest.fixture(name="spec")
def fixture_spec(rootfs, tmp_path):
    """write(path, value) makes a right runtime-spec document but for the value at this path of keys."""
    def write(where, value):
        document = {
            "ociVersion": "1.0.2",
            "process": {"user": {"uid": 0, "gid": 0}, "args": ["echo", "hello"], "env": ["PATH=/bin"], "cwd": "/"},
            "root": {"path": str(rootfs)},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {"namespaces": [{"type": t} for t in ("pid", "ipc", "uts", "mount", "network")]},
        }
        at = document
        for key in where[:-1]:
            at = at[key]
        at[where[-1]] = value
        path = tmp_path / "config.json"
        path.write_text(json.dumps(document))
        return path
    return write


def run_spec(containerd, name, path):
    start = time.monotonic()
    done = containerd.ctr("run", "--rm", "--runtime", daemon.RUNTIME, "--config", path, name, check=False)
    assert time.monotonic() - start < limit(20)
    return done


def test_right_document(containerd, name, spec):
    assert run_spec(containerd, name, spec(["hostname"], "h")).stdout == "hello\n"


MOUNT = {"destination": "/x", "type": "proc", "source": "proc"}


@pytest.mark.parametrize("where,value,word", [
    (["process", "args"], [], "args"),
    (["process", "cwd"], "relative", "cwd"),
    (["process", "cwd"], "/bin/busybox", "/bin/busybox"),
    (["process", "rlimits"], [{"type": "RLIMIT_NONSENSE", "hard": 1, "soft": 1}], "RLIMIT_NONSENSE"),
    (["root", "path"], "/nonexistent/root", "/nonexistent/root"),
    (["linux", "namespaces"], [{"type": "nonsense"}], "nonsense"),
    (["linux", "sysctl"], {"kernel.nonsense": "1"}, "nonsense"),
    (["mounts"], [{**MOUNT, "destination": "relative"}], "relative"),
    (["mounts"], [{**MOUNT, "type": "nonsensefs"}], "nonsensefs"),
    (["mounts"], [{**MOUNT, "type": "bind", "source": "/nonexistent", "options": ["rbind"]}], "/nonexistent"),
], ids=lambda x: ".".join(x) if isinstance(x, list) and x and isinstance(x[0], str) else None)
def test_wrong_document(containerd, name, spec, where, value, word):
    done = run_spec(containerd, name, spec(where, value))
    assert done.returncode != 0 and done.stdout == ""
    assert word in done.stderr


def test_malformed_document(containerd, name, config, tmp_path):
    """The shim itself, as containerd starts it, on a bundle whose config.json is cut off."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "config.json").write_text('{"ociVersion": "1.0.2", "process": {')
    done = subprocess.run([containerd.build / "src/shim/containerd-shim-kata-v2", "-namespace", "default", "-id", name,
                           "-address", containerd.socket, "-publish-binary", containerd.bin / "containerd", "start"],
                          cwd=bundle, capture_output=True, text=True, timeout=limit(20), check=False,
                          env=dict(os.environ, KATA_CONF_FILE=str(config())))
    assert done.returncode != 0
    assert "config.json" in done.stdout + done.stderr


STATE, SHARE, BUNDLE = "/run/vc", "/run/kata-containers", "bundle"


@pytest.fixture(name="cramped", scope="module", **both_generations)
def fixture_cramped(request, config, archives):
    """A containerd that has, and its shims with it, small file systems of its own for all that a sandbox writes."""
    c = daemon.Containerd(request.param, config=config(), build=BUILD)
    c.small = {STATE: STATE, SHARE: SHARE, BUNDLE: str(c.state)}
    with c:
        c.ctr("images", "import", next(a for a in archives if a.name == "busybox.tar"))
        # What containerd makes once is made now.
        c.run(IMAGE, unique(), "true", options=["--runtime-config-path", config(kernel="/nonexistent")], check=False)
        yield c


def contents(cramped):
    """What is in the small file systems, but for what stays until the next boot."""
    found = {(folder, path.relative_to(cramped.inside(folder)))
             for folder in cramped.small.values() for path in cramped.inside(folder).rglob("*")}
    return {(folder, path) for folder, path in found if f"{folder}/{path}" not in leaks.KEPT}


def inodes(cramped, folder):
    found = os.statvfs(cramped.inside(folder))
    return found.f_files - found.f_ffree


@pytest.mark.parametrize("which", [STATE, SHARE, BUNDLE])
def test_full_disk_at_the_start(cramped, which):
    """With room for one file more each time until a container runs: an error that says so, and nothing is left."""
    folder, name = cramped.small[which], unique()
    before = contents(cramped)
    try:
        for room in range(20):
            cramped.room(folder, f"nr_inodes={inodes(cramped, folder) + room}")
            done = cramped.run(IMAGE, name, "true", check=False)
            assert contents(cramped) == before
            if done.returncode == 0:
                break
            assert "no space left on device" in done.stderr.lower()
            remove(cramped, name)
        else:
            pytest.fail("no room is enough")
        print(f"measured: a sandbox makes {room} files in {which}")
        assert room > 3
    finally:
        cramped.room(folder, "nr_inodes=1000")
        remove(cramped, name)


def test_full_disk_while_it_runs(cramped):
    """What was started can be used, stopped and removed."""
    before = contents(cramped)
    sandbox = Sandbox(cramped, unique(), "sleep", "600")
    fillers = [cramped.inside(folder) / "filler" for folder in cramped.small.values()]
    try:
        for filler in fillers:
            with pytest.raises(OSError, match="No space left"), open(filler, "wb", buffering=0) as f:
                while True:
                    f.write(bytes(4096))
        for folder in cramped.small.values():
            cramped.room(folder, f"nr_inodes={inodes(cramped, folder)}")
        assert sandbox.exec("echo", "hello").stdout == "hello\n"
        sandbox.task("kill", "-s", "SIGKILL")
        sandbox.wait_status("STOPPED")
        sandbox.remove()
        assert sandbox.status() is None
        for filler in fillers:
            filler.unlink()
        assert contents(cramped) == before
    finally:
        for folder in cramped.small.values():
            cramped.room(folder, "nr_inodes=1000")
        for filler in fillers:
            filler.unlink(missing_ok=True)
        sandbox.remove()


def test_twice_the_same_name(containerd, sandbox):
    error = containerd.ctr("run", "--runtime", daemon.RUNTIME, IMAGE, sandbox.name, "true", check=False)
    assert error.returncode != 0 and "already exists" in error.stderr
    assert sandbox.status() == "RUNNING"
