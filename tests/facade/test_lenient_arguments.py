"""Arguments in the forms of hosts: stringified, empty, with keys of their own; the published schema stays strict."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcp_facade.tools.arguments import (
    EnterQueueArguments,
    HandleArguments,
    InvalidArgumentsError,
    ReportArguments,
    RoomArguments,
    SendMessageArguments,
    WaitForEventsArguments,
    parse,
)
from tests.facade.people import Crowd, Era, texts

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("cursor", [3, 3.0, "3", " 3 ", "3.0", "3e0", "30e-1"])
async def test_a_whole_number_may_be_text(cursor: Any) -> None:
    """A number has one meaning, and several spellings."""
    assert parse(WaitForEventsArguments, {"cursor": cursor}).cursor == 3


@pytest.mark.parametrize(("given", "taken"), [("45", 45), ("0.5", 0.5), (600, 300), ("600", 300), (1e300, 300)])
async def test_a_wait_is_shortened_to_the_longest(given: Any, taken: float) -> None:
    """A request for more gets the limit."""
    assert parse(WaitForEventsArguments, {"cursor": 1, "wait_seconds": given}).wait_seconds == taken


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ('["music","go"]', ("go", "music")),
        (' [ "music", "go" ] ', ("go", "music")),
        ("music, go", ("go", "music")),
        ("music,go,", ("go", "music")),
        ("a,b,c,d,e,f,g,h,i,j,", tuple("abcdefghij")),
        ("None", ()),
        ("music\ngo", ("go", "music")),
        ("音楽、囲碁", ("囲碁", "音楽")),
        ("music", ("music",)),
        ("[]", ()),
        ("", ()),
        ("null", ()),
        (" ", ()),
        (None, ()),
        ([], ()),
        (["", None, "go"], ("go",)),
        (1984, ("1984",)),
        ([1984, "go"], ("1984", "go")),
        ("[1984]", ("1984",)),
    ],
)
async def test_interests_may_be_text(given: Any, taken: tuple[str, ...]) -> None:
    """Text is JSON, or words with commas between them."""
    assert tuple(parse(EnterQueueArguments, {"interests": given}).interests) == taken


@pytest.mark.parametrize(("given", "said"), [(42, "42"), (4.5, "4.5"), (-7, "-7"), (0, "0"), (1e-7, "1e-7")])
async def test_a_number_may_be_text(given: float, said: str) -> None:
    """The host parsed a text, and made a number of it."""
    assert parse(SendMessageArguments, {"room_id": "r", "message": given}).message == said
    assert parse(EnterQueueArguments, {"display_name": given}).display_name == said


@pytest.mark.parametrize("category", ["harassment", "Harassment", " harassment\n", "HARASSMENT"])
async def test_a_category_may_be_in_capitals(category: str) -> None:
    """Case and spaces around it mean nothing."""
    asked = parse(ReportArguments, {"room_id": "r", "category": category, "sessionId": 1})
    assert (asked.category, asked.note) == ("harassment", None)


@pytest.mark.parametrize("text", ["true", "1, 2", "[1]", '{"a": 1}', "null", "42", " x ", "1.0"])
async def test_text_is_never_parsed(text: str) -> None:
    """A message stays as it is, beside arguments in need of parsing."""
    given = {"room_id": "r", "message": text, "cursor": "7", "sessionId": 1}
    assert parse(SendMessageArguments, given).message == text


@pytest.mark.parametrize("empty", [None, ""])
async def test_empty_optional_arguments_are_left_out(empty: Any) -> None:
    """Hosts fill in arguments a model leaves out."""
    names = ("handle", "message_id", "cursor", "wait_seconds")
    sent = parse(SendMessageArguments, {"room_id": "r", "message": "x"} | dict.fromkeys(names, empty))
    assert (sent.handle, sent.message_id, sent.cursor, sent.wait_seconds) == (None, None, None, 0)
    entered = parse(EnterQueueArguments, dict.fromkeys(("display_name", "interests", "handle"), empty))
    assert (entered.display_name, list(entered.interests), entered.handle) == ("Anonymous", [], None)
    waited = parse(WaitForEventsArguments, {"cursor": 1, "wait_seconds": empty})
    assert waited.wait_seconds == 45


@pytest.mark.parametrize("nothing", ["null", "None", "undefined"])
async def test_an_id_that_says_nothing_is_left_out(nothing: str) -> None:
    """Some hosts write no value as text; a name or a message may be such a word."""
    given = {"room_id": "r", "message": nothing, "handle": nothing, "message_id": nothing, "cursor": nothing}
    sent = parse(SendMessageArguments, given)
    assert (sent.message, sent.handle, sent.message_id, sent.cursor) == (nothing, None, None, None)
    assert parse(EnterQueueArguments, {"display_name": nothing, "handle": nothing}).display_name == nothing


@pytest.mark.parametrize(
    ("model", "given", "name"),
    [
        (SendMessageArguments, {"room_id": "r", "message": "x", "message_d": "1"}, "message_id"),
        (SendMessageArguments, {"room_id": "r", "message": "x", "messag_id": "1"}, "message_id"),
        (SendMessageArguments, {"room_id": "r", "message": "x", "cursor": None, "curser": 5}, "cursor"),
        (SendMessageArguments, {"room_id": "r", "message": "", "mesage": "hi"}, "message"),
        (EnterQueueArguments, {"interests": "", "interest": "tea"}, "interests"),
        (EnterQueueArguments, {"display_name": "Anonymous", "display_nam": "Ann"}, "display_name"),
        (WaitForEventsArguments, {"cursor": "", "curser": 1}, "cursor"),
    ],
)
async def test_a_slip_is_told_the_closest_name_that_holds_nothing(model: Any, given: dict[str, Any], name: str) -> None:
    """An empty value counts as left out, and the closest name is the meant one."""
    with pytest.raises(InvalidArgumentsError, match=f"write {name}\\."):
        parse(model, given)


FOREIGN = ["toolCallId", "sessionId", "session_id", "requestId", "_meta", "threadId", "chatId", "user_id", "", "é" * 99]


@pytest.mark.parametrize("model", [EnterQueueArguments, HandleArguments])
@pytest.mark.parametrize("key", FOREIGN)
async def test_keys_of_a_host_are_ignored(model: type[HandleArguments], key: str) -> None:
    """The model can not see them, so it could not leave them out."""
    assert parse(model, {key: {"any": ["thing"]}, "handle": "h"}).handle == "h"
    assert parse(RoomArguments, {key: "x", "room_id": "r"}).room_id == "r"


@pytest.mark.parametrize("form", ["roomId", "RoomID", "room-id", "ROOM_ID", "roomid"])
async def test_other_forms_of_our_names_are_accepted(form: str) -> None:
    """Hosts change the forms; the exact name wins."""
    assert parse(RoomArguments, {form: "r"}).room_id == "r"
    assert parse(RoomArguments, {form: "other", "room_id": "r"}).room_id == "r"
    assert parse(RoomArguments, {form: "r", "room_id": ""}).room_id == "r"


async def test_a_default_that_a_host_fills_in_does_not_hide_what_was_given() -> None:
    """Some add the defaults of the schema under our names, beside the caller's camelCase."""
    given = {"displayName": "Ann", "display_name": "Anonymous", "interests": []}
    assert parse(EnterQueueArguments, given).display_name == "Ann"
    assert parse(WaitForEventsArguments, {"cursor": 1, "waitSeconds": 5, "wait_seconds": 45}).wait_seconds == 5


