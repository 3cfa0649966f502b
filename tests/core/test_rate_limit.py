"""The rate limit: a burst of the limit, and the limit a window on average."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from projections.rate_limit import WINDOW_MS, allowance_after, retry_after_ms
from tests.support.examples import scaled

LIMITS = st.integers(1, 50)
NOON_MS = 1_790_000_000_000


def uses_at(spent_until_us: int, at_ms: int, limit: int) -> tuple[int, int]:
    """Return the number of uses allowed in a row at `at_ms`, and the allowance after them."""
    uses = 0
    while retry_after_ms(spent_until_us, at_ms, limit) == 0:
        spent_until_us, uses = allowance_after(spent_until_us, at_ms, limit), uses + 1
    return uses, spent_until_us


@settings(deadline=None, max_examples=scaled(100))
@given(LIMITS)
def test_a_newcomer_may_use_the_whole_limit_at_once(limit: int) -> None:
    """A burst of exactly `limit` is allowed, and the next use after a limit-th of the window."""
    uses, spent = uses_at(0, NOON_MS, limit)
    assert uses == limit
    assert 0 < retry_after_ms(spent, NOON_MS, limit) <= -(-WINDOW_MS // limit)


@settings(deadline=None, max_examples=scaled(200))
@given(LIMITS, st.lists(st.integers(0, 20_000), max_size=40))
def test_the_time_to_wait_is_exact(limit: int, pauses_ms: list[int]) -> None:
    """The returned wait is enough, and a millisecond less is not."""
    now_ms, spent = NOON_MS, 0
    for pause_ms in pauses_ms:
        now_ms += pause_ms
        wait_ms = retry_after_ms(spent, now_ms, limit)
        if wait_ms:
            assert retry_after_ms(spent, now_ms + wait_ms - 1, limit) == 1
            now_ms += wait_ms
        assert retry_after_ms(spent, now_ms, limit) == 0
        spent = allowance_after(spent, now_ms, limit)


@settings(deadline=None, max_examples=scaled(200))
@given(LIMITS, st.lists(st.integers(0, 3_000), min_size=1, max_size=120))
def test_no_window_holds_more_than_twice_the_limit(limit: int, pauses_ms: list[int]) -> None:
    """A window allows a burst and one refill at most."""
    now_ms, spent, used_at_ms = NOON_MS, 0, list[int]()
    for pause_ms in pauses_ms:
        now_ms += pause_ms
        uses, spent = uses_at(spent, now_ms, limit)
        used_at_ms += [now_ms] * uses
    for start_ms in used_at_ms:
        assert sum(start_ms <= at_ms < start_ms + WINDOW_MS for at_ms in used_at_ms) <= 2 * limit


def test_who_was_silent_for_a_window_may_use_all_of_it_again() -> None:
    """A silent window restores the whole limit, and no more."""
    _, spent = uses_at(0, NOON_MS, 20)
    assert uses_at(spent, NOON_MS + WINDOW_MS, 20)[0] == 20
    assert uses_at(spent, NOON_MS + 100 * WINDOW_MS, 20)[0] == 20


def test_each_use_frees_its_share_of_the_window() -> None:
    """Twenty in ten seconds is one every half second."""
    _, spent = uses_at(0, NOON_MS, 20)
    assert retry_after_ms(spent, NOON_MS, 20) == 500
    assert retry_after_ms(spent, NOON_MS + 499, 20) == 1
    assert uses_at(spent, NOON_MS + 500, 20)[0] == 1


def test_a_microsecond_too_soon_is_too_soon() -> None:
    """A part of a millisecond is rounded up in the wait."""
    for limit in (1, 7, 20):
        free_us = NOON_MS * 1_000 + WINDOW_MS * 1_000 - WINDOW_MS * 1_000 // limit
        assert retry_after_ms(free_us, NOON_MS, limit) == 0
        assert retry_after_ms(free_us + 1, NOON_MS, limit) == 1
        assert retry_after_ms(free_us + 1_000, NOON_MS, limit) == 1
        assert retry_after_ms(free_us + 1_001, NOON_MS, limit) == 2
