"""Printing commits, one line each, and the state after them: `replay` and `tail`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from events.ids import ConnectionId, Position
from log_debugger.reading.deliveries import recipients_of
from log_debugger.reading.filters import CommitFilter
from log_debugger.reading.iterate import Conversations, LogEntry
from log_debugger.reading.operations import Note
from log_debugger.reading.own_acts import OwnAct
from log_debugger.reading.short_names import ShortNames
from log_debugger.reading.times import clock
from log_debugger.telling.describe import connection_lines, detail_json, room_lines, state_json, state_lines
from log_debugger.telling.narrative import count, narrative, narrative_line
from log_debugger.telling.notes import note_json, note_line
from log_debugger.terminal import Terminal, ascii_json
from projections.state import State


class _AsStored(msgspec.Struct):
    """The parts of a stored commit that are printed as stored, in any schema version."""

    command: msgspec.Raw
    events: msgspec.Raw
    facts: msgspec.Raw


_decode = msgspec.json.Decoder(_AsStored).decode


class CommitPrinter:
    """Prints a log for people."""

    def __init__(self, terminal: Terminal, names: ShortNames, commit_filter: CommitFilter, start_ms: int) -> None:
        self._line, self._names, self._filter, self._start_ms = terminal.line, names, commit_filter, start_ms

    @property
    def connection(self) -> ConnectionId | None:
        """The connection that `state` describes too."""
        return self._filter.connection

    def base(self, base: State) -> None:
        """Print a summary of the state before the first commit of a trimmed log."""
        rooms = count(base.rooms.open_count, "room")
        self._line(
            f"{base.position:>7}  {clock(base.at_ms - self._start_ms)}  the log begins here: what was before is gone, "
            f"and left {len(base.queue):,} waiting and {rooms} open"
        )

    def commit(self, entry: LogEntry) -> None:
        """Print one commit."""
        self._line(narrative_line(self._names, entry.step, entry.conversations, self._start_ms))

    def notes(self, notes: Iterable[Note], state: State) -> None:
        """Print notes; `state` is the one at their time."""
        for note in notes:
            self._line(note_line(self._names, state, note, self._start_ms))

    def after_commits(self, shown: int) -> None:
        """Print the end of the commits, of which `shown` were printed."""
        if not shown:
            self._line("nothing happened" if self._filter.matches_all else "no commit is like that")
        self._line()

    def state(self, state: State, conversations: Conversations, last_act: OwnAct | None, base: Position) -> None:
        """Print the state after the last commit, and the facts about the filter's connection and room.

        `last_act` is that connection's newest own act after `base`, the position up to which the log is trimmed.
        """
        lines = [*state_lines(self._names, state, conversations, self._start_ms)]
        if self._filter.connection is not None:
            lines += connection_lines(self._names, state, self._filter.connection, last_act, base)
        if self._filter.room is not None:
            lines += room_lines(self._names, state, conversations, self._filter.room)
        for line in lines:
            self._line(line)


class JsonCommitPrinter(CommitPrinter):
    """Prints a log for programs: one ASCII object a line, so typed text can't control a terminal."""

    def base(self, base: State) -> None:
        """See `CommitPrinter.base`."""
        self._object({"base": {"position": base.position, "at_ms": base.at_ms, "commit_id": base.tip.commit_id}})

    def commit(self, entry: LogEntry) -> None:
        """See `CommitPrinter.commit`."""
        commit, stored = entry.step.commit, _decode(entry.line)
        self._object(
            {
                "position": commit.position,
                "at_ms": commit.at_ms,
                "relative_ms": commit.at_ms - self._start_ms,
                "story": narrative(self._names, entry.step, entry.conversations),
                "command": stored.command,
                "facts": stored.facts,
                "events": stored.events,
                "told": [{"connection_id": who, "method": method} for who, method in recipients_of(commit.events)],
            }
        )

    def notes(self, notes: Iterable[Note], state: State) -> None:
        """See `CommitPrinter.notes`."""
        for note in notes:
            self._object(note_json(note))

    def after_commits(self, shown: int) -> None:
        """See `CommitPrinter.after_commits`; programs see the end of the commits by the state."""

    def state(self, state: State, conversations: Conversations, last_act: OwnAct | None, base: Position) -> None:
        """See `CommitPrinter.state`."""
        detail = detail_json(state, conversations, self._filter.connection, self._filter.room, last_act)
        self._object({"state": state_json(state, conversations) | detail})

    def _object(self, value: dict[str, Any]) -> None:
        self._line(ascii_json(value))