async def test_a_key_close_to_a_name_that_is_given_is_a_hosts_own() -> None:
    """Nothing is missing, so nothing was misspelt."""
    assert parse(SendMessageArguments, {"room_id": "r", "message": "x", "messages": []}).message == "x"


async def test_a_handle_with_space_around_it_is_that_handle() -> None:
    """A model that copies a handle may add space."""
    assert parse(HandleArguments, {"handle": " h\n"}).handle == "h"


async def test_a_host_that_writes_everything_as_text_has_a_whole_conversation(there: Crowd, era: Era) -> None:
    """It enters, is heard, hears, waits, and leaves; with keys of its own, and our names in camelCase."""
    ann, bob = await there.person(era), await there.person(era)
    noise = {"toolCallId": "call_1", "sessionId": "s-1"}
    waiting = await ann.call("enter_queue", displayName="Ann", interests='["tea","go"]', handle="", **noise)
    mine = {"handle": waiting["handle"]} | noise
    found = ann.calling("wait_for_events", cursor=str(waiting["cursor"]), waitSeconds="20", **mine)
    await bob.enter("Bob")
    (event,) = (await found)["events"]
    room_id = event["params"]["room_id"]
    said = await ann.call("send_message", roomId=room_id, message=42, cursor=str(event["params"]["cursor"]), **mine)
    assert texts(await bob.hear()) == ["42"]
    await bob.say("and 43")
    heard = await ann.call("wait_for_events", cursor=str(said["cursor"]), wait_seconds="", **mine)
    assert texts(heard["events"]) == ["and 43"]
    again = await ann.call("get_status", **mine)
    assert json.dumps(again["partner"]) == '"Bob"'
    assert await ann.call("leave_chat", roomId=room_id, **mine) == {"success": True}


