"""A handle is a person: its holder acts as its connection, and no other client can."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import patch

import pytest

from broker.batch import CommandAnswer
from broker.decision import Rejection
from events.commands import Command, EnterQueue
from events.ids import ConnectionId, connection_id_of
from mcp_facade.texts import REFUSALS
from projections.connections import Idle, Waiting
from tests.facade.people import Crowd, Era, InSession, Person, crowd, events_of, last_answer, texts
from tests.support.fake_clock import FakeClock, settle
from tests.support.server import GatedLog, Running, eventually, serving

pytestmark = pytest.mark.anyio

NO_HANDLE = "cb_" + "x" * 32


def place_of(running: Running, connection_id: str) -> Any:
    """Return a connection's place."""
    known = running.broker.state.connections.get(ConnectionId(connection_id))
    return known.place if known is not None else None


async def test_a_session_may_leave_its_handle_out(there: Crowd) -> None:
    """Two sessions complete a chat without one handle in any call."""
    ann, bob = await there.session(), await there.session()
    await ann.enter("Ann")
    await bob.enter("Bob")
    room = {"room_id": bob.room_id}
    await bob.call("send_message", message="hello", **room)
    heard = await ann.call("wait_for_events", cursor=ann.cursor)
    assert texts(heard["events"]) == ["hello"]
    assert (await ann.call("get_status"))["connection_id"] == ann.connection_id
    await ann.call("leave_chat", **room)
    await bob.call("next_partner", **room)
    assert await bob.call("leave_queue") == {"success": True}


async def test_a_stateless_client_has_no_handle_but_the_one_it_passes(there: Crowd) -> None:
    """In 2026 nothing is remembered from one call to the next."""
    ann = await there.modern()
    await ann.enter()
    assert "connection_id" not in await ann.call("get_status")
    assert (await ann.refused("leave_queue"))["code"] == "unknown_handle"
    assert (await ann.enter())["status"] == "matched"  # a second person, as far as the broker can tell


async def test_entering_again_in_a_session_is_the_same_person(there: Crowd) -> None:
    """A session's second `enter_queue` uses the handle of its first."""
    ann = await there.session()
    first = await ann.enter()
    assert await ann.enter() == first


async def test_a_named_handle_wins_over_the_sessions_own(there: Crowd) -> None:
    """A call with another handle acts for that one; the default stays that of the last `enter_queue`."""
    ann, bob = await there.session(), await there.session()
    own = await ann.enter("Ann")
    await bob.enter("Bob")
    status = await ann.call("get_status", handle=bob.handle)
    assert status["connection_id"] == bob.connection_id
    assert (await ann.call("get_status"))["connection_id"] == own["connection_id"]
    await ann.call("send_message", room_id=bob.room_id, message="as Bob", handle=bob.handle)
    heard = await ann.call("wait_for_events", cursor=0)
    assert texts(heard["events"]) == ["as Bob"]


async def test_the_default_is_the_handle_last_entered_with(there: Crowd) -> None:
    """`enter_queue` with a named handle makes that one the default."""
    ann, other = await there.session(), await there.modern()
    await other.enter()
    await ann.enter("Ann")
    await ann.call("leave_chat", room_id=ann.room_id)
    await ann.call("enter_queue", handle=other.handle)
    assert (await ann.call("get_status"))["connection_id"] == other.connection_id


async def test_without_entering_the_default_is_the_handle_last_presented(there: Crowd) -> None:
    """A session that only shows a handle may leave it out from then on."""
    ann, host = await there.modern(), await there.session()
    await ann.enter()
    await host.call("get_status", handle=ann.handle)
    assert (await host.call("get_status"))["connection_id"] == ann.connection_id
    assert await host.call("leave_queue") == {"success": True}
    assert isinstance(place_of(there.running, ann.connection_id), Idle)


async def test_an_unknown_handle_does_not_replace_the_default(there: Crowd) -> None:
    """A refused handle is not remembered."""
    ann = await there.session()
    await ann.enter()
    await ann.refused("get_status", handle=NO_HANDLE)
    assert (await ann.call("get_status"))["connection_id"] == ann.connection_id


