"""Settings of all tests.

`HYPOTHESIS_PROFILE=daily` runs fewer examples; without it, each property runs all of them. `TEST_TRIE_MAP=1` hides the
package `immutables`, so that the persistent map is the one of Python 3.14: see `projections.persistent_map`.
"""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests.support")

settings.register_profile("daily", max_examples=20)
if profile := os.environ.get("HYPOTHESIS_PROFILE"):
    settings.load_profile(profile)

if os.environ.get("TEST_TRIE_MAP") == "1":
    sys.modules["immutables"] = None  # what Python takes for a package that is missing


def pytest_report_header() -> str:
    """Return the line of the report that names the persistent map in use."""
    from projections.persistent_map import Map

    return f"persistent map: {Map.__module__}.{Map.__qualname__}"
