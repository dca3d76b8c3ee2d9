# SPDX-License-Identifier: Apache-2.0
"""Templates: how they are made, that clones are sandboxes of their own, and everything that can be wrong with one."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest
from conftest import BUILD, IMAGE, Sandbox, daemon, kata, limit, remove, unique

import leaks
import netspace
from patience import wait
from test_network import GATEWAY, Namespace

pytestmark = pytest.mark.once  # what is tested is the runtime, whoever calls it

PROGRAM = BUILD / "src/cli/kata-runtime"
BOOTS, RESTORED = False, True


class Factory:
    """kata-runtime factory, with a configuration of its own."""

    def __init__(self, config, folder, auto=False, debug=False, factory=None, **hypervisor):
        self.root = folder
        self.config = config({"factory": {"enable_template": True, "template_path": str(folder), "auto_build_template": auto,
                                          **(factory or {})},
                              "runtime": {"enable_debug": debug}},
                             default_memory=256, **hypervisor)

    def command(self, *args):
        return [PROGRAM, "--config", self.config, "factory", *args]

    def call(self, *args, check=True):
        return subprocess.run(self.command(*args), capture_output=True, text=True, check=check, timeout=limit(120))

    def init(self):
        self.call("init")
        (template,) = self.templates()
        return template

    def status(self):
        return json.loads(self.call("status", "--format", "json").stdout)

    def templates(self):
        return [path for path in self.root.glob("*") if re.fullmatch("[0-9a-f]{64}", path.name)]

    def shim_options(self):
        return ("--runtime-config-path", self.config)


@pytest.fixture(name="factory")
def fixture_factory(config, tmp_path):
    return Factory(config, tmp_path / "templates")


def start(containerd, factory, name, options=()):
    """A sandbox of this factory's configuration."""
    return Sandbox(containerd, name, "sleep", "600", options=(*factory.shim_options(), *options))


def restored(sandbox):
    return "-incoming" in kata.cmdline(sandbox.qemu)


def expect(containerd, factory, name, how):
    """It starts and works, one way or the other."""
    sandbox = start(containerd, factory, name)
    assert restored(sandbox) == how
    assert sandbox.exec("echo", "works").stdout == "works\n"
    sandbox.remove()


