# SPDX-License-Identifier: Apache-2.0
"""What CRI-O's `runtime_type = "vm"` does to a shim: its files, its calls and their order (docs/crio.md)."""

import contextlib
import json
import os
import pathlib
import re
import select
import signal
import subprocess
import tempfile
import threading
import time

import ttrpc
from ociimage import busybox_tree
from patience import limit

CRIO = "/usr/bin/crio"
SERVICE = "containerd.task.v2.Task"
PROCESS = "types.containerd.io/opencontainers/runtime-spec/1/Process"
RESOURCES = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
OPTIONS = "runtimeoptions.v1.Options"
CREATED, RUNNING, STOPPED = 1, 2, 3
CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID", "CAP_KILL"]
MOUNTS = [
    ("/proc", "proc", "proc", ["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    ("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
    ("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
    ("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"]),
]


class Streams:
    """FIFOs as containerd's cri/io makes them for CRI-O, our end of them open, and what came out."""

    def __init__(self, root, container, stdin):
        io = pathlib.Path(root) / "crio/fifo/io"
        io.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.dir = pathlib.Path(tempfile.mkdtemp(dir=io))
        self.paths = [str(self.dir / f"{container}-{name}") for name in ("stdin", "stdout", "stderr")]
        for path in self.paths:
            os.mkfifo(path, 0o700)
        self.fds = [os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in self.paths[1:]]
        if not stdin:
            os.unlink(self.paths[0])
            self.paths[0] = ""

    def write(self, data):
        """Waits for the reader, as CRI-O's open does."""
        with open(self.paths[0], "wb", buffering=0) as fifo:
            fifo.write(data)

    def read(self, stream=1, until=None):
        """To the end of the stream, or until the text is there."""
        text, deadline = b"", time.monotonic() + limit(30)
        while until is None or until not in text.decode(errors="replace"):
            assert time.monotonic() < deadline, f"only {text}"
            poll = select.poll()
            poll.register(self.fds[stream - 1], select.POLLIN)
            if not poll.poll(1000):
                continue
            piece = os.read(self.fds[stream - 1], 65536)
            if not piece:
                # No writer yet is no end of it; a poll does not return then.
                break
            text += piece
        return text.decode(errors="replace")

    def close(self):
        for fd in self.fds:
            os.close(fd)
        self.fds = []
        for path in self.dir.iterdir():
            path.unlink()
        self.dir.rmdir()


class Container:
    """One container of a pod; the infra container has the pod's id."""

    def __init__(self, crio, name, pod, command, tty=False):
        self.crio, self.id, self.pod, self.tty = crio, name, pod, tty
        self.bundle = crio.root / "overlay-containers" / name / "userdata"
        self.merged = crio.root / "overlay" / name / "merged"
        self.streams = self.address = self.log = self.waiter = None
        self.mounted = False
        self.ended = []
        self.process = {
            "user": {"uid": 0, "gid": 0, "additionalGids": [0]}, "args": command, "cwd": "/",
            "env": ["PATH=/bin", "HOSTNAME=web", "TERM=xterm"],
            "capabilities": {kind: CAPABILITIES for kind in ("bounding", "effective", "permitted")},
            "oomScoreAdj": 1000, "selinuxLabel": "system_u:system_r:container_kvm_t:s0:c1,c2",
        }
        if tty:
            self.process["terminal"] = True
        self._make_bundle()

    def _make_bundle(self):
        self.bundle.mkdir(parents=True, mode=0o700)
        tree = self.merged.parent / "tree"
        tree.mkdir(parents=True)
        self.merged.mkdir()
        busybox_tree(tree)
        subprocess.run(["mount", "--bind", tree, self.merged], check=True)
        self.mounted = True
        (self.bundle / "hostname").write_text("web\n")
        annotations = {
            "io.container.manager": "cri-o", "io.kubernetes.cri-o.SandboxID": self.pod,
            "io.kubernetes.cri-o.ContainerType": "sandbox" if self.pod == self.id else "container",
            "io.kubernetes.cri-o.ContainerID": self.id, "io.kubernetes.cri-o.MountPoint": str(self.merged),
            "io.kubernetes.cri-o.TTY": str(self.tty).lower(), "io.kubernetes.cri-o.Namespace": "shop",
        }
        mounts = [{"destination": d, "type": t, "source": s, "options": o} for d, t, s, o in MOUNTS]
        mounts += [{"destination": "/etc/hostname", "type": "bind", "source": str(self.bundle / "hostname"),
                    "options": ["ro", "bind", "nodev", "nosuid", "noexec"]},
                   {"destination": "/dev/shm", "type": "bind", "source": str(self.crio.shm), "options": ["rw", "bind"]}]
        spec = {
            "ociVersion": "1.2.1", "process": self.process, "root": {"path": str(self.merged)}, "hostname": "web",
            "mounts": mounts, "annotations": annotations,
            "linux": {
                "cgroupsPath": f"/{self.crio.group}/crio-{self.id}", "resources": {
                    "devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": -1}, "cpu": {"shares": 2}},
                "namespaces": [{"type": "network", "path": f"/run/netns/{self.crio.netns}"}, {"type": "pid"},
                               {"type": "ipc", "path": "/var/run/ipcns/1"}, {"type": "uts", "path": "/var/run/utsns/1"},
                               {"type": "mount"}]},
        }
        (self.bundle / "config.json").write_text(json.dumps(spec))

    def unmount(self):
        """StorageRuntimeServer().StopContainer: the root file system goes before the container does."""
        subprocess.run(["umount", self.merged], check=True)
        self.mounted = False

    def start_shim(self):
        os.mkfifo(self.bundle / "log", 0o700)
        self.log = os.open(self.bundle / "log", os.O_RDONLY | os.O_NONBLOCK)
        env = dict(os.environ, GOMAXPROCS="2", MAX_SHIM_VERSION="2", TTRPC_ADDRESS="", GRPC_ADDRESS="",
                   NAMESPACE="default")
        done = subprocess.run([self.crio.shim, "-namespace", "default", "-address", "", "-publish-binary", CRIO, "-id",
                               self.id, "start"], cwd=self.bundle, env=env, stdin=subprocess.DEVNULL, check=True,
                              capture_output=True, text=True, timeout=limit(20))
        assert done.stderr == "" and re.fullmatch(r"unix:///\S+\n", done.stdout), done
        self.address = done.stdout.strip()

    def reconnect(self):
        """As after a restart of CRI-O: from the file in the bundle."""
        self.address = (self.bundle / "address").read_text().strip()

    def call(self, method, fields, timeout=60):
        path = self.address.removeprefix("unix://")
        answer = ttrpc.call(path, SERVICE, method, {1: self.id, **fields}, limit(timeout))
        return ttrpc.fields_of(ttrpc.fields_of(answer).get(2, b""))

    def create(self):
        self.streams = Streams(self.crio.root, self.id, False)
        options = ttrpc.message({1: OPTIONS, 2: ttrpc.message({2: str(self.crio.config)})})
        answer = self.call("Create", {2: str(self.bundle), 4: self.tty, 6: self.streams.paths[1],
                                      7: self.streams.paths[2], 10: options})
        assert pathlib.Path(f"/proc/{answer[1]}/stat").exists()

    def run(self):
        self.start_shim()
        self.create()
        self.call("Start", {})
        self.waiter = threading.Thread(target=self._wait)
        self.waiter.start()
        return self

    def _wait(self):
        with contextlib.suppress(OSError, RuntimeError, ValueError, AssertionError):
            self.ended.append(self.wait())

    def wait(self, exec_id="", timeout=600):
        return self.call("Wait", {2: exec_id}, timeout).get(1, 0)

    def state(self):
        """(status, exit code); its streams must be those of Create, from which CRI-O restores its own."""
        answer = self.call("State", {})
        assert [answer.get(n, b"").decode() for n in (5, 6, 7)] == self.streams.paths
        assert answer.get(8, 0) == self.tty
        return answer[4], answer.get(9, 0)

    def kill(self, number, exec_id=""):
        self.call("Kill", {2: exec_id, 3: int(number)})

    def exec(self, *command, stdin=None, tty=False, size=None, timeout=None):
        """(exit code, stdout, stderr); -2 when it ran out of time."""
        exec_id = os.urandom(32).hex()
        streams = Streams(self.crio.root, self.id, stdin is not None)
        try:
            process = json.dumps({**self.process, "args": command})
            self.call("Exec", {2: exec_id, 3: tty, 4: streams.paths[0], 5: streams.paths[1], 6: streams.paths[2],
                               7: ttrpc.message({1: PROCESS, 2: process})})
            self.call("Start", {2: exec_id})
            if size:
                self.call("ResizePty", {2: exec_id, 3: size[0], 4: size[1]})
            if stdin is not None:
                streams.write(stdin)
                if not tty:
                    self.call("CloseIO", {2: exec_id, 3: True})
            if timeout:
                time.sleep(timeout)
                self.kill(signal.SIGKILL, exec_id)
                assert self.wait(exec_id) == 128 + signal.SIGKILL
                return -2, "", ""
            code = self.wait(exec_id)
            self.call("Delete", {2: exec_id})
            return code, streams.read(1), "" if tty else streams.read(2)
        finally:
            streams.close()

    def stats(self):
        """(type of the metrics, their fields)."""
        answer = ttrpc.fields_of(self.call("Stats", {})[1])
        return answer[1].decode(), ttrpc.fields_of(answer[2])

    def update(self, resources):
        self.call("Update", {2: ttrpc.message({1: RESOURCES, 2: json.dumps(resources)})})

    def stop(self, timeout=10):
        """StopContainer: SIGTERM, and SIGKILL when its time is over; then the root file system is unmounted."""
        self.kill(signal.SIGTERM)
        try:
            code = self.wait(timeout=timeout)
        except TimeoutError:
            self.kill(signal.SIGKILL)
            code = self.wait()
        self.unmount()
        return code

    def remove(self):
        """DeleteContainer: the FIFOs first."""
        self.streams.close()
        self.call("Delete", {})
        with contextlib.suppress(OSError, ValueError):  # the connection may end before the answer
            self.call("Shutdown", {})

    def close(self):
        """What a failed test has left."""
        if self.mounted:
            self.unmount()
        if self.waiter:
            self.waiter.join(limit(10))
        if self.log is not None:
            os.close(self.log)


class Crio:
    """with Crio(shim, config, root, netns) as crio: containers are made by it and cleaned up with it."""

    def __init__(self, shim, config, root, netns, group):
        self.shim, self.config, self.root, self.netns, self.group = shim, config, pathlib.Path(root), netns, group
        self.shm = self.root / "shm"
        self.private = self.root / "overlay"
        self.containers = []

    def __enter__(self):
        self.shm.mkdir(parents=True)
        # As containers/storage does with its folder: nothing below it propagates to other namespaces.
        self.private.mkdir()
        subprocess.run(["mount", "--bind", self.private, self.private], check=True)
        subprocess.run(["mount", "--make-private", self.private], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "shm", self.shm], check=True)
        return self

    def container(self, name, pod, *command, tty=False):
        self.containers.append(Container(self, name, pod, list(command), tty))
        return self.containers[-1]

    def __exit__(self, *_):
        for container in self.containers:
            container.close()
        for folder in (self.private, self.shm):
            subprocess.run(["umount", folder], check=True)