async def test_a_host_with_a_session_for_each_call_passes_the_handle(there: Crowd) -> None:
    """A client with a new session for every call talks as well as any."""
    running = there.running
    bob = await there.session()
    handle, cursor = "", 0

    async def once(tool: str, **arguments: Any) -> dict[str, Any]:
        host = InSession(running)
        try:
            await host.start()
            given = await host.call(tool, **arguments)
            await host.delete()
        finally:
            await host.close()
        return given

    entered = await once("enter_queue", display_name="Ann")
    handle, cursor = entered["handle"], entered["cursor"]
    await bob.enter("Bob")
    found = await once("wait_for_events", handle=handle, cursor=cursor)
    room_id = found["events"][0]["params"]["room_id"]
    await once("send_message", handle=handle, room_id=room_id, message="hello")
    assert texts(await bob.hear()) == ["hello"]
    await bob.call("send_message", room_id=room_id, message="you too")
    heard = await once("wait_for_events", handle=handle, cursor=found["cursor"])
    assert texts(heard["events"]) == ["you too"]
    await once("leave_chat", handle=handle, room_id=room_id)
    assert [event["params"]["reason"] for event in await bob.hear()] == ["left"]


async def test_who_does_not_have_the_handle_can_do_nothing_with_what_is_public(there: Crowd, era: Era) -> None:
    """A room id and a connection id allow nothing: no message, no read, no stream, no departure."""
    ann, bob = await there.pair(era, era)
    eve = await there.person(era)
    await eve.enter("Eve")
    before = there.running.broker.state.position
    for handle in (ann.connection_id, ann.room_id, eve.handle):
        for tool, more in (
            ("send_message", {"message": "it is me"}),
            ("leave_chat", {}),
            ("next_partner", {}),
        ):
            refusal = await eve.refused(tool, room_id=ann.room_id, handle=handle, **more)
            assert refusal["code"] in ("unknown_handle", "room_not_found")
    assert there.running.broker.state.position == before
    for handle in (ann.connection_id, ann.handle[:-1], ann.handle + "A", NO_HANDLE):
        assert (await eve.refused("wait_for_events", cursor=0, handle=handle))["code"] == "unknown_handle"
    assert (await eve.call("wait_for_events", cursor=0, handle=eve.handle, wait_seconds=0))["events"] == []
    await bob.say("just us")
    assert texts(await ann.hear()) == ["just us"]


async def test_an_unknown_handle_opens_no_inbox_and_is_told_nothing(there: Crowd, era: Era) -> None:
    """Reading and subscribing fail with the era's code, one text for all, and no URI in it."""
    person = await there.person(era)
    code = -32002 if era == "2025" else -32602
    errors = []
    methods = ["resources/read"] + (["resources/subscribe"] if era == "2025" else [])
    for method in methods:
        for uri in (f"chat://inbox/{NO_HANDLE}", "chat://inbox/", f"chat://inbox/{NO_HANDLE}?cursor=5", "chat://inbox"):
            answer = await person.request(method, {"uri": uri})
            assert answer["error"]["code"] == code
            assert NO_HANDLE not in str(answer)
            assert "chat://" not in str(answer)
            errors.append(answer["error"])
    assert all(error == errors[0] for error in errors)


async def test_an_unknown_handle_is_left_out_of_what_listen_acknowledges(there: Crowd) -> None:
    """The acknowledgement leaves out unknown handles and inboxes; the known ones are in it."""
    ann = await there.modern()
    await ann.enter()
    wanted = events_of(NO_HANDLE, ann.handle, ann.connection_id) | {
        "resourceSubscriptions": [f"chat://inbox/{NO_HANDLE}", f"chat://inbox/{ann.handle}"]
    }
    async with ann.listening(wanted) as frames:
        acknowledged = await frames.next()
        assert acknowledged.params["notifications"] == events_of(ann.handle) | {
            "resourceSubscriptions": [f"chat://inbox/{ann.handle}"]
        }
        assert NO_HANDLE not in str(acknowledged)


