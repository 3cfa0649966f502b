"""Sessions of 2025 at two brokers of one log in a real store."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from broker.stores import open_log
from tests.facade.people import Era, InSession, Person, crowd, texts
from tests.stores.debugger_logs import Store
from tests.support.limits import SOON_SECONDS
from tests.support.server import serving

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The event loop of the command line."""
    return "asyncio", {"use_uvloop": True}


async def test_a_session_lives_at_two_brokers(store: Store) -> None:
    """Its stream hears the other broker's events, gives way to a newer one, and ends with it; calls are cancelled."""
    url = store.url()
    async with (
        serving(log=await open_log(url)) as first,
        serving(log=await open_log(url)) as second,
        crowd(first) as here,
        crowd(second) as there,
    ):
        old, bob, ann = await here.modern(), await there.modern(), await here.session()
        await old.enter("Old")
        await old.call("leave_queue", handle=old.handle)
        await bob.enter("Bob")
        elsewhere = ann.at(second)
        async with elsewhere.stream() as frames:
            bob.room_id = (await ann.call("enter_queue", display_name="Ann", handle=old.handle))["room_id"]
            assert (await elsewhere.call("get_status"))["connection_id"] == old.connection_id
            await bob.say("one")
            found, said = await frames.take(2)
            assert found.method == "chatroom.found"
            assert texts([said]) == ["one"]
            async with ann.stream(said.id) as newer:
                assert await frames.rest() == []
                await bob.say("two")
                assert texts([await newer.next()]) == ["two"]
                heard_to = newer.events[-1].params["cursor"]
                asked = {"name": "wait_for_events", "arguments": {"cursor": heard_to, "wait_seconds": 20}}
                call = asyncio.create_task(ann.request("tools/call", asked, request_id="off"))
                await first.waits(old.connection_id)
                await elsewhere.notify("notifications/cancelled", {"requestId": "off"})
                assert "error" in await asyncio.wait_for(call, SOON_SECONDS)
                assert (await elsewhere.delete()).status_code == 200
                assert await newer.rest() == []
        async with ann.stream() as frames:
            assert frames.response.status_code == 404
        await elsewhere.close()


ODD = ("\x00", "a\x00b", "\x1b", "\x7f", "\u0085", "\ufeff", "\U0001f600", "\U0010ffff", "\ud800", "\udc00\ud800")
"""Not every store takes each of these characters in a key or a text."""


@pytest.mark.parametrize("era", ["2025", "2026"])
async def test_odd_characters_reach_no_store(store: Store, era: Era) -> None:
    """Each text of a client is cleaned or refused in plain words, and the next call is served as usual."""
    async with serving(log=await open_log(store.url())) as running, crowd(running) as there:
        for odd in ODD:
            ann, bob = await there.pair(era, era)
            await send_all(ann, odd, requests_with(odd, ann.handle, str(ann.room_id)))
            if isinstance(ann, InSession):
                assert (await ann.notify("notifications/cancelled", {"requestId": odd})).status_code < 500
                headers = ann.headers("ping", None) | {"last-event-id": ascii(odd), "accept": "text/event-stream"}
                async with ann.http.stream("GET", running.url, headers=headers) as got:
                    assert got.status_code < 500
            await bob.say("whole")
            assert "whole" in texts(await ann.hear())
            room = {"room_id": ann.room_id, "handle": ann.handle}
            named = {"display_name": f"a{odd}", "interests": [f"b{odd}"], "handle": ann.handle}
            last = [
                ("report_partner", room | {"category": "other", "note": f"note{odd}"}),
                ("leave_chat", room),
                ("enter_queue", named),
                ("leave_queue", {"handle": ann.handle}),
            ]
            await send_all(ann, odd, [("tools/call", {"name": name, "arguments": given}) for name, given in last])


async def send_all(person: Person, odd: str, requests: list[tuple[str, dict[str, Any]]]) -> None:
    """Send all of them, each with an odd id; none may be a fault."""
    request_id = odd if odd.isascii() or odd.isprintable() else 1
    for method, params in requests:
        message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": person.params(params)}
        response = await person.post(json.dumps(message).encode(), person.headers(method, params.get("name")))
        assert response.status_code < 500, (odd, method, params)
        assert "Traceback" not in response.text
        assert "unavailable" not in response.text, (odd, method, params)


def requests_with(odd: str, handle: str | None, room_id: str) -> list[tuple[str, dict[str, Any]]]:
    """Return requests with `odd` in each text of a client; none ends a chat."""
    talk = {"room_id": room_id, "handle": handle}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("send_message", talk | {"message": f"a{odd}b"}),
        ("send_message", talk | {"message": "x", "message_id": odd}),
        ("send_message", talk | {"message": "x", "room_id": f"{odd}x"}),
        ("leave_chat", {"room_id": f"r_1{odd}", "handle": handle}),
        ("get_status", {"handle": f"{handle}x{odd}"}),
        ("report_partner", talk | {"room_id": f"{room_id}x{odd}", "category": "other"}),
    ]
    inbox = f"chat://inbox/{handle}"
    return [
        *(("tools/call", {"name": name, "arguments": arguments}) for name, arguments in calls),
        ("resources/read", {"uri": f"{inbox}?x={odd}"}),
        ("resources/subscribe", {"uri": f"{inbox}?x={odd}"}),
        ("resources/unsubscribe", {"uri": f"{inbox}?x={odd}"}),
        ("resources/read", {"uri": f"chat://inbox/{odd}"}),
        ("prompts/get", {"name": "chat", "arguments": {"display_name": odd}}),
    ]
