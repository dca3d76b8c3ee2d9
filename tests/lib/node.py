# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes node of real parts that lives in a network namespace and a folder of its own.

    with Node("mine", generation="2") as node: node.api.create({"kind": "Pod", ...})

etcd, API server, controller manager, scheduler, kubelet, kube-proxy, DNS, containerd (with this tree's shim behind the
handler `kata`, and runc) and a registry from which every image is pulled. Several nodes run beside each other on one
machine: all that a node has outside its folder bears its name. It outlives the process that starts it, until stop().
"""

import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import blockfile
import containerd as daemon
import images
import kata
import kubeapi
import nodeconfig
import pki
from daemons import Daemon
from netspace import Netspace
from nodegroup import NodeGroup
from patience import limit, wait

NODES = daemon.CACHE / "nodes"
DAEMONS = ("etcd", "registry", "containerd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy",
           "dns", "kubelet")
CNI_RESULTS = pathlib.Path("/var/lib/cni/results")
CONTAINER_LOGS = pathlib.Path("/var/log/containers")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


def programs():
    """The folder of what ci/kubernetes builds."""
    pinned = re.search(r"^KUBERNETES_VERSION=(\S+)", (daemon.TREE / "ci/lib.sh").read_text(), re.MULTILINE)[1]
    folder = daemon.CACHE / f"kubernetes-{pinned}"
    for name in ("kube", "kubectl", "registry"):
        if not (folder / name).exists():
            raise FileNotFoundError(f"no {folder / name}: run ci/kubernetes")
    return folder


class Node:
    """See above. `report` is told what happens, for a person who waits."""

    def __init__(self, name="kata", generation="2", build=daemon.TREE / "build", report=lambda text: None):
        if not NAME.fullmatch(name):
            raise ValueError(f"'{name}' cannot name a node: lower-case letters, digits and dashes, at most 31")
        self.name = name
        self.generation = generation
        self.build = pathlib.Path(build).resolve()
        self.report = report
        self.folder = NODES / name
        self.long_name = f"kata-node-{name}"  # of all that lies outside the folder
        self.netspace = Netspace(self.long_name, nodeconfig.NETWORK)
        self.group = NodeGroup(self.long_name)
        self.socket = self.folder / "containerd.sock"
        self.kubeconfig = self.folder / "pki/admin.kubeconfig"
        self.daemons = {part: Daemon(self.folder, part) for part in DAEMONS}
        self._api = None
        self._images = None

    @classmethod
    def existing(cls, name, report=lambda text: None):
        """The node of this name that somebody has started, in whatever state it is; None if there is none."""
        try:
            facts = json.loads((NODES / name / "node.json").read_text())
        except (OSError, ValueError):
            return None
        return cls(name, facts["generation"], facts["build"], report)

    # --- state ---

    @property
    def api(self):
        if self._api is None:
            self._api = kubeapi.Api(self.netspace, nodeconfig.ADDRESS, nodeconfig.API_PORT, self.folder / "pki")
        return self._api

    def exists(self):
        return self.folder.exists() or self.netspace.exists()

    def running(self):
        """All of it runs and is Ready."""
        return all(d.pid for d in self.daemons.values()) and self._ready()

    def _ready(self):
        try:
            node = self.api.get("Node", self.name)
        except (OSError, http.client.HTTPException, kubeapi.ApiError):
            return False
        conditions = node["status"].get("conditions", []) if node else []
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def _check(self):
        for part in self.daemons.values():
            if part.notes.exists():
                part.check()

    def leak_folders(self):
        """Where a pod that has gone could have left something of the node's. The kubelet gives containerd leave to forget
        a sandbox and its containers once a minute: their records are no leak."""
        state = self.folder / "containerd/state"
        return [self.folder / "cni-addresses" / self.long_name, self.folder / "kubelet/pods",
                state / "io.containerd.runtime.v2.task/k8s.io", state / "io.containerd.grpc.v1.cri/netns"]

    # --- clients ---

    def ctr(self, *args, check=True, **kwargs):
        """ctr in the namespace of the kubelet's containers."""
        command = [daemon.binaries(self.generation) / "ctr", "-a", self.socket, "-n", "k8s.io", *args]
        kwargs = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, **kwargs}
        done = subprocess.run([*map(str, command)], timeout=limit(60), check=False, **kwargs)
        if check and done.returncode:
            raise RuntimeError(f"ctr {' '.join(map(str, args))}: {done.stderr}")
        return done

    def kubectl_command(self, *args):
        return self.netspace.command(programs() / "kubectl", f"--kubeconfig={self.kubeconfig}", *args)

    def kubectl(self, *args, check=True, timeout=60, **kwargs):
        """kubectl as the administrator; text output is captured unless kwargs say otherwise."""
        kwargs = {"capture_output": True, "text": True, **kwargs}
        if "input" not in kwargs:
            kwargs.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run(self.kubectl_command(*args), timeout=limit(timeout), check=False, **kwargs)
        if check and done.returncode:
            raise RuntimeError(f"kubectl {' '.join(map(str, args))}: exit {done.returncode}\n"
                               f"stdout: {done.stdout}\nstderr: {done.stderr}")
        return done

    def http(self, host, port=80, path="/", timeout=10):
        """(status, text) of a GET from the node."""
        return self._http(host, port, "GET", path, None, "", timeout)[::2]

    def _http(self, host, port, method, path, body, kind, timeout):
        connection = http.client.HTTPConnection(host, port)
        connection.sock = self.netspace.connect(host, port, limit(timeout))
        try:
            connection.request(method, path, body=body, headers={"Content-Type": kind} if kind else {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def image(self, name):
        """Make sure that the registry has an image of lib/images.py; returns its name."""
        if self._images is None:
            self._images = self.folder / "images"
            self._images.mkdir(exist_ok=True)
        done = self._images / name.replace("/", "+")
        if not done.exists():
            images.push(self._registry_request, name)
            done.touch()
        return name

    def _registry_request(self, method, path, body, kind):
        return self._http("127.0.0.1", nodeconfig.REGISTRY_PORT, method, path, body, kind, 60)[:2]

    # --- start ---

    def start(self):
        """From nothing to Ready. What is left of a node of this name that has crashed goes first."""
        if self.exists():
            self.report(f"clearing away an earlier node '{self.name}'")
            self.stop()
        try:
            self._start()
        except BaseException:
            self.report("this did not work: taking it all back")
            self.stop()
            raise
        return self

    def _start(self):
        kube = programs() / "kube"
        image = kata.make_image(self.build)
        self.folder.mkdir(parents=True, mode=0o711)
        # What the kubelet mounts, in a mount namespace of its own, must be seen by containerd.
        subprocess.run(["mount", "--bind", self.folder, self.folder], check=True)
        subprocess.run(["mount", "--make-shared", self.folder], check=True)
        self.netspace.create()
        self.netspace.run("ip", "addr", "add", f"{nodeconfig.DNS_ADDRESS}/32", "dev", "lo")
        self.group.make()
        self._write_files(image)
        commands = nodeconfig.commands(self.folder, self.name, kube, self.netspace.has_ipv6())
        commands["kubelet"] = self._with_own_sysctls(commands["kubelet"])
        commands["containerd"] = [daemon.binaries(self.generation) / "containerd", "-c", self.folder / "containerd.toml"]
        commands["registry"] = [programs() / "registry", "serve", self.folder / "registry.json"]
        commands["dns"] = [sys.executable, daemon.TREE / "tests/lib/clusterdns.py", self.folder]

        def begin(*parts):
            for part in parts:
                self._begin(part, commands[part])

        self.report("etcd, API server, registry and containerd")
        begin("etcd", "registry", "containerd", "kube-apiserver")
        self._await("the registry", lambda: self._answers("127.0.0.1", nodeconfig.REGISTRY_PORT))
        self.image(nodeconfig.PAUSE)
        self._await("containerd", lambda: self.socket.exists() and self.ctr("version", check=False).returncode == 0)
        self._await("the API server", self._api_ready)
        self.report("controllers, scheduler, kubelet, kube-proxy and DNS")
        begin("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "dns")
        for runtime_class in nodeconfig.RUNTIME_CLASSES:
            self.api.create(runtime_class)
        self._await("the service account 'default'", lambda: self.api.get("ServiceAccount", "default"))
        self._await("the node", self._ready)

    def _begin(self, part, command):
        """With no more of our environment than it needs: etcd and the registry take settings from there."""
        path = f"{self.build}/src/shim:{daemon.binaries(self.generation)}:/usr/sbin:/usr/bin:/sbin:/bin"
        self.daemons[part].start(self.netspace.command(*command), {
            "PATH": path, "HOME": "/root", "KATA_CONF_FILE": str(self.folder / "configuration.toml")})

    def _await(self, what, condition):
        def progress():
            self._check()
            return condition()

        wait(what, progress, 60, problem=lambda: f"The logs are in {self.folder}")

    def _answers(self, host, port):
        try:
            self.netspace.connect(host, port, 1).close()
            return True
        except OSError:
            return False

    def _api_ready(self):
        try:
            return self.api.raw("GET", "/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def _write_files(self, image):
        write = {
            "node.json": json.dumps({"generation": self.generation, "build": str(self.build)}),
            "kubelet.json": json.dumps(nodeconfig.kubelet(self.folder, self.long_name)),
            "proxy.json": json.dumps(nodeconfig.proxy(self.folder)),
            "registry.json": json.dumps(nodeconfig.registry(self.folder)),
            "cni/10-pods.conflist": self.netspace.cni(self.folder / "cni-addresses"),
            "certs.d/_default/hosts.toml":
                f'[host."http://127.0.0.1:{nodeconfig.REGISTRY_PORT}"]\ncapabilities = ["pull", "resolve"]\n',
            "resolv.conf": f"nameserver {nodeconfig.DNS_ADDRESS}\n",
            "containerd.toml": nodeconfig.containerd(self.folder, self.generation,
                                                     self.build / "src/shim/containerd-shim-kata-v2",
                                                     self.folder / "configuration.toml"),
        }
        for name, text in write.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        blockfile.make_scratch(self.folder / "scratch.ext4")
        self._configure_kata(image)
        pki.make(self.folder / "pki", self.name,
                 [nodeconfig.ADDRESS, nodeconfig.ADDRESS6, nodeconfig.API_ADDRESS, "127.0.0.1"],
                 f"https://{nodeconfig.ADDRESS}:{nodeconfig.API_PORT}")

    def _configure_kata(self, image):
        """Pods are restored from a template, unless KATA_TEST_BOOT is set."""
        files = {"configuration.toml": {}}
        if self.generation == "2":
            files[nodeconfig.UNSHARED] = {"shared_fs": "none"}
        factory = {"enable_template": True, "template_path": str(self.folder / "templates"), "auto_build_template": False}
        for name, hypervisor in files.items():
            if os.environ.get("KATA_TEST_BOOT"):
                kata.write_config(self.folder / name, image, **hypervisor)
                continue
            self.report("a template of a virtual machine")
            shared = {"shared_clones": "shared_fs" in hypervisor}
            kata.make_template(kata.write_config(self.folder / name, image, {"factory": {**factory, **shared}}, **hypervisor),
                               self.build)

    def _with_own_sysctls(self, command):
        """A kubelet sets some of the machine's sysctls: this one sees files of its own in their place, which have the
        wanted values."""
        script = "mount --make-private /proc\n"
        for name, value in nodeconfig.SYSCTLS.items():
            mine = self.folder / "sysctls" / name.replace("/", ".")
            mine.parent.mkdir(exist_ok=True)
            mine.write_text(f"{value}\n")
            script += f"mount --bind {mine} /proc/sys/{name}\n"
        script += 'exec "$@"'
        return ["unshare", "--mount", "--propagation", "unchanged", "sh", "-ec", script, "kubelet", *command]

    # --- stop ---

    def stop(self):
        """Pods first, then the daemons in order, then all that they have made. Works on any part that is there."""
        if self.daemons["kube-apiserver"].pid:
            self._stop_pods()
        for part in ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "dns"):
            self.daemons[part].stop()
        if self.daemons["containerd"].pid:
            self._stop_containers()
        for part in ("kube-apiserver", "etcd", "registry", "containerd"):
            self.daemons[part].stop()
        self._kill_rest()
        if self._api:
            self._api.close()
            self._api = None
        self._images = None
        self._unmount()
        self.group.remove(self.report)
        if self.netspace.exists():
            self.netspace.delete()
        for link in CONTAINER_LOGS.glob("*.log") if CONTAINER_LOGS.exists() else ():
            if link.is_symlink() and os.readlink(link).startswith(f"{self.folder}/"):
                link.unlink()
        for result in CNI_RESULTS.iterdir() if CNI_RESULTS.exists() else ():
            if f"{self.folder}/" in result.read_text():
                result.unlink()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.exists():
            shutil.rmtree(self.folder)
        for parent in (NODES, CONTAINER_LOGS):
            if parent.exists() and not any(parent.iterdir()):
                parent.rmdir()

    def _stop_pods(self):
        """Who would make new ones goes before."""
        self.report("deleting the pods")
        self.daemons["kube-controller-manager"].stop()
        try:
            for pod in self.api.list("Pod", None):
                self.api.delete("Pod", pod["metadata"]["name"], pod["metadata"]["namespace"], grace=1)
            if self.daemons["kubelet"].pid and self.daemons["containerd"].pid:
                wait("the end of all pods", lambda: not self.api.list("Pod", None), 30)
        except (OSError, http.client.HTTPException, kubeapi.ApiError, TimeoutError, RuntimeError,
                subprocess.TimeoutExpired) as error:
            self.report(f"the pods have to be forced: {error}")

    def _containers(self):
        return self.ctr("containers", "ls", "-q").stdout.split()

    def _stop_containers(self):
        """Those that the kubelet could not."""
        try:
            for name in self._containers():
                self.ctr("tasks", "rm", "-f", name, check=False)
                self.ctr("containers", "rm", name, check=False)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            self.report(str(error))

    def _kill_rest(self):
        """Shims that have lost their containerd, containers that have lost their shim, and whatever else is still in the
        node's network or groups."""
        def rest():
            found = set(self.netspace.processes() if self.netspace.exists() else [])
            found.update(kata.processes(rf"-address {re.escape(str(self.socket))}\b"))
            found.update(self.group.processes())
            return found - {os.getpid(), 0}

        for number in (15, 9):
            end = time.monotonic() + limit(5)
            for pid in rest():
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            while rest() and time.monotonic() < end:
                time.sleep(0.05)

    def _mounts(self):
        mounts = pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
        return [path for path in (line.split()[1] for line in mounts)
                if path == str(self.folder) or path.startswith(f"{self.folder}/")]

    def _unmount(self):
        for path in reversed(self._mounts()):
            subprocess.run(["umount", "-l", path], check=False)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
