# SPDX-License-Identifier: Apache-2.0
"""The tests that may skip: tests/skips.txt, lines "test: reason".

A test says on a line of its own output "skip: test: reason" (skip_test() in C; the hooks below for pytest). Whoever
runs tests gives these lines to check(); one that is not listed fails the run.
"""

import pathlib
import re

LIST = pathlib.Path(__file__).resolve().parent.parent / "tests/skips.txt"
NOT_ALLOWED = 10  # pytest's exit status for a skip that is not listed; its own are 0 to 5
LINE = re.compile(r"^skip: ([^:\n]+): ([^\n]+)$", re.MULTILINE)


def found(output):
    """The skips that an output tells of, as (test, reason)."""
    return LINE.findall(output)


def check(skips):
    """Print the skips and those that are not listed; returns how many the latter are."""
    allowed = set(LIST.read_text().splitlines())
    unlisted = [f"{test}: {reason}" for test, reason in skips if f"{test}: {reason}" not in allowed]
    for test, reason in skips:
        print(f"skip: {test}: {reason}")
    for skip in unlisted:
        print(f"skip not listed in tests/skips.txt: {skip}")
    return len(unlisted)


# --- hooks of pytest: a conftest.py imports them ---

_skips = []


def pytest_runtest_logreport(report):
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        test = report.nodeid.rsplit("::", 1)[1].split("[")[0].split("@")[0]  # @ and a group: xdist's
        _skips.append((test, reason.removeprefix("Skipped: ")))


def pytest_sessionfinish(session):
    if _skips:
        print()
    if check(_skips):
        session.exitstatus = NOT_ALLOWED
