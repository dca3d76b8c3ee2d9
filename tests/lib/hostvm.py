# SPDX-License-Identifier: Apache-2.0
"""A host in a VM: this machine's own file system, read-only and with a layer of memory on top, booted with systemd as
process 1, control groups of version 2, vhost-vsock and vhost-net. What the machine itself lacks is tested in there.

How it works: QEMU emulates a machine without network. Its root comes through virtiofsd, from a read-only view of `/` in
a mount namespace of virtiofsd's own: nothing that happens inside reaches this machine. An initrd of busybox puts the
layer of memory over it and hands over to systemd, which starts one unit: the command. Its output comes over one
virtio-serial port, which is QEMU's standard output, its exit status over another; then the VM powers itself off. As a
program it runs its arguments:

    python3 tests/lib/hostvm.py sh -c 'systemctl status'
"""

import os
import pathlib
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import cpio
from containerd import CACHE, TREE
from patience import limit

CPUS = 2
MEMORY = 4096  # MiB, of which only what is touched is taken
VIRTIOFSD = "/usr/lib/qemu/virtiofsd"
BOOT = 40  # seconds, on an idle machine, of which it needs ten
OUTPUT, STATUS = "org.kata-c.output", "org.kata-c.status"
# What the initrd loads, in this order; then what the host is to have.
MODULES = ["virtio_pci", "virtiofs", "overlay"]
LATER = ["virtio_console", "vhost_vsock", "vhost_net", "tun"]
# Slow, without an object here, or nothing that a test should do to the machine's clock, name or disks.
MASKED = ["systemd-timesyncd.service", "systemd-random-seed.service", "systemd-hwdb-update.service", "ldconfig.service",
          "systemd-firstboot.service", "systemd-sysusers.service", "systemd-machine-id-commit.service",
          "systemd-pstore.service", "systemd-update-utmp.service", "systemd-journal-flush.service",
          "systemd-journal-catalog-update.service", "systemd-update-done.service", "systemd-binfmt.service",
          "proc-sys-fs-binfmt_misc.automount", "systemd-remount-fs.service", "systemd-network-generator.service",
          "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
          "sys-kernel-config.mount", "sys-fs-fuse-connections.mount", "e2scrub_reap.service", "getty.target",
          "systemd-udev-settle.service", "ifupdown-pre.service", "networking.service", "systemd-udev-trigger.service"]
PARAMS = ["console=ttyS0", "quiet", "panic=-1", "net.ifnames=0", "systemd.unit=hosted.target",
          "systemd.show_status=error", "systemd.journald.forward_to_console=1",
          "systemd.journald.max_level_console=warning",
          "systemd.unified_cgroup_hierarchy=1", "systemd.firstboot=no", "mitigations=off", "nowatchdog"]

INIT = """#!/bin/busybox sh
export PATH=/bin
fail() { busybox echo "hosted: $*" >/dev/console; busybox poweroff -f; }
for folder in proc sys dev; do busybox mkdir -p /$folder; done
busybox mount -t proc proc /proc; busybox mount -t sysfs sys /sys; busybox mount -t devtmpfs dev /dev
for module in $(busybox cat /modules/order); do busybox insmod /modules/$module || fail "module $module"; done
busybox mkdir -p /lower /upper /root
busybox mount -t virtiofs -o ro root /lower || fail "no root file system"
busybox mount -t tmpfs -o mode=755,size=75% layer /upper
busybox mkdir /upper/data /upper/work
layers=lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work
# A folder of the lower layer can be renamed with redirect_dir only.
busybox mount -t overlay -o redirect_dir=on,$layers root /root || fail "no overlay"
busybox mount -t tmpfs -o mode=755 run /root/run
busybox mount -t tmpfs -o mode=1777 tmp /root/tmp
for folder in /root/var/lib/containerd /root/var/cache/kata-containers /root/var/lib/kata-containers; do
    busybox mkdir -p $folder; busybox mount -t tmpfs -o mode=755 data $folder
done
busybox cp -a /hosted/etc/. /root/etc/
busybox cp -a /hosted/run/. /root/run/
# What this machine has enabled; what makes systemd believe that it runs in a container.
busybox rm -rf /root/etc/systemd/system /root/.dockerenv
busybox mkdir -p /root/etc/systemd/system
for unit in @MASKED@; do busybox ln -s /dev/null /root/etc/systemd/system/$unit; done
busybox umount /sys; busybox umount /proc
exec busybox switch_root /root /lib/systemd/systemd
"""

