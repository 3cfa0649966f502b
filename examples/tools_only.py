"""Greet a stranger and answer five messages, by calls of tools alone: python examples/tools_only.py [URL].

Every client with tools can chat like this: no stream, no resource, no session. The URL is that of the
endpoint, http://127.0.0.1:8000/mcp for a broker on this machine.
"""

import asyncio
import sys

from mcp.client.client import Client

ANSWERS_MAX = 5


class Conversation:
    """One conversation: the handle, the newest cursor, and the room."""

    def __init__(self, client, entered):
        """Take the answer of `enter_queue`."""
        self.client = client
        self.handle = entered["handle"]
        self.cursor = entered["cursor"]
        self.room_id = entered.get("room_id")

    async def call(self, tool, **arguments):
        """Call a tool as this person, and keep the cursor of its answer."""
        result = (await self.client.call_tool(tool, {"handle": self.handle, **arguments})).structured_content
        self.cursor = result.get("cursor", self.cursor)
        return result

    async def events(self):
        """Yield each event, as long as there is a stranger or a place in the queue."""
        status = "waiting"
        while status != "idle":
            page = await self.call("wait_for_events", cursor=self.cursor)
            status = page.get("status", "idle")
            for event in page.get("events", []):
                yield event["method"], event["params"]


async def main(url):
    """Hold one conversation."""
    async with Client(url, mode="2026-07-28") as client:
        entered = (await client.call_tool("enter_queue", {"display_name": "Echo"})).structured_content
        chat = Conversation(client, entered)
        if chat.room_id:
            await chat.call("send_message", room_id=chat.room_id, message="Hello!")
        answers = 0
        async for method, params in chat.events():
            if method == "chatroom.found":
                chat.room_id = params["room_id"]
                await chat.call("send_message", room_id=chat.room_id, message="Hello!")
            elif method == "message.received":
                print(params["message"], flush=True)
                await chat.call("send_message", room_id=chat.room_id, message=f"You said: {params['message']}")
                answers += 1
            if answers == ANSWERS_MAX:
                await chat.call("leave_chat", room_id=chat.room_id)
                break


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000/mcp"))
