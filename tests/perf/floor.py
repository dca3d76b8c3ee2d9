# SPDX-License-Identifier: Apache-2.0
"""The floor of a cold boot: QEMU with the product's own command line, but an init that only writes a byte."""

import pathlib
import re
import socket
import subprocess
import time

import cpio

HERE = pathlib.Path(__file__).resolve().parent
KEPT_OPTIONS = ("-machine", "-accel", "-cpu", "-m", "-smp", "-object", "-append", "-global", "-numa")


def kernel_release(kernel):
    """What a bzImage says of itself."""
    return re.search(rb"\b(\d+\.\d+\.\d+\S*-\S+) \(", pathlib.Path(kernel).read_bytes())[1].decode()


class Floor:
    """qemu: the command line of a sandbox's QEMU; kernel: the file it boots; tmp: where to work."""

    def __init__(self, tmp, qemu, kernel):
        self.command = [qemu[0], "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        for option, value in zip(qemu, qemu[1:]):
            if option in KEPT_OPTIONS and not (option == "-object" and "memory-backend" not in value):
                self.command += [option, value]
        subprocess.run(["gcc", "-O2", "-static", "-o", tmp / "floor", HERE / "floor.c"], check=True)
        files = {"dev": None, "m": None, "init": (tmp / "floor").read_bytes()}
        depends = subprocess.run(["modprobe", "-S", kernel_release(kernel), "-a", "--show-depends", "virtio_pci",
                                  "virtio_console"], capture_output=True, text=True, check=True).stdout
        modules = list(dict.fromkeys(re.findall(r"^insmod (\S+)", depends, re.MULTILINE)))
        for i, module in enumerate(modules):
            files[f"m/{i:02}"] = pathlib.Path(module).read_bytes()
        (tmp / "floor.cpio").write_bytes(cpio.newc(files))
        self.command += ["-kernel", str(kernel), "-initrd", str(tmp / "floor.cpio"), "-device", "virtio-serial-pci",
                         "-device", "virtserialport,chardev=byte,name=byte"]

    def run(self):
        """Milliseconds from the exec of QEMU to the byte."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.settimeout(120)
            start = time.monotonic()
            with subprocess.Popen([*self.command, "-chardev", f"socket,id=byte,fd={theirs.fileno()}"],
                                  pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL) as process:
                try:
                    assert ours.recv(1) == b"!"
                    return (time.monotonic() - start) * 1000
                finally:
                    process.kill()
