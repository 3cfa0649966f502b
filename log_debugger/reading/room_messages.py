"""The messages of some rooms, counted in the stored lines; nearly none of these is decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from itertools import islice

from events.ids import Position, RoomId
from log_debugger.reading.iterate import Conversation, Conversations, commit_at, conversations_after
from log_debugger.reading.sources import Source
from projections.persistent_map import Map
from projections.rooms import Room

_SENT = b'"events":[{"type":"message_sent","room_id":"'
_TYPE = b'{"type":"'  # a quote in a text is escaped, so neither stands in one
_UNUSUAL = b"message_sent"


def conversations_counted(source: Source, rooms: Collection[Room], last: Position) -> Map[RoomId, Conversation]:
    """Return the progress of `rooms` at position `last`, at which they are open.

    Raises:
        UnreadableCommitError: a commit can't be decoded.
    """
    if not rooms:
        return Map()
    base = source.base.tip.position
    opened = {room.opened_position for room in rooms}
    known = Conversations(Map({room.room_id: Conversation(None, 0) for room in rooms if room.opened_position <= base}))
    messages: Counter[bytes] = Counter()
    position = max(base, min(opened) - 1)
    for line in islice(source.lines(position), last - position):
        position += 1
        begin = line.find(_SENT) + len(_SENT)
        if begin >= len(_SENT) and line.count(_TYPE) == 2:  # a command, and one event
            messages[line[begin : line.index(b'"', begin)]] += 1
        elif position in opened or _UNUSUAL in line:
            known = conversations_after(known, commit_at(position, line))
    return Map(
        {
            room.room_id: progress._replace(messages=progress.messages + messages[room.room_id.encode()])
            for room in rooms
            if (progress := known.get(room.room_id)) is not None
        }
    )
