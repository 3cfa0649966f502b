"""Presence, by time alone."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from broker.deadlines import Deadlines
from broker.presence import LOOK_AGAIN_MS, Presence
from events.commands import CancelMatch, Disconnect, EnterQueue
from events.commit import Facts, commit_after
from events.events import QueueLeft, RoomClosed, RoomOpened
from events.policy import Policy
from projections.state import State
from tests.support.bench import LENIENT, BrokerBench, with_broker
from tests.support.fake_clock import FakeClock
from tests.support.logs import run, unavailable
from tests.support.people import ANN, BOB, CAT, enter, leave, leave_queue, left, move_on, say
from tests.support.specs import PAST, chatting, state_after, then_also, waiting

STREAM, QUEUE, ROOM = LENIENT.stream_grace_ms, LENIENT.idle_grace_queue_ms, LENIENT.idle_grace_room_ms


@with_broker()
async def test_who_waits_in_silence_is_taken_out(bench: BrokerBench) -> None:
    """After the queue's grace, and not a millisecond before; the reason is `timeout`."""
    await bench.do(enter(ANN))
    await bench.clock.advance(QUEUE - 1)
    assert bench.waits(ANN)
    await bench.clock.advance(1)
    assert bench.is_idle(ANN)
    assert (await bench.events())[-1] == QueueLeft(ANN, "timeout")


@with_broker()
async def test_who_chats_in_silence_is_taken_out_later(bench: BrokerBench) -> None:
    """A room's grace is longer; the silent member closes the room, and only once."""
    room = await bench.pair(ANN, BOB)
    await bench.clock.advance(QUEUE)
    with bench.broker.presence.call(BOB):
        pass
    await bench.clock.advance(ROOM - QUEUE - 1)
    assert not bench.is_idle(ANN)
    await bench.clock.advance(1)
    assert (await bench.events())[-1] == RoomClosed(room, ANN, BOB, "timeout")
    await bench.clock.advance(10 * ROOM)
    assert (await bench.events())[-1] == RoomClosed(room, ANN, BOB, "timeout")


@with_broker()
async def test_an_attended_connection_has_a_grace_of_its_own(bench: BrokerBench) -> None:
    """Its own grace holds in the queue and in a room, in place of the policy's."""
    await bench.do(replace(enter(ANN), idle_grace_ms=7_000))
    await bench.clock.advance(6_999)
    assert bench.waits(ANN)
    await bench.clock.advance(1)
    assert bench.is_idle(ANN)
    room = await bench.pair(ANN, BOB)
    await bench.clock.advance(6_999)
    assert not bench.is_idle(ANN)
    await bench.clock.advance(1)
    assert (await bench.events())[-1] == RoomClosed(room, ANN, BOB, "timeout")


@with_broker()
async def test_who_is_attended_is_known(bench: BrokerBench) -> None:
    """It is false for an unattended or unknown connection; the facade asks before it binds one to a session."""
    await bench.do(replace(enter(ANN), idle_grace_ms=7_000))
    await bench.do(enter(BOB))
    assert [bench.broker.reads.is_attended(who) for who in (ANN, BOB, CAT)] == [True, False, False]


@with_broker()
async def test_an_open_stream_is_presence(bench: BrokerBench) -> None:
    """For as long as it is open; then its own grace runs, and the reason is `disconnected`."""
    await bench.do(enter(ANN))
    stream = bench.stream(ANN)
    await bench.clock.advance(10 * QUEUE)
    assert bench.waits(ANN)
    stream.close()
    await bench.clock.advance(STREAM - 1)
    assert bench.waits(ANN)
    await bench.clock.advance(1)
    assert (await bench.events())[-1] == QueueLeft(ANN, "disconnected")


@with_broker()
async def test_the_last_of_several_streams_counts(bench: BrokerBench) -> None:
    """A single open stream is enough."""
    await bench.do(enter(ANN))
    first, second = bench.stream(ANN), bench.stream(ANN)
    first.close()
    await bench.clock.advance(10 * QUEUE)
    assert bench.waits(ANN)
    second.close()
    await bench.clock.advance(STREAM)
    assert bench.is_idle(ANN)


