# SPDX-License-Identifier: Apache-2.0
"""The tree's own guest image and configuration, and what the host shows of a running sandbox."""

import hashlib
import json
import os
import pathlib
import re
import socket
import subprocess

import host
from containerd import TREE
from patience import wait

AGENT_PORT = "agent0"
VM_DIR = pathlib.Path("/run/vc/vm")
STATES = pathlib.Path("/run/vc/sbs")
SPARES = pathlib.Path("/run/vc/spare")
SHIM_LINGERS = 30  # seconds, without anybody who wants something of it


def make_image(build=TREE / "build", *options, folder="image"):
    """Make the guest image in a folder of build (skipped by the builder when nothing changed); returns the folder."""
    folder = pathlib.Path(build) / folder
    subprocess.run([build / "src/builder/kata-guest-image", "--output", folder,
                    "--agent", build / "src/agent/kata-agent", *options], check=True, capture_output=True, text=True)
    return folder


def accelerator(build):
    """The keys for this run: KVM alone in a native run where it works, else emulation allowed."""
    if os.environ.get("KATA_TEST_NATIVE") and "kvm" not in host.missing(build):
        return {"accelerator": "kvm"}
    return {"allow_emulation": True}


def write_config(path, image, sections=None, /, **hypervisor):
    """A configuration.toml for tests. Further keys of [hypervisor.qemu] as keywords, others in
    sections {"runtime": {...}}; the value None leaves a key out. Sandboxes boot, unless the section "factory" says otherwise."""
    keys = {
        "path": "/usr/bin/qemu-system-x86_64",
        "kernel": str(image / "vmlinux.container"),
        "initrd": str(image / "kata-containers-initrd.img"),
        "virtio_fs_daemon": "/usr/lib/qemu/virtiofsd",
        "valid_virtio_fs_daemon_paths": ["/usr/lib/qemu/virtiofsd"],
        **accelerator(image.parent),
        **hypervisor,
    }

    def literal(value):
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, list):
            return "[" + ", ".join(literal(v) for v in value) + "]"
        return str(value) if isinstance(value, int) else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    text = ""
    sections = {"factory": {"enable_template": False}, **(sections or {})}
    for section, values in {"hypervisor.qemu": keys, **sections}.items():
        text += f"[{section}]\n"
        text += "".join(f"{k} = {literal(v)}\n" for k, v in values.items() if v is not None)
    path.write_text(text)
    return path


def make_template(config, build=TREE / "build"):
    """The template that sandboxes of this configuration are restored from; returns the configuration's path."""
    subprocess.run([pathlib.Path(build) / "src/cli/kata-runtime", "--config", config, "factory", "init"], check=True,
                   capture_output=True, text=True)
    return config


def cmdline(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def processes(pattern):
    """Pids whose command line, joined by spaces, matches the regular expression."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and re.search(pattern, " ".join(cmdline(entry.name))):
            found.append(int(entry.name))
    return sorted(found)


def first_name(sandbox):
    """The one that its programs were started with: its own, unless it was a spare."""
    try:
        return json.loads((STATES / sandbox / "state.json").read_text())["vm_name"] or sandbox
    except OSError:
        return sandbox


def spares(config):
    """The names of those of this configuration that wait for a pod."""
    found = []
    for file in STATES.glob("spare-*/state.json"):
        try:
            state = json.loads(file.read_text())
        except OSError:
            continue
        if state["state"] == "spare" and state["config_file"] == str(config):
            found.append(state["id"])
    return sorted(found)


def had_spares(config):
    """One was made of this configuration, or begun."""
    return (SPARES / hashlib.sha256(str(config).encode()).hexdigest()[:16]).exists()


def qemu_of(sandbox):
    return processes(rf"qemu-system\S* .*-name sandbox-{re.escape(first_name(sandbox))}\b")


def virtiofsd_of(sandbox):
    return processes(rf"virtiofsd .*/{re.escape(first_name(sandbox))}/(rootfs/)?shared\b")


def _parent(pid):
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def shim_of(sandbox):
    """Without its children, which have its command line: it forks for what blocks."""
    found = processes(rf"containerd-shim-kata-v2 .*-id {re.escape(sandbox)}\b")
    return [pid for pid in found if _parent(pid) not in found]


def await_end_of_shim(sandbox):
    """After a kill that may have met its `start`: the daemon that this had forked already ends when nobody has come."""
    wait(f"the end of the shim of {sandbox}", lambda: not shim_of(sandbox), SHIM_LINGERS + 10)


def agent_of(sandbox):
    """The device, one or none yet, that the agent's channel hangs on, as soon as QEMU can be told to take it away."""
    return [AGENT_PORT for pid in qemu_of(sandbox)
            if any(f"id={AGENT_PORT}," in word for word in cmdline(pid)) and (VM_DIR / sandbox / "qmp.sock").exists()]


def on_vsock(sandbox):
    return any("vhost-vsock-pci" in word for pid in qemu_of(sandbox) for word in cmdline(pid))


def qmp(sandbox, command, **arguments):
    """One command through the monitor that every sandbox has for people; returns the answer."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(VM_DIR / sandbox / "qmp.sock"))
        stream = s.makefile("rw")
        stream.readline()
        for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
            print(json.dumps(request), file=stream, flush=True)
            answer = {"event": None}
            while "event" in answer:
                if not (line := stream.readline()):
                    raise ConnectionResetError(f"QEMU of {sandbox} has ended its monitor session")
                answer = json.loads(line)
        return answer


def cpu_seconds(pid):
    """Processor time that a process has used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def guest_cpu_seconds(qemu):
    """That which the guest's own processors have used of it: QEMU has a thread for each. 0: it has ended."""
    try:
        tasks = pathlib.Path(f"/proc/{qemu}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks
                   if re.match(r"CPU \d+/", (task / "comm").read_text())) / 1e9
    except OSError:
        return 0


def translated(qemu):
    """KiB (PSS) of the code that it has made of the guest's, under emulation: what it may both write and execute."""
    found, permissions = 0, ""
    for line in pathlib.Path(f"/proc/{qemu}/smaps").read_text().splitlines():
        if begin := re.match(r"[0-9a-f]+-[0-9a-f]+ (\S+) ", line):
            permissions = begin[1]
        elif permissions.startswith("rwx") and (size := re.match(r"Pss: +(\d+) kB", line)):
            found += int(size[1])
    return found


def memory(pid):
    """{"rss", "pss", "private_dirty"} of a process in KiB."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    value = {k: int(v) for k, v in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return {"rss": value["Rss"], "pss": value["Pss"], "private_dirty": value["Private_Dirty"]}
