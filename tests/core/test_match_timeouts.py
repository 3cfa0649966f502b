"""Another look at the end of patience: at the right moment, also after a restart, and until it is done."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import structs

from broker.matching import LOOK_AGAIN_MS
from events.commands import AdoptPolicy, BlockPartner, CancelMatch, Command, LeaveRoom, MatchDue, NextPartner
from events.events import QueueEntered, RoomClosed
from events.ids import ConnectionId, RoomId
from events.policy import Policy
from tests.support.bench import LENIENT, BrokerBench, with_broker
from tests.support.fake_clock import FakeClock
from tests.support.logs import FaultyLog, run, unavailable, until
from tests.support.people import ANN, BOB, CAT, DAN, enter, leave_queue

POLICY = Policy(
    matching="interests",
    messages_per_10s_max=1_000,
    queue_commands_per_10s_max=1_000,
    idle_grace_queue_ms=10_000_000,
    idle_grace_room_ms=10_000_000,
)
PATIENCE = POLICY.interest_patience_ms


def met(bench: BrokerBench, one: ConnectionId, other: ConnectionId) -> bool:
    """Return true if the two are in one room."""
    place = bench.place_of(one)
    return place is not None and place == bench.place_of(other) and not bench.waits(one) and not bench.is_idle(one)


@with_broker(POLICY)
async def test_after_patience_one_meets_anyone(bench: BrokerBench) -> None:
    """They meet at that moment and not before, by a command in the log."""
    await bench.do(enter(ANN, "Ann", "go"))
    await bench.clock.advance(5_000)
    await bench.do(enter(BOB, "Bob", "tea"))
    await bench.clock.advance(PATIENCE - 5_001)
    assert bench.waits(ANN)
    await bench.clock.advance(1)
    assert met(bench, ANN, BOB)
    commits = await bench.log.inner.read(0, 100)
    assert commits[-1].command == MatchDue(ANN)
    assert commits[-1].at_ms == commits[1].at_ms + PATIENCE


@with_broker(POLICY)
async def test_who_was_alone_then_is_met_by_whoever_comes(bench: BrokerBench) -> None:
    """No second look is needed."""
    await bench.do(enter(ANN, "Ann", "go"))
    await bench.clock.advance(2 * PATIENCE)
    assert bench.waits(ANN)
    await bench.do(enter(BOB, "Bob", "tea"))
    assert met(bench, ANN, BOB)


@with_broker(POLICY)
async def test_who_left_and_came_back_has_new_patience(bench: BrokerBench) -> None:
    """Patience counts from the present entry."""
    await bench.do(enter(ANN, "Ann", "go"))
    await bench.clock.advance(PATIENCE - 1)
    await bench.do(leave_queue(ANN))
    await bench.do(enter(ANN, "Ann", "go"))
    await bench.do(enter(BOB, "Bob", "tea"))
    await bench.clock.advance(PATIENCE - 1)
    assert bench.waits(ANN)
    await bench.clock.advance(1)
    assert met(bench, ANN, BOB)


@with_broker(POLICY)
async def test_a_look_that_the_log_refused_is_taken_again(bench: BrokerBench) -> None:
    """A slow disk leaves no connection waiting for ever."""
    await bench.do(enter(ANN, "Ann", "go"))
    await bench.do(enter(BOB, "Bob", "tea"))
    bench.log.before_append = [unavailable] * 1_000
    await bench.clock.advance(PATIENCE + POLICY.command_timeout_ms)
    assert bench.waits(ANN)
    bench.log.before_append = []
    await bench.clock.advance(POLICY.command_timeout_ms + 2 * LOOK_AGAIN_MS)
    assert met(bench, ANN, BOB)


@with_broker(Policy(**{name: getattr(POLICY, name) for name in POLICY.__struct_fields__} | {"rooms_open_max": 1}))
async def test_a_look_where_no_room_may_open_is_taken_again(bench: BrokerBench) -> None:
    """They meet after the end of another conversation."""
    await bench.do(enter(CAT, "Cat", "ski"))
    await bench.do(enter(DAN, "Dan", "ski"))
    place = bench.place_of(CAT)
    await bench.do(enter(ANN, "Ann", "go"))
    await bench.do(enter(BOB, "Bob", "tea"))
    await bench.clock.advance(PATIENCE)
    assert bench.waits(ANN)
    await bench.do(LeaveRoom(CAT, RoomId(getattr(place, "room_id", ""))))
    await bench.clock.advance(LOOK_AGAIN_MS)
    assert met(bench, ANN, BOB)


def test_a_restart_keeps_everyones_patience() -> None:
    """Patience counts from the entry in the log, for any process."""

    async def scenario() -> None:
        log, clock = FaultyLog(), FakeClock()
        before = BrokerBench(log, clock)
        await before.broker.start(POLICY)
        await before.do(enter(ANN, "Ann", "go"))
        await clock.advance(4_000)
        await before.do(enter(BOB, "Bob", "tea"))
        before.broker.deadlines.stop()  # like a killed process, it closes nothing
        await clock.advance(1_000)
        after = BrokerBench(log, clock)
        await after.broker.start(POLICY)
        await clock.advance(PATIENCE - 5_001)
        assert after.waits(ANN)
        await clock.advance(1)
        assert met(after, ANN, BOB)
        await after.broker.close()

    run(scenario)


@with_broker(POLICY)
async def test_those_whom_a_change_of_policy_leaves_waiting_are_paired(bench: BrokerBench) -> None:
    """Under first come, first served, no two connections wait."""
    for number in range(5):
        await bench.do(enter(ConnectionId(f"c_{number}"), "X", f"interest {number}"))
    assert len(bench.broker.state.queue) == 5
    await bench.do(AdoptPolicy(LENIENT))
    await bench.clock.advance(0)
    assert len(bench.broker.state.queue) == 1
    assert bench.waits(ConnectionId("c_4"))


@pytest.mark.parametrize("jump_ms", [-3_600_000, 3_600_000])
def test_a_clock_that_is_set_costs_nobody_their_match(jump_ms: int) -> None:
    """They meet when time has come that far."""

    @with_broker(POLICY)
    async def scenario(bench: BrokerBench) -> None:
        await bench.do(enter(ANN, "Ann", "go"))
        bench.clock.jump_wall(jump_ms)
        await bench.do(enter(BOB, "Bob", "tea"))
        await bench.clock.advance(PATIENCE + abs(jump_ms))
        assert met(bench, ANN, BOB)

    scenario()


@with_broker(POLICY)
async def test_a_clock_that_is_set_back_puts_no_match_off_for_as_long(bench: BrokerBench) -> None:
    """Patience goes on meanwhile."""
    await bench.do(enter(ANN, "Ann", "go"))
    bench.clock.jump_wall(-3_600_000)
    await bench.do(enter(BOB, "Bob", "tea"))
    await bench.clock.advance(PATIENCE)
    assert met(bench, ANN, BOB)


@with_broker(POLICY)
async def test_a_clock_that_was_a_day_ahead_for_a_while_puts_no_match_off(bench: BrokerBench) -> None:
    """A connection that entered meanwhile meets as soon as any other."""
    bench.clock.jump_wall(86_400_000)
    await bench.do(enter(ANN, "Ann", "go"))
    bench.clock.jump_wall(-86_400_000)
    await bench.clock.advance(10)
    await bench.do(enter(BOB, "Bob", "tea"))
    await bench.clock.advance(PATIENCE - 11)
    assert not met(bench, ANN, BOB)
    await bench.clock.advance(1)
    assert met(bench, ANN, BOB)


@with_broker(POLICY)
async def test_nobody_is_looked_at_after_the_end(bench: BrokerBench) -> None:
    """A closing broker writes nothing more."""
    await bench.do(enter(ANN, "Ann", "go"))
    await bench.do(enter(BOB, "Bob", "tea"))
    await bench.broker.close()
    await bench.clock.advance(2 * PATIENCE)
    assert bench.waits(ANN)


@with_broker(
    Policy(**{name: getattr(POLICY, name) for name in POLICY.__struct_fields__} | {"idle_grace_queue_ms": PATIENCE + 1})
)
async def test_the_absent_are_gone_before_a_match_that_is_due(bench: BrokerBench) -> None:
    """Though no timer has fired for either, and the match was due first."""
    bench.stream(ANN)
    await bench.do(enter(ANN, "Ann", "go"))
    await bench.do(enter(BOB, "Bob", "tea"))
    bench.clock._now_ms += PATIENCE + 1
    await bench.do(enter(CAT, "Cat", "tea"))
    await bench.clock.advance(0)
    assert bench.is_idle(BOB)
    assert met(bench, ANN, CAT)


@with_broker(Policy(**{name: getattr(POLICY, name) for name in POLICY.__struct_fields__} | {"rooms_open_max": 1}))
async def test_a_second_start_adds_no_second_match(bench: BrokerBench) -> None:
    """A refused match is submitted once a second, however often the timeouts were started."""
    await bench.do(enter(ANN, "Ann", "go"))
    await bench.do(enter(BOB, "Bob", "go"))
    await bench.do(enter(CAT, "Cat", "tea"))
    await bench.do(enter(DAN, "Dan", "art"))
    for _ in range(3):
        bench.broker.match_timeouts.start()
    submitted: list[object] = []
    submit = bench.broker.writer.submit
    bench.broker.writer.submit = lambda command: (submitted.append(command), submit(command))[1]
    await bench.clock.advance(PATIENCE)
    submitted.clear()
    await bench.clock.advance(10 * LOOK_AGAIN_MS)
    assert submitted == [MatchDue(CAT), MatchDue(DAN)] * 10
    assert "chat_broker_rejections_total{" not in bench.broker.metrics.render().decode()


@with_broker(structs.replace(POLICY, rooms_open_max=1, rematch_after_ms=600_000, rematch_patience_ms=20_000))
async def test_a_refused_match_is_submitted_once_a_second_after_every_step(bench: BrokerBench) -> None:
    """The next step of the patience adds no second series, however many refusals came before it."""
    await bench.do(enter(ANN, "Ann", "go"))
    await bench.do(enter(BOB, "Bob", "go"))
    await bench.do(enter(CAT, "Cat", "tea"))
    await bench.do(enter(DAN, "Dan", "art"))
    await bench.clock.advance(20_000)
    submitted = submissions(bench)
    await bench.clock.advance(10 * LOOK_AGAIN_MS)
    assert submitted == [MatchDue(CAT), MatchDue(DAN)] * 10


AGAIN = structs.replace(LENIENT, rematch_after_ms=600_000, rematch_patience_ms=20_000)


def submissions(bench: BrokerBench) -> list[Command]:
    """Return a list of the broker's own commands from now on."""
    submitted: list[Command] = []
    submit = bench.broker.writer.submit
    bench.broker.writer.submit = lambda command: (submitted.append(command), submit(command))[1]
    return submitted


