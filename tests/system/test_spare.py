# SPDX-License-Identifier: Apache-2.0
"""Spares: sandboxes that are ready before their pods are known. What a pod sees is the same."""

import json
import os
import pathlib
import signal
import subprocess
import time

import pytest
from conftest import BUILD, IMAGE, Sandbox, daemon, kata, limit, pod_network, remove, unique

import leaks
from patience import wait

pytestmark = pytest.mark.once  # what is tested is the runtime, whoever calls it

PROGRAM = BUILD / "src/cli/kata-runtime"
MEMORY = 256


class Spares:
    """A configuration with spares, and those that wait for its pods."""

    def __init__(self, config, folder, n=1, template=True, **hypervisor):
        self.config = config({"factory": {"spares": n, "enable_template": template, "auto_build_template": False,
                                          "template_path": str(folder)}}, **{"default_memory": MEMORY, **hypervisor})
        self.n = n
        self.pods = []  # removed at the end
        if template:
            self.factory("init")

    def factory(self, *args):
        return subprocess.run([PROGRAM, "--config", self.config, "factory", *args], check=True, capture_output=True,
                              text=True).stdout

    def processes(self):
        """Those that wait, those that are being made, and what they fork for a moment; the oldest first."""
        return kata.processes(rf"containerd-shim-kata-v2 .*-config {self.config} .*spare$")

    def ready(self):
        """The names of those that wait."""
        return kata.spares(self.config)

    def settle(self, n=None):
        """Until all are there, and nobody works any more; their names."""
        n = self.n if n is None else n
        return wait(f"{n} spares", lambda: len(self.ready()) == len(self.processes()) == n and self.ready(), 120)

    def command(self, containerd, name, *options):
        return containerd.command("run", "-d", "--runtime", daemon.RUNTIME, "--runtime-config-path", self.config, *options,
                                  IMAGE, name, "sleep", "600")

    def start(self, containerd, name, *options):
        self.pods.append((containerd, name))
        return Sandbox(containerd, name, "sleep", "600", options=("--runtime-config-path", self.config, *options))

    def fill(self, containerd):
        """By a pod that goes again; the names."""
        self.start(containerd, unique()).remove()
        return self.settle()

    def end(self):
        """Nobody has one made any more, neither a pod that ends now."""
        path = pathlib.Path(self.config)
        path.write_text(path.read_text().replace(f"spares = {self.n}", "spares = 0"))
        for containerd, name in self.pods:
            remove(containerd, name)
        self.factory("destroy")
        wait("the end of all spares", lambda: not self.processes(), 60)


@pytest.fixture(name="templates", scope="module")
def fixture_templates(tmp_path_factory):
    """The folder for what all are restored from: they are of one kind."""
    return tmp_path_factory.mktemp("templates")


@pytest.fixture(name="spares")
def fixture_spares(config, templates, containerd):
    """One that waits."""
    spares = Spares(config, templates)
    seen = []
    with leaks.none(seen):
        try:
            seen += spares.fill(containerd)
            yield spares
        finally:
            seen += spares.ready()
            spares.end()


def was(sandbox, spare):
    """The sandbox was this spare; nothing bears that name any more."""
    assert kata.first_name(sandbox.name) == spare
    assert sandbox.exec("echo", "works").stdout == "works\n"
    for folder in (kata.STATES, kata.VM_DIR, pathlib.Path("/run/kata-containers/shared/sandboxes")):
        assert not (folder / spare).exists() and (folder / sandbox.name).exists()


def was_none(sandbox):
    assert kata.first_name(sandbox.name) == sandbox.name
    assert sandbox.exec("echo", "works").stdout == "works\n"


# --- taken ---

def test_taken(containerd, spares, name):
    """Each pod gets the one that waits, and has the next made, however short it lives."""
    for pod in (name, unique()):
        (spare,) = spares.settle()
        sandbox = spares.start(containerd, pod)
        was(sandbox, spare)
        sandbox.remove()
    assert spares.settle() != [spare]


