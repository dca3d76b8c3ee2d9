# SPDX-License-Identifier: Apache-2.0
"""The ways in which kata starts a sandbox: each is measured beside runc, has a column, a colour and a value to reach."""

import functools
import typing

import kata


class Variant(typing.NamedTuple):
    label: str
    factory: dict  # keys of [factory]
    limit: str = ""  # of "run to first output", in words, and as a function of the medians of the floor and of runc
    reach: typing.Callable = None
    hypervisor: dict = {}  # keys of [hypervisor.qemu]
    snapshotter: str = "overlayfs"  # what runc has, too
    at_once: tuple = (1, 2, 4, 8)  # how many begin together
    pod_mb: int = 0  # of each of many side by side, at most; 0: their memory is not measured
    beside: bool = False  # one runs while others are started: they take from it what the first one would have to make
    ready: typing.Callable = lambda config: True  # there is all that it starts from; before every start it is waited for


def templates(**keys):
    return {"enable_template": True, "auto_build_template": False, **keys}


def spares_wait(number, config):
    """All of them do, or no pod has been there yet to have them made."""
    return len(kata.spares(config)) == number or not kata.had_spares(config)


def spare_variant(label, number, *reach):
    return Variant(label, templates(spares=number), *reach, at_once=(1,), ready=functools.partial(spares_wait, number))


VARIANTS = (
    Variant("cold", {"enable_template": False}, "<= 1.3 x floor + runc", lambda floor, runc: 1.3 * floor + runc,
            at_once=(1, 2, 4)),
    Variant("clone", templates(), "<= runc + 450 ms", lambda floor, runc: runc + 450, pod_mb=150),
    Variant("shared", templates(shared_clones=True), "<= runc + 250 ms", lambda floor, runc: runc + 250,
            hypervisor={"shared_fs": "none"}, snapshotter="blockfile", pod_mb=40, beside=True),
    spare_variant("spare", 1, "<= 2 x runc", lambda floor, runc: 2 * runc),
)
# What they cost and what they bring, by how many wait: {number: variant}.
NUMBERS_OF_SPARES = {number: spare_variant(f"spares-{number}", number) for number in (0, 1, 2, 4)}
SNAPSHOTTERS = {v.label: v.snapshotter for v in (*VARIANTS, *NUMBERS_OF_SPARES.values())}
BOOTS = VARIANTS[0].label  # what does not depend on how the sandbox has started is measured in one of these
LABELS = ("runc", *(v.label for v in VARIANTS))
