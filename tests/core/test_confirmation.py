"""Matches that one or both members never noticed."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from broker.confirmation import LOOK_AGAIN_MS
from broker.deadlines import Deadlines
from broker.presence import Presence
from broker.roster import FLUSH_MS, JUDGE_LAG_MS, LINGER_MS_MAX
from events.commands import CancelMatch, Disconnect, EnterQueue, MatchDue
from events.events import QueueEntered, QueueEntry, RoomClosed, RoomOpened
from events.ids import ConnectionId
from events.policy import Policy
from projections.connections import Chatting
from projections.state import State
from tests.support.bench import LENIENT, BrokerBench, two_brokers, with_broker
from tests.support.fake_clock import FakeClock, settle
from tests.support.logs import run, unavailable
from tests.support.people import ANN, BOB, CAT, ROOM, closed, enter, entered, leave, opened, said, say
from tests.support.specs import NOON_MS, Step, state_after, then_also, under

GRACE = 25_000
AFTER_RESTART = Policy().idle_grace_queue_ms
JUDGED_WITHIN_MS = JUDGE_LAG_MS + 2 * LOOK_AGAIN_MS
"""The longest time that several brokers take to judge a grace that is over."""

CONFIRMED = replace(LENIENT, confirm_grace_ms=GRACE, requeue_on_missed_match=1)


def call(bench: BrokerBench, *who: ConnectionId) -> None:
    """Begin and end a call of each connection."""
    for one in who:
        with bench.broker.presence.call(one):
            pass


def requeued(who: ConnectionId, position: int, at_ms: int) -> QueueEntered:
    """Return the event of `who` waiting again in its old place."""
    return replace(entered(who), earlier=QueueEntry(position, at_ms))


async def last_events(bench: BrokerBench) -> list[object]:
    """The events of the last commit; a salt is drawn by chance, and left out."""
    (commit,) = await bench.log.inner.read(bench.broker.state.position - 1, 1)
    return [replace(event, salt=None) if isinstance(event, QueueEntered) else event for event in commit.events]


@with_broker(CONFIRMED)
async def test_a_match_that_both_miss_ends_for_both(bench: BrokerBench) -> None:
    """After the grace, and not a millisecond before; neither waits again."""
    room = await bench.pair(ANN, BOB)
    await bench.clock.advance(GRACE - 1)
    assert bench.place_of(ANN) == Chatting(room)
    await bench.clock.advance(1)
    assert await last_events(bench) == [RoomClosed(room, ANN, BOB, "timeout", (ANN, BOB))]
    assert bench.is_idle(ANN)
    assert bench.is_idle(BOB)


@with_broker(CONFIRMED)
async def test_one_who_had_just_come_waits_again_where_it_came(bench: BrokerBench) -> None:
    """The earlier one has missed the match."""
    room = await bench.pair(ANN, BOB)
    call(bench, BOB)
    await bench.clock.advance(GRACE)
    assert await last_events(bench) == [
        RoomClosed(room, ANN, BOB, "timeout", (ANN,), is_other_requeued=True),
        requeued(BOB, 3, NOON_MS),
    ]
    assert bench.is_idle(ANN)
    assert bench.waits(BOB)


@with_broker(CONFIRMED)
async def test_one_who_had_waited_waits_again_from_then_on(bench: BrokerBench) -> None:
    """The newcomer has missed the match."""
    await bench.do(enter(ANN))
    await bench.clock.advance(5_000)
    await bench.do(enter(BOB))
    call(bench, ANN)
    await bench.clock.advance(GRACE)
    _, waits = await last_events(bench)
    assert waits == requeued(ANN, 2, NOON_MS)
    assert bench.is_idle(BOB)


@with_broker(CONFIRMED)
async def test_the_other_meets_one_who_came_later(bench: BrokerBench) -> None:
    """They meet in a commit right after the return."""
    await bench.pair(ANN, BOB)
    call(bench, BOB)
    await bench.clock.advance(10_000)
    await bench.do(enter(CAT))
    await bench.clock.advance(GRACE - 10_000)
    commits = await bench.log.inner.read(bench.broker.state.position - 2, 2)
    assert [type(commit.command) for commit in commits] == [CancelMatch, MatchDue]
    (met,) = commits[1].events
    assert isinstance(met, RoomOpened)
    assert (met.first, met.second) == (BOB, CAT)


@with_broker(CONFIRMED)
async def test_calls_after_the_opening_confirm_a_match(bench: BrokerBench) -> None:
    """Then the room lasts as long as ever, and nothing is kept for it."""
    room = await bench.pair(ANN, BOB)
    await bench.clock.advance(GRACE - 1)
    call(bench, ANN, BOB)
    assert bench.broker.presence.confirmation.unconfirmed == {}
    await bench.clock.advance(10 * GRACE)
    assert bench.place_of(BOB) == Chatting(room)


@with_broker(CONFIRMED)
async def test_a_call_from_before_the_opening_does_not(bench: BrokerBench) -> None:
    """Neither while it is in flight nor by its end."""
    with bench.broker.presence.call(ANN):
        room = await bench.pair(ANN, BOB)
        call(bench, BOB)
        await bench.clock.advance(10_000)
    await bench.clock.advance(GRACE - 10_000)
    assert (await last_events(bench))[0] == RoomClosed(room, ANN, BOB, "timeout", (ANN,), is_other_requeued=True)


@with_broker(CONFIRMED)
async def test_a_frame_that_is_written_confirms_a_match(bench: BrokerBench) -> None:
    """A frame of the opening or of a later event confirms it, sent at once or from the backlog."""
    at_once, later = bench.stream(ANN), bench.stream(BOB)
    running = asyncio.ensure_future(at_once.run())
    await settle()
    room = await bench.pair(ANN, BOB)
    assert set(bench.broker.presence.confirmation.unconfirmed) == {BOB}
    assert await bench.taken(later) != []
    await bench.clock.advance(GRACE)
    assert bench.place_of(BOB) == Chatting(room)
    at_once.end()
    await running


@with_broker(CONFIRMED)
async def test_a_frame_that_is_not_written_does_not(bench: BrokerBench) -> None:
    """A frame in the backlog confirms nothing, and neither does one on a closed connection."""
    bench.stream(ANN)
    lost = bench.stream(BOB)
    bench.client_of(lost).is_lost = True
    room = await bench.pair(ANN, BOB)
    assert await bench.taken(lost) != []
    await bench.clock.advance(GRACE)
    assert await last_events(bench) == [RoomClosed(room, ANN, BOB, "timeout", (ANN, BOB))]


@with_broker(CONFIRMED)
async def test_a_notification_from_before_the_room_does_not(bench: BrokerBench) -> None:
    """A slow stream may still be at an earlier one."""
    await bench.pair(ANN, BOB)
    opened_at, confirmation = bench.broker.state.position, bench.broker.presence.confirmation
    confirmation.told(ANN, opened_at - 1)
    assert ANN in confirmation.unconfirmed
    confirmation.told(ANN, opened_at)
    confirmation.told(BOB, opened_at + 1)
    confirmation.told(CAT, opened_at)
    assert confirmation.unconfirmed == {}


@with_broker(CONFIRMED)
async def test_a_stream_that_is_opened_confirms_a_match(bench: BrokerBench) -> None:
    """A stream opened before the match confirms it only with a frame."""
    bench.stream(BOB)
    room = await bench.pair(ANN, BOB)
    bench.stream(ANN)
    await bench.clock.advance(GRACE)
    assert (await last_events(bench))[0] == RoomClosed(room, BOB, ANN, "timeout", (BOB,), is_other_requeued=True)


@with_broker(CONFIRMED)
async def test_a_room_that_closed_meanwhile_is_no_matter(bench: BrokerBench) -> None:
    """Its members have a whole grace in their next room."""
    room = await bench.pair(ANN, BOB)
    await bench.do(leave(BOB, room))
    assert bench.broker.presence.confirmation.unconfirmed == {}
    await bench.clock.advance(GRACE - 1)
    again = await bench.pair(ANN, CAT)
    await bench.clock.advance(GRACE - 1)
    assert bench.place_of(ANN) == Chatting(again)
    await bench.clock.advance(1)
    assert bench.is_idle(ANN)


@with_broker(LENIENT)
async def test_without_a_grace_every_match_counts(bench: BrokerBench) -> None:
    """The rule is off by default."""
    room = await bench.pair(ANN, BOB)
    assert bench.broker.presence.confirmation.unconfirmed == {}
    await bench.clock.advance(GRACE)
    assert bench.place_of(ANN) == Chatting(room)


@with_broker(CONFIRMED)
async def test_a_newcomer_at_the_last_moment_loses_nothing(bench: BrokerBench) -> None:
    """The grace is over and its timer has not fired yet: the living are matched all the same."""
    await bench.pair(ANN, BOB)
    call(bench, BOB)
    await bench.clock.advance(GRACE - 1)
    bench.clock._now_ms += 1
    await bench.do(enter(CAT))
    await bench.clock.advance(0)
    assert [type(commit.command) for commit in await bench.log.inner.read(3, 10)] == [EnterQueue, CancelMatch, MatchDue]
    assert bench.place_of(BOB) == bench.place_of(CAT)


@with_broker(CONFIRMED)
async def test_a_command_that_could_not_be_stored_comes_again(bench: BrokerBench) -> None:
    """Until the log takes it; no client was refused meanwhile."""
    await bench.pair(ANN, BOB)
    bench.log.before_append = [unavailable] * 10_000
    await bench.clock.advance(GRACE + 20_000)
    assert not bench.is_idle(ANN)
    assert b"chat_broker_rejections_total{" not in bench.broker.metrics.render()
    bench.log.before_append = []
    await bench.clock.advance(2 * LOOK_AGAIN_MS)
    assert bench.is_idle(ANN)


def met() -> list[Step]:
    """Ann and Bob, matched at noon in an unconfirmed room."""
    place = QueueEntry(1, NOON_MS)
    found = replace(opened(ANN, BOB, ROOM), first_entry=place, second_entry=replace(place, position=2))
    return [(entered(ANN),), (entered(BOB), found)]


ALIKE = {"confirm_grace_ms": GRACE, "idle_grace_queue_ms": GRACE}
STRICT = {**ALIKE, "idle_grace_room_ms": 10_000, "stream_grace_ms": 10_000}


class Alone:
    """A presence with a constant state, and its cancelled matches."""

    def __init__(self, state: State, wall_ms: int = NOON_MS) -> None:
        self.state = state
        self.clock = FakeClock(wall_ms)
        self.deadlines = Deadlines(self.clock)
        self.submitted: list[Disconnect | CancelMatch] = []
        self.presence = Presence(self.clock, self.deadlines, self, self.submitted.append)
        self.presence.start()
        self.presence.confirmation.start()

    def cancelled(self) -> list[CancelMatch]:
        """The commands since the last call."""
        cancelled = [command for command in self.submitted if isinstance(command, CancelMatch)]
        self.submitted.clear()
        return cancelled


def test_a_match_is_cancelled_again_and_again_until_it_is_confirmed() -> None:
    """The repeats are a second apart."""

    async def scenario() -> None:
        alone = Alone(state_after(under(**ALIKE), met()))
        await alone.clock.advance(GRACE - 1)
        assert alone.cancelled() == []
        await alone.clock.advance(1)
        assert alone.cancelled() == [CancelMatch(ROOM, (ANN, BOB), is_other_present=False)]
        with alone.presence.call(ANN):
            pass
        await alone.clock.advance(LOOK_AGAIN_MS)
        assert alone.cancelled() == [CancelMatch(ROOM, (BOB,), is_other_present=True)]
        with alone.presence.call(BOB):
            pass
        await alone.clock.advance(10 * LOOK_AGAIN_MS)
        assert alone.cancelled() == []

    run(scenario)


def test_the_other_may_have_gone_by_then() -> None:
    """Present is one with a stream, a call in flight, or some of its grace left."""

    async def scenario(ends_after_ms: float, *, is_present: bool) -> None:
        alone = Alone(state_after(under(**STRICT), met()))
        with alone.presence.call(BOB):
            await alone.clock.advance(ends_after_ms)
        await alone.clock.advance(GRACE - ends_after_ms)
        assert alone.cancelled() == [CancelMatch(ROOM, (ANN,), is_present)]

    run(lambda: scenario(0, is_present=False))
    run(lambda: scenario(GRACE - 10_000, is_present=False))
    run(lambda: scenario(GRACE - 9_999, is_present=True))
    run(lambda: scenario(GRACE, is_present=True))


def test_a_restart_begins_a_grace_anew() -> None:
    """A room younger than the queue's grace gets that grace again; an older one counts as confirmed."""

    async def scenario(ago_ms: int, cancelled: list[CancelMatch]) -> None:
        alone = Alone(state_after(under(confirm_grace_ms=GRACE), met()), NOON_MS + ago_ms)
        await alone.clock.advance(AFTER_RESTART - 1)
        assert alone.cancelled() == []
        await alone.clock.advance(1)
        assert alone.cancelled() == cancelled

    run(lambda: scenario(AFTER_RESTART - 1, [CancelMatch(ROOM, (ANN, BOB), is_other_present=False)]))
    run(lambda: scenario(AFTER_RESTART, []))


