# SPDX-License-Identifier: Apache-2.0
"""Public test suites of file systems (pjdfstest, fsx), on what a pod has of them. runc is the measure: with it they test the
host's own file systems. KATA_TEST_NO_SUITES leaves them out: they take minutes."""

import os
import re

import images
import pods
import pytest

# What fails under kata alone, with the reason.
KNOWN = {"root": {}, "disk": {}, "memory": {}}
PLACES = {"root": "/", "disk": "/disk", "memory": "/memory"}
OPERATIONS = 3000


@pytest.fixture(name="suite")
def fixture_suite(pod):
    """suite(handler): a pod with the programs and one volume of each kind."""
    if not images.suites():
        pytest.skip("no cargo 1.85 or newer to build the suites with")
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("disk", "memory")]

    def start(handler):
        return pod(*pods.FOREVER, handler=handler, image=pods.SUITES, container={"volumeMounts": mounts}, spec={
            "volumes": [{"name": "disk", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory"}}]})

    return start


def failures(p, folder):
    """The names of pjdfstest's tests that fail in a folder, with what it says of each."""
    text = p.exec("pjdfstest", "-c", "/etc/pjdfstest.toml", "-p", folder, check=False, timeout=300).stdout
    summary = re.search(r"Summary: (\d+) failed, (\d+) skipped, (\d+) passed", text)
    assert summary and int(summary[3]) > 100, text
    print(f"measured: pjdfstest in {folder}: {summary[0]}")
    return dict(re.findall(r"^(\S+) +FAILED\n\s*(.*)", text, re.MULTILINE))


@pytest.mark.skipif(bool(os.environ.get("KATA_TEST_NO_SUITES")), reason="KATA_TEST_NO_SUITES is set")
@pytest.mark.parametrize("place", PLACES)
def test_pjdfstest(suite, place):
    """POSIX: links, modes, owners, times, names, errors."""
    under = {handler: failures(suite(handler), PLACES[place]) for handler in ("runc", "kata")}
    ours = {name: said for name, said in under["kata"].items() if name not in under["runc"]}
    print(f"under both: {under['runc']}\nunder kata alone: {ours}")
    assert ours.keys() == KNOWN[place].keys(), ours


@pytest.mark.skipif(bool(os.environ.get("KATA_TEST_NO_SUITES")), reason="KATA_TEST_NO_SUITES is set")
def test_fsx(suite):
    """Random reads, writes, truncations and mappings of one file, each looked at."""
    p = suite("kata")
    for folder in PLACES.values():
        p.exec("fsx", "-N", str(OPERATIONS), "-S", "4711", "-P", "/tmp", f"{folder}/fsx", timeout=300)
