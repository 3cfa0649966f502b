"""Clients of a server at its end, in a process of their own, and how each connection ends.

`python -m benchmarks.visitors PORT VERSION STREAMS COMING AT_ONCE` opens client connections, each with a stream at the
end, AT_ONCE at a time. It prints a line when STREAMS are open, and lets COMING more come after them. When every
connection has ended it prints the number of each kind of end, as one line of JSON. Then it waits for the end of its
input.
"""

import asyncio
import gc
import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Final

import uvloop

from benchmarks.clients import enter
from benchmarks.connections import HTTP_OK, WrongAnswer, WrongStatus, connect_client
from benchmarks.server import raise_open_files
from benchmarks.soak.listener import Listener
from benchmarks.wire import MODERN

COME_WITHIN_S: Final = 300.0
ENDED_WITHIN_S: Final = 60.0

ENDED: Final = "ended as promised"


class WholeListener(Listener):
    """A stream that records if its response was whole."""

    was_whole = False

    def on_message_complete(self) -> None:
        """The server ended it gracefully."""
        self.was_whole = True
        super().on_message_complete()


class ShutdownClients:
    """All clients."""

    def __init__(self, port: int, protocol_version: str, expected: int) -> None:
        """`expected`: the number of open streams at which the server may end."""
        self.there = asyncio.Event()
        """Set when the streams are open, or a client was refused."""
        self.listening: list[WholeListener] = []
        self.ends: Counter[str] = Counter()
        self._port = port
        self._protocol_version = protocol_version
        self._expected = expected

    async def come(self, numbers: Iterator[int]) -> None:
        """Open streams one after the other until `numbers` is used up by all."""
        for number in numbers:
            try:
                self.listening.append(await self._stream(number))
            except WrongStatus as error:
                self.ends[f"refused with {error.status}"] += 1
            except WrongAnswer:
                self.ends["closed while coming"] += 1
            except OSError:
                self.ends["not let in"] += 1
            if len(self.listening) >= self._expected or self.ends:
                self.there.set()

    async def leave(self) -> None:
        """Return once the server has ended every stream."""
        for listener in self.listening:
            await listener.over.wait()
            promised = listener.was_whole and (self._protocol_version != MODERN or listener.result_id is not None)
            self.ends[ENDED if promised else "cut"] += 1

    async def _stream(self, number: int) -> WholeListener:
        calls, wire = await connect_client(self._port, self._protocol_version, lambda _: None)
        entered = await enter(calls, wire, f"visitor {number}")
        if calls.transport is None:
            raise WrongAnswer("the server closed a connection between two requests")
        listener = WholeListener(lambda _: None, lambda _: None)
        calls.transport.set_protocol(listener)
        listener.connection_made(calls.transport)
        listener.write(wire.stream(entered.handle))
        await listener.opened.wait()
        if listener.status != HTTP_OK:
            raise (
                WrongStatus(listener.status, b"") if listener.status else WrongAnswer("the server closed a connection")
            )
        return listener


async def main(port: str, protocol_version: str, streams: str, coming: str, at_once: str) -> None:
    """The command line."""
    visitors = ShutdownClients(int(port), protocol_version, int(streams))
    numbers = iter(range(int(streams) + int(coming)))
    arriving = asyncio.gather(*(visitors.come(numbers) for _ in range(int(at_once))))
    async with asyncio.timeout(COME_WITHIN_S):
        await visitors.there.wait()
    print(len(visitors.listening), flush=True)
    async with asyncio.timeout(ENDED_WITHIN_S):
        await arriving
        await visitors.leave()
    print(json.dumps(visitors.ends), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    raise_open_files()
    gc.disable()
    uvloop.run(main(*sys.argv[1:]))
