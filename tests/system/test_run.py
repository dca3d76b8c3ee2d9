# SPDX-License-Identifier: Apache-2.0
"""One container, one VM: what a person sees of `ctr run`."""

import os
import pathlib
import pty
import re
import select
import subprocess
import time

import pytest
from conftest import IMAGE, IMAGE_USER, PAUSE, Sandbox, daemon, kata, limit


def guest_release(guest):
    return pathlib.Path(os.readlink(guest / "current")).name.rsplit("-", 1)[0]


def test_hello(containerd, name):
    done = containerd.run(IMAGE, name, "echo", "hello")
    assert done.stdout == "hello\n"


def test_it_is_a_vm(containerd, name, guest):
    text = containerd.run(IMAGE, name, "sh", "-c", "uname -r; cat /proc/uptime; nproc; cat /proc/cmdline").stdout
    release, uptime, processors, cmdline = text.splitlines()
    assert release == guest_release(guest)
    assert float(uptime.split()[0]) < 60
    assert processors == "1"
    for forbidden in ("mitigations=off", "nokaslr", "lsm=", "audit=0"):
        assert forbidden not in cmdline
    assert cmdline != pathlib.Path("/proc/cmdline").read_text().strip()


@pytest.mark.parametrize("script,code", [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("sh -c 'kill -9 $$'; exit $?", 137),
                                         ("sh -c 'kill -15 $$'; exit $?", 143)])
def test_exit_code(containerd, name, script, code):
    assert containerd.run(IMAGE, name, "sh", "-c", script, check=False).returncode == code


def test_stdout_and_stderr_are_two(containerd, name):
    done = containerd.run(IMAGE, name, "sh", "-c", "echo out; echo err >&2; echo out2; echo err2 >&2")
    assert done.stdout == "out\nout2\n"
    own = [line for line in done.stderr.splitlines() if not line.startswith("time=")]  # ctr's warnings
    assert own == ["err", "err2"]


def test_tty(containerd, name):
    """A terminal: one stream, a size, and ^C reaches the process."""
    ours, theirs = pty.openpty()
    command = containerd.command("run", "--rm", "-t", "--runtime", daemon.RUNTIME, IMAGE, name, "sh", "-c",
                                 "trap 'exit 130' INT; tty; until stty size 2>/dev/null; do sleep 0.1; done; "
                                 "test -t 0 && test -t 2 && echo terminal; while :; do sleep 0.1; done")
    subprocess.run(["stty", "-F", os.ttyname(theirs), "rows", "33", "cols", "101"], check=True)
    text = b""
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        deadline = time.monotonic() + limit(60)
        while b"terminal" not in text and time.monotonic() < deadline:
            if select.select([ours], [], [], 1)[0]:
                text += os.read(ours, 4096)
        assert b"terminal" in text, text
        os.write(ours, b"\x03")
        code = process.wait(limit(20))
    os.close(ours)
    # ctr leaves output processing of its own terminal on, so that a carriage return may come twice, and that of
    # containerd 2 warns before it starts.
    lines = [line for line in text.replace(b"\r", b"").split(b"\n") if b"WARN" not in line]
    assert lines[0].startswith(b"/dev/") and lines[1] == b"33 101", text
    assert b"\r\n" in text
    assert code == 130


def test_user_of_the_image(containerd, name):
    done = containerd.run(IMAGE_USER, name, "sh", "-c", "id -u; id -g; echo $HOME; touch /tmp/x && echo written")
    assert done.stdout.split()[:2] == ["1000", "1000"]
    assert "written" in done.stdout


def test_static_binary_without_anything(containerd, name):
    """An image with one file and nothing else: no shell, no /etc, no /dev."""
    sandbox = Sandbox(containerd, name, image=PAUSE)
    assert sandbox.status() == "RUNNING"
    sandbox.task("kill", "-s", "SIGKILL")
    sandbox.wait_status("STOPPED")


