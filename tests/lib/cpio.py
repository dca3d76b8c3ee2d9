# SPDX-License-Identifier: Apache-2.0
"""A cpio archive (newc) for tests that boot a kernel with an init of their own."""


def newc(files):
    """files: {path: bytes (a program or data), or None (a folder)}; parents first. Returns the archive."""
    out = bytearray()
    for inode, (path, data) in enumerate([*files.items(), ("TRAILER!!!", b"")], 1):
        mode = 0o40755 if data is None else 0o100755
        body = data or b""
        name = path.encode() + b"\0"
        fields = [inode, mode, 0, 0, 1, 0, len(body), 0, 0, 0, 0, len(name), 0]
        out += b"070701" + b"".join(b"%08X" % f for f in fields) + name
        out += b"\0" * (-len(out) % 4)
        out += body
        out += b"\0" * (-len(out) % 4)
    return bytes(out)