@with_broker()
async def test_a_call_in_flight_is_presence(bench: BrokerBench) -> None:
    """A wait is a long call; the grace begins at its end."""
    await bench.do(enter(ANN))
    with bench.broker.presence.call(ANN):
        await bench.clock.advance(10 * QUEUE)
        assert bench.waits(ANN)
    await bench.clock.advance(QUEUE - 1)
    assert bench.waits(ANN)
    await bench.clock.advance(1)
    assert (await bench.events())[-1] == QueueLeft(ANN, "timeout")


@with_broker()
async def test_calls_may_overlap(bench: BrokerBench) -> None:
    """The last one to end counts, also when one breaks off."""
    await bench.do(enter(ANN))
    with bench.broker.presence.call(ANN):
        with pytest.raises(RuntimeError), bench.broker.presence.call(ANN):
            raise RuntimeError
        await bench.clock.advance(10 * QUEUE)
        assert bench.waits(ANN)
    await bench.clock.advance(QUEUE)
    assert bench.is_idle(ANN)


@with_broker()
async def test_each_call_puts_the_end_off(bench: BrokerBench) -> None:
    """A connection with regular calls stays."""
    await bench.do(enter(ANN))
    for _ in range(20):
        await bench.clock.advance(QUEUE - 1)
        with bench.broker.presence.call(ANN):
            pass
    assert bench.waits(ANN)
    await bench.clock.advance(QUEUE)
    assert bench.is_idle(ANN)


@with_broker()
async def test_the_later_of_both_graces_holds(bench: BrokerBench) -> None:
    """A stream that closes early in the call's grace changes nothing; a late one prolongs it."""
    for who, closes_after_ms, reason in ((ANN, 10_000, "timeout"), (BOB, QUEUE - 10_000, "disconnected")):
        await bench.do(enter(who))
        stream = bench.stream(who)
        await bench.clock.advance(closes_after_ms)
        stream.close()
        end_ms = max(QUEUE, closes_after_ms + STREAM)
        await bench.clock.advance(end_ms - closes_after_ms - 1)
        assert bench.waits(who)
        await bench.clock.advance(1)
        assert (await bench.events())[-1] == QueueLeft(who, reason)


@with_broker(Policy(stream_grace_ms=30_000, idle_grace_queue_ms=30_000))
async def test_where_both_graces_end_together_it_was_silence(bench: BrokerBench) -> None:
    """The stream's was not the later one."""
    await bench.do(enter(ANN))
    bench.stream(ANN).close()
    await bench.clock.advance(30_000)
    assert (await bench.events())[-1] == QueueLeft(ANN, "timeout")


@with_broker()
async def test_a_match_brings_the_rooms_grace(bench: BrokerBench) -> None:
    """A waiting connection near its timeout is matched, and then has a room's grace from its last call."""
    await bench.do(enter(ANN))
    await bench.clock.advance(QUEUE - 1)
    await bench.do(enter(BOB))
    await bench.clock.advance(ROOM - QUEUE)
    assert not bench.is_idle(ANN)
    await bench.clock.advance(1)
    assert bench.is_idle(ANN)


@with_broker()
async def test_going_back_to_the_queue_brings_the_queues_grace(bench: BrokerBench) -> None:
    """The shorter one, though the longer was set."""
    room = await bench.pair(ANN, BOB)
    await bench.do(move_on(ANN, room))
    await bench.clock.advance(QUEUE)
    assert bench.is_idle(ANN)


@with_broker()
async def test_nobody_past_their_grace_is_matched(bench: BrokerBench) -> None:
    """They are disconnected in the same batch, before the newcomer's search."""
    await bench.do(enter(ANN))
    await bench.clock.advance(QUEUE - 1)
    bench.clock._now_ms += 1  # the deadline has come, and its timer has not rung yet
    await bench.do(enter(BOB))
    assert [type(commit.command) for commit in bench.log.batches[-1]] == [Disconnect, EnterQueue]
    assert not [event for event in await bench.events() if isinstance(event, RoomOpened)]
    assert bench.waits(BOB)


