# SPDX-License-Identifier: Apache-2.0
"""Volumes that kubelet changes under a running container: ConfigMap, Secret, projected, downwardAPI."""

import hashlib
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import time

import pytest
from conftest import IMAGE, Sandbox, kata, limit, ociimage
from patience import wait
from test_pod import Pod, fixture_shm  # pylint: disable=unused-import

pytestmark = pytest.mark.once  # what is tested is the runtime, whoever calls it

UPDATES = 200
# In the container: `watch` prints what inotify tells; `read` opens /cfg/key again and again until there is /cfg/stop, and
# counts what is missing or not whole (4096 times the same byte).
WATCHER = r"""
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>
static int is_whole(void)
{
	char text[8192];
	int fd = open("/cfg/key", O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	if (fd >= 0)
		close(fd);
	return n == 4096 && memcmp(text, text + 1, 4095) == 0;
}
int main(int argc, char **argv)
{
	char buffer[8192] __attribute__((aligned(8)));
	unsigned long reads = 0, bad = 0;
	int fd = inotify_init1(0);
	if (argc < 2 || fd < 0 || inotify_add_watch(fd, "/cfg", IN_CREATE | IN_MOVED_TO | IN_DELETE) < 0)
		return 1;
	setlinebuf(stdout);
	puts("ready");
	if (!strcmp(argv[1], "read")) {
		for (; access("/cfg/stop", F_OK) != 0; reads++)
			bad += !is_whole();
		printf("%lu reads, %lu bad\n", reads, bad);
		return 0;
	}
	for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;)
		for (char *p = buffer; p < buffer + n;) {
			struct inotify_event *e = (struct inotify_event *)p;
			printf("%s%s\n", e->mask & IN_DELETE ? "-" : "", e->name);
			p += sizeof(*e) + e->len;
		}
}
"""


class Volume:
    """As kubelet's AtomicWriter keeps it."""

    def __init__(self, root, files, plugin="configmap", mode=0o644):
        self.path = root / "volumes" / f"kubernetes.io~{plugin}" / "cfg"
        self.path.mkdir(parents=True)
        self.path.chmod(0o2775)
        self.mode = mode
        self.stamps = (f"..2026_11_27_{n:06}" for n in itertools.count())
        self.update(files)

    def update(self, files):
        """Returns the moment of the change."""
        new, data = self.path / next(self.stamps), self.path / "..data"
        old = self.path / os.readlink(data) if data.is_symlink() else None
        new.mkdir()
        new.chmod(0o755)
        for name, content in files.items():
            (new / name).write_bytes(content)
            (new / name).chmod(self.mode)
        os.symlink(new.name, self.path / "..data_tmp")
        os.rename(self.path / "..data_tmp", data)
        changed = time.monotonic()
        for name in files:
            if not (self.path / name).is_symlink():
                os.symlink(f"..data/{name}", self.path / name)
        for link in self.path.iterdir():
            if not link.name.startswith("..") and link.name not in files:
                link.unlink()
        if old:
            shutil.rmtree(old)
        return changed

    @property
    def options(self):
        return ["--mount", f"type=bind,src={self.path},dst=/cfg,options=rbind:ro"]


@pytest.fixture(name="watcher", scope="session")
def fixture_watcher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watcher")
    (folder / "watcher.c").write_text(WATCHER)
    ociimage.program(folder / "watcher.c", folder / "watcher")
    return folder


def mounted(folder):
    return ["--mount", f"type=bind,src={folder},dst=/t,options=rbind:ro"]


def start(containerd, name, volume, watcher, what):
    """A container that runs the program above; returns its process, whose output comes in lines, once it is ready."""
    command = containerd.command("run", "--rm", "--runtime", "io.containerd.kata.v2", *volume.options, *mounted(watcher),
                                 IMAGE, name, "/t/watcher", what)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    assert line == "ready\n", line + process.stderr.read()
    return process


def watches(pid):
    """The watches of a shim."""
    return sum(text.count("inotify wd:") for text in map(read_quietly, pathlib.Path(f"/proc/{pid}/fdinfo").iterdir()))


def read_quietly(path):
    try:
        return path.read_text()
    except OSError:
        return ""


def test_events(containerd, name, tmp_path, watcher):
    """A container's inotify tells of a change at once, in kubelet's own order."""
    volume = Volume(tmp_path, {"key": b"one", "old": b"x"})
    process = start(containerd, name, volume, watcher, "watch")
    delays = []
    try:
        for n in range(10):
            changed = volume.update({"key": str(n).encode(), f"new{n}": b"x"})
            seen = []
            while not seen or not seen[-1].startswith("-.."):
                seen.append(process.stdout.readline().rstrip("\n"))
                assert seen[-1] or process.poll() is None
                if seen[-1] == "..data":
                    delays.append(time.monotonic() - changed)
            assert re.fullmatch(rf"\.\.2026\S+ \.\.data new{n} -\S+ -\.\.2026\S+", " ".join(seen)), seen
    finally:
        containerd.ctr("task", "kill", "-s", "SIGKILL", name, check=False)
        process.communicate(timeout=limit(60))
    delays.sort()
    print(f"measured: from kubelet's rename to the line of a container: {delays[5] * 1000:.0f} ms, "
          f"at most {delays[-1] * 1000:.0f}")
    assert delays[5] < limit(1)


