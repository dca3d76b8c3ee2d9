# SPDX-License-Identifier: Apache-2.0
"""One ttRPC call over a UNIX socket, for what ctr cannot do. Messages are {number of the field: value}.

A frame is: length (4 bytes, big endian), stream (4), type (1: request, 2: response), flags (1), then a protobuf message.
"""

import socket
import struct

HEADER = struct.Struct(">IIBB")


def _varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(fields):
    """The encoding of {number: str, bytes (also a message) or int (also bool)}."""
    out = b""
    for number, value in fields.items():
        if isinstance(value, int):
            out += _varint(number << 3) + _varint(value)
            continue
        data = value.encode() if isinstance(value, str) else value
        out += _varint(number << 3 | 2) + _varint(len(data)) + data
    return out


def fields_of(data):
    """The reverse: {number: bytes or int}, the last one of each number; for messages without fixed-size fields."""
    found, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        value = varint()
        if key & 7 == 2:
            value, at = data[at:at + value], at + value
        found[key >> 3] = value
    return found


def call(address, service, method, fields, timeout):
    """Returns the encoded response; an error of the method is a RuntimeError with its status in it."""
    request = message({1: service, 2: method, 3: message(fields)})
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(timeout)
        line.connect(address)
        line.sendall(HEADER.pack(len(request), 1, 1, 0) + request)
        stream = line.makefile("rb")
        header = stream.read(HEADER.size)
        if len(header) < HEADER.size:
            raise ConnectionResetError(f"{service}.{method}: the connection ended without an answer")
        length, _, kind, _ = HEADER.unpack(header)
        assert kind == 2, kind
        response = stream.read(length)
    # Field 1, a message that is not empty: the status.
    if response[:1] == b"\x0a" and response[1:2] != b"\0":
        raise RuntimeError(f"{service}.{method}: {response[2:].decode(errors='replace')}")
    return response
