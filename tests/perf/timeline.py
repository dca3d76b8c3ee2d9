# SPDX-License-Identifier: Apache-2.0
"""Where the time of one start goes, from what the shim logs at debug: every step with its microseconds as it ends, and
what the agent says of the guest's boot.

Steps follow one another: they are the critical path. What goes on beside them, and which a later step waits for, is of
the kind "beside"."""

import datetime
import re
import typing

LINE = re.compile(r'^time=(\S+) .*?\bmsg=(?:"((?:[^"\\]|\\.)*)"|(\S+)).*? sandbox=(\S+)', re.MULTILINE)
STEP = re.compile(r"(?!undo )([^:]+): (\d+) us")
BOOT = re.compile(r"guest: kata-agent .*?; started at (\d+) ms, (.*)")
MARK = re.compile(r"(\w+) at (\d+)")
BESIDE = ("copied the template's memory", "QEMU answers", "restored the VM")
IN_GUEST = ("reach the agent", "make the clone its own", "create the sandbox in the guest", "configure the guest's network")


class Bar(typing.NamedTuple):
    """Milliseconds since the start. kind: containerd, host, guest, beside."""

    name: str
    begin: float
    end: float
    kind: str


def _kind(step):
    return "beside" if step in BESIDE else "guest" if step in IN_GUEST else "host"


def _boot(now, started, marks, machine_runs):
    """The guest's own boot: its clock begins a while after the machine does."""
    marks = [("kernel", int(started)), *((name, int(at)) for name, at in MARK.findall(marks))]
    zero = now - marks[-1][1]
    yield Bar("guest: before its clock runs", machine_runs, zero, "beside")
    begin = 0
    for name, at in marks:
        yield Bar(f"guest: {name}", zero + begin, zero + at, "beside")
        begin = at


def _lines(log, sandbox, began):
    for when, quoted, word, of in LINE.findall(log):
        if of == sandbox:
            yield (datetime.datetime.fromisoformat(when).timestamp() - began) * 1000, quoted or word


def trace(log, sandbox, began, ended):
    """The bars of one start in the order in which they begin, by milliseconds; began and ended are seconds of the clock
    that log lines have."""
    bars, machine_runs, served, created = [], 0, None, None
    for now, message in _lines(log, sandbox, began):
        if step := STEP.fullmatch(message):
            bars.append(Bar(step[1], now - int(step[2]) / 1000, now, _kind(step[1])))
            if step[1] == "start the virtual machine":
                machine_runs = now
        elif boot := BOOT.fullmatch(message):
            bars += _boot(now, *boot.groups(), machine_runs)
        elif message in ("sandbox: new, now booting", "sandbox: spare, now booting"):
            bars.append(Bar("containerd, until the shim begins", 0, now, "containerd"))
        elif message.endswith("now running"):
            served = now
        elif message == f"guest: container {sandbox} has been created":
            created = now
    if served is not None and created is not None:
        bars.append(Bar("create the container", served, created, "guest"))
        bars.append(Bar("start it, until it has said something", created, (ended - began) * 1000, "guest"))
    return sorted(bars, key=lambda bar: (round(bar.begin), bar.kind == "beside"))
