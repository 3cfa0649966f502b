"""Descriptions of a state, and of one connection or room in it, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from events.ids import ConnectionId, Position, RoomId
from events.policy import Policy
from events.text import Text, known_interests
from log_debugger.reading.iterate import Conversations
from log_debugger.reading.own_acts import OwnAct
from log_debugger.reading.short_names import ShortNames, name_in, plain_name, shown_id
from log_debugger.reading.times import clock, span, timestamp
from log_debugger.telling.narrative import conversation_text, count, interests_text, ordinal
from projections.connections import Chatting, Place, Waiting
from projections.rate_limit import retry_after_ms
from projections.rooms import Room
from projections.state import State, digest

JsonObject = dict[str, Any]

ROWS_MAX = 50
"""Rows shown of one kind; the rest is counted."""


def state_lines(names: ShortNames, state: State, conversations: Conversations, start_ms: int) -> Iterator[str]:
    """Yield `state` as lines."""
    if state.position:
        yield f"after position {state.position:,}, {timestamp(state.at_ms)} ({clock(state.at_ms - start_ms)}):"
    else:
        yield "at position 0, before anything happened:"
    yield f"  queue        {f'{len(state.queue):,} waiting' if len(state.queue) else 'nobody waits'}"
    yield from _cut(_queue_lines(names, state), len(state.queue))
    closed = f", {state.rooms_closed:,} closed" if state.rooms_closed else ""
    yield f"  rooms        {f'{state.rooms.open_count:,} open' if state.rooms.open_count else 'none is open'}{closed}"
    yield from _cut(_room_lines(names, state, conversations), state.rooms.open_count)
    yield f"  connections  {_counts_text(state)}"
    yield f"  messages     {state.messages_sent:,}"
    yield f"  policy       {policy_text(state.policy)}"
    yield f"  digest       {digest(state)}"


def state_json(state: State, conversations: Conversations) -> JsonObject:
    """Return `state` as a JSON object, with the whole queue and every open room."""
    return {
        "position": state.position,
        "at_ms": state.at_ms,
        "commit_id": state.tip.commit_id,
        "queue": [
            {
                "connection_id": who,
                "display_name": plain_name(state.connections.by_id[who].display_name),
                "interests": list(known_interests(state.connections.by_id[who].interests)),
                "entered_position": entered,
                "waited_ms": waited_ms(state, who),
            }
            for entered, who in state.queue.entries.items()
        ],
        "rooms": [_room_json(state, room, conversations) for room in open_rooms(state)],
        "counts": counts(state),
        "policy": policy_changes(state.policy),
        "digest": digest(state),
    }


def counts(state: State) -> dict[str, int]:
    """Return the number of connections, rooms and messages, by kind."""
    chatting = 2 * state.rooms.open_count
    return {
        "connections": len(state.connections),
        "waiting": len(state.queue),
        "chatting": chatting,
        "idle": len(state.connections.idle),
        "rooms_open": state.rooms.open_count,
        "rooms_closed": state.rooms_closed,
        "messages": state.messages_sent,
    }


def open_rooms(state: State) -> list[Room]:
    """Return the open rooms in the order of opening."""
    rooms = (room for room in state.rooms.by_id.values() if room.is_open)
    return sorted(rooms, key=lambda room: (room.opened_position, room.room_id))


def waited_ms(state: State, who: ConnectionId) -> int:
    """Return the time that `who`, a waiting connection, had waited at the last commit."""
    return state.at_ms - state.connections.by_id[who].waiting_since_ms()


def policy_changes(policy: Policy) -> JsonObject:
    """Return the fields that differ from the policy of an empty log."""
    usual = Policy()
    fields = Policy.__struct_fields__
    return {field: getattr(policy, field) for field in fields if getattr(policy, field) != getattr(usual, field)}


def policy_text(policy: Policy) -> str:
    """Return the fields that differ from the policy of an empty log, in words."""
    changed = policy_changes(policy)
    usual = Policy()
    parts = [f"{field} {value} (instead of {getattr(usual, field)})" for field, value in changed.items()]
    return ", ".join(parts) or "as in an empty log"


def place_text(names: ShortNames, place: Place | None) -> str:
    """Return a connection's place in words."""
    match place:
        case Waiting():
            return "in the queue"
        case Chatting(room_id=room_id):
            return f"in {names.room(room_id)}"
        case None:
            return "unknown"
        case _:
            return "idle"


def connection_lines(
    names: ShortNames, state: State, connection_id: ConnectionId, last_act: OwnAct | None, base: Position
) -> Iterator[str]:
    """Yield the known facts about one connection.

    `last_act` is its newest own act after `base`, the position up to which the log is trimmed.
    """
    known = state.connections.get(connection_id)
    yield f"{names.person_in(state, connection_id)} is {shown_id(connection_id)}"
    if known is None:
        yield f"  not known at position {state.position:,}: not there yet, or forgotten"
        return
    where = place_text(names, known.place)
    if isinstance(known.place, Waiting):
        place = f"{ordinal(state.queue.place_of(connection_id))} of {len(state.queue):,}"
        where += f", {place}, for {span(waited_ms(state, connection_id))}"
    yield f"  place        {where}"
    yield f"  interests    {interests_text(known.interests) or 'none'}"
    if last_act is not None:
        active = f"position {last_act.position:,}, {span(state.at_ms - last_act.at_ms)} before"
    else:
        active = f"position {base:,} or before, which is gone from the log"
    yield f"  last active  {active}"
    inbox = state.inboxes.get(connection_id)
    more = " or more" if inbox is not None and inbox.dropped_through else ""
    yield f"  told         {count(len(inbox) if inbox is not None else 0, 'time')}{more}"
    if known.partners:
        met = (f"{names.person_in(state, one.connection_id)} {span(state.at_ms - one.at_ms)}" for one in known.partners)
        yield f"  met          {', '.join(met)} before"
    if known.blocked:
        yield f"  has blocked  {', '.join(names.person_in(state, one) for one in known.blocked)}"
    message, queue = allowances_ms(state, connection_id)
    yield f"  rate limit   may speak {_soon(message)}, may enter the queue {_soon(queue)}"


