"""A call that may last: it waits, or its answer is the only word of a handle. Both care whether the client is there.

While it lasts, the client hears a ping every fifteen seconds. It ends with its answer, or when the client goes; in a
session of 2025 also when the client calls it off (`notifications/cancelled`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from starlette.types import Message

from broker.broker import Broker
from mcp_facade.fast.encoders import ResponseEncoder, cancelled, event
from mcp_facade.http.exchange import HttpExchange
from mcp_facade.streams.get_stream import PING
from mcp_facade.tools.results import Answer


class LongRunningCall:
    """One such call: a task that makes the answer, and a watch over the client meanwhile."""

    def __init__(self, exchange: HttpExchange, encoder: ResponseEncoder, request_id: int | str) -> None:
        self._exchange = exchange
        self._encoder = encoder
        self._request_id = request_id
        self._touched = asyncio.Event()
        self._ping_due = False
        self._is_cancelled = False
        self._started = False

    def ping(self) -> None:
        """Let the client know that it goes on (`Pinged`)."""
        self._ping_due = True
        self._touched.set()

    def cancel(self) -> None:
        """The client does not want it any more, and is told so."""
        self._is_cancelled = True
        self._touched.set()

    async def serve(self, work: Coroutine[None, None, Answer], broker: Broker) -> None:
        """Answer with what comes of `work`."""
        working = asyncio.ensure_future(work)
        working.add_done_callback(lambda _: self._touched.set())
        watching = asyncio.ensure_future(self._watch())
        heartbeat = broker.streams.heartbeat
        heartbeat.add(self)
        try:
            await self._until_done(working)
            if self._exchange.is_over:
                if self._encoder.outlives_its_client:
                    broker.in_background(working)
            elif self._is_cancelled:
                await self._write(event(cancelled(self._request_id)), more=False)
            else:
                await self._answer(working.result())
        finally:
            heartbeat.discard(self)
            watching.cancel()
            if not (self._exchange.is_over and self._encoder.outlives_its_client):
                working.cancel()

    async def _until_done(self, working: asyncio.Future[Answer]) -> None:
        """Return when there is an answer, or no need for one."""
        if self._encoder.is_stream_from_the_start:
            await self._start()
        while not (working.done() or self._exchange.is_over or self._is_cancelled):
            if self._ping_due:
                self._ping_due = False
                await self._write(PING, more=True)
            await self._touched.wait()
            self._touched.clear()

    async def _watch(self) -> None:
        while (await self._exchange.receive())["type"] != "http.disconnect":
            pass
        self._touched.set()

    async def _answer(self, answer: Answer) -> None:
        if self._started:
            await self._write(event(self._encoder.result(self._request_id, answer)), more=False)
        else:
            await self._exchange.respond(self._encoder.headers, self._encoder.whole(self._request_id, answer))

    async def _start(self) -> None:
        self._started = True
        await self._exchange.send(self._encoder.stream_start)

    async def _write(self, body: bytes, *, more: bool) -> None:
        if not self._started:
            await self._start()
        message: Message = {"type": "http.response.body", "body": body, "more_body": more}
        await self._exchange.send(message)
