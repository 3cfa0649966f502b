"""The rate limit: the generic cell rate algorithm, one integer a connection.

The integer is the 'theoretical arrival time' in microseconds: the end of the spent allowance. Each use moves it by
window / limit. A use is too soon if it moves it more than one window past the present. So a burst of `limit` is
allowed, and `limit` a window on average (ITU-T I.371, with the window as the burst tolerance).
"""

from __future__ import annotations

WINDOW_MS = 10_000
WINDOW_US = WINDOW_MS * 1_000
REPORTS_WINDOW_US = 600_000_000


def allowance_after(spent_until_us: int, at_ms: int, limit_per_window: int, window_us: int = WINDOW_US) -> int:
    """Return the end of the spent allowance (us) after one more use at `at_ms`."""
    at_us = at_ms * 1_000
    later = spent_until_us if spent_until_us > at_us else at_us  # noqa: FURB136 - `max` costs four times as much
    return later + window_us // limit_per_window


def retry_after_ms(spent_until_us: int, at_ms: int, limit_per_window: int, window_us: int = WINDOW_US) -> int:
    """Return the wait until one more use is allowed (ms); 0 if it is allowed now."""
    spent_ahead_us = spent_until_us - at_ms * 1_000
    if spent_ahead_us <= 0:
        return 0  # nothing is spent, and one use is always allowed
    ahead_us = spent_ahead_us + window_us // limit_per_window - window_us
    return -(-ahead_us // 1_000) if ahead_us > 0 else 0
