# SPDX-License-Identifier: Apache-2.0
"""Time limits that fit the machine: the nominal ones are for an idle one of two processors at 2 GHz and more."""

import functools
import os
import time

LOOP = 300_000
NOMINAL = 0.015  # seconds of processor time that the loop takes there


@functools.cache
def slowness():
    """How many times slower than the nominal one this processor is; 1 for a faster one."""
    def seconds():
        start = time.process_time()
        for _ in range(LOOP):
            pass
        return time.process_time() - start

    return max(1.0, min(seconds() for _ in range(3)) / NOMINAL)


def load():
    """Who waits for each processor: the average of a minute, or those of this moment when they are more."""
    average, _, _, tasks, _ = open("/proc/loadavg", encoding="ascii").read().split()
    running = int(tasks.split("/")[0]) - 1
    return max(1.0, max(float(average), running) / os.cpu_count())


def limit(seconds):
    """The time limit for this moment."""
    return seconds * load() * slowness()


def wait(what, condition, seconds, every=0.05, problem=lambda: ""):
    """The first true value of condition(); TimeoutError naming `what`, with the last text of problem(), after the limit.
    Looks less often the longer it takes."""
    end = time.monotonic() + limit(seconds)
    while True:
        if value := condition():
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {limit(seconds):.0f} s. {problem()}")
        time.sleep(every)
        every = min(every * 1.2, 0.5)
