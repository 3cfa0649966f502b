"""Limits of time for a part of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest

HUNG_SECONDS = 60
"""After so long, something is taken to hang. It is far more than a slow machine needs, and no test waits for it."""

SOON_SECONDS = 10
"""After so long, what should come at once is taken to have waited for a timer, such as that of a ping (15 seconds)."""


@contextmanager
def limited(*modules: ModuleType, **seconds: float) -> Iterator[None]:
    """Set `seconds`, constants of each of `modules`, for the calls that have to run into them.

    Calls that have to succeed belong outside, where a slow machine has the time that a user's machine has.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            for name, value in seconds.items():
                patch.setattr(module, name, value)
        yield
