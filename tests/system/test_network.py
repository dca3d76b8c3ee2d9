# SPDX-License-Identifier: Apache-2.0
"""A pod in a network namespace that was there before it and outlives it."""

import os
import signal
import socket
import subprocess
import threading
import time

import netspace
import pytest
from conftest import IMAGE, Sandbox, daemon, kata, limit, remove, unique

pytestmark = pytest.mark.once  # what is tested is the runtime, whoever calls it

GATEWAY, POD = "198.51.100.1", "198.51.100.2"
ECHO, HTTP4, HTTP6, NOBODY = 7007, 8080, 8081, 8082
SERVERS = f"""
echo pod >/etc/name
nc -ll -p {ECHO} -e cat &
httpd -p 127.0.0.1:{HTTP4} -h /etc
httpd -p [::1]:{HTTP6} -h /etc
sleep 600
"""


def dial(namespace, address, port):
    return netspace.connect(namespace.path, address, port, limit(60))


def run(*command, check=True):
    return subprocess.run(command, capture_output=True, text=True, check=check).stdout


class Namespace:
    """A namespace with eth0, whose other end is in a second one, so that the host's network is left alone."""

    def __init__(self, name):
        self.name = name
        self.gateway = f"{name}-gw"
        self.path = f"/run/netns/{name}"
        for namespace in (name, self.gateway):
            run("ip", "netns", "add", namespace)
        run("ip", "-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", "pod", "netns", self.gateway)
        for namespace, device, address in ((self.gateway, "pod", GATEWAY), (name, "eth0", POD)):
            run("ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", device)
            run("ip", "-n", namespace, "link", "set", device, "up")

    @property
    def joined(self):
        return "ingress" in run("tc", "-n", self.name, "qdisc", "show", "dev", "eth0", "ingress")

    def check_untouched(self):
        """It works as it did before the pod, and nothing of the pod is left in it, as soon as QEMU has ended and
        containerd has run `shim delete`, for which `ctr task rm` does not wait after a crash."""
        deadline = time.monotonic() + limit(5)
        while "tap" in (links := run("ip", "-n", self.name, "-o", "link")) or self.joined:
            assert time.monotonic() < deadline, f"left in the namespace: {links}"
            time.sleep(0.1)
        run("ip", "netns", "exec", self.name, "busybox", "ping", "-c", "1", "-W", "5", GATEWAY)

    def remove(self):
        for namespace in (self.name, self.gateway):
            run("ip", "netns", "del", namespace, check=False)


@pytest.fixture(name="namespace")
def fixture_namespace(containerd):  # pylint: disable=unused-argument
    namespace = Namespace(unique("net"))
    yield namespace
    namespace.remove()


def test_guest_has_the_pods_network(containerd, name, namespace):
    """Its address and its way out are the namespace's; afterwards all is as it was."""
    done = containerd.run(IMAGE, name, "sh", "-c", f"ip -o -4 addr show eth0; ping -c 1 -W 10 {GATEWAY}",
                          options=["--with-ns", f"network:{namespace.path}"])
    assert f"{POD}/24" in done.stdout and "1 packets received" in done.stdout
    namespace.check_untouched()


def test_shim_is_killed_while_it_runs(containerd, name, namespace):
    sandbox = Sandbox(containerd, name, "sleep", "600", options=["--with-ns", f"network:{namespace.path}"])
    assert namespace.joined
    os.kill(sandbox.shim, signal.SIGKILL)
    remove(containerd, name)
    namespace.check_untouched()


def daemon_of(name):
    """The shim that serves, not the one that starts it: a session of its own."""
    for pid in kata.shim_of(name):
        try:
            if os.getsid(pid) == pid:
                return pid
        except ProcessLookupError:
            pass
    return None


def test_shim_is_killed_while_it_joins(containerd, name, namespace):
    """At the first sign of the redirect, before anything else is known of the pod."""
    command = containerd.command("run", "-d", "--runtime", daemon.RUNTIME, "--with-ns", f"network:{namespace.path}",
                                 IMAGE, name, "sleep", "600")
    with subprocess.Popen(["tc", "-n", namespace.name, "monitor"], stdout=subprocess.PIPE) as monitor, \
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
        try:
            deadline = time.monotonic() + limit(30)
            while not (shim := daemon_of(name)):
                assert time.monotonic() < deadline
            while b"ingress" not in monitor.stdout.readline():
                pass
            os.kill(shim, signal.SIGKILL)
            client.wait(limit(20))
        finally:
            monitor.kill()
            client.kill()
    remove(containerd, name)
    namespace.check_untouched()


