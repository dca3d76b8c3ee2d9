# SPDX-License-Identifier: Apache-2.0
"""What the documents say of the tree is so."""

import pathlib
import re

TOP = pathlib.Path(__file__).resolve().parents[2]
BUG = re.compile(r"CVE-\d{4}-\d{4,}|GHSA(?:-\w{4}){3}")
TESTS = ["tests/system/test_cves.py", "tests/system/test_disk_image.py", "src/agent/test_container_cves.c",
         "src/runtime/test_sandbox_cves.c"]


def rows():
    """(bugs, tests) of each row of docs/cves.md that has tests."""
    for line in (TOP / "docs/cves.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and "::" in cells[3]:
            yield BUG.findall(cells[0]), re.findall(r"`([\w.]+)::(\w+)`", cells[3])


def test_the_tests_of_published_bugs_exist():
    found = list(rows())
    assert len(found) > 20
    for bugs, tests in found:
        assert tests, bugs
        for name, function in tests:
            (path,) = [path for folder in ("src", "tests") for path in (TOP / folder).rglob(name)]
            wanted = rf"^(def |static void (body_|test_)?){function}\("
            assert re.search(wanted, path.read_text(), re.MULTILINE), (name, function)


def test_published_bugs_that_are_tested_are_listed():
    listed = {bug for bugs, _ in rows() for bug in bugs}
    for path in TESTS:
        tested = set(BUG.findall((TOP / path).read_text()))
        assert tested and tested <= listed, (path, tested - listed)


def table_of_kubernetes():
    """{file: tests} that docs/kubernetes.md names; a name without a file is of the one before it."""
    named, file = {}, None
    for line in (TOP / "docs/kubernetes.md").read_text().splitlines():
        if not line.startswith("|"):
            continue
        for where, function in re.findall(r"`(?:(test_\w+\.py)::)?(test_\w+)`", line):
            file = where or file
            named.setdefault(file, set()).add(function)
    return named


def test_the_table_of_kubernetes_has_every_test():
    named = table_of_kubernetes()
    for path in sorted((TOP / "tests/kubernetes").glob("test_*.py")):
        tests = set(re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE))
        assert tests == named.pop(path.name, set()), path.name
    assert not named
