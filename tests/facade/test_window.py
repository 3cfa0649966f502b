"""The chat window in a host's view: its tool, its page, and the declaration of both."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID

from mcp_facade.operator_notice import OperatorNotice
from mcp_facade.streams.frames import EXTENSION
from mcp_facade.texts import WINDOW_OPENED
from mcp_facade.web.window import UI_EXTENSION, WINDOW_TYPE, window_html
from tests.facade.people import Crowd, Era, Person, crowd
from tests.support.server import serving

pytestmark = pytest.mark.anyio

URI = re.compile(r"ui://chat-broker/chat-[0-9a-f]{8}\.html")
SECRET = re.compile(r"cb_[A-Za-z0-9_-]{32}")
META = {
    "ui": {
        "prefersBorder": True,
        "csp": {"connectDomains": [], "resourceDomains": [], "frameDomains": [], "baseUriDomains": []},
    }
}
HANDSHAKE = {"capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


async def listed_tool(person: Person) -> dict[str, Any]:
    """Return the window's tool, as listed."""
    tools = (await person.request("tools/list"))["result"]["tools"]
    tool: dict[str, Any]
    (tool,) = (one for one in tools if one["name"] == "open_chat")
    return tool


async def page_at(person: Person, uri: str) -> dict[str, Any]:
    """Return the contents of a resource."""
    contents: dict[str, Any]
    (contents,) = (await person.request("resources/read", {"uri": uri}))["result"]["contents"]
    return contents


def test_the_extension_is_named_as_the_sdk_names_it() -> None:
    """Our constants are those of `mcp.server.apps`, which takes long to import."""
    assert (UI_EXTENSION, WINDOW_TYPE) == (EXTENSION_ID, APP_MIME_TYPE)


async def test_a_model_is_told_that_the_window_is_its_users(there: Crowd, era: Era) -> None:
    """The result says what may have happened and what else to do, holds no secret, and queues no person."""
    ann = await there.person(era)
    result = await ann.tool("open_chat", {"display_name": "Ann", "interests": ["tea"]})
    assert result["structuredContent"] == {"note": WINDOW_OPENED}
    assert "enter_queue" in result["content"][0]["text"]
    assert not SECRET.search(json.dumps(result))
    assert (await ann.read("chat://lobby"))["waiting"] == 0
    assert (await ann.call("get_status"))["status"] == "idle"


async def test_the_window_takes_the_arguments_of_the_queue(there: Crowd, era: Era) -> None:
    """Both may be left out; arguments the queue would refuse are refused now, with the correction."""
    ann = await there.person(era)
    assert await ann.call("open_chat") == await ann.call("open_chat", interests="tea, chess")
    refusal = await ann.refused("open_chat", interests=["word"] * 11)
    assert refusal["code"] == "invalid_arguments"
    assert "interests" in refusal["error"]


async def test_a_window_does_not_touch_the_conversation_of_a_model(there: Crowd, era: Era) -> None:
    """A chatting model opens a window, and goes on chatting under its own handle."""
    ann, bob = await there.pair(era, era)
    await ann.call("open_chat")
    await ann.say("still here")
    assert [event["params"]["message"] for event in await bob.hear(0) if "message" in event["params"]] == ["still here"]


async def test_the_tool_names_its_page(there: Crowd, era: Era) -> None:
    """The key of the standard and the older one are there; no other tool opens a window."""
    ann = await there.person(era)
    meta = (await listed_tool(ann))["_meta"]
    uri = meta["ui/resourceUri"]
    assert URI.fullmatch(uri)
    assert meta == {"ui": {"resourceUri": uri}, "ui/resourceUri": uri}
    tools = (await ann.request("tools/list"))["result"]["tools"]
    assert [tool["name"] for tool in tools if "resourceUri" in tool.get("_meta", {}).get("ui", {})] == ["open_chat"]


