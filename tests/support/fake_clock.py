"""The fake clock of the public package."""

from __future__ import annotations

from broker.testing.clock import FakeClock, FakeTimer, settle

__all__ = ["FakeClock", "FakeTimer", "settle"]
