# SPDX-License-Identifier: Apache-2.0
"""Block devices for tests: files with a loop device."""

import contextlib
import pathlib
import subprocess

SECTOR = 512


def numbered(path, mib=8):
    """A file whose every sector says its number."""
    path.write_bytes(b"".join((b"sector %08d" % i).ljust(SECTOR, b".") for i in range(mib << 20 >> 9)))
    return path


def loops_of(path):
    """The loop devices that are this file or block device."""
    done = subprocess.run(["losetup", "--associated", path, "--noheadings", "--output", "NAME"], check=True,
                          capture_output=True, text=True)
    return done.stdout.split()


@contextlib.contextmanager
def loop_device(file):
    """A block device that is this file; it may not be in use any more when it is detached."""
    device = subprocess.run(["losetup", "--find", "--show", file], check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield pathlib.Path(device)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
