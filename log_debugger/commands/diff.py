"""`chat-broker diff LOG N M`: print the changes between two positions, in either order.

Exit status: 0; 2 if a commit in between can't be read or doesn't follow the one before.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice

from events.ids import ConnectionId
from log_debugger.reading.dumps import LOG_HELP
from log_debugger.reading.short_names import ShortNames, name_in, names_of
from log_debugger.reading.sources import open_source
from log_debugger.reading.times import POSITION_HELP, clock, position_of, span, span_of, start_of
from log_debugger.telling.changes import PlaceChange, QueueChange, RoomChange, StateChanges, changes_between
from log_debugger.telling.describe import ROWS_MAX, JsonObject, place_text, waited_ms
from log_debugger.telling.narrative import count, ordinal
from log_debugger.terminal import Terminal, ascii_json
from projections.connections import Chatting, Place
from projections.state import State


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.add_argument("log", metavar="LOG", help=LOG_HELP)
    parser.add_argument("n", metavar="N", help=POSITION_HELP)
    parser.add_argument("m", metavar="M", help="another, before or after it")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print the changes; return 0.

    Raises:
        UsageError: an argument is no position, or the log does not have it.
        UnreadableCommitError: a commit can't be decoded; the message names its position.
        BrokenChainError: a commit does not follow the one before; the message names its position.
    """
    with closing(open_source(options.log)) as source:
        start_ms = start_of(source)
        n, m = (position_of(text, lambda: span_of(source), source.position_at) for text in (options.n, options.m))
        changes = changes_between(source, n, m)
        if options.json:
            terminal.line(ascii_json(changes_json(changes)))
            return 0
        for line in change_lines(names_of(source), changes, start_ms):
            terminal.line(line)
    return 0


def change_lines(names: ShortNames, changes: StateChanges, start_ms: int) -> Iterator[str]:
    """Yield `changes` as lines.

    `+` marks an item present at the second position only, `-` at the first only, `~` a changed one.
    """
    before, after = changes.before, changes.after
    back = "back " if changes.is_backwards else ""
    commits = count(abs(after.position - before.position), "commit")
    passed = f", {span(abs(after.at_ms - before.at_ms))} {'earlier' if back else 'later'}"
    passed = passed if before.position and after.position else ""
    yield f"from position {before.position:,} {back}to {after.position:,}: {commits}{passed}"
    yield f"  at {_moment(before, start_ms)}, then at {_moment(after, start_ms)}"
    yield _two("queue", f"{len(before.queue):,} waiting", f"{len(after.queue):,} waiting")
    yield from _some(_waiter_text(names, changes, one) for one in changes.queue)
    yield _two("rooms open", f"{before.rooms.open_count:,}", f"{after.rooms.open_count:,}")
    yield from _some(_room_text(names, changes, one) for one in changes.rooms)
    yield _two("connections", f"{len(before.connections):,} known", f"{len(after.connections):,} known")
    yield from _some(_moved_text(names, changes, one) for one in changes.moved)
    yield _two("messages", f"{before.messages_sent:,}", f"{after.messages_sent:,}")
    yield "policy: " + ("changed" if changes.policy else "the same")
    yield from (f"  ~ {field} {was}, then {now}" for field, was, now in changes.policy)


def changes_json(changes: StateChanges) -> JsonObject:
    """Return all of `changes` as a JSON object."""
    before, after = changes.before, changes.after
    return {
        "from": _end_json(before),
        "to": _end_json(after),
        "time_passed_ms": after.at_ms - before.at_ms if before.position and after.position else None,
        "queue": [
            {"change": one.mark, "connection_id": one.connection_id, "place_before": one.was, "place_after": one.now}
            for one in changes.queue
        ],
        "rooms": [_room_json(changes, one) for one in changes.rooms],
        "connections": [
            {
                "change": one.mark,
                "connection_id": one.connection_id,
                "before": _place_json(one.was),
                "after": _place_json(one.now),
            }
            for one in changes.moved
        ],
        "policy": {field: {"before": was, "after": now} for field, was, now in changes.policy},
    }


