# SPDX-License-Identifier: Apache-2.0
"""src/hypervisor with a real QEMU: hypervisor_host drives it, hypervisor_guest.c is the guest."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "lib"))
import cpio  # noqa: E402
from patience import limit  # noqa: E402

TREE = pathlib.Path(__file__).parents[2]
BUILD = pathlib.Path(os.environ.get("KATA_BUILD", TREE / "build"))
HOST = BUILD / "tests/system/hypervisor_host"
GUEST = BUILD / "tests/system/hypervisor_guest"
RUN_DIR = pathlib.Path("/run/vc/vm/hypervisor-test")
MODULES = "virtio_pci virtio_console virtio_blk virtio_scsi sd_mod virtio_net virtiofs".split()

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("qemu-system-x86_64"),
                                reason="needs root and QEMU")


def kernels():
    return sorted(pathlib.Path("/boot").glob("vmlinuz-*-cloud-amd64")) or sorted(pathlib.Path("/boot").glob("vmlinuz-*"))


def module_files(release):
    """The files of MODULES and what they depend on, in load order."""
    base = pathlib.Path("/lib/modules", release)
    needs = dict(line.split(":") for line in (base / "modules.dep").read_text().splitlines())
    names = {pathlib.Path(p).name.split(".")[0].replace("-", "_"): p for p in needs}
    order = []

    def add(path):
        for need in reversed(needs[path].split()):
            add(need)
        if path not in order:
            order.append(path)

    for name in MODULES:
        if name in names:
            add(names[name])
    return [base / p for p in order]


@pytest.fixture(scope="module")
def image():
    """(kernel, initrd)"""
    kernel = kernels()[-1]
    files = {"m": None}
    for i, path in enumerate(module_files(kernel.name.removeprefix("vmlinuz-"))):
        files[f"m/{i:02d}"] = path.read_bytes()
    files["init"] = GUEST.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # QEMU reads it as nobody
        initrd = pathlib.Path(folder, "initrd")
        initrd.write_bytes(cpio.newc(files))
        yield kernel, initrd


@pytest.fixture
def work(tmp_path):
    shutil.rmtree(RUN_DIR, ignore_errors=True)
    yield tmp_path
    shutil.rmtree(RUN_DIR, ignore_errors=True)


def command(scenario, image, work):
    return [HOST, scenario, RUN_DIR, *image, work]


def run(scenario, image, work, **env):
    done = subprocess.run(command(scenario, image, work), env={**os.environ, **env}, timeout=limit(120), text=True,
                          capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not RUN_DIR.exists()
    return done.stdout


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def children(pid):
    return [int(p) for p in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("driver", ["virtio-scsi", "virtio-blk"])
def test_hot_plug(image, work, driver):
    print(run("hot", image, work, BLOCK_DRIVER=driver))


def test_hot_plug_on_root_ports(image, work):
    run("hot", image, work, BLOCK_DRIVER="virtio-blk", ROOT_PORTS="1")


def test_image(image, work):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        run("image", image, folder)


def test_cold_plug(image, work):
    run("cold", image, work)


def test_every_end_has_its_cause(image, work):
    out = run("ends", image, work)
    assert "sysrq" in out or "Kernel Offset" in out or "Rebooting" in out, "the console's tail is in the cause"


def test_refused_option_is_in_the_error(image, work):
    run("bad", image, work)


@pytest.fixture
def running(image, work):
    """A VM that runs until its owner is killed: (owner, pid of QEMU, pid of virtiofsd)."""
    owner = subprocess.Popen(command("forever", image, work), stdout=subprocess.PIPE, text=True)
    for line in owner.stdout:
        if line.startswith("ready"):
            break
    else:
        pytest.fail("no VM")
    yield owner, *map(int, line.split()[1:])
    owner.kill()
    owner.wait()


def test_owner_killed_leaves_no_process(running):
    owner, qemu, virtiofsd = running
    pids = [qemu, virtiofsd, *children(virtiofsd)]
    assert all(map(alive, pids))
    owner.kill()
    owner.wait()
    deadline = time.monotonic() + limit(5)
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not list(filter(alive, pids))
    # No file but what the clean-up after a crash removes: memory is a memfd.
    assert {p.name for p in RUN_DIR.iterdir()} <= {"pid", "qmp.sock", "console.sock"}


def test_command_line(running):
    _, qemu, _ = running
    line = pathlib.Path(f"/proc/{qemu}/cmdline").read_bytes().decode().replace("\0", " ")
    for pattern in [
        r"^\S*qemu-system-x86_64 -name sandbox-smoke\S* -uuid [0-9a-f-]{36} -machine q35,",
        rf" -qmp unix:{RUN_DIR}/qmp.sock,server=on,wait=off ",
        r" -m 256M,slots=10,maxmem=4096M ",
        r" -device virtio-serial-pci,id=serial0,",
        rf" -chardev socket,id=charconsole0,path={RUN_DIR}/console.sock,",
        r" -initrd ",
        r" -device virtio-scsi-pci,id=scsi0,",
        r" -device virtio-rng-pci,",
        r" -device vhost-user-fs-pci,\S*tag=kataShared,",
        r" -netdev tap,id=netdev-network-0,fd=\d+ -device virtio-net-pci,\S*mac=02:00:00:00:00:17,",
    ]:
        assert re.search(pattern, line), (pattern, line)


def test_virtiofsd_names_the_folder(running, work):
    _, _, virtiofsd = running
    line = pathlib.Path(f"/proc/{virtiofsd}/cmdline").read_bytes().decode().replace("\0", " ")
    assert f"source={work}/shared" in line


def test_privileges(running):
    _, qemu, _ = running
    status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{qemu}/status").read_text().splitlines())
    assert status["Uid"].split() == ["65534"] * 4
    assert status["Gid"].split() == ["65534"] * 4
    assert not status["Groups"].strip()
    assert [status[f"Cap{s}"] for s in "Prm Eff Bnd Amb".split()] == ["0" * 16] * 4
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert os.readlink(f"/proc/{qemu}/ns/net") != os.readlink("/proc/self/ns/net")
    assert RUN_DIR.stat().st_mode & 0o7777 == 0o700 and RUN_DIR.stat().st_uid == 0


def test_people_can_use_the_monitor_and_the_console(running):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(RUN_DIR / "qmp.sock"))
        f = s.makefile("rw")
        assert "QMP" in json.loads(f.readline())
        for name in ("qmp_capabilities", "query-status"):
            print(json.dumps({"execute": name}), file=f, flush=True)
            assert "return" in json.loads(f.readline())
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(RUN_DIR / "console.sock"))


def test_qemu_killed_at_any_moment(image, work):
    """The owner says one line with the cause, exits, and leaves nothing."""
    for delay in (0, 0.02, 0.05, 0.1, 0.5, 1.5):
        owner = subprocess.Popen(command("forever", image, work), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 text=True)
        while not (pids := [p for p in children(owner.pid)
                            if "sandbox-smoke" in pathlib.Path(f"/proc/{p}/cmdline").read_text()]):
            assert owner.poll() is None
            time.sleep(0.001)
        time.sleep(delay)
        os.kill(pids[0], signal.SIGKILL)
        _, complaint = owner.communicate(timeout=limit(20))
        assert "killed by signal 9" in complaint or "port closed" in complaint, complaint
        shutil.rmtree(RUN_DIR, ignore_errors=True)