def room_lines(names: ShortNames, state: State, conversations: Conversations, room_id: RoomId) -> Iterator[str]:
    """Yield the known facts about one room."""
    room = state.rooms.get(room_id)
    yield f"{names.room(room_id)} is {shown_id(room_id)}"
    if room is None:
        yield f"  not known at position {state.position:,}: not opened yet, or forgotten since it was closed"
        return
    first, second = _members(names, state, room)
    yield f"  members      {first}, who waited longer, and {second}"
    yield f"  opened       position {room.opened_position:,}"
    if room.is_open:
        yield f"  talk         {conversation_text(conversations.get(room_id), state.at_ms)}"
    else:
        yield f"  closed       position {room.closed_position:,}"
    yield f"  message ids  {len(room.newest_ids) + len(room.older_ids):,} remembered"


def allowances_ms(state: State, connection_id: ConnectionId) -> tuple[int, int]:
    """Return the times until a connection may send a message, and until it may enter the queue."""
    known, policy = state.connections.by_id[connection_id], state.policy
    return (
        retry_after_ms(known.messages_spent_until_us, state.at_ms, policy.messages_per_10s_max),
        retry_after_ms(known.queue_spent_until_us, state.at_ms, policy.queue_commands_per_10s_max),
    )


def detail_json(
    state: State,
    conversations: Conversations,
    connection: ConnectionId | None,
    room: RoomId | None,
    last_act: OwnAct | None,
) -> JsonObject:
    """Return the known facts about one connection, one room, or both; `None` for an unknown one.

    `last_act` is the connection's newest own act; `None` if it was trimmed.
    """
    detail: JsonObject = {}
    if connection is not None:
        known = state.connections.get(connection)
        detail["connection"] = (
            None
            if known is None
            else {
                "connection_id": connection,
                "display_name": plain_name(known.display_name),
                "interests": list(known_interests(known.interests)),
                "place": type(known.place).__name__.lower(),
                "room_id": known.place.room_id if isinstance(known.place, Chatting) else None,
                "last_act": last_act._asdict() if last_act is not None else None,
                "met": [one._asdict() for one in known.partners],
                "blocked": known.blocked,
            }
        )
    if room is not None:
        found = state.rooms.get(room)
        detail["room"] = None if found is None else _room_json(state, found, conversations)
    return detail


def _soon(wait_ms: int) -> str:
    return f"in {span(wait_ms)}" if wait_ms else "now"


def _cut(lines: Iterator[str], total: int) -> Iterator[str]:
    for number, line in enumerate(lines):
        if number == ROWS_MAX:
            yield f"    and {total - ROWS_MAX:,} more; --json has them all"
            return
        yield f"    {line}"


def _queue_lines(names: ShortNames, state: State) -> Iterator[str]:
    for number, (entered, who) in enumerate(state.queue.entries.items(), 1):
        known = state.connections.by_id[who]
        interests = interests_text(known.interests)
        named = f", interests {interests}" if interests else ""
        waited = span(waited_ms(state, who))
        yield f"{number}. {names.person(who, known.display_name)} since position {entered:,}, for {waited}{named}"


def _room_lines(names: ShortNames, state: State, conversations: Conversations) -> Iterator[str]:
    for room in open_rooms(state):
        first, second = _members(names, state, room)
        talked = conversation_text(conversations.get(room.room_id), state.at_ms)
        yield f"{names.room(room.room_id)} {first} and {second} since position {room.opened_position:,}: {talked}"


def _members(names: ShortNames, state: State, room: Room) -> tuple[str, str]:
    first, second = _member_names(state, room)
    return names.person(room.first, first), names.person(room.second, second)


def _member_names(state: State, room: Room) -> tuple[Text, Text]:
    """Return the names of the members: their present names if the room, which may forget them, is closed."""
    first, second = room.first_name, room.second_name
    if not room.is_open:
        first, second = name_in(state, room.first) or first, name_in(state, room.second) or second
    return first, second


def _counts_text(state: State) -> str:
    now = counts(state)
    parts = [f"{now[kind]:,} {kind}" for kind in ("waiting", "chatting", "idle") if now[kind]]
    return f"{now['connections']:,} known" + (f": {', '.join(parts)}" if parts else "")


def _room_json(state: State, room: Room, conversations: Conversations) -> JsonObject:
    first_name, second_name = _member_names(state, room)
    conversation = conversations.get(room.room_id)
    return {
        "room_id": room.room_id,
        "first": room.first,
        "second": room.second,
        "first_name": plain_name(first_name),
        "second_name": plain_name(second_name),
        "opened_position": room.opened_position,
        "closed_position": room.closed_position,
        "messages": conversation.messages if conversation is not None else None,
    }
