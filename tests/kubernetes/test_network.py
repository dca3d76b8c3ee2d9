# SPDX-License-Identifier: Apache-2.0
"""A pod's network: its addresses, other pods, services, names, ports of the host, the loopback from outside."""

import contextlib
import ipaddress
import json
import socket
import subprocess

import pods
import pytest
from patience import limit, wait

pytestmark = pytest.mark.usefixtures("handler")  # each with both

# One answer a connection: who asks (its address) and who answers.
SERVER = ["sh", "-c", "mkdir -p /www/cgi-bin; hostname >/www/name; printf '#!/bin/sh\\necho; echo $REMOTE_ADDR\\n' >/www/cgi-bin/who; "
          "chmod +x /www/cgi-bin/who; exec httpd -f -p 8080 -h /www"]
UDP_ECHO = ["python3", "-u", "-c", "import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(('::', 9999))\n"
            "while True: data, peer = s.recvfrom(65535); s.sendto(data, peer)"]


def serving(pod, **more):
    p = pod(*SERVER, **more)
    wait("the server", lambda: answers(p.node, p.ip, 8080), 30)
    return p


def answers(node, host, port):
    try:
        return node.http(host, port, "/name", timeout=2)[0] == 200
    except OSError:
        return False


def get(pod, host, path="name", port=8080):
    host = f"[{host}]" if ":" in host else host
    return pod.output("wget", "-q", "-O-", f"http://{host}:{port}/{path}")


def test_addresses_and_routes(pod):
    """What CNI has given the pod's namespace is what the pod has: addresses of both families, MTU, MAC, default routes."""
    p = pod(*pods.FOREVER, image=pods.NET_TOOLBOX)
    links = json.loads(p.output("ip", "-j", "addr"))
    (eth0,) = [link for link in links if link["ifname"] == "eth0"]
    addresses = {a["local"]: a["prefixlen"] for a in eth0["addr_info"] if a["scope"] == "global"}
    assert set(addresses) == set(p.ips) and addresses[p.ip] == 16
    assert eth0["mtu"] == 1500 and "UP" in eth0["flags"]
    routes = json.loads(p.output("ip", "-j", "route"))
    assert [r["gateway"] for r in routes if r["dst"] == "default"] == ["10.88.0.1"]
    if len(p.ips) > 1:
        routes = json.loads(p.output("ip", "-6", "-j", "route"))
        assert [r["gateway"] for r in routes if r["dst"] == "default"] == ["fd00:88::1"]
    assert "LOOPBACK" in [link for link in links if link["ifname"] == "lo"][0]["flags"]
    assert p.output("ping", "-c1", "-W2", "127.0.0.1")


def test_pod_to_pod(pod, handler):
    """Both ways, both families, with a pod of the other handler, and the sources' addresses are the pods' own."""
    one, other = serving(pod), serving(pod, handler={"kata": "runc", "runc": "kata"}[handler])
    for a, b in ((one, other), (other, one)):
        for mine, its in zip(a.ips, b.ips):
            assert get(a, its) == b.name
            assert ipaddress.ip_address(get(a, its, "cgi-bin/who").strip("[]").removeprefix("::ffff:")) == ipaddress.ip_address(mine)


def test_host_to_pod_and_back(pod, node):
    """The kubelet's side: the node reaches the pod; the pod reaches the node."""
    p = serving(pod)
    assert node.http(p.ip, 8080, "/name") == (200, f"{p.name}\n")
    p.output("nc", "-w", "5", "10.88.0.1", "6443", input="")


def test_large_transfer(pod, node):
    """32 MiB through the pod's interface, unchanged."""
    p = pod("sh", "-c", "mkdir /www; head -c 33554432 /dev/urandom >/www/data; exec httpd -f -p 8080 -h /www")
    wait("the server", lambda: "data" in p.output("ls", "/www") and answers_at(node, p.ip, 8080), 60)
    want = p.output("md5sum", "/www/data").split()[0]
    got = node.netspace.run("sh", "-c", f"wget -q -O- http://{p.ip}:8080/data 2>/dev/null | md5sum || "
                            f"curl -s http://{p.ip}:8080/data | md5sum", capture_output=True, text=True).stdout.split()[0]
    assert got == want


def answers_at(node, host, port):
    try:
        node.netspace.connect(host, port, 2).close()
        return True
    except OSError:
        return False


def test_udp(pod, node):
    """Datagrams up to what IP fragments."""
    p = pod(*UDP_ECHO, image=pods.PYTHON)
    script = ("import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(2)\n"
              "for n in (1, 1400, 9000, 60000):\n"
              "    for _ in range(15):\n"
              f"        s.sendto(b'x' * n, ('{p.ip}', 9999))\n"
              "        try:\n            assert len(s.recv(65535)) == n; break\n"
              "        except TimeoutError: pass\n"
              "    else: sys.exit(f'no answer to {n} bytes')\n")
    node.netspace.run("python3", "-c", script, timeout=limit(180))


@pytest.fixture(name="service")
def fixture_service(node):
    made = []

    def make(name, selector, **spec):
        made.append(name)
        return node.api.create({"kind": "Service", "metadata": {"name": name}, "spec": {
            "selector": selector, "ports": [{"port": 80, "targetPort": 8080}], **spec}})

    yield make
    for name in made:
        node.api.delete("Service", name)


