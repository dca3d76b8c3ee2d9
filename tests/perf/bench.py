# SPDX-License-Identifier: Apache-2.0
"""The benchmark: kata beside runc and beside the floor, alternating in one run, medians and ratios.

The floor is the same kernel, machine, memory and command line booted with floor.c as init. "clone" is kata with sandboxes
that are restored from a template.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
# pylint: disable=wrong-import-position
import containerd
import kata
import ociimage
from floor import Floor
from report import report

IMAGE = "localhost/busybox:latest"
RUNTIMES = {"runc": "io.containerd.runc.v2", "kata": containerd.RUNTIME, "clone": containerd.RUNTIME}
BUILD = containerd.TREE / "build"
STEP = re.compile(r'(?:msg="|msg=)([a-z][^":]*): (\d+) us')
GUEST_MARK = re.compile(r'^kata_agent_boot_seconds\{item="(\w+)"\} (\S+)', re.MULTILINE)


def milliseconds(since):
    return (time.monotonic() - since) * 1000


class Bench:
    def __init__(self, c, runs, tmp):
        self.c, self.runs, self.tmp = c, runs, tmp
        self.samples = {}
        self.phases = {"kata": {}, "clone": {}}
        self.config = {}  # of a runtime, where it is not containerd's
        self.memory = {}
        self.agent_binary = self.stripped(BUILD / "src/agent/kata-agent")

    def stripped(self, program):
        """The size of what gets installed: in the build folder it has its debug information."""
        copy = self.tmp / "stripped"
        subprocess.run(["strip", "-o", copy, program], check=True)
        return copy.stat().st_size

    def add(self, what, who, value):
        self.samples.setdefault(what, {}).setdefault(who, []).append(value)

    def remove(self, name):
        self.c.ctr("task", "rm", "-f", name, check=False)
        self.c.ctr("container", "rm", name, check=False)

    def runtime(self, who):
        chosen = self.config.get(who)
        return ["--runtime", RUNTIMES[who], *(["--runtime-config-path", str(chosen)] if chosen else [])]

    def start(self, who, name, *options):
        """A container that does nothing for an hour; the milliseconds until it runs."""
        start = time.monotonic()
        self.c.ctr("run", "-d", *self.runtime(who), *options, IMAGE, name, "sleep", "3600")
        return milliseconds(start)

    # --- each run ---

    def first_output(self, who, n):
        command = self.c.command("run", "--rm", *self.runtime(who), IMAGE, f"bench-{who}-{n}", "echo", "x")
        start = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
            assert process.stdout.read(1) == b"x"
            self.add("run to first output, ms", who, milliseconds(start))
            process.stdout.read()
        self.add("run, stop, remove, ms", who, milliseconds(start))

    def shim_start(self, who, n):
        """`shim start` as containerd calls it, then its delete."""
        bundle = self.tmp / f"bundle-{who}-{n}"
        bundle.mkdir()
        spec = json.loads(self.c.ctr("oci", "spec").stdout)
        spec["process"]["args"] = ["sleep", "1"]
        (bundle / "config.json").write_text(json.dumps(spec))
        name = f"bench-start-{who}-{n}"
        shim = BUILD / "src/shim/containerd-shim-kata-v2" if who == "kata" else self.c.bin / "containerd-shim-runc-v2"
        common = [str(shim), "-namespace", "bench", "-id", name, "-address", str(self.c.socket)]
        kwargs = {"cwd": bundle, "stdin": subprocess.DEVNULL, "capture_output": True,
                  "env": {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TTRPC_ADDRESS": f"{self.c.socket}.ttrpc"}}
        start = time.monotonic()
        done = subprocess.run([*common, "start"], check=True, **kwargs)
        self.add("shim start, ms", who, milliseconds(start))
        address = re.search(rb"unix://([^\s\"]+)", done.stdout).group(1).decode()
        for pid in kata.processes(rf"{shim.name} .*-id {name}\b"):
            if who == "kata":
                self.memory.setdefault("shim before its first container", []).append(kata.memory(pid))
            subprocess.run(["kill", "-9", str(pid)], check=False)
        subprocess.run([*common, "-bundle", str(bundle), "delete"], check=False, **kwargs)
        pathlib.Path(address).unlink(missing_ok=True)

    def guest_image(self):
        folder = self.tmp / "image"
        shutil.rmtree(folder, ignore_errors=True)
        for state in ("everything new", "nothing changed"):
            start = time.monotonic()
            kata.make_image(BUILD, folder=folder)
            self.add(f"guest image, {state}, ms", "kata", milliseconds(start))

    # --- in containers that run ---

    def in_running(self, who):
        """Exec, throughput and memory in one running container each."""
        name = f"bench-idle-{who}"
        self.start(who, name)
        try:
            for n in range(self.runs + 1):
                start = time.monotonic()
                self.c.ctr("task", "exec", "--exec-id", f"e{n}", name, "true")
                if n:
                    self.add("exec, ms", who, milliseconds(start))
            for n in range(3):
                command = self.c.command("task", "exec", "--exec-id", f"t{n}", name, "dd", "if=/dev/zero", "bs=64k",
                                         "count=2048")
                start = time.monotonic()
                subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
                self.add("stdout, MiB/s", who, 128 / (time.monotonic() - start))
            if who != "runc":
                time.sleep(1)
                self.measure_memory(who, name)
        finally:
            self.remove(name)

    def measure_memory(self, who, name):
        if who == "clone":
            self.memory["QEMU of a clone"] = [kata.memory(pid) for pid in kata.qemu_of(name)]
            return
        for what, pids in (("shim", kata.shim_of(name)), ("QEMU", kata.qemu_of(name)),
                           ("virtiofsd", kata.virtiofsd_of(name))):
            parts = [kata.memory(pid) for pid in pids]
            self.memory[what] = [{k: sum(p[k] for p in parts) for k in ("rss", "pss", "private_dirty")}]
        value = re.search(r"^kata_agent_process_resident_memory_bytes\S* (\S+)", self.metrics(name), re.MULTILINE)
        self.memory["agent"] = [{"rss": float(value.group(1)) / 1024, "pss": None, "private_dirty": None}]

    @staticmethod
    def metrics(name):
        """The shim's metrics, which have those of the agent among them."""
        return subprocess.run([BUILD / "src/cli/kata-runtime", "metrics", name], capture_output=True, text=True,
                              check=True).stdout

    def further_container(self, who):
        """A second container in a sandbox that runs, beside a further container of runc."""
        sandbox = f"bench-pod-{who}"
        mark = "io.kubernetes.cri.container-type"
        self.start(who, sandbox, "--annotation", f"{mark}=sandbox")
        try:
            for n in range(self.runs + 1):
                name = f"{sandbox}-{n}"
                took = self.start(who, name, "--annotation", f"{mark}=container", "--annotation",
                                  f"io.kubernetes.cri.sandbox-id={sandbox}")
                if n:
                    self.add("container in a running sandbox, ms", who, took)
                self.remove(name)
        finally:
            self.remove(sandbox)

    def measure_phases(self, who):
        """The shim says at debug how long each step took; the guest's marks are among the metrics."""
        phases = self.phases[who]
        for n in range(self.runs):
            name = f"bench-phase-{who}-{n}"
            seen = self.c.log.stat().st_size
            self.start(who, name)
            text = self.metrics(name)
            with self.c.log.open(errors="replace") as log:
                log.seek(seen)
                for step, usec in STEP.findall(log.read()):
                    if not step.startswith("undo"):
                        phases.setdefault(step, []).append(int(usec) / 1000)
            for mark, seconds in GUEST_MARK.findall(text) if who == "kata" else ():
                phases.setdefault(f"  in the guest, {mark} at", []).append(float(seconds) * 1000)
            self.remove(name)

    def floor(self, config):
        self.start("kata", "bench-cmdline")
        try:
            qemu = kata.cmdline(kata.qemu_of("bench-cmdline")[0])
        finally:
            self.remove("bench-cmdline")
        kernel = re.search(r'^kernel = "(.*)"', config.read_text(), re.MULTILINE).group(1)
        return Floor(self.tmp, qemu, kernel)


