# SPDX-License-Identifier: Apache-2.0
"""What this host has of what `./dev test --native` is for; as a program it prints that, and fails if there is nothing."""

import functools
import os
import pathlib
import stat
import subprocess
import sys
import tempfile

TREE = pathlib.Path(__file__).resolve().parents[2]


def _kvm(build):
    """The product's own probe, which runs a VM of a few instructions."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write('[hypervisor.qemu]\naccelerator = "kvm"\n')
        config.flush()
        done = subprocess.run([build / "src/cli/kata-runtime", "--config", config.name, "check", "--verbose"],
                              capture_output=True, text=True, check=False)
    said = [line.split(":", 1) for line in done.stdout.splitlines() if "KVM" in line]
    if any(level == "ok" for level, _ in said):
        return None
    return said[0][1].strip() if said else f"kata-runtime check says nothing of it: {done.stdout}{done.stderr}"


def _device(path):
    def missing(_build):
        try:
            if stat.S_ISCHR(os.stat(path).st_mode):
                os.close(os.open(path, os.O_RDWR))
                return None
            return f"{path} is no device"
        except OSError as error:
            return f"{path}: {error.strerror}"
    return missing


def _cgroup2(_build):
    controllers = pathlib.Path("/sys/fs/cgroup/cgroup.controllers")
    if not controllers.exists():
        return "/sys/fs/cgroup is no unified hierarchy"
    return None if "memory" in controllers.read_text().split() else "/sys/fs/cgroup has no memory controller"


def _systemd(_build):
    first = pathlib.Path("/proc/1/comm").read_text().strip()
    return None if first == "systemd" else f"process 1 is {first}"


def _journald(_build):
    return None if os.path.exists("/run/systemd/journal/socket") else "/run/systemd/journal/socket does not exist"


def _own(_build):
    return None if os.environ.get("KATA_TEST_OWN_MACHINE") else "others use this machine (KATA_TEST_OWN_MACHINE is not set)"


FEATURES = {
    "kvm": _kvm,
    "vhost-vsock": _device("/dev/vhost-vsock"),
    "vhost-net": _device("/dev/vhost-net"),
    "cgroup2": _cgroup2,
    "systemd": _systemd,
    "journald": _journald,
    "own-machine": _own,
}


@functools.cache
def missing(build=TREE / "build"):
    """{feature: why this host has it not}"""
    reasons = {name: probe(pathlib.Path(build)) for name, probe in FEATURES.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def main():
    lacking = missing(os.environ.get("KATA_BUILD", TREE / "build"))
    for name in FEATURES:
        print(f"native: {name + ':':13}{lacking.get(name, 'works')}")
    if len(lacking) == len(FEATURES):
        sys.exit("this host has none of these: there is nothing that --native could test here")


if __name__ == "__main__":
    main()
