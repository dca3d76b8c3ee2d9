# SPDX-License-Identifier: Apache-2.0
"""The tests of the agent's containers inside of a guest: control groups with all controllers, a clock of one's own and
every right, which the machine that runs the tests may not have or must not lend."""

import pytest
from conftest import BUILD, IMAGE, limit

# The host's libraries, for the test programs; the image has busybox alone.
SCRIPT = """ln -s usr/lib /lib; ln -s usr/lib64 /lib64; mount -t cgroup2 none /sys/fs/cgroup
exec env KATA_TEST_GUEST=1 KATA_AGENT=/build/src/agent/kata-agent /build/src/agent/{program} 2>&1"""


# Once: what starts the guest is not what is tested.
@pytest.mark.parametrize("containerd", ["2"], ids=["containerd2"], indirect=True, scope="session")
@pytest.mark.parametrize("program", ["test_agent_container_groups", "test_agent_container_setup"])
def test_containers(containerd, name, program):
    done = containerd.run(IMAGE, name, "sh", "-c", SCRIPT.format(program=program), check=False, timeout=limit(120),
                          options=["--privileged", "--allow-new-privs", "--mount", f"type=bind,src={BUILD},dst=/build,options=rbind:ro",
                                   "--mount", "type=bind,src=/usr,dst=/usr,options=rbind:ro"])
    assert done.returncode == 0, done.stdout
    assert "SKIPPED" not in done.stdout