@pytest.mark.parametrize("command,wording", [
    ("nosuchcommand", 'exec: "nosuchcommand": executable file not found in $PATH'),
    ("/no/such/file", "no such file or directory"),
    ("/etc/passwd", "permission denied"),
])
def test_missing_command(containerd, name, command, wording):
    """runc's wording, which podman and docker parse, and at once (kata#8026 hangs for a minute)."""
    start = time.monotonic()
    done = containerd.run(IMAGE, name, command, check=False)
    elapsed = time.monotonic() - start
    assert done.returncode != 0
    assert wording in done.stderr
    assert elapsed < limit(20)


def test_environment_and_folder(containerd, name):
    done = containerd.run(IMAGE, name, "sh", "-c", "echo $A; pwd; hostname",
                          options=["--env", "A=a b", "--cwd", "/tmp"])
    assert done.stdout.splitlines()[:2] == ["a b", "/tmp"]


def test_bind_mount(containerd, name, tmp_path):
    (tmp_path / "in").write_text("from the host")
    done = containerd.run(IMAGE, name, "sh", "-c", "cat /data/in; echo from the guest > /data/out; touch /ro/x",
                          options=["--mount", f"type=bind,src={tmp_path},dst=/data,options=rbind:rw",
                                   "--mount", f"type=bind,src={tmp_path},dst=/ro,options=rbind:ro"], check=False)
    assert done.stdout == "from the host"
    assert "Read-only file system" in done.stderr
    assert (tmp_path / "out").read_text() == "from the guest\n"
    assert not (tmp_path / "x").exists()


@pytest.mark.once
def test_root_of_the_host(containerd, name):
    """All that is mounted below it, but for what the host's kernel says of itself: the guest's is at the usual places."""
    done = containerd.run(IMAGE, name, "sh", "-c",
                          "for d in proc sys usr; do echo $d $(ls /host/$d | wc -l); done; uname -r; cat /kernel/osrelease",
                          options=["--mount", "type=bind,src=/,dst=/host,options=rbind:ro",
                                   "--mount", "type=bind,src=/proc/sys/kernel,dst=/kernel,options=rbind:ro"])
    proc, sys, usr, release, same = done.stdout.splitlines()
    assert [proc, sys, usr] == ["proc 0", "sys 0", f"usr {len(os.listdir('/usr'))}"]
    assert release == same
    assert os.path.ismount("/proc") and os.path.ismount("/sys"), "the host lost it"


@pytest.mark.once
def test_kernel_of_the_host_by_another_name(containerd, name, tmp_path):
    (tmp_path / "link").symlink_to("/proc/sys")
    done = containerd.run(IMAGE, name, "true", options=["--mount", f"type=bind,src={tmp_path}/link,dst=/x,options=rbind:ro"],
                          check=False)
    assert done.returncode != 0
    assert f"{tmp_path}/link: it is proc of the host's kernel" in done.stderr


def test_the_host_changes_files(containerd, name, tmp_path):
    """What the host puts into the root file system is seen after a second, in a volume by the next open."""
    (tmp_path / "volume").write_text("one")
    sandbox = Sandbox(containerd, name, "sleep", "600",
                      options=["--mount", f"type=bind,src={tmp_path},dst=/data,options=rbind:ro"])
    root = pathlib.Path(f"/proc/{sandbox.shim}/root/run/kata-containers/shared/sandboxes/{name}/rootfs/mounts/{name}/rootfs")
    (root / "changed").write_text("one")
    assert sandbox.exec("cat", "/changed", "/data/volume").stdout == "oneone"
    (root / "changed").write_text("two")
    (root / "new").write_text("new")
    (tmp_path / "volume").write_text("two")
    assert sandbox.exec("cat", "/data/volume").stdout == "two"
    time.sleep(1.5)
    assert sandbox.exec("cat", "/changed", "/new").stdout == "twonew"
    assert "new" in sandbox.exec("ls", "/").stdout.split()
    assert len(kata.virtiofsd_of(name)) == len(kata.processes(rf"virtiofsd .*/{name}/shared")) * 2


def test_read_only_root(containerd, name):
    done = containerd.run(IMAGE, name, "touch", "/x", options=["--read-only"], check=False)
    assert done.returncode != 0 and "Read-only file system" in done.stderr