def test_the_grace_after_a_restart_may_be_that_of_the_matches() -> None:
    """The longer of the two graces applies."""

    async def scenario() -> None:
        history = under(confirm_grace_ms=AFTER_RESTART + 7), met()
        alone = Alone(state_after(*history), NOON_MS + GRACE)
        await alone.clock.advance(AFTER_RESTART + 6)
        assert alone.cancelled() == []
        await alone.clock.advance(1)
        assert alone.cancelled() == [CancelMatch(ROOM, (ANN, BOB), is_other_present=False)]

    run(scenario)


def test_one_that_has_spoken_before_a_restart_is_confirmed() -> None:
    """Its last event is after the opening."""

    async def scenario(*speakers: ConnectionId) -> list[CancelMatch]:
        words = [step for who in speakers for step in then_also(said(who, BOB if who == ANN else ANN))]
        alone = Alone(state_after(under(confirm_grace_ms=GRACE), met(), words))
        await alone.clock.advance(AFTER_RESTART)
        return alone.cancelled()

    async def all_of_them() -> None:
        assert await scenario(ANN) == [CancelMatch(ROOM, (BOB,), is_other_present=True)]
        assert await scenario(BOB) == [CancelMatch(ROOM, (ANN,), is_other_present=True)]
        assert await scenario(ANN, BOB) == []

    run(all_of_them)


