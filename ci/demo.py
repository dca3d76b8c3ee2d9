# SPDX-License-Identifier: Apache-2.0
"""The comparison that the documents about Kata make: the same image under runc and under kata."""

import pathlib
import subprocess
import sys
import tempfile
import textwrap
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests/lib"))
# pylint: disable=wrong-import-position
import containerd
import kata
import ociimage

IMAGE = "localhost/busybox:latest"
QUESTIONS = ["uname -r", "cat /proc/uptime", "cat /proc/cmdline", "nproc"]
RUNTIMES = {"runc": "io.containerd.runc.v2", "kata": containerd.RUNTIME}


def say(text):
    print(f"\033[1m==>\033[0m {text}", file=sys.stderr, flush=True)


def first_output(c, runtime):
    """Milliseconds from `ctr run` to the first byte of a static binary's output."""
    start = time.monotonic()
    command = c.command("run", "--rm", "--runtime", RUNTIMES[runtime], IMAGE, f"demo-time-{runtime}", "echo", "hello")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        if not process.stdout.read(1):
            raise RuntimeError(f"{runtime} printed nothing")
        elapsed = time.monotonic() - start
        process.stdout.read()
    return elapsed * 1000


def answers(c, runtime, name):
    """What a container of its own says of itself, and the QEMU that runs it."""
    c.ctr("run", "-d", "--runtime", RUNTIMES[runtime], IMAGE, name, "sleep", "600")
    try:
        rows = [c.ctr("task", "exec", "--exec-id", f"q{i}", name, *question.split()).stdout.strip()
                for i, question in enumerate(QUESTIONS)]
        processes = kata.qemu_of(name)
        return rows, [" ".join(kata.cmdline(pid)[:3]) for pid in processes]
    finally:
        c.ctr("task", "rm", "-f", name, check=False)
        c.ctr("container", "rm", name, check=False)


def table(rows):
    width = 36
    for name, left, right in [("", "runc", "kata"), *rows]:
        cells = [textwrap.wrap(cell, width) or [""] for cell in (left, right)]
        for i in range(max(map(len, cells))):
            a, b = (cell[i] if i < len(cell) else "" for cell in cells)
            print(f"{name if i == 0 else '':22} {a:{width}}  {b}")


def main():
    with tempfile.TemporaryDirectory(prefix="kata-c-demo-") as tmp:
        tmp = pathlib.Path(tmp)
        say("making the guest image from the host's kernel")
        config = kata.write_config(tmp / "configuration.toml", kata.make_image())
        say("starting a private containerd and making an image from busybox")
        ociimage.busybox(tmp / "busybox.tar", IMAGE)
        with containerd.Containerd("1", config=config) as c:
            c.ctr("images", "import", tmp / "busybox.tar")
            say("running one container under runc and one under kata")
            columns = [answers(c, runtime, f"demo-{runtime}") for runtime in RUNTIMES]
            times = [f"{first_output(c, runtime):.0f} ms" for runtime in RUNTIMES]
    rows = [(question, columns[0][0][i], columns[1][0][i]) for i, question in enumerate(QUESTIONS)]
    rows.append(("QEMU on the host", *("\n".join(c[1]) or "none" for c in columns)))
    rows.append(("run to first output", *times))
    print()
    table(rows)
    print("\nEverything that ran is gone again. Next: README.md, or sudo ./dev test")


if __name__ == "__main__":
    main()
