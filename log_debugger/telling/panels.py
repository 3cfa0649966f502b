"""The stepper's panels for one position: the commit, the state after it, and the changes between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from broker.decision import Rejection
from broker.matching import MatchingError
from broker.verification.safe_text import safe_repr
from broker.verification.scenario import connections_in
from events.events import RoomOpened
from events.ids import ConnectionId, RoomId
from log_debugger.reading.decided_again import decide_again, is_reproduced
from log_debugger.reading.deliveries import Deliveries, recipients_of
from log_debugger.reading.filter_fields import rooms_in
from log_debugger.reading.iterate import FOLD_ERRORS, Conversations, conversations_after
from log_debugger.reading.operations import Note
from log_debugger.reading.short_names import ShortNames, name_in
from log_debugger.reading.sources import Step
from log_debugger.reading.times import clock, span
from log_debugger.telling.describe import counts, open_rooms, place_text, policy_text, waited_ms
from log_debugger.telling.explain import explain_match, explanation_lines, no_match_lines
from log_debugger.telling.narrative import conversation_text, interests_text, narrative, ordinal, policy_changes_text
from log_debugger.telling.notes import note_text, since_ms
from projections.rooms import Room
from projections.state import State

ROWS_MAX = 12
NOTES_MAX = 30
STYLES = {"+": "green", "-": "red strike", "~": "yellow"}
INDENT = 3
"""In columns: a mark between two spaces."""


class PanelRow(NamedTuple):
    """One line with its mark: `+` added, `-` removed, `~` changed, a space for the rest."""

    mark: str
    text: str


class PanelSection(NamedTuple):
    """Lines under a title."""

    title: str
    rows: list[PanelRow]


class RenderedPanel:
    """Sections for Rich: continuation lines are indented, and nothing is interpreted as markup."""

    def __init__(self, sections: Sequence[PanelSection]) -> None:
        self._sections = sections

    def __str__(self) -> str:
        """Return all text without wrapping."""
        rows = ([section.title, *(f" {row.mark} {row.text}" for row in section.rows), ""] for section in self._sections)
        return "".join(f"{line}\n" for lines in rows for line in lines)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the wrapped lines (called by Rich)."""
        for section in self._sections:
            yield Text(section.title, style="bold")
            for mark, text in section.rows:
                style = STYLES.get(mark, "")
                lines = Text(text, style).wrap(console, max(1, options.max_width - INDENT))
                for number, line in enumerate(lines):
                    yield Text.assemble(" ", (mark if number == 0 else " ", style), " ", line)
            yield Text()


def commit_sections(
    names: ShortNames, step: Step, conversations: Conversations, deliveries: Deliveries
) -> list[PanelSection]:
    """Return the commit's sections: narrative, match, contents, recipients, and the present decision on its command."""
    commit = step.commit
    stored = f"{commit.commit_id} after {commit.previous_id or 'nothing'}, schema version {commit.schema}"
    told = [f"{_who(names, step, who)} hears {method}" for who, method in recipients_of(commit.events)]
    return [
        PanelSection("what happened", [_plain(narrative(names, step, conversations, None))]),
        *_match_sections(names, step),
        PanelSection("command", [_plain(safe_repr(commit.command))]),
        PanelSection("facts", [_plain(safe_repr(commit.facts))]),
        PanelSection("events", [_plain(safe_repr(event)) for event in commit.events] or [_plain("none")]),
        PanelSection("who is told", [_plain(text) for text in told] or [_plain("nobody")]),
        *_handed_sections(names, step, deliveries),
        PanelSection("decided again", [_decided_again(step)]),
        PanelSection("commit", [_plain(stored)]),
    ]


def note_sections(names: ShortNames, state: State, notes: Sequence[Note], start_ms: int) -> list[PanelSection]:
    """Return the section of `notes`, those between a commit and the next one; nothing if there is none."""
    texts = [f"{clock(since_ms(note, start_ms))} {note_text(names, state, note)}" for note in islice(notes, NOTES_MAX)]
    more = [f"and {len(notes) - NOTES_MAX:,} more; replay has them all"] if len(notes) > NOTES_MAX else []
    return [PanelSection("noted after it", [_plain(text) for text in [*texts, *more]])] if texts else []


