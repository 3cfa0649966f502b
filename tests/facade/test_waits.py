"""Calls that wait: their end, their result, and no loss in any of them."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.facade.people import ACCEPT, Crowd, Era, Frames, InSession, Json, Person, crowd, texts
from tests.support.fake_clock import FakeClock, settle
from tests.support.logs import FaultyLog, unavailable
from tests.support.server import GatedLog, eventually, serving

pytestmark = pytest.mark.anyio


def waiting(person: Person, wait_seconds: float = 20) -> asyncio.Task[Json]:
    """Start a `wait_for_events` in the background."""
    return person.calling("wait_for_events", handle=person.handle, cursor=person.cursor, wait_seconds=wait_seconds)


async def test_a_wait_ends_when_something_happens(there: Crowd, era: Era) -> None:
    """The match, a message and the end of the chat each answer the open wait."""
    ann, bob = await there.person(era), await there.person(era)
    await ann.enter("Ann")
    wait = waiting(ann)
    await there.running.waits(ann.connection_id)
    await bob.enter("Bob")
    assert [event["method"] for event in (await wait)["events"]] == ["chatroom.found"]
    wait = waiting(ann)
    await there.running.waits(ann.connection_id)
    await bob.say("hello")
    assert texts((await wait)["events"]) == ["hello"]
    wait = waiting(ann)
    await there.running.waits(ann.connection_id)
    await bob.call("leave_chat", room_id=bob.room_id, handle=bob.handle)
    given = await wait
    assert [event["params"]["reason"] for event in given["events"]] == ["left"]
    assert (given["status"], given["timed_out"]) == ("idle", False)


async def test_send_message_waits_for_the_reply(there: Crowd, era: Era) -> None:
    """One call sends and hears; a message from before the send ends the wait at once."""
    ann, bob = await there.pair(era, era)
    await ann.hear()
    asking = asyncio.create_task(ann.say("question", cursor=ann.cursor, wait_seconds=20))
    assert texts(await bob.hear()) == ["question"]
    await there.running.waits(ann.connection_id)
    await bob.say("answer")
    assert texts((await asking)["events"]) == ["answer"]
    await bob.say("by the way")
    assert texts((await ann.say("yes?", cursor=ann.cursor, wait_seconds=20))["events"]) == ["by the way"]


async def test_idle_seconds_go_on_after_a_clock_was_ahead(era: Era) -> None:
    """They count from the last activity, by the clock of its timestamp."""
    clock = FakeClock()
    async with serving(clock=clock) as running, crowd(running) as there:
        clock.jump_wall(86_400_000)
        ann = await there.person(era)
        await ann.enter()
        clock.jump_wall(-86_400_000)
        wait = ann.calling("wait_for_events", handle=ann.handle, cursor=ann.cursor)
        await running.waits(ann.connection_id)
        await clock.advance(45_000)
        assert (await wait)["idle_seconds"] == 45


async def test_a_wait_is_over_after_its_time(era: Era) -> None:
    """After `wait_seconds`, 45 by default, it gives no events, `timed_out`, and the current status."""
    clock = FakeClock()
    async with serving(clock=clock) as running, crowd(running) as there:
        ann = await there.person(era)
        await ann.enter()
        wait = ann.calling("wait_for_events", handle=ann.handle, cursor=ann.cursor)
        await running.waits(ann.connection_id)
        await clock.advance(44_999)
        assert not wait.done()
        await clock.advance(1)
        assert await wait == {"events": [], "cursor": 2, "status": "waiting", "timed_out": True, "idle_seconds": 45}
        wait = waiting(ann, 0.5)
        await running.waits(ann.connection_id)
        await clock.advance(500)
        assert (await wait)["timed_out"] is True


async def test_a_wait_of_nothing_is_a_look(there: Crowd, era: Era) -> None:
    """`wait_seconds=0` answers at once, and calls that timed out."""
    ann = await there.person(era)
    await ann.enter()
    given = await ann.call("wait_for_events", handle=ann.handle, cursor=ann.cursor, wait_seconds=0)
    assert (given["events"], given["timed_out"]) == ([], True)


async def test_who_is_idle_has_nothing_to_wait_for(there: Crowd, era: Era) -> None:
    """The answer comes at once, without events: no event can come to an idle client."""
    ann = await there.person(era)
    await ann.enter()
    await ann.call("leave_queue", handle=ann.handle)
    given = await ann.call("wait_for_events", handle=ann.handle, cursor=ann.cursor, wait_seconds=300)
    assert (given["events"], given["status"], given["timed_out"]) == ([], "idle", False)


async def test_a_wait_ends_when_its_own_connection_leaves(there: Crowd, era: Era) -> None:
    """Leaving by another call ends the wait: no event can come."""
    ann, _ = await there.pair(era, era)
    await ann.hear()
    wait = waiting(ann)
    await there.running.waits(ann.connection_id)
    await ann.call("leave_chat", room_id=ann.room_id, handle=ann.handle)
    assert (await wait)["status"] == "idle"


async def test_two_waits_of_one_person_both_get_the_event(there: Crowd, era: Era) -> None:
    """A wait takes nothing away from another."""
    ann, bob = await there.pair(era, era)
    await ann.hear()
    waits = [waiting(ann), waiting(ann)]
    await there.running.waits(ann.connection_id, 2)
    await bob.say("hello")
    assert [texts(given["events"]) for given in await asyncio.gather(*waits)] == [["hello"], ["hello"]]


@pytest.mark.parametrize("again", [7, "7"])
async def test_two_requests_of_one_id_are_both_answered(there: Crowd, again: Any) -> None:
    """Each has a stream of its own, beside any other call of the session."""
    ann, bob = await there.pair("2025", "2026")
    assert isinstance(ann, InSession)
    wait = {"name": "wait_for_events", "arguments": {"cursor": bob.cursor}}
    first = asyncio.create_task(ann.request("tools/call", wait, request_id=7))
    await there.running.waits(ann.connection_id)
    second = asyncio.create_task(ann.request("tools/call", wait, request_id=again))
    await there.running.waits(ann.connection_id, 2)
    await bob.say("hello")
    for answer in (await first, await second):
        assert texts(answer["result"]["structuredContent"]["events"]) == ["hello"]


async def test_an_id_may_be_used_again_as_soon_as_it_is_answered(there: Crowd) -> None:
    """A client with one id for all calls, one after the other, is served; errors are answers too."""
    ann = await there.session()
    for _ in range(20):
        assert (await ann.exchange("tools/list", {}, request_id=1)).status_code == 200
        assert "error" in await ann.request("tools/call", {"name": "none"}, request_id=1)


async def test_the_end_of_a_session_answers_its_waits_and_leaves_no_fault(there: Crowd) -> None:
    """Calls in flight or on their way at the end of the session are answered, or get 404."""
    for _ in range(5):
        ann = await there.session()
        await ann.enter()
        wait = waiting(ann)
        await there.running.waits(ann.connection_id)
        calls = [asyncio.create_task(ann.exchange("tools/list", {})) for _ in range(5)]
        ended = asyncio.create_task(ann.delete())
        assert (await wait)["timed_out"] is True
        assert {(await call).status_code for call in calls} <= {200, 404}
        assert (await ended).status_code == 200
        assert (await ann.exchange("tools/list", {})).status_code == 404
    assert there.running.metric("chat_broker_sessions") == 0


async def test_a_wait_whose_client_hangs_up_is_over_and_loses_nothing(there: Crowd, era: Era) -> None:
    """A closed connection ends the wait on the server; the same cursor gives all later events."""
    ann, bob = await there.pair(era, era)
    await ann.hear()
    wait = waiting(ann)
    await there.running.waits(ann.connection_id)
    wait.cancel()
    await there.running.waits(ann.connection_id, 0)
    await bob.say("are you there?")
    assert texts(await ann.hear()) == ["are you there?"]


async def test_a_cancelled_wait_is_over_and_loses_nothing(there: Crowd) -> None:
    """`notifications/cancelled` of a session ends the wait; the same cursor gives all later events."""
    ann, bob = await there.pair("2025", "2025")
    await ann.hear()
    wait = asyncio.create_task(
        ann.exchange(
            "tools/call",
            {
                "name": "wait_for_events",
                "arguments": {"handle": ann.handle, "cursor": ann.cursor, "wait_seconds": 20},
            },
            request_id="wait-1",
        )
    )
    await there.running.waits(ann.connection_id)
    cancelled = await ann.notify("notifications/cancelled", {"requestId": "wait-1"})
    assert cancelled.status_code == 202
    await there.running.waits(ann.connection_id, 0)
    await bob.say("are you there?")
    assert texts(await ann.hear()) == ["are you there?"]
    wait.cancel()


async def test_a_cancelled_message_may_have_been_sent_and_is_said_once(there: Crowd, era: Era) -> None:
    """A hang-up during the wait of a `send_message` leaves it stored; its repeat sends nothing a second time."""
    ann, bob = await there.pair(era, era)
    await ann.hear()
    sending = asyncio.create_task(ann.say("once", message_id="m1", cursor=ann.cursor, wait_seconds=20))
    await there.running.waits(ann.connection_id)
    sending.cancel()
    await there.running.waits(ann.connection_id, 0)
    await ann.say("once", message_id="m1")
    await ann.say("more")
    heard = await bob.hear()
    assert texts(heard) == ["once", "more"]


async def test_a_call_whose_client_is_gone_before_it_waits_does_not_wait() -> None:
    """A session's `send_message` goes through after a hang-up of its client, and then does not wait."""
    log = GatedLog()
    async with serving(log=log) as running, crowd(running) as there:
        ann, bob = await there.pair("2025", "2025")
        await ann.hear()
        log.gate.clear()
        connections = running.connections
        sending = asyncio.create_task(ann.say("goodbye", cursor=ann.cursor, wait_seconds=300))
        await eventually(lambda: log.standing)
        sending.cancel()
        await eventually(lambda: running.connections < connections)
        log.gate.set()
        assert texts(await bob.hear()) == ["goodbye"]
        await running.waits(ann.connection_id, 0)


