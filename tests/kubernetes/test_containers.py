# SPDX-License-Identifier: Apache-2.0
"""A pod's containers: the order they start in, what they share, how they end and come again."""

import json
import re
import time

import kata
import pods
import pytest
from patience import wait
from soak import soak

pytestmark = pytest.mark.usefixtures("handler")  # each with both

NOTE = 'note() { echo $(cut -d" " -f1 /proc/uptime) $1 >>/shared/notes; }'
SHARED = {"volumes": [{"name": "shared", "emptyDir": {}}]}
MOUNT = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}


def container(name, script, **more):
    return {"name": name, "image": pods.BUSYBOX, "command": ["sh", "-c", script], **more}


def forever(name, **more):
    return container(name, "exec sleep 100000", **more)


def processes(pod, command, container=None):
    """The ids of those with this command line, as ps in the container shows them."""
    lines = pod.output("ps", container=container).splitlines()
    return [line.split()[0] for line in lines if line.rstrip().endswith(command) and " sh " not in line]


def test_one_vm_for_a_pod(pod, handler):
    """Two containers: one sandbox, one kernel, one network; separate root file systems and processes."""
    p = pod(spec={"containers": [forever("one"), forever("two")]})
    assert len(kata.qemu_of(p.sandbox)) == (handler == "kata")
    boots = {p.output("cat", "/proc/sys/kernel/random/boot_id", container=name) for name in ("one", "two")}
    assert len(boots) == 1
    # An address is tentative for a second or two, until nobody else turns out to have it.
    assert len({p.output("ip", "-o", "addr", container=name).replace(" tentative", "") for name in ("one", "two")}) == 1
    p.output("touch", "/only-here", container="one")
    assert "only-here" not in p.output("ls", "/", container="two")
    assert p.output("cat", "/proc/1/comm", container="two") == "sleep"


def test_init_and_sidecar_containers(pod):
    """Init containers run one after the other, a restartable one stays, all before the pod's own."""
    note = "echo {0} >>/shared/order"
    p = pod(wait="succeeded", spec={
        **SHARED, "restartPolicy": "Never",
        "initContainers": [
            container("first", note.format("first"), **MOUNT),
            container("sidecar", note.format("sidecar") + "; exec sleep 100000", restartPolicy="Always", **MOUNT),
            container("second", note.format("second"), **MOUNT)],
        "containers": [container("main", note.format("main") + "; cat /shared/order", **MOUNT)]})
    assert p.logs("main").split() == ["first", "sidecar", "second", "main"]
    assert p.container("sidecar")["state"]["terminated"]


def test_failing_init_container(pod):
    """The pod does not start, and says why."""
    p = pod(wait="ended", spec={"restartPolicy": "Never", "initContainers": [container("first", "exit 7")],
                                "containers": [forever("main")]})
    assert p.phase == "Failed" and p.container("first")["state"]["terminated"]["exitCode"] == 7
    assert "waiting" in p.container("main")["state"]


def test_restart_in_a_living_sandbox(pod):
    """A container that ends is made anew in the sandbox that lives on, though no other runs in it."""
    p = pod("sh", "-c", "cat /proc/sys/kernel/random/boot_id; sleep 1; exit 3", spec={"restartPolicy": "Always"}, wait=None)
    first = wait("the first log", p_logs(p), 60)
    sandbox = p.sandbox
    p.wait("a restart", lambda status: status["containerStatuses"][0]["restartCount"] >= 1)
    assert p.container()["lastState"]["terminated"]["exitCode"] == 3
    assert p.sandbox == sandbox
    assert wait("the second log", p_logs(p), 30) == first


def p_logs(pod):
    def logs():
        try:
            return pod.logs()
        except RuntimeError:
            return None
    return logs


def test_killed_container_comes_again(pod):
    """The container's first process is killed from inside: it is restarted, its background processes are gone."""
    p = pod("sh", "-c", "sleep 4242 & exec sleep 100000", spec={"shareProcessNamespace": True})
    p.exec("kill", "-9", *processes(p, "sleep 100000"), check=False)
    p.wait("a restart", lambda status: status["containerStatuses"][0]["restartCount"] == 1)
    p.wait_running()
    assert p.container()["lastState"]["terminated"]["exitCode"] == 137
    assert len(processes(p, "sleep 4242")) == 1


