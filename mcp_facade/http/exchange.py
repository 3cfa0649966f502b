"""One HTTP request and its answer: who asks, and whether they are still there to be answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic_core import from_json
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from broker.broker import Broker
from events.ids import ConnectionId
from mcp_facade.http.direct_response import Header, direct_response_of
from mcp_facade.http.headers import Headers
from mcp_facade.sdk.workarounds import may_have_lone_surrogates, replace_lone_surrogates, without_connection_header
from mcp_facade.sessions import Session

EXCHANGE_KEY = "chat_broker.exchange"
"""Where the ASGI scope of a call holds its `HttpExchange`."""

_ANSWER = b'{"jsonrpc":"2.0","id":'
_ANSWER_WITHIN = 64  # bytes: an event has its name before its data


def request_id_of(body: bytes) -> str | None:
    """The id by which the SDK tells the requests of a session apart, for which 1 and "1" are the same."""
    try:
        message = from_json(body)
    except ValueError:
        return None
    if not isinstance(message, dict) or "method" not in message:
        return None
    request_id = message.get("id")
    return str(request_id) if isinstance(request_id, str | int) else None


class HttpExchange:
    """Stands between the SDK and the server for the length of one call.

    It sees what neither tells a tool: that the client has gone, and that a result was written. So a wait ends when
    nobody is there to hear of it, and a handle that nobody received is taken out of the queue at once: else the
    same client, calling again, would meet its own ghost.
    """

    # What most exchanges never change stands here, since there is one for every call.
    status = 0
    had_lone_surrogate = False
    _asked = False
    _body = b""
    _request_id: str | None = None
    _gone = False
    _finish_early_asked = False
    _over = False
    _answered = False
    _answer_ready = False
    _minted: ConnectionId | None = None
    _on_gone: tuple[Callable[[], None], ...] = ()

    def __init__(
        self, broker: Broker, scope: Scope, headers: Headers, receive: Receive, send: Send, session: Session | None
    ) -> None:
        """`session`: the 2025 session that the request is made in; later requests stand alone."""
        self.session = session
        self.headers = headers
        self.direct = direct_response_of(scope)
        """The connection, which can be written to at once."""
        self._broker = broker
        self._client = scope.get("client")
        self._receive = receive
        self._send = send

    @property
    def peer(self) -> str:
        """The address that the request came from."""
        return self._client[0] if self._client is not None else "unknown"

    @property
    def is_over(self) -> bool:
        """Whether nobody is there to be answered any more."""
        return self._gone or self._over

    @property
    def is_asked(self) -> bool:
        """Whether the request has come, to its last byte."""
        return self._asked

    def finish_early(self) -> None:
        """End whatever the call waits for; it is answered with what there is."""
        self._finish_early_asked = True
        self._leave()

    def minted(self, connection_id: ConnectionId) -> None:
        """This call's result alone will tell the handle of `connection_id`."""
        self._minted = connection_id

    def answer_ready(self) -> None:
        """The tool has its result; what is written from now on is the result."""
        self._answer_ready = True
        if self._over:
            self._abandon()

    def nothing_minted(self) -> None:
        """The call was refused; no handle came of it."""
        self._minted = None

    def when_gone(self, callback: Callable[[], None]) -> None:
        """Run `callback` once the client has gone; at once if it has."""
        self._on_gone += (callback,)
        if self._gone or self._over or self._finish_early_asked:
            callback()

    def finish(self) -> None:
        """The SDK has let go of the request: nothing will be written any more."""
        self._over = True
        self._free_id()
        self._leave()
        if not self._answered:
            self._abandon()
        # The server's side holds this by the request's scope: to hold it too would leave a cycle for each request.
        self._receive, self._send = _nothing_more, _to_nobody

    def whole_body(self) -> bytes | None:
        """The body, if it has come whole and holds no half character; to be received, unless `asked` is said."""
        body = self.direct.body()
        if body is not None and may_have_lone_surrogates(body) and replace_lone_surrogates(body)[1]:
            return None
        return body

    def asked(self, request_id: int | str) -> None:
        """The request of that id has been understood, and is about to be served.

        Raises:
            RequestIdInUseError, SessionEndedError: see `receive`.
        """
        self._asked = True
        if self.session is not None:
            self._request_id = self.session.began(str(request_id))

    async def receive(self) -> Message:
        """The server's `receive`, watched for the client's leaving, for half characters and for the request's id.

        Raises:
            ClientDisconnect: the client left before it had asked; there is nothing to answer, and no fault.
            RequestIdInUseError: the session has a request of that id in flight.
            SessionEndedError: the session ended before the request was complete.
        """
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._disconnected()
            return message
        if may_have_lone_surrogates(message.get("body", b"")):
            body, replaced = replace_lone_surrogates(message["body"])
            self.had_lone_surrogate |= replaced
            message = {**message, "body": body}
        self._heard(message)
        return message

    def _disconnected(self) -> None:
        if not self._asked:
            raise ClientDisconnect
        if not self._answered:
            self._gone = True
            self._leave()

    def _heard(self, message: Message) -> None:
        """Once the request is complete, keep its id for as long as it is served."""
        if self._asked or self.session is None:
            self._asked = self._asked or not message.get("more_body", False)
            return
        self._body += message.get("body", b"")
        if not message.get("more_body", False):
            self._asked = True
            self._request_id = self.session.began(request_id_of(self._body))
            self._body = b""

    async def respond(self, headers: Sequence[Header], body: bytes) -> None:
        """Write a whole response of status 200, which is the call's result; its length is added."""
        self._free_id()  # before it is written: whoever has the answer may use its id again
        # What a page's browser has to be told besides is added on the way of `send`.
        if b"origin" not in self.headers and self.direct.respond(headers, body):
            self.status = 200
            self._answered = not self._gone
            return
        headers = [(b"content-length", b"%d" % len(body)), *headers]
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def send(self, message: Message) -> None:
        """The server's `send`, watched for the result's being written."""
        if _ANSWER in message.get("body", b"")[:_ANSWER_WITHIN]:
            self._free_id()  # before it is written: whoever has the answer may use its id again
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": without_connection_header(message["headers"])}
        elif self._answer_ready and message.get("body") and not self._gone:
            self._answered = True
        await self._send(message)

    def _free_id(self) -> None:
        if self.session is not None and self._request_id is not None:
            self.session.ids_in_flight.discard(self._request_id)
            self._request_id = None

    def _leave(self) -> None:
        callbacks, self._on_gone = self._on_gone, ()
        for callback in callbacks:
            callback()

    def _abandon(self) -> None:
        minted, self._minted = self._minted, None
        if minted is not None and not self._answered:
            self._broker.abandon(minted)


async def _nothing_more() -> Message:
    return {"type": "http.disconnect"}


async def _to_nobody(message: Message) -> None:
    pass