def test_looks_like_any_other(containerd, spares, name):
    """Its processes are where the pod's belong, with the priority of those; `ps` and the tools know it by its name."""
    (spare,) = spares.ready()
    (waiting,) = spares.processes()
    (qemu,) = kata.qemu_of(spare)
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    score = min(int(pathlib.Path("/proc/self/oom_score_adj").read_text()) + 1, 1000)
    assert os.getpriority(os.PRIO_PROCESS, qemu) == 19
    assert pathlib.Path(f"/proc/{qemu}/oom_score_adj").read_text() == "1000\n"
    sandbox = spares.start(containerd, name)
    assert sandbox.shim == waiting
    pids = [sandbox.shim, *kata.qemu_of(name), *kata.virtiofsd_of(name)]
    assert len(pids) == 6
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            assert os.getpriority(os.PRIO_PROCESS, int(thread)) == ours, kata.cmdline(pid)
        assert int(pathlib.Path(f"/proc/{pid}/oom_score_adj").read_text()) == score
        groups = pathlib.Path(f"/proc/{pid}/cgroup").read_text()
        assert f"kata_{name}" in groups and spare not in groups
    listed = json.loads(subprocess.run([PROGRAM, "list", "--format", "json"], check=True, capture_output=True,
                                       text=True).stdout)
    assert [one["state"] for one in listed if one["id"] == name] == ["running"]
    shown = subprocess.run([PROGRAM, "env", name], capture_output=True, text=True, check=True).stdout
    assert f"-name sandbox-{spare}" in shown or spare in shown


def test_network(containerd, spares, name):
    """The pod's interface is plugged into the machine that runs already."""
    (spare,) = spares.ready()
    with pod_network(unique("n")) as netns:
        sandbox = spares.start(containerd, name, "--with-ns", f"network:/run/netns/{netns}")
        was(sandbox, spare)
        assert "10.88.99.2/24" in sandbox.exec("ip", "addr", "show", "eth0").stdout
        sandbox.remove()


WHO = ("cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid; head -c 32 /dev/urandom | sha256sum;"
       " grep -E 'stack|libc|heap|vdso' /proc/self/maps | cut -d- -f1; date +%s")


def test_two_of_one_template(containerd, config, templates):
    """They wait side by side, share no random number, and know the time, though they have waited."""
    spares = Spares(config, templates, n=2)
    names = [unique(), unique()]
    try:
        waiting = spares.fill(containerd)
        time.sleep(2)
        texts = []
        for name in names:
            sandbox = spares.start(containerd, name)
            assert kata.first_name(name) in waiting
            before = time.time()
            *text, seen = sandbox.exec("sh", "-c", WHO).stdout.split()
            assert int(before) <= int(seen) <= time.time() + 1
            texts.append(set(text))
        assert texts[0] & texts[1] == {"-"}
        assert kata.first_name(names[0]) != kata.first_name(names[1])
    finally:
        spares.end()


