"""The reason for being idle, from the commit that caused it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from broker.reads import ReadLimits
from events.commands import AbsenceReason, AdoptPolicy, CancelMatch, Command, Disconnect
from events.ids import POSITION_MAX, ConnectionId, RoomId
from events.log import Snapshot
from events.policy import Policy
from projections.endings import Ending, IdleReason, ending_of
from tests.support.bench import BrokerBench, with_broker
from tests.support.logs import log_of
from tests.support.people import ANN, BOB, CAT, DAN, enter, leave, leave_queue, move_on, say

ROOM = RoomId("r_2")


def gone(who: ConnectionId, reason: AbsenceReason) -> Command:
    """Taken out for being away."""
    return Disconnect(who, reason, POSITION_MAX)


@pytest.mark.parametrize(
    ("command", "own", "partners"),
    [
        (leave(ANN, ROOM), "you_left", "partner_left"),
        (gone(ANN, "timeout"), "you_timed_out", "partner_gone"),
        (gone(ANN, "disconnected"), "you_timed_out", "partner_gone"),
        (move_on(ANN, ROOM), "you_left", "partner_next"),
    ],
)
def test_a_closed_room_has_a_reason_for_each(command: Command, own: IdleReason, partners: IdleReason) -> None:
    """The closer and its partner have different reasons; other connections have none."""
    closed = log_of(enter(BOB), enter(ANN), command)[-1]
    assert ending_of(closed, ANN) == Ending(own, ROOM)
    assert ending_of(closed, BOB) == Ending(partners, ROOM)
    assert ending_of(closed, CAT) is None


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (leave_queue(ANN), "you_left"),
        (gone(ANN, "timeout"), "you_timed_out"),
        (gone(ANN, "disconnected"), "you_timed_out"),
    ],
)
def test_a_wait_without_a_match_has_a_reason(command: Command, reason: IdleReason) -> None:
    """There was no room."""
    left = log_of(enter(ANN), command)[-1]
    assert ending_of(left, ANN) == Ending(reason)
    assert ending_of(left, BOB) is None


def test_a_missed_match_is_a_reason_for_each_who_missed_it() -> None:
    """The partner, which did nothing wrong, was left."""
    policy = AdoptPolicy(Policy(confirm_grace_ms=25_000))
    one = log_of(policy, enter(BOB), enter(ANN), CancelMatch(RoomId("r_3"), (ANN,), is_other_present=True))[-1]
    assert ending_of(one, ANN) == Ending("missed_match", RoomId("r_3"))
    assert ending_of(one, BOB) == Ending("partner_gone", RoomId("r_3"))
    both = log_of(policy, enter(BOB), enter(ANN), CancelMatch(RoomId("r_3"), (ANN, BOB), is_other_present=False))[-1]
    assert {ending_of(both, who) for who in (ANN, BOB)} == {Ending("missed_match", RoomId("r_3"))}
    assert ending_of(both, CAT) is None


@with_broker()
async def test_the_ending_is_read_from_the_log(bench: BrokerBench) -> None:
    """For the idle alone; of an unknown one there is none."""
    room = await bench.pair(ANN, BOB)
    reads = bench.broker.reads
    assert await reads.ending(bench.broker.state, ANN) is None
    await bench.do(leave(BOB, room))
    await bench.do(enter(CAT))
    assert await reads.ending(bench.broker.state, ANN) == Ending("partner_left", room)
    assert await reads.ending(bench.broker.state, BOB) == Ending("you_left", room)
    assert await reads.ending(bench.broker.state, CAT) is None
    assert await reads.ending(bench.broker.state, DAN) is None


@with_broker()
async def test_an_ending_may_be_gone_from_the_log(bench: BrokerBench) -> None:
    """Then nothing is said of it, whether the log goes on or not."""
    room = await bench.pair(ANN, BOB)
    await bench.do(leave(BOB, room))
    for command in (enter(CAT), enter(DAN)):
        state = bench.broker.state
        await bench.log.compact(Snapshot(state.tip, state))
        assert await bench.broker.reads.ending(bench.broker.state, ANN) is None
        await bench.do(command)


@with_broker()
async def test_the_last_room_is_known_also_after_it_closed(bench: BrokerBench) -> None:
    """Wherever its members have gone since; without a room it is where they came from."""
    reads = bench.broker.reads

    async def before(who: ConnectionId) -> int:
        return await reads.before_last_room(bench.broker.state, who)

    entered = (await bench.do(enter(ANN))).state.position
    assert await before(ANN) == entered
    left = (await bench.do(leave_queue(ANN))).state.position
    assert await before(ANN) == left - 1
    room = await bench.pair(ANN, BOB)
    opened = bench.broker.state.position
    await bench.do(say(BOB, "bye", None, room))
    assert (await before(ANN), await before(BOB)) == (opened - 1, opened - 1)
    await bench.do(leave(BOB, room))
    assert (await before(ANN), await before(BOB)) == (opened - 1, opened - 1)
    await bench.do(enter(ANN))
    assert await before(ANN) == opened - 1
    await bench.do(leave_queue(ANN))
    assert await before(ANN) == opened - 1


@with_broker()
async def test_a_last_room_may_be_forgotten(bench: BrokerBench) -> None:
    """The cursor is then just before the last event heard, whether the log has that or not."""
    await bench.do(AdoptPolicy(replace(bench.broker.state.policy, closed_rooms_kept=1)))
    room = await bench.pair(ANN, BOB)
    closed = (await bench.do(leave(BOB, room))).state.position
    other = await bench.pair(CAT, DAN)
    await bench.do(leave(CAT, other))
    reads, state = bench.broker.reads, bench.broker.state
    assert await reads.before_last_room(state, ANN) == closed - 1
    await bench.log.compact(Snapshot(state.tip, state))
    assert await reads.before_last_room(state, ANN) == closed - 1
    await bench.do(enter(CAT))
    assert await reads.before_last_room(bench.broker.state, ANN) == closed - 1


@with_broker()
async def test_reads_are_counted_for_each_connection(bench: BrokerBench) -> None:
    """The limit is a broker's own, in no log."""
    reads = bench.broker.reads
    waits = [reads.retry_after_ms(ANN) for _ in range(ReadLimits().per_10s_max + 1)]
    assert waits == [0] * ReadLimits().per_10s_max + [100]
    assert reads.retry_after_ms(BOB) == 0
    await bench.clock.advance(100)
    assert reads.retry_after_ms(ANN) == 0