async def started(person: Person, arguments: Json, token: str) -> Any:
    """Yield the frames of a tool call's own response, with a progress token."""
    body = {
        "jsonrpc": "2.0",
        "id": "wait",
        "method": "tools/call",
        "params": person.params({"name": "wait_for_events", "arguments": arguments, "_meta": {"progressToken": token}}),
    }
    headers = {"accept": ACCEPT} | person.headers("tools/call", "wait_for_events")
    return person.streaming(person.http.build_request("POST", person.running.url, json=body, headers=headers))


async def test_a_wait_shows_that_it_goes_on(era: Era) -> None:
    """With a progress token there is a sign of life every ten seconds, without a stranger's words."""
    clock = FakeClock()
    async with serving(clock=clock) as running, crowd(running) as there:
        ann = await there.person(era)
        await ann.enter()

        async def follow() -> list[Json]:
            arguments = {"handle": ann.handle, "cursor": ann.cursor, "wait_seconds": 25}
            async with await started(ann, arguments, "t-1") as frames:
                assert isinstance(frames, Frames)
                return [event.data for event in await frames.rest()]

        following = asyncio.create_task(follow())
        await running.waits(ann.connection_id)
        for _ in range(5):
            await clock.advance(5_000)
            await settle(1)
        *progress, answer = await following
        assert [frame["method"] for frame in progress] == ["notifications/progress"] * 2
        assert [frame["params"]["progress"] for frame in progress] == [10, 20]
        for frame in progress:
            assert frame["params"]["progressToken"] == "t-1"
            assert frame["params"]["total"] == 25
            assert frame["params"]["message"] == "Still waiting."
        assert answer["result"]["structuredContent"]["timed_out"] is True


