"""Timelines: the commits of one connection or one room, with deliveries and explanations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from events.events import Event, RoomClosed, RoomOpened
from events.ids import ConnectionId, Position
from log_debugger.reading.deliveries import Deliveries, NotificationDelivery, deliveries_json
from log_debugger.reading.filters import MATCH_ALL, CommitFilter, concerns
from log_debugger.reading.iterate import Conversations, LogEntry, conversations_in
from log_debugger.reading.operations import Note, Notes, notes_about
from log_debugger.reading.own_acts import OwnAct, own_act
from log_debugger.reading.short_names import ShortNames, shown_id
from log_debugger.reading.sources import Source, Step
from log_debugger.reading.times import clock, span, start_of
from log_debugger.telling.describe import connection_lines, detail_json, place_text, room_lines
from log_debugger.telling.explain import MatchExplanation, explain_match, explanation_lines, no_match_lines
from log_debugger.telling.narrative import count, narrative
from log_debugger.telling.notes import note_json, note_line
from log_debugger.telling.passed_over import passed_over_json
from log_debugger.telling.totals import Totals
from log_debugger.terminal import Terminal, ascii_json
from projections.connections import Chatting, Place, Waiting
from projections.state import State

INDENT = " " * 23


class Timeline:
    """Prints a timeline for people."""

    def __init__(
        self,
        source: Source,
        terminal: Terminal,
        names: ShortNames,
        commit_filter: CommitFilter,
        told: CommitFilter = MATCH_ALL,
    ) -> None:
        self.last = source.tip().position
        self._source, self._line, self._names, self._filter = source, terminal.line, names, commit_filter
        self._told, self._start_ms = told, start_of(source)
        self._deliveries = Deliveries(source, self.last)
        self._totals, self._room_totals = Totals(), Totals()
        self._last_act: OwnAct | None = None  # of the filter's connection
        self._notes = notes_about(source, commit_filter.connection) if told == MATCH_ALL else Notes(())

    def begin(self, base: State) -> None:
        """Print the subject, and its state in the base of a trimmed log."""
        self._line(f"the life of {shown_id(self._filter.connection or self._filter.room or '')}")
        if base.position:
            self._line(f"{trimmed_text(base.position)}, where this was known:")
            for line in self._detail(base, conversations_in(base)):
                self._line(f"  {line}")
        if heading := self._deliveries.heading():
            self._line(heading)

    def commit(self, entry: LogEntry) -> None:
        """Count one commit of the timeline, and print it if it is to be told."""
        step = entry.step
        self._tell_notes(step.commit.position, step.before)
        events, deliveries = self._counted(step)
        self._room_totals.add(step, events, deliveries, None)
        heading = self._heading(step)
        if self._told.matches(step):
            self._tell(entry, events, deliveries, heading)
        if heading:
            self._room_totals = Totals()

    def _tell(
        self, entry: LogEntry, events: Sequence[Event], deliveries: list[NotificationDelivery], heading: str | None
    ) -> None:
        """Print one commit, with the connection's new place after or before it."""
        step = entry.step
        goes_on = isinstance(_place(step.before, self._filter), Waiting | Chatting)
        if heading and not goes_on:
            self._line(f"\n{heading}")
        clock_text = clock(step.commit.at_ms - self._start_ms)
        self._line(
            f"{step.commit.position:>7}  {clock_text}  {narrative(self._names, step, entry.conversations, None)}"
        )
        for line in self._below(step, events, deliveries):
            self._line(INDENT + line)
        if heading and goes_on:
            self._line(f"\n{heading}")

    def end(self, state: State, conversations: Conversations) -> None:
        """Print the totals, and the subject's state at the end."""
        self._tell_notes(self.last + 1, state)
        if state.position == self._source.base.tip.position:
            self._line("\nnothing has happened since")
            return
        base = self._source.base.tip.position
        self._line(f"\nin all, after position {base:,}" if base else "\nin all")
        totals = self._totals
        said = totals.messages_text(self._names, state)
        if self._filter.connection is not None:
            stays = f"{count(totals.stays, 'stay')} in the queue ({span(totals.waited_ms)})"
            self._line(f"  {stays}; {count(totals.rooms, 'room')}; {said}")
        else:
            self._line(f"  {said} in {totals.lasted_text()}")
        for line in self._detail(state, conversations):
            self._line(f"  {line}")

    def _tell_notes(self, position: Position, state: State) -> None:
        """Print the notes about the subject before the commit at `position`."""
        for note in self._notes.before(position):
            if self._is_about(note.record.connection_id, state):
                self._tell_note(note, state)

    def _is_about(self, who: ConnectionId | None, state: State) -> bool:
        """Return whether a note is about the subject; `who` is the refused caller, `None` if it is about the broker.

        The broker counts while a person has a place, and a room's members while it is open.
        """
        if self._filter.room is None:
            return who is not None or isinstance(_place(state, self._filter), Waiting | Chatting)
        room = state.rooms.get(self._filter.room)
        return room is not None and room.is_open and who in (None, room.first, room.second)

    def _tell_note(self, note: Note, state: State) -> None:
        self._line(note_line(self._names, state, note, self._start_ms))

    def _counted(self, step: Step) -> tuple[Sequence[Event], list[NotificationDelivery]]:
        """Add a commit to the totals; return its events about the subject, and their deliveries."""
        events = [event for event in step.commit.events if concerns(event, self._filter)]
        deliveries = self._deliveries.of(step.commit, events)
        self._totals.add(step, events, deliveries, self._filter.connection)
        if self._filter.connection is not None:
            self._last_act = own_act(step.commit, self._filter.connection) or self._last_act
        return events, deliveries

    def _below(self, step: Step, events: Sequence[Event], deliveries: list[NotificationDelivery]) -> Iterator[str]:
        for event in events:
            if isinstance(event, RoomOpened):
                yield from explanation_lines(self._names, step.after, explain_match(step, event))
        yield from no_match_lines(self._names, step)
        yield from self._deliveries.lines(self._names, step.after, step.commit, deliveries)
        closed = any(isinstance(event, RoomClosed) for event in events)
        if closed and self._filter.connection is not None:
            yield f"that was {self._room_totals.messages_text(self._names, step.after)}"

    def _heading(self, step: Step) -> str | None:
        """Return the connection's new place; `None` if it did not move."""
        who = self._filter.connection
        if who is None:
            return None
        was, now = (_place(state, self._filter) for state in (step.before, step.after))
        if now is None or now == was or not isinstance(now, Waiting | Chatting):
            return None
        if isinstance(now, Waiting):
            return place_text(self._names, now)
        room = step.after.rooms.by_id[now.room_id]
        partner = self._names.person(room.partner_of(who), room.partner_name_of(who))
        return f"{place_text(self._names, now)} with {partner}"

    def _detail(self, state: State, conversations: Conversations) -> Iterator[str]:
        if self._filter.connection is not None:
            base = self._source.base.tip.position
            yield from connection_lines(self._names, state, self._filter.connection, self._last_act, base)
        if self._filter.room is not None:
            yield from room_lines(self._names, state, conversations, self._filter.room)


