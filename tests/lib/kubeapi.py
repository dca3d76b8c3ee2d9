# SPDX-License-Identifier: Apache-2.0
"""A client of a Kubernetes API server with the standard library alone: polling with it costs a tenth of a kubectl."""

import http.client
import json
import ssl
import threading
import urllib.parse

from patience import limit

# Where kinds live: {kind: (group and version, plural, namespaced)}
KINDS = {
    "Pod": ("v1", "pods", True),
    "Service": ("v1", "services", True),
    "ServiceAccount": ("v1", "serviceaccounts", True),
    "ConfigMap": ("v1", "configmaps", True),
    "Secret": ("v1", "secrets", True),
    "Event": ("v1", "events", True),
    "PersistentVolumeClaim": ("v1", "persistentvolumeclaims", True),
    "PersistentVolume": ("v1", "persistentvolumes", False),
    "Namespace": ("v1", "namespaces", False),
    "Node": ("v1", "nodes", False),
    "Deployment": ("apps/v1", "deployments", True),
    "DaemonSet": ("apps/v1", "daemonsets", True),
    "StatefulSet": ("apps/v1", "statefulsets", True),
    "Job": ("batch/v1", "jobs", True),
    "CronJob": ("batch/v1", "cronjobs", True),
    "ReplicationController": ("v1", "replicationcontrollers", True),
    "LimitRange": ("v1", "limitranges", True),
    "ResourceQuota": ("v1", "resourcequotas", True),
    "RuntimeClass": ("node.k8s.io/v1", "runtimeclasses", False),
    "StorageClass": ("storage.k8s.io/v1", "storageclasses", False),
    "ClusterRole": ("rbac.authorization.k8s.io/v1", "clusterroles", False),
    "ClusterRoleBinding": ("rbac.authorization.k8s.io/v1", "clusterrolebindings", False),
    "Role": ("rbac.authorization.k8s.io/v1", "roles", True),
    "RoleBinding": ("rbac.authorization.k8s.io/v1", "rolebindings", True),
    "EndpointSlice": ("discovery.k8s.io/v1", "endpointslices", True),
    "NetworkPolicy": ("networking.k8s.io/v1", "networkpolicies", True),
}


class ApiError(Exception):
    """An answer that is not 2xx."""

    def __init__(self, method, path, status, text):
        super().__init__(f"{method} {path}: {status} {text.strip()}")
        self.status = status


class Api:
    """Requests over one kept connection a thread, from inside a namespace, as the holder of a client certificate."""

    def __init__(self, netspace, host, port, pki):
        self.netspace, self.host, self.port = netspace, host, port
        self.context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self.context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        self._local = threading.local()

    def _connection(self):
        if getattr(self._local, "connection", None) is None:
            connection = http.client.HTTPSConnection(self.host, self.port, timeout=limit(60))
            raw = self.netspace.connect(self.host, self.port, limit(60))
            connection.sock = self.context.wrap_socket(raw, server_hostname=self.host)
            self._local.connection = connection
        return self._local.connection

    def close(self):
        if getattr(self._local, "connection", None) is not None:
            self._local.connection.close()
            self._local.connection = None

    def raw(self, method, path, body=None, kind="application/json"):
        """(status, text) of one request. A connection that the server has given up is replaced once."""
        for last in (False, True):
            try:
                connection = self._connection()
                connection.request(method, path, body=body, headers={"Content-Type": kind} if body else {})
                answer = connection.getresponse()
                return answer.status, answer.read().decode(errors="replace")
            except (http.client.HTTPException, OSError):
                self.close()
                if last or method == "POST":
                    raise
        raise AssertionError("unreachable")

    def request(self, method, path, body=None, kind="application/json"):
        """The JSON of a 2xx answer."""
        status, text = self.raw(method, path, json.dumps(body) if body is not None else None, kind)
        if not 200 <= status < 300:
            raise ApiError(method, path, status, text)
        return json.loads(text)

    @staticmethod
    def path(kind, name=None, namespace="default"):
        group, plural, namespaced = KINDS[kind]
        path = f"/api/{group}" if group == "v1" else f"/apis/{group}"
        if namespaced and namespace:
            path += f"/namespaces/{namespace}"
        return f"{path}/{plural}" + (f"/{name}" if name else "")

    def get(self, kind, name, namespace="default"):
        """The object, or None if there is none."""
        try:
            return self.request("GET", self.path(kind, name, namespace))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(self, kind, namespace="default", **query):
        """The objects of a namespace, or with None of all; query: labelSelector="a=b" and the like."""
        tail = "?" + urllib.parse.urlencode(query) if query else ""
        return self.request("GET", self.path(kind, None, namespace) + tail)["items"]

    def create(self, manifest):
        namespace = manifest["metadata"].get("namespace", "default")
        group = KINDS[manifest["kind"]][0]
        return self.request("POST", self.path(manifest["kind"], None, namespace), {"apiVersion": group, **manifest})

    def patch(self, kind, name, change, namespace="default"):
        return self.request("PATCH", self.path(kind, name, namespace), change, "application/merge-patch+json")

    def delete(self, kind, name, namespace="default", grace=None):
        """Asks for the end of an object; False if there is none."""
        options = {"propagationPolicy": "Background"} | ({"gracePeriodSeconds": grace} if grace is not None else {})
        try:
            self.request("DELETE", self.path(kind, name, namespace), options)
            return True
        except ApiError as error:
            if error.status == 404:
                return False
            raise

    def events(self, name, namespace="default"):
        """[(reason, message)] of what was said of an object, oldest first."""
        events = self.list("Event", namespace, fieldSelector=f"involvedObject.name={name}")
        events.sort(key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or "")
        return [(e["reason"], e.get("message", "")) for e in events]