def test_more_pods_than_spares(containerd, spares):
    """Begun at once: one has it, the others are made."""
    names = [unique() for _ in range(3)]
    try:
        runs = [subprocess.Popen(spares.command(containerd, name), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                for name in names]
        for run in runs:
            _, error = run.communicate(timeout=limit(120))
            assert run.returncode == 0, error
        assert len([name for name in names if kata.first_name(name) != name]) == 1
        assert len({pid for name in names for pid in kata.shim_of(name)}) == 3
    finally:
        for name in names:
            remove(containerd, name)


def test_without_a_template(containerd, config, tmp_path, name):
    """It has booted, then, and has had the time to load what pods with disks need."""
    spares = Spares(config, tmp_path / "templates", template=False)
    try:
        (spare,) = spares.fill(containerd)
        sandbox = spares.start(containerd, name)
        was(sandbox, spare)
        wait("the driver of SCSI disks", lambda: sandbox.exec("grep", "^virtio_scsi", "/proc/modules").stdout, 10)
    finally:
        spares.end()


# --- not taken ---

def test_own_annotations(containerd, spares, name):
    """A pod that changes its configuration takes none."""
    (spare,) = spares.ready()
    sandbox = spares.start(containerd, name, "--annotation", "io.katacontainers.config.hypervisor.default_memory=512")
    was_none(sandbox)
    assert spares.ready() == [spare]


def test_another_configuration(containerd, config, spares, name):
    was_none(Sandbox(containerd, name, "sleep", "600", options=("--runtime-config-path", config())))
    assert len(spares.ready()) == 1


def test_changed_configuration(containerd, spares, name):
    """What was made before is given up, and what comes afterwards is of the new one."""
    (spare,) = spares.ready()
    path = pathlib.Path(spares.config)
    path.write_text(path.read_text().replace(f"default_memory = {MEMORY}", f"default_memory = {MEMORY + 64}"))
    sandbox = spares.start(containerd, name)
    was_none(sandbox)
    (later,) = spares.settle()
    assert later != spare
    sandbox.remove()
    was(spares.start(containerd, unique()), later)


def test_replaced_image(containerd, config, guest, tmp_path, name):
    """A new guest image is for all pods that come after it."""
    # QEMU's user has to get there.
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    image = tmp_path / "initrd.img"
    image.write_bytes((guest / "kata-containers-initrd.img").read_bytes())
    spares = Spares(config, tmp_path / "templates", template=False, initrd=str(image))
    try:
        spares.fill(containerd)
        copy = tmp_path / "new.img"
        copy.write_bytes(image.read_bytes())
        copy.rename(image)
        was_none(spares.start(containerd, name))
    finally:
        spares.end()


# --- what goes wrong ---

@pytest.mark.parametrize("victim", ["spare", "qemu", "virtiofsd"])
def test_killed_while_it_waits(containerd, spares, name, victim):
    """The next pod is made as if there were none, what is left of it is removed, and another takes its place."""
    (spare,) = spares.ready()
    pids = {"spare": spares.processes, "qemu": lambda: kata.qemu_of(spare),
            "virtiofsd": lambda: kata.virtiofsd_of(spare)[:1]}[victim]()
    os.kill(pids[0], signal.SIGKILL)
    wait("its end", lambda: not spares.processes() and not kata.qemu_of(spare), 30)
    sandbox = spares.start(containerd, name)
    was_none(sandbox)
    assert spares.settle() != [spare]
    assert not (kata.STATES / spare).exists()


@pytest.mark.parametrize("moment", [0.05, 0.3, 0.7, 1.2])
def test_killed_while_it_is_made(containerd, spares, name, moment):
    """At whatever moment: what is left is removed, and the next pod has another made."""
    sandbox = spares.start(containerd, name)
    maker, *_ = wait("a maker", spares.processes, 30)
    time.sleep(moment)
    os.kill(maker, signal.SIGKILL)
    sandbox.remove()
    spares.fill(containerd)


def test_killed_afterwards(containerd, spares, name):
    """It is a shim by then: containerd has its remains removed."""
    (spare,) = spares.ready()
    sandbox = spares.start(containerd, name)
    was(sandbox, spare)
    spares.settle()
    with leaks.none([name, spare]):
        os.kill(sandbox.shim, signal.SIGKILL)
        wait("the end of QEMU", lambda: not kata.qemu_of(spare), 30)
        sandbox.remove()


def test_killed_while_it_is_taken(containerd, spares):
    """At any moment of the handing over: the pod runs, or its start fails; nothing is left of either."""
    for delay in (0.0, 0.01, 0.02, 0.04, 0.08):
        (spare,) = spares.settle()
        (waiting,) = spares.processes()
        pod = unique()
        with leaks.none([pod, spare]):
            run = subprocess.Popen(spares.command(containerd, pod), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait("the start", lambda: kata.processes(rf"ctr .*run .* {pod} ") or run.poll() is not None, 10, every=0.001)
            time.sleep(delay)
            os.kill(waiting, signal.SIGKILL)
            run.wait(limit(120))
            remove(containerd, pod)
        spares.fill(containerd)


# --- for people ---

def test_destroyed(containerd, spares):
    """`factory destroy` ends those that wait, and leaves pods alone."""
    pod = unique()
    sandbox = spares.start(containerd, pod)
    spares.settle()
    spares.factory("destroy")
    wait("the end of all spares", lambda: not spares.processes(), 60)
    assert spares.ready() == []
    assert sandbox.exec("echo", "works").stdout == "works\n"
    sandbox.remove()


def test_terminated(spares):
    """As any service ends."""
    (pid,) = spares.processes()
    (spare,) = spares.ready()
    os.kill(pid, signal.SIGTERM)
    wait("its end", lambda: not spares.processes(), 30)
    assert not (kata.STATES / spare).exists() and not kata.qemu_of(spare)
