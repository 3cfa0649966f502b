"""The lobby, the inbox, and the prompt."""

from __future__ import annotations

import pytest

from mcp_facade.resources import URI_CHARS_MAX
from tests.facade.people import Crowd, Era, InSession, crowd, texts
from tests.support.server import serving

pytestmark = pytest.mark.anyio

UPDATED = "notifications/resources/updated"


async def test_the_lobby_and_the_window_are_listed_and_the_inbox_is_a_template(there: Crowd, era: Era) -> None:
    """No list names a handle."""
    ann, _ = await there.pair(era, era)
    listed = (await ann.request("resources/list"))["result"]["resources"]
    assert [resource["name"] for resource in listed] == ["lobby", "chat-window"]
    templates = (await ann.request("resources/templates/list"))["result"]["resourceTemplates"]
    assert [template["uriTemplate"] for template in templates] == ["chat://inbox/{handle}{?cursor}"]


async def test_the_lobby_counts_who_waits_and_who_chats(there: Crowd, era: Era) -> None:
    """The lobby has numbers, and no names."""
    ann, _ = await there.pair(era, era)
    await (await there.person(era)).enter("Cat")
    assert await ann.read("chat://lobby") == {
        "waiting": 1,
        "chatting": 2,
        "rooms_open": 1,
        "matching": "first-come",
    }


async def test_the_inbox_gives_what_wait_for_events_gives(there: Crowd, era: Era) -> None:
    """With a cursor and without one, the resource and the tool agree."""
    ann, bob = await there.pair(era, era)
    await bob.say("hello")
    await bob.say("again")
    pulled = await ann.call("wait_for_events", cursor=0, handle=ann.handle, wait_seconds=0)
    assert await ann.read(f"chat://inbox/{ann.handle}?cursor=0") == pulled
    assert await ann.read(f"chat://inbox/{ann.handle}") == pulled
    later = await ann.read(f"chat://inbox/{ann.handle}?cursor={pulled['events'][1]['params']['cursor']}")
    assert texts(later["events"]) == ["again"]
    assert later["status"] == "chatting"


async def test_a_cursor_in_the_uri_is_checked(there: Crowd, era: Era) -> None:
    """A value that is no known cursor is invalid, and the handle beside it is not repeated."""
    ann, _ = await there.pair(era, era)
    for cursor in ("-1", "x", "999", "1e3", "%D9%A3", "%00", "0" * 500 + "9999"):
        answer = await ann.request("resources/read", {"uri": f"chat://inbox/{ann.handle}?cursor={cursor}"})
        assert answer["error"]["code"] == -32602, cursor[:10]
        assert ann.handle not in str(answer)


async def test_a_uri_that_is_longer_than_any_is_not_found(there: Crowd, era: Era) -> None:
    """It is not repeated or parsed, since a session would remember it, and parsing costs its length."""
    ann = await there.person(era)
    await ann.enter()
    code = -32002 if era == "2025" else -32602
    methods = ["resources/read"] + (["resources/subscribe"] if era == "2025" else [])
    for method in methods:
        answer = await ann.request(method, {"uri": f"chat://inbox/{ann.handle}?cursor=0&x={'x' * URI_CHARS_MAX}"})
        assert answer["error"]["code"] == code
        assert ann.handle not in str(answer)


@pytest.mark.parametrize("odd", ["\x00", "\x1f", "\n", "\x7f", "\x80", "ü", "٣", "\u202e", "\U0001f600"], ids=ascii)
async def test_a_uri_with_other_than_printable_ascii_is_not_found(there: Crowd, era: Era, odd: str) -> None:
    """The other character may be anywhere; no such URI is stored with a session, or carried by a stream."""
    ann = await there.person(era)
    await ann.enter()
    inbox = f"chat://inbox/{ann.handle}"
    code = -32002 if era == "2025" else -32602
    for uri in (f"{inbox}?x={odd}", f"{inbox}{odd}", f"{inbox}?cursor=0{odd}", f"{odd}{inbox}", f"chat{odd}://inbox/x"):
        for method in ["resources/read"] + (["resources/subscribe"] if era == "2025" else []):
            answer = await ann.request(method, {"uri": uri})
            assert answer["error"]["code"] == code, (method, uri)
            assert ann.handle not in str(answer)
        if isinstance(ann, InSession):
            assert "error" not in await ann.request("resources/unsubscribe", {"uri": uri})
            session = there.running.app.endpoint._sessions.get(ann.session_id)
            assert session is not None
            assert session.subscriptions == {}
        else:
            async with ann.listening({"resourceSubscriptions": [uri, inbox]}) as frames:
                assert (await frames.next()).params == {"notifications": {"resourceSubscriptions": [inbox]}}


async def test_other_uris_are_not_found(there: Crowd, era: Era) -> None:
    """A missing resource has the era's code, and every URI that may hold a handle is left out."""
    ann = await there.person(era)
    await ann.enter()
    code = -32002 if era == "2025" else -32602
    for uri in ("chat://nowhere", "https://example.org/", "chat://lobby/more", "file:///etc/passwd", "chat://[bad"):
        answer = await ann.request("resources/read", {"uri": uri})
        assert answer["error"]["code"] == code, uri
    for uri in (f"chat://Inbox/{ann.handle}/more", f"CHAT://INBOX/{ann.handle}x", f"chat:inbox/{ann.handle}"):
        answer = await ann.request("resources/read", {"uri": uri})
        assert ann.handle not in str(answer), uri


