# SPDX-License-Identifier: Apache-2.0
"""The checks of ci/ find what they look for."""

import os
import pathlib
import subprocess
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/cri"))

import verdict  # pylint: disable=wrong-import-position


def run(*command, **kwargs):
    kwargs.setdefault("stdout", subprocess.PIPE)
    return subprocess.run(command, stderr=subprocess.STDOUT, text=True, timeout=60, check=False, **kwargs)


# --- layers ---


@pytest.mark.parametrize("file, include, wanted", [
    ("base/x.c", "wire/ttrpc/ttrpc.h", "base/ may not include wire/ (wire/ttrpc/ttrpc.h)"),
    ("agent/init/x.h", "runtime/sandbox.h", "agent/ may not include runtime/ (runtime/sandbox.h)"),
    ("agent/x.c", "wire/toml/toml.h", "the agent may not include wire/toml/toml.h"),
    ("runtime/x.c", "somewhere/x.h", "includes somewhere/x.h, which is in no room"),
    ("cellar/x.c", "base/str.h", "the room cellar/ is not in ci/check-layers.py"),
    ("runtime/x.c", "fakes/fake_vm.h", "includes fakes/fake_vm.h, which is in no room"),
])
def test_layers_violated(tmp_path, file, include, wanted):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(f'#include <errno.h>\n#  include "{include}"\n')
    done = run(TOP / "ci/check-layers.py", tmp_path)
    assert done.stdout == f"{path}: {wanted}\n"
    assert done.returncode == 1


def test_layers_kept(tmp_path):
    for file, include in [("wire/x.c", "base/str.h"), ("base/x.c", "y.h"), ("runtime/test_x.c", "fakes/fake_vm.h")]:
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#include "{include}"\n')
    done = run(TOP / "ci/check-layers.py", tmp_path)
    assert (done.returncode, done.stdout) == (0, "")


# --- format ---