# --- what is dialled on the namespace's loopback, as containerd does for `kubectl port-forward` ---

def start_servers(containerd, name, namespace):
    """A pod with servers on its loopback, and lo as CNI leaves it."""
    run("ip", "-n", namespace.name, "link", "set", "lo", "up")
    sandbox = Sandbox(containerd, name, "sh", "-c", SERVERS, options=["--with-ns", f"network:{namespace.path}"])
    deadline = time.monotonic() + limit(20)
    while sandbox.exec("wget", "-q", "-O-", f"http://[::1]:{HTTP6}/name").stdout != "pod\n":
        assert time.monotonic() < deadline, "no server on the pod's own loopback"
        time.sleep(0.1)
    return sandbox


def read_all(connection):
    data = b""
    while piece := connection.recv(1 << 16):
        data += piece
    return data


def echo(namespace, address, data):
    """Send it, end what is sent, and return all that comes back."""
    with dial(namespace, address, ECHO) as connection:
        def send():
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        received = read_all(connection)
        sender.join()
    return received


def check_nobody(namespace, address):
    """A port without a server is told at once: the connection is refused or reset."""
    start = time.monotonic()
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
        with dial(namespace, address, NOBODY) as connection:
            connection.recv(1)
    assert time.monotonic() - start < limit(3)


def check_http(namespace, address, port):
    with dial(namespace, address, port) as connection:
        connection.sendall(b"GET /name HTTP/1.0\r\n\r\n")
        assert read_all(connection).endswith(b"\r\n\r\npod\n")


def test_ports_are_forwarded(containerd, name, namespace):
    sandbox = start_servers(containerd, name, namespace)
    check_http(namespace, "127.0.0.1", HTTP4)
    check_http(namespace, "::1", HTTP6)
    # containerd tries ::1 where 127.0.0.1 refuses, which the guest does for it.
    check_http(namespace, "127.0.0.1", HTTP6)
    for address in ("127.0.0.1", "::1"):
        check_nobody(namespace, address)
    data = os.urandom(8 << 20)
    for address in ("127.0.0.1", "::1"):
        start = time.monotonic()
        assert echo(namespace, address, data) == data
        print(f"measured: 8 MiB to {address} and back in {time.monotonic() - start:.1f} s")
    # The namespace's other addresses are not ours, nor is the guest's own loopback.
    with pytest.raises(OSError):
        dial(namespace, POD, HTTP4).close()
    assert sandbox.exec("wget", "-q", "-O-", f"http://127.0.0.1:{HTTP4}/name").stdout == "pod\n"
    sandbox.remove()
    with pytest.raises(ConnectionRefusedError):
        dial(namespace, "127.0.0.1", HTTP4)
    namespace.check_untouched()


def test_many_ports_at_once(containerd, name, namespace):
    start_servers(containerd, name, namespace)
    connections = [dial(namespace, "127.0.0.1", ECHO) for _ in range(20)]
    for i, connection in enumerate(connections):
        connection.sendall(f"{i}\n".encode())
    for i, connection in enumerate(connections):
        assert connection.recv(16) == f"{i}\n".encode()
    # One that is reset leaves the others alone.
    connections[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connections.pop(0).close()
    for connection in connections:
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(16) == b""
        connection.close()
    check_http(namespace, "127.0.0.1", HTTP4)


def test_shim_is_killed_while_it_forwards(containerd, name, namespace):
    """Nothing stays: neither the connection, nor what takes the next one, nor what would keep the namespace."""
    sandbox = start_servers(containerd, name, namespace)
    with dial(namespace, "127.0.0.1", ECHO) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        os.kill(sandbox.shim, signal.SIGKILL)
        try:
            assert connection.recv(1) == b""
        except ConnectionResetError:
            pass
    remove(containerd, name)
    with pytest.raises(ConnectionRefusedError):
        dial(namespace, "127.0.0.1", ECHO)
    namespace.check_untouched()
    run("ip", "netns", "del", namespace.name)
    # Its end of the pair goes with it.
    deadline = time.monotonic() + limit(10)
    while "pod" in run("ip", "-n", namespace.gateway, "-o", "link"):
        assert time.monotonic() < deadline, "the namespace is still in use"
        time.sleep(0.1)
