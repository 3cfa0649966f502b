"""Settings of all tests: `HYPOTHESIS_PROFILE=daily` runs fewer examples; without it, each property runs all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

pytest.register_assert_rewrite("tests.support")

settings.register_profile("daily", max_examples=20)
if profile := os.environ.get("HYPOTHESIS_PROFILE"):
    settings.load_profile(profile)


@pytest.fixture(autouse=True)
def default_logs() -> Iterator[None]:
    """Undo a command's settings of the log: `log trim` leaves out warnings."""
    yield
    structlog.reset_defaults()


def pytest_report_header() -> str:
    """Return a header line with the persistent map in use."""
    from projections.persistent_map import Map

    return f"persistent map: {Map.__module__}.{Map.__qualname__}"
