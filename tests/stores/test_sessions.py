"""Sessions of 2025 at two brokers of one log in a real store."""

from __future__ import annotations

import asyncio

import pytest

from broker.stores import open_log
from tests.facade.people import crowd, texts
from tests.stores.debugger_logs import Store
from tests.support.server import WITHIN_SECONDS, serving

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The event loop that the command line uses."""
    return "asyncio", {"use_uvloop": True}


async def test_a_session_lives_at_two_brokers(store: Store) -> None:
    """Its stream hears what is done elsewhere, gives way to a newer one, and ends with it; calls are cancelled."""
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
                assert "error" in await asyncio.wait_for(call, WITHIN_SECONDS)
                assert (await elsewhere.delete()).status_code == 200
                assert await newer.rest() == []
        async with ann.stream() as frames:
            assert frames.response.status_code == 404
        await elsewhere.close()
