"""Settings of all tests: `HYPOTHESIS_PROFILE=daily` runs fewer examples; without it, each property runs all of them."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests.support")

settings.register_profile("daily", max_examples=20)
if profile := os.environ.get("HYPOTHESIS_PROFILE"):
    settings.load_profile(profile)


def pytest_report_header() -> str:
    """Return a header line with the persistent map in use."""
    from projections.persistent_map import Map

    return f"persistent map: {Map.__module__}.{Map.__qualname__}"