def test_never_half(containerd, name, tmp_path, watcher):
    """Whoever reads while it changes finds the old or the new file, always."""
    volume = Volume(tmp_path, {"key": b"a" * 4096})
    process = start(containerd, name, volume, watcher, "read")
    for n in range(UPDATES):
        volume.update({"key": b"%c" % (97 + n % 26) * 4096})
        time.sleep(0.02 * (n % 5))  # not a wait for progress: a rhythm that coalesces some and not others
    volume.update({"key": b"z" * 4096, "stop": b""})
    out, error = process.communicate(timeout=limit(60))
    print(f"measured: {out.strip()} in {UPDATES} updates")
    reads, bad = map(int, re.fullmatch(r"(\d+) reads, (\d+) bad\n", out).groups())
    assert bad == 0 and reads > UPDATES, error


@pytest.mark.parametrize("plugin,mode", [("secret", 0o400), ("projected", 0o644), ("downward-api", 0o440)])
def test_as_it_is(containerd, name, tmp_path, plugin, mode):
    """Contents, modes, owners and links are the host's."""
    volume = Volume(tmp_path, {"key": b"text", "empty": b"", "with space": b"1"}, plugin, mode)
    os.chown(volume.path / "..data/key", 1000, 2000)
    sandbox = Sandbox(containerd, name, "sleep", "600", options=volume.options)
    look = "cd /cfg && stat -c '%n %f %u %g' . ..data key ..data/* && readlink ..data && readlink key && cat key"
    there = subprocess.run(["sh", "-c", look.replace("/cfg", str(volume.path))], check=True, capture_output=True, text=True)
    assert sandbox.exec("sh", "-c", look).stdout == there.stdout
    assert "Read-only" in sandbox.exec("sh", "-c", "touch /cfg/x || touch /cfg/key").stderr
    volume.update({"other": b"new"})
    wait("the new file", lambda: sandbox.exec("cat", "/cfg/other").stdout == "new", 10)
    wait("the rest", lambda: sandbox.exec("ls", "-A", "/cfg").stdout.split() == sorted(os.listdir(volume.path)), 10)
    # The kernel of the guest has it, not a file system of the host.
    assert "tmpfs" in sandbox.exec("sh", "-c", "grep ' /cfg ' /proc/mounts").stdout


def test_large(containerd, name, tmp_path):
    """Many files and large ones, more than fit in one message."""
    files = {f"file{n:03}": os.urandom(10 * 1024) for n in range(500)} | {"large": os.urandom(20 << 20)}
    volume = Volume(tmp_path, files)
    sandbox = Sandbox(containerd, name, "sleep", "600", options=volume.options)

    def digests(content):
        return "".join(f"{hashlib.md5(content[key]).hexdigest()}  {key}\n" for key in sorted(content))

    assert sandbox.exec("sh", "-c", "cd /cfg; md5sum *").stdout == digests(files)
    files["large"] = os.urandom(20 << 20)
    changed = volume.update(files)
    wait("all files", lambda: sandbox.exec("sh", "-c", "cd /cfg; md5sum *").stdout == digests(files), 30)
    print(f"measured: 501 files, 25 MB: seen {time.monotonic() - changed:.1f} s after the change")
    # What is too large is refused by name, and what was there stays.
    with (volume.path / "..data/file000").open("r+b") as f:
        f.truncate(65 << 20)
    other = containerd.ctr("run", "--rm", "--runtime", "io.containerd.kata.v2", *volume.options, IMAGE, name + "x", "true",
                           check=False)
    assert "is too large to be copied into the guest: more than 64 MiB" in other.stderr
    containerd.ctr("container", "rm", name + "x", check=False)


def test_pod_shares(containerd, shm, tmp_path):
    """All containers of a pod have one copy and one watch; with the last they go."""
    volume = Volume(tmp_path, {"key": b"one"})
    pod = Pod(containerd, shm)
    try:
        first, second = (pod.add(options=volume.options) for _ in range(2))
        (shim,) = kata.shim_of(pod.id)
        assert watches(shim) == 1
        inodes = [pod.exec(c, "stat -L -c '%d %i' /cfg/key").stdout for c in (first, second)]
        assert inodes[0] == inodes[1] != ""
        pod.delete(first)
        volume.update({"key": b"two"})
        wait("the new text", lambda: pod.exec(second, "cat /cfg/key").stdout == "two", 10)
        pod.delete(second)
        assert watches(shim) == 0
        volume.update({"key": b"three"})
        assert pod.exec(pod.add(options=volume.options), "cat /cfg/key").stdout == "three"
    finally:
        pod.remove()
