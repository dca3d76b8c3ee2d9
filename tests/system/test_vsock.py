# SPDX-License-Identifier: Apache-2.0
"""The guest's half of a vsock: the real image and agent in a real QEMU. The host's half is vhost-device-vsock, since
vhost-vsock is a module of the kernel that not every host has: `cargo install vhost-device-vsock` to run this."""

import pathlib
import shutil
import socket
import struct
import subprocess
import tempfile
import time

import pytest
from conftest import limit

BACKEND = shutil.which("vhost-device-vsock")
PORT = 1024
PARAMS = "panic=1 reboot=k net.ifnames=0 console=hvc0 cgroup_no_v1=all quiet"

pytestmark = pytest.mark.skipif(not BACKEND, reason="vhost-device-vsock is not installed")


def health_check():
    """A ttRPC request: grpc.Health.Check() as stream 1."""
    request = b"".join(bytes([number << 3 | 2, len(text)]) + text for number, text in ((1, b"grpc.Health"), (2, b"Check")))
    return struct.pack(">IIBB", len(request), 1, 1, 0) + request


def ask(path, request, seconds):
    """The first answer that comes over port PORT of the guest."""
    deadline = time.monotonic() + limit(seconds)
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(5)
            try:
                line.connect(str(path))
                line.sendall(b"CONNECT %d\n" % PORT)
                if line.recv(64).startswith(b"OK "):
                    line.sendall(request)
                    return line.recv(4096)
            except OSError:
                pass
        time.sleep(0.1)
    return None


@pytest.mark.parametrize("params", ["agent.channel=vsock", ""], ids=["told", "found"])
def test_agent_over_vsock(guest, params):
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        device = work / "device"
        backend = [BACKEND, "--vm", f"guest-cid=4711,socket={device},uds-path={work}/guest"]
        qemu = ["qemu-system-x86_64", "-nodefaults", "-nographic", "-no-reboot", "-m", "512",
                "-machine", "q35,accel=tcg,memory-backend=memory",
                "-object", "memory-backend-memfd,id=memory,size=512M,share=on",
                "-kernel", guest / "vmlinux.container", "-initrd", guest / "kata-containers-initrd.img",
                "-append", f"{PARAMS} {params}",
                "-device", "virtio-serial-pci", "-chardev", f"file,id=log,path={work}/log",
                "-device", "virtserialport,chardev=log,name=org.kata-containers.log.0",
                "-chardev", f"socket,id=vsock,path={device}", "-device", "vhost-user-vsock-pci,chardev=vsock"]
        with subprocess.Popen(backend, stderr=subprocess.DEVNULL) as host:
            while not device.exists():
                assert host.poll() is None
                time.sleep(0.05)
            with subprocess.Popen(qemu, stdin=subprocess.DEVNULL) as vm:
                try:
                    # Status SERVING, as the response of stream 1.
                    answer = ask(work / "guest", health_check(), 60)
                    assert answer == b"\0\0\0\4\0\0\0\1\2\0\x12\2\x08\1"
                    assert "serves vsock://any:1024" in (work / "log").read_text()
                finally:
                    vm.kill()
                    host.kill()