def begin(containerd, name, options):
    """A sandbox that is being started: the client's process."""
    return subprocess.Popen(containerd.command("run", "-d", "--runtime", daemon.RUNTIME, *options, IMAGE, name, "sleep", "600"),
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def all_work(containerd, names, runs):
    """Those that were begun start and work."""
    for run in runs:
        _, error = run.communicate(timeout=limit(120))
        assert run.returncode == 0, error
    for name in names:
        assert containerd.ctr("task", "exec", "--exec-id", "x", name, "echo", name).stdout == f"{name}\n"


def kill_early(run, name, victim, sign=None):
    """Kill them as soon as there is a sign of them (or themselves), while the sandbox starts."""
    deadline = time.monotonic() + limit(30)
    while not (sign or victim)(name):
        assert time.monotonic() < deadline and run.poll() is None
        time.sleep(0.002)
    for pid in victim(name):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    run.communicate(timeout=limit(120))


# --- the factory ---

def test_life_cycle(factory):
    nothing = factory.call("status").stdout.splitlines()
    assert nothing[0] == f"no template in {factory.root}"
    assert re.fullmatch(r"no template for this configuration \([0-9a-f]{12}\): sandboxes boot until factory init has made it",
                        nothing[1])
    made = factory.call("init")
    assert re.fullmatch(r"template [0-9a-f]{12} is ready: \d+ of 256 MiB, made in \d+\.\d s\n", made.stdout)
    assert made.stderr.splitlines() == ["boot a virtual machine", "save it", "try a clone"]
    (template,) = factory.templates()
    assert "was there" in factory.call("init").stdout
    status = factory.call("status").stdout.splitlines()
    assert status[0].split() == ["TEMPLATE", "MEMORY", "TAKES", "AGE"]
    assert status[1].split()[:2] == [template.name[:12], "256M"]
    assert status[1].endswith("  used by this configuration") and len(status) == 2
    assert (factory.root.stat().st_mode & 0o777, template.stat().st_mode & 0o777) == (0o700, 0o700)
    assert {path.name for path in template.iterdir()} == {"memory", "state", "info"}
    factory.call("destroy")
    assert factory.templates() == []
    factory.call("destroy")


ACTS = ("create a sandbox", "create a container", "execute a process", "wait for what was executed", "start the container",
        "wait for its first process", "remove the container", "end the sandbox")


def test_trial(config, tmp_path):
    """Before a template is published a container has run in a clone of it, and the guest has nothing left of that."""
    factory = Factory(config, tmp_path / "templates", debug=True)
    log = tmp_path / "log"
    subprocess.run([PROGRAM, "--config", factory.config, "--log", log, "factory", "init"], check=True, timeout=limit(120))
    text = log.read_text()
    assert tuple(act for act in re.findall(r'msg="warm-up: (.*): \d+ us"', text) if not act.startswith("prepare")) == ACTS
    assert re.findall(r'msg="guest: (sandbox .*|container .*)"', text) == [
        "sandbox created", "container warm-up has been created", "container warm-up has been removed", "sandbox reset"]


def test_refusals(config, factory):
    off = subprocess.run([PROGRAM, "--config", config(), "factory", "init"], capture_output=True, text=True, check=False)
    assert off.returncode == 1 and "enable_template = true" in off.stderr
    assert subprocess.run([PROGRAM, "--config", config(), "factory", "init", "--if-enabled"], check=False).returncode == 0
    odd = factory.call("rebuild", check=False)
    assert odd.returncode == 2 and "not init, status or destroy" in odd.stderr


def test_status_of_other_configurations(config, factory):
    """Whose templates are in the same folder; and one for which none could be made."""
    template = factory.init()
    other = Factory(config, factory.root, auto=True, kernel_params="other")
    row, expectation = other.call("status").stdout.splitlines()[1:]
    assert row.startswith(template.name[:12]) and "used" not in row
    assert expectation.endswith("the first sandbox boots and has it made, or factory init does")
    status = other.status()
    assert (status["reason"], status["failed"]) == ("", False)
    assert [(t["key"], t["used"], t["memory_mib"]) for t in status["templates"]] == [(template.name, False, 256)]
    (factory.root / f".failed-{status['key']}").touch()
    assert other.status()["failed"] and "has failed within the last hour" in other.call("status").stdout
    status = factory.status()
    assert status["key"] == template.name and status["templates"][0]["used"]
    changed_state(template)
    status = factory.status()
    assert "was changed" in status["templates"][0]["damaged"] and not status["templates"][0]["used"]
    assert "no template for this configuration" in factory.call("status").stdout


def test_two_at_once(factory):
    """One makes it, the other waits for it and finds it."""
    both = [subprocess.Popen(factory.command("init"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            for _ in range(2)]
    said = sorted(p.communicate(timeout=limit(120))[0].split(":")[0].partition(" ")[2].partition(" ")[2] for p in both)
    assert said == ["is ready", "was there"]
    assert len(factory.templates()) == 1


def test_no_room(config, tmp_path):
    """A file system that is too small: one line that says so, and nothing is left."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "small", folder], check=True)
    try:
        factory = Factory(config, folder)
        done = factory.call("init", check=False)
        assert done.returncode == 1
        assert "has no room for the template's memory" in done.stderr.splitlines()[-1]
        assert {path.name[:8] for path in folder.iterdir()} == {"lock", ".failed-"}
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("moment", [0.02, 0.3, 1.2, 2.2, 3.0, 3.6])
def test_killed_builder(factory, moment):
    """At whatever step: no half template, and the next one finds its way."""
    before = leaks.snapshot()
    builder = subprocess.Popen(factory.command("init"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(limit(moment) if moment > 1 else moment)
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    for template in factory.templates():
        assert "damaged" not in factory.call("status").stdout, template
    factory.init()
    assert not [path for path in factory.root.iterdir() if path.name.startswith(".new")]
    # QEMU goes with its builder; folders and control groups go with the next one.
    assert not leaks.after(before, ["template-"])


# --- in the background ---

def builders(factory):
    return kata.processes(rf"containerd-shim-kata-v2 .*-config {factory.config} .*template$")


def builders_end(factory):
    wait("the builder's end", lambda: not builders(factory), 60)


def test_first_sandbox_has_it_made(containerd, config, tmp_path, name):
    """By a process that has nothing of the pod's, and ends when it has done its work, though the pod is gone."""
    factory = Factory(config, tmp_path / "templates", auto=True)
    sandbox = start(containerd, factory, name)
    assert not restored(sandbox)
    (builder,) = wait("a builder", lambda: builders(factory), 60)
    wait("its priority", lambda: os.getpriority(os.PRIO_PROCESS, builder) == 19, 60)
    wait("its group", lambda: name not in pathlib.Path(f"/proc/{builder}/cgroup").read_text(), 60)
    assert name not in pathlib.Path(f"/proc/{builder}/mountinfo").read_text()
    sandbox.remove()
    wait("the template", factory.templates, 120)
    builders_end(factory)
    expect(containerd, factory, unique(), RESTORED)


def test_two_pods_have_one_made(containerd, config, tmp_path):
    factory = Factory(config, tmp_path / "templates", auto=True)
    names = [unique(), unique()]
    try:
        for name in names:
            assert not restored(start(containerd, factory, name))
        wait("the template", factory.templates, 120)
        builders_end(factory)
        assert len(factory.templates()) == 1
    finally:
        for name in names:
            remove(containerd, name)


def test_none_is_made_for_one_pod(containerd, config, tmp_path, name):
    """One whose annotations make it another kind of VM: it boots, and so would the next."""
    factory = Factory(config, tmp_path / "templates", auto=True)
    start(containerd, factory, name, options=["--annotation", "io.katacontainers.config.hypervisor.default_memory=512"])
    wait("a builder", (factory.root / "lock").exists, 60)
    builders_end(factory)
    assert factory.templates() == [] and [path.name for path in factory.root.iterdir()] == ["lock"]


def test_failure_in_the_background(containerd, config, tmp_path, name):
    """It is noted, so that not every pod tries again; the pods run."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "small", folder], check=True)
    try:
        factory = Factory(config, folder, auto=True)
        sandbox = start(containerd, factory, name)
        wait("the note", lambda: list(folder.glob(".failed-*")), 120)
        builders_end(factory)
        assert {path.name[:8] for path in folder.iterdir()} == {"lock", ".failed-"}
        assert sandbox.exec("true").returncode == 0
        sandbox.remove()
        factory.call("destroy")
        assert [path.name for path in folder.iterdir()] == ["lock"]
    finally:
        subprocess.run(["umount", folder], check=True)


# --- clones ---

# A line for each: a name, and what one machine has for itself or has drawn by chance.
WHO = f"""
echo boot_id $(cat /proc/sys/kernel/random/boot_id)
echo uuid $(cat /proc/sys/kernel/random/uuid)
echo urandom $(head -c 32 /dev/urandom | sha256sum)
echo random $(head -c 32 /dev/random | sha256sum)
for part in heap stack vdso; do echo $part $(for i in 1 2; do grep $part /proc/self/maps | cut -d- -f1; done); done
echo mac $(cat /sys/class/net/eth0/address)
echo product_uuid $(cat /sys/class/dmi/id/product_uuid)
for i in 1 2 3; do nc {GATEWAY} 7000 -e true; done
timeout 3 nslookup name {GATEWAY}
"""
# As of all pods of a host under runc.
IN_COMMON = {"product_uuid"}


def listen(namespace, kind, port):
    """A server on the other side of the pod's network."""
    server = netspace.made_in(f"/run/netns/{namespace.gateway}", lambda: socket.socket(socket.AF_INET, kind))
    server.settimeout(limit(30))
    server.bind((GATEWAY, port))
    return server


def identity(containerd, factory, name, namespace):
    """{name: text} of WHO in a clone, and what its connections and its questions to a name server bring from it."""
    with listen(namespace, socket.SOCK_STREAM, 7000) as server, listen(namespace, socket.SOCK_DGRAM, 53) as names:
        server.listen(3)
        sandbox = start(containerd, factory, name, options=["--with-ns", f"network:{namespace.path}"])
        assert restored(sandbox)
        lines = sandbox.exec("sh", "-c", WHO).stdout.splitlines()
        found = dict(line.split(" ", 1) for line in lines[:9])
        accepted = [server.accept() for _ in range(3)]
        found["ports"] = [port for _, (_, port) in accepted]
        for connection, _ in accepted:
            connection.close()
        questions = [names.recvfrom(512) for _ in range(2)]
        found["dns_ids"] = [question[:2] for question, _ in questions]
        found["dns_ports"] = [port for _, (_, port) in questions]
        sandbox.remove()
        return found


def test_clones_are_their_own(containerd, factory):
    """Two clones of one template share nothing that a machine draws by chance, and no address of a new process."""
    factory.init()
    found = []
    for _ in range(2):
        name = unique()
        namespace = Namespace(unique("net"))
        try:
            found.append(identity(containerd, factory, name, namespace))
        finally:
            remove(containerd, name)
            namespace.remove()
    print(*found, sep="\n")
    assert len(found[0]) == 12 and found[0].keys() == found[1].keys()
    assert {key for key, value in found[0].items() if found[1][key] == value} == IN_COMMON


CLOCK_CLOSE = 0.005  # seconds, on an idle machine


def clock_offsets(sandbox):
    """How far at least, and at most, the guest's clock is ahead of the host's: what many short questions have in common."""
    command = sandbox.containerd.command("task", "exec", "--exec-id", unique("x"), sandbox.name, "sh", "-c",
                                         "while read x; do echo $EPOCHREALTIME; done")
    least, most = -float("inf"), float("inf")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(50):
            before = time.time()
            print("?", file=process.stdin, flush=True)
            seen = float(process.stdout.readline())
            least, most = max(least, seen - time.time()), min(most, seen - before)
        process.stdin.close()
    print(f"the guest's clock is ahead by {least * 1000:.1f} to {most * 1000:.1f} ms")
    return least, most


@pytest.mark.parametrize("how", [RESTORED, BOOTS], ids=["restored", "booted"])
def test_clock(containerd, factory, name, how):
    """The guest knows the time, whenever its template was made, from the start on and some time later."""
    if how == RESTORED:
        factory.init()
        time.sleep(3)
    sandbox = start(containerd, factory, name)
    assert restored(sandbox) == how
    for pause in (0, 3):
        time.sleep(pause)
        least, most = clock_offsets(sandbox)
        assert least <= limit(CLOCK_CLOSE) and most >= -limit(CLOCK_CLOSE)


def test_what_was_plugged_in(containerd, factory, name):
    """The walkthrough's QEMU, where `ps` shows what a saved VM has, and `env` the rest."""
    factory.init()
    sandbox = start(containerd, factory, name)
    words = kata.cmdline(sandbox.qemu)
    assert words[words.index("-name") + 1].split(",")[0] == f"sandbox-{name}"
    assert words[words.index("-m") + 1].startswith("256M,slots=10,maxmem=")
    shown = subprocess.run([PROGRAM, "env", name], capture_output=True, text=True, check=True).stdout
    plugged = re.search(r"^HotPlugged = \[(.*)\]$", shown, re.MULTILINE).group(1)
    assert {"fs0", "fs1"} <= set(re.findall(r'"([^"]+)"', plugged))


def test_opt_out(containerd, factory, name):
    """A pod that wants no page in common with others says so."""
    factory.init()
    sandbox = start(containerd, factory, name,
                    options=["--annotation", "io.katacontainers.config.factory.enable_template=false"])
    assert not restored(sandbox)


def test_other_size(containerd, factory, name):
    """There is no template for a sandbox of another shape: it boots."""
    factory.init()
    sandbox = start(containerd, factory, name,
                    options=["--annotation", "io.katacontainers.config.hypervisor.default_memory=512"])
    assert not restored(sandbox)
    assert len(factory.templates()) == 1


# --- what can be wrong with one ---

def no_memory(template):
    (template / "memory").unlink()


def short_memory(template):
    os.truncate(template / "memory", 4096)


def no_state(template):
    (template / "state").unlink()


def changed_state(template):
    data = bytearray((template / "state").read_bytes())
    data[len(data) // 2] ^= 0xff
    (template / "state").write_bytes(data)


def foreign_state(template):
    """With the right digest: QEMU has to notice."""
    data = os.urandom(100_000)
    (template / "state").write_bytes(data)
    info = (template / "info").read_text()
    info = re.sub(r"state \d+ [0-9a-f]{64}", f"state {len(data)} {hashlib.sha256(data).hexdigest()}", info)
    (template / "info").write_text(info)


def foreign_memory(template):
    """Of the right size, but not a kernel's: the guest does not get far."""
    size = (template / "memory").stat().st_size
    with open(template / "memory", "wb") as f:
        f.truncate(size)


@pytest.mark.parametrize("damage", [no_memory, short_memory, no_state, changed_state, foreign_state, foreign_memory])
def test_damaged(containerd, factory, name, damage):
    """The sandbox boots, the bad template goes, and the next one is as good as new."""
    template = factory.init()
    damage(template)
    expect(containerd, factory, name, BOOTS)
    assert factory.templates() == []
    factory.init()
    expect(containerd, factory, unique(), RESTORED)


def test_removed_while_clones_start(containerd, factory):
    """Whichever comes first, all sandboxes start."""
    names = [unique() for _ in range(3)]
    factory.init()
    try:
        runs = [begin(containerd, name, factory.shim_options()) for name in names]
        time.sleep(0.1)
        factory.call("destroy")
        all_work(containerd, names, runs)
    finally:
        for name in names:
            remove(containerd, name)


@pytest.fixture(name="qemu")
def fixture_qemu():
    """A QEMU of our own, which everybody may run. It looks for its modules and firmware beside itself."""
    with tempfile.TemporaryDirectory(prefix="kata-qemu-", dir="/tmp") as prefix:
        os.chmod(prefix, 0o755)
        for folder in ("lib", "share"):
            os.symlink(f"/usr/{folder}", f"{prefix}/{folder}")
        os.mkdir(f"{prefix}/bin", 0o755)
        yield shutil.copy("/usr/bin/qemu-system-x86_64", f"{prefix}/bin")


def test_other_qemu(containerd, config, tmp_path, name, qemu):
    """An upgrade of QEMU makes its templates nobody's: sandboxes boot until there is a new one."""
    factory = Factory(config, tmp_path / "templates", path=qemu)
    factory.init()
    shutil.copy(qemu, f"{qemu}.new")
    os.rename(f"{qemu}.new", qemu)
    expect(containerd, factory, name, BOOTS)
    factory.call("init")
    expect(containerd, factory, unique(), RESTORED)


@pytest.mark.parametrize("victim", [kata.qemu_of, kata.virtiofsd_of, kata.shim_of])
def test_killed_while_it_is_restored(containerd, factory, name, victim):
    """What dies while a clone starts makes it fail, or boot instead; nothing is left, and the next is restored."""
    factory.init()
    kill_early(begin(containerd, name, factory.shim_options()), name, victim)
    remove(containerd, name)
    kata.await_end_of_shim(name)
    factory.call("init")
    expect(containerd, factory, unique(), RESTORED)
