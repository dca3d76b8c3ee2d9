# SPDX-License-Identifier: Apache-2.0
"""kata-runtime run: a container in a VM without any daemon."""

import fcntl
import hashlib
import json
import os
import pathlib
import pty
import select
import shutil
import signal
import struct
import subprocess
import termios
import time

import pytest
from conftest import BUILD, kata, limit, unique
from patience import wait
from soak import soak

PROGRAM = BUILD / "src/cli/kata-runtime"
APPLETS = ("sh", "cat", "sleep", "id", "env", "hostname", "nproc", "stty", "tty", "touch", "head", "yes", "grep")


@pytest.fixture(name="rootfs", scope="module")
def fixture_rootfs(tmp_path_factory):
    root = tmp_path_factory.mktemp("rootfs")
    root.chmod(0o755)
    (root / "bin").mkdir()
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    return root


class Runtime:
    """The program with a configuration, and `run` with a root file system."""

    def __init__(self, config, rootfs):
        self.config, self.rootfs = config, rootfs

    def command(self, *args):
        return [str(PROGRAM), "--config", str(self.config), *map(str, args)]

    def run_command(self, *command, options=()):
        return self.command("run", "--rootfs", self.rootfs, "--memory", "256", *options, "--", *command)

    def run(self, *command, options=(), **kwargs):
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        kwargs.setdefault("text", True)
        return subprocess.run(self.run_command(*command, options=options), capture_output=True, timeout=120,
                              check=False, **kwargs)

    def call(self, *args):
        return subprocess.run(self.command(*args), capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.fixture(name="runtime")
def fixture_runtime(config, rootfs):
    return Runtime(config(), rootfs)


def test_one_command(runtime, rootfs):
    """Options, both output streams, the exit status, and what is written stays."""
    script = "echo $A; pwd; id -u; id -g; hostname; nproc; echo written > /tmp-file; echo oops >&2; exit 3"
    done = runtime.run("sh", "-c", script, options=["-e", "A=a b", "-w", "/bin", "--hostname", "guest-name"])
    assert done.stdout.splitlines() == ["a b", "/bin", "0", "0", "guest-name", "1"]
    assert done.stderr == "oops\n"
    assert done.returncode == 3
    assert (rootfs / "tmp-file").read_text() == "written\n"


def test_user_and_read_only(runtime):
    done = runtime.run("sh", "-c", "id -u; id -g; grep ' / ' /proc/mounts", options=["--user", "1000:100", "--read-only"])
    assert done.returncode == 0, done.stderr
    uid, gid, mount = done.stdout.splitlines()
    assert (uid, gid) == ("1000", "100")
    assert "ro" in mount.split()[3].split(",")


@pytest.mark.parametrize("command, code, wording", [
    ("nosuchcommand", 127, 'exec: "nosuchcommand": executable file not found in $PATH'),
    ("/tmp-none/x", 127, "no such file or directory"),
])
def test_missing_command(runtime, command, code, wording):
    done = runtime.run(command)
    assert done.returncode == code
    assert wording in done.stderr
    assert done.stderr.count("\n") == 1


def test_binary_data(runtime):
    """stdin to stdout unchanged, through the whole chain."""
    data = os.urandom(soak("KATA_TEST_MIB", 8, 64) << 20)
    done = runtime.run("cat", stdin=None, text=False, input=data)
    assert done.returncode == 0
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_reader_goes_away(runtime):
    """`| head -1`: what nobody reads is thrown away, and the end is still the command's."""
    with subprocess.Popen(runtime.run_command("sh", "-c", "yes | head -n 200000; exit 5"), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"y\n"
        process.stdout.close()
        assert process.wait(limit(60)) == 5


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + limit(seconds)
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_slow_reader(runtime):
    """A pager reads when its user scrolls, long after the command has ended: nothing is lost."""
    with subprocess.Popen(runtime.run_command("sh", "-c", "yes | head -c 90000; exit 5"), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"y\n"
        time.sleep(13)
        assert process.poll() is None
        assert len(process.stdout.read()) == 90000 - 2
        assert process.wait(limit(30)) == 5


def test_signal_ends_the_wait_for_a_reader(runtime):
    """And says so: the output is not complete."""
    with subprocess.Popen(runtime.run_command("sh", "-c", "yes | head -c 90000; exit 5"), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "y\n"
        time.sleep(2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(limit(30)) == 128 + signal.SIGTERM
        assert "the rest of the output was not taken" in process.stderr.read()


def wait_for(process, text):
    line = process.stdout.readline()
    if not line:
        process.wait(limit(30))
        line = process.stderr.read()
    assert line == text


def test_signals(runtime):
    """A signal reaches the command, which may do with it what it likes; the second SIGTERM ends it."""
    script = "trap 'echo usr1' USR1; trap 'echo term' TERM; echo ready; while :; do sleep 0.1; done"
    with subprocess.Popen(runtime.run_command("sh", "-c", script), stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_for(process, "ready\n")
        process.send_signal(signal.SIGUSR1)
        wait_for(process, "usr1\n")
        process.send_signal(signal.SIGTERM)
        wait_for(process, "term\n")
        process.send_signal(signal.SIGTERM)
        assert process.wait(limit(30)) == 137


def test_interrupt_while_booting(runtime):
    """^C before there is a container: the sandbox is taken down at once."""
    name = unique("run")
    with subprocess.Popen(runtime.run_command("sleep", "100", options=["--id", name]), stdin=subprocess.DEVNULL,
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_until(lambda: kata.qemu_of(name))
        process.send_signal(signal.SIGINT)
        start = time.monotonic()
        assert process.wait(limit(30)) == 125
        assert time.monotonic() - start < limit(10)
        assert "interrupted" in process.stderr.read()


def test_terminal(runtime):
    """A terminal with its size, which may change, and ^C for the command, not for us."""
    pid, terminal = pty.fork()
    if pid == 0:
        command = runtime.run_command("sh", options=["--tty"])
        os.execv(command[0], command)
    text = b""

    def wait_text(wanted):
        nonlocal text
        deadline = time.monotonic() + limit(60)
        while wanted not in text:
            assert time.monotonic() < deadline, text
            if select.select([terminal], [], [], 1)[0]:
                text += os.read(terminal, 4096)

    def resize(rows, columns):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    resize(40, 100)
    wait_text(b"# ")
    os.write(terminal, b"stty size\n")
    wait_text(b"40 100")
    resize(50, 120)
    os.write(terminal, b"sleep 0.5; stty size\n")
    wait_text(b"50 120")
    os.write(terminal, b"sleep 100\n")
    time.sleep(1)
    os.write(terminal, b"\x03")
    os.write(terminal, b"echo go $((1 + 1))\n")
    wait_text(b"go 2")
    os.write(terminal, b"exit 7\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    os.close(terminal)


def test_while_it_runs(runtime):
    """list and env show it; a second one of the same id is refused; kill -9 leaves nothing for long."""
    name = unique("run")
    with subprocess.Popen(runtime.run_command("sh", "-c", "echo ready; sleep 100", options=["--id", name]),
                          stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        wait_for(process, "ready\n")
        (shown,) = [s for s in json.loads(runtime.call("list", "--format", "json")) if s["id"] == name]
        assert shown["state"] == "running" and shown["containers"] == [name]
        assert shown["memory_mib"] == 256 and shown["resident_bytes"] > 0
        tree = json.loads(runtime.call("env", "--json", name))
        assert tree["Hypervisor"]["PID"] == shown["pid"]
        assert tree["Processes"]["shim"] == process.pid
        assert "vhost-user-fs-pci" in tree["Hypervisor"]["Devices"].values()
        assert tree["Hypervisor"]["HotPlugged"] == []
        second = runtime.run("true", options=["--id", name])
        assert second.returncode == 125 and "runs already" in second.stderr
        process.kill()
    wait_until(lambda: not kata.qemu_of(name), 5)
    # The next run removes what is left on disk.
    runtime.run("nosuchcommand")
    assert name not in runtime.call("list", "--quiet").split()


@pytest.mark.parametrize("form, wanted", [("text", " level=warning msg=\"sandbox "), ("json", '"level":"warning","msg":"sandbox ')])
def test_warnings_are_shown(runtime, form, wanted):
    """Here that something was left under the id, without any state in it."""
    name = unique("run")
    os.makedirs(f"/run/vc/sbs/{name}")
    done = runtime.run("id", options=["--id", name], env=dict(os.environ, KATA_LOG_FORMAT=form))
    assert done.returncode == 0
    assert wanted in done.stderr and f"{name}: removing what its last owner has left" in done.stderr, done.stderr


def test_emulation_needs_consent(config, rootfs):
    """Without allow_emulation a host without KVM refuses, with the remedy; the option is consent for one run."""
    strict = Runtime(config(allow_emulation=False), rootfs)
    check = subprocess.run(strict.command("check"), capture_output=True, text=True, timeout=60, check=False)
    if check.returncode == 0:
        pytest.skip("KVM works here")
    done = strict.run("true")
    assert done.returncode == 125
    assert "allow_emulation" in done.stderr
    assert strict.run("sh", "-c", "exit 4", options=["--allow-emulation"]).returncode == 4


def test_debug_console(config, rootfs):
    """kata-runtime exec: a shell of the guest, outside of the container."""
    image = BUILD / "image-debug"  # not tmp_path: QEMU's user must be able to read it
    subprocess.run([BUILD / "src/builder/kata-guest-image", "--quiet", "--debug-shell", "--output", image,
                    "--agent", BUILD / "src/agent/kata-agent"], check=True, capture_output=True)
    runtime = Runtime(config({"agent.kata": {"debug_console_enabled": True}},
                             kernel=str(image / "vmlinux.container"),
                             initrd=str(image / "kata-containers-initrd.img")), rootfs)
    name = unique("run")
    with subprocess.Popen(runtime.run_command("sh", "-c", "echo ready; sleep 100", options=["--id", name]),
                          stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        wait_for(process, "ready\n")
        done = subprocess.run(runtime.command("exec", name), input="echo answer $((6 * 7)); cat /proc/1/comm\n",
                              capture_output=True, text=True, timeout=60, check=True)
        assert "answer 42" in done.stdout
        assert "\ninit" in done.stdout.replace("\r", "")
        process.send_signal(signal.SIGKILL)
    runtime.run("nosuchcommand")


# --- templates ---

def builder_of(config):
    """The process, or None; its children, for what blocks, have its command line."""
    return next(iter(kata.processes(rf"kata-runtime --config={config} .*factory init --background=[0-9a-f]{{64}}")), None)


def test_first_run_has_a_template_made(config, rootfs, tmp_path):
    """After its end, by a process that has nothing of ours: output, terminal, folder, control group. The next is restored."""
    path = config({"factory": {"enable_template": True, "template_path": str(tmp_path / "templates")}}, default_memory=256)
    runtime = Runtime(os.path.relpath(path), rootfs)
    name = unique("run")
    done = runtime.run("sh", "-c", "exit 3", options=["--id", name])
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
    builder = builder_of(path)
    wait("its priority", lambda: os.getpriority(os.PRIO_PROCESS, builder) == 19, 30)
    assert os.getsid(builder) == builder
    assert os.readlink(f"/proc/{builder}/cwd") == "/"
    assert {os.readlink(f"/proc/{builder}/fd/{fd}") for fd in range(3)} == {"/dev/null"}
    for file in ("cgroup", "mountinfo"):
        assert name not in pathlib.Path(f"/proc/{builder}/{file}").read_text()
    wait("the template", lambda: not builder_of(path), 120)
    assert len(list((tmp_path / "templates").glob("[0-9a-f]*"))) == 1
    name = unique("run")
    with subprocess.Popen(runtime.run_command("sh", "-c", "echo ready; sleep 100", options=["--id", name]),
                          stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_for(process, "ready\n")
        (qemu,) = kata.qemu_of(name)
        assert "-incoming" in kata.cmdline(qemu)
        process.terminate()
        process.terminate()
    assert not builder_of(path)


@pytest.mark.parametrize("options, made", [([], "failed"), (["--memory", "300"], "nothing")], ids=["no-room", "other-kind"])
def test_no_template_after_a_run(config, rootfs, tmp_path, options, made):
    """That it cannot be made is noted and in the log, not on the terminal; of another kind of VM none is made."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "small", folder], check=True)
    try:
        path = config({"factory": {"enable_template": True, "template_path": str(folder)}}, default_memory=256)
        runtime = Runtime(path, rootfs)
        log = tmp_path / "log"
        command = [runtime.command()[0], "--log", "log", "--log-format", "json", *runtime.run_command("id", options=options)[1:]]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
                              cwd=tmp_path)
        assert done.returncode == 0 and done.stdout.startswith("uid=0") and not done.stderr
        wait("a builder", (folder / "lock").exists, 60)
        wait("the builder's end", lambda: not builder_of(path), 120)
        said = [json.loads(line)["msg"] for line in log.read_text().splitlines()]
        assert any("is being made in the background" in text for text in said)
        assert any("has no room for the template's memory" in text for text in said) == (made == "failed")
        assert len(list(folder.glob(".failed-*"))) == (made == "failed")
        # Nobody tries again at once.
        if made == "failed":
            assert runtime.run("id").returncode == 0
            assert not builder_of(path)
    finally:
        subprocess.run(["umount", folder], check=True)