async def test_arguments_that_are_one_text_are_read(there: Crowd, era: Era) -> None:
    """Some hosts write the whole object as text; a text without an object is refused."""
    person = await there.person(era)
    for arguments in ("", " ", "{}", "null", '{"display_name": "Ann"}'):
        answer = await person.request("tools/call", {"name": "get_status", "arguments": arguments})
        assert answer["result"]["structuredContent"]["status"] == "idle"
    for arguments in ("[]", "7", "{"):
        answer = await person.request("tools/call", {"name": "get_status", "arguments": arguments})
        assert answer["error"]["code"] == -32602


async def test_the_prompt_takes_what_the_tool_takes(there: Crowd, era: Era) -> None:
    """Its arguments are texts; lists are split alike, and a misspelt name is told."""
    person = await there.person(era)
    for interests in ("音楽、囲碁", '["囲碁", "音楽"]', "音楽\n囲碁,"):
        given = {"displayName": "Zed", "interests": interests, "sessionId": "s"}
        answer = await person.request("prompts/get", {"name": "chat", "arguments": given})
        text = answer["result"]["messages"][0]["content"]["text"]
        assert "['囲碁', '音楽']" in text
        assert "'Zed'" in text
    answer = await person.request("prompts/get", {"name": "chat", "arguments": {"dispaly_name": "x"}})
    assert "write display_name" in answer["error"]["message"]


async def test_the_cursor_of_an_inbox_is_a_number_in_any_spelling(there: Crowd, era: Era) -> None:
    """An empty one is left out: a template is expanded so."""
    ann, bob = await there.pair(era, era)
    await bob.say("hello")
    for cursor in ("", "null", "0", "0.0", "%20"):
        inbox = await ann.read(f"chat://inbox/{ann.handle}?cursor={cursor}")
        assert texts(inbox["events"]) == ["hello"]
    for cursor in ("x", "1.5", "-1", "true"):
        answer = await ann.request("resources/read", {"uri": f"chat://inbox/{ann.handle}?cursor={cursor}"})
        assert "cursor is not one" in answer["error"]["message"]


async def test_a_stringified_wait_ends_with_its_client(there: Crowd, era: Era) -> None:
    """A new handle is abandoned with its call, in any spelling of the empty one."""
    ann = await there.person(era)
    for empty in ("", " ", None):
        entered = await ann.call("enter_queue", handle=empty)
        assert entered["status"] == "waiting"
        await ann.call("leave_queue", handle=entered["handle"])