def state_sections(names: ShortNames, state: State, conversations: Conversations) -> list[PanelSection]:
    """Return the sections of a state without a commit before it."""
    queue = [_plain(text) for text in _queue(names, state)]
    rooms = [_plain(_room_text(names, state, conversations, room)) for room in open_rooms(state)[:ROWS_MAX]]
    return [
        PanelSection(f"queue: {len(state.queue):,} waiting", queue),
        PanelSection(f"rooms: {state.rooms.open_count:,} open", rooms),
        PanelSection(
            "counts", [_plain(f"{kind.replace('_', ' ')} {number:,}") for kind, number in counts(state).items()]
        ),
        PanelSection("policy", [_plain(policy_text(state.policy))]),
    ]


def changed_sections(names: ShortNames, step: Step, conversations: Conversations) -> list[PanelSection]:
    """Return the sections of the state after `step`, with marks at the changes."""
    before, after = step.before, step.after
    return [
        PanelSection(f"queue: {len(after.queue):,} waiting", _queue_rows(names, step)),
        PanelSection(f"rooms: {after.rooms.open_count:,} open", _room_rows(names, step, conversations)),
        PanelSection("places of those concerned", _place_rows(names, step)),
        PanelSection("counts", _count_rows(before, after)),
        PanelSection("policy", [_policy_row(before, after)]),
    ]


def _plain(text: str) -> PanelRow:
    return PanelRow(" ", text)


def _who(names: ShortNames, step: Step, who: ConnectionId) -> str:
    return names.person(who, name_in(step.after, who) or name_in(step.before, who))


def _match_sections(names: ShortNames, step: Step) -> list[PanelSection]:
    """Return why two met in the commit, or why one entered without meeting another; nothing in most commits."""
    opened = next((event for event in step.commit.events if isinstance(event, RoomOpened)), None)
    try:
        if opened is not None:
            lines = [*explanation_lines(names, step.after, explain_match(step, opened))]
        else:
            lines = [*no_match_lines(names, step)]
    except FOLD_ERRORS:  # no broker made this commit
        return []
    title = "why they met" if opened is not None else "why nobody was met"
    return [PanelSection(title, [_plain(line) for line in lines])] if lines else []


def _handed_sections(names: ShortNames, step: Step, deliveries: Deliveries) -> list[PanelSection]:
    """Return when each notification was handed over; nothing if there was none."""
    notifications = deliveries.of(step.commit, step.commit.events)
    if not notifications:
        return []
    heading = deliveries.heading()
    lines = [heading] if heading is not None else deliveries.lines(names, step.after, step.commit, notifications)
    return [PanelSection("handed over", [_plain(line) for line in lines])]


def _decided_again(step: Step) -> PanelRow:
    try:
        if is_reproduced(step):
            return _plain("the same")
        decision = decide_again(step)
    except MatchingError as error:
        return PanelRow("~", str(error))
    if decision is None:
        return PanelRow("~", "it can't be: the state doesn't have what the command speaks of")
    if isinstance(decision, Rejection):
        return PanelRow("~", f"refused: {decision.code}")
    return PanelRow("~", f"other events: {', '.join(safe_repr(event) for event in decision) or 'none'}")


def _queue_rows(names: ShortNames, step: Step) -> list[PanelRow]:
    before, after = step.before.queue, step.after.queue
    touched = list(dict.fromkeys(connections_in(step.commit)))
    gone = [who for who in touched if who in before.entered and who not in after.entered]
    new = {who for who in touched if who in after.entered and after.entered[who] != before.entered.get(who)}
    rows = [PanelRow("-", f"{before.place_of(who)}. {_who(names, step, who)}") for who in gone]
    heads = [who for _, who in islice(after.entries.items(), ROWS_MAX)]
    rows += [_queue_row(names, step, place, who, is_new=who in new) for place, who in enumerate(heads, 1)]
    rows += [_plain(f"and {len(after) - ROWS_MAX:,} more")] if len(after) > ROWS_MAX else []
    further = [who for who in touched if who in new and who not in heads]
    return rows + [PanelRow("+", _waiter(names, step.after, after.place_of(who), who)) for who in further]


