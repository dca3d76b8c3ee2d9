# SPDX-License-Identifier: Apache-2.0
"""What containerd and the shim say to each other: v2 with containerd 1.x, v3 with 2.x."""

import json
import os
import re
import subprocess
import threading
import time

import pytest
from conftest import IMAGE, daemon, kata, limit


def test_bootstrap(containerd, sandbox):
    """The files in the bundle from which containerd reconnects."""
    folder = containerd.bundle(sandbox.name)
    address = (folder / "address").read_text()
    assert re.fullmatch(r"unix://\S+", address)
    if containerd.version == "1":
        assert not (folder / "bootstrap.json").exists()
    else:
        text = json.loads((folder / "bootstrap.json").read_text())
        assert (text["version"], text["address"], text["protocol"]) == (3, address, "ttrpc")


def test_version_on_the_wire(containerd, sandbox):
    """strace of the shim sees the service that containerd calls."""
    with subprocess.Popen(["strace", "-f", "-s", "120", "-e", "trace=read,recvmsg,recvfrom,readv", "-p",
                           str(sandbox.shim)], stderr=subprocess.PIPE, text=True) as trace:
        attached = trace.stderr.readline()
        sandbox.exec("true")
        sandbox.task("metrics")
        trace.terminate()
        text = attached + trace.communicate()[1]
    services = set(re.findall(r"containerd\.task\.(v\d)\.Task", text))
    assert services == {"v2" if containerd.version == "1" else "v3"}, text[-2000:]


class Trace:
    """strace of what a process writes: the calls that containerd sends to shims are in it."""

    def __init__(self, pid):
        self.pid, self.text = pid, ""

    def __enter__(self):
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen(["strace", "-f", "-s", "160", "-e", "trace=write,writev,sendmsg,sendto", "-p",
                                         str(self.pid)], stderr=subprocess.PIPE, text=True)
        self.first = self.process.stderr.readline()
        assert "attached" in self.first, self.first
        self.reader = threading.Thread(target=lambda: setattr(self, "text", self.process.stderr.read()))
        self.reader.start()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.reader.join()
        self.process.wait()

    def methods(self, service):
        """In ttRPC's request the method follows its service: field 2, its length, its name."""
        return re.findall(rf"{re.escape(service)}\\22\\(?:[0-7]+|[a-z])(\w+)", self.text)


@pytest.mark.parametrize("containerd", ["2"], indirect=True, ids=["containerd2"])
def test_sandbox_calls_of_containerd_2(containerd, name, tmp_path):
    """containerd 2.x makes a sandbox by the sandbox calls and runs containers in it by task v3, both on the wire."""
    spec = {"ociVersion": "1.0.2", "hostname": "the-pod", "process": {"args": ["/pause"], "cwd": "/"},
            "root": {"path": "rootfs"}, "linux": {"namespaces": [{"type": "network"}]}}
    (tmp_path / "pod.json").write_text(json.dumps(spec))
    pod = name + "-pod"
    with Trace(containerd.process.pid) as trace:
        try:
            containerd.ctr("sandboxes", "run", "--runtime", daemon.RUNTIME, tmp_path / "pod.json", pod)
            shim, qemu = kata.shim_of(pod), kata.qemu_of(pod)
            assert len(shim) == 1 and len(qemu) == 1
            assert pod in containerd.ctr("sandboxes", "ls").stdout
            # Two containers, one after the other, in that one VM.
            for code in (3, 4):
                done = containerd.ctr("run", "--rm", "--runtime", daemon.RUNTIME, "--sandbox", pod, IMAGE, name, "sh",
                                      "-c", f"hostname; exit {code}", check=False)
                assert (done.stdout, done.returncode) == ("the-pod\n", code), done.stderr
                assert (kata.shim_of(pod), kata.qemu_of(pod)) == (shim, qemu)
        finally:
            containerd.ctr("sandboxes", "rm", "-f", pod, check=False)
    assert not kata.qemu_of(pod) and not kata.shim_of(pod)
    assert pod not in containerd.ctr("sandboxes", "ls").stdout
    calls = trace.methods("containerd.runtime.sandbox.v1.Sandbox")
    assert [c for c in calls if c != "SandboxStatus"] == ["CreateSandbox", "StartSandbox", "StopSandbox",
                                                          "ShutdownSandbox"], trace.text[-4000:]
    tasks = trace.methods("containerd.task.v3.Task")
    assert tasks.count("Create") == tasks.count("Start") == tasks.count("Delete") == 2, tasks
    assert not trace.methods("containerd.task.v2.Task")


@pytest.mark.parametrize("caller", ["containerd", "crio"])
def test_start_prints_one_line(containerd, name, config, tmp_path, caller):
    """containerd and CRI-O read both streams together: one line, nothing on standard error, and the daemon keeps
    neither pipe (the command would not end). The line is the JSON form of version 3 for a containerd that
    understands it, which its program tells, and the bare address for containerd 1.x and for CRI-O."""
    document = {"ociVersion": "1.0.2", "process": {"args": ["x"], "cwd": "/"}, "root": {"path": "rootfs"}}
    (tmp_path / "config.json").write_text(json.dumps(document))
    program = containerd.build / "src/shim/containerd-shim-kata-v2"
    address = containerd.socket if caller == "containerd" else ""
    arguments = [program, "-namespace", "default", "-id", name, "-address", address, "-publish-binary",
                 containerd.bin / "containerd"]
    env = dict(os.environ, KATA_CONF_FILE=str(config()))
    if caller == "containerd":
        env["TTRPC_ADDRESS"] = f"{containerd.socket}.ttrpc"
    try:
        done = subprocess.run([*arguments, "start"], cwd=tmp_path, capture_output=True, text=True, timeout=limit(20),
                              check=True, env=env, stdin=subprocess.DEVNULL)
        assert done.stderr == ""
        bare = r"unix:///run/containerd/s/[0-9a-f]{64}"
        if caller == "containerd" and containerd.version == "2":
            assert re.fullmatch(rf'{{"version":3,"address":"{bare}","protocol":"ttrpc"}}\n', done.stdout), done.stdout
        else:
            assert re.fullmatch(rf"{bare}\n", done.stdout), done.stdout
    finally:
        subprocess.run([*arguments, "-bundle", tmp_path, "delete"], cwd=tmp_path, capture_output=True, timeout=limit(20),
                       check=False, env=env)


def test_events(containerd, name):
    """`ctr events` shows the life of a container, in order."""
    topics = []
    with subprocess.Popen(containerd.command("events"), stdout=subprocess.PIPE, text=True) as events:
        time.sleep(limit(0.5))
        containerd.run(IMAGE, name, "true")
        for line in events.stdout:
            topics += re.findall(r"/tasks/(create|start|exit|delete)\b", line) if name in line else []
            if "delete" in topics:
                break
        events.terminate()
    assert [t for i, t in enumerate(topics) if t not in topics[:i]] == ["create", "start", "exit", "delete"]


def test_version_and_info(containerd):
    program = containerd.build / "src/shim/containerd-shim-kata-v2"
    done = subprocess.run([program, "-v"], capture_output=True, text=True, check=True)
    assert "containerd-shim-kata-v2" in done.stdout and done.stderr == ""
    assert subprocess.run([program, "-info"], capture_output=True, stdin=subprocess.DEVNULL, check=True).stdout
