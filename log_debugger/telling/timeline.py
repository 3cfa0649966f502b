"""The life of one connection or one room, told commit by commit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from events.events import Event, RoomClosed, RoomOpened
from log_debugger.reading.delivered import Deliveries, Told, told_json
from log_debugger.reading.filters import Wanted, concerns
from log_debugger.reading.iterate import Talks, Walked, talks_of
from log_debugger.reading.names import Names, shown_id
from log_debugger.reading.sources import Source, Step
from log_debugger.reading.times import clock, span, start_of
from log_debugger.recipients import ascii_json
from log_debugger.telling.describe import connection_lines, detail_json, place_text, room_lines
from log_debugger.telling.explain import Why, why, why_lines, why_not_lines
from log_debugger.telling.narrative import count, story
from log_debugger.telling.totals import Tally
from log_debugger.terminal import Terminal
from projections.connections import Chatting, Place, Waiting
from projections.state import State

INDENT = " " * 23


class Life:
    """Tells people."""

    def __init__(self, source: Source, terminal: Terminal, names: Names, wanted: Wanted) -> None:
        self.last = source.tip().position
        self._source, self._line, self._names, self._wanted = source, terminal.line, names, wanted
        self._start_ms = start_of(source)
        self._deliveries = Deliveries(source, self.last)
        self._tally, self._room_tally = Tally(), Tally()

    def begin(self, base: State) -> None:
        """Say whose life it is, and what is known of it where the log begins."""
        self._line(f"the life of {shown_id(self._wanted.connection or self._wanted.room or '')}")
        if base.position:
            self._line(f"what was before position {base.position + 1:,} is gone from the log; there it was:")
            for line in self._detail(base, talks_of(base)):
                self._line(f"  {line}")
        if heading := self._deliveries.heading():
            self._line(heading)

    def commit(self, walked: Walked) -> None:
        """One commit of that life."""
        step = walked.step
        events, told = self._counted(step)
        self._room_tally.add(step, events, told, None)
        heading = self._heading(step)
        goes_on = isinstance(_place(step.before, self._wanted), Waiting | Chatting)
        if heading and not goes_on:
            self._line(f"\n{heading}")
        clock_text = clock(step.commit.at_ms - self._start_ms)
        self._line(f"{step.commit.position:>7}  {clock_text}  {story(self._names, step, walked.talks, None)}")
        for line in self._below(step, events, told):
            self._line(INDENT + line)
        if heading and goes_on:
            self._line(f"\n{heading}")
        if heading:
            self._room_tally = Tally()

    def end(self, state: State, talks: Talks) -> None:
        """What it adds up to, and what there is in the end."""
        if state.position == self._source.base.tip.position:
            self._line("\nnothing has happened since")
            return
        self._line("\nin all")
        tally = self._tally
        said = tally.messages_text(self._names, state)
        if self._wanted.connection is not None:
            stays = f"{count(tally.stays, 'stay')} in the queue ({span(tally.waited_ms)})"
            self._line(f"  {stays}; {count(tally.rooms, 'room')}; {said}")
        else:
            self._line(f"  {said} in {tally.lasted_text()}")
        for line in self._detail(state, talks):
            self._line(f"  {line}")

    def _counted(self, step: Step) -> tuple[Sequence[Event], list[Told]]:
        """The events of a commit that are of this life, and what they told, after they were counted."""
        events = [event for event in step.commit.events if concerns(event, self._wanted)]
        told = self._deliveries.of(step.commit, events)
        self._tally.add(step, events, told, self._wanted.connection)
        return events, told

    def _below(self, step: Step, events: Sequence[Event], told: list[Told]) -> Iterator[str]:
        for event in events:
            if isinstance(event, RoomOpened):
                yield from why_lines(self._names, step.after, why(step, event))
        yield from why_not_lines(step)
        yield from self._deliveries.lines(self._names, step.after, step.commit, told)
        closed = any(isinstance(event, RoomClosed) for event in events)
        if closed and self._wanted.connection is not None:
            yield f"that was {self._room_tally.messages_text(self._names, step.after)}"

    def _heading(self, step: Step) -> str | None:
        """Where they are from here on, if that is somewhere else."""
        who = self._wanted.connection
        if who is None:
            return None
        was, now = (_place(state, self._wanted) for state in (step.before, step.after))
        if now is None or now == was or not isinstance(now, Waiting | Chatting):
            return None
        if isinstance(now, Waiting):
            return place_text(self._names, now)
        room = step.after.rooms.by_id[now.room_id]
        partner = self._names.who(room.partner_of(who), room.partner_name_of(who))
        return f"{place_text(self._names, now)} with {partner}"

    def _detail(self, state: State, talks: Talks) -> Iterator[str]:
        if self._wanted.connection is not None:
            yield from connection_lines(self._names, state, self._wanted.connection)
        if self._wanted.room is not None:
            yield from room_lines(self._names, state, talks, self._wanted.room)


class JsonLife(Life):
    """Tells programs: one object a commit, in ASCII, then what it adds up to."""

    def begin(self, base: State) -> None:
        """See `Life.begin`."""
        if base.position:
            known = detail_json(base, talks_of(base), self._wanted.connection, self._wanted.room)
            self._line(ascii_json({"base": {"position": base.position} | known}))

    def commit(self, walked: Walked) -> None:
        """See `Life.commit`."""
        step = walked.step
        events, told = self._counted(step)
        commit = step.commit
        reasons = [_why_json(why(step, event)) for event in events if isinstance(event, RoomOpened)]
        self._line(
            ascii_json(
                {
                    "position": commit.position,
                    "at_ms": commit.at_ms,
                    "relative_ms": commit.at_ms - self._start_ms,
                    "story": story(self._names, step, walked.talks, None),
                    "command": commit.command,
                    "events": commit.events,
                    "why": reasons[0] if reasons else None,
                    "told": told_json(told),
                }
            )
        )

    def end(self, state: State, talks: Talks) -> None:
        """See `Life.end`."""
        totals = self._tally.to_json()
        detail = detail_json(state, talks, self._wanted.connection, self._wanted.room)
        self._line(ascii_json({"totals": totals, "state": {"position": state.position} | detail}))


def _place(state: State, wanted: Wanted) -> Place | None:
    known = state.connections.get(wanted.connection) if wanted.connection is not None else None
    return known.place if known is not None else None


def _why_json(reason: Why) -> dict[str, Any]:
    return reason._asdict() | {"others": [other._asdict() for other in reason.others]}
