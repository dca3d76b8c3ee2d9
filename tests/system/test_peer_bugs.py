# SPDX-License-Identifier: Apache-2.0
"""Bugs that were met in Kata 4.1 within an hour: each has a test that this system does not have it."""

import http.client
import os
import re
import signal
import socket
import stat
import subprocess
import time

import pytest
from conftest import BUILD, IMAGE, kata, limit, remove, unique
from soak import soak

pytestmark = pytest.mark.once  # what is tested is the runtime, whoever calls it


def test_exec_with_stdin_from_dev_null(shared_sandbox):
    """CloseIO before Start stopped the whole shim for ever (2 of 13 times)."""
    for _ in range(soak("KATA_TEST_EXECS", 15, 100)):
        done = shared_sandbox.exec("echo", "hi", stdin=subprocess.DEVNULL, timeout=limit(20))
        assert done.stdout == "hi\n"
    assert shared_sandbox.status() == "RUNNING"


def test_nothing_is_left_after_shim_and_qemu_were_killed(containerd, sandbox):
    """`shim delete` left three folders; the search for leaks would find them."""
    pids = [sandbox.shim, sandbox.qemu]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + limit(10)
    folders = [f"/run/vc/sbs/{sandbox.name}", f"/run/vc/vm/{sandbox.name}",
               f"/run/kata-containers/shared/sandboxes/{sandbox.name}"]
    while any(map(os.path.exists, folders)) and time.monotonic() < deadline:
        time.sleep(0.1)
    remove(containerd, sandbox.name)
    assert not [f for f in folders if os.path.exists(f)]


def shim_metrics(name):
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(10)
    connection.sock.connect(f"/run/vc/sbs/{name}/shim-monitor.sock")
    connection.request("GET", "/metrics")
    response = connection.getresponse()
    assert response.status == 200
    return response.read().decode()


def test_overhead_does_not_underflow(shared_sandbox):
    """kata_shim_pod_overhead_memory_in_bytes was 1.8e19; no metric of ours may be near a wrapped number."""
    text = shim_metrics(shared_sandbox.name)
    values = re.findall(r"^(kata_\S+) (\S+)$", text, re.MULTILINE)
    assert values
    for metric, value in values:
        assert -1 <= float(value) < 1 << 62, metric


def test_without_a_system_log(containerd, name):
    """Create failed without /dev/log."""
    if any(map(os.path.exists, ("/dev/log", "/run/systemd/journal/socket"))):
        pytest.skip("the host has a system log, which the container tests run without")
    assert containerd.run(IMAGE, name, "echo", "hello").stdout == "hello\n"


def test_agent_with_a_block_device_that_cannot_be_opened(tmp_path):
    """The agent ended when any block device in /dev could not be opened."""
    node = f"/dev/{unique('broken')}"
    os.mknod(node, 0o600 | stat.S_IFBLK, os.makedev(240, 7))
    path = tmp_path / "agent.sock"
    try:
        with subprocess.Popen([BUILD / "src/agent/kata-agent", "--listen", f"unix://{path}"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as agent:
            deadline = time.monotonic() + limit(5)
            while not path.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(limit(0.5))
            alive = agent.poll() is None
            agent.kill()
        assert alive and path.exists()
    finally:
        os.unlink(node)


def subcommands():
    text = subprocess.run([BUILD / "src/cli/kata-runtime", "--help"], capture_output=True, text=True, check=True,
                          env={"KATA_CONF_FILE": "/nonexistent", "PATH": os.environ["PATH"]}).stdout
    return re.findall(r"^  ([a-z][a-z-]+) ", text, re.MULTILINE)


def test_help_needs_no_installation():
    names = subcommands()
    assert {"check", "env", "list", "run"} <= set(names)
    for name in names:
        done = subprocess.run([BUILD / "src/cli/kata-runtime", name, "--help"], capture_output=True, text=True,
                              check=False, env={"KATA_CONF_FILE": "/nonexistent", "PATH": os.environ["PATH"]})
        assert done.returncode == 0 and name in done.stdout, name


def test_no_wait_for_interfaces(containerd, netns):
    """An empty network namespace cost a fixed wait. It may take no longer than one with an interface."""
    def seconds(*options):
        name = unique()
        start = time.monotonic()
        try:
            text = containerd.run(IMAGE, name, "cat", "/proc/net/dev", options=options).stdout
        finally:
            remove(containerd, name)
        return time.monotonic() - start, text

    seconds()
    with_interface, text = seconds("--with-ns", f"network:/run/netns/{netns}")
    assert "eth0" in text
    empty, text = seconds()
    assert "eth0" not in text
    print(f"measured: with an interface {with_interface:.2f} s, without {empty:.2f} s")
    assert empty <= with_interface + 1


def test_network_of_the_pod(containerd, name, netns):
    """The address that the CNI plugin gave is the guest's, and A8's netdev with the pod's MAC is there."""
    mac = subprocess.run(["ip", "-n", netns, "-o", "link", "show", "eth0"], capture_output=True, text=True,
                         check=True).stdout.split("link/ether ")[1].split()[0]
    containerd.ctr("run", "-d", "--runtime", "io.containerd.kata.v2", "--with-ns", f"network:/run/netns/{netns}", IMAGE,
                   name, "sleep", "600")
    done = containerd.ctr("task", "exec", "--exec-id", unique("x"), name, "ip", "addr")
    assert "10.88.99.2/24" in done.stdout and mac in done.stdout
    arguments = " ".join(kata.cmdline(kata.qemu_of(name)[0]))
    assert "-netdev tap," in arguments and f"mac={mac}" in arguments
