# SPDX-License-Identifier: Apache-2.0
"""How much of a thing a test does: scaled for CI, or in full."""

import os


def soak(variable, scaled, full):
    """The number; printed, so that a log says what was really tested."""
    n = int(os.environ.get(variable) or (full if os.environ.get("KATA_TEST_FULL") else scaled))
    print(f"measured: {variable} = {n} (full: {full})")
    return n
