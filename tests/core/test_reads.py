"""Reads of the events after a cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.reads import (
    SCAN_COMMITS_MAX,
    Page,
    PageLimits,
    _runs,
    has_to_scan,
    newest_page,
    notifications_after,
    page_after,
)
from events.commands import AdoptPolicy, Command
from events.commit import EMPTY_TIP, Commit
from events.ids import ConnectionId, RoomId
from events.log import LogUnavailableError, Snapshot, UnusableLogError
from events.memory import MemoryLog
from events.policy import Policy
from projections.inbox import CHUNK
from projections.notifications import MessageReceived
from projections.state import INITIAL_STATE, State, fold
from tests.support.examples import scaled
from tests.support.fake_clock import settle
from tests.support.logs import FaultyLog, log_of, run, stored
from tests.support.people import ANN, BOB, CAT, DAN, enter, leave, move_on, say

TALK_ROOM = RoomId("r_3")
FAST = AdoptPolicy(Policy(messages_per_10s_max=10_000, inbox_events_max=CHUNK))


def talk(count: int, *between: Command) -> list[Command]:
    """Return commands for Ann talking to Bob: he has `chatroom.found` at 3, and a message at each position from 4."""
    words = [say(ANN, f"word {n}", None, TALK_ROOM) for n in range(count)]
    return [FAST, enter(ANN), enter(BOB), *words, *between]


def cursors(page: Page) -> list[int]:
    """Return the positions of a page's events."""
    return [event.params.cursor for event in page.events]


def words(page: Page) -> list[str]:
    """The messages on a page."""
    return [event.params.message for event in page.events if isinstance(event.params, MessageReceived)]


def test_a_page_gives_what_stands_after_the_cursor() -> None:
    """Oldest first, with the cursor of the last one."""

    async def scenario() -> None:
        log, state = await stored(*talk(3), enter(CAT))
        page = await page_after(log, state, BOB, 4, PageLimits(10))
        assert words(page) == ["word 1", "word 2"]
        assert (page.cursor, page.missed) == (6, False)

    run(scenario)


def test_a_full_page_has_the_cursor_of_its_last_event() -> None:
    """More may follow, so the cursor is not past the page."""

    async def scenario() -> None:
        log, state = await stored(*talk(5))
        page = await page_after(log, state, BOB, 0, PageLimits(2))
        assert (cursors(page), page.cursor) == ([3, 4], 4)
        page = await page_after(log, state, BOB, page.cursor, PageLimits(2))
        assert (cursors(page), page.cursor) == ([5, 6], 6)
        page = await page_after(log, state, BOB, page.cursor, PageLimits(2))
        assert (cursors(page), page.cursor) == ([7, 8], 8)
        page = await page_after(log, state, BOB, page.cursor, PageLimits(2))
        assert (cursors(page), page.cursor) == ([], 8)

    run(scenario)


def test_a_cursor_at_or_above_the_tip_finds_nothing() -> None:
    """And is not moved back."""

    async def scenario() -> None:
        log, state = await stored(*talk(1))
        assert await page_after(log, state, BOB, 4, PageLimits(10)) == Page([], 4)
        assert await page_after(log, state, BOB, 99, PageLimits(10)) == Page([], 99)

    run(scenario)


def test_who_was_told_nothing_gets_an_empty_page() -> None:
    """Known or not, and with a cursor of their own: no position of others is shown."""

    async def scenario() -> None:
        log, state = await stored(*talk(1), enter(CAT))
        for who, last in ((CAT, 5), (DAN, 0)):
            assert await page_after(log, state, who, 0, PageLimits(10)) == Page([], 0)
            assert await newest_page(log, state, who, PageLimits(10)) == Page([], last)

    run(scenario)


def test_the_newest_page_ends_with_the_last_event() -> None:
    """The last few, ascending."""

    async def scenario() -> None:
        log, state = await stored(*talk(9), enter(CAT))
        page = await newest_page(log, state, BOB, PageLimits(3))
        assert words(page) == ["word 6", "word 7", "word 8"]
        assert (page.cursor, page.missed) == (state.position - 1, False)

    run(scenario)


