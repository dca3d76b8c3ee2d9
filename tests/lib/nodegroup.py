# SPDX-License-Identifier: Apache-2.0
"""The control group of a test node: one of its name in every hierarchy of version 1, or in that of version 2."""

import contextlib
import os
import pathlib

ROOT = pathlib.Path("/sys/fs/cgroup")


def _hierarchies():
    if (ROOT / "cgroup.controllers").exists():
        return [ROOT]
    return [folder for folder in ROOT.iterdir() if (folder / "cgroup.procs").exists() and not folder.is_symlink()]


class NodeGroup:
    def __init__(self, name):
        self.name = name

    def make(self):
        for hierarchy in _hierarchies():
            group = hierarchy / self.name
            group.mkdir(exist_ok=True)
            for limit_file in ("cpuset.cpus", "cpuset.mems"):
                if (hierarchy / limit_file).exists():
                    (group / limit_file).write_text((hierarchy / limit_file).read_text())
            if (hierarchy / "cgroup.subtree_control").exists() and hierarchy == ROOT:
                controllers = " ".join(f"+{c}" for c in (hierarchy / "cgroup.controllers").read_text().split())
                for parent in (hierarchy, group):
                    (parent / "cgroup.subtree_control").write_text(controllers)

    def _all(self):
        """Its groups, the inner ones first."""
        return [pathlib.Path(parent) for hierarchy in _hierarchies()
                for parent, _, _ in os.walk(hierarchy / self.name, topdown=False)]

    def processes(self):
        """Pids of those inside."""
        found = set()
        for group in self._all():
            with contextlib.suppress(FileNotFoundError):
                found.update(map(int, (group / "cgroup.procs").read_text().split()))
        return found

    def remove(self, report):
        for group in self._all():
            try:
                group.rmdir()
            except OSError as error:
                report(f"cannot remove the control group {group}: {error.strerror}")
