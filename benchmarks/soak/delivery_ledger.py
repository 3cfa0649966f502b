"""Record of all messages sent and heard, by an observer of all clients: nothing may be lost, doubled or out of order.

A room is settled once both members have heard all that they will hear. Then it must have opened for both, and closed
for exactly one, for a reason given by the other. Each message that was answered `success` must have been heard once.
"""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

from benchmarks.soak.rooms import ChatRoom, Identity, RoomMember, SentMessage
from benchmarks.wire import NotificationParams

PROBLEMS_KEPT: Final = 20
ABSENCES: Final = ("disconnected", "timeout")


class DeliveryLedger:
    """All unsettled rooms, and all problems found."""

    def __init__(self, grace_s: float) -> None:
        """`grace_s`: the shortest time after which an absent client is removed."""
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self.problem_count = 0
        self.gone_names: set[str] = set()
        """Names of those who have vanished for good: they need not hear of anything."""
        self._grace_s = grace_s
        self._rooms: dict[str, ChatRoom] = {}

    @property
    def unsettled(self) -> int:
        """The number of unsettled rooms."""
        return len(self._rooms)

    def problem(self, what: str, *whose: Identity) -> None:
        """Record a problem, with the last actions of the clients concerned."""
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append("\n".join([what, *(line for who in whose for line in who.story())]))

    def found(self, who: Identity, room_id: str, partner: str, cursor: int, *, logged: bool) -> RoomMember:
        """Record that `who` learned of an opening: by a notification (`logged`), or by a result of its own call."""
        room = self._rooms.get(room_id)
        if room is None:
            room = self._rooms[room_id] = ChatRoom(room_id)
            self.counts["rooms"] += 1
        member = room.members.get(who)
        if member is None:
            if len(room.members) > 1:
                self.problem(f"{who.name} was told of {room_id}, which has two members already", who, *room.members)
            member = room.members[who] = who.rooms[room_id] = RoomMember(who, room, partner, cursor)
            if member.other is not None and member.other.closed_at:
                self._judge_closing(member.other, member)  # it was away longer than the room was open
        if (member.partner_name, member.opened_at) != (partner, cursor):
            self.problem(f"{who.name} was told of {room_id} in two ways that differ", who)
        member.notices += logged
        if member.notices > 1:
            self.problem(f"{who.name} was told twice of the opening of {room_id}", who)
        return member

    def says(self, member: RoomMember, text: str) -> SentMessage:
        """Record that `member` is about to send `text`; it sends nothing else before the final answer."""
        said = SentMessage(text, time.perf_counter())
        member.said.append(said)
        return said

    def answered(self, member: RoomMember, said: SentMessage, *, accepted: bool) -> None:
        """Record the final answer: `success`, or that the room is closed."""
        said.accepted = accepted
        self.counts["messages" if accepted else "messages refused"] += 1
        if not accepted and said.heard:
            self.problem(f"{member.who.name} was refused what was heard: {said.text[:40]!r}", member.who)

    def heard(self, who: Identity, told: NotificationParams) -> SentMessage | None:
        """Record a notification to `who`, on a stream or in a page; return the message, if it is one."""
        member = who.rooms.get(told.room_id)
        if told.partner:
            self.found(who, told.room_id, told.partner, told.cursor, logged=True)
        elif member is None:
            self.problem(f"{who.name} hears of {told.room_id}, of whose opening they were not told", who)
        elif member.closed_for:
            self.problem(f"{who.name} hears of {told.room_id} after its closing", who)
        elif told.message is not None:
            return self._message(member, told.message)
        else:
            self._closed(member, told)
        return None

    def _message(self, member: RoomMember, text: str) -> SentMessage | None:
        """Match `text` with the partner's next message, or record a problem; refused messages were never sent."""
        other = member.other
        said = other.said if other is not None else []
        whose = (member.who,) if other is None else (member.who, other.who)
        for index in range(member.heard, len(said)):
            if said[index].text == text:
                said[index].heard = True
                member.heard = index + 1
                return said[index]
            if said[index].accepted is not False:
                break
        if any(one.text == text for one in said[: member.heard]):
            self.problem(f"{member.who.name} heard twice: {text[:40]!r}", *whose)
        elif any(one.text == text for one in said):
            member.heard = next(n for n, one in enumerate(said, 1) if one.text == text)
            said[member.heard - 1].heard = True
            self.problem(f"{member.who.name} heard {text[:40]!r} before what was said first", *whose)
        else:
            self.problem(f"{member.who.name} heard what nobody said: {text[:40]!r}", *whose)
        return None

    def _closed(self, member: RoomMember, told: NotificationParams) -> None:
        """Record the closing of the room by the partner."""
        member.closed_for, member.closed_at = told.reason, told.timestamp
        self.counts[f"rooms closed: {told.reason}"] += 1
        if member.other is not None:
            self._judge_closing(member, member.other)

    def _judge_closing(self, member: RoomMember, other: RoomMember) -> None:
        """Check the reason given to `member` against the acts of `other`."""
        if member.closed_for in ABSENCES:
            is_so = other.who.was_absent(member.closed_at, self._grace_s)
        else:
            is_so = member.closed_for in other.closing
        if not is_so:
            what = f"was told at {member.closed_at} that {other.who.name} is gone: {member.closed_for}, which is not so"
            self.problem(f"{member.who.name} {what}", member.who, other.who)

    def caught_up(self, who: Identity) -> None:
        """Record that `who` has heard all up to now: closed rooms have nothing more to tell it."""
        for member in [member for member in who.rooms.values() if member.is_over]:
            member.settled = True
            other = member.other
            if other is not None and other.settled:
                self._settle(member.room)

    def gone(self, who: Identity) -> None:
        """Record that `who` has left for good, after catching up."""
        for member in who.rooms.values():
            if not member.settled:
                self.problem(f"{who.name} never learned that {member.room.room_id} is closed", who)

    def finish(self) -> None:
        """Settle all rooms: nothing more will be heard."""
        for room in list(self._rooms.values()):
            self._settle(room)

    def _settle(self, room: ChatRoom) -> None:
        del self._rooms[room.room_id]
        whose = tuple(room.members)
        for who in whose:
            del who.rooms[room.room_id]
        for what in self._wrongs(room):
            self.problem(f"{room.room_id}: {what}", *whose)

    def _wrongs(self, room: ChatRoom) -> Iterator[str]:
        members = list(room.members.values())
        if any(name in self.gone_names for member in members for name in (member.who.name, member.partner_name)):
            yield from self._unheard(members)
            return
        if len(members) != 2:
            yield f"{len(members)} were told of its opening"
            return
        for member, other in (members, reversed(members)):
            if member.partner_name != other.who.name:
                yield f"{member.who.name} was told that the other is {member.partner_name!r}"
            if member.needs_notice and not member.notices:
                yield f"{member.who.name} was not notified of its opening"
        yield from self._unheard(members)
        told = [member.who.name for member in members if member.closed_for]
        if len(told) != 1:
            yield f"told of its closing: {' and '.join(told) or 'nobody'}"

    def _unheard(self, members: list[RoomMember]) -> Iterator[str]:
        """Yield what was said and not heard by those who are still there."""
        for member in members:
            other = member.other
            if other is None or member.who.name in self.gone_names:
                continue
            for said in other.said:
                if said.accepted is None and other.who.name not in self.gone_names:
                    yield f"{other.who.name} got no answer to {said.text[:40]!r}"
                elif said.accepted and not said.heard:
                    yield f"LOST: {member.who.name} never heard {said.text[:40]!r}, which was answered success"
