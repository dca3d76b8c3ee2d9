# SPDX-License-Identifier: Apache-2.0
"""The verbs of `ctr task` on a running container."""

import json
import os
import re
import socket
import subprocess
import time

from conftest import IMAGE, Sandbox, daemon, limit


def test_ls_and_ps(shared_sandbox):
    assert shared_sandbox.status() == "RUNNING"
    lines = shared_sandbox.task("ps").stdout.splitlines()
    assert lines[0].split()[0] == "PID"
    assert len(lines) >= 2 and int(lines[1].split()[0]) > 0


def test_exec(shared_sandbox):
    done = shared_sandbox.exec("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, "out\n")
    assert "err" in done.stderr.splitlines()  # ctr of 2.x adds warnings of its own


def test_exec_sees_the_container(shared_sandbox):
    assert "sleep" in shared_sandbox.exec("ps", "-o", "comm").stdout
    assert shared_sandbox.exec("sh", "-c", "echo x > /tmp/y").returncode == 0
    assert shared_sandbox.exec("cat", "/tmp/y").stdout == "x\n"


def test_exec_missing_command(shared_sandbox):
    start = time.monotonic()
    done = shared_sandbox.exec("nosuchcommand")
    assert time.monotonic() - start < limit(5)
    assert done.returncode != 0
    assert 'exec: "nosuchcommand": executable file not found in $PATH' in done.stderr
    assert shared_sandbox.exec("true").returncode == 0


def test_exec_as_user(shared_sandbox):
    assert shared_sandbox.exec("id", "-u", options=["--user", "1000"]).stdout == "1000\n"


def test_exec_twenty_in_a_row(shared_sandbox):
    """And without a leak of descriptors in the shim."""
    def descriptors():
        return len(os.listdir(f"/proc/{shared_sandbox.shim}/fd"))

    shared_sandbox.exec("true")
    before = descriptors()
    for i in range(20):
        assert shared_sandbox.exec("echo", str(i)).stdout == f"{i}\n"
    assert descriptors() <= before + 1


def test_metrics(shared_sandbox):
    text = shared_sandbox.task("metrics").stdout
    assert re.search(r"^memory\.(usage|usage_in_bytes|stat.*)\s+[1-9]\d*", text, re.MULTILINE)
    data = json.loads(shared_sandbox.task("metrics", "--format", "json").stdout)
    usage = data["memory"]["usage"]
    assert 4096 <= (usage["usage"] if isinstance(usage, dict) else usage) < 1 << 31


def test_pause_and_resume(containerd, name, tmp_path):
    log = tmp_path / "log"
    sandbox = Sandbox(containerd, name, "sh", "-c", "while :; do echo x; sleep 0.1; done",
                      options=["--log-uri", f"file://{log}"])
    deadline = time.monotonic() + limit(10)
    while not (log.exists() and log.stat().st_size):
        assert time.monotonic() < deadline, "no output"
        time.sleep(0.1)
    sandbox.task("pause")
    assert sandbox.status() == "PAUSED"
    time.sleep(limit(0.5))  # what was on its way
    size = log.stat().st_size
    time.sleep(1)
    assert log.stat().st_size == size
    sandbox.task("resume")
    assert sandbox.status() == "RUNNING"
    deadline = time.monotonic() + limit(5)
    while log.stat().st_size == size:
        assert time.monotonic() < deadline, "no output after resume"
        time.sleep(0.1)


def test_kill_with_a_handler(containerd, name):
    sandbox = Sandbox(containerd, name, "sh", "-c", "trap 'exit 42' TERM; touch /tmp/ready; while :; do sleep 0.1; done")
    while sandbox.exec("test", "-e", "/tmp/ready").returncode:
        time.sleep(0.1)
    sandbox.task("kill", "-s", "SIGTERM")
    sandbox.wait_status("STOPPED")
    done = sandbox.task("rm", check=False)
    assert "42" in done.stdout + done.stderr


def test_kill_9(sandbox):
    start = time.monotonic()
    sandbox.task("kill", "-s", "SIGKILL")
    sandbox.wait_status("STOPPED")
    assert time.monotonic() - start < limit(5)
    done = sandbox.task("rm", check=False)
    assert "137" in done.stdout + done.stderr


def test_kill_all(containerd, name):
    """Every process of the container, not only its first."""
    sandbox = Sandbox(containerd, name, "sh", "-c", "sleep 600 & sleep 600 & wait")
    sandbox.task("kill", "-a", "-s", "SIGKILL")
    sandbox.wait_status("STOPPED")


def test_force_remove_of_a_running_task(containerd, name):
    sandbox = Sandbox(containerd, name, "sleep", "600")
    start = time.monotonic()
    sandbox.task("rm", "-f", check=False)
    assert time.monotonic() - start < limit(5)
    assert sandbox.status() is None


def test_state_while_another_container_is_created(containerd, sandbox, name):
    """A slow create of one sandbox does not stop answers about another."""
    other = name + "b"
    command = containerd.command("run", "--rm", "--runtime", daemon.RUNTIME, IMAGE, other, "true")
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            start = time.monotonic()
            assert sandbox.status() == "RUNNING"
            assert time.monotonic() - start < limit(3)
        assert process.returncode == 0


def test_agent_url(shared_sandbox):
    """Where the agent is reached, on the shim's management socket."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(limit(5))
        line.connect(f"/run/vc/sbs/{shared_sandbox.name}/shim-monitor.sock")
        line.sendall(b"GET /agent-url HTTP/1.1\r\nHost: shim\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: line.recv(4096), b"")).decode()
    wanted = r"vsock://\d+:1024" if os.path.exists("/dev/vhost-vsock") else r"port:org\.kata-containers\.agent\.0"
    assert answer.startswith("HTTP/1.1 200 ") and re.search(rf"\r\n\r\n{wanted}$", answer), answer
