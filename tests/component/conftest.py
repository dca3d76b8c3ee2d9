# SPDX-License-Identifier: Apache-2.0
"""Component tests in Python: what skips must be listed."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "ci"))

# pylint: disable=wrong-import-position,unused-import
from skips import pytest_runtest_logreport, pytest_sessionfinish