def test_format(tmp_path):
    """A badly formatted file is found, though git does not know it; its licence line is missing, too."""
    run("git", "init", "-q", tmp_path)
    for name in ("ci", ".clang-format"):
        (tmp_path / name).symlink_to(TOP / name)
    (tmp_path / "good.c").write_text("/* SPDX-License-Identifier: Apache-2.0 */\nint good;\n")
    (tmp_path / "bad.c").write_text("int   bad ;\n")
    done = run("ci/format", cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "bad.c\nformat: these files are not formatted" in done.stdout
    assert "format: bad.c: no SPDX line" in done.stdout
    assert "good.c" not in done.stdout
    run("ci/format", "--fix", cwd=tmp_path)
    assert (tmp_path / "bad.c").read_text() == "int bad;\n"


# --- skips ---


def meson_tests(folder, script):
    """ci/meson-tests over a project with one test, a shell script."""
    (folder / "meson.build").write_text(f"project('x')\ntest('one', find_program('sh'), args: ['-c', '''{script}'''])\n")
    run("meson", "setup", folder / "build", folder)
    done = run(TOP / "ci/meson-tests", folder / "build", env={**os.environ, "MESON_TESTTHREADS": "1"})
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize("script, code, last, said", [
    ("true", 0, "1 passed, 0 failed", None),
    ("exit 1", 1, "0 passed, 1 failed", None),
    ("echo skip: test_limits: needs cgroup v2 with all controllers", 0, "1 passed, 0 failed, 1 skipped",
     "skip: test_limits: needs cgroup v2 with all controllers"),
    ("echo skip: test_limits: no reason", 1, "1 passed, 1 failed, 1 skipped",
     "skip not listed in tests/skips.txt: test_limits: no reason"),
    ("echo skip: test_one: needs root; exit 77", 1, "0 passed, 1 failed, 1 skipped",
     "skip not listed in tests/skips.txt: test_one: needs root"),
    ("exit 77", 1, "0 passed, 1 failed, 1 skipped", "skip not listed in tests/skips.txt: one: it does not say why"),
])
def test_skips_of_meson(tmp_path, script, code, last, said):
    returncode, lines = meson_tests(tmp_path, script)
    assert (returncode, lines[-1]) == (code, last)
    assert said is None or said in lines


@pytest.mark.parametrize("reason, code", [("KVM works on this host", 0), ("tired", 10)])
def test_skips_of_pytest(tmp_path, reason, code):
    (tmp_path / "conftest.py").write_text("from skips import pytest_runtest_logreport, pytest_sessionfinish\n")
    (tmp_path / "test_x.py").write_text(
        "import pytest\n\n\n@pytest.mark.parametrize('n', [1])\ndef test_emulation_must_be_allowed(n):\n"
        f"    pytest.skip('{reason}')\n\n\ndef test_good():\n    pass\n")
    done = run("/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path,
               env={**os.environ, "PYTHONPATH": str(TOP / "ci"), "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == code, done.stdout
    assert f"skip: test_emulation_must_be_allowed: {reason}\n" in done.stdout
    assert ("not listed" in done.stdout) == (code != 0)


@pytest.mark.parametrize("in_ci, fail_once, fail_always, code, last", [
    ("true", 1, 0, 0, "4 passed, 0 failed, 0 skipped"), ("true", 2, 0, 0, "4 passed, 0 failed, 0 skipped"),
    ("true", 3, 0, 1, "1 passed, 3 failed, 0 skipped"), ("true", 1, 1, 1, "2 passed, 2 failed, 0 skipped"),
    ("", 1, 0, 1, "3 passed, 1 failed, 0 skipped")])
def test_second_try(tmp_path, in_ci, fail_once, fail_always, code, last):
    """One or two that fail, in CI alone; and they are named."""
    (tmp_path / "test_x.py").write_text(
        "import pathlib\nimport pytest\n\n\n@pytest.mark.parametrize('n', range(4))\ndef test_some(n):\n"
        f"    seen = pathlib.Path('{tmp_path}') / f'{{n}}'\n    again = seen.exists()\n    seen.touch()\n"
        f"    assert again or n >= {fail_once}\n    assert n < {4 - fail_always}\n")
    done = run("bash", "-euo", "pipefail", "-c", '. ci/lib.sh; run_pytest "$1"', "sh", tmp_path / "test_x.py", cwd=TOP,
               env={**os.environ, "CI": in_ci, "PYTHONDONTWRITEBYTECODE": "1"})
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[-1]) == (code, last), done.stdout
    assert sum(line.startswith("flaky: ") for line in lines) == (fail_once if code == 0 else 0)


# --- containerd's CRI tests ---

GO_OUTPUT = """=== RUN   TestA
=== RUN   TestA/one
=== RUN   TestA/two
    a_test.go:7: no such thing here
--- FAIL: TestA (0.30s)
    --- PASS: TestA/one (0.10s)
    --- SKIP: TestA/two (0.00s)
"""


def test_verdicts():
    assert verdict.parts("TestA", GO_OUTPUT) == {"TestA": "FAIL", "TestA/one": "PASS", "TestA/two": "SKIP"}
    assert verdict.parts("TestA", GO_OUTPUT.replace("PASS", "FAIL")) == {"TestA/one": "FAIL", "TestA/two": "SKIP"}
    assert verdict.parts("TestA", "panic: no more") == {"TestA": "FAIL"}
    assert verdict.parts("TestA", "--- PASS: TestA (0.30s)\n") == {"TestA": "PASS"}
    assert verdict.skip_reason("TestA/two", GO_OUTPUT) == "no such thing here"


@pytest.mark.parametrize("runc, kata, listed, wrong", [
    ("PASS", "PASS", False, None),
    ("SKIP", "SKIP", False, None),
    ("PASS", "FAIL", False, "t: PASS with runc, FAIL with kata"),
    ("PASS", "SKIP", False, "t: PASS with runc, SKIP with kata"),
    ("PASS", "FAIL", True, None),
    ("PASS", "PASS", True, "t: no longer a difference: take it out of tests/cri/differences.txt"),
    ("FAIL", "FAIL", False, "t: FAIL with runc, so that it says nothing of kata"),
])
def test_comparison(runc, kata, listed, wrong):
    assert verdict.compare({"t": runc}, {"t": kata}, {"t": "reason"} if listed else {}) == ([wrong] if wrong else [])


def test_differences_are_documented():
    text = (TOP / "docs/limits.md").read_text()
    rows = [f"| `{name}` | {reason} |" for name, reason in verdict.listed("differences.txt").items()]
    assert [row for row in rows if row not in text] == []
    assert text.count("| `Test") == len(rows), "docs/limits.md has differences that tests/cri/differences.txt has not"