@with_broker(AGAIN)
async def test_two_who_have_met_meet_again_when_both_were_patient(bench: BrokerBench) -> None:
    """They meet at that moment and not before, without another entry."""
    room = await bench.pair(ANN, BOB)
    await bench.do(NextPartner(ANN, room))
    await bench.clock.advance(5_000)
    await bench.do(enter(BOB))
    await bench.clock.advance(19_999)
    assert (bench.waits(ANN), bench.waits(BOB)) == (True, True)
    await bench.clock.advance(1)
    assert met(bench, ANN, BOB)


@with_broker(structs.replace(AGAIN, rematch_patience_ms=500))
async def test_an_entry_stored_after_its_patience_is_matched_at_once(bench: BrokerBench) -> None:
    """A slow append costs no match."""
    room = await bench.pair(ANN, BOB)
    await bench.do(NextPartner(ANN, room))
    stored = asyncio.Event()
    bench.log.before_append = [until(stored)]
    entering = asyncio.ensure_future(bench.do(enter(BOB)))
    await bench.clock.advance(1_000)
    assert bench.is_idle(BOB)
    stored.set()
    await entering
    await bench.clock.advance(0)
    assert met(bench, ANN, BOB)


@with_broker(structs.replace(AGAIN, rematch_patience_ms=0))
async def test_two_who_have_met_meet_again_at_once_without_patience(bench: BrokerBench) -> None:
    """With a patience of 0, they meet again if no other connection waits."""
    room = await bench.pair(ANN, BOB)
    await bench.do(NextPartner(ANN, room))
    await bench.do(enter(BOB))
    assert (bench.waits(ANN), bench.waits(BOB)) == (True, True)
    await bench.clock.advance(1)
    assert met(bench, ANN, BOB)


