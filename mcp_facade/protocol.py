"""uvicorn's HTTP, with the limits and the manners that a server of long streams needs besides."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

CUT_KEY = "chat_broker.cut"
"""Where `scope["extensions"]` holds the function that drops the connection at once."""

HEAD_BYTES_MAX = 65_536
"""Of the head of a request, or of what else is no body, before some of it makes sense."""

REQUEST_SECONDS_MAX = 60
"""From the connection, or the first byte of a request, to the last byte of the request."""

TCP_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}
"""A peer that vanished without a word is noticed within a minute; the last is in milliseconds."""

INVALID = "Invalid HTTP request received."

TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 29\r\nconnection: close\r\n\r\n"
    b"The request's head is too big"
)


class ChatProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, which also limits what a request takes, and notices every peer that has gone."""

    _served: RequestResponseCycle | None = None
    _bytes_without_sense = 0
    _request_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask the kernel to look after the peer."""
        super().connection_made(transport)
        self._start_request_timer()
        peer = transport.get_extra_info("socket")
        if peer is not None and peer.family in (socket.AF_INET, socket.AF_INET6):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in TCP_KEEPALIVE.items():
                if hasattr(socket, name):
                    peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being served; uvicorn tells the newest, which may stand in line behind it.

        And let go of what was served at once, also where the connection was reset.
        """
        self.pipeline.clear()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._cancel_request_timer()
        if self._served is not None and not self._served.response_complete:
            self._served.disconnected = True
            self._served.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Parse it; an upgrade that is asked for is not made, and a head that does not end is refused."""
        self._unset_keepalive_if_required()
        if self._request_timer is None:
            self._start_request_timer()
        self._bytes_without_sense += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.logger.warning(INVALID)
            self.send_400_response(INVALID)
            return
        if self._bytes_without_sense > HEAD_BYTES_MAX:
            self._refuse(TOO_LARGE)

    def send_400_response(self, msg: str) -> None:
        """Say so, unless it would land in the middle of an answer."""
        if self._is_answering:
            self.transport.abort()
        else:
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        """Give the application the means to drop this connection: a client that does not read never lets it close."""
        super().on_message_begin()
        self.scope["extensions"] = {CUT_KEY: {}}
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[CUT_KEY] = self.transport.abort

    def on_headers_complete(self) -> None:
        """A request begins, unless it comes again without its upgrade."""
        self._bytes_without_sense = 0
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of a body came."""
        self._bytes_without_sense = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has ended."""
        self._bytes_without_sense = 0
        if not self.parser.should_upgrade():
            self._cancel_request_timer()
            super().on_message_complete()

    @property
    def _is_answering(self) -> bool:
        served = self._served
        return served is not None and served.response_started and not served.response_complete

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._without_upgrade(data[upgrade.args[0] :])

    def _without_upgrade(self, rest: bytes) -> None:
        """Read the request again as one that asks for no upgrade (RFC 9110, 7.8); the parser left its body out.

        Java's HTTP client asks for HTTP/2 in this way with every request.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise httptools.HttpParserError
        headers = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        head = b"%b %b HTTP/1.1\r\n%b\r\n" % (method, self.url, b"".join(headers))
        self.parser = httptools.HttpRequestParser(self)
        self._feed(head + rest)

    def _refuse(self, answer: bytes) -> None:
        if self._is_answering:
            self.transport.abort()
        else:
            self.transport.write(answer)
            self.transport.close()

    def _start_request_timer(self) -> None:
        self._request_timer = self.loop.call_later(REQUEST_SECONDS_MAX, self.transport.close)

    def _cancel_request_timer(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None