def _queue_row(names: ShortNames, step: Step, place: int, who: ConnectionId, *, is_new: bool) -> PanelRow:
    text = _waiter(names, step.after, place, who)
    if is_new:
        return PanelRow("+", text)
    was = step.before.queue.place_of(who)
    return _plain(text) if was == place else PanelRow("~", f"{text}, was {ordinal(was)}")


def _queue(names: ShortNames, state: State) -> Iterator[str]:
    for number, (_, who) in enumerate(state.queue.entries.items(), 1):
        if number > ROWS_MAX:
            yield f"and {len(state.queue) - ROWS_MAX:,} more"
            return
        yield _waiter(names, state, number, who)


def _waiter(names: ShortNames, state: State, number: int, who: ConnectionId) -> str:
    interests = interests_text(state.connections.by_id[who].interests)
    named = f" ({interests})" if interests else ""
    return f"{number}. {names.person_in(state, who)} for {span(waited_ms(state, who))}{named}"


def _room_rows(names: ShortNames, step: Step, conversations: Conversations) -> list[PanelRow]:
    now = conversations_after(conversations, step.commit)
    touched = list(dict.fromkeys(rooms_in(step.commit)))
    rows = [row for room_id in touched if (row := _touched_room(names, step, now, room_id)) is not None]
    others = [room for room in open_rooms(step.after) if room.room_id not in touched]
    rows += [_plain(_room_text(names, step.after, now, room)) for room in others[:ROWS_MAX]]
    return rows + ([_plain(f"and {len(others) - ROWS_MAX:,} more")] if len(others) > ROWS_MAX else [])


def _touched_room(names: ShortNames, step: Step, now: Conversations, room_id: RoomId) -> PanelRow | None:
    was, room = step.before.rooms.get(room_id), step.after.rooms.get(room_id)
    if room is not None and room.is_open:
        return PanelRow("+" if was is None else "~", _room_text(names, step.after, now, room))
    if was is not None and was.is_open:
        return PanelRow("-", f"{names.room(room_id)} {_members(names, was)}")
    return None


def _room_text(names: ShortNames, state: State, conversations: Conversations, room: Room) -> str:
    talked = conversation_text(conversations.get(room.room_id), state.at_ms)
    return f"{names.room(room.room_id)} {_members(names, room)}: {talked}"


def _members(names: ShortNames, room: Room) -> str:
    return f"{names.person(room.first, room.first_name)} and {names.person(room.second, room.second_name)}"


def _place_rows(names: ShortNames, step: Step) -> list[PanelRow]:
    rows = []
    concerned = [*dict.fromkeys(connections_in(step.commit))]
    for who in concerned[:ROWS_MAX]:
        was, now = step.before.connections.get(who), step.after.connections.get(who)
        places = [place_text(names, known.place if known is not None else None) for known in (was, now)]
        text = f"{_who(names, step, who)} {places[1]}"
        mark = "+" if was is None else "~" if places[0] != places[1] else " "
        rows.append(PanelRow(mark, f"{text}, was {places[0]}" if mark == "~" else text))
    return rows + ([_plain(f"and {len(concerned) - ROWS_MAX:,} more")] if len(concerned) > ROWS_MAX else [])


def _count_rows(before: State, after: State) -> list[PanelRow]:
    rows = []
    for (kind, was), now in zip(counts(before).items(), counts(after).values(), strict=True):
        name = kind.replace("_", " ")
        rows.append(_plain(f"{name} {now:,}") if was == now else PanelRow("~", f"{name} {now:,}, was {was:,}"))
    return rows


def _policy_row(before: State, after: State) -> PanelRow:
    if before.policy != after.policy:
        return PanelRow("~", policy_changes_text(before.policy, after.policy))
    return _plain(policy_text(after.policy))
