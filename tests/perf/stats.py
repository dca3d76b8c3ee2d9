# SPDX-License-Identifier: Apache-2.0
"""What tables and pictures say of samples."""

import math
import statistics


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def percentile(values, percent):
    """Between the two nearest samples, in proportion."""
    values = sorted(values)
    place = (len(values) - 1) * percent / 100
    low, part = math.floor(place), place % 1
    return values[low] + (values[min(low + 1, len(values) - 1)] - values[low]) * part


def middle(traces):
    """The trace of the start that took the median time, so that what is drawn has really happened."""
    return sorted(traces, key=lambda trace: trace["ms"])[(len(traces) - 1) // 2]


def pod_totals(pods):
    """Of pods as [{part: KiB}]: the KiB of each pod."""
    return [sum(pod.values()) for pod in pods]
