"""The GET stream of a 2025 session: ids, resumption, and its connections."""

from __future__ import annotations

import re

import pytest

from events.memory import MemoryLog
from events.session_records import MemorySessionRecords
from tests.facade.people import ACCEPT, Crowd, Event, InSession, Person, crowd, texts
from tests.support.fake_clock import FakeClock
from tests.support.logs import FaultyLog, unavailable
from tests.support.server import eventually, serving

pytestmark = pytest.mark.anyio


async def pair(there: Crowd) -> tuple[InSession, InSession]:
    """Pair two sessions in one room."""
    ann, bob = await there.pair("2025", "2025")
    return ann, bob


def places_in_log(events: list[Event]) -> list[tuple[int, int]]:
    """Return position and number of each event, by its id."""
    return [(int(position), int(n)) for _, position, n in (str(event.id).split(".") for event in events)]


async def test_frames_are_bare_notifications_with_an_id_and_their_connection(there: Crowd) -> None:
    """`<epoch>.<position>.<n>` is the id, the position is the cursor, and `_meta` names the connection."""
    ann, bob = await there.session(), await there.session()
    await ann.enter("Ann")
    async with ann.stream() as frames:
        assert frames.response.headers["content-type"].startswith("text/event-stream")
        assert frames.response.headers["mcp-session-id"] == ann.session_id
        await bob.enter("Bob")
        await bob.say("hello")
        await bob.call("leave_chat", room_id=bob.room_id)
        events = await frames.take(3)
    epoch = there.running.broker.log.epoch
    for event in events:
        assert str(event.id).startswith(f"{epoch}.{event.params['cursor']}.")
        assert event.meta == {"io.github.mcp-chat-broker/connection": ann.connection_id}
        assert set(event.data) == {"jsonrpc", "method", "params"}
    assert [event.method for event in events] == ["chatroom.found", "message.received", "partner.disconnected"]
    assert set(events[0].params) == {"room_id", "partner", "timestamp", "cursor"}
    assert set(events[1].params) == {"room_id", "message", "timestamp", "cursor", "sender"}
    assert set(events[2].params) == {"room_id", "reason", "timestamp", "cursor"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", events[0].params["timestamp"])


async def test_a_frame_says_what_the_tools_say(there: Crowd) -> None:
    """Push and pull give the same params."""
    ann, bob = await pair(there)
    async with ann.stream() as frames:
        await bob.say("hello")
        pushed = await frames.next()
    pulled = (await ann.hear())[-1]
    assert {"method": pushed.method, "params": pushed.params} == pulled


async def test_who_is_matched_at_once_hears_it_on_the_stream_as_well(there: Crowd) -> None:
    """A stream opened before `enter_queue` hears `chatroom.found`, as the partner's does."""
    ann, bob = await there.session(), await there.session()
    await ann.enter("Ann")
    async with bob.stream() as frames:
        await bob.enter("Bob")
        found = await frames.next()
    assert (found.method, found.params["partner"]) == ("chatroom.found", "Ann")
    assert found.connection_id == bob.connection_id


async def test_nobody_hears_what_is_not_theirs(there: Crowd) -> None:
    """A stream carries neither the client's own messages nor another room's."""
    ann, bob = await pair(there)
    cat, dan = await pair(there)
    async with ann.stream() as frames:
        await cat.say("not for Ann")
        await ann.say("Ann's own")
        await dan.say("not for Ann either")
        await bob.say("for Ann")
        assert texts([await frames.next()]) == ["for Ann"]


async def test_resuming_gives_what_was_missed_once_and_goes_on_live(there: Crowd) -> None:
    """After any frame, `Last-Event-ID` gives the later ones in order, then new events."""
    ann, bob = await pair(there)
    async with ann.stream() as frames:
        await bob.say("0")
        await bob.say("1")
        heard = await frames.take(2)
    await bob.say("2")
    await bob.say("3")
    for number, event in enumerate(heard):
        async with ann.stream(event.id) as frames:
            await bob.say("live")
            expected = [str(n) for n in range(number + 1, 4)] + ["live"] * (number + 1)
            assert texts(await frames.take(len(expected))) == expected


async def test_resuming_while_much_is_said_loses_and_repeats_nothing(there: Crowd) -> None:
    """Across many drops of the stream in a long conversation, each message is heard once, in order."""
    ann, bob = await pair(there)
    heard: list[str] = []
    last = None
    for number in range(40):
        async with ann.stream(last) as frames:
            await bob.say(f"{3 * number}")
            await bob.say(f"{3 * number + 1}")
            expected = 1 if number == 0 else 2
            events = await frames.take(expected)
            heard += texts(events)
            last = events[-1].id
        await bob.say(f"{3 * number + 2}")
    async with ann.stream(last) as frames:
        while len(heard) < 120:
            heard += texts([await frames.next()])
    assert heard == [f"{number}" for number in range(120)]


@pytest.mark.parametrize(
    "garbled",
    ["", "x", "0.0", "....", "deadbeefdeadbeef.1.1", "{epoch}.1", "{epoch}.x.1", "{epoch}.1.-1", "{epoch}.1.1.1"],
)
async def test_an_id_that_is_none_of_ours_starts_live(there: Crowd, garbled: str) -> None:
    """Another log's id, or an unreadable one, replays nothing and fails nothing."""
    ann, bob = await pair(there)
    await bob.say("before")
    event_id = garbled.format(epoch=there.running.broker.log.epoch)
    async with ann.stream(event_id) as frames:
        await bob.say("after")
        assert texts([await frames.next()]) == ["after"]


@pytest.mark.parametrize("position", ["99", "999999999999999"])
async def test_an_id_ahead_of_the_log_starts_live(there: Crowd, position: str) -> None:
    """A future position has nothing after it; the next event is heard."""
    ann, bob = await pair(there)
    async with ann.stream(f"{there.running.broker.log.epoch}.{position}.1") as frames:
        await bob.say("after")
        assert texts([await frames.next()]) == ["after"]


async def test_a_second_stream_displaces_the_first(there: Crowd) -> None:
    """There is one stream a session: the older one ends in order, the newer one hears."""
    ann, bob = await pair(there)
    async with ann.stream() as first:
        await bob.say("to the first")
        async with ann.stream() as second:
            assert texts(await first.rest()) == ["to the first"]
            await bob.say("to the second")
            assert texts([await second.next()]) == ["to the second"]
        await eventually(lambda: there.running.metric('chat_broker_streams{kind="get"}') == 0)


async def test_a_session_may_replace_its_stream_when_no_other_can_be_opened() -> None:
    """The displaced stream makes room for the new one; a further one is refused."""
    async with serving(streams_max=1) as running, crowd(running) as there:
        ann, bob = await there.pair("2025", "2025")
        assert isinstance(ann, InSession)
        assert isinstance(bob, InSession)
        async with ann.stream() as first, ann.stream() as second:
            assert await first.rest() == []
            headers = {"accept": "text/event-stream"} | bob.headers("", None)
            refused = await bob.http.get(running.url, headers=headers)
            assert refused.status_code == 503
            await bob.say("hello")
            assert texts([await second.next()]) == ["hello"]


async def test_both_members_of_a_room_may_share_a_stream(there: Crowd) -> None:
    """A session hears for both presented handles; the ids of one commit's frames go up by connection."""
    ann, bob = await pair(there)
    host = await there.session()
    for person in (ann, bob):
        await host.call("get_status", handle=person.handle)
    async with host.stream() as frames:
        await ann.say("to Bob")
        await bob.say("to Ann")
        events = await frames.take(2)
        assert [event.connection_id for event in events] == [bob.connection_id, ann.connection_id]
        await ann.call("leave_chat", room_id=bob.room_id)
        left = await frames.next()
        assert (left.method, left.connection_id) == ("partner.disconnected", bob.connection_id)
        await ann.enter("Ann")
        await bob.enter("Bob")
        found = await frames.take(2)
    assert [event.connection_id for event in found] == sorted([ann.connection_id, bob.connection_id])
    position = found[0].params["cursor"]
    assert places_in_log(found) == [(position, 0b01), (position, 0b11)]
    async with host.stream(found[0].id) as frames:  # the second of two frames at one position
        assert (await frames.next()).data == found[1].data
    async with host.stream(left.id) as frames:
        assert [event.data for event in await frames.take(2)] == [event.data for event in found]


async def test_a_handle_is_heard_in_every_session_that_presented_it(there: Crowd) -> None:
    """Each of two hosts of one person gets each frame."""
    ann, bob = await pair(there)
    other = await there.session()
    await other.call("get_status", handle=ann.handle)
    async with ann.stream() as first, other.stream() as second:
        await bob.say("to both")
        assert await first.next() == await second.next()


async def test_a_handle_presented_while_the_stream_is_open_is_heard_from_then_on(there: Crowd) -> None:
    """Any call with a handle makes the session's open stream one for it too."""
    ann, bob = await there.pair("2026", "2026")
    host = await there.session()
    async with host.stream() as frames:
        await bob.say("before")
        await host.call("get_status", handle=ann.handle)
        await bob.say("after")
        assert texts([await frames.next()]) == ["after"]


async def test_deleting_a_session_closes_its_streams_and_nothing_else(there: Crowd) -> None:
    """A member of a room stays in it, and goes on in another session."""
    ann, bob = await pair(there)
    async with ann.stream() as frames:
        assert (await ann.delete()).status_code == 200
        assert await frames.rest() == []
    assert (await ann.exchange("tools/list", {})).status_code == 404
    again = await there.session()
    status = await again.call("get_status", handle=ann.handle)
    assert status["status"] == "chatting"
    await bob.say("still here?")
    assert texts((await again.call("wait_for_events", cursor=0))["events"]) == ["still here?"]


async def test_a_stream_needs_a_session_that_there_is(there: Crowd) -> None:
    """No id is 400, an unknown one 404, no `text/event-stream` in Accept 406, each as a JSON-RPC error."""
    person = await there.session()
    version = {"mcp-protocol-version": "2025-11-25"}
    for headers, status in (
        ({"accept": "text/event-stream"}, 400),
        ({"accept": "text/event-stream", "mcp-session-id": "0" * 32}, 404),
        ({"accept": "application/json", "mcp-session-id": person.session_id}, 406),
        ({"accept": ACCEPT, "mcp-session-id": "' OR 1=1 --"}, 404),
    ):
        response = await person.http.get(there.running.url, headers=version | headers)
        assert response.status_code == status
        assert response.json()["error"]["code"] == (-32001 if status == 404 else -32600)
        assert "mcp-session-id" not in response.headers
    response = await person.http.get(there.running.url, headers={"mcp-protocol-version": "2026-07-28"})
    assert response.status_code == 405


@pytest.mark.parametrize(("version", "primed"), [("2025-03-26", False), ("2025-06-18", False), ("2025-11-25", True)])
async def test_only_newer_clients_are_given_an_id_before_the_first_event(
    there: Crowd, version: str, *, primed: bool
) -> None:
    """Since 2025-11-25 a stream starts with an id; older clients would take it for an event."""
    ann = await there.session(version)
    bob = await there.session()
    async with ann.stream() as frames:
        assert bool(frames.ids_alone) is primed
        assert bool(frames.comments) is not primed
    await ann.enter("Ann")
    async with ann.stream() as frames:
        await bob.enter("Bob")
        assert (await frames.next()).method == "chatroom.found"


async def test_clients_are_told_to_come_back_at_different_moments(there: Crowd) -> None:
    """The delay is random, half a second to three seconds after the loss of a stream."""
    ann = await there.session()
    retries_ms = set[int]()
    for _ in range(8):
        async with ann.stream() as frames:
            await frames.until(lambda frames=frames: frames.retries_ms)
            retries_ms.update(frames.retries_ms)
    assert all(500 <= retry_ms <= 3_000 for retry_ms in retries_ms)
    assert len(retries_ms) > 1


async def test_the_first_id_resumes_a_stream_that_heard_nothing(there: Crowd) -> None:
    """A client loses no event with a stream that ended before the first one."""
    ann, bob = await pair(there)
    await bob.say("before")
    async with ann.stream() as frames:
        (event_id,) = frames.ids_alone
    await bob.say("missed")
    async with ann.stream(event_id) as frames:
        assert texts([await frames.next()]) == ["missed"]


async def test_a_session_and_its_stream_go_on_after_a_restart() -> None:
    """The same session id, the same left-out handle, GET with `Last-Event-ID`: nothing is lost or repeated."""
    log = MemoryLog()
    async with serving(log=log) as running, crowd(running) as there:
        ann, bob = await pair(there)
        async with ann.stream() as frames:
            await bob.say("heard")
            last = (await frames.next()).id
        await bob.say("missed")
    async with serving(log=log) as running, crowd(running) as there:
        old, bob_again = ann.at(running), await there.session()
        async with old.stream(last) as frames:
            assert texts([await frames.next()]) == ["missed"]
            await bob_again.call("send_message", room_id=bob.room_id, message="live", handle=bob.handle)
            assert texts([await frames.next()]) == ["live"]
        assert (await old.call("get_status"))["connection_id"] == ann.connection_id
        await old.close()


async def test_a_session_of_another_log_is_unknown() -> None:
    """404, initialize, any call with the handle, GET with `Last-Event-ID`: nothing is lost or repeated."""
    log = MemoryLog()
    async with serving(log=log) as running, crowd(running) as there:
        ann, bob = await pair(there)
        async with ann.stream() as frames:
            await bob.say("heard")
            last = (await frames.next()).id
        await bob.say("missed")
    log.session_records = MemorySessionRecords()  # as if the secret had been lost
    async with serving(log=log) as running, crowd(running) as there:
        old = ann.at(running)
        assert (await old.exchange("tools/list", {})).status_code == 404
        async with old.stream(last) as frames:
            assert frames.response.status_code == 404
        await old.close()
        again = await there.session()
        await again.call("get_status", handle=ann.handle)
        async with again.stream(last) as frames:
            assert texts([await frames.next()]) == ["missed"]


async def test_resuming_replays_for_the_handles_that_this_session_presented_alone(there: Crowd) -> None:
    """Another person's `Last-Event-ID` gives none of their events."""
    ann, bob = await pair(there)
    async with ann.stream() as frames:
        (event_id,) = frames.ids_alone
    await bob.say("for Ann")
    eve = await there.session()
    await eve.enter("Eve")
    async with eve.stream(event_id) as frames:
        fay = await there.session()
        await fay.enter("Fay")
        assert (await frames.next()).method == "chatroom.found"


async def test_resuming_from_before_the_logs_base_gives_what_is_left() -> None:
    """Forgotten events can't be replayed; the rest is, in order."""
    async with serving(log_commits_max=10) as running, crowd(running) as there:
        ann, bob = await pair(there)
        async with ann.stream() as frames:
            (event_id,) = frames.ids_alone
        for number in range(20):
            await bob.say(f"{number}")
        async with ann.stream(event_id) as frames:
            first = texts([await frames.next()])[0]
            left = [f"{number}" for number in range(int(first) + 1, 20)]
            assert texts(await frames.take(len(left))) == left
            assert len(left) >= 4


async def test_an_open_stream_is_pinged_every_fifteen_seconds() -> None:
    """The ping is a comment, so that every proxy on the way knows that the stream lives."""
    clock = FakeClock()
    async with serving(clock=clock) as running, crowd(running) as there:
        ann = await there.session()
        async with ann.stream() as frames:
            for pings in (1, 2, 3):
                await clock.advance(14_000)
                assert frames.comments == pings - 1
                await clock.advance(1_000)
                await frames.until(lambda pings=pings: frames.comments == pings)


async def test_stopping_ends_the_stream_in_order() -> None:
    """At shutdown the stream's response is whole, and its last frames are in it."""
    async with serving() as running, crowd(running) as there:
        ann, bob = await pair(there)
        async with ann.stream() as frames:
            await bob.say("last words")
            running.stop()
            assert texts(await frames.rest()) == ["last words"]


async def test_a_session_presents_no_more_handles_than_its_stream_may_carry() -> None:
    """Beyond `handles_per_stream_max` the handle presented longest ago is no longer heard."""
    async with serving(handles_per_stream_max=2) as running, crowd(running) as there:
        people: list[Person] = []
        for _ in range(2):
            people += await there.pair("2026", "2026")
        host = await there.session()
        async with host.stream() as frames:
            for person in (people[0], people[1], people[2]):
                await host.call("get_status", handle=person.handle)
            await people[1].say("to the first, who is heard no more")
            await people[3].say("to the third")
            assert texts([await frames.next()]) == ["to the third"]


async def test_initialize_names_the_extension_as_experimental(there: Crowd) -> None:
    """A session can't negotiate extensions, so its capabilities name ours there, and promise no changing lists."""
    capabilities = (await there.session()).initialized["capabilities"]
    assert "io.github.mcp-chat-broker/events" in capabilities["experimental"]
    assert "io.github.mcp-chat-broker/events" not in capabilities["extensions"]
    assert capabilities["resources"]["subscribe"] is True
    assert not capabilities["tools"].get("listChanged")


async def test_a_handle_presented_after_the_last_event_disturbs_no_other(there: Crowd) -> None:
    """A connection in the same commit, presented only later, neither repeats nor displaces a frame."""
    ann, bob = await there.pair()
    await ann.call("leave_chat", room_id=ann.room_id, handle=ann.handle)
    first, second = sorted((ann, bob), key=lambda person: person.connection_id)
    host = await there.session()
    await host.call("get_status", handle=second.handle)
    async with host.stream() as frames:
        for person in (ann, bob):
            await person.enter(handle=person.handle)
        found = await frames.next()
        assert found.method == "chatroom.found"
    await host.call("get_status", handle=first.handle)
    async with host.stream(found.id) as frames:
        second.room_id = found.params["room_id"]
        await second.say("to the first")
        events = await frames.take(2)
    assert [event.method for event in events] == ["chatroom.found", "message.received"]
    assert {event.connection_id for event in events} == {first.connection_id}


async def test_a_stream_that_cannot_be_read_from_the_log_ends_and_resumes_later() -> None:
    """It is no fault: the answer is whole, and the next stream has the missed events."""
    log = FaultyLog()
    async with serving(log=log) as running, crowd(running) as there:
        ann, bob = await pair(there)
        async with ann.stream() as frames:
            await bob.say("first")
            heard = await frames.next()
        await bob.say("missed")
        log.before_read = [unavailable]
        async with ann.stream(heard.id) as frames:
            assert await frames.rest() == []
        async with ann.stream(heard.id) as frames:
            assert texts([await frames.next()]) == ["missed"]


async def test_a_new_session_that_shows_more_handles_repeats_and_loses_nothing(there: Crowd) -> None:
    """The new session does not know the handles of the old one; the id of the event does."""
    ann, bob = await there.pair()
    await ann.call("leave_chat", room_id=ann.room_id, handle=ann.handle)
    first, second = sorted((ann, bob), key=lambda person: person.connection_id)
    old, new = await there.session(), await there.session()
    await old.call("get_status", handle=second.handle)
    async with old.stream() as frames:
        for person in (ann, bob):
            await person.enter(handle=person.handle)
        found = await frames.next()
        assert (found.method, found.connection_id) == ("chatroom.found", second.connection_id)
    for person in (ann, bob):
        await new.call("get_status", handle=person.handle)
    async with new.stream(found.id) as frames:
        first.room_id = found.params["room_id"]
        await first.say("to the second")
        events = await frames.take(2)
    assert [(event.method, event.connection_id) for event in events] == [
        ("chatroom.found", first.connection_id),
        ("message.received", second.connection_id),
    ]


async def test_resuming_without_the_old_sessions_subscriptions_loses_nothing(there: Crowd) -> None:
    """A new session takes over a stream with marks: no connection of the same commit is skipped."""
    ann, bob = await there.pair()
    await ann.call("leave_chat", room_id=ann.room_id, handle=ann.handle)
    first, second = sorted((ann, bob), key=lambda person: person.connection_id)
    old, new = await there.session(), await there.session()
    for host in (old, new):
        for person in (ann, bob):
            await host.call("get_status", handle=person.handle)
    await old.request("resources/subscribe", {"uri": f"chat://inbox/{first.handle}"})
    async with old.stream() as frames:
        for person in (ann, bob):
            await person.enter(handle=person.handle)
        mark, found = await frames.take(2)
        assert mark.method == "notifications/resources/updated"
        assert (found.method, found.connection_id) == ("chatroom.found", first.connection_id)
    async with new.stream(found.id) as frames:
        await first.call("get_status", handle=first.handle)  # for the room's id
        await first.say("to the second")
        found = await frames.next()
    assert (found.method, found.connection_id) == ("chatroom.found", second.connection_id)


async def test_a_position_may_be_resumed_in_the_middle_again(there: Crowd) -> None:
    """A new session continues within a position, breaks, and continues after its last frame."""
    ann, bob = await there.pair()
    await ann.call("leave_chat", room_id=ann.room_id, handle=ann.handle)
    first, second = sorted((ann, bob), key=lambda person: person.connection_id)
    old, new = await there.session(), await there.session()
    for host in (old, new):
        for person in (ann, bob):
            await host.call("get_status", handle=person.handle)
    async with old.stream() as frames:
        for person in (ann, bob):
            await person.enter(handle=person.handle)
        found, _ = await frames.take(2)
    async with new.stream(found.id) as frames:
        found = await frames.next()
        assert found.connection_id == second.connection_id
    await first.call("leave_chat", room_id=found.params["room_id"], handle=first.handle)
    async with new.stream(found.id) as frames:
        ended = await frames.next()
    assert (ended.method, ended.connection_id) == ("partner.disconnected", second.connection_id)
