# SPDX-License-Identifier: Apache-2.0
"""The benchmark: kata beside runc and beside the floor, alternating in one run: percentiles, medians, ratios and pictures.

The floor is the same kernel, machine, memory and command line booted with floor.c as init. "cold" is kata with sandboxes
that boot, "clone" with sandboxes that are restored from a template, "shared" with those that share its memory, "spare" with
sandboxes that were ready before, "kata" what does not depend on that.
"""

import argparse
import contextlib
import functools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
# pylint: disable=wrong-import-position
import charts
import containerd
import kata
import many
import ociimage
import patience
import report
from blockfile import snapshotter
from floor import Floor, kernel_release
from timeline import trace
from variants import BOOTS, LABELS, NUMBERS_OF_SPARES, SNAPSHOTTERS, VARIANTS

BUILD = containerd.TREE / "build"


def milliseconds(since):
    return (time.monotonic() - since) * 1000


class Bench:
    """c: a containerd; configs: {label of a variant: its configuration}; data: all that was measured, as it is written."""

    image = "localhost/busybox:latest"

    def __init__(self, runs, tmp):
        self.runs, self.tmp = runs, tmp
        self.rounds = 1 + runs // 20  # of what starts several
        self.c, self.configs, self.ready = None, {}, {}
        self.data = {"runs": runs, "times": {}, "at_once": {}, "traces": {}, "memory_kib": {}, "pods_kib": {}, "spares": {},
                     "agent_binary_kb": self.stripped(BUILD / "src/agent/kata-agent") / 1000}

    @contextlib.contextmanager
    def serve(self, variants, configs):
        """A containerd with both snapshotters, its image, and what the variants start from."""
        self.configs = configs
        self.ready = {v.label: functools.partial(v.ready, configs[v.label]) for v in variants}
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.tmp))
        # Small: blockfile copies all of it for each container.
        with containerd.Containerd("2", config=next(iter(configs.values())), snapshotters=snapshotter(folder, mib=8)) as self.c:
            for name in set(SNAPSHOTTERS.values()):
                self.c.ctr("images", "import", "--local", "--snapshotter", name, self.tmp / "busybox.tar")
            # Whoever comes first has made what the others start from.
            for label in configs:
                self.start(label, f"bench-first-{label}")
                self.remove(f"bench-first-{label}")
            yield
            self.leave()

    @contextlib.contextmanager
    def beside(self):
        """Those run from which others take."""
        with contextlib.ExitStack() as ends:
            for label in (v.label for v in VARIANTS if v.beside):
                ends.callback(self.remove, f"bench-beside-{label}")
                self.start(label, f"bench-beside-{label}")
            yield

    def leave(self):
        """Spares go on, whoever has had them made."""
        self.await_ready()
        for config in self.configs.values():
            subprocess.run([BUILD / "src/cli/kata-runtime", "--config", config, "factory", "destroy"], check=True)

    def stripped(self, program):
        """The size of what gets installed: in the build folder it has its debug information."""
        copy = self.tmp / "stripped"
        subprocess.run(["strip", "-o", copy, program], check=True)
        return copy.stat().st_size

    def add(self, what, who, value):
        self.data["times"].setdefault(what, {}).setdefault(who, []).append(value)

    def remove(self, name):
        self.c.ctr("task", "rm", "-f", name, check=False)
        self.c.ctr("container", "rm", name, check=False)

    def await_ready(self):
        """Nothing is being made that any kind starts from."""
        for label, ready in self.ready.items():
            patience.wait(f"what {label} starts from", ready, 60)

    def runtime(self, who):
        """The options of ctr for this kind of container, once it may start."""
        self.await_ready()
        if who == "runc":
            return ["--runtime", "io.containerd.runc.v2"]
        return ["--runtime", containerd.RUNTIME, "--runtime-config-path", self.configs[who], "--snapshotter",
                SNAPSHOTTERS[who]]

    def start(self, who, name, *options):
        """A container that does nothing for an hour; the milliseconds until it runs."""
        command = ["run", "-d", *self.runtime(who), *options, self.image, name, "sleep", "3600"]
        start = time.monotonic()
        self.c.ctr(*command)
        return milliseconds(start)

    def talker(self, options, name):
        """A ctr whose container writes one byte and then does nothing for an hour."""
        command = self.c.command("run", *options, self.image, name, "sh", "-c", "echo x; exec sleep 3600")
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    # --- each run ---

    def first_output(self, who, n):
        command = self.c.command("run", "--rm", *self.runtime(who), self.image, f"bench-{who}-{n}", "echo", "x")
        start = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
            assert process.stdout.read(1) == b"x"
            self.add(report.FIRST_OUTPUT, who, milliseconds(start))
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
                self.data["memory_kib"].setdefault("shim before its first container", []).append(kata.memory(pid))
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
        found = self.data["memory_kib"]
        if who != BOOTS:
            found[f"QEMU, {who}"] = [kata.memory(pid) for pid in kata.qemu_of(name)]
            return
        for program, pids in many.processes_of(name).items():
            parts = [kata.memory(pid) for pid in pids]
            found[program] = [{k: sum(p[k] for p in parts) for k in ("rss", "pss", "private_dirty")}]
        value = re.search(r"^kata_agent_process_resident_memory_bytes\S* (\S+)", self.metrics(name), re.MULTILINE)
        found["agent"] = [{"rss": float(value.group(1)) / 1024, "pss": None, "private_dirty": None}]

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

    # --- many, and one looked at closely ---

    def at_once(self):
        """All kinds and numbers in turn."""
        for _ in range(self.rounds):
            for who, numbers in {"runc": (1, 2, 4, 8), **{v.label: v.at_once for v in VARIANTS}}.items():
                for n in numbers:
                    progress(f"{n} at once, {who}")
                    rounds = self.data["at_once"].setdefault(who, {}).setdefault(str(n), [])
                    rounds.append(many.at_once(self, who, n))

    def pods(self, n):
        for variant in VARIANTS:
            if variant.pod_mb and n:
                progress(f"{n} pods, {variant.label}")
                self.data["pods_kib"][variant.label] = many.pods(self, variant.label, n)

    def weigh_spares(self):
        for _ in range(self.rounds):
            for number, variant in NUMBERS_OF_SPARES.items():
                progress(f"{number} spares")
                found = self.data["spares"].setdefault(str(number), [])
                found.append(many.with_spares(self, variant.label, self.configs[variant.label]))

    def trace(self, who, n):
        """One start whose shim says at debug how long each step took, and how long the guest's processor ran."""
        name = f"bench-trace-{who}-{n}"
        options = self.runtime(who)
        before = {pid: kata.guest_cpu_seconds(pid) for pid in kata.processes(r"qemu-system\S* .*-name sandbox-")}
        seen, began = self.c.log.stat().st_size, time.time()
        with self.talker(options, name) as process:
            assert process.stdout.read(1) == b"x"
            ended = time.time()
            (qemu,) = kata.qemu_of(name)
            busy, until = kata.guest_cpu_seconds(qemu) - before.get(qemu, 0), time.time()
            self.remove(name)
        with self.c.log.open(errors="replace") as log:
            log.seek(seen)
            bars = trace(log.read(), name, began, ended)
        self.data["traces"].setdefault(who, []).append({"ms": (ended - began) * 1000,
                                                             "guest": {"ms": busy * 1000, "until": (until - began) * 1000},
                                                             "bars": bars})

    def floor(self, kernel):
        self.start(BOOTS, "bench-cmdline")
        try:
            qemu = kata.cmdline(kata.qemu_of("bench-cmdline")[0])
        finally:
            self.remove("bench-cmdline")
        return Floor(self.tmp, qemu, kernel)


