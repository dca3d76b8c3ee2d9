# SPDX-License-Identifier: Apache-2.0
"""A registry that images can be pulled from: the reading half of the OCI distribution specification, on 127.0.0.1.

usage: registry.py PORT ARCHIVE ...
The archives are those of ociimage.write(); an image named "localhost:PORT/NAME:TAG" is found as NAME:TAG. "ready" on
standard output says that it answers.
"""

import http.server
import json
import sys
import tarfile


def load(archives):
    """({"name:tag" or digest: (media type, bytes)}) of all that the archives have."""
    found = {}
    for archive in archives:
        with tarfile.open(archive) as tar:
            blobs = {"sha256:" + m.name.rsplit("/", 1)[1]: tar.extractfile(m).read()
                     for m in tar.getmembers() if m.name.startswith("blobs/sha256/")}
            (entry,) = json.load(tar.extractfile("index.json"))["manifests"]
        for digest, data in blobs.items():
            found[digest] = ("application/octet-stream", data)
        manifest = (entry["mediaType"], blobs[entry["digest"]])
        found[entry["digest"]] = manifest
        found[entry["annotations"]["io.containerd.image.name"].split("/", 1)[1]] = manifest
    return found


class Handler(http.server.BaseHTTPRequestHandler):
    """GET and HEAD of /v2/, /v2/NAME/manifests/REFERENCE and /v2/NAME/blobs/DIGEST."""

    protocol_version = "HTTP/1.1"
    content = {}

    def _find(self):
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts == ["v2"]:
            return "application/json", b"{}"
        if len(parts) < 4 or parts[-2] not in ("manifests", "blobs"):
            return None
        reference = parts[-1] if ":" in parts[-1] else f"{'/'.join(parts[1:-2])}:{parts[-1]}"
        return self.content.get(reference)

    def _answer(self, with_body):
        found = self._find()
        media, data = found or ("application/json", b'{"errors": [{"code": "NAME_UNKNOWN"}]}')
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def log_message(self, *_):  # pylint: disable=arguments-differ
        """Nothing: containerd's log has its requests."""

    def do_GET(self):  # pylint: disable=invalid-name
        self._answer(True)

    def do_HEAD(self):  # pylint: disable=invalid-name
        self._answer(False)


def main():
    Handler.content = load(sys.argv[2:])
    with http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler) as server:
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
