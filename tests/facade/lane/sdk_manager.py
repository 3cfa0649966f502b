"""2025 sessions as the SDK's own stateful manager serves them, with our handlers: the reference for responses."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import Message, Receive, Scope, Send

from mcp_facade.http.endpoint import StreamableHttpEndpoint
from mcp_facade.http.exchange import EXCHANGE_KEY
from mcp_facade.http.headers import SESSION_HEADER

NEGOTIATED = re.compile(rb'"protocolVersion":"([0-9-]+)"')


class SdkManager:
    """The server of the POST requests of an endpoint's sessions; the SDK's ids are exchanged for the endpoint's."""

    def __init__(self, endpoint: StreamableHttpEndpoint) -> None:
        self._endpoint = endpoint
        self._manager = StreamableHTTPSessionManager(
            endpoint._session_requests._server,
            json_response=False,
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
            session_idle_timeout=None,
            max_sessions=None,
            max_request_body_size=endpoint._broker.state.policy.body_bytes_max,
        )
        self._ids: dict[str, bytes] = {}

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Take the place of the endpoint's own manager, while the context is open."""
        async with self._manager.run():
            self._endpoint._session_posts = self._serve
            yield

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = scope[EXCHANGE_KEY].session
        if session is None:
            await self._open(scope, receive, send)
            return
        sdk_id = self._ids[session.session_id]
        scope["headers"] = [(name, sdk_id if name == SESSION_HEADER else value) for name, value in scope["headers"]]

        async def renamed(message: Message) -> None:
            await send(_with_session_id(message, None))  # ours names it at the opening, and nowhere else

        await self._manager.handle_request(scope, receive, renamed)

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request without a session; keep its whole response until it shows if it opens one."""
        sent: list[dict[str, Any]] = []

        async def keep(message: Message) -> None:
            sent.append(dict(message))

        await self._manager.handle_request(scope, receive, keep)
        negotiated = NEGOTIATED.search(b"".join(message.get("body", b"") for message in sent))
        session_id = None
        if negotiated is not None:
            session_id = self._endpoint._sessions.new_id(negotiated[1].decode())
            self._ids[session_id] = dict(sent[0]["headers"])[SESSION_HEADER]
        for message in sent:
            await send(_with_session_id(message, session_id))


def _with_session_id(message: Message, session_id: str | None) -> Message:
    """Return `message` with that id in the place of the SDK's; without one, or in a refusal, with none."""
    if message["type"] != "http.response.start":
        return message
    is_named = session_id is not None and message["status"] < 400
    headers = [
        (name, session_id.encode() if session_id is not None and name == SESSION_HEADER else value)
        for name, value in message["headers"]
        if name != SESSION_HEADER or is_named
    ]
    return {**message, "headers": headers}