def test_config_path_of_the_request(containerd, name, config):
    """containerd's ConfigPath names another configuration than the environment does."""
    other = config(default_vcpus=2)
    done = containerd.run(IMAGE, name, "nproc", options=["--runtime-config-path", other])
    assert done.stdout == "2\n"


def test_words_for_nobody_on_the_kernel_command_line(containerd, name, config):
    """What the kernel does not know it hands to its first process, which is the agent all the same."""
    other = config(kernel_params="splash single agent.unknown")
    done = containerd.run(IMAGE, name, "cat", "/proc/cmdline", options=["--runtime-config-path", other])
    assert {"splash", "single"} <= set(done.stdout.split())


def option(arguments, name):
    """All values of a command line's option."""
    return [arguments[i + 1] for i, a in enumerate(arguments) if a == name]


def test_command_line(sandbox):
    """What walkthrough A8 shows in `ps -ef | grep qemu`."""
    arguments = kata.cmdline(sandbox.qemu)
    text = " ".join(arguments)
    assert arguments[0].endswith("qemu-system-x86_64")
    assert option(arguments, "-name")[0].split(",")[0] == f"sandbox-{sandbox.name}"
    assert re.fullmatch(r"[0-9a-f-]{36}", option(arguments, "-uuid")[0])
    # QEMU does not take -machine accel= beside -accel, which emulation needs for the size of its cache.
    (machine,) = option(arguments, "-machine")
    assert machine.startswith("q35,")
    assert "accel=kvm" in machine.split(",") or option(arguments, "-accel")[0].startswith("tcg,")
    assert option(arguments, "-qmp")[0].startswith(f"unix:/run/vc/vm/{sandbox.name}/qmp.sock,")
    assert re.fullmatch(r"2048M,slots=10,maxmem=\d+M", option(arguments, "-m")[0])
    for device in ("virtio-serial", "virtio-scsi", "virtio-rng"):
        assert any(d.startswith(device) for d in option(arguments, "-device")), device
    # The shared folders of a sandbox that was restored from a template are plugged in: `env` shows them.
    restored = "-incoming" in arguments
    assert restored == ("tag=kataShared" not in text)
    assert restored == (not any(d.startswith("vhost-user-fs-pci") for d in option(arguments, "-device")))
    assert "-initrd" in arguments or "nvdimm" in text
    assert "-sandbox" in arguments
    assert len(kata.qemu_of(sandbox.name)) == 1
    assert kata.virtiofsd_of(sandbox.name)
    status = pathlib.Path(f"/proc/{sandbox.qemu}/status").read_text()
    assert re.search(r"^Seccomp:\t2$", status, re.MULTILINE)
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    assert not re.search(r"^Uid:\t0\t", status, re.MULTILINE)


def test_one_cache_is_one_virtiofsd(containerd, name, config):
    """With the same caching for everything there is one daemon, as Kata has it."""
    done = containerd.ctr("run", "-d", "--runtime", daemon.RUNTIME, "--runtime-config-path",
                          config(virtio_fs_rootfs_cache="auto"), IMAGE, name, "sleep", "600")
    assert done.returncode == 0
    assert not kata.processes(rf"virtiofsd .*/{name}/rootfs/shared")
    assert kata.processes(rf"virtiofsd .*/{name}/shared")


def test_names_on_the_host(sandbox):
    """Paths that Kata's tools and operators know."""
    for path in (f"/run/vc/vm/{sandbox.name}/qmp.sock", f"/run/vc/sbs/{sandbox.name}/shim-monitor.sock",
                 f"/run/kata-containers/shared/sandboxes/{sandbox.name}"):
        assert os.path.exists(path), path
    arguments = kata.cmdline(sandbox.shim)
    assert {"-namespace", "-address", "-id"} <= set(arguments)


def test_privileged_reboot_stops_only_the_sandbox(containerd, name):
    """A guest that takes its kernel down: the container ends, the error says so, the host goes on."""
    sandbox = Sandbox(containerd, name, "sh", "-c", "sleep 1; echo c > /proc/sysrq-trigger; sleep 100",
                      options=["--privileged"])
    sandbox.wait_status("STOPPED", 30)
