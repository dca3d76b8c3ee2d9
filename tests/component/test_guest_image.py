# SPDX-License-Identifier: Apache-2.0
"""kata-guest-image on this machine's kernel: what it writes, when it writes, and what it says."""

import gzip
import os
import pathlib
import struct
import subprocess
import threading
import time

import pytest

BUILD = pathlib.Path(os.environ["KATA_BUILD"])
PROGRAM = BUILD / "src/builder/kata-guest-image"
MIB = 1 << 20
OUTPUTS = ("vmlinux.container", "kata-containers-initrd.img")


@pytest.fixture(name="agent", scope="session")
def fixture_agent(tmp_path_factory):
    """A static program that stands for the agent."""
    path = tmp_path_factory.mktemp("agent") / "kata-agent"
    source = path.with_suffix(".c")
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run(["cc", "-static", "-s", "-o", path, source], check=True)
    return path


def run(*args, env=None, **kwargs):
    return subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=60, check=False,
                          env=dict(os.environ, **(env or {})), **kwargs)


def build(output, agent, *args, **kwargs):
    done = run("--output", output, "--agent", agent, *args, **kwargs)
    assert done.returncode == 0, done.stderr
    return done.stdout


def members(archive):
    """{path: (mode, bytes)} of a newc archive."""
    found, at = {}, 0
    while True:
        fields = [int(archive[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
        assert archive[at:at + 6] == b"070701"
        name = archive[at + 110:at + 110 + fields[11] - 1].decode()
        data = at + 110 + fields[11]
        data += -data % 4
        if name == "TRAILER!!!":
            return found
        found[name] = (fields[1], archive[data:data + fields[6]])
        at = data + fields[6]
        at += -at % 4


def read(output):
    return [(output / name).read_bytes() for name in OUTPUTS]


def test_image(tmp_path, agent):
    build(tmp_path, agent)
    kernel, initrd = read(tmp_path)
    assert kernel[:4] == b"\x7fELF"
    files = members(initrd)
    mode, init = files["init"]
    assert mode == 0o100755 and init[64:] == agent.read_bytes()[64:len(init)]  # the header loses its sections
    assert files["dev/console"][0] == 0o020600
    # Every path of the lists is in the image; dependencies come first.
    boot = files["lib/modules/kata.list"][1].decode().split()
    names = [pathlib.Path(p).stem for p in boot]
    assert names.index("virtio_ring") < names.index("virtio") < names.index("virtio_pci") < names.index("virtio_console")
    assert names.index("fuse") < names.index("virtiofs")
    later = [line.split() for line in files["lib/modules/kata.ondemand"][1].decode().splitlines()]
    assert {"virtio_net", "virtio_blk", "overlay"} <= {line[0] for line in later}
    aliases = {line[0]: line[1].split(",") for line in later}
    assert "virtio:d00000001v*" in aliases["virtio_net"]
    assert "fs-overlay" in aliases["overlay"]
    for path in boot + [p for line in later for p in line[2:]]:
        assert files[path.lstrip("/")][1][:4] == b"\x7fELF"
    assert not set(boot) & {p for line in later for p in line[2:]}


def test_reproducible(tmp_path, agent):
    for name in "ab":
        build(tmp_path / name, agent, "--format", "erofs", "--debug-shell")
    assert read(tmp_path / "a") == read(tmp_path / "b")
    assert (tmp_path / "a/kata-containers.img").read_bytes() == (tmp_path / "b/kata-containers.img").read_bytes()
    assert (tmp_path / "a/current").readlink() == (tmp_path / "b/current").readlink()
    build(tmp_path / "c", agent, env={"SOURCE_DATE_EPOCH": "1700000000"})
    assert read(tmp_path / "c")[1] != read(tmp_path / "a")[1]


def partition(image, at):
    """(type, start, size) in bytes of the first and only entry of the partition table at an offset."""
    table = image[at:at + 512]
    assert table[510:] == b"\x55\xaa" and table[462:510] == bytes(48)
    return table[450], *(512 * n for n in struct.unpack_from("<II", table, 454))


@pytest.mark.parametrize("fs,magic,offset", [("erofs", b"\xe2\xe1\xf5\xe0", 1024), ("ext4", b"\x53\xef", 1080)])
def test_disk(tmp_path, agent, fs, magic, offset):
    images = []
    for name in "ab":
        build(tmp_path / name, agent, "--format", fs)
        images.append((tmp_path / name / "kata-containers.img").read_bytes())
        time.sleep(1.1)  # a time that gets into the image would show
    # One partition; as an NVDIMM the image begins at its second table, which leads to the same place.
    assert partition(images[0], 0) == (0x83, 3 * MIB, len(images[0]) - 3 * MIB)
    assert partition(images[0], 2 * MIB) == (0x83, 1 * MIB, len(images[0]) - 3 * MIB)
    assert images[0][4096:4111] == b"NVDIMM_PFN_INFO"
    assert len(images[0]) % (2 * MIB) == 0
    assert images[0][3 * MIB + offset:3 * MIB + offset + len(magic)] == magic
    # This kernel has the drivers as modules: an initrd brings them, and nothing else.
    files = members((tmp_path / "a/kata-containers.img.initrd").read_bytes())
    boot = [pathlib.Path(p).stem for p in files["lib/modules/kata.list"][1].decode().split()]
    assert {"virtio_pci", "virtio_blk"} <= set(boot) and "virtiofs" not in boot
    assert "nd_pmem" in files["lib/modules/kata.ondemand"][1].decode()
    assert images[0] == images[1]


@pytest.mark.parametrize("fs", ["erofs", "ext4"])
def test_places_do_not_matter(tmp_path, agent, fs):
    """The same content from other paths is the same image, under the same name."""
    plan = dict(line.split(":", 1) for line in run("--dry-run", "--agent", agent).stdout.splitlines() if ":" in line)
    kernel, modules = (pathlib.Path(plan[name].strip()) for name in ("kernel", "modules"))
    build(tmp_path / "a", agent, "--format", fs, "--kernel", kernel, "--modules", modules)
    other = tmp_path / "other"
    other.mkdir()
    (other / "agent").write_bytes(agent.read_bytes())
    (other / "linux").symlink_to(kernel)
    (other / modules.name).symlink_to(modules)
    build(tmp_path / "b", other / "agent", "--format", fs, "--kernel", other / "linux", "--modules", other / modules.name)
    for name in (*OUTPUTS, "kata-containers.img", "kata-containers.img.initrd"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert (tmp_path / "a/current").readlink() == (tmp_path / "b/current").readlink()


def test_unchanged_is_quick(tmp_path, agent):
    start = time.monotonic()
    build(tmp_path, agent)
    whole = time.monotonic() - start
    before = (tmp_path / "current").stat()
    times = []
    for _ in range(5):
        start = time.monotonic()
        assert "up to date" in build(tmp_path, agent)
        times.append(time.monotonic() - start)
    print(f"measured: image build {whole * 1000:.0f} ms, nothing changed {min(times) * 1000:.1f} ms")
    assert min(times) < whole / 5
    assert (tmp_path / "current").stat().st_ino == before.st_ino


def test_changes_are_seen(tmp_path, agent):
    own = tmp_path / "agent"
    own.write_bytes(agent.read_bytes())
    own.chmod(0o755)
    out = tmp_path / "out"
    build(out, own)
    first = (out / "current").readlink()
    # Another agent of the same size and time: the initrd is new, the kernel is not extracted again.
    stat = own.stat()
    changed = bytearray(agent.read_bytes())
    changed[len(changed) // 2] ^= 1
    own.write_bytes(changed)
    os.utime(own, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    text = build(out, own)
    assert "as before" in text and f"{own} has changed" in text
    assert (out / "current").readlink() != first
    assert members(read(out)[1])["init"][1][len(changed) // 2] == changed[len(changed) // 2]
    # A damaged output is made again.
    with (out / OUTPUTS[1]).open("r+b") as f:
        f.truncate(1000)
    assert "kata-containers-initrd.img has changed" in build(out, own)
    assert len(read(out)[1]) > 1000
    assert "up to date" in build(out, own)
    assert "--force" in build(out, own, "--force")
    assert "options" in build(out, own, "--compress")
    assert members(gzip.decompress(read(out)[1]))["init"]


def test_debug_shell(tmp_path, agent):
    build(tmp_path, agent, "--debug-shell")
    files = members(read(tmp_path)[1])
    assert files["bin/busybox"][1][:4] == b"\x7fELF"
    assert files["bin/sh"] == (0o120777, b"busybox")


def test_add_module(tmp_path, agent):
    """The module is there to be asked for, with what it needs before it."""
    build(tmp_path / "plain", agent)
    plain = members(read(tmp_path / "plain")[1])
    assert not any(path.endswith("/xfs.ko") for path in plain)
    build(tmp_path / "more", agent, "--add-module", "xfs", "--add-module", "dm_verity")
    files = members(read(tmp_path / "more")[1])
    later = {line.split()[0]: line.split()[1:] for line in files["lib/modules/kata.ondemand"][1].decode().splitlines()}
    assert "dm_verity" in later
    aliases, *paths = later["xfs"]
    assert "fs-xfs" in aliases.split(",")
    assert [pathlib.Path(path).name for path in paths][-2:] == ["libcrc32c.ko", "xfs.ko"]
    for path in paths:
        assert files[path.lstrip("/")][1][:4] == b"\x7fELF"
    # Asked for again, it is the same image; without, another.
    assert "up to date" in build(tmp_path / "more", agent, "--add-module", "xfs", "--add-module", "dm_verity")
    assert "options" in build(tmp_path / "more", agent)
    assert members(read(tmp_path / "more")[1]) == plain


def test_dry_run(tmp_path, agent):
    done = run("--dry-run", "--output", tmp_path / "out", "--agent", agent)
    assert done.returncode == 0
    assert "would build: there is no image yet" in done.stdout
    assert "virtio_console.ko" in done.stdout
    assert not (tmp_path / "out").exists()


def test_other_kernel_file(tmp_path, agent):
    build(tmp_path / "first", agent)
    kernel = tmp_path / "first/vmlinux.container"
    modules = [line.split(":", 1)[1].strip() for line in run("--dry-run", "--agent", agent).stdout.splitlines()
               if line.startswith("modules:")][0]
    build(tmp_path / "second", agent, "--kernel", kernel, "--modules", modules)
    assert read(tmp_path / "second")[0] == kernel.read_bytes()
    # The release comes from the file, so the modules are found without being named.
    build(tmp_path / "third", agent, "--kernel", kernel)
    assert read(tmp_path / "third") == read(tmp_path / "second")


def test_two_at_once(tmp_path, agent):
    outputs = []
    threads = [threading.Thread(target=lambda: outputs.append(build(tmp_path, agent))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outputs) == 4
    assert sum("up to date" in text for text in outputs) == 3
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == [".lock"]


@pytest.mark.parametrize("args,code,text", [
    (["--kernel", "/nonexistent/vmlinuz"], 1, "kernel /nonexistent/vmlinuz: No such file or directory"),
    (["--kernel", "/etc/passwd"], 1, "kernel /etc/passwd does not say its release"),
    (["--modules", "/nonexistent"], 1, "/nonexistent: No such file or directory"),
    (["--agent", "/nonexistent/agent"], 1, "read /nonexistent/agent: No such file or directory"),
    (["--agent", "/usr/bin/env"], 1, "/usr/bin/env is dynamically linked"),
    (["--agent", "/etc/passwd"], 1, "/etc/passwd: not an x86-64 program"),
    (["--debug-shell=/usr/bin/env"], 1, "debug shell: /usr/bin/env is dynamically linked"),
    (["--add-module", "no_such_module"], 1, "no module no_such_module"),
    (["--format", "ntfs"], 2, "--format is erofs or ext4, not ntfs"),
    (["--nonsense"], 2, "--help"),
    (["argument"], 2, "unexpected argument: argument"),
])
def test_errors(tmp_path, agent, args, code, text):
    done = run("--output", tmp_path / "out", "--agent", agent, *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert text in done.stderr
    # Nothing half-made is left.
    assert {p.name for p in tmp_path.glob("out/*")} <= {".lock"}


def test_bad_epoch(tmp_path, agent):
    assert run("--output", tmp_path, "--agent", agent, env={"SOURCE_DATE_EPOCH": "soon"}).returncode == 2


def test_failure_keeps_the_image(tmp_path, agent):
    """A file size limit stands for a full disk: one clear error, and the image in use stays."""
    build(tmp_path, agent)
    before = read(tmp_path)
    done = subprocess.run(["sh", "-c", 'ulimit -f 8192; exec "$0" "$@"', PROGRAM, "--force", "--output", tmp_path,
                           "--agent", agent], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "vmlinux.container: File too large" in done.stderr
    assert read(tmp_path) == before
    assert not list(tmp_path.glob(".build-*"))


def test_help_needs_nothing():
    for args in (["--help"], ["-h"]):
        done = run(*args)
        assert done.returncode == 0 and done.stdout.startswith("Usage: kata-guest-image")
    assert run("--version").stdout.startswith("kata-guest-image ")
