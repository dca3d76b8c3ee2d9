# SPDX-License-Identifier: Apache-2.0
"""What a container's processes may do: users, capabilities, seccomp, limits, files they may not see, privileges."""

import re

import kata
import pods
import pytest
from patience import wait

pytestmark = pytest.mark.usefixtures("handler")  # each with both

DEFAULT_CAPABILITIES = 0x00000000a80425fb


def security(**context):
    return {"securityContext": context}


def status(pod, field, **kwargs):
    """A line of /proc/self/status of a process in the container."""
    return re.search(rf"^{field}:\s*(.*)$", pod.output("cat", "/proc/self/status", **kwargs), re.MULTILINE)[1]


def test_user_and_groups(pod):
    p = pod(container=security(runAsUser=1234, runAsGroup=5678))
    assert p.output("id") == "uid=1234 gid=5678 groups=5678"
    assert p.output("sh", "-c", "touch /x; echo $?").endswith("1")


def test_run_as_non_root(pod):
    """An image whose user is root is refused before it starts."""
    p = pod(wait=None, container=security(runAsNonRoot=True))
    assert "runAsNonRoot" in p.wait_waiting("CreateContainerConfigError")


def test_capabilities(pod):
    """The default set; one added, one dropped; none."""
    p = pod(spec={"containers": [
        {"name": name, "image": pods.BUSYBOX, "command": pods.FOREVER, **security(capabilities=change)}
        for name, change in (("default", {}), ("changed", {"add": ["NET_ADMIN"], "drop": ["CHOWN"]}), ("none", {"drop": ["ALL"]}))]})
    sets = {name: int(status(p, "CapEff", container=name), 16) for name in ("default", "changed", "none")}
    assert sets["default"] == DEFAULT_CAPABILITIES
    assert sets["changed"] == (DEFAULT_CAPABILITIES | 1 << 12) & ~1
    assert sets["none"] == 0
    assert p.exec("chown", "7", "/tmp", container="changed", check=False).returncode != 0
    p.output("chown", "7", "/tmp", container="default")
    assert int(status(p, "CapInh", container="default"), 16) == 0


def test_no_new_privileges(pod):
    p = pod(container=security(allowPrivilegeEscalation=False))
    assert status(pod=p, field="NoNewPrivs") == "1"


def test_seccomp(pod):
    """The runtime's default profile forbids what runc's does; unconfined does not. 2 is a filter."""
    p = pod(spec={"containers": [
        {"name": kind.lower(), "image": pods.BUSYBOX, "command": pods.FOREVER, **security(seccompProfile={"type": kind})}
        for kind in ("RuntimeDefault", "Unconfined")]})
    assert status(p, "Seccomp", container="runtimedefault") == "2"
    assert status(p, "Seccomp", container="unconfined") == "0"
    refused = p.exec("unshare", "-U", "true", container="runtimedefault", check=False)
    assert refused.returncode != 0 and "not permitted" in refused.stderr


def test_masked_and_read_only_paths(pod):
    """/proc and /sys show what is harmless; `procMount: Unmasked` is for pods with users of their own."""
    p = pod()
    assert p.exec("cat", "/proc/kcore", check=False).stdout == "" and p.exec("cat", "/proc/keys", check=False).stdout == ""
    assert p.exec("sh", "-c", "echo b >/proc/sysrq-trigger", check=False).returncode != 0
    assert p.exec("sh", "-c", "echo 1 >/proc/sys/kernel/panic", check=False).returncode != 0
    assert p.output("ls", "/sys/firmware") == ""
    mounts = p.output("cat", "/proc/mounts")
    assert re.search(r" /sys sysfs ro,", mounts) and re.search(r" /proc/sys proc ro,", mounts)


def test_read_only_root(pod):
    p = pod(container={**security(readOnlyRootFilesystem=True), "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]},
            spec={"volumes": [{"name": "tmp", "emptyDir": {}}]})
    refused = p.exec("touch", "/x", check=False)
    assert refused.returncode != 0 and "Read-only" in refused.stderr
    p.output("touch", "/tmp/x")


def test_devices(pod):
    """Those that every container has, and no other can be made or opened."""
    p = pod()
    assert {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "fd"} <= set(p.output("ls", "/dev").split())
    assert p.output("sh", "-c", "head -c4 /dev/zero | wc -c; echo x >/dev/null; head -c8 /dev/urandom | wc -c").split() == ["4", "8"]
    p.output("mknod", "/tmp/disk", "b", "8", "0")
    assert p.exec("dd", "if=/tmp/disk", "of=/dev/null", "count=1", check=False).returncode != 0
    p.output("mknod", "/tmp/kmsg", "c", "1", "11")
    assert "not permitted" in p.exec("head", "-c1", "/tmp/kmsg", check=False).stderr


def test_working_directory(pod):
    """One that the image has not is made; a relative program is found from it."""
    p = pod(container={"workingDir": "/new/folder"})
    assert p.output("pwd") == "/new/folder"


def test_umask_and_limits(pod):
    p = pod()
    assert p.output("sh", "-c", "umask") == "0022"
    assert int(p.output("sh", "-c", "ulimit -n")) >= 1024


def test_privileged(pod, handler, node):
    """All capabilities, /sys writable, every device: of the VM's under kata, where nothing of the host's is to be seen."""
    p = pod(container=security(privileged=True))
    assert int(status(p, "CapEff"), 16) & DEFAULT_CAPABILITIES == DEFAULT_CAPABILITIES and int(status(p, "CapEff"), 16) & 1 << 21
    assert status(p, "Seccomp") == "0"
    p.output("mount", "-t", "tmpfs", "none", "/mnt") if "mnt" in p.output("ls", "/") else p.output(
        "sh", "-c", "mkdir /mnt; mount -t tmpfs none /mnt")
    if handler != "kata":
        return
    assert not re.search(r"^(sd|nvme|loop\d)", "\n".join(p.output("ls", "/dev").split()), re.MULTILINE)
    assert "kata" not in p.output("ps") and "containerd" not in p.output("ps")
    assert p.output("uname", "-r") == p.output("cat", "/proc/sys/kernel/osrelease")


@pytest.mark.parametrize("handler", ["kata"])
def test_privileged_reboot_ends_only_the_sandbox(node, pod, handler):  # pylint: disable=unused-argument
    """A privileged pod in a VM reboots: its sandbox ends, the node lives."""
    other = pod(handler="kata")
    p = pod(handler="kata", container=security(privileged=True), spec={"restartPolicy": "Never"})
    first = p.sandbox
    p.exec("sh", "-c", "echo b >/proc/sysrq-trigger", check=False, timeout=60)
    wait("the end of the VM", lambda: not kata.qemu_of(first), 60)
    p.wait("the pod's end", lambda s: s["phase"] in ("Failed", "Succeeded") or s["containerStatuses"][0]["restartCount"] > 0
           or "terminated" in s["containerStatuses"][0]["state"], 60)
    assert other.output("echo", "alive") == "alive" and node.running()
    # Nobody stops a sandbox that is dead: what containerd has of it goes when the kubelet looks for such.
    p.delete()
    wait("the kubelet forgets the sandbox", lambda: not p.ids(), 120, every=0.5)


def test_labels_of_security_modules(pod):
    """SELinux options and AppArmor's unconfined profile do not hinder a pod."""
    p = pod(container=security(seLinuxOptions={"level": "s0:c123,c456"}))
    assert p.output("echo", "runs") == "runs"
