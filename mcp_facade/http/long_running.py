"""A call that may take long: it waits, its response alone tells of a new handle, or the SDK serves it.

While it runs, the client gets a ping every fifteen seconds. It ends with its response, or when the client goes; in a
session of 2025 also when the client cancels it (`notifications/cancelled`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from starlette.types import Message

from broker.broker import Broker
from mcp_facade.http.encoders import ResponseEncoder, cancelled, event
from mcp_facade.http.event_stream import PING
from mcp_facade.http.exchange import HttpExchange


class LongRunningCall:
    """One such call: the task of its JSON-RPC response, and a watch over the client meanwhile."""

    def __init__(self, exchange: HttpExchange, encoder: ResponseEncoder, request_id: int | str) -> None:
        self._exchange = exchange
        self._encoder = encoder
        self._request_id = request_id
        self._wake = asyncio.Event()
        self._ping_due = False
        self._started = False

    def ping(self) -> None:
        """Write a keep-alive (`Pinged`)."""
        self._ping_due = True
        self._wake.set()

    def cancel(self) -> None:
        """End with the JSON-RPC error for a cancelled call."""
        self._exchange.cancel()
        self._wake.set()

    async def notify(self, notification: bytes) -> None:
        """Write a JSON-RPC notification before the response; nothing once the client has gone."""
        if not (self._exchange.is_over or self._exchange.is_cancelled):
            await self._write(event(notification), more=True)

    async def serve(self, work: Coroutine[None, None, bytes], broker: Broker) -> None:
        """Respond with the JSON-RPC message returned by `work`."""
        working = asyncio.ensure_future(work)
        working.add_done_callback(lambda _: self._wake.set())
        watching = asyncio.ensure_future(self._watch())
        heartbeat = broker.heartbeat
        heartbeat.add(self)
        try:
            await self._until_done(working)
            if self._exchange.is_over:
                if self._encoder.outlives_its_client:
                    self._exchange.let_work_go_on()
                    broker.in_background(working)
            elif self._exchange.is_cancelled:
                await self._write(event(cancelled(self._request_id)), more=False)
            else:
                await self._respond(working.result())
        finally:
            heartbeat.discard(self)
            watching.cancel()
            if not (self._exchange.is_over and self._encoder.outlives_its_client):
                working.cancel()

    async def _until_done(self, working: asyncio.Future[bytes]) -> None:
        """Return when there is a response, or no need for one."""
        if self._encoder.is_stream_from_the_start:
            await self._start()
        while not (working.done() or self._exchange.is_over or self._exchange.is_cancelled):
            if self._ping_due:
                self._ping_due = False
                await self._write(PING, more=True)
            await self._wake.wait()
            self._wake.clear()

    async def _watch(self) -> None:
        while (await self._exchange.receive())["type"] != "http.disconnect":
            pass
        self._wake.set()

    async def _respond(self, message: bytes) -> None:
        if self._started:
            await self._write(event(message), more=False)
        else:
            await self._exchange.respond(self._encoder.headers, self._encoder.framed(message))

    async def _start(self) -> None:
        self._started = True
        headers = self._encoder.stream_headers
        await self._exchange.send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _write(self, body: bytes, *, more: bool) -> None:
        if not self._started:
            await self._start()
        message: Message = {"type": "http.response.body", "body": body, "more_body": more}
        await self._exchange.send(message)
