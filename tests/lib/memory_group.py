# SPDX-License-Identifier: Apache-2.0
"""A control group with a memory limit, as an orchestrator makes one for a pod, on either version of cgroups."""

import pathlib

ROOT = pathlib.Path("/sys/fs/cgroup")
UNIFIED = (ROOT / "cgroup.controllers").exists()


class MemoryGroup:
    """with MemoryGroup(name) as group: `ctr run --cgroup group.of(id)` puts a sandbox into it."""

    def __init__(self, name):
        self.name = name
        self.path = (ROOT if UNIFIED else ROOT / "memory") / name

    def __enter__(self):
        self.path.mkdir()
        if UNIFIED:
            (self.path / "cgroup.subtree_control").write_text("+memory")
        return self

    def __exit__(self, *_):
        for folder in [self.path, *ROOT.glob(f"*/{self.name}")]:
            if folder.exists():
                folder.rmdir()

    def of(self, container):
        return f"/{self.name}/{container}"

    def sandbox(self, container):
        """The sandbox's own group in here."""
        return self.path / f"kata_{container}"

    def usage(self):
        return int((self.path / ("memory.current" if UNIFIED else "memory.usage_in_bytes")).read_text())

    def limit(self, size):
        (self.path / ("memory.max" if UNIFIED else "memory.limit_in_bytes")).write_text(str(size))
