"""Log lines caused by strangers: one a minute of each kind."""

from __future__ import annotations

from broker.line_limit import LINES_EVERY_MS, LineLimit


def test_the_first_line_of_a_kind_is_admitted_and_the_next_ones_are_counted() -> None:
    """The next line after a minute has the number of lines left out, and the count begins anew."""
    now_ms = 5.0
    limit = LineLimit(lambda: now_ms)
    assert [limit.admit("a") for _ in range(4)] == [{}, None, None, None]
    now_ms += LINES_EVERY_MS - 1
    assert limit.admit("a") is None
    now_ms += 1
    assert [limit.admit("a"), limit.admit("a")] == [{"suppressed": 4}, None]
    now_ms += LINES_EVERY_MS
    assert limit.admit("a") == {"suppressed": 1}
    now_ms += LINES_EVERY_MS
    assert limit.admit("a") == {}


def test_kinds_are_counted_apart() -> None:
    """A flood of one kind hides no other."""
    limit = LineLimit(lambda: 0.0)
    assert [limit.admit("a"), limit.admit("a"), limit.admit("b")] == [{}, None, {}]