def progress(text):
    print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def measure(runs, tmp):
    image = kata.make_image()
    factory = {"factory": {"enable_template": True, "auto_build_template": False, "template_path": str(tmp / "templates")}}
    loud = {"runtime": {"enable_debug": True}}
    config = kata.write_config(tmp / "configuration.toml", image)
    debug = kata.write_config(tmp / "debug.toml", image, loud)
    clone = kata.make_template(kata.write_config(tmp / "clone.toml", image, factory))
    clone_debug = kata.write_config(tmp / "clone-debug.toml", image, {**factory, **loud})
    ociimage.busybox(tmp / "busybox.tar", IMAGE)
    with containerd.Containerd("1", config=config) as c:
        c.ctr("images", "import", tmp / "busybox.tar")
        bench = Bench(c, runs, tmp)
        bench.config = {"clone": clone}
        floor = bench.floor(config)
        for n in range(runs):
            progress(f"run {n + 1} of {runs}")
            bench.add("boot to the first byte, ms", "floor", floor.run())
            for who in RUNTIMES:
                bench.first_output(who, n)
                if who != "clone":
                    bench.shim_start(who, n)
            bench.guest_image()
        for who in RUNTIMES:
            progress(f"containers that run, {who}")
            bench.in_running(who)
            if who != "clone":
                bench.further_container(who)
    with containerd.Containerd("1", config=debug) as c:
        c.ctr("images", "import", tmp / "busybox.tar")
        bench.c = c
        bench.config = {"clone": clone_debug}
        for who in bench.phases:
            progress(f"phases of a start, {who}")
            bench.measure_phases(who)
    progress("")
    return bench


def main():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("-n", "--runs", type=int, default=10, help="alternating runs of each (default 10)")
    parser.add_argument("--json", type=pathlib.Path, default=BUILD / "bench.json",
                        help="where the figures go (default build/bench.json)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kata-c-bench-") as tmp:
        result = report(measure(options.runs, pathlib.Path(tmp)))
    options.json.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nall samples: {options.json}", file=sys.stderr)


if __name__ == "__main__":
    main()
