"""Many streams on one of two brokers, which is killed: all resume at the other, and none has a gap.

Half of the people are of each era. One of each pair is told something after the kill and before it resumes; it has to
hear that once. In 2025-11-25 a client resumes with `Last-Event-ID`; in 2026-07-28 it listens again, and then reads by
its cursor what came before.
"""

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from typing import Final

from benchmarks.clients import enter
from benchmarks.connections import HTTP_OK, CallConnection, WrongAnswer, connect_client, dial
from benchmarks.engines import started
from benchmarks.soak.listener import Listener
from benchmarks.stores.brokers import broker
from benchmarks.stores.rows import Row, limit_row
from benchmarks.wire import MODERN, SESSIONS, RequestBuilder, StreamFrame, answer

RESUMED_S: Final = 10.0
AT_ONCE: Final = 64
HEARD_WITHIN_S: Final = 60.0
UNLIMITED: Final = ("--stream-grace-ms=120000", "--rematch-after-ms=0", "--confirm-grace-ms=0")


class Person:
    """One with a stream, and a partner."""

    def __init__(self, number: int) -> None:
        self.era = (SESSIONS, MODERN)[number // 2 % 2]
        self.handle = ""
        self.room_id = ""
        self.cursor = 0
        self.heard: list[str] = []
        self.told: str | None = None
        """What was said to it between the kill and its resumption."""
        self.has_heard = asyncio.Event()
        self._wire = RequestBuilder(0)
        self._listener = self._new_listener()

    async def come(self, port: int) -> None:
        """Enter, and open a stream."""
        calls, self._wire = await connect_client(port, self.era, _fail)
        entered = await enter(calls, self._wire, "Somebody")
        calls.close()
        self.handle, self.room_id, self.cursor = entered.handle, entered.room_id, entered.cursor
        await self._open(port)

    async def say(self, port: int, text: str) -> None:
        """Say `text` to the partner, in a call of its own."""
        calls = CallConnection(_fail)
        await dial(port, calls)
        wire = RequestBuilder(port, self._wire.session_id)
        arguments = {"handle": self.handle, "room_id": self.room_id, "message": text}
        result = answer(await calls.ask(wire.call("send_message", arguments, 7))).result
        calls.close()
        if result is None or result.is_error:
            raise WrongAnswer("a message was refused")

    async def resume(self, port: int) -> None:
        """Open the stream at the other broker, and have all that came meanwhile."""
        event_id = self._listener.event_id
        self._listener.close()
        self._listener = self._new_listener()
        self._wire = RequestBuilder(port, self._wire.session_id)
        await self._open(port, event_id)
        if self.era == MODERN:
            await self._read(port)

    async def _open(self, port: int, event_id: bytes = b"") -> None:
        request = self._wire.stream(self.handle, event_id)
        if await self._listener.open(port, request, event_id=event_id) != HTTP_OK:
            raise WrongAnswer("a stream was refused")

    async def _read(self, port: int) -> None:
        calls = CallConnection(_fail)
        await dial(port, calls)
        arguments = {"handle": self.handle, "cursor": self.cursor, "wait_seconds": 0}
        result = answer(await calls.ask(self._wire.call("wait_for_events", arguments, 8))).result
        calls.close()
        if result is None or result.structured_content is None:
            raise WrongAnswer("a page was refused")
        for event in result.structured_content.events:
            self._hear(event)

    def _new_listener(self) -> Listener:
        return Listener(_fail, self._hear)

    def _hear(self, frame: StreamFrame) -> None:
        params = frame.params
        if params is None or params.cursor <= self.cursor:
            return
        self.cursor = params.cursor
        if params.message is not None:
            self.heard.append(params.message)
            self.has_heard.set()
        elif params.partner:
            self.room_id = params.room_id

    def leave(self) -> None:
        """Close the stream."""
        self._listener.close()


def _fail(error: Exception) -> None:
    raise error


async def measure(rounds: int, streams: int) -> list[Row]:
    """Do it several times, with a log and brokers of their own."""
    engine = started("redis")
    try:
        times = [await _resumed_in(engine.url_of(f"streams{number}"), streams) for number in range(rounds)]
    finally:
        engine.remove()
    what = f"redis: {streams:,} streams of a killed broker resumed at the other, without a gap"
    return [limit_row(what, times, RESUMED_S, "s")]


async def _resumed_in(url: str, streams: int) -> float:
    first, second = broker(url, *UNLIMITED), broker(url, *UNLIMITED)
    people = [Person(number) for number in range(streams)]
    try:
        await first.ready()
        await second.ready()
        for one, other in zip(people[::2], people[1::2], strict=True):
            await one.come(first.port)
            await other.come(first.port)
        cpu_s = second.cpu_seconds()
        os.kill(first.pid, signal.SIGKILL)
        began = time.perf_counter()
        await _say_to_some(people, second.port)
        await _resume_all(people, second.port)
        async with asyncio.timeout(HEARD_WITHIN_S):
            for person in people:
                if person.told is not None:
                    await person.has_heard.wait()
        took_s = time.perf_counter() - began
        for person in people:
            if person.heard != ([person.told] if person.told is not None else []):
                raise WrongAnswer(f"someone was told {person.told!r} and heard {person.heard}")
        cpu_s = second.cpu_seconds() - cpu_s
        print(f"streams: {streams:,} resumed in {took_s:.1f} s, with {cpu_s:.1f} s of the other's CPU", flush=True)
        return took_s
    finally:
        for person in people:
            person.leave()
        first.stop()
        second.stop()


async def _say_to_some(people: Sequence[Person], port: int) -> None:
    """Have the first of each tenth pair say something to the other."""
    for number in range(0, len(people), 20):
        people[number + 1].told = f"said to {number + 1}"
        await people[number].say(port, f"said to {number + 1}")


async def _resume_all(people: Sequence[Person], port: int) -> None:
    waiting = iter(people)

    async def some() -> None:
        for person in waiting:
            await person.resume(port)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
