# SPDX-License-Identifier: Apache-2.0
"""Bytes through a container's standard streams."""

import hashlib
import os
import subprocess
import time

from conftest import IMAGE, Sandbox, daemon, limit, unique

MIB = 1 << 20


def digest(data):
    return hashlib.sha256(data).hexdigest()


def test_64_mib_through_a_container(containerd, name):
    data = os.urandom(64 * MIB)
    start = time.monotonic()
    done = containerd.run(IMAGE, name, "cat", input=data, text=False, timeout=240)
    print(f"measured: 64 MiB stdin to stdout in {time.monotonic() - start:.1f} s")
    assert len(done.stdout) == len(data)
    assert digest(done.stdout) == digest(data)


def test_exec_stdin_to_stdout(shared_sandbox):
    data = os.urandom(MIB)
    done = shared_sandbox.exec("cat", input=data, text=False)
    assert digest(done.stdout) == digest(data)


def test_exec_reads_to_the_end_of_stdin(containerd, shared_sandbox):
    """`kubectl cp` ends because the end of its input arrives (kata-runtime#2061)."""
    for data in (b"12345", b""):
        command = containerd.command("task", "exec", "--exec-id", unique("x"), shared_sandbox.name, "wc", "-c")
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            # ctr does not tell an end of input that comes before its Exec has returned (nor with runc).
            time.sleep(limit(1))
            assert process.communicate(data, timeout=limit(20))[0].strip() == str(len(data)).encode()


def test_output_before_the_end_is_complete(shared_sandbox):
    """The last bytes of a process that ends at once are not lost."""
    for _ in range(5):
        assert shared_sandbox.exec("sh", "-c", "seq 1 5000").stdout.splitlines()[-1] == "5000"


def test_slow_reader(containerd, shared_sandbox):
    """A reader that stops holds back the process, not the shim; nothing is lost."""
    command = containerd.command("task", "exec", "--exec-id", unique("x"), shared_sandbox.name, "sh", "-c",
                                 "dd if=/dev/zero bs=1M count=24 2>/dev/null")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout.read(1) == b"\0"
        time.sleep(2)
        start = time.monotonic()
        assert shared_sandbox.exec("echo", "alive").stdout == "alive\n"
        assert time.monotonic() - start < limit(5)
        assert len(process.stdout.read()) == 24 * MIB - 1
        assert process.wait(limit(30)) == 0


def test_reader_that_goes_away(containerd, name):
    """A client that dies while its container writes: the container can still be killed and removed."""
    sandbox = Sandbox(containerd, name, "sleep", "600")
    command = containerd.command("task", "exec", "--exec-id", unique("x"), name, "yes")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        process.stdout.read(MIB)
        process.kill()
    assert sandbox.exec("true").returncode == 0
    sandbox.task("rm", "-f", check=False)


def test_input_that_nobody_reads(containerd, name):
    """The process ends without reading its input: so does ctr."""
    command = containerd.command("run", "--rm", "--runtime", daemon.RUNTIME, IMAGE, name, "sh", "-c", "exit 4")
    done = subprocess.run(command, input=os.urandom(4 * MIB), capture_output=True, timeout=limit(120), check=False)
    assert done.returncode == 4
