# SPDX-License-Identifier: Apache-2.0
"""containerd's own CRI integration tests under runc and under kata: what works with runc works with kata.

usage: run.py [TEST ...]     (ci/cri)
Every test of theirs runs under both, but those of left-out.txt. One that passes with runc must pass with kata, unless
differences.txt says why it cannot; then it must fail. A test with parts counts as its parts. Each test is a process of
its own, and leaves nothing of a sandbox behind. Output is kept in build/logs/cri/. Environment: KATA_BUILD,
KATA_TEST_SHARED as in tests/system/conftest.py.
"""

import os
import pathlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE.parent.parent / "ci")]

# pylint: disable=wrong-import-position
import containerd
import cri
import suite_images
import kata
import leaks
import skips
import verdict
from patience import limit

TESTS = os.environ["CRI_TESTS"]  # their program: ci/cri-integration makes it
BUILD = pathlib.Path(os.environ.get("KATA_BUILD", containerd.TREE / "build")).resolve()
LOGS = BUILD / "logs/cri"
TIMEOUT = 200  # seconds of one test, on an idle machine
# How many nodes run tests at the same time; most of a test is waiting.
NODES = {"runc": 1, "kata": 2}


class Results:
    """What the tests of one handler came to."""

    def __init__(self, handler):
        self.handler = handler
        self.of = {}  # part of a test: PASS, FAIL or SKIP
        self.skipped = []  # (part, reason)
        self.seconds = {}
        self.left = []
        self.lock = threading.Lock()

    def add(self, test, output, seconds, left):
        parts = verdict.parts(test, output)
        with self.lock:
            self.of.update(parts)
            self.skipped += [(name, verdict.skip_reason(name, output)) for name, v in parts.items() if v == "SKIP"]
            self.seconds[test] = seconds
            self.left += [f"{test}: left behind: {x}" for x in left]
            good = "FAIL" not in parts.values()
            print(f"{self.handler:4}  {seconds:6.1f} s  {'passed' if good else 'failed'}  {test}", flush=True)


class Worker(threading.Thread):
    """Runs tests of the queue on a node of its own; one on which a test has failed is thrown away."""

    def __init__(self, handler, number, tests, results, make_node, image_list):
        super().__init__(daemon=True)
        self.handler = handler
        self.number = number
        self.tests = tests
        self.results = results
        self.make_node = make_node
        self.image_list = image_list
        self.node = None
        self.count = 0
        self.names = set()
        self.error = None

    def _fresh_node(self):
        self.count += 1
        return self.make_node(f"kt{os.getpid()}{self.handler[0]}{self.number}{self.count}", self.handler).start()

    def _drop_node(self):
        if self.node:
            self.names |= self.node.names()
            self.node.stop()
            self.node = None

    def _run(self, test):
        self.node = self.node or self._fresh_node()
        log = LOGS / self.handler / f"{test}.log"
        before = leaks.snapshot() if self.handler == "kata" else None
        said = len(self.node.log.read_bytes())
        start = time.monotonic()
        with log.open("wb") as out:
            code = subprocess.run(
                self.node.test(TESTS, "-test.v", "-test.run", f"^{test}$", "-test.timeout", f"{limit(TIMEOUT):.0f}s",
                               "-image-list", self.image_list), stdout=out, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, env=dict(os.environ, TMPDIR=str(self.node.dir)), check=False).returncode
        seconds = time.monotonic() - start
        left = leaks.after(before, self.node.names()) if before is not None and code == 0 else []
        self.results.add(test, log.read_text(errors="replace"), seconds, left)
        if code or left:
            log.with_suffix(".containerd.log").write_bytes(self.node.log.read_bytes()[said:])
            self._drop_node()

    def run(self):
        try:
            while True:
                self._run(self.tests.get_nowait())
        except queue.Empty:
            pass
        except Exception as error:  # pylint: disable=broad-exception-caught
            self.error = error
        finally:
            self._drop_node()


def choose(make_node, wanted, left_out):
    """The tests to run; their program tells them only with a daemon at hand."""
    with make_node(f"kt{os.getpid()}list", "runc") as node:
        listing = subprocess.run(node.test(TESTS, "-test.list", "."), stdout=subprocess.PIPE, text=True, check=True).stdout
    known = [line for line in listing.splitlines() if line.startswith("Test")]
    unknown = [name for name in [*left_out, *wanted] if name not in known]
    if unknown:
        sys.exit(f"containerd has no such tests: {', '.join(unknown)}")
    return wanted or [name for name in known if name not in left_out]


def forget(todo):
    try:
        while True:
            todo.get_nowait()
    except queue.Empty:
        pass


def run_all(tests, make_node, image_list):
    """({handler: Results}, the names of all nodes)"""
    workers, queues, results = [], [], {}
    for handler, n in NODES.items():
        (LOGS / handler).mkdir(parents=True, exist_ok=True)
        results[handler] = Results(handler)
        todo = queue.SimpleQueue()
        for test in tests:
            todo.put(test)
        queues.append(todo)
        workers += [Worker(handler, i, todo, results[handler], make_node, image_list) for i in range(n)]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    finally:
        # Also when somebody has had enough: the nodes are taken down.
        for todo in queues:
            forget(todo)
        for worker in workers:
            worker.join()
    for worker in workers:
        if worker.error:
            raise worker.error
    return results, set().union(*(worker.names for worker in workers))


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    start = time.monotonic()
    before = leaks.snapshot()
    differences, left_out = verdict.listed("differences.txt"), verdict.listed("left-out.txt")
    with tempfile.TemporaryDirectory(prefix="kata-c-cri-") as folder:
        archives, image_list = suite_images.make(pathlib.Path(folder))
        config = kata.write_config(pathlib.Path(folder) / "configuration.toml", kata.make_image(BUILD))

        def make_node(name, handler):
            return cri.Node(name, handler, config, archives, BUILD)

        tests = choose(make_node, sys.argv[1:], left_out)
        results, names = run_all(tests, make_node, image_list)
    runc, result = results["runc"], results["kata"]
    wrong = verdict.compare(runc.of, result.of, differences) + result.left
    wrong += [f"left behind by the run: {x}"
              for x in leaks.after(before, names if os.environ.get("KATA_TEST_SHARED") else None)]
    for name, reason in differences.items():
        if name in result.of:
            print(f"difference: {name}: {reason}")
        elif not sys.argv[1:]:
            wrong.append(f"{name}: tests/cri/differences.txt has it, but it did not run")
    skipped = sorted(set(runc.skipped + result.skipped))
    for handler, of in results.items():
        print(f"measured: {len(of.seconds)} tests with {handler} in {sum(of.seconds.values()):.0f} s")
    print(f"measured: {time.monotonic() - start:.0f} s in all")
    for line in wrong:
        print(f"FAILED {line}")
    failed = len(wrong) + skips.check(skipped)
    passed = len(runc.of.keys() | result.of.keys()) - len(skipped) - len(wrong)
    print(f"{max(passed, 0)} passed, {failed} failed" + (f", {len(skipped)} skipped" if skipped else ""))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