TARGET = """[Unit]
Description=What the hosted tests need
Requires=basic.target
Wants=dbus.service hosted.service
After=basic.target
AllowIsolate=yes
"""

# Its end, however it ended, is the end of the VM. OOM kills are for the tests' own groups.
SERVICE = f"""[Unit]
Description=The command of the hosted tests
After=basic.target dbus.service
SuccessAction=poweroff-immediate
FailureAction=poweroff-immediate

[Service]
Type=exec
ExecStart=/bin/sh /run/hosted/run
Delegate=yes
LimitNOFILE=65536
KillMode=control-group
"""

RUN = """port() {{ for p in /sys/class/virtio-ports/*; do grep -qx "$1" $p/name && echo /dev/${{p##*/}}; done; }}
for module in {modules}; do modprobe $module || echo "no module $module" >/dev/console; done
exec </dev/null >"$(port {output})" 2>&1
echo "measured: a host in a VM, $(uname -r), runs after $(cut -d' ' -f1 /proc/uptime) s of its own"
cd {folder}
env HOME=/root PYTHONUNBUFFERED=1 PATH=/usr/sbin:/usr/bin:/sbin:/bin {command}
echo $? >"$(port {status})"
"""


def _kernel():
    """The newest kernel that has its modules here: (file, folder of the modules)."""
    found = [path for path in pathlib.Path("/boot").glob("vmlinuz-*")
             if pathlib.Path("/lib/modules", path.name.removeprefix("vmlinuz-"), "modules.dep").exists()]
    if not found:
        raise FileNotFoundError("no /boot/vmlinuz-* with modules: apt install linux-image-cloud-amd64")
    newest = max(found, key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])
    return newest, pathlib.Path("/lib/modules", newest.name.removeprefix("vmlinuz-"))


def _with_dependencies(folder, names):
    """The files of the modules in an order in which they can be loaded."""
    depends = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        file, _, rest = line.partition(":")
        depends[file] = rest.split()
    ordered = []
    for name in names:
        (file,) = [f for f in depends if re.fullmatch(rf".*/{name}\.ko", f)]
        # Each line names all that it needs, the deepest last.
        ordered += [f for f in [*reversed(depends[file]), file] if f not in ordered]
    return ordered


def _initrd(modules, script):
    order = _with_dependencies(modules, MODULES)
    files = {path: None for path in ("bin", "modules", "hosted", "hosted/etc", "hosted/run", "hosted/run/hosted",
                                     "hosted/run/systemd", "hosted/run/systemd/system")}
    files |= {
        "init": INIT.replace("@MASKED@", " ".join(MASKED)).encode(),
        "bin/busybox": pathlib.Path("/bin/busybox").read_bytes(),
        "modules/order": "\n".join(pathlib.Path(f).name for f in order).encode(),
        **{f"modules/{pathlib.Path(f).name}": (modules / f).read_bytes() for f in order},
        "hosted/etc/fstab": b"\n",
        "hosted/etc/machine-id": b"00000000000000000000000000000001\n",
        "hosted/etc/hostname": b"hosted\n",
        "hosted/run/hosted/run": script.encode(),
        "hosted/run/systemd/system/hosted.target": TARGET.encode(),
        "hosted/run/systemd/system/hosted.service": SERVICE.encode(),
    }
    return cpio.newc(files)


