# SPDX-License-Identifier: Apache-2.0
"""The DNS server of a test node: SERVICE.NAMESPACE.svc.cluster.local, and HOST.SERVICE… of headless services, A and AAAA.

It asks the API server at each question, so that an answer is never old. Everything else does not exist.
usage: clusterdns.py NODE-FOLDER, in the node's network namespace
"""

import http.client
import ipaddress
import pathlib
import socket
import socketserver
import struct
import sys
import threading

import kubeapi
import nodeconfig

DOMAIN = ["svc", "cluster", "local"]
TYPES = {1: 4, 28: 6}  # of a record, to the version of its address
NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME, NOT_IMPLEMENTED = 0, 2, 3, 4
TTL = 5


class HostNetwork:
    """What an Api needs of a namespace, for one that is already there."""

    @staticmethod
    def connect(host, port, timeout):
        return socket.create_connection((host, port), timeout)


def parse(packet):
    """(labels, type, end of the question) of a query with one question."""
    count = struct.unpack_from("!H", packet, 4)[0]
    if count != 1:
        raise ValueError(f"{count} questions")
    labels, at = [], 12
    while packet[at]:
        if packet[at] > 63:
            raise ValueError("a compressed name in a question")
        labels.append(packet[at + 1:at + 1 + packet[at]].decode("ascii").lower())
        at += 1 + packet[at]
    kind, _ = struct.unpack_from("!HH", packet, at + 1)
    return labels, kind, at + 5


class Names:
    """What names stand for, from the API."""

    def __init__(self, api):
        self.api = api

    def addresses(self, labels):
        """The addresses of a name; None if there is no such name."""
        if labels[-3:] != DOMAIN or len(labels) not in (5, 6):
            return None
        service, namespace = labels[-5], labels[-4]
        found = self.api.get("Service", service, namespace)
        if found is None:
            return None
        cluster = found["spec"].get("clusterIPs", [])
        if cluster != ["None"] and len(labels) == 5:
            return cluster
        endpoints = [endpoint for part in self.api.list("EndpointSlice", namespace,
                                                         labelSelector=f"kubernetes.io/service-name={service}")
                     for endpoint in part.get("endpoints") or [] if endpoint.get("conditions", {}).get("ready", True)]
        if len(labels) == 6:
            endpoints = [endpoint for endpoint in endpoints if endpoint.get("hostname") == labels[0]]
        return [address for endpoint in endpoints for address in endpoint["addresses"]] or None


def answer(packet, names):
    """The reply to one query."""
    number, flags = struct.unpack_from("!HH", packet)
    code, records, end = NO_ERROR, [], 12
    if flags >> 11 & 0xf:
        code = NOT_IMPLEMENTED
    else:
        labels, kind, end = parse(packet)
        try:
            found = names.addresses(labels)
            code = NO_SUCH_NAME if found is None else NO_ERROR
            addresses = [ipaddress.ip_address(a) for a in found or []]
            records = [a.packed for a in addresses if a.version == TYPES.get(kind)]
        except (OSError, http.client.HTTPException, kubeapi.ApiError):
            code = SERVER_FAILURE
    header = struct.pack("!HHHHHH", number, 0x8480 | flags & 0x0100 | code, int(end > 12), len(records), 0, 0)
    body = b"".join(struct.pack("!HHHIH", 0xc00c, kind, 1, TTL, len(data)) + data for data in records)
    return header + packet[12:end] + body


def main(folder):
    names = Names(kubeapi.Api(HostNetwork, nodeconfig.ADDRESS, nodeconfig.API_PORT, pathlib.Path(folder) / "pki"))

    class Datagram(socketserver.BaseRequestHandler):
        def handle(self):
            packet, sender = self.request
            try:
                sender.sendto(answer(packet, names), self.client_address)
            except (ValueError, IndexError, struct.error) as error:
                print(f"a query that is none, from {self.client_address[0]}: {error}", file=sys.stderr)

    class Stream(socketserver.StreamRequestHandler):
        def handle(self):
            try:
                size = struct.unpack("!H", self.rfile.read(2))[0]
                reply = answer(self.rfile.read(size), names)
                self.wfile.write(struct.pack("!H", len(reply)) + reply)
            except (ValueError, IndexError, struct.error) as error:
                print(f"a query that is none, from {self.client_address[0]}: {error}", file=sys.stderr)

    address = (nodeconfig.DNS_ADDRESS, 53)
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    stream = socketserver.ThreadingTCPServer(address, Stream)
    threading.Thread(target=stream.serve_forever, daemon=True).start()
    socketserver.ThreadingUDPServer(address, Datagram).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
