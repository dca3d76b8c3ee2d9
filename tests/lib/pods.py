# SPDX-License-Identifier: Apache-2.0
"""Pods for tests: made from few words, watched through the API, with what went wrong in every error."""

import copy
import json
import subprocess

import images
from patience import limit, wait

BUSYBOX = "localhost/busybox:latest"
PYTHON = "localhost/python:latest"
NET_TOOLBOX = "localhost/net-toolbox:latest"
NGINX = "nginx:latest"
SUITES = "localhost/filesystem-suites:latest"
FOREVER = ["sleep", "100000"]
START = 60  # seconds that a pod may take to run, on an idle machine


class Pod:
    """A pod that has been applied. `manifest` is what was sent."""

    def __init__(self, node, manifest):
        self.node = node
        self.manifest = manifest
        self.name = manifest["metadata"]["name"]
        self.namespace = manifest["metadata"].get("namespace", "default")
        self.uid = node.api.create(manifest)["metadata"]["uid"]

    # --- what it is ---

    def get(self):
        """The object now; None when it is gone."""
        found = self.node.api.get("Pod", self.name, self.namespace)
        return found if found and found["metadata"]["uid"] == self.uid else None

    @property
    def status(self):
        found = self.get()
        return found["status"] if found else {}

    @property
    def phase(self):
        return self.status.get("phase")

    @property
    def ip(self):
        return self.status["podIP"]

    @property
    def ips(self):
        return [entry["ip"] for entry in self.status["podIPs"]]

    def container(self, name=None):
        """The status of a container (the first without a name), be it an init container or an ephemeral one."""
        status = self.status
        every = [entry for kind in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
                 for entry in status.get(kind, [])]
        return next((entry for entry in every if name in (None, entry["name"])), None)

    def container_id(self, name=None):
        return self.container(name)["containerID"].removeprefix("containerd://")

    def ids(self):
        """The containers, the sandbox's among them, that containerd has of the pod."""
        return self.node.ctr("containers", "ls", "-q", f'labels."io.kubernetes.pod.uid"=={self.uid}').stdout.split()

    @property
    def sandbox(self):
        """The ID of its sandbox, from a container's specification, as `crictl inspect` shows it."""
        facts = json.loads(self.node.ctr("containers", "info", self.container_id()).stdout)
        return facts["Spec"]["annotations"]["io.kubernetes.cri.sandbox-id"]

    def describe(self):
        """What kubectl describe says in many words."""
        found = self.get()
        if not found:
            return f"pod {self.name}: gone"
        events = "\n".join(f"  {reason}: {message}" for reason, message in self.node.api.events(self.name, self.namespace))
        return f"pod {self.name}: {json.dumps(found['status'], indent=1)}\nevents:\n{events}"

    # --- waiting ---

    def wait(self, what, condition, seconds=START):
        """The first true value of condition(status)."""
        return wait(f"pod {self.name}: {what}", lambda: condition(self.status), seconds, problem=self.describe)

    def _fail_if_over(self, status):
        if status.get("phase") in ("Failed", "Succeeded"):
            raise RuntimeError(f"it has ended\n{self.describe()}")

    def _running(self, status):
        self._fail_if_over(status)
        states = status.get("containerStatuses", [])
        return status.get("phase") == "Running" and states and all("running" in c["state"] for c in states)

    def runs(self):
        """Every container does, now."""
        return self._running(self.status)

    def wait_running(self, seconds=START):
        self.wait("Running", self._running, seconds)
        return self

    def wait_ready(self, seconds=START):
        def ready(status):
            self._fail_if_over(status)
            return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))

        self.wait("Ready", ready, seconds)
        return self

    def wait_ended(self, seconds=START):
        """Succeeded or Failed, which is returned."""
        return self.wait("its end", lambda status: status.get("phase") in ("Succeeded", "Failed") and status["phase"],
                         seconds)

    def wait_succeeded(self, seconds=START):
        phase = self.wait_ended(seconds)
        if phase != "Succeeded":
            raise RuntimeError(f"{phase}, not Succeeded\n{self.describe()}\nlog:\n{self.logs()}")
        return self

    def wait_waiting(self, reason, seconds=START, container=None):
        """A container waits for this reason (ErrImagePull, CreateContainerError, ...); returns its message."""
        def waiting(_):
            state = (self.container(container) or {}).get("state", {}).get("waiting", {})
            return state.get("reason") == reason and (state.get("message") or "-")

        return self.wait(reason, waiting, seconds)

    # --- doing ---

    def exec_command(self, *command, container=None, options=()):
        """The argument list of kubectl exec, for Popen."""
        where = ["-c", container] if container else []
        return self.node.kubectl_command("-n", self.namespace, "exec", self.name, *where, *options, "--", *command)

    def exec(self, *command, container=None, options=(), check=True, timeout=30, **kwargs):
        """kubectl exec; the CompletedProcess with text output."""
        if "input" in kwargs:
            options = ("-i", *options)
        kwargs = {"capture_output": True, "text": True, **({} if "input" in kwargs else {"stdin": subprocess.DEVNULL}),
                  **kwargs}
        done = subprocess.run(self.exec_command(*command, container=container, options=options),
                              timeout=limit(timeout), check=False, **kwargs)
        if check and done.returncode:
            raise RuntimeError(f"exec {' '.join(command)} in {self.name}: exit {done.returncode}\n"
                               f"stdout: {done.stdout}\nstderr: {done.stderr}")
        return done

    def output(self, *command, **kwargs):
        """What a command in the pod prints, stripped."""
        return self.exec(*command, **kwargs).stdout.strip()

    def logs(self, container=None, **query):
        """The log as text; query as of the API: previous="true", tailLines=3, ..."""
        if container:
            query["container"] = container
        tail = "&".join(f"{key}={value}" for key, value in query.items())
        path = f"{self.node.api.path('Pod', self.name, self.namespace)}/log?{tail}"
        status, text = self.node.api.raw("GET", path)
        if status != 200:
            raise RuntimeError(f"log of {self.name}: {status} {text}")
        return text

    def delete(self, grace=None, seconds=START):
        """Until the API has it no more, which is when nothing of it runs or is mounted."""
        self.node.api.delete("Pod", self.name, self.namespace, grace)
        wait(f"the end of pod {self.name}", lambda: not self.get(), seconds, problem=self.describe)


def manifest(name, handler, *command, image=BUSYBOX, container=None, spec=None, metadata=None):
    """A pod of one container `c` that runs command (of the image without one). `container`, `spec` and `metadata` are
    laid over what is made here; a spec with `containers` of its own replaces the one container."""
    first = {"name": "c", "image": image, **({"command": list(command)} if command else {}), **(container or {})}
    whole = {"containers": [first], "terminationGracePeriodSeconds": 1, **copy.deepcopy(spec or {})}
    if handler:
        whole["runtimeClassName"] = handler
    return {"kind": "Pod", "metadata": {"name": name, **(metadata or {})}, "spec": whole}


def needed_images(spec):
    """Those of lib/images.py that a pod's specification names."""
    every = [c["image"] for kind in ("initContainers", "containers") for c in spec.get(kind, [])]
    every += [volume["image"]["reference"] for volume in spec.get("volumes", []) if "image" in volume]
    return [image for image in every if image in images.MAKERS]
