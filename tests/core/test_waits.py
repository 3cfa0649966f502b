"""A call that lasts until there is an event."""

from __future__ import annotations

import asyncio

from broker.waits import Wait, Waited
from events.ids import ConnectionId, RoomId
from events.log import Snapshot
from events.policy import Policy
from tests.support.bench import BrokerBench, with_broker
from tests.support.fake_clock import settle
from tests.support.people import ANN, BOB, CAT, DAN, enter, leave, leave_queue, say

MINUTE = 60_000


def waiting(wait: Wait) -> asyncio.Task[Waited]:
    """Let a wait run."""
    return asyncio.ensure_future(wait.run())


def methods(waited: Waited) -> list[str]:
    """Return the methods of a result."""
    return [event.method for event in waited.page.events]


async def chatting(bench: BrokerBench) -> tuple[RoomId, int]:
    """Ann and Bob have met: their room and the position of the meeting."""
    room = await bench.pair(ANN, BOB)
    return room, bench.broker.state.position


@with_broker()
async def test_it_returns_as_soon_as_something_comes(bench: BrokerBench) -> None:
    """With it, and the cursor behind it."""
    await bench.do(enter(ANN))
    cursor = bench.broker.state.position
    wait = waiting(bench.broker.waits.start(ANN, cursor, MINUTE))
    await bench.clock.advance(5_000)
    assert not wait.done()
    await bench.do(enter(BOB))
    await settle()
    waited = wait.result()
    assert (methods(waited), waited.page.cursor, waited.timed_out) == (["chatroom.found"], cursor + 1, False)
    assert waited.state is bench.broker.state


@with_broker()
async def test_it_returns_at_once_when_something_stands_already(bench: BrokerBench) -> None:
    """Earlier events are not lost."""
    room, cursor = await chatting(bench)
    await bench.do(say(ANN, "hi", None, room))
    waited = await bench.broker.waits.start(BOB, cursor, MINUTE).run()
    assert methods(waited) == ["message.received"]
    assert bench.clock.now_ms() == 0


@with_broker()
async def test_nothing_can_come_to_the_idle(bench: BrokerBench) -> None:
    """So they are answered at once, and so are the unknown; neither has timed out."""
    await bench.do(enter(ANN))
    await bench.do(leave_queue(ANN))
    for who in (ANN, ConnectionId("c_nobody")):
        waited = await bench.broker.waits.start(who, bench.broker.state.position, MINUTE).run()
        assert (methods(waited), waited.timed_out) == ([], False)


@with_broker()
async def test_it_ends_when_its_time_is_up(bench: BrokerBench) -> None:
    """The result is empty, timed out, and has the given cursor: the positions of others stay hidden."""
    _, cursor = await chatting(bench)
    wait = waiting(bench.broker.waits.start(ANN, cursor, MINUTE))
    await bench.clock.advance(1_000)
    await bench.do(enter(CAT))
    await bench.clock.advance(MINUTE - 1_001)
    assert not wait.done()
    await bench.clock.advance(1)
    waited = wait.result()
    assert (methods(waited), waited.page.cursor, waited.timed_out) == ([], cursor, True)
    assert waited.state is bench.broker.state


@with_broker()
async def test_a_wait_of_no_time_is_a_look(bench: BrokerBench) -> None:
    """It never sleeps."""
    _, cursor = await chatting(bench)
    waited = await bench.broker.waits.start(ANN, cursor, 0).run()
    assert (methods(waited), waited.timed_out) == ([], True)


@with_broker()
async def test_two_waits_of_one_connection_both_get_it(bench: BrokerBench) -> None:
    """Both get the event, and so does a third wait that comes later."""
    room, cursor = await chatting(bench)
    waits = [waiting(bench.broker.waits.start(BOB, cursor, MINUTE)) for _ in range(2)]
    await settle()
    assert bench.broker.hub.waits_of(BOB) == 2
    await bench.do(say(ANN, "hi", None, room))
    await settle()
    later = await bench.broker.waits.start(BOB, cursor, MINUTE).run()
    assert [methods(w) for w in (waits[0].result(), waits[1].result(), later)] == [["message.received"]] * 3
    assert bench.broker.hub.waits_of(BOB) == 0


@with_broker(Policy(waits_per_connection_max=2))
async def test_a_connection_has_a_limited_number_of_waits(bench: BrokerBench) -> None:
    """Another wait may start until the policy's number is reached, and again once one has ended."""
    room, cursor = await chatting(bench)
    for _ in range(2):
        assert bench.broker.waits.may_start(BOB)
        waiting(bench.broker.waits.start(BOB, cursor, MINUTE))
        await settle()
    assert not bench.broker.waits.may_start(BOB)
    assert bench.broker.waits.may_start(ANN)
    await bench.do(say(ANN, "hi", None, room))
    await settle()
    assert bench.broker.waits.may_start(BOB)


@with_broker()
async def test_a_wait_that_breaks_off_loses_nothing(bench: BrokerBench) -> None:
    """The next wait from the same cursor gets the events."""
    room, cursor = await chatting(bench)
    wait = waiting(bench.broker.waits.start(BOB, cursor, MINUTE))
    await settle()
    wait.cancel()
    await bench.do(say(ANN, "hi", None, room))
    await settle()
    assert wait.cancelled()
    assert methods(await bench.broker.waits.start(BOB, cursor, MINUTE).run()) == ["message.received"]
    assert bench.broker.hub._waits == {}