def test_no_other_room_is_judged_after_a_restart() -> None:
    """A closed one, one from before the rule, and any if the rule is off by now."""

    async def scenario() -> None:
        on, off = under(confirm_grace_ms=GRACE), under()
        older = [(entered(ANN),), (entered(BOB), opened(ANN, BOB, ROOM))]
        for history in ([on, met(), then_also(closed(ANN, BOB, "left"))], [on, older], [on, met(), off]):
            alone = Alone(state_after(*history))
            assert alone.presence.confirmation.unconfirmed == {}

    run(scenario)


def test_a_broker_that_starts_again_cancels_what_was_missed_before() -> None:
    """It cancels later than the broker before it, since it does not know any confirmation."""

    async def scenario() -> None:
        before = BrokerBench()
        await before.broker.start(CONFIRMED)
        room = await before.pair(ANN, BOB)
        await before.clock.advance(GRACE - 1)
        before.broker.deadlines.stop()
        after = BrokerBench(before.log, before.clock)
        await after.broker.start(CONFIRMED)
        call(after, BOB)
        await after.clock.advance(AFTER_RESTART - 1)
        assert after.place_of(ANN) == Chatting(room)
        call(after, BOB)
        await after.clock.advance(1)
        assert after.is_idle(ANN)
        assert after.waits(BOB)

    run(scenario)


