"""The end of a server that is in use: every stream and every wait ends well, and so does the process."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Final

from benchmarks.connections import HTTP_OK
from benchmarks.crowd import enter
from benchmarks.greeting import greet
from benchmarks.server import Server
from benchmarks.soak.ear import Ear
from benchmarks.soak.line import Line
from benchmarks.soak.rooms import Who
from benchmarks.soak.town import Town
from benchmarks.wire import MODERN, SESSIONS, answer

STREAMS: Final = 50
"""Of each era."""
WAITS: Final = 20
ENDED_WITHIN_S: Final = 5.0
LISTEN_ID: Final = 2


@dataclass
class Ending:
    """How the server ended."""

    streams: int
    waits: int
    status: int | None = None
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


async def end_with_streams_open(server: Server, town: Town) -> Ending:
    """Open streams and waits, send `SIGTERM`, and see how each of them ends."""
    ending = Ending(2 * STREAMS, WAITS)
    who = Who("the last")
    ears = {era: [await _listening(town, era, who) for _ in range(STREAMS)] for era in (SESSIONS, MODERN)}
    waits = [asyncio.create_task(_waiting(town, who)) for _ in range(WAITS)]
    await asyncio.sleep(0.5)  # until the waits stand: nothing tells from outside
    ending.status, ending.seconds = await server.terminate(ENDED_WITHIN_S)
    if ending.status != 0:
        ending.problems.append(f"SIGTERM: exit status {ending.status} after {ending.seconds:.1f} s")
    for era, opened in ears.items():
        if (open_still := sum(not ear.over.is_set() for ear in opened)) > 0:
            ending.problems.append(f"SIGTERM: {open_still} streams of {era} were not ended")
    if (silent := sum(ear.result_id != LISTEN_ID for ear in ears[MODERN])) > 0:
        ending.problems.append(f"SIGTERM: {silent} listens got no result")
    for result in await asyncio.gather(*waits, return_exceptions=True):
        if result is not True:
            ending.problems.append(f"SIGTERM: a wait ended with {result!r}")
    return ending


async def _listening(town: Town, era: str, who: Who) -> Ear:
    calls, wire = await greet(town.port, era, lambda error: town.fail(error, who))
    entered = await enter(calls, wire, "last")
    calls.close()
    ear = Ear(lambda error: town.fail(error, who), lambda _: None)
    status = await ear.open(town.port, wire.stream(entered.handle))
    assert status == HTTP_OK, status
    return ear


async def _waiting(town: Town, who: Who) -> bool:
    """Someone waits who is chatting or queuing; whether they were told that the time is up."""
    line = Line(town.port, MODERN, random.Random(0), lambda error: town.fail(error, who))
    entered = answer(await line.ask(line.wire.call("enter_queue", {}))).result
    assert entered is not None
    assert entered.structured_content is not None
    mine = entered.structured_content
    while True:
        wait = {"handle": mine.handle, "cursor": mine.cursor, "wait_seconds": 60}
        result = answer(await line.ask(line.wire.call("wait_for_events", wait), 70)).result
        assert result is not None
        assert result.structured_content is not None
        if result.structured_content.timed_out:
            return True
        mine.cursor = result.structured_content.cursor
