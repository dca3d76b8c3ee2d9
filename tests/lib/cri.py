# SPDX-License-Identifier: Apache-2.0
"""A node for tests that speak CRI: containerd 2 with its CRI plugin, a registry and a pod network, all in a network
namespace of its own. Nothing of it is left when it ends."""

import hashlib
import itertools
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import containerd
import kata
from netspace import Netspace

CNI_PLUGINS = "/usr/lib/cni"
CNI_STATE = pathlib.Path("/var/lib/cni")  # of host-local, as the tests expect
SHIM_SOCKETS = pathlib.Path("/run/containerd/s")
REGISTRY = "localhost:5000"
PAUSE = f"{REGISTRY}/pause:latest"
RESTART = 1.5  # seconds without the daemon when it has ended: longer than a second, at which the tests look
_networks = itertools.count(100)  # nodes that run at the same time share CNI_STATE, where the tests look for addresses
IDS = re.compile(rb"\b[0-9a-f]{64}\b")


class Node(containerd.Containerd):
    """with Node(name, handler, config, archives): `handler` ("runc" or "kata") is the default one; `config` is the
    configuration.toml of kata, `archives` are the images that can be pulled from REGISTRY. The daemon's program is called
    `name`, so that it can be ended by this name alone; it is started again when it ends."""

    def __init__(self, name, handler, config, archives, build=containerd.TREE / "build"):
        super().__init__("2", build)
        self.name = name
        self.handler = handler
        self.config = config
        self.archives = archives
        self.netspace = Netspace(name, next(_networks) % 256)
        self.registry = None
        self.stopping = threading.Event()
        self.keeper = threading.Thread(target=self._keep, daemon=True)

    # --- what a node is made of ---

    def _write_config(self):
        runtime = 'plugins."io.containerd.cri.v1.runtime"'
        (self.dir / "config.toml").write_text(f"""version = 3
root = "{self.dir}/root"
state = "{self.state}"
disabled_plugins = ["io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs", "io.containerd.nri.v1.nri"]
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE}"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "{self.dir}/certs.d"
[{runtime}]
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  ignore_image_defined_volumes = false
  drain_exec_sync_io_timeout = "10s"
  max_container_log_line_size = 4096
[{runtime}.cni]
  bin_dirs = ["{CNI_PLUGINS}"]
  conf_dir = "{self.dir}/cni"
[{runtime}.containerd]
  default_runtime_name = "{self.handler}"
[{runtime}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[{runtime}.containerd.runtimes.kata]
  runtime_type = "{containerd.RUNTIME}"
  runtime_path = "{self.build}/src/shim/containerd-shim-kata-v2"
  privileged_without_host_devices = true
[{runtime}.containerd.runtimes.kata.options]
  ConfigPath = "{self.config}"
""")
        hosts = self.dir / "certs.d" / REGISTRY / "hosts.toml"
        hosts.parent.mkdir(parents=True, exist_ok=True)
        hosts.write_text(f'server = "http://{REGISTRY}"\n')
        (self.dir / "cni").mkdir(exist_ok=True)
        (self.dir / "cni/10-pods.conflist").write_text(self.netspace.cni(CNI_STATE / self.name))

    def _in_namespace(self):
        return self.netspace.command()

    def _start_registry(self):
        program = pathlib.Path(__file__).with_name("registry.py")
        command = [*self._in_namespace(), sys.executable, program, REGISTRY.rsplit(":", 1)[1], *self.archives]
        with self.log.open("ab") as log:
            self.registry = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        if self.registry.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the registry does not start: {self.log.read_text()[-2000:]}")

    # --- life ---

    def start(self):
        try:
            return self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self):
        self.netspace.create()
        self._start_registry()
        self.program = self.dir / self.name
        self.program.symlink_to(self.bin / "containerd")
        super().start()
        self.keeper.start()
        return self

    def _keep(self):
        """Start the daemon again when somebody has ended it."""
        while not self.stopping.wait(0.1):
            if self.process.poll() is not None and not self.stopping.wait(RESTART):
                super().start()

    def stop(self):
        self.stopping.set()
        if self.keeper.is_alive():
            self.keeper.join()
        if self.process and self.process.poll() is None:
            self._remove_pods()
        if self.registry:
            self.registry.kill()
            self.registry.communicate()
        super().stop()
        self._end_lost_shims_of_runc()
        if self.netspace.exists():
            self.netspace.delete()
        subprocess.run(["rm", "-rf", CNI_STATE / self.name], check=False)
        for folder in [CNI_STATE, *pathlib.Path("/sys/fs/cgroup").glob("*/k8s.io")]:
            try:
                folder.rmdir()
            except OSError:
                pass  # somebody else's, too

    def _remove_pods(self):
        """Only what a failed test has left: pods are removed by whoever made them."""
        for kind in ("task", "container"):
            names = self.ctr("--namespace", "k8s.io", kind, "ls", "-q", check=False).stdout.split()
            for name in names:
                self.ctr("--namespace", "k8s.io", kind, "rm", *(["-f"] if kind == "task" else []), name, check=False)

    def _end_lost_shims_of_runc(self):
        """Tests kill the daemon while it makes a sandbox; the next one does not know of a shim of runc's that had no task
        yet. What is tested here are ours, which are looked for at the end."""
        for pid in kata.processes(rf"containerd-shim-runc-v2 .*-address {re.escape(str(self.socket))}( |$)"):
            words = kata.cmdline(pid)
            named = {option: words[words.index(option) + 1] for option in ("-namespace", "-id")}
            print(f"runc's shim of {named['-id']} was lost by its containerd, and is ended")
            os.kill(pid, signal.SIGKILL)
            name = hashlib.sha256(f"{self.socket}/{named['-namespace']}/{named['-id']}".encode()).hexdigest()
            (SHIM_SOCKETS / name).unlink(missing_ok=True)

    def test(self, program, *options):
        """The argument list of containerd's integration tests on this node."""
        return [*self._in_namespace(), program, "-cri-endpoint", f"unix://{self.socket}", "-runtime-handler", self.handler,
                "-containerd-bin", self.name, *options]

    def names(self):
        """What names things of this node: its folder, and the ids of all that its daemon has spoken of."""
        return {str(self.dir), *(x.decode() for x in IDS.findall(self.log.read_bytes()))}
