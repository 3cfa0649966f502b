"""The index of a connection's notifications."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.inbox import CHUNK, EMPTY_INBOX, Inbox, Inboxes, add_to_inbox
from tests.support.examples import scaled
from tests.support.people import ANN


def told(inbox: Inbox, position: int, at_ms: int, kept_max: int) -> Inbox:
    """Return `inbox` with one more position."""
    inboxes = Inboxes({ANN: inbox}).mutate()
    add_to_inbox(inboxes, ANN, position, at_ms, kept_max)
    return inboxes[ANN]


def inbox_of(count: int, kept_max: int = 10**6, step: int = 3) -> Inbox:
    """Return an inbox with the positions `step`, `2 * step` and so on."""
    inbox = EMPTY_INBOX
    for n in range(1, count + 1):
        inbox = told(inbox, n * step, n * step + 1_000, kept_max)
    return inbox


def test_an_empty_inbox_holds_nothing() -> None:
    """An empty inbox returns nothing for any cursor."""
    assert (len(EMPTY_INBOX), EMPTY_INBOX.after(0), EMPTY_INBOX.last(10)) == (0, [], [])


@settings(deadline=None, max_examples=scaled(200))
@given(st.integers(0, 400), st.integers(0, 1_300), st.integers(1, 500), st.integers(1, 300))
def test_it_finds_what_a_list_would(count: int, cursor: int, limit: int, kept_max: int) -> None:
    """The inbox finds the same positions as a list: those above a cursor, and the newest."""
    inbox, positions = inbox_of(count, kept_max), [3 * n for n in range(1, count + 1)]
    kept = positions[len(positions) - len(inbox) :]
    assert inbox.after(cursor) == [p for p in kept if p > cursor]
    assert inbox.last(limit) == kept[-limit:]
    assert inbox.last_at_ms == (positions[-1] + 1_000 if positions else 0)


@settings(deadline=None, max_examples=scaled(200))
@given(st.integers(0, 600), st.integers(1, 300))
def test_it_keeps_the_newest_and_says_what_went(count: int, kept_max: int) -> None:
    """At least `kept_max` positions are kept, at most two chunks more, and `dropped_through` covers the rest."""
    inbox = inbox_of(count, kept_max)
    assert min(count, kept_max) <= len(inbox) <= -(-kept_max // CHUNK) * CHUNK + CHUNK
    assert inbox.dropped_through == 3 * (count - len(inbox))
    assert all(position > inbox.dropped_through for position in inbox.last(len(inbox) or 1))


@pytest.mark.parametrize("count", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1])
def test_chunks_are_full(count: int) -> None:
    """Every chunk is full, so the length is known without counting."""
    inbox = inbox_of(count)
    assert [len(chunk) for chunk in inbox.chunks] == [CHUNK] * ((count - 1) // CHUNK)
    assert len(inbox) == count


def test_an_old_inbox_stays_what_it_was() -> None:
    """A new inbox shares chunks with the old one, which does not change."""
    old = inbox_of(2 * CHUNK)
    new = told(old, 10_000, 1, kept_max=CHUNK)
    assert (len(old), old.dropped_through) == (2 * CHUNK, 0)
    assert new.dropped_through == 3 * CHUNK
    assert new.chunks[0] is old.newest


def test_who_was_never_told_anything_gets_an_inbox() -> None:
    """The first notification makes the inbox."""
    inboxes = Inboxes().mutate()
    add_to_inbox(inboxes, ANN, 5, 7, kept_max=1)
    assert dict(inboxes.finish().items()) == {ANN: Inbox((5,), (), 0, 7)}


@pytest.mark.parametrize("count", [CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 1])
def test_a_cursor_may_stand_anywhere(count: int) -> None:
    """A cursor may be at, before or after a position, also at the edge of a chunk."""
    inbox = inbox_of(count)
    positions = [3 * n for n in range(1, count + 1)]
    for cursor in range(3 * count + 2):
        assert inbox.after(cursor) == [p for p in positions if p > cursor], cursor


def test_the_first_position_is_found() -> None:
    """Position 1, the first of a log, is found."""
    assert inbox_of(3, step=1).last(3) == [1, 2, 3]
