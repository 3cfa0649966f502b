"""Limits of time for a part of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest


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