def _two(what: str, was: str, now: str) -> str:
    return f"{what}: {was}" + (f", then {now}" if now != was else "")


def _moment(state: State, start_ms: int) -> str:
    return clock(state.at_ms - start_ms) if state.position else "the beginning"


def _some(lines: Iterable[str]) -> Iterator[str]:
    lines = iter(lines)
    yield from (f"  {line}" for line in islice(lines, ROWS_MAX))
    rest = sum(1 for _ in lines)
    if rest:
        yield f"  and {rest:,} more; --json has them all"


def _who(names: ShortNames, changes: StateChanges, who: ConnectionId) -> str:
    return names.person(who, name_in(changes.after, who) or name_in(changes.before, who))


def _waiter_text(names: ShortNames, changes: StateChanges, one: QueueChange) -> str:
    who = f"{one.mark} {_who(names, changes, one.connection_id)}"
    if one.was is not None and one.now is not None:
        return f"{who} {ordinal(one.was)}, then {ordinal(one.now)}"
    state, place = (changes.before, one.was) if one.was is not None else (changes.after, one.now)
    assert place is not None
    waited = span(waited_ms(state, one.connection_id))
    if one.was is None:
        return f"{who} {ordinal(place)}, for {waited}"
    known = changes.after.connections.get(one.connection_id)
    now = place_text(names, known.place if known is not None else None)
    return f"{who} was {ordinal(place)}, for {waited}; now {now}"


def _room_text(names: ShortNames, changes: StateChanges, one: RoomChange) -> str:
    first, second = names.person(one.first, one.first_name), names.person(one.second, one.second_name)
    parts = [f"opened at position {one.opened_position:,}"] if one.opened_position else []
    if one.closed_position:
        assert one.closed_by is not None
        by = first if one.closed_by == one.first else second
        parts.append(f"closed at position {one.closed_position:,} by {by} ({one.reason})")
    parts.append(f"{count(one.messages, 'message')} in between")
    return f"{_room_mark(changes, one)} {names.room(one.room_id)} {first} and {second}: {', '.join(parts)}"


def _room_mark(changes: StateChanges, one: RoomChange) -> str:
    """Return the mark of a room; a space if it was open at neither position."""
    was, now = (_is_open(state, one) for state in (changes.before, changes.after))
    return "~" if was and now else "-" if was else "+" if now else " "


def _is_open(state: State, one: RoomChange) -> bool:
    room = state.rooms.get(one.room_id)
    return room is not None and room.is_open


def _moved_text(names: ShortNames, changes: StateChanges, one: PlaceChange) -> str:
    who = f"{one.mark} {_who(names, changes, one.connection_id)}"
    if one.was is None:
        return f"{who} new, {place_text(names, one.now)}"
    if one.now is None:
        gone = "not there yet" if changes.is_backwards else "forgotten"
        return f"{who} was {place_text(names, one.was)}, {gone}"
    return f"{who} was {place_text(names, one.was)}, now {place_text(names, one.now)}"


def _end_json(state: State) -> JsonObject:
    return {
        "position": state.position,
        "at_ms": state.at_ms,
        "waiting": len(state.queue),
        "rooms_open": state.rooms.open_count,
        "connections": len(state.connections),
        "messages": state.messages_sent,
    }


def _room_json(changes: StateChanges, one: RoomChange) -> JsonObject:
    return {
        "change": _room_mark(changes, one).strip() or None,
        "room_id": one.room_id,
        "first": one.first,
        "second": one.second,
        "messages": one.messages,
        "opened_position": one.opened_position,
        "closed_position": one.closed_position,
        "closed_by": one.closed_by,
        "reason": one.reason,
    }


def _place_json(place: Place | None) -> JsonObject | None:
    if place is None:
        return None
    room = {"room_id": place.room_id} if isinstance(place, Chatting) else {}
    return {"place": type(place).__name__.lower()} | room