async def test_without_a_progress_token_a_wait_is_silent(era: Era) -> None:
    """A call without a progress token gets nothing but the result."""
    clock = FakeClock()
    async with serving(clock=clock) as running, crowd(running) as there:
        ann = await there.person(era)
        await ann.enter()
        params = {
            "name": "wait_for_events",
            "arguments": {"handle": ann.handle, "cursor": ann.cursor, "wait_seconds": 25},
        }
        wait = asyncio.create_task(ann.exchange("tools/call", params))
        await running.waits(ann.connection_id)
        await clock.advance(25_000)
        response = await wait
        assert "notifications/progress" not in response.text


async def test_shutdown_answers_the_waits(era: Era) -> None:
    """A wait in progress at the broker's stop gets `timed_out`, and its cursor holds."""
    async with serving() as running, crowd(running) as there:
        ann = await there.person(era)
        await ann.enter()
        wait = waiting(ann)
        await running.waits(ann.connection_id)
        running.stop()
        given = await wait
        assert (given["events"], given["timed_out"], given["cursor"]) == ([], True, 2)


async def test_a_signal_breaks_off_no_wait() -> None:
    """It is answered all the same, before its connection is closed."""
    async with serving() as running, crowd(running) as there:
        ann = await there.person("2025")
        await ann.enter()
        wait = waiting(ann)
        await running.waits(ann.connection_id)
        running.uvicorn.handle_exit(signal.SIGTERM, None)
        running.stop()
        assert (await wait)["timed_out"] is True


