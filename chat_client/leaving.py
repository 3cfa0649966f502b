"""Leaving politely, so that no stranger is left with a ghost."""

from __future__ import annotations

from contextlib import suppress

import anyio

from chat_client.calls import Calls
from chat_client.errors import ChatError, RefusedError
from chat_client.wire import Wire


async def leave(calls: Calls, handle: str) -> None:
    """Leave the queue or the conversation, wherever `handle` is."""
    try:
        await calls.tool("leave_queue", {"handle": handle})
    except RefusedError as error:
        if error.code != "already_chatting":
            raise
        await calls.tool("leave_chat", {"handle": handle, "room_id": error.details["room_id"]})


async def say_goodbye(url: str, handle: str) -> None:
    """Leave by a connection of its own, whose tasks are alive when those of a cancelled client are not.

    A broker that can't be reached, or has forgotten the handle, is no error: there is nothing to leave.
    """
    async with anyio.create_task_group() as tasks:
        wire = Wire(url)
        wire.open(tasks)
        with suppress(ChatError):
            await leave(Calls(wire, lambda _: None, lambda: None, anyio.sleep), handle)
        tasks.cancel_scope.cancel()
