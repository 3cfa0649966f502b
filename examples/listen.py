"""Print the acts of a stranger: python examples/listen.py [URL], else of http://127.0.0.1:8000/mcp."""

import asyncio
import sys

import mcp_types as types
from mcp.client.client import Client
from mcp.client.extension import ClientExtension, NotificationBinding
from pydantic import BaseModel

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000/mcp"
EVENTS = "io.github.mcp-chat-broker/events"


class Params(BaseModel, extra="allow"):
    """The params of a notification, as they come."""


class ChatEvents(ClientExtension):
    """The extension of the SDK for our notifications."""

    identifier = EVENTS

    def notifications(self):
        """Bind each of our methods to a handler."""
        methods = "chatroom.found", "message.received", "partner.disconnected"
        return [NotificationBinding(method=one, params_type=Params, handler=self.hears(one)) for one in methods]

    def hears(self, method):
        """Return the handler of `method`."""

        async def handler(params):
            print(method, params.model_dump_json(), flush=True)

        return handler


async def main():
    """Enter the queue and listen until the broker ends."""
    async with Client(URL, mode="2026-07-28", extensions=[ChatEvents()]) as client:
        entered = await client.call_tool("enter_queue", {"display_name": "Ann"})
        print(entered.structured_content, flush=True)
        handles = {"handles": [entered.structured_content["handle"]]}
        params = types.SubscriptionsListenRequestParams(notifications=types.SubscriptionFilter(**{EVENTS: handles}))
        listen = types.SubscriptionsListenRequest(params=params)
        await client.session.send_request(listen, types.SubscriptionsListenResult)  # until the broker ends


if __name__ == "__main__":
    asyncio.run(main())
