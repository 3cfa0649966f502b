"""The connection to a broker: one MCP client at a time, of the protocol 2026-07-28."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup
from mcp.client.client import Client
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    REQUEST_TIMEOUT,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    TextResourceContents,
)
from pydantic import ValidationError

from chat_client.errors import refusal

PROTOCOL = "2026-07-28"
ANSWER_SECONDS = 15.0
"""How long an answer may take beyond the time that the call asks the broker to wait."""

ACKNOWLEDGED_SECONDS = 10.0
"""How long a stream may take to be acknowledged. A proxy that holds back what is streamed never lets that through."""

NOT_OURS = "the answer is not a chat broker's"

Json = dict[str, Any]
T = TypeVar("T")


class LostError(Exception):
    """No answer came; the text says why. The call may have been carried out or not."""


class Wire:
    """Carries calls to one broker. A lost connection fails the calls in flight, and the next call opens another.

    The SDK's client can't be used after a failed connection: its task group is cancelled with every call in it. So
    the client lives in a task of its own, which outlives it.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._is_open = False
        self._client: Client | None = None
        self._why = ""
        self._wanted = anyio.Event()
        self._opened = anyio.Event()
        self._spoilt = anyio.Event()
        self._closed = anyio.Event()
        self._in_flight: set[anyio.CancelScope] = set()

    def open(self, tasks: TaskGroup) -> None:
        """Take calls from now on, until `tasks` are cancelled."""
        self._is_open = True
        tasks.start_soon(self._serve)

    async def _serve(self) -> None:
        """Keep a client open whenever one is wanted."""
        try:
            while True:
                await self._wanted.wait()
                await self._serve_one()
        finally:
            self._is_open = False
            self._opened.set()

    async def _serve_one(self) -> None:
        """Open a client, and keep it until it is lost."""
        self._wanted, self._spoilt, self._closed = anyio.Event(), anyio.Event(), anyio.Event()
        self._why = "the connection was lost"
        try:
            async with Client(self.url, mode=PROTOCOL, client_info=_client_info(), cache=None) as client:
                self._client = client
                self._opened.set()
                await self._spoilt.wait()
        except ExceptionGroup as failures:
            self._why = _first_text(failures)
        finally:
            self._client, self._opened = None, anyio.Event()
            for scope in self._in_flight:
                scope.cancel()
            self._closed.set()

    async def call(self, tool: str, arguments: Json, wait_seconds: float = 0) -> Json:
        """Call a tool once, and return its result.

        Raises:
            LostError: no answer came.
            MCPError: the answer is an error of the protocol.
            RefusedError: the broker refused.
        """
        request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=arguments))
        seconds = wait_seconds + ANSWER_SECONDS
        result = await self._request(lambda client: client.session.send_request(request, CallToolResult, seconds))
        if not isinstance(result.structured_content, dict):
            raise LostError(NOT_OURS)
        if result.is_error:
            raise refusal(result.structured_content)
        return result.structured_content

    async def read(self, uri: str) -> str:
        """Read a resource, and return its text; raises as `call` does."""
        with anyio.move_on_after(ANSWER_SECONDS):
            result = await self._request(lambda client: client.session.read_resource(uri))
            return "".join(one.text for one in result.contents if isinstance(one, TextResourceContents))
        raise LostError("no answer in time")

    async def listen(self, uri: str, on_open: Callable[[], None], on_change: Callable[[], None]) -> None:
        """Hold a stream open until it ends; it announces changes of the resource `uri`.

        Args:
            uri: the resource.
            on_open: called once the broker has acknowledged the stream.
            on_change: called when the resource has changed, once for changes in close succession.

        Raises:
            LostError: the stream broke off, or was not acknowledged in time.
            MCPError: the broker refused it.
        """
        await self._request(lambda client: _listen(client, uri, on_open, on_change))

    async def _request(self, send: Callable[[Client], Awaitable[T]]) -> T:
        client = await self._connected()
        with anyio.CancelScope() as scope:
            self._in_flight.add(scope)
            try:
                return await send(client)
            except MCPError as error:
                if error.code not in (CONNECTION_CLOSED, REQUEST_TIMEOUT):
                    raise
                self._why = error.message
            except ValidationError:
                raise LostError(NOT_OURS) from None
            finally:
                self._in_flight.discard(scope)
        if self._client is client:
            self._spoilt.set()
            await self._closed.wait()
        raise LostError(self._why)

    async def _connected(self) -> Client:
        while self._client is None or self._spoilt.is_set():
            if not self._is_open:
                raise RuntimeError("use the client within its `async with`, and no longer")
            if self._client is None:
                self._wanted.set()
                await self._opened.wait()
            else:
                await self._closed.wait()
        return self._client


async def _listen(client: Client, uri: str, on_open: Callable[[], None], on_change: Callable[[], None]) -> None:
    with anyio.move_on_after(ACKNOWLEDGED_SECONDS) as patience:
        try:
            async with client.listen(resource_subscriptions=[uri]) as changes:
                patience.deadline = math.inf
                if uri not in (changes.honored.resource_subscriptions or ()):
                    return
                on_open()
                async for _ in changes:
                    on_change()
        except SubscriptionLost:
            raise LostError("the stream broke off") from None
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:  # of the stream alone, so the client is still good
                raise LostError(error.message) from None
            raise
    if patience.cancelled_caught:
        raise LostError("the stream was not acknowledged")


def _client_info() -> Implementation:
    try:
        return Implementation(name="chat-client", version=version("mcp-chat-broker"))
    except PackageNotFoundError:  # a copy of this package alone
        return Implementation(name="chat-client", version="0")


def _first_text(failures: BaseExceptionGroup[BaseException]) -> str:
    """Return the text of the first exception in `failures`, in one line."""
    first: BaseException = failures
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return " ".join(str(first).split()) or type(first).__name__
