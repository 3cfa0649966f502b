"""The official SDK's client of one person, in either era: made anew when it is lost, and observed on its HTTP.

In 2025-11-25 the SDK opens the GET stream by itself and resumes it twice, with `Last-Event-ID`; then it gives up, and
a host has to connect anew. In 2026-07-28 the host listens again by itself.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import mcp_types as types
from mcp.client.client import Client
from mcp.client.extension import advertise
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from benchmarks.chaos.deployment import WORKER_HEADER
from benchmarks.connections import HTTP_OK, EventParser
from benchmarks.wire import EXTENSION, MODERN, SESSIONS

CONNECTED_WITHIN_S: Final = 5.0
STREAM_WITHIN_S: Final = 5.0
LISTEN: Final = "subscriptions/listen"
NOT_ALLOWED: Final = 405

Json = dict[str, Any]


class LostAnswer(Exception):  # noqa: N818 (it names an event)
    """No answer came; the call may have been carried out or not."""


@dataclass(eq=False, slots=True)
class OpenStream:
    """A stream, as its client sees it; Unix times."""

    worker: str
    opened_s: float
    closed_s: float | None = None


class _ObservedBody(httpx2.AsyncByteStream):
    """A stream's body, handed on as it is read."""

    def __init__(
        self, body: httpx2.AsyncByteStream, on_part: Callable[[bytes], None], on_end: Callable[[], None]
    ) -> None:
        self._body = body
        self._on_part = on_part
        self._on_end = on_end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._body:
                self._on_part(part)
                yield part
        finally:
            self._on_end()

    async def aclose(self) -> None:
        """Close it."""
        try:
            await self._body.aclose()
        finally:
            self._on_end()