def test_what_an_inbox_has_forgotten_is_found_in_the_log() -> None:
    """However long ago it was: the index is a shortcut, the log is the truth."""

    async def scenario() -> None:
        log, state = await stored(*talk(3 * CHUNK))
        assert state.inboxes[BOB].dropped_through > CHUNK
        page = await page_after(log, state, BOB, 0, PageLimits(1_000))
        assert cursors(page) == list(range(3, state.position + 1))
        assert not page.missed
        page = await page_after(log, state, BOB, 10, PageLimits(3))
        assert (cursors(page), page.cursor, page.missed) == ([11, 12, 13], 13, False)

    run(scenario)


def test_a_long_way_through_the_log_lets_others_have_their_turn() -> None:
    """It goes in steps, and gives way after each."""

    async def scenario() -> None:
        log, state = await stored(*talk(2_500))
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await settle(1)

        busy = asyncio.ensure_future(other())
        page = await page_after(log, state, BOB, 0, PageLimits(5_000, 10_000_000))
        busy.cancel()
        assert len(page.events) == SCAN_COMMITS_MAX - 2
        assert 2 <= turns < 100, "as soon as the others have had theirs, it goes on"

    run(scenario)


async def compacted(log: MemoryLog, through: int) -> None:
    """Forget the log's commits up to a position."""
    base = await log.newest_snapshot()
    start = base.state if base is not None else INITIAL_STATE
    state = fold(await log.read(start.position, through - start.position), start)
    await log.compact(Snapshot(state.tip, state))


def test_a_cursor_below_the_base_gives_what_is_left() -> None:
    """The page says that something was missed."""

    async def scenario() -> None:
        log, state = await stored(*talk(10))
        await compacted(log, 8)
        page = await page_after(log, state, BOB, 0, PageLimits(100))
        assert (cursors(page), page.cursor, page.missed) == ([9, 10, 11, 12, 13], 13, True)
        page = await page_after(log, state, BOB, 8, PageLimits(100))
        assert (cursors(page), page.cursor, page.missed) == ([9, 10, 11, 12, 13], 13, False)
        page = await page_after(log, state, BOB, 8, PageLimits(2))
        assert (cursors(page), page.cursor, page.missed) == ([9, 10], 10, False)

    run(scenario)


def test_what_is_gone_takes_no_room_on_a_page() -> None:
    """A page is as full as ever, however much was trimmed."""

    async def scenario() -> None:
        log, state = await stored(*talk(10))
        await compacted(log, 8)
        page = await page_after(log, state, BOB, 0, PageLimits(2))
        assert (cursors(page), page.cursor, page.missed) == ([9, 10], 10, True)

    run(scenario)


def test_a_newest_page_leaves_out_what_is_gone() -> None:
    """It gives the rest."""

    async def scenario() -> None:
        log, state = await stored(*talk(10))
        await compacted(log, 11)
        page = await newest_page(log, state, BOB, PageLimits(5))
        assert (cursors(page), page.cursor) == ([12, 13], 13)

    run(scenario)


def test_an_inbox_and_the_log_may_both_have_forgotten() -> None:
    """The rest begins at the log's base."""

    async def scenario() -> None:
        log, state = await stored(*talk(3 * CHUNK))
        assert state.inboxes[BOB].dropped_through > 20
        await compacted(log, 20)
        page = await page_after(log, state, BOB, 0, PageLimits(1_000))
        assert (cursors(page), page.missed) == (list(range(21, state.position + 1)), True)
        dropped = state.inboxes[BOB].dropped_through
        await compacted(log, dropped + 5)
        page = await page_after(log, state, BOB, 0, PageLimits(1_000))
        assert (cursors(page), page.missed) == (list(range(dropped + 6, state.position + 1)), True)

    run(scenario)


