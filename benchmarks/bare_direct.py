"""The least that a message can cost here: the bare server, but every write goes straight to the connection.

ASGI's `send` and the task of the partner's stream are left out: the broker's own HTTP connection writes the answer in
one piece, and the frame in the turn of the message. What the broker costs above it is the protocol, the log and the
rules alone.
"""

from typing import Any

from benchmarks.bare import JSON_TYPE, BareRequest, BareServer, Message, Receive, Send
from benchmarks.serving import serve
from mcp_facade.http.connection import HttpConnection
from mcp_facade.http.direct_response import DIRECT_RESPONSE_KEY


class DirectServer(BareServer):
    """The application."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One HTTP request, received in one piece."""
        direct: HttpConnection | None = scope.get("extensions", {}).get(DIRECT_RESPONSE_KEY)
        body = direct.body() if direct is not None else None
        if direct is None or not body:
            await super().__call__(scope, receive, send)
            return
        request: BareRequest = self._decoder.decode(body)
        if request.method == "subscriptions/listen":
            await self._listen_directly(request, direct, receive, send)
            return
        answer: dict[str, Any]
        if request.params.name == "enter_queue":
            answer = self._enter(request.params.arguments)
        else:
            answer = self._send_message(request.params.arguments)
        direct.respond([JSON_TYPE], self._result(request.id, answer))

    async def _listen_directly(
        self, request: BareRequest, direct: HttpConnection, receive: Receive, send: Send
    ) -> None:
        member = self._member_of(request)
        member.deliver = direct.write  # type: ignore[method-assign] # from now on
        await self._listen(request, receive, send)


if __name__ == "__main__":
    serve(DirectServer(), __doc__, http=HttpConnection)
