"""The end of a server in use: every stream and every wait ends well, and so does the process."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Final

from benchmarks.clients import enter
from benchmarks.connections import HTTP_OK, WrongAnswer, connect_client
from benchmarks.server import Server
from benchmarks.soak.client import ReconnectingClient
from benchmarks.soak.leftovers import LOOKED_AT_EVERY_S, TASKS, held
from benchmarks.soak.listener import Listener
from benchmarks.soak.rooms import Identity
from benchmarks.soak.run import SoakRun
from benchmarks.wire import MODERN, SESSIONS, ToolResult, answer

STREAMS: Final = 50
"""Streams of each era."""
WAITS: Final = 20
STANDING_WITHIN_S: Final = 60.0
ENDED_WITHIN_S: Final = 5.0
LISTEN_ID: Final = 2


@dataclass
class TeardownResult:
    """The end of the server."""

    streams: int
    waits: int
    status: int | None = None
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


class LastClient:
    """One of the last clients: it has a stream, and may also wait."""

    def __init__(self, run: SoakRun, era: str) -> None:
        self.era = era
        self._town = run
        self._who = Identity("the last")
        self._handle = ""
        self._cursor = 0
        self._client = ReconnectingClient(run.port, era, random.Random(0), self._fail)
        self.listener = Listener(self._fail, lambda _: None)

    async def come(self) -> None:
        """Enter the queue, and open the stream."""
        calls, wire = await connect_client(self._town.port, self.era, self._fail)
        entered = await enter(calls, wire, "last")
        self._handle, self._cursor = entered.handle, entered.cursor
        calls.close()
        status = await self.listener.open(self._town.port, wire.stream(self._handle))
        if status != HTTP_OK:
            raise WrongAnswer(f"one of the last was refused a stream: HTTP {status}")

    async def catch_up(self) -> None:
        """Read all notifications, for a wait to last."""
        await self._client.begin()
        self._cursor = (await self._waited(0)).cursor

    async def wait(self) -> bool:
        """Wait in vain; return true if the result says that the time is up."""
        return (await self._waited(60)).timed_out

    def leave(self) -> None:
        """Close all open connections."""
        self.listener.close()
        self._client.hang_up()

    async def _waited(self, seconds: int) -> ToolResult:
        asked = {"handle": self._handle, "cursor": self._cursor, "wait_seconds": seconds}
        request = self._client.wire.call("wait_for_events", asked, call_id=seconds + LISTEN_ID + 1)
        body = await self._client.ask(request, STANDING_WITHIN_S)
        result = answer(body).result
        if result is None or result.structured_content is None:
            raise WrongAnswer(f"a wait was answered {body[:500]!r}")
        return result.structured_content

    def _fail(self, error: Exception) -> None:
        self._town.fail(error, self._who)


async def end_with_streams_open(server: Server, run: SoakRun) -> TeardownResult:
    """Open streams and waits, send `SIGTERM`, and check how each of them ends."""
    ending = TeardownResult(2 * STREAMS, WAITS)
    everyone = [LastClient(run, era) for _ in range(STREAMS) for era in (SESSIONS, MODERN)]
    for last in everyone:
        await last.come()
    waits = await _standing(server, everyone[:WAITS])
    ending.status, ending.seconds = await server.terminate(ENDED_WITHIN_S)
    if ending.status != 0:
        ending.problems.append(f"SIGTERM: exit status {ending.status} after {ending.seconds:.1f} s")
    if (open_still := sum(not last.listener.over.is_set() for last in everyone)) > 0:
        ending.problems.append(f"SIGTERM: {open_still} streams were not ended")
    if (silent := sum(last.era == MODERN and last.listener.result_id != LISTEN_ID for last in everyone)) > 0:
        ending.problems.append(f"SIGTERM: {silent} listens got no result")
    results = await asyncio.gather(*waits, return_exceptions=True)
    ending.problems += [f"SIGTERM: a wait ended with {result!r}" for result in results if result is not True]
    for last in everyone:
        last.leave()
    return ending


async def _standing(server: Server, people: list[LastClient]) -> list[asyncio.Task[bool]]:
    """Return a wait of each client, once all of them are in progress."""
    for last in people:
        await last.catch_up()
    before = (await held(server))[TASKS]
    waits = [asyncio.create_task(last.wait()) for last in people]
    async with asyncio.timeout(STANDING_WITHIN_S):
        while True:
            await asyncio.sleep(LOOKED_AT_EVERY_S)
            if (await held(server))[TASKS] >= before + len(people):  # a call that is under way is one, at least
                return waits
