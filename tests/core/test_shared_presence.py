"""Presence across the brokers of one log."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from broker.presence import LOOK_AGAIN_MS
from broker.roster import BEAT_MS, FLUSH_MS, JUDGE_LAG_MS, LEASE_MS, LINGER_MS_MAX
from events.log import LogUnavailableError, UnusableLogError
from tests.support.bench import LENIENT, BrokerBench, two_brokers
from tests.support.fake_clock import FakeClock, settle
from tests.support.logs import FaultyLog, run
from tests.support.people import ANN, BOB, CAT, enter, say

STREAM, QUEUE = LENIENT.stream_grace_ms, LENIENT.idle_grace_queue_ms
JUDGED_WITHIN_MS = JUDGE_LAG_MS + 2 * LOOK_AGAIN_MS


def call(bench: BrokerBench, *who: str) -> None:
    """Begin and end a call of each connection."""
    for one in who:
        with bench.broker.presence.call(one):
            pass


def crash(bench: BrokerBench) -> None:
    """End a broker without a note to the others."""
    link = bench.broker.roster_link
    assert link is not None
    assert link._timer is not None
    assert link._listening is not None
    link._is_stopped = True
    link._timer.cancel()
    link._listening.cancel()
    bench.broker.deadlines.stop()


def test_one_heard_by_another_broker_is_present() -> None:
    """It is present while its stream lasts there, whatever this broker heard; then its grace begins."""

    async def scenario() -> None:
        async with two_brokers() as (clock, here, there):
            await here.do(enter(ANN))
            await settle()
            stream = there.stream(ANN)
            await clock.advance(5 * QUEUE)
            assert here.waits(ANN)
            stream.close()
            await clock.advance(STREAM)
            assert here.waits(ANN)
            await clock.advance(JUDGED_WITHIN_MS)
            assert here.is_idle(ANN)

    run(scenario)


def test_one_that_calls_another_broker_is_present() -> None:
    """Its grace begins with the end of its last call, at any broker."""

    async def scenario() -> None:
        async with two_brokers() as (clock, here, there):
            await here.do(enter(ANN))
            await settle()
            for bench in (there, here, there):
                await clock.advance(QUEUE - 1_000)
                call(bench, ANN)
            await clock.advance(QUEUE)
            assert here.waits(ANN)
            await clock.advance(JUDGED_WITHIN_MS)
            assert here.is_idle(ANN)

    run(scenario)


def test_an_absent_connection_is_taken_out_though_others_write() -> None:
    """Commits of other brokers prolong nobody's grace."""

    async def scenario() -> None:
        async with two_brokers() as (clock, here, there):
            room = await there.pair(BOB, CAT)
            await here.do(enter(ANN))
            for _ in range(QUEUE // 10_000):
                await clock.advance(10_000)
                await there.do(say(BOB, "hello", None, room))
                call(there, BOB, CAT)
                await settle()
            await clock.advance(JUDGED_WITHIN_MS)
            assert here.is_idle(ANN)

    run(scenario)


def test_nobody_absent_is_matched() -> None:
    """A broker takes them out before it matches, also if another is named for it, once three seconds have passed."""

    async def scenario() -> None:
        async with two_brokers() as (clock, here, there):
            await here.do(enter(ANN))
            await settle()
            for bench in (here, there):
                bench.broker.deadlines._set_timer = lambda: None  # no timer fires
            await clock.advance(QUEUE + 3_000)
            await there.do(enter(BOB))
            assert there.waits(BOB)
            assert there.is_idle(ANN)

    run(scenario)


def test_the_people_of_a_lost_broker_have_their_whole_grace() -> None:
    """The grace begins with the last note: it is neither cut short nor endless."""

    async def scenario() -> None:
        async with two_brokers() as (clock, here, there):
            await here.do(enter(ANN))
            await settle()
            there.stream(ANN)
            await clock.advance(2 * QUEUE)
            crash(there)
            await clock.advance(QUEUE)
            assert here.waits(ANN)
            await clock.advance(BEAT_MS + FLUSH_MS + JUDGED_WITHIN_MS)
            assert here.is_idle(ANN)

    run(scenario)


def test_the_people_of_a_broker_that_ends_have_their_whole_grace() -> None:
    """It says so, and the others take over at once."""

    async def scenario() -> None:
        async with two_brokers() as (clock, here, there):
            await here.do(enter(ANN))
            await settle()
            stream = there.stream(ANN)
            await clock.advance(2 * QUEUE)
            stream.close()
            await there.broker.close()
            await settle()
            assert here.broker.roster is not None
            assert here.broker.roster.brokers == 1
            await clock.advance(STREAM)
            assert here.waits(ANN)
            await clock.advance(JUDGED_WITHIN_MS)
            assert here.is_idle(ANN)

    run(scenario)


def test_while_the_channel_stalls_nobody_is_taken_out() -> None:
    """Others may be heard meanwhile; once it is back and all rows have come, graces end."""

    async def scenario() -> None:
        async with two_brokers() as (clock, here, there):
            channel = here.log.coordination
            assert channel is not None
            await here.do(enter(ANN))
            await settle()
            there.stream(ANN)
            await clock.advance(1_000)
            channel.break_it()
            await clock.advance(5 * QUEUE)
            assert here.waits(ANN)
            channel.mend()
            await clock.advance(5 * QUEUE)
            assert here.waits(ANN)

    run(scenario)


@pytest.mark.parametrize("kind", [LogUnavailableError, UnusableLogError])
def test_a_channel_that_refuses_is_tried_again(kind: type[Exception]) -> None:
    """This holds for a refused right too; after its return, absence is judged again. Each reason is logged once."""

    async def scenario() -> None:
        async with two_brokers() as (clock, here, there):
            channel = here.log.coordination
            assert channel is not None
            await here.do(enter(ANN))
            with capture_logs() as logged:
                for _ in range(2):
                    channel.break_it(kind("the role may not send"))
                    await clock.advance(10_000)
                    channel.mend()
                    await clock.advance(BEAT_MS)
            reasons = [line["reason"] for line in logged if line["event"] == "roster_put_off"]
            assert reasons.count("the role may not send") == 2 * 2  # each broker's, each time
            ends = [line["after_s"] for line in logged if line["event"] == "roster_resumed"]
            assert len(ends) == 2 * 2
            assert set(ends) <= {9, 10, 11, 12}  # beats come at random parts of a second
            stream = there.stream(ANN)
            await clock.advance(5 * QUEUE)
            assert here.waits(ANN)
            stream.close()
            await clock.advance(STREAM + JUDGED_WITHIN_MS)
            assert here.is_idle(ANN)

    run(scenario)


def test_a_broker_that_begins_gives_everyone_a_grace() -> None:
    """The others tell it of their connections, and it judges none before then."""

    async def scenario() -> None:
        clock, logs = FakeClock(), FaultyLog.shared(3)
        first = BrokerBench(logs[0], clock)
        await first.broker.start(LENIENT)
        await first.do(enter(ANN))
        stream = first.stream(ANN)
        await clock.advance(2 * QUEUE)
        second = BrokerBench(logs[1], clock)
        await second.broker.start(LENIENT)
        await clock.advance(LEASE_MS + QUEUE)
        assert second.waits(ANN)
        crash(first)
        stream.close()
        await clock.advance(QUEUE)
        assert second.waits(ANN)
        await clock.advance(BEAT_MS + FLUSH_MS + JUDGED_WITHIN_MS)
        assert second.is_idle(ANN)
        await second.broker.close()

    run(scenario)


def test_one_broker_of_many_is_the_caretaker() -> None:
    """The one with the smallest id; when it ends, another."""

    async def scenario() -> None:
        async with two_brokers() as (clock, here, there):
            rosters = [bench.broker.roster for bench in (here, there)]
            assert sorted(roster.is_caretaker for roster in rosters if roster) == [False, True]
            first, second = (here, there) if here.broker.roster.is_caretaker else (there, here)
            await first.broker.close()
            await clock.advance(BEAT_MS)
            assert second.broker.roster is not None
            assert second.broker.roster.is_caretaker

    run(scenario)


def test_a_client_that_calls_again_and_again_makes_few_notes() -> None:
    """Its end lingers, so it is told of once."""

    async def scenario() -> None:
        async with two_brokers() as (clock, here, there):
            await here.do(enter(ANN))
            await clock.advance(BEAT_MS)
            channel = here.log.coordination
            assert channel is not None
            with here.broker.presence.call(ANN):
                await clock.advance(1_000)
            before = sum(ANN.encode() in note for note in channel.notes)
            for _ in range(20):
                await clock.advance(LINGER_MS_MAX - 1)
                with here.broker.presence.call(ANN):
                    await clock.advance(1_000)
            assert sum(ANN.encode() in note for note in channel.notes) == before
            await settle()
            assert there.broker.roster is not None
            assert there.broker.roster.heard(ANN).is_heard

    run(scenario)
