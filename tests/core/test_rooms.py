"""Rooms: their members, the remembered message ids, and the limits."""

from __future__ import annotations

import pytest

from events.ids import ClientMessageId, RoomId
from events.text import ANONYMOUS
from projections.rooms import Room, Rooms, RoomsMutation
from tests.support.people import ANN, BOB, CAT, ROOM, opened, said


def working_on(rooms: Rooms) -> RoomsMutation:
    """Return a working copy."""
    return RoomsMutation(rooms.by_id.mutate(), rooms.closed.mutate())


def finished(working: RoomsMutation) -> Rooms:
    """Return the resulting rooms."""
    return Rooms(working.by_id.finish(), working.closed.finish())


def one_room() -> Rooms:
    """Return rooms in which Ann and Bob were paired at 2."""
    working = working_on(Rooms())
    working.open(opened(ANN, BOB, ROOM), 2)
    return finished(working)


def test_a_room_is_of_two() -> None:
    """Each member is the other's partner, by the name at the opening."""
    room = one_room().get(ROOM)
    assert room == Room(ROOM, ANN, BOB, "Ann", "Bob", 2)
    assert [room.has(who) for who in (ANN, BOB, CAT)] == [True, True, False]
    assert [room.partner_of(who) for who in (ANN, BOB)] == [BOB, ANN]
    assert [room.partner_name_of(who) for who in (ANN, BOB)] == ["Bob", "Ann"]
    assert room.is_open


@pytest.mark.parametrize("ids_kept", [20, 21, 2, 1])
def test_at_least_the_newest_half_of_the_names_is_remembered(ids_kept: int) -> None:
    """At least the newest half of the ids is remembered, at most all rounded up to even, each with its time."""
    working = working_on(one_room())
    for number in range(1, 3 * ids_kept):
        working.remember(said(ANN, BOB, "hi", f"m{number}"), 100 + number, ids_kept)
        room = working.by_id[ROOM]
        remembered = [n for n in range(1, number + 1) if room.sent_at_ms(ANN, ClientMessageId(f"m{n}")) == 100 + n]
        assert remembered == list(range(number - len(remembered) + 1, number + 1)), "the newest"
        assert min(number, (ids_kept + 1) // 2) <= len(remembered) <= ids_kept + ids_kept % 2


def test_a_name_is_its_senders() -> None:
    """The same id from the other member is another message."""
    working = working_on(one_room())
    working.remember(said(ANN, BOB, "hi", "m1"), 7, 10)
    room = working.by_id[ROOM]
    assert (room.sent_at_ms(ANN, ClientMessageId("m1")), room.sent_at_ms(BOB, ClientMessageId("m1"))) == (7, None)


def test_remembering_changes_nothing_else() -> None:
    """Remembering an id changes no other field."""
    working = working_on(one_room())
    working.close(ROOM, 5, closed_kept=10)
    working.remember(said(ANN, BOB, "hi", "m1"), 7, 10)
    room = working.by_id[ROOM]
    assert (room.room_id, room.first, room.second, room.first_name, room.second_name) == (ROOM, ANN, BOB, "Ann", "Bob")
    assert (room.opened_position, room.closed_position) == (2, 5)


@pytest.mark.parametrize(("closed_kept", "kept"), [(3, [1, 2, 3]), (2, [2, 3]), (1, [3])])
def test_the_rooms_that_closed_last_are_kept(closed_kept: int, kept: list[int]) -> None:
    """The newest closed rooms and every open one are kept."""
    working = working_on(one_room())
    for number in (1, 2, 3):
        working.open(opened(ANN, CAT, RoomId(f"r_{number}")), 10 * number)
        assert working.open_count == 2
        working.close(RoomId(f"r_{number}"), 10 * number + 1, closed_kept)
        assert working.open_count == 1
    rooms = finished(working)
    assert sorted(rooms.by_id) == sorted([ROOM, *(RoomId(f"r_{number}") for number in kept)])
    assert list(rooms.closed.items()) == [(10 * number + 1, RoomId(f"r_{number}")) for number in kept]
    assert rooms.open_count == 1


def test_a_closed_room_can_be_without_names() -> None:
    """Only the given members become nameless in it."""
    working = working_on(one_room())
    working.close(ROOM, 5, 10, (BOB,))
    room = working.by_id[ROOM]
    assert (room.first_name, room.second_name, room.closed_position) == ("Ann", ANONYMOUS, 5)
