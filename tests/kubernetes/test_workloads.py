# SPDX-License-Identifier: Apache-2.0
"""What controllers make of pods in VMs: jobs, deployments, sets; quotas and limits that the API server enforces."""

import os

import pods
import pytest
from kubeapi import ApiError
from patience import wait

pytestmark = pytest.mark.usefixtures("handler")  # each with both


@pytest.fixture(name="workload")
def fixture_workload(node, handler, no_leaks):
    """workload("Deployment", "web", {...}, *command): made with a template of one container; gone at the end."""
    made = []

    def make(kind, name, body, *command, image=pods.BUSYBOX, where=("template",), **more):
        node.image(image)
        template = {"metadata": {"labels": {"app": name}},
                    "spec": {**pods.manifest(name, handler, *command, image=image, **more)["spec"]}}
        inner = body
        for key in where[:-1]:
            inner = inner.setdefault(key, {})
        inner[where[-1]] = template
        made.append((kind, name))
        return node.api.create({"kind": kind, "metadata": {"name": name}, "spec": body})

    yield make
    for kind, name in made:
        for pod in node.api.list("Pod", labelSelector=f"app={name}"):
            no_leaks.update({pod["metadata"]["uid"], pod["metadata"]["name"]})
        node.api.delete(kind, name)
    for _, name in made:
        wait(f"the end of the pods of {name}", lambda n=name: not node.api.list("Pod", labelSelector=f"app={n}"), 90)


def running(node, name):
    return [p for p in node.api.list("Pod", labelSelector=f"app={name}")
            if any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", []))
            and not p["metadata"].get("deletionTimestamp")]


def test_job(node, workload):
    """Three completions, two at once, with a failure that is tried again."""
    workload("Job", "sum", {"completions": 3, "parallelism": 2}, "sh", "-c", "expr 20 + 22", spec={"restartPolicy": "Never"})
    wait("the job", lambda: node.api.get("Job", "sum")["status"].get("succeeded") == 3, 120)


def test_deployment(node, workload):
    """Scaled up and down, and rolled over to a new template."""
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}}
    workload("Deployment", "web", spec, *pods.FOREVER)
    wait("two pods", lambda: len(running(node, "web")) == 2, 120)
    node.api.patch("Deployment", "web", {"spec": {"replicas": 1}})
    wait("one pod", lambda: len(node.api.list("Pod", labelSelector="app=web")) == 1, 120)
    old = node.api.list("Pod", labelSelector="app=web")[0]["metadata"]["name"]
    node.api.patch("Deployment", "web", {"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}})
    wait("the new pod alone", lambda: [p["metadata"]["name"] for p in running(node, "web")] not in ([], [old]) and
         len(node.api.list("Pod", labelSelector="app=web")) == 1, 120)


def test_stateful_set(node, workload):
    """Pods with names that stay."""
    workload("StatefulSet", "db", {"replicas": 2, "serviceName": "db", "podManagementPolicy": "OrderedReady",
                                   "selector": {"matchLabels": {"app": "db"}}}, *pods.FOREVER)
    wait("two pods", lambda: sorted(p["metadata"]["name"] for p in running(node, "db")) == ["db-0", "db-1"], 120)


def test_daemon_set(node, workload):
    workload("DaemonSet", "every", {"selector": {"matchLabels": {"app": "every"}}}, *pods.FOREVER)
    wait("a pod on the node", lambda: len(running(node, "every")) == 1, 60)


def test_replication_controller(node, workload):
    workload("ReplicationController", "rc", {"replicas": 1, "selector": {"app": "rc"}}, *pods.FOREVER)
    wait("a pod", lambda: len(running(node, "rc")) == 1, 60)


def test_cron_job(node, workload):
    """The job that its template makes, at once."""
    spec = {"schedule": "0 0 1 1 *", "jobTemplate": {}}
    workload("CronJob", "cron", spec, "echo", "done", where=("jobTemplate", "spec", "template"), spec={"restartPolicy": "Never"})
    node.kubectl("create", "job", "now", "--from=cronjob/cron")
    try:
        wait("the job", lambda: node.api.get("Job", "now")["status"].get("succeeded") == 1, 60)
    finally:
        node.api.delete("Job", "now")


def test_limit_range(node, pod, handler):
    """Limits that the API server adds are enforced."""
    node.api.create({"kind": "LimitRange", "metadata": {"name": "small"}, "spec": {"limits": [
        {"type": "Container", "default": {"memory": "40Mi", "cpu": "250m"}}]}})
    try:
        p = pod()
        assert p.get()["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "250m", "memory": "40Mi"}
        where = {"kata": "$(cut -d: -f3 /proc/self/cgroup)/memory.max", "runc": "/memory/memory.limit_in_bytes"}
        if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
            where["runc"] = "/memory.max"
        limit = p.output("sh", "-c", f"cat /sys/fs/cgroup{where[handler]}")
        assert limit == str(40 << 20)
    finally:
        node.api.delete("LimitRange", "small")


def test_resource_quota(node, handler):
    """A pod that goes beyond the namespace's quota is refused; what its VM costs counts."""
    node.api.create({"kind": "ResourceQuota", "metadata": {"name": "tight"}, "spec": {"hard": {"requests.memory": "300Mi"}}})
    try:
        wait("the quota", lambda: node.api.get("ResourceQuota", "tight").get("status", {}).get("hard"), 30)
        manifest = pods.manifest("kt-quota", handler, *pods.FOREVER, container={"resources": {"requests": {"memory": "64Mi"}}})
        path = node.api.path("Pod") + "?dryRun=All"
        if handler == "kata":
            with pytest.raises(ApiError, match="exceeded quota"):
                node.api.request("POST", path, {"apiVersion": "v1", **manifest})
        else:
            node.api.request("POST", path, {"apiVersion": "v1", **manifest})
    finally:
        node.api.delete("ResourceQuota", "tight")


def test_quota_counts_the_overhead(node, handler):
    """What a VM costs is in the pod, where quotas and the scheduler see it."""
    manifest = pods.manifest("kt-overhead", handler, *pods.FOREVER, container={
        "resources": {"limits": {"cpu": "100m", "memory": "64Mi"}}})
    made = node.api.request("POST", node.api.path("Pod") + "?dryRun=All", {"apiVersion": "v1", **manifest})
    assert made["spec"].get("overhead") == ({"cpu": "250m", "memory": "350Mi"} if handler == "kata" else None)


def test_unknown_runtime_class(node):
    with pytest.raises(ApiError, match="RuntimeClass"):
        node.api.create(pods.manifest("kt-unknown", "no-such-class", *pods.FOREVER))
