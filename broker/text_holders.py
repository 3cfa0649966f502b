"""The people and rooms that still need the texts of commits, at a point of the log that moves on.

A person needs the commit by which it entered the queue until it is idle, or enters again. A room needs its opening, its
messages and the notes of its reports until it is closed, and if it was reported, until its reports no longer hold the
evidence. A commit that none of them needs can be redacted.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from events.commit import Commit
from events.events import Event, MessageSent, PartnerReported, QueueEntered, QueueLeft, RoomClosed, RoomOpened
from events.ids import ConnectionId, Position, RoomId

_Holder = ConnectionId | RoomId


class TextHolders:
    """The commits read so far whose texts are not redacted, by their holders.

    Its memory is bounded by the active people, and the open or reported rooms, at that point.
    """

    def __init__(self) -> None:
        self.free_texts: list[Position] = []
        """Commits with a message or a note, which can be redacted."""
        self.free_names: list[Position] = []
        """Commits with names, which can be redacted once the names in the state are forgotten."""
        self._held: dict[_Holder, list[Position]] = {}
        self._holders: dict[Position, int] = {}  # how many; positions ascend
        self._naming: set[Position] = set()
        self._evidence: set[RoomId] = set()  # closed rooms, held by reports

    def take(self, commit: Commit, reported: AbstractSet[RoomId]) -> None:
        """Take the next commit. `reported` are the rooms that reports hold now."""
        has_names = _has_salted_names(commit)
        if has_names:
            self._naming.add(commit.position)
        for event in commit.events:
            for who in _renamed_or_idle(event):
                self._release(who)
            for holder in _holders_of(event, has_names=has_names):
                self._hold(commit.position, holder)
            if isinstance(event, RoomClosed | PartnerReported):  # a reported room is closed, or is by this commit
                self._end(event.room_id, reported)

    def release_evidence(self, reported: AbstractSet[RoomId]) -> None:
        """Release the closed rooms that are not in `reported` any more."""
        for room_id in self._evidence - reported:
            self._evidence.remove(room_id)
            self._release(room_id)

    def first_held(self) -> Position | None:
        """Return the first position that is held; `None` if there is none."""
        return next(iter(self._holders), None)

    def _end(self, room_id: RoomId, reported: AbstractSet[RoomId]) -> None:
        if room_id in reported:
            self._evidence.add(room_id)
        else:
            self._release(room_id)

    def _hold(self, position: Position, holder: _Holder) -> None:
        self._held.setdefault(holder, []).append(position)
        self._holders[position] = self._holders.get(position, 0) + 1

    def _release(self, holder: _Holder) -> None:
        for position in self._held.pop(holder, ()):
            self._holders[position] -= 1
            if not self._holders[position]:
                del self._holders[position]
                is_naming = position in self._naming
                self._naming.discard(position)
                (self.free_names if is_naming else self.free_texts).append(position)


def _renamed_or_idle(event: Event) -> tuple[ConnectionId, ...]:
    """Return the people who need no earlier commit after `event`."""
    if isinstance(event, QueueEntered | QueueLeft):
        return (event.connection_id,)
    return (event.closed_by, event.other) if isinstance(event, RoomClosed) else ()


def _holders_of(event: Event, *, has_names: bool) -> tuple[_Holder, ...]:
    """Return the people and the room that need the texts of `event`; none for one that was redacted."""
    match event:
        case MessageSent(text=str()) | PartnerReported(note=str()):
            return (event.room_id,)
        case QueueEntered():
            return (event.connection_id,) if has_names else ()
        case RoomOpened():
            return (event.room_id,) if has_names else ()  # its members are idle when it closes
        case _:
            return ()


def _has_salted_names(commit: Commit) -> bool:
    """Return whether `commit` has a name that can be redacted, and was not."""
    for event in commit.events:
        if type(event) is QueueEntered and event.salt is not None:
            return True
        if type(event) is RoomOpened and (event.first_salt is not None or event.second_salt is not None):
            return True
    return False
