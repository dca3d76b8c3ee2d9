# SPDX-License-Identifier: Apache-2.0
"""Tests on a Kubernetes node of real parts (lib/node.py): each runs with the handler `kata` and with `runc`, so that a
difference shows, unless it asks for neither.

Every test ends with a search for what it left behind. They run with containerd 2; those marked `smoke` with 1.6, too.
Environment, besides that of tests/system:
  KATA_NODE        the node's name (default: one of this run alone)
  KATA_NODE_KEEP   leave the node up, and use it again if it is: for development, with a KATA_NODE
  KATA_TEST_FULL   everything with both generations of containerd
  KATA_TEST_BOOT   every sandbox boots; they are restored from a template otherwise
  KATA_TEST_NO_SUITES  leave out the public test suites of file systems, which take minutes

One test at a time, on a node of one's own that stays up between runs, beside others' nodes:
  export KATA_TEST_SHARED=1 KATA_NODE=mine KATA_NODE_KEEP=1
  /usr/bin/python3 -m pytest -q -p no:cacheprovider --timeout=900 tests/kubernetes/test_walkthrough.py -k uname
  ./dev node status --name mine          # or KATA_NODE=mine ./dev kubectl get pods
  ./dev node down --name mine            # at the end; or after a change of what the node starts with
"""

import itertools
import os
import pathlib
import sys

import pytest

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "lib"), str(TESTS.parent / "ci")]

# pylint: disable=wrong-import-position
import leaks
import node as nodes
import pods
from skips import pytest_runtest_logreport, pytest_sessionfinish  # pylint: disable=unused-import

BUILD = pathlib.Path(os.environ.get("KATA_BUILD", TESTS.parent / "build")).resolve()
KEEP = bool(os.environ.get("KATA_NODE_KEEP"))
# Others run pods at the same time: other processes of this run, or whoever shares the machine.
SHARED = bool(os.environ.get("KATA_TEST_SHARED") or os.environ.get("PYTEST_XDIST_WORKER"))
GENERATIONS = {"params": ["2", "1"], "ids": ["containerd2", "containerd1"]}
HANDLERS = {"params": ["kata", "runc"]}

_numbers = itertools.count(1)


def unique(what="p"):
    return f"kt{os.getpid()}-{what}{next(_numbers)}"


@pytest.fixture(name="node", scope="session", **GENERATIONS)
def fixture_node(request):
    """The node; one at a time, for all tests of its generation."""
    base = os.environ.get("KATA_NODE", f"kt{os.getpid()}")
    name = base if request.param == "2" else f"{base}-c1"
    node = nodes.Node(name, request.param, BUILD)
    kept = nodes.Node.existing(name) if KEEP else None
    if not (kept and kept.generation == request.param and kept.build == BUILD and kept.running()):
        node.start()
    yield node
    if not KEEP:
        node.stop()


@pytest.fixture(name="handler", **HANDLERS)
def fixture_handler(request):
    """The runtime class that a test's pods use."""
    return request.param


class Factory:
    """pod("sleep", "9") applies a pod with the test's handler and waits until it runs; see pods.manifest() for more.

    wait="ready", "running" (the default), "succeeded", "ended" or None; handler=None leaves the runtime class out.
    """

    def __init__(self, node, handler):
        self.node, self.handler = node, handler
        self.made = []
        self.names = set()  # of all that belongs to the pods

    def __call__(self, *command, wait="running", name=None, handler="", **kwargs):
        return self.apply(pods.manifest(name or unique(), self.handler if handler == "" else handler,
                                        *(command or (() if "image" in kwargs else pods.FOREVER)), **kwargs), wait)

    def apply(self, manifest, wait="running", seconds=pods.START):
        for image in pods.needed_images(manifest["spec"]):
            self.node.image(image)
        pod = pods.Pod(self.node, manifest)
        self.made.append(pod)
        if wait:
            getattr(pod, f"wait_{wait}")(seconds)
        return pod

    def clear(self):
        """Delete all that is left, at once."""
        for pod in self.made:
            self.names |= {pod.uid, pod.name, *pod.ids()}
            self.node.api.delete("Pod", pod.name, pod.namespace, grace=1)
        for pod in self.made:
            pod.delete(grace=1)


@pytest.fixture(name="pod")
def fixture_pod(request, node, no_leaks):
    """See Factory. The pods are deleted when the test ends."""
    handler = request.getfixturevalue("handler") if "handler" in request.fixturenames else None
    factory = Factory(node, handler)
    yield factory
    factory.clear()
    no_leaks.update(factory.names)


@pytest.fixture(name="objects")
def fixture_objects(node):
    """objects("ConfigMap", name, data={...}): made, and deleted at the end."""
    made = []

    def make(kind, name, **body):
        made.append((kind, name))
        return node.api.create({"kind": kind, "metadata": {"name": name}, **body})

    yield make
    for kind, name in reversed(made):
        node.api.delete(kind, name)


@pytest.fixture(autouse=True, name="no_leaks")
def fixture_no_leaks(node):
    """Nothing of a test is left when it has ended. On a shared machine: nothing that bears a name of the node's or of
    the pods', which the test may add to."""
    names = {node.long_name, f"{node.folder}/"}
    with leaks.none(names if SHARED else None, node.leak_folders()):
        yield names


# --- what runs ---

def pytest_configure(config):
    config.addinivalue_line("markers", "smoke: with containerd 1.6, too")


def pytest_collection_modifyitems(config, items):
    for item in items:
        if "containerd1" in item.name:  # one process starts the other node, once
            item.add_marker(pytest.mark.xdist_group("containerd1"))
    if os.environ.get("KATA_TEST_FULL"):
        return
    unwanted = [item for item in items if "containerd1" in item.name and not item.get_closest_marker("smoke")]
    config.hook.pytest_deselected(items=unwanted)
    items[:] = [item for item in items if item not in unwanted]