def test_service_and_dns(pod, service):
    """By its name, from another pod and from the pod that serves it."""
    server = serving(pod, metadata={"labels": {"app": "web"}})
    client = pod()
    address = service("web", {"app": "web"})["spec"]["clusterIP"]
    wait("the service", lambda: client.exec("wget", "-q", "-O-", f"http://{address}/name", check=False).stdout, 60)
    for name in ("web", "web.default", "web.default.svc.cluster.local"):
        assert get(client, name, port=80) == server.name
    assert get(server, "web", port=80) == server.name
    assert "nameserver" in client.output("cat", "/etc/resolv.conf")


def test_headless_service(pod, service):
    """Pods by their own names."""
    server = serving(pod, metadata={"labels": {"app": "db"}}, spec={"hostname": "db-0", "subdomain": "db"})
    client = pod()
    service("db", {"app": "db"}, clusterIP="None")
    wait("the name", lambda: client.exec("nslookup", "db.default.svc.cluster.local", check=False).returncode == 0, 30)
    assert get(client, "db.default.svc.cluster.local") == "db-0"
    assert server.output("hostname", "-f").startswith("db-0.db.default")


def test_host_port(pod, node):
    p = serving(pod, container={"ports": [{"containerPort": 8080, "hostPort": 18080}]})
    wait("the host's port", lambda: answers(node, "10.88.0.1", 18080), 10)
    assert node.http("10.88.0.1", 18080, "/name") == (200, f"{p.name}\n")
    p.delete()
    assert not answers(node, "10.88.0.1", 18080)


def test_node_port(pod, node, service):
    p = serving(pod, metadata={"labels": {"app": "np"}})
    port = service("np", {"app": "np"}, type="NodePort")["spec"]["ports"][0]["nodePort"]
    wait("the node's port", lambda: answers(node, "10.88.0.1", port), 60)
    assert node.http("10.88.0.1", port, "/name") == (200, f"{p.name}\n")


class Forward:
    """kubectl port-forward while the context lasts; `port` is the one here."""

    def __init__(self, pod, remote):
        self.pod, self.remote = pod, remote
        self.port, self.process = None, None

    def __enter__(self):
        node = self.pod.node
        self.process = subprocess.Popen(node.kubectl_command("port-forward", f"pod/{self.pod.name}", f":{self.remote}"),
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        self.port = int(line.split(":")[1].split()[0])
        return self

    def connect(self):
        return self.pod.node.netspace.connect("127.0.0.1", self.port, limit(10))

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate()


def exchange(connection, data):
    """Send all, end, read to the end."""
    connection.settimeout(limit(60))
    with connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("listen", ["127.0.0.1", "0.0.0.0"])
def test_port_forward(pod, listen):
    """To a port that only the pod's loopback has, or all of its interfaces; as runc, which has the port in the
    namespace itself. Many at once, a megabyte both ways."""
    script = ("import socket, socketserver\nclass Echo(socketserver.BaseRequestHandler):\n"
              "    def handle(self):\n        while data := self.request.recv(65536): self.request.sendall(data)\n"
              "class Server(socketserver.ThreadingTCPServer):\n    allow_reuse_address = True\n    request_queue_size = 32\n"
              f"Server(('{listen}', 7000), Echo).serve_forever()\n")
    p = pod("python3", "-c", script, image=pods.PYTHON)
    wait("the listener", lambda: ":1B58" in p.output("cat", "/proc/net/tcp", "/proc/net/tcp6"), 30)
    with Forward(p, 7000) as forward:
        assert exchange(forward.connect(), b"hello") == b"hello"
        data = bytes(range(256)) * 4096
        assert exchange(forward.connect(), data) == data
        connections = [forward.connect() for _ in range(8)]
        for i, connection in enumerate(connections):
            connection.sendall(f"number {i}".encode())
        for i, connection in enumerate(connections):
            assert exchange(connection, b"") == f"number {i}".encode()


def test_port_forward_to_nothing(pod, handler):
    """Nobody listens: the error is kubectl's to print."""
    p = pod()
    with Forward(p, 7001) as forward:
        with contextlib.suppress(ConnectionError):  # kubectl may have closed it already
            assert exchange(forward.connect(), b"hello") == b""
        line = forward.process.stderr.readline()
    assert "7001" in line and ("reset by peer" if handler == "kata" else "refused") in line


def test_host_network(pod, node, handler):
    """runc joins the node's; a VM cannot: refused in an event that says so, and nothing of the node's is touched."""
    before = node.netspace.run("ip", "addr", capture_output=True, text=True).stdout
    p = pod(spec={"hostNetwork": True}, wait=None)
    if handler == "runc":
        p.wait_running()
        assert p.ip == "10.88.0.1"
        return
    message = wait("the event", lambda: next((text for reason, text in node.api.events(p.name)
                                              if reason == "FailedCreatePodSandBox"), None), 30)
    assert "host's network" in message or "hostNetwork" in message
    assert {line for line in before.splitlines() if "valid_lft" not in line} >= \
        {line for line in node.netspace.run("ip", "addr", capture_output=True, text=True).stdout.splitlines()
         if "10.88.0.1" in line or "cni0" in line}