async def test_reading_an_inbox_presents_its_handle(there: Crowd) -> None:
    """In a session, the stream then carries that inbox's events."""
    ann, bob = await there.pair("2026", "2026")
    host = await there.session()
    await host.read(f"chat://inbox/{ann.handle}")
    async with host.stream() as frames:
        await bob.say("hello")
        assert texts([await frames.next()]) == ["hello"]


async def test_a_session_that_subscribes_is_told_that_the_inbox_grew(there: Crowd) -> None:
    """The mark follows the notification at the same position, until the session unsubscribes."""
    ann, bob = await there.pair("2025", "2025")
    assert isinstance(ann, InSession)
    uri = f"chat://inbox/{ann.handle}"
    assert "error" not in await ann.request("resources/subscribe", {"uri": uri})
    async with ann.stream() as frames:
        await bob.say("one")
        updated, said = await frames.take(2)
        assert texts([said]) == ["one"]
        assert (updated.method, updated.params) == (UPDATED, {"uri": uri})
        assert updated.connection_id == ann.connection_id
        position = said.params["cursor"]
        epoch = there.running.broker.log.epoch
        assert [updated.id, said.id] == [f"{epoch}.{position}.0", f"{epoch}.{position}.1"]
        assert "error" not in await ann.request("resources/unsubscribe", {"uri": uri})
        assert "error" not in await ann.request("resources/unsubscribe", {"uri": "chat://inbox/never"})
        await bob.say("two")
        await bob.say("three")
        assert texts(await frames.take(2)) == ["two", "three"]


async def test_resuming_between_a_mark_and_its_notification_gives_both(there: Crowd) -> None:
    """The id counts notifications: one is never lost nor repeated, and its mark comes before it again."""
    ann, bob = await there.pair("2025", "2025")
    assert isinstance(ann, InSession)
    await ann.request("resources/subscribe", {"uri": f"chat://inbox/{ann.handle}"})
    async with ann.stream() as frames:
        await bob.say("one")
        updated, said = await frames.take(2)
    await bob.say("two")
    async with ann.stream(updated.id) as frames:
        again = await frames.take(4)
    assert again[:2] == [updated, said]
    assert [event.method for event in again[2:]] == [UPDATED, "message.received"]
    async with ann.stream(said.id) as frames:
        assert texts((await frames.take(2))[1:]) == ["two"]


async def test_a_session_subscribes_to_so_much_and_no_more() -> None:
    """Beyond `handles_per_stream_max` a subscription is refused; a repeated one does not count."""
    async with serving(handles_per_stream_max=2) as running, crowd(running) as there:
        ann = await there.session()
        await ann.enter()
        uris = [f"chat://inbox/{ann.handle}{query}" for query in ("", "?cursor=0", "?cursor=1")]
        for uri in (uris[0], uris[1], uris[0]):
            assert "error" not in await ann.request("resources/subscribe", {"uri": uri})
        answer = await ann.request("resources/subscribe", {"uri": uris[2]})
        assert answer["error"]["code"] == -32602
        assert ann.handle not in str(answer)


async def test_a_handle_that_is_pushed_out_takes_its_subscription_along() -> None:
    """A dropped handle of the session marks no inbox on its stream."""
    async with serving(handles_per_stream_max=1) as running, crowd(running) as there:
        ann, bob = await there.pair("2026", "2026")
        host = await there.session()
        await host.request("resources/subscribe", {"uri": f"chat://inbox/{ann.handle}"})
        await host.call("get_status", handle=bob.handle)
        async with host.stream() as frames:
            await bob.say("to Ann")
            await ann.say("to Bob")
            assert texts([await frames.next()]) == ["to Bob"]


async def test_a_listener_of_both_is_told_both(there: Crowd) -> None:
    """The extension's notification and the mark of the inbox come on one stream."""
    ann, bob = await there.pair()
    uri = f"chat://inbox/{ann.handle}"
    wanted = {"resourceSubscriptions": [uri], "io.github.mcp-chat-broker/events": {"handles": [ann.handle]}}
    async with ann.listening(wanted) as frames:
        await frames.next()
        await bob.say("hello")
        assert [event.method for event in await frames.take(2)] == ["message.received", UPDATED]


async def test_the_prompt_tells_a_model_how_to_chat(there: Crowd, era: Era) -> None:
    """Its arguments are cleaned like the tool's; an unknown prompt is refused."""
    ann = await there.person(era)
    prompts = (await ann.request("prompts/list"))["result"]["prompts"]
    assert [prompt["name"] for prompt in prompts] == ["chat"]
    arguments = {"display_name": "<Ann>\u202e", "interests": "Tea, bees,, Tea"}
    given = await ann.request("prompts/get", {"name": "chat", "arguments": arguments})
    text = given["result"]["messages"][0]["content"]["text"]
    assert "'Ann'" in text
    assert "['bees', 'tea']" in text
    assert "untrusted" in text
    plain = await ann.request("prompts/get", {"name": "chat"})
    assert "'Anonymous'" in plain["result"]["messages"][0]["content"]["text"]
    for wrong in ({"name": "xyzzy"}, {"name": "chat", "arguments": {"interests": ",".join("abcdefghijkl")}}):
        answer = await ann.request("prompts/get", wrong)
        assert answer["error"]["code"] == -32602
        assert "xyzzy" not in str(answer)
