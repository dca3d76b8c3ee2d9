# SPDX-License-Identifier: Apache-2.0
"""Probes: what makes a container ready, and what restarts it."""

import pods
import pytest
from patience import wait

pytestmark = pytest.mark.usefixtures("handler")  # each with both

FAST = {"periodSeconds": 1, "failureThreshold": 2, "timeoutSeconds": 5}
SERVER = "mkdir -p /www; touch /www/ok; exec httpd -f -p 8080 -h /www"


def is_ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.status.get("conditions", []))


@pytest.mark.parametrize("probe", [
    {"exec": {"command": ["test", "-e", "/www/ok"]}}, {"httpGet": {"path": "/ok", "port": 8080}}], ids=["exec", "http"])
def test_liveness(pod, probe):
    """A container whose probe fails is restarted."""
    p = pod("sh", "-c", SERVER, container={"livenessProbe": {**probe, **FAST}})
    wait("the server", lambda: p.exec("test", "-e", "/www/ok", check=False).returncode == 0, 20)
    p.output("rm", "/www/ok")
    p.wait("a restart", lambda s: s["containerStatuses"][0]["restartCount"] >= 1)
    assert any("iveness probe failed" in text for _, text in p.node.api.events(p.name))


@pytest.mark.parametrize("probe", [
    {"exec": {"command": ["test", "-e", "/www/go"]}}, {"httpGet": {"path": "/go", "port": 8080}}, {"tcpSocket": {"port": 9090}}],
    ids=["exec", "http", "tcp"])
def test_readiness(pod, probe):
    """Not ready before it answers, ready then, and not any more when it stops."""
    p = pod("sh", "-c", SERVER, container={"readinessProbe": {**probe, **FAST, "failureThreshold": 1}})
    wait("a probe that fails", lambda: any("eadiness probe failed" in text for _, text in p.node.api.events(p.name)), 30)
    assert not is_ready(p)
    if "tcpSocket" in probe:
        p.output("sh", "-c", "httpd -p 9090 -h /www")
        undo = ["sh", "-c", "kill $(ps | grep '[h]ttpd -p 9090' | awk '{print $1}')"]
    else:
        p.output("touch", "/www/go")
        undo = ["rm", "/www/go"]
    wait("ready", lambda: is_ready(p), 30)
    p.output(*undo)
    wait("not ready", lambda: not is_ready(p), 30)


def test_startup_probe_and_grpc(pod, node):
    """A slow start is waited for; a gRPC probe of a port that does not serve it fails."""
    p = pod("sh", "-c", f"sleep 3; {SERVER}", container={
        "startupProbe": {"httpGet": {"path": "/ok", "port": 8080}, "periodSeconds": 1, "failureThreshold": 60},
        "livenessProbe": {"httpGet": {"path": "/ok", "port": 8080}, **FAST},
        "readinessProbe": {"grpc": {"port": 8080}, **FAST}})
    p.wait("started", lambda s: s["containerStatuses"][0].get("started"))
    assert p.container()["restartCount"] == 0
    wait("the gRPC probe", lambda: any("eadiness probe failed" in text for _, text in node.api.events(p.name)), 30)


def test_readiness_gate(pod, node):
    """A pod with a gate is ready when the condition has been set by whoever sets it."""
    p = pod(spec={"readinessGates": [{"conditionType": "example.org/open"}]})
    p.wait("its containers", lambda s: any(c["type"] == "ContainersReady" and c["status"] == "True" for c in s["conditions"]))
    assert not is_ready(p)
    path = node.api.path("Pod", p.name) + "/status"
    node.api.request("PATCH", path, {"status": {"conditions": [{"type": "example.org/open", "status": "True"}]}},
                     "application/strategic-merge-patch+json")
    wait("ready", lambda: is_ready(p), 30)