@with_broker()
async def test_a_call_that_ends_in_time_saves_from_that(bench: BrokerBench) -> None:
    """The look before a match sees it."""
    await bench.do(enter(ANN))
    await bench.clock.advance(QUEUE - 1)
    with bench.broker.presence.call(ANN):
        bench.clock._now_ms += 10
        await bench.do(enter(BOB))
    assert bench.place_of(ANN) == bench.place_of(BOB)


@with_broker()
async def test_several_fall_silent_at_once(bench: BrokerBench) -> None:
    """Each is taken out; one commit each."""
    await bench.pair(BOB, CAT)
    await bench.do(enter(ANN))
    await bench.clock.advance(ROOM)
    assert bench.is_idle(ANN)
    assert bench.is_idle(BOB)
    assert bench.is_idle(CAT)


@with_broker()
async def test_who_left_is_not_looked_at_again(bench: BrokerBench) -> None:
    """And nothing of them is kept."""
    await bench.do(enter(ANN))
    await bench.do(leave_queue(ANN))
    room = await bench.pair(BOB, CAT)
    await bench.do(leave(BOB, room))
    assert bench.broker.presence.activities == {}
    before = bench.broker.state.position
    await bench.clock.advance(10 * ROOM)
    assert bench.broker.state.position == before
    assert bench.broker.deadlines._heap == []


@with_broker()
async def test_streams_and_calls_of_the_idle_leave_nothing(bench: BrokerBench) -> None:
    """Presence is about places."""
    with bench.broker.presence.call(ANN):
        stream = bench.stream(ANN, BOB)
    assert ANN in bench.broker.presence.activities
    stream.close()
    assert bench.broker.presence.activities == {}


@with_broker()
async def test_who_is_idle_but_listens_is_remembered_as_present(bench: BrokerBench) -> None:
    """A stream opened before the entry counts."""
    stream = bench.stream(ANN)
    await bench.do(enter(ANN))
    await bench.do(leave_queue(ANN))
    await bench.do(enter(ANN))
    await bench.clock.advance(10 * QUEUE)
    assert bench.waits(ANN)
    stream.close()
    await bench.clock.advance(STREAM)
    assert bench.is_idle(ANN)


@with_broker()
async def test_being_active_does_not_grow_the_heap(bench: BrokerBench) -> None:
    """A call is a note of the time; a connection has a few entries, however long it stays."""
    room = await bench.pair(ANN, BOB)
    for _ in range(500):
        with bench.broker.presence.call(ANN):
            await bench.do(say(ANN, "x", None, room))
        await bench.clock.advance(100)
    assert len(bench.broker.deadlines._heap) <= 4


@with_broker()
async def test_an_end_that_could_not_be_stored_is_asked_for_again(bench: BrokerBench) -> None:
    """The command is repeated until the log is back; then it is carried out."""
    await bench.do(enter(ANN))
    bench.log.before_append = [unavailable] * 10_000
    await bench.clock.advance(QUEUE + 20_000)
    assert bench.waits(ANN)
    bench.log.before_append = []
    await bench.clock.advance(2 * LOOK_AGAIN_MS)
    assert (await bench.events())[-1] == QueueLeft(ANN, "timeout")


@with_broker()
async def test_who_comes_back_meanwhile_stays(bench: BrokerBench) -> None:
    """The disconnect under way finds a newer event of the connection."""
    await bench.do(enter(ANN))
    await bench.do(enter(BOB))
    since = bench.broker.state.connections.by_id[ANN].last_position
    place = bench.place_of(ANN)
    await bench.do(say(ANN, "still here", None, place.room_id))
    assert (await bench.do(Disconnect(ANN, "timeout", since))).commit is None