def test_a_quiet_connection_has_missed_nothing() -> None:
    """Trimmed commits of others do not concern it; for an unknown connection, they may."""

    async def scenario() -> None:
        log, state = await stored(*talk(1, enter(CAT)), *[say(ANN, "more", None, TALK_ROOM)] * 9)
        await compacted(log, state.position - 1)
        assert await page_after(log, state, CAT, 5, PageLimits(10)) == Page([], 5, missed=False)
        assert await page_after(log, state, DAN, 5, PageLimits(10)) == Page([], 5, missed=True)

    run(scenario)


def test_a_page_is_bounded_in_bytes() -> None:
    """It has fewer events than asked for, but one at least, and the next page goes on from there."""

    async def scenario() -> None:
        log, state = await stored(*talk(50))
        cursor, given_events, pages = 0, list[int](), 0
        while (page := await page_after(log, state, BOB, cursor, PageLimits(500, 2_000))).events:
            assert 1 < len(page.events) < 20
            given_events += cursors(page)
            cursor, pages = page.cursor, pages + 1
        assert given_events == list(range(3, state.position + 1))
        assert pages > 3
        for limit in (1, 200):
            page = await page_after(log, state, BOB, 0, PageLimits(500, limit))
            assert cursors(page) == [3]

    run(scenario)


def test_the_newest_page_is_bounded_in_bytes() -> None:
    """The newest events are on it."""

    async def scenario() -> None:
        log, state = await stored(*talk(50))
        page = await newest_page(log, state, BOB, PageLimits(50, 2_500))
        assert 1 < len(page.events) < 20
        assert cursors(page)[-1] == page.cursor == state.position
        assert cursors(await newest_page(log, state, BOB, PageLimits(50, 1))) == [state.position]

    run(scenario)


def test_a_front_end_says_what_a_notification_takes() -> None:
    """It knows the form of its answers."""

    async def scenario() -> None:
        log, state = await stored(*talk(20))
        page = await page_after(log, state, BOB, 0, PageLimits(500, 50, lambda _: 10))
        assert len(page.events) == 5
        assert len((await newest_page(log, state, BOB, PageLimits(50, 50, lambda _: 10))).events) == 5

    run(scenario)


def test_a_page_goes_through_a_bounded_part_of_the_log() -> None:
    """Beyond the inbox, it stops after a number of commits; the cursor advances, and nothing is left out."""

    async def scenario() -> None:
        others = [enter(CAT), enter(DAN), *[say(CAT, "x", None, RoomId("r_5"))] * (SCAN_COMMITS_MAX + 500)]
        mine = [say(ANN, f"word {n}", None, TALK_ROOM) for n in range(3 * CHUNK)]
        log, state = await stored(*talk(0), *others, *mine)
        page = await page_after(log, state, BOB, 0, PageLimits(500))
        assert (cursors(page), page.cursor, page.is_partial) == ([3], SCAN_COMMITS_MAX, True)
        page = await page_after(log, state, BOB, 3, PageLimits(500))
        assert (cursors(page), page.cursor, page.is_partial) == ([], SCAN_COMMITS_MAX + 3, True)
        page = await page_after(log, state, BOB, page.cursor, PageLimits(500))
        assert (words(page), page.is_partial) == ([f"word {n}" for n in range(3 * CHUNK)], False)
        page = await page_after(log, state, BOB, 0, PageLimits(1))
        assert (cursors(page), page.cursor, page.is_partial) == ([3], 3, False)

    run(scenario)


def test_only_what_an_inbox_has_forgotten_is_scanned_for() -> None:
    """A replay pauses only for such a scan."""

    async def scenario() -> None:
        _, state = await stored(*talk(3 * CHUNK))
        dropped = state.inboxes[BOB].dropped_through
        assert [has_to_scan(state, (BOB, ANN), cursor) for cursor in (dropped - 1, dropped)] == [True, False]
        assert not has_to_scan(state, (ANN,), 0)

    run(scenario)