async def test_a_broker_that_drains_takes_no_more_calls(there: Crowd, era: Era) -> None:
    """Later calls during the stop are refused as `unavailable`."""
    ann, _ = await there.pair(era, era)
    there.running.app.drain()
    refusal = await ann.refused("send_message", room_id=ann.room_id, message="too late", handle=ann.handle)
    assert refusal["code"] == "unavailable"
    assert "message_id" in refusal["error"]


async def test_a_log_that_does_not_answer_is_unavailable(era: Era) -> None:
    """After `command_timeout_ms` the caller gets that code; the repeat with the same id sends it once."""
    clock, log = FakeClock(), GatedLog()
    async with serving(log=log, clock=clock) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        log.gate.clear()
        arguments = {"room_id": ann.room_id, "message": "hello", "handle": ann.handle, "message_id": "m1"}
        refused = asyncio.create_task(ann.refused("send_message", **arguments))
        await eventually(lambda: log.standing)
        await clock.advance(5_000)
        assert (await refused)["code"] == "unavailable"
        log.gate.set()
        await ann.call("send_message", **arguments)
        assert texts(await bob.hear()) == ["hello"]
        assert running.broker.state.position == 4


async def test_a_wait_keeps_its_session_from_nothing(there: Crowd) -> None:
    """During a call's wait, the session's other calls are answered."""
    ann, bob = await there.pair("2025", "2025")
    assert isinstance(ann, InSession)
    await ann.hear()
    wait = waiting(ann)
    await there.running.waits(ann.connection_id)
    for number in range(5):
        await ann.say(f"{number}")
    assert texts(await bob.hear()) == [f"{number}" for number in range(5)]
    await bob.say("done")
    given = await wait
    assert texts(given["events"]) == ["done"]
    assert json.dumps(given)


async def test_a_log_that_does_not_answer_is_unavailable_and_no_fault() -> None:
    """The refusal says so, and the log has no sign of a bug."""
    log = FaultyLog()
    async with serving(log=log) as running, crowd(running) as there:
        ann, bob = await there.pair("2026", "2026")
        await bob.say("hello")
        log.before_read = [unavailable]
        with capture_logs() as lines:
            assert (await ann.refused("wait_for_events", handle=ann.handle, cursor=1))["code"] == "unavailable"
            log.before_read = [unavailable]
            assert (await ann.refused("wait_for_events", handle=ann.handle, cursor=1))["code"] == "unavailable"
        assert [(line["event"], line["log_level"]) for line in lines] == [("tool_put_off", "warning")]  # once a minute
        assert texts((await ann.call("wait_for_events", handle=ann.handle, cursor=1))["events"])[-1:] == ["hello"]
