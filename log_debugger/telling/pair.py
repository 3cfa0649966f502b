"""Two connections side by side: each moment at which they could have met, and why they did or did not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from broker.matching import Seeker
from broker.verification.repetition import is_choice_hidden
from broker.verification.scenario import MAY_MATCH
from events.commit import Commit, Facts
from events.events import Event, PartnerBlocked, PartnerReported, QueueEntered, RoomClosed, RoomOpened
from events.ids import ConnectionId
from log_debugger.reading.filters import MATCH_ALL, CommitFilter
from log_debugger.reading.iterate import Conversations, LogEntry
from log_debugger.reading.short_names import ShortNames, shown_id
from log_debugger.reading.sources import Source, Step
from log_debugger.reading.times import clock, span, start_of
from log_debugger.telling.explain import explain_match, explanation_lines
from log_debugger.telling.narrative import count, narrative, seeker_first
from log_debugger.telling.passed_over import (
    PassedOver,
    not_met_text,
    passed_over_json,
    seeker_in,
    seeker_waiting,
    why_passed_over,
)
from log_debugger.telling.timeline import explanation_json, trimmed_text
from log_debugger.terminal import Terminal, ascii_json
from projections.state import State

INDENT = " " * 23
WAITS_MAX = 5
"""Waits shown of each, if the two never waited at the same time."""

Pair = tuple[ConnectionId, ConnectionId]


class NotMet(NamedTuple):
    """A moment at which both were in search and did not meet."""

    seeker: Seeker
    other: ConnectionId
    met: ConnectionId | None  # by the seeker, instead
    why: PassedOver | None  # `None` if the rules give no reason

    def is_by_interests(self) -> bool:
        """Return whether other interests would have led to another reason."""
        return self.why is None or self.why.reason not in ("blocked", "met", "peer")


class PairTimeline:
    """Prints the moments of a pair for people."""

    def __init__(
        self, source: Source, terminal: Terminal, names: ShortNames, pair: Pair, told: CommitFilter = MATCH_ALL
    ) -> None:
        self.last = source.tip().position
        self._line, self._names, self._pair, self._told = terminal.line, names, pair, told
        self._start_ms = start_of(source)
        self._avoid: dict[ConnectionId, tuple[ConnectionId, ...]] = {}  # by the facts of each one's last search
        self._meetings = self._both_waited_ms = 0
        self._base, self._had_met = 0, False
        self._waits: dict[ConnectionId, list[tuple[int, int | None]]] = {who: [] for who in pair}

    def begin(self, base: State) -> None:
        """Print the pair, and the end of what is gone."""
        self._line(f"why {' and '.join(map(shown_id, self._pair))} met, or did not")
        if base.position:
            self._line(trimmed_text(base.position))
        self._note_base(base)

    def commit(self, entry: LogEntry) -> None:
        """Print one commit, if it is a moment of the pair, and to be told."""
        step = entry.step
        opened = _opened(step.commit)
        opened = opened if opened is not None and self._has(opened) else None
        not_met = self._not_met(step) if opened is None else None
        self._meetings += opened is not None
        is_moment = opened is not None or not_met is not None or any(map(self._has, step.commit.events))
        if is_moment and self._told.matches(step):
            self._print(entry, opened, not_met)
        if self._both_wait(step.before):
            self._both_waited_ms += step.commit.at_ms - step.before.at_ms
        self._note_waits(step.after, step.commit.events)

    def end(self, state: State, conversations: Conversations) -> None:
        """Print how often they met, and for how long both waited."""
        first, second = self._people(state)
        met = f"met {count(self._meetings, 'time')}" if self._meetings else "did not meet"
        waited = (
            f"for {span(self._both_waited_ms)} both waited" if self._both_waited_ms else "they never waited together"
        )
        since = f"after position {self._base:,}, " if self._base else ""
        before = "; they had met before" if self._had_met else ""
        self._line(f"\n{since}{first} and {second} {met}; {waited}{before}")
        for who, waits in self._waits.items() if not (self._meetings or self._both_waited_ms) else ():
            self._line(f"  {self._names.person_in(state, who)} waited {self._waits_text(waits)}")

    def _print(self, entry: LogEntry, opened: RoomOpened | None, not_met: NotMet | None) -> None:
        step, names = entry.step, self._names
        story = narrative(names, step, entry.conversations, None)
        self._line(f"{step.commit.position:>7}  {clock(step.commit.at_ms - self._start_ms)}  {story}")
        for line in explanation_lines(names, step.after, explain_match(step, opened)) if opened is not None else ():
            self._line(INDENT + line)
        if not_met is not None:
            who = partial(names.person_in, step.after)
            text = not_met_text(who, step.before.policy, not_met.seeker, not_met.other, not_met.met, not_met.why)
            if not_met.is_by_interests() and is_choice_hidden(step.before, step.commit):
                text = "interests decided, and some of them are redacted"
            first, second = self._people(step.after)
            self._line(f"{INDENT}{first} and {second} do not meet: {text}")

    def _not_met(self, step: Step) -> NotMet | None:
        """Return the moment in `step`: one sought while the other waited, or both wait from now or until now."""
        before, commit, after = step
        if isinstance(commit.command, MAY_MATCH) and commit.command.connection_id in self._pair:
            who, other = self._pair if commit.command.connection_id == self._pair[0] else reversed(self._pair)
            self._avoid[who] = commit.facts.avoid
            if other not in before.queue.entered:
                return None
            opened = _opened(commit)
            met = seeker_first(commit, opened)[1] if opened is not None else None
            seeker = seeker_in(before, commit, who)
            return NotMet(seeker, other, met, why_passed_over(before, seeker, other, met, commit.facts))
        if self._both_wait(before) == self._both_wait(after):
            return None
        state = before if self._both_wait(before) else after
        who, other = self._pair
        is_avoided = other in self._avoid.get(who, ()) or who in self._avoid.get(other, ())
        facts = Facts(commit.at_ms, avoid=(other,) if is_avoided else ())
        seeker = seeker_waiting(state, who, commit.at_ms)
        return NotMet(seeker, other, None, why_passed_over(state, seeker, other, None, facts))

    def _has(self, event: Event) -> bool:
        """Return whether `event` opens or closes a room of the two, or is a block or a report between them."""
        match event:
            case RoomOpened(first=one, second=other) | RoomClosed(closed_by=one, other=other):
                return {one, other} == set(self._pair)
            case PartnerBlocked(blocker=one, blocked=other) | PartnerReported(reporter=one, reported=other):
                return {one, other} == set(self._pair)
            case _:
                return False

    def _both_wait(self, state: State) -> bool:
        return all(who in state.queue.entered for who in self._pair)

    def _people(self, state: State) -> tuple[str, str]:
        return self._names.person_in(state, self._pair[0]), self._names.person_in(state, self._pair[1])

    def _note_base(self, base: State) -> None:
        self._base, self._had_met = base.position, _had_met(base, self._pair)
        for who, waits in self._waits.items():
            if who in base.queue.entered:
                waits.append((base.connections.by_id[who].waiting_since_ms(), None))

    def _note_waits(self, state: State, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, QueueEntered) and event.connection_id in self._waits:
                self._waits[event.connection_id].append((state.at_ms, None))
        for who, waits in self._waits.items():
            if waits and waits[-1][1] is None and who not in state.queue.entered:
                waits[-1] = waits[-1][0], state.at_ms

    def _waits_text(self, waits: Sequence[tuple[int, int | None]]) -> str:
        start_ms = self._start_ms
        spans = [
            f"from {clock(since - start_ms)} " + (f"to {clock(until - start_ms)}" if until is not None else "on")
            for since, until in waits[:WAITS_MAX]
        ]
        more = f" and {count(len(waits) - WAITS_MAX, 'more time')}" if len(waits) > WAITS_MAX else ""
        return (", ".join(spans) or "never") + more


class JsonPairTimeline(PairTimeline):
    """Prints the moments of a pair for programs: one ASCII object a commit, then the totals."""

    def begin(self, base: State) -> None:
        """See `PairTimeline.begin`."""
        self._note_base(base)
        if base.position:
            self._line(ascii_json({"base": {"position": base.position, "had_met": self._had_met}}))

    def end(self, state: State, conversations: Conversations) -> None:
        """See `PairTimeline.end`."""
        waits = [
            {"connection_id": who, "from_ms": since, "to_ms": until}
            for who, those in self._waits.items()
            for since, until in those
        ]
        totals = {"rooms": self._meetings, "both_waited_ms": self._both_waited_ms, "waits": waits}
        self._line(ascii_json({"totals": totals}))

    def _print(self, entry: LogEntry, opened: RoomOpened | None, not_met: NotMet | None) -> None:
        step, commit = entry.step, entry.step.commit
        self._line(
            ascii_json(
                {
                    "position": commit.position,
                    "at_ms": commit.at_ms,
                    "relative_ms": commit.at_ms - self._start_ms,
                    "story": narrative(self._names, step, entry.conversations, None),
                    "why": explanation_json(explain_match(step, opened)) if opened is not None else None,
                    "why_not": _not_met_json(not_met) if not_met is not None else None,
                }
            )
        )


def _had_met(state: State, pair: Pair) -> bool:
    """Return whether `state` shows that the two have met: by a room that it keeps, or by their last partners.

    Rooms and partners are kept in limited numbers, so two of whom it shows nothing may have met as well.
    """
    one, other = pair
    if any(met.connection_id == other for met in state.connections.partners_of(one)):
        return True
    return any({room.first, room.second} == {one, other} for _, room in state.rooms.by_id.items())


def _opened(commit: Commit) -> RoomOpened | None:
    return next((event for event in commit.events if isinstance(event, RoomOpened)), None)


def _not_met_json(not_met: NotMet) -> dict[str, Any]:
    return {
        "seeker": not_met.seeker.connection_id,
        "other": not_met.other,
        "met": not_met.met,
        "passed_over": passed_over_json(not_met.why),
    }
