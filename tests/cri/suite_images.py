# SPDX-License-Identifier: Apache-2.0
"""The images that containerd's CRI integration tests ask for, as small as they can be."""

import pathlib

import cri
import ociimage

STRESS = pathlib.Path(__file__).with_name("stress.c")
GROUPS = "root:x:0:\ndaemon:x:1:\nwheel:x:10:root\nnogroup:x:65534:\n"
USERS = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
CONTENT = "test_content\n"


def _busybox(root):
    ociimage.busybox_tree(root)
    (root / "etc/passwd").write_text(USERS)
    (root / "etc/group").write_text(GROUPS)


def _alpine(root):
    _busybox(root)
    (root / "etc/os-release").write_text('NAME="Alpine Linux"\n')
    # Absolute, as there: it leads out of a folder of the image.
    (root / "bin/sh").unlink()
    (root / "bin/sh").symlink_to("/bin/busybox")


def _pause(root):
    ociimage.program(ociimage.PAUSE, root / "pause")


def _consumer(root):
    _busybox(root)
    ociimage.program(STRESS, root / "bin/stress")


def _copy_up(root):
    _busybox(root)
    for folder, file in (("test_dir", "test_file"), ("C:/weird_test_dir", "weird_test_file"),
                         (":colon_prefixed", "colon_prefixed_file")):
        (root / folder).mkdir(parents=True)
        (root / folder / file).write_text(CONTENT)


def _ownership(root):
    _busybox(root)
    (root / "test_dir").mkdir()


SHELL = {"Env": ["PATH=/bin"], "Cmd": ["sh"]}
VOLUMES = {folder: {} for folder in ("/test_dir", "C:/weird_test_dir", "/:colon_prefixed")}

# The name in the tests' list: what fills the root, the image's config, owners other than root.
IMAGES = {
    "BusyBox": (_busybox, SHELL, {}),
    "Alpine": (_alpine, SHELL, {}),
    "Pause": (_pause, {"Entrypoint": ["/pause"]}, {}),
    "ResourceConsumer": (_consumer, {"Env": ["PATH=/bin"], "Cmd": ["sleep", "3600"]}, {}),
    "VolumeCopyUp": (_copy_up, {**SHELL, "Volumes": VOLUMES}, {}),
    "VolumeOwnership": (_ownership, {**SHELL, "Volumes": {"/test_dir": {}}}, {"test_dir": (65534, 65534)}),
}


def make(folder):
    """Write the archives and the list ("-image-list") into a folder; returns (archives, list)."""
    archives = []
    lines = []
    for key, (fill, config, owners) in IMAGES.items():
        name = f"{cri.REGISTRY}/{key.lower()}:latest"
        root = folder / key
        root.mkdir()
        fill(root)
        archives.append(folder / f"{key}.tar")
        ociimage.write(archives[-1], name, root, config, owners)
        lines.append(f'{key} = "{name}"\n')
    (folder / "images.toml").write_text("".join(lines))
    return archives, folder / "images.toml"
