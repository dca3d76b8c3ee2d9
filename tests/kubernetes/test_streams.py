# SPDX-License-Identifier: Apache-2.0
"""Logs, exec, attach and cp: bytes in order, sizes of terminals, signals, exit codes, ends."""

import fcntl
import hashlib
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
import time

import kata
import pods
import pytest
from patience import limit, wait
from soak import soak

pytestmark = pytest.mark.usefixtures("handler")  # each with both

MIB = 1 << 20


def test_logs(pod, node):
    """Both streams in one log; --follow from the first line to the last; --previous after a restart."""
    p = pod("sh", "-c", "for i in 1 2 3; do echo out $i; echo err $i >&2; sleep 0.3; done; exit 1", wait=None)
    wait("the pod", lambda: p.container() and ("running" in p.container()["state"] or p.container()["restartCount"]), 60)
    followed = node.kubectl("logs", "-f", p.name).stdout.split("\n")
    assert sorted(followed) == sorted([f"{s} {i}" for s in ("out", "err") for i in (1, 2, 3)] + [""])
    p.wait("a restart", lambda s: s["containerStatuses"][0]["restartCount"] >= 1)
    assert "out 3" in p.logs(previous="true")
    assert p.logs(previous="true", tailLines=1).count("\n") == 1


def test_exec(pod):
    """Exit codes, both streams apart, standard input to its end; a program that is missing is answered at once."""
    p = pod()
    done = p.exec("sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (done.returncode, done.stdout) == (7, "out\n") and done.stderr.startswith("err\n")
    assert p.exec("sh", "-c", "kill -9 $$", check=False).returncode == 137
    assert p.exec("cat", input="through\n").stdout == "through\n"
    assert p.exec("wc", "-c", input="").stdout == "0\n"
    start = time.monotonic()
    missing = p.exec("no-such-program", check=False)
    assert missing.returncode != 0 and "no-such-program" in missing.stderr and "not found" in missing.stderr
    assert time.monotonic() - start < limit(5)


class Terminal:
    """A kubectl exec -it on a terminal of ours."""

    def __init__(self, pod, *command, size=(24, 80)):
        self.master, slave = pty.openpty()
        self.resize(*size)
        self.process = subprocess.Popen(pod.exec_command(*command, options=("-it",)), stdin=slave, stdout=slave, stderr=slave,
                                        start_new_session=True, close_fds=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.seen = b""

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, text):
        """What came up to and with this text."""
        deadline = time.monotonic() + limit(30)
        while text.encode() not in self.seen:
            assert time.monotonic() < deadline, f"no {text!r} in {self.seen!r}"
            self.seen += os.read(self.master, 4096)
        before, _, self.seen = self.seen.partition(text.encode())
        return before.decode()

    def type(self, text):
        os.write(self.master, text.encode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def test_terminal(pod):
    """Its size at the start and after a change, Ctrl-C, the exit code of the shell."""
    p = pod()
    with Terminal(p, "sh", size=(33, 99)) as terminal:
        terminal.until("# ")
        terminal.type("stty size; echo done\n")
        assert "33 99" in terminal.until("done\r\n") + terminal.until("# ")
        terminal.resize(44, 111)
        terminal.process.send_signal(signal.SIGWINCH)
        deadline = time.monotonic() + limit(15)
        while True:
            terminal.type("stty size; echo 'ask''ed'\n")
            if "44 111" in terminal.until("asked\r\n"):
                break
            assert time.monotonic() < deadline
            terminal.until("# ")
        terminal.until("# ")
        terminal.type("sleep 1000\n")
        terminal.until("sleep 1000\r\n")
        time.sleep(0.5)
        terminal.type("\x03")
        terminal.until("# ")
        terminal.type("exit 9\n")
        assert terminal.process.wait(limit(20)) == 9


def test_attach(pod, node):
    """To a program that runs: what it prints from now on, what is typed to it; detached, it goes on."""
    p = pod("sh", "-c", "while read line; do echo got $line; done; echo end", container={"stdin": True, "stdinOnce": True},
            spec={"restartPolicy": "Never"})
    done = node.kubectl("attach", "-i", p.name, input="one\ntwo\n")
    assert "got one\ngot two\n" in done.stdout
    p.wait_succeeded()
    assert p.logs().endswith("got two\nend\n")


def rate(size, begin):
    took = time.monotonic() - begin
    return f"{size} MiB in {took:.0f} s, {size / took:.1f} MiB/s"


def test_copy(pod, node, handler, tmp_path):
    """kubectl cp of a tree, to the pod and back, unchanged."""
    size = soak("KATA_TEST_COPY_MIB", 24, 1024)
    tree = tmp_path / "tree"
    (tree / "deep/er").mkdir(parents=True)
    for i in range(8):
        (tree / f"deep/er/{i}").write_bytes(os.urandom(size * MIB // 8))
    (tree / "link").symlink_to("deep/er/0")
    (tree / "script").write_text("#!/bin/sh\necho ran\n")
    (tree / "script").chmod(0o755)
    p = pod()
    begin = time.monotonic()
    node.kubectl("cp", str(tree), f"{p.name}:/tree", timeout=600)
    print(f"measured: {handler}: kubectl cp to the pod, {rate(size, begin)}")
    assert p.output("/tree/script") == "ran"
    begin = time.monotonic()
    node.kubectl("cp", f"{p.name}:/tree", str(tmp_path / "back"), timeout=600)
    print(f"measured: {handler}: kubectl cp from the pod, {rate(size, begin)}")
    for i in range(8):
        assert (tmp_path / f"back/deep/er/{i}").read_bytes() == (tree / f"deep/er/{i}").read_bytes()


def test_much_through_a_pipe(pod, handler):
    """Standard input to standard output: nothing is lost, nothing changes places."""
    size = soak("KATA_TEST_PIPE_MIB", 48, 1024)
    p = pod()
    begin = time.monotonic()
    with subprocess.Popen(p.exec_command("cat", options=("-i",)), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        sent, got = hashlib.sha256(), hashlib.sha256()

        def feed():
            for _ in range(size):
                block = os.urandom(MIB)
                sent.update(block)
                process.stdin.write(block)
            process.stdin.close()

        feeder = threading.Thread(target=feed)
        feeder.start()
        count = 0
        while block := process.stdout.read(MIB):
            got.update(block)
            count += len(block)
        feeder.join()
        assert process.wait(limit(60)) == 0
    assert count == size * MIB and got.digest() == sent.digest()
    print(f"measured: {handler}: through cat and back, {rate(size, begin)}")


def test_slow_reader(pod, handler):
    """Who does not read stops the writer; neither shim nor agent grows meanwhile."""
    p = pod()
    before = kata.memory(kata.shim_of(p.sandbox)[0])["private_dirty"] if handler == "kata" else 0
    with subprocess.Popen(p.exec_command("sh", "-c", "cat /dev/zero"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        process.stdout.read(4 * MIB)
        time.sleep(3)
        if handler == "kata":
            assert kata.memory(kata.shim_of(p.sandbox)[0])["private_dirty"] - before < 1024
        process.kill()
    assert p.output("echo", "alive") == "alive"


def test_large_log(pod):
    """Lines longer than the kubelet's buffer, and many of them."""
    lines = 20000
    p = pod("sh", "-c", f"seq 1 {lines}; head -c 40000 /dev/zero | tr '\\0' x; echo", spec={"restartPolicy": "Never"}, wait=None)
    p.wait_succeeded()
    text = p.logs().split("\n")
    assert text[:lines] == [str(i) for i in range(1, lines + 1)] and text[lines] == "x" * 40000