async def test_the_page_is_listed_and_read_with_its_policy(there: Crowd, era: Era) -> None:
    """List and contents agree: its type, a border, and no permission to load; no domain."""
    ann = await there.person(era)
    uri = (await listed_tool(ann))["_meta"]["ui"]["resourceUri"]
    (resource,) = (
        one for one in (await ann.request("resources/list"))["result"]["resources"] if one["uri"].startswith("ui:")
    )
    contents = await page_at(ann, uri)
    assert resource["uri"] == contents["uri"] == uri
    assert resource["mimeType"] == contents["mimeType"] == "text/html;profile=mcp-app"
    assert resource["_meta"] == contents["_meta"] == META
    assert contents["text"].startswith("<!doctype html>")


async def test_an_old_page_is_answered_with_the_present_one(there: Crowd, era: Era) -> None:
    """A host with an old list of tools asks for an older broker's page; an address of no page is not found."""
    ann = await there.person(era)
    uri = (await listed_tool(ann))["_meta"]["ui"]["resourceUri"]
    old = "ui://chat-broker/chat-0a1b2c3d.html"
    assert await page_at(ann, old) == {**await page_at(ann, uri), "uri": old}
    for other in ("ui://chat-broker/", "ui://chat-broker/chat-.html", "ui://other/chat-0a1b2c3d.html", old + "?x"):
        assert "error" in await ann.request("resources/read", {"uri": other}), other


async def test_a_page_may_be_kept_for_an_hour(there: Crowd) -> None:
    """In 2026-07-28 the answer says so; the lobby beside it may not be kept."""
    ann = await there.person("2026")
    uri = (await listed_tool(ann))["_meta"]["ui"]["resourceUri"]
    result = (await ann.request("resources/read", {"uri": uri}))["result"]
    assert (result["ttlMs"], result["cacheScope"]) == (3_600_000, "public")


async def test_the_uri_changes_with_the_page() -> None:
    """Brokers with other rules or matchings have other pages, and hosts keep a page by its URI."""
    settings: list[dict[str, Any]] = [{}, {"rules_url": "https://example.org/rules"}, {"matching": "interests"}, {}]
    uris = []
    for setting in settings:
        async with serving(**setting) as running, crowd(running) as there:
            uris.append((await listed_tool(await there.person("2026")))["_meta"]["ui/resourceUri"])
    assert uris[0] == uris[3]
    assert len(set(uris)) == 3


async def test_a_session_is_told_of_the_extension(there: Crowd) -> None:
    """`initialize` declares it under `extensions`, where hosts look; our own stays under `experimental`."""
    for version in ("2025-11-25", "2025-06-18", "2024-11-05"):
        ann = await there.person("2026")
        answer = await ann.http.post(
            ann.running.url,
            json={
                "jsonrpc": "2.0",
                "id": 1,
                "method": "initialize",
                "params": HANDSHAKE | {"protocolVersion": version},
            },
            headers={"accept": "application/json, text/event-stream"},
        )
        (data,) = (line for line in answer.text.splitlines() if line.startswith("data: {"))
        capabilities = json.loads(data.removeprefix("data: "))["result"]["capabilities"]
        assert capabilities["extensions"] == {UI_EXTENSION: {}}
        assert EXTENSION in capabilities["experimental"]


async def test_discovery_names_both_extensions(there: Crowd) -> None:
    """In 2026-07-28 the window's extension is beside our own."""
    answer = await (await there.person("2026")).request("server/discover")
    assert answer["result"]["capabilities"]["extensions"] == {EXTENSION: {}, UI_EXTENSION: {}}


def test_the_page_is_small_and_stands_alone() -> None:
    """A host's default policy lets it run: inline, without a network, and without code made from text."""
    html = window_html(OperatorNotice("https://example.org/rules"), "interests")
    assert len(html.encode()) <= 60_000
    assert not re.search(r"\beval\(|new Function|\bfetch\(|EventSource|XMLHttpRequest|<link|<img|@import|\bsrc=", html)
    assert not re.search(r"innerHTML\b|insertAdjacentHTML|document\.write", html)


def test_no_setting_ends_the_data_of_the_page() -> None:
    """An operator's text is data, with any content."""
    contact = "</script><script>alert(1)</script>"
    html = window_html(OperatorNotice(operator_contact=contact), "first-come")
    assert "alert(1)</script>" not in html
    (data,) = re.findall(r'<script type="application/json" id="broker">(.*?)</script>', html)
    assert json.loads(data) == {"matching": "first-come", "operator_contact": contact}
