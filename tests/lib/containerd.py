# SPDX-License-Identifier: Apache-2.0
"""A containerd of one's own: private root, state, socket and configuration, the tree's shim in its PATH."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

from patience import limit

TREE = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("KATA_CACHE") or
                     pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "kata-c")
RUNTIME = "io.containerd.kata.v2"


def binaries(version):
    """The folder with containerd and ctr of major version "1" (Debian's) or "2" (built by ci/containerd2)."""
    if version == "1":
        return pathlib.Path("/usr/bin")
    pinned = re.search(r"^CONTAINERD2_VERSION=(\S+)", (TREE / "ci/lib.sh").read_text(), re.MULTILINE)[1]
    folder = CACHE / f"containerd-{pinned}"
    if not (folder / "ctr").exists():
        raise FileNotFoundError(f"no {folder}: run ci/containerd2")
    return folder


class Containerd:
    """Start with `with Containerd("1", build) as c:`; everything it made is gone afterwards.

    Before the start, `small` may name folders ({name: path}) that are to be a tmpfs of their own, 1 MiB, for it and its
    shims alone, in a mount namespace; room() then sets how much goes in, inside() is where we see them.
    """

    def __init__(self, version, build=TREE / "build", config=None, env=None, snapshotters=None):
        self.version = version
        self.bin = binaries(version)
        self.program = self.bin / "containerd"
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"kata-c{version}-"))
        self.socket = self.dir / "containerd.sock"
        self.log = self.dir / "containerd.log"
        self.build = pathlib.Path(build)
        self.kata_config = config
        self.extra_env = env or {}
        self.snapshotters = snapshotters or {}  # those that are off unless asked for: {name: {key: text}}
        self.small = {}
        self.process = None

    def _write_config(self):
        plugins = ["btrfs", "zfs", "devmapper", "aufs", "blockfile", "erofs"]
        disabled = ", ".join(f'"io.containerd.snapshotter.v1.{p}"' for p in plugins if p not in self.snapshotters)
        cri = '"io.containerd.grpc.v1.cri"' if self.version == "1" else \
            '"io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images", "io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri"'
        (self.dir / "config.toml").write_text(
            f'version = {2 if self.version == "1" else 3}\n'
            f'root = "{self.dir}/root"\nstate = "{self.state}"\n'
            f'disabled_plugins = [{cri}, {disabled}]\n[grpc]\n  address = "{self.socket}"\n'
            + "".join(f'[plugins."io.containerd.snapshotter.v1.{p}"]\n' + "".join(f'{k} = "{v}"\n' for k, v in keys.items())
                      for p, keys in self.snapshotters.items()))

    @property
    def state(self):
        return self.dir / "state"

    def _in_namespace(self):
        if not self.small:
            return []
        script = 'while [ "$1" != -- ]; do mkdir -p "$1" && mount -t tmpfs -o size=1m,mode=755 kata-test "$1" || exit; ' \
            'shift; done; shift; exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, "sh", *self.small.values(), "--"]

    def inside(self, folder):
        """Where a folder of the daemon's mount namespace is for us."""
        return pathlib.Path(f"/proc/{self.process.pid}/root{folder}")

    def room(self, folder, options):
        """Sets a small folder's limits (tmpfs: size=, nr_inodes=)."""
        subprocess.run(["nsenter", "--mount", "--target", str(self.process.pid), "mount", "-o", f"remount,{options}",
                        folder], check=True)

    def start(self):
        self._write_config()
        env = dict(os.environ, **self.extra_env)
        env["PATH"] = f"{self.build}/src/shim:{self.bin}:{env['PATH']}"
        if self.kata_config:
            env["KATA_CONF_FILE"] = str(self.kata_config)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*self._in_namespace(), self.program, "-c",
                                             self.dir / "config.toml"], env=env, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        deadline = time.monotonic() + limit(30)
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"containerd ended: {self.log.read_text()[-2000:]}")
            if self.socket.exists() and self.ctr("version", check=False).returncode == 0:
                return self
            time.sleep(0.1)
        raise TimeoutError(f"containerd does not answer: {self.log.read_text()[-2000:]}")

    def bundle(self, name):
        return self.state / "io.containerd.runtime.v2.task/default" / name

    def shim(self, name, action):
        """What containerd calls for a container of its default namespace, by hand."""
        subprocess.run([self.build / "src/shim/containerd-shim-kata-v2", "-namespace", "default", "-address", self.socket,
                        "-id", name, "-bundle", self.bundle(name), action], check=True, capture_output=True)

    def command(self, *args):
        """The argument list of a ctr call, for Popen."""
        return [str(self.bin / "ctr"), "--address", str(self.socket), *map(str, args)]

    def ctr(self, *args, check=True, timeout=120, **kwargs):
        """Run ctr; text output is captured unless kwargs say otherwise."""
        kwargs.setdefault("capture_output", True)
        kwargs.setdefault("text", True)
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        if "input" in kwargs:
            kwargs.pop("stdin")
        done = subprocess.run(self.command(*args), timeout=limit(timeout), check=False, **kwargs)
        if check and done.returncode != 0:
            raise RuntimeError(f"ctr {' '.join(map(str, args))}: exit {done.returncode}\n"
                               f"stdout: {done.stdout}\nstderr: {done.stderr}")
        return done

    def run(self, image, name, *command, options=(), runtime=RUNTIME, **kwargs):
        """`ctr run --rm` of one container; returns the CompletedProcess."""
        return self.ctr("run", "--rm", "--runtime", runtime, *options, image, name, *command, **kwargs)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(limit(20))
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        with open("/proc/self/mounts", encoding="utf-8") as mounts:
            below = [line.split()[1] for line in mounts if line.split()[1].startswith(str(self.dir))]
        for mount in reversed(below):
            subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
