# SPDX-License-Identifier: Apache-2.0
"""System tests: real containerd (Debian's 1.6 and 2.x, private ones), real QEMU, the tree's programs.

Every test ends with a search for what it left behind. A test runs under both containerds, unless it is marked `once`
because their generation makes no difference to it. Environment:
  KATA_BUILD          the build folder (default: build)
  KATA_GUEST_BUILD    the build folder of the guest image, where it is another
  KATA_TEST_FULL      soaks at full length, and under both containerds what is `once` otherwise
  KATA_TEST_NATIVE    the tests that need a host's own features, and everything with KVM where that works
  KATA_TEST_PARALLEL  sandboxes at once (default 4, full 20)
  KATA_TEST_RUNS      runs in a row (default 5, full 100)
  KATA_TEST_BOOT      every sandbox boots, also those of containerd 2, which are restored from a template otherwise
  KATA_TEST_IMAGES    a folder of OCI archives: these and the guest image in build/image have been made before
  KATA_TEST_OWN_MACHINE  nobody else uses this machine: its clock may be set
  KATA_TEST_SHARED    others run sandboxes on this machine: look for leaks of our own names only
A test that skips must be listed with its reason in tests/skips.txt, or the run fails.
"""

import contextlib
import itertools
import os
import pathlib
import subprocess
import sys
import time

import pytest

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "lib"), str(TESTS.parent / "ci")]

# pylint: disable=wrong-import-position
import containerd as daemon
import host
import kata
import leaks
import ociimage
from blockfile import snapshotter as blockfile_snapshotter
from memory_group import MemoryGroup
from patience import limit
from skips import pytest_runtest_logreport, pytest_sessionfinish  # pylint: disable=unused-import

BUILD = pathlib.Path(os.environ.get("KATA_BUILD", TESTS.parent / "build")).resolve()
PREFIX = f"kt{os.getpid()}"
OUTSIDE = f"kt{os.getpid() % 100000}v"
IMAGE = "localhost/busybox:latest"
IMAGE_USER = "localhost/user:latest"
PAUSE = "localhost/pause:latest"

_numbers = itertools.count(1)


class Sandbox:
    """One container in a sandbox of its own, started with `ctr run -d`; removed when the test ends."""

    def __init__(self, containerd, name, *command, image=IMAGE, options=(), check=True):
        self.containerd = containerd
        self.name = name
        self.started = containerd.ctr("run", "-d", "--runtime", daemon.RUNTIME, *options, image, name, *command,
                                      check=check)

    def task(self, verb, *args, **kwargs):
        return self.containerd.ctr("task", verb, *args, self.name, **kwargs)

    def exec(self, *command, options=(), **kwargs):
        kwargs.setdefault("check", False)
        return self.containerd.ctr("task", "exec", "--exec-id", unique("x"), *options, self.name, *command, **kwargs)

    def status(self):
        for line in self.containerd.ctr("task", "ls").stdout.splitlines():
            if line.split()[0] == self.name:
                return line.split()[2]
        return None

    def wait_status(self, wanted, seconds=10):
        deadline = time.monotonic() + limit(seconds)
        while self.status() != wanted:
            assert time.monotonic() < deadline, f"{self.name} is {self.status()}, not {wanted}"
            time.sleep(0.1)

    @property
    def qemu(self):
        (pid,) = kata.qemu_of(self.name)
        return pid

    @property
    def shim(self):
        (pid,) = kata.shim_of(self.name)
        return pid

    def remove(self):
        remove(self.containerd, self.name)


def unique(what="c"):
    return f"{PREFIX}-{what}{next(_numbers)}"


def remove(containerd, name):
    containerd.ctr("task", "rm", "-f", name, check=False)
    containerd.ctr("container", "rm", name, check=False)


def removed_in_the_end(containerd):
    """What a fixture yields: a name for one sandbox."""
    name = unique()
    yield name
    remove(containerd, name)


@pytest.fixture(name="guest", scope="session")
def fixture_guest():
    """The folder with the guest's kernel and initrd."""
    if os.environ.get("KATA_TEST_IMAGES"):
        return BUILD / "image"
    return kata.make_image(pathlib.Path(os.environ.get("KATA_GUEST_BUILD", BUILD)))


@pytest.fixture(name="config", scope="session")
def fixture_config(tmp_path_factory, guest):
    """write(**keys) makes a configuration.toml that differs from the default in these keys; returns its path."""
    folder = tmp_path_factory.mktemp("config")
    numbers = itertools.count()

    def write(sections=None, **hypervisor):
        return kata.write_config(folder / f"configuration-{next(numbers)}.toml", guest, sections, **hypervisor)

    return write


@pytest.fixture(name="archives", scope="session")
def fixture_archives(tmp_path_factory):
    """The images as OCI archives."""
    if made := os.environ.get("KATA_TEST_IMAGES"):
        return sorted(pathlib.Path(made).glob("*.tar"))
    folder = tmp_path_factory.mktemp("images")
    ociimage.busybox(folder / "busybox.tar", IMAGE)
    ociimage.busybox(folder / "user.tar", IMAGE_USER, {"User": "1000:1000"})
    root = folder / "pause"
    root.mkdir()
    ociimage.program(ociimage.PAUSE, root / "pause")
    ociimage.write(folder / "pause.tar", PAUSE, root, {"Entrypoint": ["/pause"]})
    return sorted(folder.glob("*.tar"))


