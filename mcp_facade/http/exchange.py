"""One HTTP request and its response: the caller, and whether the caller is still there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from broker.broker import Broker
from events.ids import ConnectionId, Position
from mcp_facade.http.direct_response import Header, direct_response_of
from mcp_facade.http.headers import Headers
from mcp_facade.http.proxies import TrustedProxies
from mcp_facade.sdk.workarounds import (
    may_have_lone_surrogates,
    replace_lone_surrogates,
    without_connection_header,
)
from mcp_facade.session import Session

EXCHANGE_KEY = "chat_broker.exchange"
"""The key of a call's `HttpExchange` in its ASGI scope."""


class HttpExchange:
    """A layer between a call's server (the lane or the SDK) and the HTTP server, for the length of the call.

    It notices two facts that neither reports to a tool: the client has gone, and a result was written. So a wait ends
    with its client, and a connection whose handle reached no client leaves the queue. Otherwise the same client, when
    it calls again, would be matched with its own abandoned connection. A written result also confirms a match.
    """

    # Defaults that rarely change are class attributes: there is an exchange for every call.
    had_lone_surrogate = False
    is_cancelled = False
    """The client has cancelled the call."""
    _is_asked = False  # the request has come, to its last byte
    _work_goes_on = False
    _gone = False
    _finishing_early = False
    _over = False
    _answered = False
    _answer_ready = False
    _minted: ConnectionId | None = None
    _minted_in: Session | None = None
    _caller: ConnectionId | None = None
    _cursor: Position | None = None
    _answered_before = 0
    _on_gone: tuple[Callable[[], None], ...] = ()

    def __init__(
        self,
        broker: Broker,
        proxies: TrustedProxies,
        scope: Scope,
        headers: Headers,
        receive: Receive,
        send: Send,
        session: Session | None,
    ) -> None:
        """Take `session`, the 2025 session of the request; later requests have none."""
        self.session = session
        self.headers = headers
        self.direct = direct_response_of(scope)
        """Writes to the connection at once."""
        self._minting = broker.minting
        self._presence = broker.presence
        self._proxies = proxies
        self._client = scope.get("client")
        self._header_list: Sequence[Header] = scope["headers"]
        self._receive = receive
        self._send = send

    @property
    def peer(self) -> str:
        """Return the client's address, by the word of a trusted proxy if the request came through one."""
        return self._proxies.client_of(self._client[0], self._header_list) if self._client is not None else "unknown"

    @property
    def caller(self) -> ConnectionId | None:
        """Return the connection of the caller; `None` if it is unknown, or not looked up yet."""
        return self._caller

    @property
    def is_over(self) -> bool:
        """Return whether the client has gone or the response is finished."""
        return self._gone or self._over

    def finish_early(self) -> None:
        """End any wait in the call; it is answered with the result so far."""
        self._finishing_early = True
        self._leave()

    def cancel(self) -> None:
        """Note that the client has cancelled the call."""
        self.is_cancelled = True

    def let_work_go_on(self) -> None:
        """Note that the work is finished though the client has gone; then `answer_ready` is called."""
        self._work_goes_on = True

    def take_whole(self) -> None:
        """Note that the request is served from its whole body."""
        self._is_asked = True

    def drop_headers(self) -> None:
        """Free the headers of a request that is served for hours."""
        self.headers, self._header_list = {}, ()

    def called_by(self, connection_id: ConnectionId) -> None:
        """Note the connection of the caller."""
        self._caller = connection_id

    def minted(self, connection_id: ConnectionId, session: Session | None) -> None:
        """Note that only this call's result tells the client of `connection_id`.

        A repeated call finds that of `session`.
        """
        self._minted = self._caller = connection_id
        self._minted_in = session

    def answer_ready(self, cursor: Position | None = None) -> None:
        """Note that the tool has its result: from now on, the result is written.

        `cursor` is the one in it: with the result, the caller has been told everything up to there.
        """
        self._answer_ready, self._cursor = True, cursor
        if self._over:
            self._abandon()

    def nothing_minted(self) -> None:
        """Note that the call was refused, and no connection came of it."""
        self._minted = None

    def when_gone(self, callback: Callable[[], None]) -> None:
        """Run `callback` once the client has gone; at once if it has."""
        self._on_gone += (callback,)
        if self._gone or self._over or self._finishing_early:
            callback()

    def finish(self) -> None:
        """Note that the response is finished."""
        self._over = True
        if self._on_gone:
            self._leave()
        if self.session is not None:
            self._answered_before = self.session.count_answer(reached=self._answered)
        if not self._answered and (self._answer_ready or not self._work_goes_on):
            self._abandon()
        # The server's side holds this by the request's scope: to hold it too would leave a cycle for each request.
        self._receive, self._send = _nothing_more, _to_no_client

    def whole_body(self) -> bytes | None:
        """Return the body if it has come whole and holds no lone surrogate; `receive` still gives it.

        A caller that serves the request from it calls `take_whole`.
        """
        body = self.direct.body()
        if body is not None and may_have_lone_surrogates(body) and replace_lone_surrogates(body)[1]:
            return None
        return body

    async def receive(self) -> Message:
        """Receive from the server; notice a disconnect, and replace lone surrogates.

        Raises:
            ClientDisconnect: the client left before its request was complete; there is nothing to answer, and no fault.
        """
        message = await self._receive()
        if message["type"] == "http.disconnect":
            if not self._is_asked:
                raise ClientDisconnect
            if not self._answered:
                self._gone = True
                self._leave()
            return message
        self._is_asked = self._is_asked or not message.get("more_body", False)
        if may_have_lone_surrogates(message.get("body", b"")):
            body, replaced = replace_lone_surrogates(message["body"])
            self.had_lone_surrogate |= replaced
            message = {**message, "body": body}
        return message

    async def respond(self, headers: Sequence[Header], body: bytes) -> None:
        """Write a whole response of status 200 as the call's result; its length is added."""
        may_confirm = self._may_confirm()
        # The further headers for a page's browser are added on the way of `send`.
        if b"origin" not in self.headers and self.direct.respond(headers, body):
            self._answered = not self._gone
            if may_confirm:
                self._confirm()
            return
        headers = [(b"content-length", b"%d" % len(body)), *headers]
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def send(self, message: Message) -> None:
        """Send to the server; notice a written result."""
        if message["type"] == "http.response.start":
            message = {**message, "headers": without_connection_header(message["headers"])}
        elif self._answer_ready and message.get("body") and not self._gone:
            self._answered = True
            if self._may_confirm():
                await self._send(message)  # which drops it, if it waits for the client to read and the client goes
                if self.direct.is_open():
                    self._confirm()
                return
        await self._send(message)

    def _may_confirm(self) -> bool:
        """Return whether the result, written now, would confirm a match of the caller."""
        return self._caller in self._presence.confirmation.unconfirmed and self.direct.is_open()

    def _confirm(self) -> None:
        if self._caller is not None and self._cursor is not None:
            self._presence.confirmation.told(self._caller, self._cursor)

    def _leave(self) -> None:
        callbacks, self._on_gone = self._on_gone, ()
        for callback in callbacks:
            callback()

    def _abandon(self) -> None:
        minted, self._minted = self._minted, None
        if minted is None or self._answered:
            return
        # A session's own connection: a repeated call finds itself, or is in flight beside a cancelled one.
        own_calls = 0 if self._answer_ready else 1
        is_called_again = self._presence.calls_of(minted) > own_calls
        session, before = self._minted_in, self._answered_before
        if session is not None and (is_called_again or not self.is_cancelled):
            self._minting.abandon_unless_heard(minted, lambda: session.answered > before)
        else:
            self._minting.abandon(minted)


async def _nothing_more() -> Message:
    return {"type": "http.disconnect"}


async def _to_no_client(message: Message) -> None:
    pass