def test_shared_process_namespace(pod):
    """Each container sees and signals the processes of the others; the sandbox's own is the first."""
    p = pod(spec={"shareProcessNamespace": True, "containers": [forever("one"), container("two", "exec sleep 200000")]})
    seen = p.output("ps", container="one")
    assert "sleep 100000" in seen and "sleep 200000" in seen
    assert "pause" in p.output("cat", "/proc/1/cmdline", container="one")
    (other,) = processes(p, "sleep 200000", container="one")
    p.exec("kill", "-9", other, container="one")
    p.wait("a restart of the other", lambda _: p.container("two")["restartCount"] == 1)


def test_separate_process_namespaces(pod):
    p = pod(spec={"containers": [forever("one"), container("two", "exec sleep 200000")]})
    assert "sleep 200000" not in p.output("ps", container="one")


def test_hostname_and_hosts(pod):
    p = pod(spec={"hostname": "db-1", "subdomain": "cluster-of-dbs",
                  "hostAliases": [{"ip": "192.0.2.7", "hostnames": ["printer"]}]})
    assert p.output("hostname") == "db-1"
    assert p.output("cat", "/etc/hostname") == "db-1"
    hosts = p.output("cat", "/etc/hosts")
    assert re.search(r"^192\.0\.2\.7\s+printer$", hosts, re.MULTILINE)
    assert re.search(rf"^{re.escape(p.ip)}\s+db-1\.cluster-of-dbs\.default\.svc\.cluster\.local\s+db-1$", hosts, re.MULTILINE)


def test_hostname_as_fqdn(pod):
    p = pod(spec={"hostname": "web", "subdomain": "sub", "setHostnameAsFQDN": True})
    assert p.output("hostname") == "web.sub.default.svc.cluster.local"


def test_dns_configuration(pod):
    p = pod(spec={"dnsPolicy": "None", "dnsConfig": {
        "nameservers": ["192.0.2.53"], "searches": ["one.example", "two.example"],
        "options": [{"name": "ndots", "value": "3"}, {"name": "edns0"}]}})
    search, nameserver, options = p.output("cat", "/etc/resolv.conf").splitlines()
    assert search == "search one.example two.example"
    assert nameserver == "nameserver 192.0.2.53"
    # The kubelet merges the options in a map: their order changes from pod to pod.
    assert options.startswith("options ") and set(options.split()[1:]) == {"ndots:3", "edns0"}


def test_safe_sysctls(pod, node):
    """In the guest, or the pod's namespace; the node's own values stay."""
    wanted = {"net.ipv4.ip_unprivileged_port_start": "80", "net.ipv4.ip_local_port_range": "20000\t21000",
              "kernel.shm_rmid_forced": "1", "net.ipv4.tcp_keepalive_time": "777"}
    before = node.netspace.run("sysctl", "-n", "net.ipv4.tcp_keepalive_time", capture_output=True, text=True).stdout
    p = pod(spec={"securityContext": {"sysctls": [{"name": k, "value": v.replace("\t", " ")} for k, v in wanted.items()]}})
    for name, value in wanted.items():
        assert p.output("cat", "/proc/sys/" + name.replace(".", "/")).split() == value.split(), name
    after = node.netspace.run("sysctl", "-n", "net.ipv4.tcp_keepalive_time", capture_output=True, text=True).stdout
    assert before == after


def test_environment(pod):
    """Literal values, references, the downward API, resource fields."""
    def field(path):
        return {"fieldRef": {"fieldPath": path}}

    p = pod(metadata={"labels": {"app": "x"}, "annotations": {"note": "a b"}}, container={
        "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}},
        "env": [{"name": "PLAIN", "value": "a 'quoted' $(NONE) value\twith=signs"}, {"name": "REF", "value": "<$(PLAIN)>"},
                {"name": "POD", "valueFrom": field("metadata.name")}, {"name": "IP", "valueFrom": field("status.podIP")},
                {"name": "LABEL", "valueFrom": field("metadata.labels['app']")},
                {"name": "NODE", "valueFrom": field("spec.nodeName")},
                {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}}]})
    env = dict(line.split("=", 1) for line in p.output("env").splitlines())
    assert env["PLAIN"] == "a 'quoted' $(NONE) value\twith=signs" and env["REF"] == f"<{env['PLAIN']}>"
    assert (env["POD"], env["IP"], env["LABEL"]) == (p.name, p.ip, "x")
    assert env["MEMORY"] == str(64 << 20) and env["NODE"] == p.get()["spec"]["nodeName"]