class _ObservedTransport(httpx2.AsyncBaseTransport):
    """HTTP of one client: it notes which worker answered, and hears the streams."""

    def __init__(self, host: "OfficialHost") -> None:
        self._host = host
        self._transport = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it."""
        is_get = request.method == "GET"
        if is_get and not self._host.listens:
            return httpx2.Response(NOT_ALLOWED, request=request)  # a client without streams opens none
        response = await self._transport.handle_async_request(request)
        worker = response.headers.get(WORKER_HEADER, "")
        if response.status_code != HTTP_OK:
            return response
        if is_get or request.headers.get("mcp-method") == LISTEN:
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = self._host.observed(response.stream, worker)
        else:
            self._host.answered_by = worker
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


class OfficialHost:
    """One person's client. Any call may be lost; the next one connects anew if it has to."""

    def __init__(self, url: str, era: str, *, listens: bool) -> None:
        """`listens`: it has a stream."""
        assert era in (MODERN, SESSIONS)
        self.era = era
        self.listens = listens
        self.answered_by = ""
        """The worker that gave the last answer."""
        self.on_data: Callable[[bytes], None] = lambda _: None
        self.on_stream: Callable[[OpenStream], None] = lambda _: None
        self.streams: list[OpenStream] = []
        """The streams of this client, the closed ones included."""
        self._url = url
        self._client: Client | None = None
        self._serving: asyncio.Task[None] | None = None
        self._end = asyncio.Event()
        self._changed = asyncio.Event()
        self._listening: asyncio.Task[object] | None = None

    @property
    def has_stream(self) -> bool:
        """True if a stream is open."""
        return any(stream.closed_s is None for stream in self.streams)

    @property
    def is_connected(self) -> bool:
        """True if there is a usable client."""
        return self._client is not None and self._serving is not None and not self._serving.done()

    async def connect(self) -> None:
        """Make a new client; in 2025-11-25 that is a new session, whose stream the SDK opens.

        Raises:
            LostAnswer: it did not succeed in time.
        """
        await self.hang_up()
        self._end, self.streams = asyncio.Event(), []
        connected: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._serving = asyncio.create_task(self._serve(connected))
        await asyncio.wait((connected, self._serving), timeout=CONNECTED_WITHIN_S, return_when="FIRST_COMPLETED")
        if not connected.done():
            await self.hang_up()
            raise LostAnswer("no connection")
        self._client = connected.result()

    async def hang_up(self) -> None:
        """Close all connections without a word."""
        serving, self._serving, self._client = self._serving, None, None
        if serving is not None:
            self._end.set()
            serving.cancel()
            await asyncio.wait((serving,))
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait((self._listening,))
            self._listening = None

    async def _serve(self, connected: "asyncio.Future[Client]") -> None:
        mode = MODERN if self.era == MODERN else "legacy"
        timeout = httpx2.Timeout(10.0, read=300.0)
        try:
            async with httpx2.AsyncClient(transport=_ObservedTransport(self), timeout=timeout) as http:
                transport = streamable_http_client(self._url, http_client=http, terminate_on_close=False)
                async with Client(transport, mode=mode, cache=None, extensions=[advertise(EXTENSION)]) as client:
                    connected.set_result(client)
                    await self._end.wait()
        except (Exception, BaseExceptionGroup):  # noqa: BLE001 (whatever ended it, it is lost)
            return

    async def call(self, tool: str, arguments: Json, within_s: float) -> Json:
        """Call a tool, and return its structured content, a refusal's too.

        Raises:
            LostAnswer: no answer came, or one that says that the call could not be served.
        """
        if not self.is_connected:
            await self.connect()
        client, serving = self._client, self._serving
        assert client is not None
        assert serving is not None
        request = types.CallToolRequest(params=types.CallToolRequestParams(name=tool, arguments=arguments))
        call = asyncio.create_task(client.session.send_request(request, types.CallToolResult))
        try:
            await asyncio.wait((call, serving), timeout=within_s, return_when="FIRST_COMPLETED")
        finally:
            is_answered = call.done()
            call.cancel()
            await asyncio.wait((call,))
        if not is_answered:
            await self.hang_up()
            raise LostAnswer("the connection was lost, or no answer came in time")
        try:
            content = call.result().structured_content
        except MCPError as error:
            raise LostAnswer(str(error)) from None
        if not isinstance(content, dict):
            raise LostAnswer("an answer without content")
        return content

    async def listen(self, handle: str) -> None:
        """Return once a stream is open; a client of 2026-07-28 asks for that of `handle`.

        Raises:
            LostAnswer: there was none in time.
        """
        if self.era == MODERN:
            await self._listen_to(handle)
        try:
            async with asyncio.timeout(STREAM_WITHIN_S):
                while not self.has_stream:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise LostAnswer("no stream") from None

    async def stream_lost(self) -> None:
        """Return once no stream is open."""
        while self.has_stream:
            self._changed.clear()
            await self._changed.wait()

    async def _listen_to(self, handle: str) -> None:
        if not self.is_connected:
            await self.connect()
        assert self._client is not None
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait((self._listening,))
        wanted = types.SubscriptionFilter.model_validate({EXTENSION: {"handles": [handle]}})
        request = types.SubscriptionsListenRequest(params=types.SubscriptionsListenRequestParams(notifications=wanted))
        sending = self._client.session.send_request(request, types.SubscriptionsListenResult)
        self._listening = asyncio.create_task(_until_over(sending))

    def _take(self, data: bytes) -> None:
        self.on_data(data)

    def observed(self, body: httpx2.AsyncByteStream, worker: str) -> httpx2.AsyncByteStream:
        """Return the body of a newly opened stream, to be read in the place of `body`."""
        stream = OpenStream(worker, time.time())
        parser = EventParser(self._take)
        self.streams.append(stream)
        self.on_stream(stream)
        self._changed.set()

        def end() -> None:
            if stream.closed_s is None:
                stream.closed_s = time.time()
                self._changed.set()

        return _ObservedBody(body, parser.feed, end)


async def _until_over(sending: Any) -> None:
    try:
        await sending
    except MCPError:  # the stream broke off
        return
