# SPDX-License-Identifier: Apache-2.0
"""An id is unique only in one of containerd's namespaces: who comes second is refused and harms nobody."""

import os
import subprocess

import pytest
from conftest import BUILD, IMAGE, daemon, kata, limit

OTHER = "other"


@pytest.fixture(name="other")
def fixture_other(containerd, archives, name):
    """A second namespace with the images; what a test makes there under `name` is removed."""
    for archive in archives:
        containerd.ctr("-n", OTHER, "images", "import", archive)
    yield OTHER
    containerd.ctr("-n", OTHER, "task", "rm", "-f", name, check=False)
    containerd.ctr("-n", OTHER, "container", "rm", name, check=False)


def check_first(sandbox, pids):
    assert (sandbox.shim, sandbox.qemu) == pids
    assert sandbox.status() == "RUNNING"
    assert sandbox.exec("sh", "-c", "echo alive > /tmp/x && cat /tmp/x").stdout == "alive\n"
    sandbox.task("metrics")


def test_two_namespaces(containerd, sandbox, other):
    pids = (sandbox.shim, sandbox.qemu)
    done = containerd.ctr("-n", other, "run", "-d", "--runtime", daemon.RUNTIME, IMAGE, sandbox.name, "sleep", "600",
                          check=False, timeout=limit(60))
    assert done.returncode != 0
    assert f"a sandbox {sandbox.name} runs already: process {pids[0]} has it, for " in done.stderr, done.stderr
    assert f"/default/{sandbox.name}" in done.stderr, done.stderr
    check_first(sandbox, pids)
    # What containerd does with the second one, and what a person does about it.
    containerd.ctr("-n", other, "task", "rm", "-f", sandbox.name, check=False)
    containerd.ctr("-n", other, "container", "rm", sandbox.name)
    check_first(sandbox, pids)
    assert kata.shim_of(sandbox.name) == [pids[0]]
    # Its place is free when the first is gone.
    sandbox.remove()
    containerd.ctr("-n", other, "run", "--rm", "--runtime", daemon.RUNTIME, IMAGE, sandbox.name, "true")


def test_without_containerd(sandbox, config, tmp_path):
    pids = (sandbox.shim, sandbox.qemu)
    (tmp_path / "rootfs").mkdir()
    done = subprocess.run([BUILD / "src/cli/kata-runtime", "run", "--id", sandbox.name, "--rootfs", tmp_path / "rootfs",
                           "--", "/bin/true"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                          env=dict(os.environ, KATA_CONF_FILE=str(config())), timeout=limit(60))
    assert done.returncode == 125
    assert f"a sandbox {sandbox.name} runs already: process {pids[0]} has it" in done.stderr, done.stderr
    check_first(sandbox, pids)