both_generations = {"params": ["1", "2"], "ids": ["containerd1", "containerd2"]}


@pytest.fixture(name="template_config", scope="session")
def fixture_template_config(tmp_path_factory, config):
    """A configuration with templates, and the one that its sandboxes are restored from."""
    folder = tmp_path_factory.mktemp("templates")
    return kata.make_template(config({"factory": {"enable_template": True, "template_path": str(folder),
                                                  "auto_build_template": False}}), BUILD)


@pytest.fixture(name="containerd", scope="session", **both_generations)
def fixture_containerd(request, config, archives):
    """A private containerd of each generation, with the images, that starts our shim. Sandboxes of the older one boot,
    those of the newer one are restored from a template."""
    restored = request.param == "2" and not os.environ.get("KATA_TEST_BOOT")
    chosen = request.getfixturevalue("template_config") if restored else config()
    with daemon.Containerd(request.param, BUILD, config=chosen) as c:
        for archive in archives:
            c.ctr("images", "import", archive)
        yield c


@pytest.fixture(name="blockfile", scope="module")
def fixture_blockfile(tmp_path_factory, config, archives):
    """A containerd 2 whose snapshots are files with an ext4 each."""
    with daemon.Containerd("2", BUILD, config=config(), snapshotters=blockfile_snapshotter(
            tmp_path_factory.mktemp("blockfile"))) as c:
        for archive in archives:
            c.ctr("images", "import", "--local", "--snapshotter", "blockfile", archive)
        yield c


@pytest.fixture(name="block_name")
def fixture_block_name(blockfile):
    yield from removed_in_the_end(blockfile)


@pytest.fixture(name="name")
def fixture_name(containerd):
    """A name for one sandbox, which is removed when the test ends."""
    yield from removed_in_the_end(containerd)


@pytest.fixture(name="sandbox")
def fixture_sandbox(containerd, name):
    """A sandbox that does nothing for ten minutes."""
    return Sandbox(containerd, name, "sleep", "600")


@pytest.fixture(name="shared_sandbox", scope="module")
def fixture_shared_sandbox(containerd):
    """The same, one for all tests of a file that only look or exec."""
    sandbox = Sandbox(containerd, unique("shared"), "sleep", "3600")
    yield sandbox
    sandbox.remove()


@pytest.fixture(name="group")
def fixture_group():
    """A control group with a memory limit to be set. Set up before the sandbox that goes there."""
    with MemoryGroup(unique("g")) as group:
        yield group


@contextlib.contextmanager
def pod_network(name):
    """A network namespace with a veth pair, as a CNI plugin leaves it; the other end is OUTSIDE."""
    ip = ["ip", "-n", name]
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run([*ip, "link", "add", "eth0", "type", "veth", "peer", "name", OUTSIDE], check=True)
        subprocess.run([*ip, "addr", "add", "10.88.99.2/24", "dev", "eth0"], check=True)
        subprocess.run([*ip, "link", "set", "eth0", "up"], check=True)
        subprocess.run([*ip, "link", "set", OUTSIDE, "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.fixture(name="netns")
def fixture_netns():
    with pod_network(unique("n")) as name:
        yield name


@pytest.fixture(autouse=True)
def fixture_no_leaks(request):
    """Nothing of a test is left when it has ended. Set up before the test's own fixtures, so that it looks after
    they are gone; what the session or the file shares is set up before that."""
    for shared in ("containerd", "cramped", "shared_sandbox"):
        if shared in request.fixturenames:
            request.getfixturevalue(shared)
    with leaks.none([PREFIX] if os.environ.get("KATA_TEST_SHARED") else None):
        yield


# --- what runs ---

def pytest_configure(config):
    config.addinivalue_line("markers", "once: under containerd 2 alone, unless KATA_TEST_FULL is set")
    config.addinivalue_line("markers", "nested: starts a sandbox, which takes minutes in an emulated host (ci/hosted)")
    config.addinivalue_line("markers", "native(*features): only in a native run, on a host with these (lib/host.py)")


def unwanted(item, native, lacking):
    """Why this test does not run here: a text to print, "" without one; None: it runs."""
    needs = item.get_closest_marker("native")
    if needs and not native:
        return ""
    if item.get_closest_marker("once") and "containerd1" in item.name and not os.environ.get("KATA_TEST_FULL"):
        return ""
    if needs:
        reasons = [f"{name} ({lacking[name]})" for name in needs.args if name in lacking]
        if reasons:
            return f"native: {item.name} is left out: needs " + ", ".join(reasons)
    elif native and "kvm" in lacking:
        return ""
    return None


def pytest_collection_modifyitems(config, items):
    native = bool(os.environ.get("KATA_TEST_NATIVE"))
    lacking = host.missing(BUILD) if native else {}
    if len(lacking) == len(host.FEATURES):
        pytest.exit(f"native: this host has none of {', '.join(lacking)}: nothing to test", returncode=1)
    if "kvm" in lacking:
        print(f"\nnative: only the tests marked so run, without KVM: {lacking['kvm']}")
    verdicts = {item: unwanted(item, native, lacking) for item in items}
    for text in dict.fromkeys(filter(None, verdicts.values())):
        print(text)
    config.hook.pytest_deselected(items=[item for item in items if verdicts[item] is not None])
    items[:] = [item for item in items if verdicts[item] is None]
