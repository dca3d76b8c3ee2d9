#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each room of src/ may include only rooms that stand before it (ARCHITECTURE.md).

usage: ci/check-layers.py [--list | DIR]      DIR: another folder of rooms than src/
"""

import pathlib
import re
import sys

COMMON = ["base", "loop", "wire", "kernel"]
# room: the rooms whose headers it may include, besides its own.
ALLOWED = {
    "base": [],
    "loop": ["base"],
    "wire": ["base", "loop"],
    "kernel": ["base", "wire"],
    "oci": COMMON,
    "config": COMMON + ["oci"],
    "hypervisor": COMMON,
    "agent_client": COMMON + ["hypervisor"],
    "runtime": COMMON + ["oci", "config", "hypervisor", "agent_client"],
    "shim": COMMON + ["oci", "config", "hypervisor", "runtime"],
    "cli": COMMON + ["oci", "config", "hypervisor", "agent_client", "runtime"],
    "agent": COMMON,
    "builder": ["base", "kernel"],
}
# Wire rooms that would drag a library into the static agent.
HOST_ONLY_WIRE = ("wire/toml/", "wire/qmp/", "wire/http/", "wire/dbus/")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def violations(root):
    for path in sorted(root.rglob("*.[ch]")):
        room = path.relative_to(root).parts[0]
        if room not in ALLOWED:
            yield f"{path}: the room {room}/ is not in ci/check-layers.py"
            continue
        for included in INCLUDE.findall(path.read_text()):
            target = included.split("/")[0]
            if "/" not in included or target == room or included.startswith("google/protobuf/"):
                continue
            if target == "fakes" and (path.stem.startswith("test_") or path.stem.endswith("_fixture")):
                continue
            if target not in ALLOWED:
                yield f"{path}: includes {included}, which is in no room"
            elif target not in ALLOWED[room]:
                yield f"{path}: {room}/ may not include {target}/ ({included})"
            elif room == "agent" and included.startswith(HOST_ONLY_WIRE):
                yield f"{path}: the agent may not include {included}"


def main():
    if sys.argv[1:] == ["--list"]:
        for room, allowed in ALLOWED.items():
            print(f"{room:13} {' '.join(allowed)}")
        return 0
    root = pathlib.Path(sys.argv[1]) if sys.argv[1:] else pathlib.Path(__file__).resolve().parent.parent / "src"
    found = list(violations(root))
    print("\n".join(found), file=sys.stderr) if found else None
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
