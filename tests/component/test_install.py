# SPDX-License-Identifier: Apache-2.0
"""What `meson install` puts in place works from there, and the units and hooks that keep the image fresh agree with it."""

import os
import pathlib
import re
import subprocess

import pytest

BUILD = pathlib.Path(os.environ["KATA_BUILD"])
HOOK = pathlib.Path(__file__).resolve().parents[2] / "deploy/systemd/zz-kata-guest-image.in"


def run(*args, **kwargs):
    return subprocess.run(args, capture_output=True, text=True, timeout=60, check=False, **kwargs)


@pytest.fixture(name="root", scope="module")
def fixture_root(tmp_path_factory):
    """A folder that everything was installed below."""
    root = tmp_path_factory.mktemp("root")
    done = run("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", root)
    assert done.returncode == 0, done.stderr
    return root


def installed(root, name):
    (path,) = root.rglob(name)
    return path


def test_the_image_builder_finds_the_agent(root, tmp_path):
    agent = installed(root, "kata-agent")
    done = run(installed(root, "kata-guest-image"), "--dry-run", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert f"agent:    {agent}\n" in done.stdout


def test_units(root, tmp_path):
    """Accepted by systemd without a word, once what they start exists; and they name what is installed."""
    programs = {f"/{path.relative_to(root)}": path for path in root.rglob("*") if path.is_file()}
    copies = []
    for name in ("kata-guest-image.service", "kata-guest-image.path", "kata-template.service"):
        text = installed(root, name).read_text()
        for path in re.findall(r"^(?:ExecStart|PathChanged)=(/\S+kata\S*)", text, re.MULTILINE):
            text = text.replace(path, str(programs[path]))
        copies.append(tmp_path / name)
        copies[-1].write_text(text)
    done = run("systemd-analyze", "--man=no", "verify", *copies)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"PathChanged={installed(root, 'kata-agent')}" in copies[1].read_text()


@pytest.mark.parametrize("builder,calls,said", [
    (None, "", ""),
    ("exit 0", "--quiet\n", ""),
    ("exit 1", "--quiet\n", "kata-guest-image failed; the guest image was left as it is\n"),
])
def test_kernel_hook(root, tmp_path, builder, calls, said):
    """A kernel package's installation never fails by us, whatever becomes of the image."""
    log = tmp_path / "calls"
    if builder:
        stub = tmp_path / "kata-guest-image"
        stub.write_text(f'#!/bin/sh\necho "$@" >> {log}\n{builder}\n')
        stub.chmod(0o755)
    hook = tmp_path / "hook"
    hook.write_text(HOOK.read_text().replace("@bindir@", str(tmp_path)))
    done = run("/bin/sh", hook, "6.1.0-1-amd64", "/boot/vmlinuz-6.1.0-1-amd64")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", said)
    assert (log.read_text() if log.exists() else "") == calls
    for moment in ("postinst", "postrm"):
        (path,) = root.glob(f"**/kernel/{moment}.d/zz-kata-guest-image")
        assert path.stat().st_mode & 0o111 == 0o111 and "@" not in path.read_text().replace('"$@"', "")
