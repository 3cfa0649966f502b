"""uvicorn's HTTP, with the limits and the disconnect detection for a server of long streams."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Sequence
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from mcp_facade.http.buffered_transport import BufferedTransport
from mcp_facade.http.direct_response import DIRECT_RESPONSE_KEY, Header
from mcp_facade.http.open_files import OpenFiles

HEAD_BYTES_MAX = 65_536
"""Limit of a request's head, or of other bytes without a body, before the parser completes a part."""

REQUEST_SECONDS_MAX = 60
"""Limit of time from the connection, or the first byte of a request, to the last byte of the request."""

PIPELINED_BYTES_MAX = 65_536
"""Limit of bytes received after the request in progress; above it, reading pauses."""

STALLED_SECONDS_MAX = 5.0
"""Longest pause of reading while one request is in progress."""

TCP_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}
"""Detects a vanished peer within a minute; the last value is in milliseconds."""

INVALID = "Invalid HTTP request received."

TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 29\r\nconnection: close\r\n\r\n"
    b"The request's head is too big"
)

TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 27\r\nconnection: close\r\n\r\n"
    b"busy: try again in a moment"
)


class HttpConnection(HttpToolsProtocol):
    """uvicorn's HTTP, with limits on a request and detection of every disconnect.

    It is the `DirectResponse` of the request in progress.
    """

    # With these besides uvicorn's own, an instance would have more attributes than Python keeps compactly: 1.3 KB more.
    __slots__ = (
        "_alarm",
        "_due_s",
        "_is_feeding",
        "_is_in_request",
        "_open_files",
        "_pipelined_bytes",
        "_served",
        "_stalled_timer",
        "_to_start",
        "_unparsed_bytes",
        "_unread_bytes_max",
    )

    def __init__(
        self, *arguments: Any, open_files: OpenFiles | None = None, unread_bytes_max: int, **options: Any
    ) -> None:
        """Take uvicorn's arguments.

        Take `open_files`, which says if there is room for this connection, and the limit of bytes that the client has
        not read.
        """
        super().__init__(*arguments, **options)
        self._open_files = open_files
        self._unread_bytes_max = unread_bytes_max

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Ask the kernel to watch the peer."""
        self._served: RequestResponseCycle | None = None
        self._to_start: tuple[RequestResponseCycle, Any] | None = None
        self._is_feeding = False
        self._is_in_request = True  # part of a request has come, or none yet
        self._unparsed_bytes = 0
        self._pipelined_bytes = 0
        self._due_s = math.inf  # by the loop's clock: the time to close, unless the awaited bytes have come
        self._alarm: asyncio.TimerHandle | None = None
        self._stalled_timer: asyncio.TimerHandle | None = None  # while a client has sent too much at once
        super().connection_made(BufferedTransport(transport, self.loop, self._unread_bytes_max))
        self._expect(REQUEST_SECONDS_MAX)
        peer = transport.get_extra_info("socket")
        if peer is not None and peer.family in (socket.AF_INET, socket.AF_INET6):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in TCP_KEEPALIVE.items():
                if hasattr(socket, name):
                    peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        if peer is not None and self._open_files is not None and not self._open_files.has_room(peer.fileno()):
            self._refuse(TOO_MANY)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request in progress; uvicorn tells the newest, which may be queued after it.

        Also clear all references back to this connection, even after a reset: cyclic garbage stays until a collection.
        """
        self.pipeline.clear()
        self._to_start = None
        super().connection_lost(exc)
        for timer in (self._alarm, self._stalled_timer):
            if timer is not None:
                timer.cancel()
        self._alarm = self._stalled_timer = None
        served, self._served = self._served, None
        self.cycle = self.scope = None  # type: ignore[assignment]  # uvicorn needs neither any more
        if served is not None and not served.response_complete:
            served.disconnected = True
            served.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Parse `data`; ignore a requested upgrade, and refuse a head without end."""
        if not self._is_in_request:
            self._is_in_request = True
            self._expect(REQUEST_SECONDS_MAX)
        self._unparsed_bytes += len(data)
        if self.pipeline:
            self._pipelined_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.logger.warning(INVALID)
            self.send_400_response(INVALID)
            return
        if self._unparsed_bytes > HEAD_BYTES_MAX:
            self._refuse(TOO_LARGE)
        elif self.pipeline:
            self._limit_pipelining()

    def send_400_response(self, msg: str) -> None:
        """Send the refusal, unless it would land in the middle of an answer."""
        if self._is_answering:
            self.transport.abort()
        else:
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        """Give the application the `DirectResponse` of its request."""
        super().on_message_begin()
        extensions: dict[str, Any] = {DIRECT_RESPONSE_KEY: self}
        self.scope["extensions"] = extensions

    def on_headers_complete(self) -> None:
        """Begin a request, unless it is the repetition without its upgrade."""
        self._unparsed_bytes = 0
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        self._unparsed_bytes = 0
        if not self.parser.should_upgrade():
            self._is_in_request = False
            self._due_s = math.inf
            super().on_message_complete()
            self.headers = self.scope = None  # type: ignore[assignment]  # now the application's

    def on_response_complete(self) -> None:
        """Serve the next request if it is there; else expect it in time."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        following = self.pipeline.pop() if self.pipeline else None
        if not self.pipeline:
            self._pipelined_bytes = 0
            self.flow.resume_reading()
        if following is not None:
            self._start_asgi_task(*following)
        elif not self._is_in_request:
            self._expect(self.timeout_keep_alive)

    def body(self) -> bytes | None:
        """See `DirectResponse.body`."""
        served = self._served
        if served is None or served.more_body or served.waiting_for_100_continue or served.disconnected:
            return None
        return bytes(served.body)

    def respond(self, headers: Sequence[Header], body: bytes) -> bool:
        """See `DirectResponse.respond`: one system call and one packet, where uvicorn takes two of each."""
        served = self._served
        if served is None or served.response_started or not served.keep_alive:
            return False
        if self.flow.write_paused or served.disconnected:
            return False
        served.response_started = served.response_complete = True
        lines = [b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *headers)]
        self.transport.write(b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (b"".join(lines), len(body), body))
        served.message_event.set()
        self.on_response_complete()
        return True

    def is_writable(self) -> bool:
        """See `DirectResponse.is_writable`."""
        served = self._served
        if served is None or served.response_complete or not served.chunked_encoding:
            return False
        return not (self.flow.write_paused or served.disconnected)

    def is_open(self) -> bool:
        """See `DirectResponse.is_open`."""
        served = self._served  # `None` once the connection is lost
        return served is not None and (served.response_complete or not self.transport.is_closing())

    def write(self, body: bytes) -> None:
        """See `DirectResponse.write`."""
        if body:  # an empty chunk would be the end
            self.transport.write(b"%x\r\n%b\r\n" % (len(body), body))

    def abort(self) -> None:
        """See `DirectResponse.abort`: a client that does not read never lets a connection close."""
        self.transport.abort()

    @property
    def _is_answering(self) -> bool:
        served = self._served
        return served is not None and served.response_started and not served.response_complete

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._served = cycle
        self._to_start = cycle, app
        if not self._is_feeding:  # its bytes are not all parsed
            self._start_if_whole()

    def _feed(self, data: bytes) -> None:
        self._is_feeding = True
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._without_upgrade(data[upgrade.args[0] :])
        finally:
            self._is_feeding = False
            self._start_if_whole()

    def _start_if_whole(self) -> None:
        """Serve the next request once all of it has come; a large one starts earlier, and may be refused."""
        if self._to_start is None:
            return
        cycle, app = self._to_start
        if not cycle.more_body or cycle.waiting_for_100_continue or self.flow.read_paused:
            self._to_start = None
            super()._start_asgi_task(cycle, app)

    def _limit_pipelining(self) -> None:
        """Keep reading while a request is in progress. uvicorn pauses reads there, which would hide a disconnect.

        Reading pauses at the limit. If the answer is a stream or a wait, the pause may not end soon. Then the
        connection is aborted, since its client may be gone.
        """
        if self._pipelined_bytes <= PIPELINED_BYTES_MAX:
            self.flow.resume_reading()
            return
        self.flow.pause_reading()
        if self._stalled_timer is None:
            self._stalled_timer = self.loop.call_later(STALLED_SECONDS_MAX, self._abort_stalled, self._served)

    def _abort_stalled(self, served: RequestResponseCycle | None) -> None:
        self._stalled_timer = None
        if self._pipelined_bytes <= PIPELINED_BYTES_MAX:
            return
        if self._served is served:
            self.transport.abort()
        else:
            self._limit_pipelining()

    def _without_upgrade(self, rest: bytes) -> None:
        """Parse the request again without its upgrade (RFC 9110, 7.8); the parser left its body out.

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

    def _expect(self, within_seconds: float) -> None:
        """Close the connection unless the expected bytes come in time.

        A timer for each deadline would be two for every request. So there is one timer, which checks the deadline
        when it fires. It fires as often as the shortest deadline.
        """
        self._due_s = self.loop.time() + within_seconds
        if self._alarm is None:
            self._set_alarm(within_seconds)

    def _set_alarm(self, left_seconds: float) -> None:
        in_seconds = min(left_seconds, REQUEST_SECONDS_MAX, self.timeout_keep_alive)
        self._alarm = self.loop.call_later(in_seconds, self._check_deadline)

    def _check_deadline(self) -> None:
        self._alarm = None
        left_seconds = self._due_s - self.loop.time()
        if left_seconds <= 0:
            self.transport.close()
        elif left_seconds < math.inf:
            self._set_alarm(left_seconds)