class HostVM:
    """with HostVM() as vm: status = vm.run(command)"""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kata-hosted-"))
        self.console = self.dir / "console"
        self.processes = []

    def _view(self):
        """The command that serves a read-only view of `/`, with other file systems that hold the tree or the cache."""
        view = self.dir / "view"
        view.mkdir()
        script = f"mount --bind / {view}\n"
        for path in (TREE, CACHE):
            if path.exists() and os.stat(path).st_dev != os.stat("/").st_dev:
                script += f"mount --bind {shlex.quote(str(path))} {view}{shlex.quote(str(path))}\n"
                script += f"mount -o remount,bind,ro {view}{shlex.quote(str(path))}\n"
        script += f"mount -o remount,bind,ro {view}\n"
        script += f"exec {VIRTIOFSD} --socket-path={self.dir}/fs -o source={view} -o cache=always -o xattr " \
            f"-o sandbox=namespace --thread-pool-size=1\n"
        return ["unshare", "--mount", "--propagation", "slave", "sh", "-ec", script]

    def _start(self, command, **kwargs):
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL,
                                   start_new_session=True, **kwargs)
        self.processes.append(process)
        return process

    def _qemu(self, kernel):
        return ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-machine", "q35,usb=off,vmport=off,smbus=off,sata=off,hpet=off,memory-backend=memory",
                "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "qemu64,+arat", "-smp", str(CPUS), "-m", str(MEMORY),
                "-object", f"memory-backend-memfd,id=memory,size={MEMORY}M,share=on",
                "-kernel", kernel, "-initrd", self.dir / "initrd", "-append", " ".join(PARAMS),
                "-chardev", f"socket,id=fs,path={self.dir}/fs", "-device", "vhost-user-fs-pci,chardev=fs,tag=root",
                "-chardev", f"file,id=console,path={self.console}", "-serial", "chardev:console",
                "-device", "virtio-serial-pci",
                "-chardev", "file,id=output,path=/dev/stdout,append=on",
                "-device", f"virtserialport,chardev=output,name={OUTPUT}",
                "-chardev", f"file,id=status,path={self.dir}/status",
                "-device", f"virtserialport,chardev=status,name={STATUS}",
                "-device", "virtio-rng-pci"]

    def _serve(self):
        with (self.dir / "virtiofsd.log").open("wb") as log:
            server = self._start(self._view(), stdout=log, stderr=log)
        deadline = time.monotonic() + limit(10)
        while not (self.dir / "fs").exists():
            if server.poll() is not None or time.monotonic() > deadline:
                raise self._error("virtiofsd does not serve")
            time.sleep(0.02)

    def _error(self, what):
        said = [path.read_text(errors="replace")[-8000:] for path in
                (self.dir / "virtiofsd.log", self.dir / "qemu.log", self.console) if path.exists()]
        return RuntimeError("\n".join([f"the host in a VM: {what}", *said]))

    def run(self, command, output=sys.stdout.buffer):
        """Boots, runs the command in the tree, hands on what it writes to `output`; returns its exit status."""
        kernel, modules = _kernel()
        script = RUN.format(modules=" ".join(LATER), output=OUTPUT, status=STATUS, folder=shlex.quote(str(TREE)),
                            command=shlex.join(map(str, command)))
        (self.dir / "initrd").write_bytes(_initrd(modules, script))
        self._serve()
        with (self.dir / "qemu.log").open("wb") as errors:
            qemu = self._start(self._qemu(kernel), stdout=subprocess.PIPE, stderr=errors)
        if not select.select([qemu.stdout], [], [], limit(BOOT))[0]:
            raise self._error("it does not come to its command")
        while data := qemu.stdout.read1():
            output.write(data)
            output.flush()
        qemu.wait()
        status = (self.dir / "status").read_text().strip()
        if not status:
            raise self._error("it ended before its command did")
        return int(status)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.dir)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with HostVM() as vm:
        sys.exit(vm.run(sys.argv[1:]))


if __name__ == "__main__":
    main()