def test_termination_message(pod):
    """From the file, however soon the container ends; without one, from the log if the pod wants that."""
    p = pod(wait="ended", spec={"restartPolicy": "Never", "containers": [
        container("file", "echo -n why >/dev/termination-log; exit 4"),
        container("elsewhere", "echo -n there >/tmp/end; exit 5", terminationMessagePath="/tmp/end"),
        container("log", "echo last words; exit 6", terminationMessagePolicy="FallbackToLogsOnError")]})
    ends = {name: p.container(name)["state"]["terminated"] for name in ("file", "elsewhere", "log")}
    assert [(e["exitCode"], e["message"]) for e in ends.values()] == [(4, "why"), (5, "there"), (6, "last words\n")]


def test_lifecycle_hooks(pod, tmp_path):
    """postStart before the container counts as running; at the end preStop to its end, then SIGTERM, once."""
    def run(script):
        return {"exec": {"command": ["sh", "-c", f"{NOTE}; {script}"]}}

    p = pod(spec={"volumes": [{"name": "shared", "hostPath": {"path": str(tmp_path)}}],
                  "terminationGracePeriodSeconds": 20, "containers": [
        container("c", f'{NOTE}; trap "note TERM" TERM; i=0; '
                  'while [ $i -lt 30 ]; do sleep 0.1; grep -q TERM /shared/notes && i=$((i+1)); done',
                  lifecycle={"postStart": run("note postStart"),
                             "preStop": run("note preStop; sleep 1; note end")}, **MOUNT)]})
    notes = tmp_path / "notes"
    assert notes.read_text().split()[1::2] == ["postStart"]
    p.delete()
    times, words = zip(*(line.split() for line in notes.read_text().splitlines()))
    assert words == ("postStart", "preStop", "end", "TERM")
    assert list(times) == sorted(times, key=float)


def test_ephemeral_container(pod, node):
    """kubectl debug adds a container to the pod that runs: its network is the pod's, its files its own."""
    p = pod()
    node.image(pods.NET_TOOLBOX)
    node.kubectl("debug", p.name, f"--image={pods.NET_TOOLBOX}", "--container=debugger", "--profile=general", "--",
                 "sh", "-c", "ip -o addr; exec sleep 100000")
    p.wait("the debugger", lambda _: (p.container("debugger") or {}).get("state", {}).get("running"))
    assert p.ip in p.logs("debugger")
    assert p.output("hostname", container="debugger") == p.output("hostname")


def test_limits_are_enforced(pod):
    """A memory limit ends who exceeds it, and says so; a CPU limit is in the control group."""
    p = pod("sh", "-c", "sleep 1; tail /dev/zero", spec={"restartPolicy": "Never"}, wait="ended",
            container={"resources": {"limits": {"memory": "48Mi", "cpu": "250m"}}})
    end = p.container()["state"]["terminated"]
    assert (end["reason"], end["exitCode"]) == ("OOMKilled", 137)


def test_quality_of_service(pod):
    """Guaranteed, burstable and best effort pods."""
    def limits(**resources):
        return {"resources": resources}

    both = {"cpu": "200m", "memory": "64Mi"}
    cases = {"Guaranteed": limits(limits=both, requests=both), "Burstable": limits(requests=both), "BestEffort": {}}
    made = {want: pod(wait=None, container=more) for want, more in cases.items()}
    for want, p in made.items():
        p.wait_running()
        assert p.status["qosClass"] == want


def test_many_containers(pod, handler):
    """As many as a pod may sensibly have."""
    n = soak("KATA_TEST_CONTAINERS", 12, 100)
    begin = time.monotonic()
    p = pod(wait=None, spec={"containers": [container(f"c{i}", f"echo {i}; exec sleep 100000") for i in range(n)]})
    p.wait_running(60 + 10 * n)
    print(f"measured: {handler}: a pod of {n} containers runs after {time.monotonic() - begin:.1f} s")
    for i in (0, n // 2, n - 1):
        wait(f"the log of c{i}", lambda i=i: p.logs(f"c{i}") == f"{i}\n", 20)
    assert json.dumps(p.status).count('"running"') == n
    begin = time.monotonic()
    pod.clear()
    print(f"measured: {handler}: it is gone after {time.monotonic() - begin:.1f} s")
