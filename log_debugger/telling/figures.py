"""The figures of a log that grows: who waits, who talks, what is refused, how fast it grows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import nlargest
from itertools import islice
from typing import Literal, NamedTuple

from broker.verification.safe_text import safe
from events.ids import Position
from events.log import OperationRecord
from log_debugger.reading.iterate import Conversation, Conversations
from log_debugger.reading.short_names import ShortNames
from log_debugger.reading.times import span, timestamp
from log_debugger.telling.narrative import conversation_text, count, interests_text
from log_debugger.telling.notes import UNKNOWN
from projections.rooms import Room
from projections.state import State

RATE_MS = 60_000
"""The time over which commits a second are counted, as far as looks at the log allow."""
ROUGHLY_MS = 5_000
REFUSALS_MS = 600_000
"""The time of which refusals are counted."""
ROWS_MAX = 50
"""The most rows of a kind; the rest is counted."""


class Subject(NamedTuple):
    """A connection or a room, as `trace` takes it."""

    kind: Literal["connection", "room"]
    id: str


class Row(NamedTuple):
    """One line, a name for it that stays in its section, and the subject that can be traced, if there is one."""

    text: str
    key: str = ""
    subject: Subject | None = None


class Section(NamedTuple):
    """The first of `total` rows under a title."""

    title: str
    rows: Sequence[Row]
    total: int

    def cut(self, rows_max: int) -> Sequence[Row]:
        """Return at most `rows_max` rows, of which the last may tell how many more there are."""
        if self.total <= rows_max:
            return self.rows
        shown = self.rows[: rows_max - 1]
        return [*shown, Row(f"and {self.total - len(shown):,} more")]


class Figures(NamedTuple):
    """What a log tells of one moment."""

    log: str
    at_ms: int
    position: Position
    last_commit_ms: int | None
    waiting: int
    rooms_open: int
    commits_a_second: float
    rate_ms: int  # the time over which these were counted: `RATE_MS`, or longer after an outage
    sections: Sequence[Section]  # the longest waits, the rooms with most messages, the refusals by code
    away: str | None = None  # since when the store is away, and why; the rest is then that of before


def figures_of(
    log: str,
    names: ShortNames,
    state: State,
    conversations: Conversations,
    refused: Sequence[OperationRecord],
    passed: Sequence[tuple[int, Position]],
) -> Figures:
    """Return the figures at the end of `passed`.

    Args:
        log: the log's name.
        names: its short names.
        state: the state after the last commit.
        conversations: the open conversations then.
        refused: the records of refusals, in any order; those of more than `REFUSALS_MS` ago do not count.
        passed: the times of some looks, in Unix ms, and the last positions then; the oldest first.
    """
    (from_ms, from_position), (now_ms, position) = passed[0], passed[-1]
    at_ms = max(now_ms, state.at_ms)  # the clock of a broker may be ahead
    rate_ms = max(1_000, now_ms - from_ms)
    waits = [*_waits(names, state, at_ms)]
    rooms = [*_rooms(names, state, conversations, at_ms)]
    counted = [record for record in refused if record.at_ms > now_ms - REFUSALS_MS]
    refusals, times = [*_refusals(names, state, counted, at_ms)], sum(record.times for record in counted)
    return Figures(
        log,
        at_ms,
        position,
        state.at_ms if position else None,
        len(state.queue),
        state.rooms.open_count,
        1_000 * (position - from_position) / rate_ms,
        rate_ms,
        [
            Section("longest waits" if waits else "nobody waits", waits, len(state.queue)),
            Section("most messages" if rooms else "no room is open", rooms, state.rooms.open_count),
            Section(f"{times:,} refused in the last {REFUSALS_MS // 60_000} minutes", refusals, len(refusals)),
        ],
    )


def head_lines(figures: Figures) -> Iterator[str]:
    """Yield the figures without the sections; the store's absence first."""
    if figures.away is not None:
        yield f"AWAY {figures.away}; the figures are those of before"
    last = figures.last_commit_ms
    when = f", last commit {timestamp(last)} ({span(figures.at_ms - last)} ago)" if last is not None else ", no commit"
    yield safe(figures.log)
    yield f"position {figures.position:,}{when}"
    over = "minute" if abs(figures.rate_ms - RATE_MS) < ROUGHLY_MS else span(figures.rate_ms)
    rate = f"{figures.commits_a_second:.1f} commits a second in the last {over}"
    yield f"{figures.waiting:,} waiting, {count(figures.rooms_open, 'room')} open, {rate}"


def _waits(names: ShortNames, state: State, at_ms: int) -> Iterator[Row]:
    for _, who in islice(state.queue.entries.items(), ROWS_MAX):  # in the order of entry
        known = state.connections.by_id[who]
        since_ms, interests = known.waiting_since_ms(), interests_text(known.interests)
        text = f"{names.person(who, known.display_name)} for {span(at_ms - since_ms)}, since {timestamp(since_ms)}"
        yield Row(f"{text} ({interests})" if interests else text, who, Subject("connection", who))


def _rooms(names: ShortNames, state: State, conversations: Conversations, at_ms: int) -> Iterator[Row]:
    rooms = ((state.rooms.by_id[room_id], conversation) for room_id, conversation in conversations.ongoing.items())
    for room, conversation in nlargest(ROWS_MAX, rooms, key=_messages):
        members = f"{names.person(room.first, room.first_name)} and {names.person(room.second, room.second_name)}"
        text = f"{names.room(room.room_id)} {members}: {conversation_text(conversation, at_ms)}"
        yield Row(text, room.room_id, Subject("room", room.room_id))


def _messages(ongoing: tuple[Room, Conversation]) -> tuple[int, int]:
    """Return a key for the order by messages; of as many, the oldest room is the greatest."""
    room, conversation = ongoing
    return conversation.messages, -room.opened_position


def _refusals(names: ShortNames, state: State, refused: Sequence[OperationRecord], at_ms: int) -> Iterator[Row]:
    """Yield a row for each code, the most frequent first; last those that were too many to note each."""
    by_code: dict[str, list[OperationRecord]] = {}
    for record in refused:
        by_code.setdefault(record.code or "", []).append(record)
    for code, records in sorted(by_code.items(), key=lambda each: (not each[0], -len(each[1]))):
        newest = max(records, key=lambda record: record.at_ms)
        ago, who = f"{span(max(0, at_ms - newest.at_ms))} ago", newest.connection_id
        if not code:
            yield Row(f"{sum(record.times for record in records):,} too many to note each, the last {ago}")
        else:
            caller = names.person_in(state, who) if who is not None else UNKNOWN
            text = f"{len(records):,} {safe(code)}, the last {ago}: {caller} {safe(newest.command or '')}"
            yield Row(text, code, Subject("connection", who) if who is not None else None)
