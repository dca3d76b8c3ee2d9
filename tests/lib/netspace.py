# SPDX-License-Identifier: Apache-2.0
"""Network namespaces: sockets in any; and one that stands for a machine, which nothing leaves."""

import ctypes
import json
import os
import pathlib
import socket
import subprocess

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000


def _enter(descriptor):
    if LIBC.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")


def made_in(namespace, make):
    """The socket that make() makes, in the namespace at this path. It stays where it was made, so only its making needs to
    be there."""
    with open("/proc/thread-self/ns/net", "rb") as home, open(namespace, "rb") as inside:
        _enter(inside.fileno())
        try:
            return make()
        finally:
            _enter(home.fileno())


def connect(namespace, host, port, timeout=60):
    """A TCP connection made in the namespace at this path."""
    return made_in(namespace, lambda: socket.create_connection((host, port), timeout))


def addresses(number):
    """Those of the machine in the network of this number, of both families."""
    return f"10.{number}.0.1", f"fd00:{number}::1"


class Netspace:
    """A named network namespace with a bridge that has the machine's addresses and is the way to everywhere. Namespaces may
    have the same number, unless somebody looks at the addresses of several."""

    BRIDGE = "cni0"

    def __init__(self, name, number):
        self.name = name
        self.number = number
        self.path = pathlib.Path("/run/netns") / name

    def exists(self):
        return self.path.exists()

    def command(self, *args):
        """The argument list that runs a program inside. Not `ip netns exec`, which hides the control groups."""
        return ["nsenter", f"--net={self.path}", *map(str, args)]

    def run(self, *args, **kwargs):
        kwargs.setdefault("check", True)
        return subprocess.run(self.command(*args), **kwargs)

    def create(self):
        """Both families, where the machine has both. An address counts at once: nobody else could have it."""
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        address, address6 = addresses(self.number)
        script = f"""
            ip link set lo up
            ip link add {self.BRIDGE} type bridge
            ip addr add {address}/16 dev {self.BRIDGE}
            ip link set {self.BRIDGE} up
            ip route add default via 10.{self.number}.255.254 dev {self.BRIDGE}
            echo 1 >/proc/sys/net/ipv4/ip_forward
            if [ -e /proc/sys/net/bridge ]; then echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables; fi
            if [ -e /proc/sys/net/ipv6 ]; then
                ip addr add {address6}/64 dev {self.BRIDGE} nodad
                ip route add default via fd00:{self.number}::ffff dev {self.BRIDGE}
                echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
                if [ -e /proc/sys/net/bridge ]; then echo 1 >/proc/sys/net/bridge/bridge-nf-call-ip6tables; fi
            fi"""
        self.run("sh", "-ec", script)

    def delete(self):
        subprocess.run(["ip", "netns", "delete", self.name], check=True)

    def has_ipv6(self):
        return os.path.exists("/proc/sys/net/ipv6")

    def cni(self, folder):
        """The network of pods, of the same name, as a file of CNI: the bridge, addresses of both families (`folder` has those
        that are taken), host ports."""
        address, address6 = addresses(self.number)
        ranges = [[{"subnet": f"10.{self.number}.0.0/16", "gateway": address, "rangeEnd": f"10.{self.number}.255.250"}]]
        routes = [{"dst": "0.0.0.0/0"}]
        if self.has_ipv6():
            ranges.append([{"subnet": f"fd00:{self.number}::/64", "gateway": address6, "rangeEnd": f"fd00:{self.number}::fff0"}])
            routes.append({"dst": "::/0"})
        return json.dumps({
            "cniVersion": "1.0.0", "name": self.name,
            "plugins": [
                {"type": "bridge", "bridge": self.BRIDGE, "isGateway": True, "hairpinMode": True,
                 "ipam": {"type": "host-local", "dataDir": str(folder), "ranges": ranges, "routes": routes}},
                {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
            ]})

    def connect(self, host, port, timeout=60):
        """A TCP connection from inside."""
        return connect(self.path, host, port, timeout)

    def processes(self):
        """Pids of those inside."""
        done = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False)
        return [int(pid) for pid in done.stdout.split()]