def progress(text):
    print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def machine(floor, kernel, daemon):
    """What was measured on: figures of two machines, or of two QEMUs, do not compare."""
    def version(*command):
        said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        return re.search(r"\d+\.\d+[.\d]*", said)[0]

    how = {"kvm": "KVM", "tcg": "emulated (TCG)"}[floor.command[floor.command.index("-accel") + 1].partition(",")[0]]
    return (f"{os.cpu_count()} processors, {how}, QEMU {version('qemu-system-x86_64', '--version')}, "
            f"guests' Linux {kernel_release(kernel)}, "
            f"containerd {version(daemon, '--version')}, runc {version('runc', '--version')}")


def measure_alone(bench, config):
    """What is measured of one container at a time, all kinds in turn."""
    kernel = re.search(r'^kernel = "(.*)"', config.read_text(), re.MULTILINE).group(1)
    floor = bench.floor(kernel)
    bench.data["machine"] = machine(floor, kernel, bench.c.program)
    for n in range(bench.runs):
        progress(f"run {n + 1} of {bench.runs}")
        bench.add(report.TO_FIRST_BYTE, "floor", floor.run())
        for who in LABELS:
            bench.first_output(who, n)
        bench.shim_start("runc", n)
        bench.shim_start("kata", n)
        bench.guest_image()
    for who in LABELS:
        progress(f"containers that run, {who}")
        bench.in_running(who)
        if who in ("runc", BOOTS):
            bench.further_container(who)


