# SPDX-License-Identifier: Apache-2.0
"""OCI image archives from a folder or from a few files, with the standard library alone.

The layout is that of the OCI image specification (image-layout.md): an archive that
`ctr images import` takes. The same input gives the same bytes.
"""

import gzip
import hashlib
import io
import json
import pathlib
import subprocess
import tarfile
import tempfile
import urllib.parse

MEDIA = "application/vnd.oci.image."
PAUSE = pathlib.Path(__file__).with_name("pause.c")


def program(source, path):
    """Compile one file of C to a program that needs nothing else."""
    subprocess.run(["cc", "-static", "-Os", "-s", "-o", path, source], check=True)


def _digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _layer(root, owners):
    """The folder as an uncompressed layer: owner root, unless owners has another one, time 0, sorted."""

    def clean(info):
        info.uid, info.gid = owners.get(info.name, (0, 0))
        info.uname = info.gname = "" if info.name in owners else "root"
        info.mtime = 0
        return info

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(pathlib.Path(root).rglob("*")):
            tar.add(path, arcname=str(path.relative_to(root)), recursive=False, filter=clean)
    return out.getvalue()


def build(root, config=None, owners=None, above=()):
    """(manifest, [configuration, layer, ...]) of an image from folder `root` and those of the layers above it; config as in
    image-spec config.json; owners {path: (uid, gid)} are those that are not root."""
    layers = [_layer(folder, owners or {}) for folder in (root, *above)]
    packed = [gzip.compress(layer, compresslevel=1, mtime=0) for layer in layers]
    image = json.dumps({
        "architecture": "amd64", "os": "linux", "config": config or {},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in layers]},
    }).encode()
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": MEDIA + "manifest.v1+json",
        "config": {"mediaType": MEDIA + "config.v1+json", "digest": _digest(image), "size": len(image)},
        "layers": [{"mediaType": MEDIA + "layer.v1.tar+gzip", "digest": _digest(layer), "size": len(layer)}
                   for layer in packed],
    }).encode()
    return manifest, [image, *packed]


def chain_ids(root, above=()):
    """What containerd calls the snapshots of such an image's layers (image-spec config.md, "Layer ChainID")."""
    ids = []
    for folder in (root, *above):
        diff = _digest(_layer(folder, {}))
        ids.append(_digest(f"{ids[-1]} {diff}".encode()) if ids else diff)
    return ids


def write(archive, name, root, config=None, owners=None, above=()):
    """Write `archive`: one image `name` ("registry/name:tag") of build()."""
    manifest, blobs = build(root, config, owners, above)
    index = json.dumps({
        "schemaVersion": 2, "mediaType": MEDIA + "index.v1+json",
        "manifests": [{
            "mediaType": MEDIA + "manifest.v1+json", "digest": _digest(manifest), "size": len(manifest),
            "annotations": {"io.containerd.image.name": name,
                            "org.opencontainers.image.ref.name": name.rsplit(":", 1)[-1]},
        }],
    }).encode()
    files = [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", index)]
    files += [("blobs/sha256/" + _digest(d)[7:], d) for d in (manifest, *blobs)]
    with tarfile.open(archive, "w") as tar:
        for path, data in files:
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def push(request, name, manifest, blobs):
    """Give an image of build() to a registry as "repository:tag". request(method, path, body, type) is one HTTP request; it
    returns (status, headers)."""

    def expect(method, path, body, kind, wanted):
        status, headers = request(method, path, body, kind)
        if status != wanted:
            raise RuntimeError(f"the registry answers {method} {path} with {status}, not {wanted}")
        return headers

    repository, tag = name.rsplit(":", 1)
    for blob in blobs:
        place = expect("POST", f"/v2/{repository}/blobs/uploads/", b"", "", 202)["Location"]
        place = urllib.parse.urlsplit(place)
        expect("PUT", f"{place.path}?{place.query}&digest={_digest(blob)}", blob, "application/octet-stream", 201)
    expect("PUT", f"/v2/{repository}/manifests/{tag}", manifest, MEDIA + "manifest.v1+json", 201)


def busybox_tree(root, busybox="/bin/busybox"):
    """A root file system of the static busybox with all its commands."""
    root = pathlib.Path(root)
    for folder in ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "var"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    (root / "bin/busybox").write_bytes(pathlib.Path(busybox).read_bytes())
    (root / "bin/busybox").chmod(0o755)
    for command in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        link = root / "bin" / command
        if not link.exists():
            link.symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nuser:x:1000:\n")


def busybox(archive, name, config=None):
    """An image of busybox; `config` is merged over a default PATH and command."""
    with tempfile.TemporaryDirectory() as root:
        busybox_tree(root)
        merged = {"Env": ["PATH=/bin"], "Cmd": ["sh"], "WorkingDir": "/", **(config or {})}
        write(archive, name, root, merged)