async def test_a_forgotten_handle_is_unknown(era: Era) -> None:
    """Beyond `connections_kept`, the longest idle has to enter anew; a chatting one is never forgotten."""
    async with serving(connections_kept=3) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        gone = await there.person(era)
        await gone.enter()
        await gone.call("leave_queue", handle=gone.handle)
        cat = await there.person(era)
        await cat.enter()
        assert (await gone.refused("enter_queue", handle=gone.handle))["code"] == "unknown_handle"
        await ann.say("still here")
        assert texts(await bob.hear()) == ["still here"]


async def entering_at(log: GatedLog, person: Person, **arguments: Any) -> asyncio.Task[Any]:
    """Start an `enter_queue`, and wait until it is before the shut gate of `log`."""
    log.gate.clear()
    call = asyncio.create_task(
        person.exchange("tools/call", {"name": "enter_queue", "arguments": arguments}, request_id="enter-1")
    )
    await eventually(lambda: log.standing)
    return call


@pytest.mark.parametrize("noticed", [True, False])
async def test_who_hangs_up_before_the_result_leaves_no_ghost(*, noticed: bool) -> None:
    """A handle that reached no client is taken out of the queue; the same client, calling again, waits alone."""
    log = GatedLog()
    async with serving(log=log) as running, crowd(running) as there:
        ann = await there.person("2026")
        connections = running.connections
        call = await entering_at(log, ann)
        call.cancel()
        await asyncio.wait({call})
        if noticed:  # else the log answers before the server knows
            await eventually(lambda: running.connections < max(1, connections))
            await settle()
        log.gate.set()
        await eventually(lambda: running.broker.state.position == 3)
        assert len(running.broker.state.queue) == 0
        assert (await ann.enter())["status"] == "waiting"


async def test_who_calls_again_does_not_meet_their_own_ghost() -> None:
    """The lost call and the new one wait for a slow log together; still the new one waits alone."""
    log = GatedLog()
    async with serving(log=log) as running, crowd(running) as there:
        ann = await there.person("2026")
        connections = running.connections
        lost = await entering_at(log, ann)
        lost.cancel()
        await asyncio.wait({lost})
        await eventually(lambda: running.connections < max(1, connections))
        await settle()
        again = asyncio.create_task(ann.enter())
        await eventually(lambda: len(running.broker.writer._pending) == 2)  # the ghost's end, and the new call
        log.gate.set()
        assert (await again)["status"] == "waiting"
        assert [who for _, who in running.broker.state.queue.entries.items()] == [ann.connection_id]


@pytest.mark.parametrize("is_slow", [True, False])
async def test_a_session_that_calls_again_after_a_broken_answer_finds_itself(*, is_slow: bool) -> None:
    """It is the same connection, before or after the log's answer, and it stays in the queue."""
    log, clock = GatedLog(), FakeClock()
    async with serving(log=log, clock=clock) as running, crowd(running) as there:
        ann = await there.session()
        lost = await entering_at(log, ann)
        lost.cancel()
        await asyncio.wait({lost})
        if not is_slow:
            log.gate.set()
            await eventually(lambda: len(running.broker.state.queue) == 1)
        await clock.advance(1_000)
        again = asyncio.create_task(ann.enter())
        log.gate.set()
        assert (await again)["status"] == "waiting"
        await clock.advance(10_000)
        assert [who for _, who in running.broker.state.queue.entries.items()] == [ann.connection_id]