@with_broker(AGAIN)
async def test_one_who_waits_alone_is_not_asked_for(bench: BrokerBench) -> None:
    """The next newcomer will be."""
    await bench.do(enter(ANN))
    submitted = submissions(bench)
    await bench.clock.advance(60_000)
    assert submitted == []


@with_broker(structs.replace(AGAIN, blocks_per_connection_max=9))
async def test_those_who_may_never_meet_are_asked_for_once_each(bench: BrokerBench) -> None:
    """Their patience ends, and nothing comes of it."""
    room = await bench.pair(ANN, BOB)
    await bench.do(BlockPartner(ANN, room))
    await bench.do(enter(ANN))
    await bench.do(enter(BOB))
    submitted = submissions(bench)
    await bench.clock.advance(60_000)
    assert submitted == [MatchDue(ANN), MatchDue(BOB)]
    assert (bench.waits(ANN), bench.waits(BOB)) == (True, True)


@with_broker(structs.replace(LENIENT, confirm_grace_ms=600_000, requeue_on_missed_match=1))
async def test_one_who_waits_again_meets_those_who_came_meanwhile(bench: BrokerBench) -> None:
    """It meets a later one in a separate commit, as the earlier of the two."""
    room = await bench.pair(ANN, BOB)
    await bench.do(enter(CAT))
    await bench.do(CancelMatch(room, (ANN,), is_other_present=True))
    assert bench.waits(BOB)
    await bench.clock.advance(0)
    assert met(bench, BOB, CAT)
    *_, cancelled, matched = await bench.log.inner.read(0, 100)
    assert [type(event) for event in cancelled.events] == [RoomClosed, QueueEntered]
    assert (matched.command, matched.events[0].first) == (MatchDue(BOB), BOB)


def test_a_match_at_the_start_waits_for_a_clock_that_was_ahead() -> None:
    """The wall clock was ahead when the process began, and was set back at once."""

    async def scenario() -> None:
        log, clock = FaultyLog(), FakeClock()
        before = BrokerBench(log, clock)
        await before.broker.start(POLICY)
        await before.do(enter(ANN, "Ann", "go"))
        await before.do(enter(BOB, "Bob", "tea"))
        before.broker.deadlines.stop()  # like a killed process, it closes nothing
        clock.jump_wall(3_600_000)
        after = BrokerBench(log, clock)
        await after.broker.start(POLICY)
        clock.jump_wall(-3_600_000)
        await clock.advance(PATIENCE - 1)
        assert (after.waits(ANN), after.waits(BOB)) == (True, True)
        await clock.advance(1)
        assert met(after, ANN, BOB)
        await after.broker.close()

    run(scenario)
