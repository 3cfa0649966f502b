"""A minimal HTTP/1.1 client: keep-alive calls, and streams of server-sent events."""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final

import httptools

from benchmarks.wire import SESSIONS, RequestBuilder

HTTP_OK: Final = 200
HTTP_REDIRECT: Final = 300
NARROW_BYTES: Final = 1_024
RESET: Final = struct.pack("ii", 1, 0)
"""Value of `SO_LINGER` that makes a close a reset."""


class WrongAnswer(Exception):  # noqa: N818 (it names an event)
    """A server broke a rule of the benchmark: the run stops."""


class WrongStatus(WrongAnswer):
    """A call was answered with an HTTP status other than success."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"HTTP {status}: {body[:500]!r}")
        self.status = status


class ClientConnection(asyncio.Protocol):
    """A connection to a server; `on_failure` gets all errors on it."""

    def __init__(self, on_failure: Callable[[Exception], None]) -> None:
        self.transport: asyncio.Transport | None = None
        self.on_failure = on_failure
        self._parser = httptools.HttpResponseParser(self)
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport  # type: ignore[assignment]  # asyncio gives a `Transport`

    def data_received(self, data: bytes) -> None:
        """Parse; the callbacks of the parser do the rest."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self.on_failure(cause if isinstance(cause, Exception) else error)
        except httptools.HttpParserError as error:
            self.on_failure(error)

    def connection_lost(self, error: Exception | None) -> None:
        """Report a failure unless the benchmark closed the connection."""
        self.transport = None
        if not self._closing:
            self.ended(error)

    def ended(self, error: Exception | None) -> None:
        """Report that the server closed the connection."""
        self.on_failure(WrongAnswer(f"the server closed a connection ({error})"))

    def write(self, request: bytes) -> None:
        """Send a request."""
        assert self.transport is not None, "the server closed a connection"
        self.transport.write(request)

    def close(self) -> None:
        """Close, on purpose."""
        self._closing = True
        if self.transport is not None:
            self.transport.close()

    def drop(self) -> None:
        """Reset the connection, like a peer after a crash."""
        self._closing = True
        if self.transport is not None:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.transport.abort()


class CallConnection(ClientConnection):
    """One request at a time, each answered whole; `on_answer` gets the body."""

    def __init__(self, on_failure: Callable[[Exception], None]) -> None:
        super().__init__(on_failure)
        self.on_answer: Callable[[bytes], None] = self._unexpected
        self._body = b""
        self._asked = False

    def write(self, request: bytes) -> None:
        """Send a request; an answer is expected from now on."""
        self._asked = True
        super().write(request)

    def ended(self, error: Exception | None) -> None:
        """A server may close a connection between two calls; only a call notices."""
        if self._asked:
            super().ended(error)

    def on_message_begin(self) -> None:
        """A new answer starts."""
        self._body = b""

    def on_body(self, body: bytes) -> None:
        """A part of an answer, or the whole."""
        self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        """The answer is whole."""
        status = self._parser.get_status_code()
        if not HTTP_OK <= status < HTTP_REDIRECT:
            self._asked = False
            raise WrongStatus(status, self._body)
        self._asked = False
        self.on_answer(self._body)

    def _unexpected(self, body: bytes) -> None:
        raise WrongAnswer(f"an answer that nobody asked for: {body[:500]!r}")

    async def ask(self, request: bytes) -> bytes:
        """Send a request and return the answer's body.

        Raises:
            WrongAnswer: there is none, or its status is not success.
        """
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        on_failure = self.on_failure
        self.on_answer = answer.set_result
        self.on_failure = lambda error: None if answer.done() else answer.set_exception(error)
        self.write(request)
        try:
            return await answer
        finally:
            self.on_answer, self.on_failure = self._unexpected, on_failure


class SessionConnection(CallConnection):
    """A connection for calls that remembers the `Mcp-Session-Id` of its `initialize`."""

    session_id = ""

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the session's id."""
        if name.lower() == b"mcp-session-id":
            self.session_id = value.decode()


class EventParser:
    """Cuts the events out of a stream; `on_data` gets the data of each, one line of JSON."""

    def __init__(self, on_data: Callable[[bytes], None]) -> None:
        self.on_data = on_data
        self.event_id = b""
        """The id of the last whole event, for `Last-Event-ID`."""
        self._next_event_id = b""
        self._rest = b""

    def resume(self, event_id: bytes) -> None:
        """Continue a stream whose last event had that id."""
        self.event_id = self._next_event_id = event_id

    def feed(self, body: bytes) -> None:
        """Take a part of the stream."""
        lines = (self._rest + body).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if line.startswith(b"data:"):
                self.event_id = self._next_event_id
                if data := line[5:].strip():
                    self.on_data(data)
            elif line.startswith(b"id:"):
                self._next_event_id = line[3:].strip()


class StreamConnection(ClientConnection):
    """A response without end; `on_data` gets the data of each event, one line of JSON."""

    def __init__(self, on_failure: Callable[[Exception], None], on_data: Callable[[bytes], None]) -> None:
        super().__init__(on_failure)
        self.opened = asyncio.Event()
        self._events = EventParser(on_data)

    @property
    def event_id(self) -> bytes:
        """The id of the last whole event, for `Last-Event-ID`."""
        return self._events.event_id

    def resume(self, event_id: bytes) -> None:
        """Continue a stream whose last event had that id."""
        self._events.resume(event_id)

    def on_headers_complete(self) -> None:
        """Check that the server accepted the stream."""
        if self._parser.get_status_code() != HTTP_OK:
            raise WrongAnswer(f"a stream was refused: HTTP {self._parser.get_status_code()}")
        self.opened.set()

    def on_body(self, body: bytes) -> None:
        """Cut the events' data out of a part of the stream."""
        self._events.feed(body)

    def on_message_complete(self) -> None:
        """Fail: the server must not end a stream."""
        raise WrongAnswer("the server ended a stream")


async def dial(port: int, connection: ClientConnection, *, narrow: bool = False) -> None:
    """Connect to a loopback port; a `narrow` connection has small buffers at both ends, as one to far away has."""
    loop = asyncio.get_running_loop()
    if not narrow:
        await loop.create_connection(lambda: connection, "127.0.0.1", port)
        return
    connecting = socket.socket()
    connecting.setblocking(False)
    connecting.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW_BYTES)
    connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, NARROW_BYTES)  # the server's buffer is some of these
    await loop.sock_connect(connecting, ("127.0.0.1", port))
    await loop.create_connection(lambda: connection, sock=connecting)


async def connect_client(
    port: int, protocol_version: str, on_failure: Callable[[Exception], None], *, reads: bool = False
) -> tuple[SessionConnection, RequestBuilder]:
    """Open a connection for calls, in 2025-11-25 with a new session; return it with the builder of its requests."""
    calls = SessionConnection(on_failure)
    await dial(port, calls)
    wire = RequestBuilder(port, reads=reads)
    if protocol_version == SESSIONS:
        await calls.ask(wire.initialize())
        wire = RequestBuilder(port, calls.session_id)
        await calls.ask(wire.initialized())
    return calls, wire