async def test_a_session_that_does_not_call_again_is_out_after_two_seconds() -> None:
    """Its answer was lost, and it has no open stream, so it counts as gone."""
    log, clock = GatedLog(), FakeClock()
    async with serving(log=log, clock=clock) as running, crowd(running) as there:
        ann = await there.session()
        connections = running.connections
        lost = await entering_at(log, ann)
        lost.cancel()
        await asyncio.wait({lost})
        await eventually(lambda: running.connections < max(1, connections))
        log.gate.set()
        await eventually(lambda: running.broker.state.position == 2)
        await settle()
        await clock.advance(1_999)
        assert len(running.broker.state.queue) == 1
        await clock.advance(1)
        await eventually(lambda: len(running.broker.state.queue) == 0)


async def test_a_lost_call_that_the_log_answers_late_is_no_sign_of_life() -> None:
    """This holds for a call after its client has gone, and for a refused one that is stored later."""
    log, clock = GatedLog(), FakeClock()
    async with serving(log=log, clock=clock, command_timeout_ms=500) as running, crowd(running) as there:
        ann, bob = await there.session(), await there.session()
        connections = running.connections
        lost = await entering_at(log, ann)
        lost.cancel()
        await asyncio.wait({lost})
        await eventually(lambda: running.connections < max(2, connections))
        await clock.advance(100)
        late = asyncio.create_task(bob.refused("enter_queue"))
        await eventually(lambda: len(running.broker.writer._pending) == 1)
        await clock.advance(600)
        assert (await late)["code"] == "unavailable"
        await clock.advance(100)
        log.gate.set()
        await clock.advance(3_000)
        await eventually(lambda: running.broker.state.position > 1)
        await eventually(lambda: len(running.broker.state.queue) == 0)


async def test_a_cancelled_call_takes_no_repeated_one_along() -> None:
    """A client that gave up, cancels, and has called again by then stays in the queue."""
    log, clock = GatedLog(), FakeClock()
    async with serving(log=log, clock=clock) as running, crowd(running) as there:
        ann = await there.session()
        call = await entering_at(log, ann)
        again = asyncio.create_task(ann.enter())
        await eventually(lambda: len(running.broker.writer._pending) == 1)
        await ann.notify("notifications/cancelled", {"requestId": "enter-1"})
        log.gate.set()
        assert (await again)["status"] == "waiting"
        await clock.advance(10_000)
        assert (await ann.call("get_status"))["status"] == "waiting"
        call.cancel()


async def test_a_session_whose_stream_is_open_stays_though_its_answer_was_lost() -> None:
    """Its client hears of the match by the stream."""
    log, clock = GatedLog(), FakeClock()
    async with serving(log=log, clock=clock) as running, crowd(running) as there:
        ann = await there.session()
        async with ann.stream() as frames:
            lost = await entering_at(log, ann)
            lost.cancel()
            await asyncio.wait({lost})
            log.gate.set()
            await eventually(lambda: len(running.broker.state.queue) == 1)
            await clock.advance(10_000)
            await (await there.modern()).enter("Bob")
            assert (await frames.next()).method == "chatroom.found"


async def test_a_default_that_is_forgotten_gives_way_to_the_one_shown_last() -> None:
    """A session with a forgotten handle of its own goes on with the other one it presented."""
    async with serving(connections_kept=2) as running, crowd(running) as there:
        host, bob = await there.session(), await there.session()
        await host.enter("Host")
        await host.call("leave_queue")
        await bob.enter("Bob")
        await host.call("get_status", handle=bob.handle)
        cat = await there.session()
        await cat.enter("Cat")
        dan = await there.session()
        await dan.enter("Dan")
        assert not running.broker.reads.knows(connection_id_of(host.handle))
        assert (await host.call("get_status"))["connection_id"] == bob.connection_id


async def test_who_was_matched_and_hung_up_leaves_the_room(era: Era) -> None:
    """After the loss of a match's result, the partner hears of the absence: at once, or in two seconds."""
    log, clock = GatedLog(), FakeClock()
    async with serving(log=log, clock=clock) as running, crowd(running) as there:
        ann, bob = await there.person(era), await there.person(era)
        await ann.enter("Ann")
        connections = running.connections
        call = await entering_at(log, bob)
        call.cancel()
        await asyncio.wait({call})
        log.gate.set()
        heard = await ann.hear()
        if era == "2025":
            await eventually(lambda: running.connections < max(2, connections))
            await settle()
            await clock.advance(2_000)
        while heard[-1]["method"] != "partner.disconnected":
            heard += await ann.hear()
        assert [event["method"] for event in heard] == ["chatroom.found", "partner.disconnected"]
        assert heard[-1]["params"]["reason"] == "disconnected"


