"""Polite departures: no stranger is left with a ghost."""

from __future__ import annotations

from contextlib import suppress

import anyio

from chat_client.calls import Calls
from chat_client.errors import ChatError, RefusedError
from chat_client.wire import Wire


async def leave(calls: Calls, handle: str, room_id: str | None) -> None:
    """Leave the queue or the conversation, wherever `handle` is; `room_id` is its conversation, as far as is known."""
    if room_id is not None:
        with suppress(RefusedError):  # it may have ended; the next call finds out what is there to leave
            await calls.tool("leave_chat", {"handle": handle, "room_id": room_id})
    try:
        await calls.tool("leave_queue", {"handle": handle})
    except RefusedError as error:
        if error.code != "already_chatting":
            raise
        await calls.tool("leave_chat", {"handle": handle, "room_id": error.details["room_id"]})


async def say_goodbye(url: str, handle: str, room_id: str | None) -> None:
    """Leave, as `leave` does, by a new connection: after a cancellation, the client's own is dead.

    An unreachable broker is no error, and a forgotten handle neither: there is nothing to leave.
    """
    async with anyio.create_task_group() as tasks:
        wire = Wire(url)
        wire.open(tasks)
        with suppress(ChatError):
            await leave(Calls(wire, lambda _: None, lambda: None, anyio.sleep), handle, room_id)
        tasks.cancel_scope.cancel()