class JsonTimeline(Timeline):
    """Prints a timeline for programs: one ASCII object a commit, then the totals."""

    def begin(self, base: State) -> None:
        """See `Timeline.begin`."""
        if base.position:
            known = detail_json(base, conversations_in(base), self._filter.connection, self._filter.room, None)
            self._line(ascii_json({"base": {"position": base.position} | known}))

    def commit(self, entry: LogEntry) -> None:
        """See `Timeline.commit`."""
        step = entry.step
        self._tell_notes(step.commit.position, step.before)
        events, deliveries = self._counted(step)
        if not self._told.matches(step):
            return
        commit = step.commit
        reasons = [explanation_json(explain_match(step, event)) for event in events if isinstance(event, RoomOpened)]
        self._line(
            ascii_json(
                {
                    "position": commit.position,
                    "at_ms": commit.at_ms,
                    "relative_ms": commit.at_ms - self._start_ms,
                    "story": narrative(self._names, step, entry.conversations, None),
                    "command": commit.command,
                    "events": commit.events,
                    "why": reasons[0] if reasons else None,
                    "told": deliveries_json(deliveries),
                }
            )
        )

    def end(self, state: State, conversations: Conversations) -> None:
        """See `Timeline.end`."""
        self._tell_notes(self.last + 1, state)
        totals = self._totals.to_json()
        detail = detail_json(state, conversations, self._filter.connection, self._filter.room, self._last_act)
        self._line(ascii_json({"totals": totals, "state": {"position": state.position} | detail}))

    def _tell_note(self, note: Note, state: State) -> None:
        self._line(ascii_json(note_json(note)))


def trimmed_text(base: Position) -> str:
    """Return the words for the beginning of a log that was trimmed up to the position `base`."""
    return f"the log was trimmed up to position {base:,}"


def _place(state: State, commit_filter: CommitFilter) -> Place | None:
    known = state.connections.get(commit_filter.connection) if commit_filter.connection is not None else None
    return known.place if known is not None else None


def explanation_json(reason: MatchExplanation) -> dict[str, Any]:
    """Return `reason` as a JSON object."""
    others = [other._asdict() | {"passed_over": passed_over_json(other.passed_over)} for other in reason.others]
    return reason._asdict() | {"others": others, "in_spite_of": passed_over_json(reason.in_spite_of)}