def test_a_log_that_has_nothing_left_gives_nothing() -> None:
    """Everything up to the tip is in the base."""

    async def scenario() -> None:
        log, state = await stored(*talk(3 * CHUNK))
        await compacted(log, state.position)
        assert await page_after(log, state, BOB, 0, PageLimits(10)) == Page([], state.position, missed=True)

    run(scenario)


def test_a_log_that_is_compacted_while_it_is_read_says_so() -> None:
    """Events trimmed before the read are reported as missed."""

    async def scenario() -> None:
        inner, state = await stored(*talk(10))
        log = FaultyLog(inner)

        async def compact_now() -> None:
            await compacted(inner, 8)

        log.before_read = [compact_now]
        page = await page_after(log, state, BOB, 0, PageLimits(4))
        assert (cursors(page), page.cursor, page.missed) == ([9, 10, 11, 12], 12, True)

    run(scenario)


@pytest.mark.parametrize("cursor", [None, 0, 4])
def test_a_commit_that_can_not_be_read_puts_the_read_off(cursor: int | None) -> None:
    """It is no fault of the program, so no traceback is written; the line says what to do."""

    async def damaged() -> None:
        raise UnusableLogError("the commit at position 4 is missing; restore it from a backup")

    async def scenario() -> None:
        inner, state = await stored(*talk(10))
        log = FaultyLog(inner)
        log.before_read = [damaged]
        limits = PageLimits(4)
        read = newest_page(log, state, BOB, limits) if cursor is None else page_after(log, state, BOB, cursor, limits)
        with pytest.raises(LogUnavailableError, match="position 4 is missing; restore it"):
            await read

    run(scenario)


