"""Clients that only keep a stream open, in a process of their own because of the limit on open files.

`python -m benchmarks.idle PORT VERSION [reads]` reads a number of streams from each line of its input, opens as many,
and prints their number. It ends with its input, and with an error once a stream ends.
"""

import asyncio
import gc
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator
from itertools import chain
from typing import Final

import uvloop

from benchmarks.clients import BenchmarkClients, enter
from benchmarks.connections import StreamConnection, WrongAnswer
from benchmarks.server import python, raise_open_files

OPENING_AT_ONCE: Final = 32


class IdleStreams:
    """The process with the idle streams of one server, as used by the generator."""

    def __init__(self, crowd: BenchmarkClients) -> None:
        self._crowd = crowd
        self._process: Process | None = None
        self._watching: asyncio.Task[None] | None = None

    async def gather(self, streams: int) -> None:
        """Open streams until there are that many.

        Raises:
            WrongAnswer: the server refused one; the process has printed the reason.
        """
        if self._process is None:
            crowd = self._crowd
            command = python("benchmarks.idle", str(crowd.ports[0]), crowd.protocol_version, *["reads"] * crowd.reads)
            self._process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
            self._watching = asyncio.create_task(self._watch(self._process))
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"%d\n" % streams)
        there = await self._crowd.watch(self._process.stdout.readline())
        if there != b"%d\n" % streams:
            raise WrongAnswer(f"{streams} idle streams could not be opened")

    async def _watch(self, process: Process) -> None:
        await process.wait()
        self._crowd.fail(WrongAnswer("an idle stream has ended"))

    def close(self) -> None:
        """End the process."""
        if self._watching is not None:
            self._watching.cancel()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()


async def keep(crowd: BenchmarkClients) -> None:
    """Open as many streams as each line of the input says, and keep them.

    Raises:
        WrongAnswer: the server would not have one of them, or ended it.
    """
    streams: list[StreamConnection] = []
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await crowd.watch(lines.readline()):
        missing = iter(range(len(streams), int(line)))
        opened = await crowd.watch(asyncio.gather(*(_open_some(crowd, missing) for _ in range(OPENING_AT_ONCE))))
        streams += chain.from_iterable(opened)
        print(len(streams), flush=True)


async def _open_some(crowd: BenchmarkClients, numbers: Iterator[int]) -> list[StreamConnection]:
    """Open streams one after the other until `numbers` is used up by all."""
    return [await _opened(crowd, number) for number in numbers]


async def _opened(crowd: BenchmarkClients, number: int) -> StreamConnection:
    """Use one TCP connection for a client's calls and then for its stream; clients are paired, and stay silent."""
    calls, wire = await crowd.greet(crowd.ports[0])
    entered = await enter(calls, wire, f"idle {number}")
    stream = StreamConnection(crowd.fail, lambda _: None)
    assert calls.transport is not None, "the server closed a connection"
    calls.transport.set_protocol(stream)
    stream.connection_made(calls.transport)
    stream.write(wire.stream(entered.handle))
    await stream.opened.wait()
    return stream


async def main(port: str, protocol_version: str, reads: str = "") -> None:
    """The command line."""
    try:
        await keep(BenchmarkClients(int(port), protocol_version=protocol_version, reads=bool(reads)))
    except (WrongAnswer, OSError) as error:
        sys.exit(f"idle streams: {error}")


if __name__ == "__main__":
    raise_open_files()
    gc.disable()
    uvloop.run(main(*sys.argv[1:]))