def test_a_sign_of_life_at_any_broker_confirms() -> None:
    """The call confirms its member at the other broker; the match ends because of the silent one."""

    async def scenario() -> None:
        async with two_brokers(CONFIRMED) as (clock, here, there):
            room = await here.pair(ANN, BOB)
            await settle()
            call(there, BOB)
            await clock.advance(GRACE)
            assert here.place_of(ANN) == there.place_of(ANN) == Chatting(room)
            await clock.advance(JUDGED_WITHIN_MS)
            assert here.is_idle(ANN)
            assert here.waits(BOB)

    run(scenario)


def test_a_sign_of_life_may_be_told_before_the_room_is_known() -> None:
    """The confirmation counts although the broker learns of the room later."""

    async def scenario() -> None:
        async with two_brokers(CONFIRMED) as (clock, here, there):
            here.log.may_hear.clear()
            room = await there.pair(ANN, BOB)
            call(there, ANN, BOB)
            await clock.advance(10)
            assert here.broker.presence.confirmation.unconfirmed == {}
            here.log.may_hear.set()
            await clock.advance(GRACE + JUDGED_WITHIN_MS)
            assert here.place_of(ANN) == Chatting(room)
            assert here.broker.presence.confirmation.unconfirmed == {}

    run(scenario)


def test_no_match_is_cancelled_while_the_brokers_do_not_hear_each_other() -> None:
    """Members may have been confirmed at the other one; once the channel is back, the grace ends."""

    async def scenario() -> None:
        async with two_brokers(CONFIRMED) as (clock, here, there):
            room = await here.pair(ANN, BOB)
            channel = here.log.coordination
            assert channel is not None
            channel.break_it()
            await clock.advance(3 * GRACE)
            assert here.place_of(ANN) == there.place_of(ANN) == Chatting(room)
            channel.mend()
            await clock.advance(2 * JUDGED_WITHIN_MS)
            assert here.is_idle(ANN)

    run(scenario)