@settings(deadline=None, max_examples=scaled(60))
@given(st.lists(st.tuples(st.sampled_from([ANN, BOB, CAT, DAN]), st.integers(0, 3)), max_size=60), st.integers(1, 7))
def test_page_by_page_gives_everything_once(script: list[tuple[ConnectionId, int]], limit: int) -> None:
    """Pages of any size are in order, without a gap or a repeat, and have only own events."""
    commits = log_of(AdoptPolicy(Policy(messages_per_10s_max=1_000, queue_commands_per_10s_max=1_000)))
    for who, action in script:
        state = fold(commits)
        place = getattr(state.connections.get(who), "place", None)
        room = getattr(place, "room_id", None)
        if room is None:
            commits += log_of(enter(who), state=state)
        else:
            choices: list[Command] = [say(who, "x", None, room), move_on(who, room), leave(who, room)]
            commits += log_of(choices[action % 3], state=state)

    async def scenario() -> None:
        log, state = MemoryLog(), fold(commits)
        await log.append(commits, expected=fold([]).tip)
        for who in (ANN, BOB, CAT, DAN):
            expected = state.inboxes[who].last(1_000) if who in state.inboxes else []
            cursor, given_events = 0, list[int]()
            for _ in range(len(expected) // limit + 1):
                page = await page_after(log, state, who, cursor, PageLimits(limit))
                given_events += cursors(page)
                assert all(position <= page.cursor for position in cursors(page))
                assert [p for p in expected if cursor < p <= page.cursor] == cursors(page)
                cursor = page.cursor
            assert given_events == expected
            assert cursor == (expected[-1] if expected else 0)

    run(scenario)


async def replayed(
    log: MemoryLog, state: State, who: Sequence[ConnectionId], cursor: int
) -> list[tuple[int, list[ConnectionId]]]:
    """Return the positions of a replay, with their recipients."""
    return [
        (told[0].position, [delivery.connection_id for delivery in told])
        async for told in notifications_after(log, state, who, cursor)
    ]


def test_a_replay_gives_each_position_once_in_order() -> None:
    """Several connections share a stream; within a position they are in ascending order."""

    async def scenario() -> None:
        log, state = await stored(*talk(2), leave(BOB, TALK_ROOM), enter(CAT), enter(DAN))
        assert await replayed(log, state, [BOB, ANN], 0) == [(3, [ANN, BOB]), (4, [BOB]), (5, [BOB]), (6, [ANN])]
        assert await replayed(log, state, [BOB, CAT], 4) == [(5, [BOB]), (8, [CAT])]
        assert await replayed(log, state, [], 0) == []
        assert await replayed(log, state, [ANN], 8) == []

    run(scenario)


def test_within_a_position_names_ascend_whoever_came_first() -> None:
    """A stream that resumes within a position relies on this order."""

    async def scenario() -> None:
        log, state = await stored(enter(BOB), enter(ANN))
        assert await replayed(log, state, [BOB, ANN], 0) == [(2, [ANN, BOB])]

    run(scenario)


def test_a_replay_finds_what_the_inboxes_have_forgotten() -> None:
    """Each position comes once for all listeners together."""

    async def scenario() -> None:
        log, state = await stored(*talk(3 * CHUNK), leave(BOB, TALK_ROOM))
        assert await replayed(log, state, [ANN, BOB], 0) == [
            (3, [ANN, BOB]),
            *((position, [BOB]) for position in range(4, state.position)),
            (state.position, [ANN]),
        ]

    run(scenario)


def test_a_replay_ends_at_the_state_it_was_asked_for() -> None:
    """Later events are heard live."""

    async def scenario() -> None:
        log, _ = await stored(*talk(5))
        early = fold(await log.read(0, 6))
        assert await replayed(log, early, [BOB], 3) == [(4, [BOB]), (5, [BOB]), (6, [BOB])]

    run(scenario)


def test_a_replay_over_the_base_gives_what_is_left() -> None:
    """Below it nothing can be read."""

    async def scenario() -> None:
        log, state = await stored(*talk(5))
        await compacted(log, 6)
        assert await replayed(log, state, [BOB], 0) == [(7, [BOB]), (8, [BOB])]

    run(scenario)


@settings(deadline=None, max_examples=scaled(200))
@given(st.sets(st.integers(1, 5_000)))
def test_reading_goes_in_few_spans_of_bounded_length(positions: set[int]) -> None:
    """The spans cover all wanted positions, do not overlap, and skip wide gaps."""
    wanted = sorted(positions)
    spans = _runs(wanted)
    assert sorted(p for start, end in spans for p in wanted if start <= p <= end) == wanted
    assert all(end - start < 1_000 for start, end in spans)
    assert all(start in positions and end in positions for start, end in spans)
    assert all(before[1] < after[0] for before, after in pairwise(spans))


def test_what_stands_close_together_is_read_at_once() -> None:
    """Positions at most 16 apart are read together, up to 1,000."""
    assert _runs([]) == []
    assert _runs([100, 116]) == [(100, 116)]
    assert _runs([100, 117]) == [(100, 100), (117, 117)]
    assert _runs(range(600, 1_602)) == [(600, 1_599), (1_600, 1_601)]


class ReadLog(MemoryLog):
    """A log that records its reads."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int, int]] = []

    async def read(self, after: int, limit: int) -> Sequence[Commit]:
        """Read, and remember."""
        self.asked.append((after, limit))
        return await super().read(after, limit)


def test_no_more_is_read_than_is_looked_at() -> None:
    """It reads an inbox's positions span by span, and forgotten ones in pieces of 1,000."""

    async def scenario() -> None:
        log, commits = ReadLog(), log_of(*talk(2_500))
        await log.append(commits, expected=EMPTY_TIP)
        state = fold(commits)
        dropped = state.inboxes[BOB].dropped_through
        await page_after(log, state, BOB, state.position - 5, PageLimits(100))
        assert log.asked == [(state.position - 5, 5)]
        log.asked.clear()
        await page_after(log, state, BOB, dropped, PageLimits(100))
        assert log.asked == [(dropped, state.position - dropped)]
        log.asked.clear()
        await page_after(log, state, BOB, dropped - 1_001, PageLimits(10_000, 10_000_000))
        assert log.asked[:2] == [(dropped - 1_001, 1_000), (dropped - 1, 1)]

    run(scenario)