def write_configs(tmp, image, variants, loud=False):
    """{label: configuration} of these variants; they have their templates."""
    configs = {}
    for variant in variants:
        path = tmp / f"{variant.label}{'-debug' if loud else ''}.toml"
        factory = {**variant.factory, "template_path": str(tmp / "templates")}
        sections = {"factory": factory, "runtime": {"enable_debug": loud}}
        configs[variant.label] = kata.write_config(path, image, sections, **variant.hypervisor)
        if factory["enable_template"]:
            kata.make_template(path)
    return configs


def measure(runs, pods, tmp):
    bench = Bench(runs, tmp)
    image = kata.make_image()
    ociimage.busybox(tmp / "busybox.tar", bench.image)
    configs = write_configs(tmp, image, VARIANTS)
    with bench.serve(VARIANTS, configs):
        with bench.beside():
            measure_alone(bench, configs[BOOTS])
            bench.at_once()
        bench.pods(pods)
    counted = NUMBERS_OF_SPARES.values()
    with bench.serve(counted, write_configs(tmp, image, counted)):
        bench.weigh_spares()
    configs = write_configs(tmp, image, VARIANTS, loud=True)
    with bench.serve(VARIANTS, configs), bench.beside():
        traces = 1 + runs // 4
        for n in range(traces):
            progress(f"phases of a start, {n + 1} of {traces}")
            for who in configs:
                bench.trace(who, n)
    progress("")
    return bench.data


def parse_options():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("-n", "--runs", type=int, default=10, help="alternating runs of each (default 10)")
    parser.add_argument("--pods", type=int, default=20, help="how many run side by side for their memory (default 20)")
    parser.add_argument("--json", type=pathlib.Path, default=BUILD / "bench.json",
                        help="where the figures go (default build/bench.json)")
    parser.add_argument("--from", type=pathlib.Path, dest="read", metavar="JSON",
                        help="show these figures, measure nothing")
    parser.add_argument("--pictures", type=pathlib.Path, metavar="FOLDER", help="draw pictures (SVG) into this folder")
    parser.add_argument("--page", type=pathlib.Path, metavar="FILE",
                        help="put the tables into this page (docs/benchmark.md)")
    return parser.parse_args()


def main():
    options = parse_options()
    if options.read:
        text = options.read.read_text()
    else:
        with tempfile.TemporaryDirectory(prefix="kata-c-bench-") as tmp:
            text = json.dumps(measure(options.runs, options.pods, pathlib.Path(tmp)), indent=1) + "\n"
        options.json.write_text(text)
    data = json.loads(text)
    tables = report.tables(data)
    print("\n".join(tables.values()))
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
        for name, picture in charts.pictures(data).items():
            (options.pictures / name).write_text(picture)
    if options.page:
        options.page.write_text(report.put_into(options.page.read_text(), tables))
    if not options.read:
        print(f"all samples: {options.json}", file=sys.stderr)


if __name__ == "__main__":
    main()