@with_broker()
async def test_it_ends_when_ones_own_conversation_does(bench: BrokerBench) -> None:
    """The member has left, and gets nothing more."""
    room, cursor = await chatting(bench)
    wait = waiting(bench.broker.waits.start(ANN, cursor, MINUTE))
    await settle()
    await bench.do(leave(ANN, room))
    await settle()
    assert (methods(wait.result()), wait.result().timed_out) == ([], False)


@with_broker(Policy(connections_kept=2))
async def test_who_is_forgotten_with_their_last_notification_is_given_it(bench: BrokerBench) -> None:
    """With more active people than are kept, a left partner may be forgotten by the same commit."""
    await bench.pair(CAT, DAN)
    room, cursor = await chatting(bench)
    wait = waiting(bench.broker.waits.start(BOB, cursor, MINUTE))
    await settle()
    await bench.do(leave(ANN, room))
    await settle()
    assert bench.broker.state.connections.get(BOB) is None
    waited = wait.result()
    assert (methods(waited), waited.page.cursor) == (["partner.disconnected"], cursor + 1)


@with_broker()
async def test_what_one_says_oneself_does_not_end_it(bench: BrokerBench) -> None:
    """It looks, finds nothing, and goes on; so does a wait when others meet."""
    room, cursor = await chatting(bench)
    wait = waiting(bench.broker.waits.start(ANN, cursor, MINUTE))
    await settle()
    await bench.do(say(ANN, "anyone?", None, room))
    await bench.do(enter(CAT))
    await settle()
    assert not wait.done()
    await bench.clock.advance(MINUTE)
    assert wait.result().timed_out


@with_broker()
async def test_what_comes_while_it_looks_is_seen(bench: BrokerBench) -> None:
    """The look itself finds nothing in the trimmed log; an event during it still ends the wait."""
    room, _ = await chatting(bench)
    state = bench.broker.state
    await bench.log.compact(Snapshot(state.tip, state))

    async def spoken_to_meanwhile() -> None:
        await bench.do(say(BOB, "hi", None, room))

    bench.log.before_read.append(spoken_to_meanwhile)
    wait = waiting(bench.broker.waits.start(ANN, 0, MINUTE))
    await settle()
    assert methods(wait.result()) == ["message.received"]


@with_broker()
async def test_a_shutdown_ends_it(bench: BrokerBench) -> None:
    """It ends as at its timeout: the client asks again, and meets the successor."""
    _, cursor = await chatting(bench)
    wait = waiting(bench.broker.waits.start(ANN, cursor, MINUTE))
    await settle()
    bench.broker.drain()
    await settle()
    assert (methods(wait.result()), wait.result().timed_out) == ([], True)
    late = await bench.broker.waits.start(ANN, cursor, MINUTE).run()
    assert late.timed_out


@with_broker()
async def test_whoever_asked_may_be_gone(bench: BrokerBench) -> None:
    """Then it ends now."""
    _, cursor = await chatting(bench)
    wait = bench.broker.waits.start(ANN, cursor, MINUTE)
    task = waiting(wait)
    await settle()
    wait.give_up()
    await settle()
    assert task.result().timed_out
    assert bench.clock.now_ms() == 0


@with_broker()
async def test_progress_is_told_every_ten_seconds(bench: BrokerBench) -> None:
    """While it lasts, and not at its end."""
    _, cursor = await chatting(bench)
    told_ms: list[float] = []

    async def on_progress() -> None:
        told_ms.append(bench.clock.now_ms())

    wait = asyncio.ensure_future(bench.broker.waits.start(ANN, cursor, 30_000).run(on_progress))
    await bench.clock.advance(MINUTE)
    assert wait.result().timed_out
    assert told_ms == [10_000, 20_000]


@with_broker()
async def test_progress_is_told_whatever_happens_meanwhile(bench: BrokerBench) -> None:
    """A member that sends every few seconds gets it all the same."""
    room, cursor = await chatting(bench)
    told_ms: list[float] = []

    async def on_progress() -> None:
        told_ms.append(bench.clock.now_ms())

    wait = asyncio.ensure_future(bench.broker.waits.start(ANN, cursor, MINUTE).run(on_progress))
    for _ in range(8):
        await bench.clock.advance(3_000)
        await bench.do(say(ANN, "anyone?", None, room))
    assert told_ms == [10_000, 20_000]
    await bench.clock.advance(MINUTE)
    assert wait.done()


@with_broker(Policy(events_per_page_max=2, messages_per_10s_max=100))
async def test_it_gives_a_page_at_the_most(bench: BrokerBench) -> None:
    """The next wait goes on where it ended."""
    room, cursor = await chatting(bench)
    for text in ("one", "two", "three"):
        await bench.do(say(ANN, text, None, room))
    first = await bench.broker.waits.start(BOB, cursor, MINUTE).run()
    second = await bench.broker.waits.start(BOB, first.page.cursor, MINUTE).run()
    assert [len(methods(first)), len(methods(second))] == [2, 1]
    assert second.page.cursor == bench.broker.state.position


@with_broker()
async def test_a_wait_leaves_no_timer(bench: BrokerBench) -> None:
    """A thousand short ones with long deadlines would be a thousand callbacks for nothing."""
    room, cursor = await chatting(bench)
    set_before = [timer for _, _, timer in bench.clock._timers if timer.callback is not None]
    wait = waiting(bench.broker.waits.start(BOB, cursor, MINUTE))
    await settle()
    await bench.do(say(ANN, "hi", None, room))
    await settle()
    assert wait.done()
    assert [timer for _, _, timer in bench.clock._timers if timer.callback is not None] == set_before
