# SPDX-License-Identifier: Apache-2.0
"""Clones of a template that share its memory: those without a shared folder, whose files are on block devices."""

import fcntl
import json
import os
import pathlib
import re
import signal

import pytest
from conftest import Sandbox, kata, remove, unique
from test_template import RESTORED, Factory, all_work, begin, kill_early, restored

pytestmark = pytest.mark.once  # what is tested is the runtime, whoever calls it

F_GET_SEALS = 1034
F_SEAL_WRITE = 8
SHARED_NAME = re.compile(r"/memfd:kata-template-[0-9a-f]{64} \(deleted\)")


@pytest.fixture(name="factory", scope="module")
def fixture_factory(config, tmp_path_factory):
    """With one template, which whoever removes it makes again."""
    made = Factory(config, tmp_path_factory.mktemp("templates"), factory={"shared_clones": True}, shared_fs="none")
    made.init()
    return made


def options(factory):
    return ("--snapshotter", "blockfile", *factory.shim_options())


@pytest.fixture(name="start")
def fixture_start(blockfile, factory):
    """start(*more): a sandbox with a root on a block device."""
    started = []

    def start(*more, how=RESTORED):
        name = unique()
        started.append(name)
        sandbox = Sandbox(blockfile, name, "sleep", "600", options=(*options(factory), *more))
        assert restored(sandbox) == how
        return sandbox

    yield start
    for name in started:
        remove(blockfile, name)


def mapping(sandbox):
    """How QEMU maps the guest's memory: permissions, inode, name."""
    lines = [line.split(maxsplit=5) for line in pathlib.Path(f"/proc/{sandbox.qemu}/maps").read_text().splitlines()]
    (found,) = {(fields[1], fields[4], fields[5]) for fields in lines if len(fields) == 6 and "/memfd:kata-" in fields[5]}
    return found


def state(sandbox):
    return json.loads((kata.STATES / sandbox.name / "state.json").read_text())


def pss(sandbox):
    return kata.memory(sandbox.qemu)["pss"] / 1024


def test_pages_are_shared(start):
    sandboxes = [start(), start()]
    (permissions, inode, name), other = map(mapping, sandboxes)
    assert permissions.startswith("rw") and permissions.endswith("p") and SHARED_NAME.fullmatch(name)
    assert other == (permissions, inode, name)
    for i, sandbox in enumerate(sandboxes):
        sandbox.exec("sh", "-c", f"yes {i} | head -c 30000000 >/dev/shm/mine")
    for i, sandbox in enumerate(sandboxes):
        script = "tr -d '\\n' </dev/shm/mine | tr -s 0-9; wc -c </dev/shm/mine"
        assert sandbox.exec("sh", "-c", script).stdout.split() == [str(i) + "30000000"]


def test_takes_less_memory(start):
    """What a second clone adds is what it has written itself."""
    own = start("--annotation", "io.katacontainers.config.factory.shared_clones=false")
    assert mapping(own)[0].endswith("s") and not SHARED_NAME.fullmatch(mapping(own)[2])
    copied = pss(own)
    sandboxes = [start(), start(), start()]
    shared = sum(map(pss, sandboxes)) / len(sandboxes)
    print(f"measured: QEMU takes {copied:.0f} MiB PSS with a copy of the template's memory, {shared:.0f} MiB when three share it")
    assert shared < 0.9 * copied
    held = f"/proc/{sandboxes[0].shim}/fd/{state(sandboxes[0])['memory_fd']}"
    before = os.stat(held).st_blocks
    sandboxes[0].exec("sh", "-c", "yes | head -c 50000000 >/dev/shm/mine")
    added = (os.stat(held).st_blocks - before) // 2048
    print(f"measured: 48 MiB that a guest writes add {added} MiB to the file that all share")


def test_nobody_changes_it(start):
    """Not even QEMU, which could open it for writing."""
    sandbox = start()
    fd = os.open(f"/proc/{sandbox.shim}/fd/{state(sandbox)['memory_fd']}", os.O_RDWR)
    try:
        assert fcntl.fcntl(fd, F_GET_SEALS) & F_SEAL_WRITE
        for change in (lambda: os.pwrite(fd, b"x", 0), lambda: os.truncate(fd, 0),
                       lambda: os.posix_fallocate(fd, 0, 2 << 30)):
            with pytest.raises(PermissionError):
                change()
    finally:
        os.close(fd)


def test_lives_as_long_as_a_clone(start):
    """The first need not be the last; and when none is left, the next one begins anew."""
    first, second = start(), start()
    inode = mapping(first)[1]
    first.remove()
    third = start()
    assert mapping(third)[1] == mapping(second)[1] == inode
    os.kill(second.shim, signal.SIGKILL)
    second.remove()
    fourth = start()
    assert mapping(fourth)[1] == inode
    third.remove()
    fourth.remove()
    assert mapping(start())[1] != inode


def test_another_template_of_the_same_key(start, factory):
    """Its state does not fit the memory of the one before, of which a clone lives."""
    key = factory.init().name
    first = start()
    factory.call("destroy")
    assert factory.init().name == key
    second = start()
    assert mapping(first)[2] != mapping(second)[2]
    assert [s.exec("echo", "works").stdout for s in (first, second)] == ["works\n"] * 2


def test_several_at_once(blockfile, factory):
    """Whoever finds none makes one; all of them work."""
    names = [unique() for _ in range(3)]
    try:
        all_work(blockfile, names, [begin(blockfile, name, options(factory)) for name in names])
    finally:
        for name in names:
            remove(blockfile, name)


@pytest.mark.parametrize("victim", [kata.qemu_of, kata.shim_of])
def test_killed_while_it_copies(blockfile, factory, start, victim):
    """What was not finished is nobody's."""
    name = unique()
    run = begin(blockfile, name, options(factory))
    try:
        kill_early(run, name, victim, sign=kata.qemu_of)
    finally:
        remove(blockfile, name)
    kata.await_end_of_shim(name)
    factory.call("init")
    assert start().exec("echo", "works").stdout == "works\n"


def test_a_folder_is_not_shared(config, tmp_path, containerd, name):
    """With virtio-fs each clone has a copy: the host's daemon must see what the guest writes."""
    factory = Factory(config, tmp_path / "templates")
    factory.init()
    sandbox = Sandbox(containerd, name, "sleep", "600", options=factory.shim_options())
    assert restored(sandbox) and mapping(sandbox)[0].endswith("s")