def test_a_member_that_calls_another_broker_has_not_missed_its_match() -> None:
    """A broker that heard neither member does not judge them, though the log is silent for a whole grace."""

    async def scenario() -> None:
        async with two_brokers(CONFIRMED) as (clock, here, there):
            room = await there.pair(ANN, BOB)
            await settle()
            call(there, ANN, BOB)
            await clock.advance(2 * GRACE)
            assert here.place_of(ANN) == there.place_of(ANN) == Chatting(room)

    run(scenario)


def test_one_that_spoke_at_another_broker_is_confirmed() -> None:
    """The message is in the log, though its call was not heard here."""

    async def scenario() -> None:
        async with two_brokers(CONFIRMED) as (clock, here, there):
            room = await here.pair(ANN, BOB)
            await settle()
            for who in (ANN, BOB):
                await there.do(say(who, "hello", None, room))
                await settle()
            await clock.advance(GRACE + JUDGED_WITHIN_MS)
            assert here.place_of(ANN) == Chatting(room)
            assert here.broker.presence.confirmation.unconfirmed == {}

    run(scenario)


@with_broker(CONFIRMED)
async def test_after_commits_that_were_not_announced_all_are_confirmed(bench: BrokerBench) -> None:
    """After a trim the broker knows too little to judge."""
    room = await bench.pair(ANN, BOB)
    bench.broker.log_truncated()
    await bench.clock.advance(GRACE)
    assert bench.place_of(ANN) == Chatting(room)


@with_broker(Policy(messages_per_10s_max=1_000))
async def test_the_silence_of_a_connection_is_known(bench: BrokerBench) -> None:
    """Since its last call or stream ended; there is none while one lasts, and it is not known before the first."""
    presence = bench.broker.presence
    await bench.pair(ANN, BOB)
    assert presence.silent_ms(ANN) is None
    stream = bench.stream(ANN)
    with presence.call(BOB):
        await bench.clock.advance(7_000)
        assert (presence.silent_ms(ANN), presence.silent_ms(BOB)) == (0, 0)
    stream.close()
    await bench.clock.advance(3_000)
    assert (presence.silent_ms(ANN), presence.silent_ms(BOB)) == (3_000, 3_000)
    assert presence.silent_ms(CAT) is None


def test_the_silence_of_a_connection_of_another_broker_is_known() -> None:
    """Once its rows have come: since its last call there, and none while a stream of it is open there."""

    async def scenario() -> None:
        async with two_brokers(CONFIRMED) as (clock, here, there):
            await here.pair(ANN, BOB)
            await settle()
            stream = there.stream(ANN)
            call(there, BOB)
            await clock.advance(1_000)
            presence = here.broker.presence
            assert presence.silent_ms(ANN) == 0
            assert presence.silent_ms(BOB) == 1_000
            stream.close()
            await clock.advance(LINGER_MS_MAX + FLUSH_MS)
            assert presence.silent_ms(ANN) == LINGER_MS_MAX + FLUSH_MS

    run(scenario)