def test_a_restart_starts_the_graces_anew() -> None:
    """Each connection counts as just heard."""

    async def scenario() -> None:
        before = BrokerBench()
        await before.broker.start(LENIENT)
        await before.do(enter(ANN))
        await before.clock.advance(QUEUE - 1)
        before.broker.deadlines.stop()
        after = BrokerBench(before.log, before.clock)
        await after.broker.start(LENIENT)
        await after.clock.advance(QUEUE - 1)
        assert after.waits(ANN)
        await after.clock.advance(1)
        assert after.is_idle(ANN)

    run(scenario)


def test_a_broker_that_stopped_finds_no_absence() -> None:
    """Its successor will."""

    async def scenario() -> None:
        bench = BrokerBench()
        await bench.broker.start(LENIENT)
        bench.broker.deadlines.stop()
        await bench.do(enter(ANN))
        await bench.clock.advance(10 * QUEUE)
        assert bench.waits(ANN)

    run(scenario)


class Alone:
    """A presence with a constant state, and its commands."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.clock = FakeClock()
        self.deadlines = Deadlines(self.clock)
        self.submitted: list[Disconnect | CancelMatch] = []
        self.presence = Presence(self.clock, self.deadlines, self, self.submitted.append)

    def taken(self) -> list[Disconnect | CancelMatch]:
        """The commands since the last call."""
        taken, self.submitted[:] = list(self.submitted), []
        return taken


def test_the_absent_are_taken_out_again_and_again_until_they_are_gone() -> None:
    """They are submitted at their deadline and each second after it, with the position of the last observation."""

    async def scenario() -> None:
        alone = Alone(state_after(chatting(ANN, BOB), waiting(CAT)))
        alone.presence.start()
        await alone.clock.advance(QUEUE - 1)
        assert alone.taken() == []
        await alone.clock.advance(1)
        assert alone.taken() == [Disconnect(CAT, "timeout", 3)]
        await alone.clock.advance(LOOK_AGAIN_MS)
        assert alone.taken() == [Disconnect(CAT, "timeout", 3)]
        await alone.clock.advance(ROOM - QUEUE - LOOK_AGAIN_MS)
        assert {command.connection_id for command in alone.taken() if isinstance(command, Disconnect)} == {
            ANN,
            BOB,
            CAT,
        }

    run(scenario)


def test_the_absent_are_found_before_the_timer_fires() -> None:
    """Before each match, as the command may have failed or have come too late; nothing is submitted for them then."""

    async def scenario() -> None:
        alone = Alone(state_after(waiting(CAT)))
        alone.presence.start()
        alone.clock._now_ms = QUEUE
        for _ in range(2):
            assert alone.presence.overdue() == [Disconnect(CAT, "timeout", 1)]
        assert alone.taken() == []
        await alone.clock.advance(LOOK_AGAIN_MS)
        assert alone.taken() == [Disconnect(CAT, "timeout", 1)]

    run(scenario)


def test_a_shorter_grace_counts_from_the_end_of_the_call_that_moved() -> None:
    """A call into a place with a shorter grace does not keep the longer one."""

    @with_broker(LENIENT)
    async def scenario(bench: BrokerBench) -> None:
        room = await bench.pair(ANN, BOB)
        with bench.broker.presence.call(ANN):
            await bench.do(move_on(ANN, room))
        await bench.clock.advance(QUEUE - 1)
        assert bench.waits(ANN)
        await bench.clock.advance(1)
        assert bench.is_idle(ANN)

    scenario()


def test_who_has_left_before_anyone_looked_is_no_matter() -> None:
    """A commit of another worker may end a place unknown to this one; and the idle have no grace."""

    async def scenario() -> None:
        state = state_after(waiting(ANN), then_also(left(ANN)), waiting(BOB))
        presence = Alone(state).presence
        presence.observe(commit_after(state.tip, PAST, Facts(0), [left(ANN)]), state)
        assert presence.activities == {}
        presence.start()
        assert set(presence.activities) == {BOB}

    run(scenario)


def test_closing_a_stream_that_was_never_open_is_a_bug() -> None:
    """Streams are counted."""

    async def scenario() -> None:
        presence = Alone(state_after(waiting(ANN))).presence
        presence.start()
        with pytest.raises(AssertionError):
            presence.stream_closed(ANN)

    run(scenario)