async def test_a_cancelled_enter_queue_leaves_no_ghost() -> None:
    """`notifications/cancelled` in a session undoes an `enter_queue` with a new handle."""
    log = GatedLog()
    async with serving(log=log) as running, crowd(running) as there:
        ann = await there.session()
        call = await entering_at(log, ann)
        assert (await ann.notify("notifications/cancelled", {"requestId": "enter-1"})).status_code == 202
        log.gate.set()
        await eventually(lambda: running.broker.state.position == 3)
        assert len(running.broker.state.queue) == 0
        assert (await ann.enter())["status"] == "waiting"
        call.cancel()


async def test_a_named_handle_outlives_a_lost_result(era: Era) -> None:
    """The holder of a handle goes on waiting, also after the loss of the entering call."""
    log = GatedLog()
    async with serving(log=log) as running, crowd(running) as there:
        ann = await there.person(era)
        await ann.enter()
        await ann.call("leave_queue", handle=ann.handle)
        call = await entering_at(log, ann, handle=ann.handle)
        call.cancel()
        await asyncio.wait({call})
        log.gate.set()
        await eventually(lambda: running.broker.state.position == 4)
        assert (await ann.enter(handle=ann.handle))["status"] == "waiting"
        assert running.broker.state.position == 4
        assert isinstance(place_of(running, ann.connection_id), Waiting)


async def test_a_cancelled_enter_queue_with_a_named_handle_stays_in_the_queue() -> None:
    """A session's cancelled call takes no client out that can come back."""
    log = GatedLog()
    async with serving(log=log) as running, crowd(running) as there:
        ann = await there.session()
        await ann.enter()
        await ann.call("leave_queue")
        call = await entering_at(log, ann, handle=ann.handle)
        await ann.notify("notifications/cancelled", {"requestId": "enter-1"})
        log.gate.set()
        await eventually(lambda: running.broker.state.position == 4)
        assert (await ann.call("get_status"))["status"] == "waiting"
        assert running.broker.state.position == 4
        call.cancel()


async def test_a_handle_that_was_pushed_out_while_it_entered_is_the_default_all_the_same() -> None:
    """The session's default is the handle of its last `enter_queue`, even if others were presented meanwhile."""
    log = GatedLog()
    async with serving(log=log, handles_per_stream_max=1) as running, crowd(running) as there:
        other, ann = await there.modern(), await there.session()
        await other.enter("Other")
        await other.call("leave_queue", handle=other.handle)
        call = await entering_at(log, ann)
        await ann.call("get_status", handle=other.handle)
        log.gate.set()
        given = last_answer(await call)["result"]["structuredContent"]
        assert (await ann.call("get_status"))["connection_id"] == given["connection_id"]


async def test_a_refused_enter_queue_leaves_no_handle_behind(there: Crowd, era: Era) -> None:
    """A full queue leaves the call's new handle without an owner, and the session forgets it."""
    ann = await there.person(era)
    submit = there.running.broker.writer.submit

    def full(command: Command) -> asyncio.Future[CommandAnswer]:
        if not isinstance(command, EnterQueue):
            return submit(command)
        answer: asyncio.Future[CommandAnswer] = asyncio.get_running_loop().create_future()
        answer.set_result(Rejection("queue_full"))
        return answer

    with patch.object(there.running.broker.writer, "submit", full):
        refusal = await ann.refused("enter_queue")
    assert refusal == {"error": REFUSALS["queue_full"], "code": "queue_full"}
    assert "connection_id" not in await ann.call("get_status")
    assert there.running.metric("chat_broker_connections") == 0
