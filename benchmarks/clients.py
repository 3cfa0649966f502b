"""Clients of a server: pairs that talk."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from benchmarks.connections import CallConnection, StreamConnection, WrongAnswer, connect_client, dial
from benchmarks.wire import (
    MODERN,
    RESOURCE_UPDATED,
    SESSIONS,
    TEXT_LENGTH,
    NotificationParams,
    RequestBuilder,
    ToolResult,
    answer,
    frame,
    messages_in,
    request_id,
)

LATE_FRAMES_WITHIN_S: Final = 0.05

T = TypeVar("T")


class Talker:
    """One of a pair: it sends, and hears the other. At most one message of each is in progress.

    A message is delivered when its call is answered and its exact text was seen on the other's stream;
    any other text, a second copy, or a cursor that does not grow is a failure.
    """

    def __init__(self, crowd: "BenchmarkClients", number: int) -> None:
        self.crowd = crowd
        self.number = number
        self.port = crowd.ports[number % len(crowd.ports)]
        self.wire = RequestBuilder(self.port, reads=crowd.reads)
        self.handle = ""
        self.partner: Talker
        self.started = 0.0
        self.answered = self.arrived = True
        self._sent = 0
        self._cursor = 0
        self._text = ""
        self._calls = CallConnection(crowd.fail)
        self._reading = CallConnection(crowd.fail)
        self._stream = StreamConnection(crowd.fail, self._heard)

    async def arrive(self) -> str:
        """Queue and open the stream; return the room's id, empty while waiting."""
        crowd = self.crowd
        self._calls, self.wire = await crowd.greet(self.port)
        entered = await enter(self._calls, self.wire, f"talker {self.number}")
        self.handle = entered.handle
        await dial(self.port, self._stream)
        self._stream.write(self.wire.stream(self.handle))
        await self._stream.opened.wait()
        return entered.room_id

    def meet(self, partner: "Talker", room_id: str) -> None:
        """Talk to `partner` in that room from now on."""
        self.partner = partner
        self._request = self.wire.message(self.handle, room_id)

    async def redial(self) -> None:
        """Make calls on a fresh connection; servers close idle ones."""
        self._calls.close()
        self._calls = await self._dialled(self._answer)
        if self.wire.reads:
            self._reading.close()
            self._reading = await self._dialled(self._read)

    async def _dialled(self, on_answer: Callable[[bytes], None]) -> CallConnection:
        calls = CallConnection(self.crowd.fail)
        await dial(self.port, calls)
        calls.on_answer = on_answer
        return calls

    def send(self, started: float) -> None:
        """Send the next message; it counts as sent at `started`."""
        assert self.answered, "one message at a time"
        assert self.arrived, "one message at a time"
        self._sent += 1
        self.started = started
        self.answered = self.arrived = False
        self._text = f"{self.number:05d} {self._sent:09d} and how is the weather where you are?".ljust(TEXT_LENGTH)
        self._calls.write(self._request.with_text(self._sent, self._text))

    def _answer(self, body: bytes) -> None:
        answered = answer(body)
        result = answered.result
        done = result and not result.is_error and result.structured_content and result.structured_content.success
        if not done or answered.id != request_id(self._sent) or self.answered:
            raise WrongAnswer(f"message {self._sent} of talker {self.number} was answered {body[:500]!r}")
        self.answered = True
        if self.arrived:
            self.crowd.on_delivered(self)

    def _heard(self, data: bytes) -> None:
        heard = frame(data)
        if heard.params is not None and heard.params.message is not None:
            self._received(heard.params)
        elif self.wire.reads and heard.method == RESOURCE_UPDATED:
            self._reading.write(self.wire.read(self.handle))

    def _read(self, body: bytes) -> None:
        read = answer(body).result
        if read is None:
            raise WrongAnswer(f"the inbox of talker {self.number} was answered {body[:500]!r}")
        for params in messages_in(read):
            self._received(params)

    def _received(self, params: NotificationParams) -> None:
        sender = self.partner
        if sender.arrived or params.message != sender._text or params.cursor <= self._cursor:  # noqa: SLF001 - the partner is of this class
            raise WrongAnswer(f"talker {self.number}, cursor {self._cursor}, did not expect {params!r}")
        self._cursor = params.cursor
        sender.arrived = True
        if sender.answered:
            self.crowd.on_delivered(sender)

    def close(self) -> None:
        """Close all connections."""
        self._calls.close()
        self._reading.close()
        self._stream.close()


async def enter(calls: CallConnection, wire: RequestBuilder, name: str) -> ToolResult:
    """Call `enter_queue` and return its result."""
    body = await calls.ask(wire.call("enter_queue", {"display_name": name}))
    result = answer(body).result
    if result is None or result.is_error or result.structured_content is None:
        raise WrongAnswer(f"enter_queue was answered {body[:500]!r}")
    return result.structured_content


class BenchmarkClients:
    """All clients of one server."""

    def __init__(self, *ports: int, protocol_version: str, reads: bool = False) -> None:
        """Have each client call the next of `ports`, so the two of a pair are at different ones."""
        assert protocol_version in (MODERN, SESSIONS)
        self.ports = ports
        self.reads = reads
        self.talkers: list[Talker] = []
        self.on_delivered: Callable[[Talker], None] = lambda _: None
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.protocol_version = protocol_version

    def fail(self, error: Exception) -> None:
        """Record an error of any client; the first one is raised by `watch`."""
        if not self.failed.done():
            self.failed.set_exception(error)

    async def greet(self, port: int) -> tuple[CallConnection, RequestBuilder]:
        """Open a connection for calls, in 2025-11-25 with a session."""
        return await connect_client(port, self.protocol_version, self.fail, reads=self.reads)

    async def gather_pairs(self, pairs: int) -> None:
        """Open that many pairs, one after the other, to pair each client with the next."""
        for number in range(0, 2 * pairs, 2):
            first, second = Talker(self, number), Talker(self, number + 1)
            self.talkers += first, second
            await first.arrive()
            room_id = await second.arrive()
            if not room_id:
                raise WrongAnswer(f"talker {number + 1} was not matched with the one who waits")
            first.meet(second, room_id)
            second.meet(first, room_id)

    async def redial(self) -> None:
        """Give every talker a fresh connection for calls."""
        for talker in self.talkers:
            await talker.redial()

    async def settle(self) -> None:
        """Leave time for a second copy to arrive: it would be a failure."""
        await asyncio.sleep(LATE_FRAMES_WITHIN_S)
        await self.watch(asyncio.sleep(0))

    async def watch(self, work: Awaitable[T]) -> T:
        """Return the work's result, or raise an earlier failure."""
        task = asyncio.ensure_future(work)
        await asyncio.wait((task, self.failed), return_when=asyncio.FIRST_COMPLETED)
        if self.failed.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)  # or its own end is reported too
            self.failed.result()
        return await task

    def close(self) -> None:
        """Close all clients."""
        self.failed.cancel()
        for talker in self.talkers:
            talker.close()


def now() -> float:
    """The clock of every latency here."""
    return time.perf_counter()
