# SPDX-License-Identifier: Apache-2.0
"""What a host has at one moment that a sandbox could leave behind: the difference of two such moments is a leak.

As a program, `leaks.py COMMAND ...`: run it, and fail if it leaves something (unless KATA_TEST_SHARED: others are at work).
"""

import contextlib
import os
import pathlib
import re
import subprocess
import sys
import time

from patience import limit

FOLDERS = ("/run/vc", "/run/kata-containers", "/run/containerd/s", "/dev/shm", "/run/netns")
# Folders that are made once and stay are no leak; what is in them is.
KEPT = {"/run/vc", "/run/vc/vm", "/run/vc/sbs", "/run/kata-containers", "/run/kata-containers/shared",
        "/run/kata-containers/shared/sandboxes", "/run/kata-containers/run", "/run/containerd/s", "/run/netns", "/dev/shm",
        # What was learnt about the host, until the next boot.
        "/run/kata-containers/kvm-probe", "/run/kata-containers/virtiofsd-flavour", "/run/vc/seccomp"}
# What an allocator of addresses remembers of the last one; the places of spares, which may be claimed again; seccomp
# profiles that have been compiled.
KEPT_NAMES = re.compile(r"last_reserved_ip\.\d+|lock|spare|dismissed|[0-9a-f]{16}|\d+\.lock|[0-9a-f]{64}-[\d.]+\.bpf")
PROGRAMS = ("qemu-system", "virtiofsd", "containerd-shim")
OUR_GROUPS = re.compile(r"/(kata|kt\d)[^/]*")
# A kubelet's for all its pods.
KEPT_GROUPS = re.compile(r"/kata-node-[^/]+(/kubepods(/besteffort|/burstable)?)?$")
SETTLE = 5  # seconds, on an idle machine, that the end of a sandbox may take after its client is gone


def _read(path):
    try:
        return pathlib.Path(path).read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _processes():
    found = set()
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        name = _read(entry / "comm").strip()
        if any(name.startswith(program[:15]) for program in PROGRAMS):
            command = _read(entry / "cmdline").replace("\0", " ").strip() or "(zombie)"
            found.add(f"process {entry.name} {name}: {command}")
    return found


def _files(folders):
    found = set()
    for folder in (*FOLDERS, *folders):
        for parent, dirs, files in os.walk(folder):
            found |= {f"file {parent}/{name}" for name in dirs + files
                      if f"{parent}/{name}" not in KEPT and not KEPT_NAMES.fullmatch(name)}
    return found


def _mounts():
    """Without the user namespaces that containerd keeps with its records of sandboxes, until it forgets them, and without
    the mount of /run/netns on itself, which the first `ip netns add` on a machine makes for good."""
    points = [line.split()[4] for line in _read("/proc/self/mountinfo").splitlines()]
    return {f"mount {point}" for point in points if not point.endswith("/pinned-namespaces/user") and point != "/run/netns"}


def _cgroups():
    """Those that a sandbox, an agent or a test has made, by their names: whoever else manages the machine makes groups,
    too, whenever it likes."""
    return {f"cgroup {parent}" for parent, _, _ in os.walk("/sys/fs/cgroup")
            if OUR_GROUPS.search(parent) and not KEPT_GROUPS.search(parent)}


def _sockets():
    lines = _read("/proc/net/unix").splitlines()[1:]
    paths = {line.split(maxsplit=7)[7] for line in lines if len(line.split(maxsplit=7)) == 8}
    return {f"socket {path}" for path in paths if "containerd" in path or "kata" in path or "/run/vc" in path}


def _interfaces():
    return {f"interface {name}" for name in os.listdir("/sys/class/net")}


def _namespaces():
    """What a pod's network leaves in a namespace that outlives it."""
    found = set()
    for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else ():
        def lines(*command):
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()

        links = [line.split(": ")[1].split("@")[0] for line in lines("ip", "-n", name, "-o", "link")]
        found |= {f"network namespace {name}: interface {link}" for link in links}
        found |= {f"network namespace {name}: {line}" for line in lines("tc", "-n", name, "qdisc", "show", "ingress")
                  if "ingress" in line}
    return found


def snapshot(folders=()):
    """What is there; also the files below further folders."""
    return _processes() | _files(folders) | _mounts() | _cgroups() | _sockets() | _interfaces() | _namespaces()


def after(before, names=None, folders=()):
    """What is there beyond `before` and does not go away in time. With names only what bears one of them: for machines
    on which others run sandboxes at the same time."""
    deadline = time.monotonic() + limit(SETTLE)
    while True:
        left = sorted(x for x in snapshot(folders) - before if names is None or any(name in x for name in names))
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


@contextlib.contextmanager
def none(names=None, folders=()):
    """Asserts that what happens within leaves nothing. `names` may grow until the end."""
    before = snapshot(folders)
    yield
    left = after(before, names, folders)
    assert not left, "left behind:\n" + "\n".join(left)


def main():
    before = snapshot()
    status = subprocess.run(sys.argv[1:], check=False).returncode
    left = [] if os.environ.get("KATA_TEST_SHARED") else after(before)
    for thing in left:
        print(f"left behind: {thing}", file=sys.stderr)
    sys.exit(status or bool(left))


if __name__ == "__main__":
    main()
