"""`python -m benchmarks.sessions`: cost of 2025 sessions.

Measured in server CPU and resident memory: opening sessions from one peer that does nothing more, and opening sessions
with a stream each (three requests: `initialize`, `notifications/initialized`, GET). A request of `/healthz` gives the
cost of any HTTP request here.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from benchmarks.connections import SessionConnection, StreamConnection, WrongStatus, connect_client, dial
from benchmarks.server import Server, python, raise_open_files
from benchmarks.wire import SESSIONS, RequestBuilder

AT_ONCE: Final = 16
MS_PER_S: Final = 1_000
SETTLES_S: Final = 1.0


async def measured(server: Server, what: str, count: int, work: Callable[[int], Awaitable[None]]) -> None:
    """Do `work` for each number below `count`, sixteen at once; print the server's CPU and memory for each."""
    cpu_s, kb = server.cpu_seconds(), server.resident_kb()
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            await work(number)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    await asyncio.sleep(SETTLES_S)
    cpu_ms = (server.cpu_seconds() - cpu_s) / count * MS_PER_S
    more_kb = server.resident_kb() - kb
    print(f"| {what} | {count:,} | {cpu_ms:.2f} | {more_kb / 1024:.1f} | {more_kb / count:.2f} |", flush=True)


async def run(initializes: int, streams: int) -> None:
    """Measure and print."""
    server = Server(*python("mcp_facade.main", "serve"))
    held: list[StreamConnection] = []
    refused = 0
    try:
        await server.ready()
        wire = RequestBuilder(server.port)
        peers = [SessionConnection(_fail) for _ in range(AT_ONCE)]
        for peer in peers:
            await dial(server.port, peer)

        async def health(number: int) -> None:
            await peers[number % AT_ONCE].ask(
                f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode()
            )

        async def initialize(number: int) -> None:
            nonlocal refused
            try:
                await peers[number % AT_ONCE].ask(wire.initialize())
            except WrongStatus:
                refused += 1

        async def stream(number: int) -> None:
            calls, session = await connect_client(server.port, SESSIONS, _fail)
            assert calls.transport is not None
            listener = StreamConnection(_fail, lambda _: None)
            calls.transport.set_protocol(listener)
            listener.connection_made(calls.transport)
            listener.write(session.stream(""))
            await listener.opened.wait()
            held.append(listener)

        print("| what | times | CPU ms each | MiB more in all | KiB each |")
        print("| --- | ---: | ---: | ---: | ---: |")
        await measured(server, "GET /healthz", 5_000, _in_turn(health))
        await measured(server, "initialize, warming up", 5_000, _in_turn(initialize))
        await measured(server, "initialize", initializes, _in_turn(initialize))
        await measured(server, "a session and its stream", streams, stream)
        print(f"\n{refused:,} refused; sessions in memory: {await _sessions(server)}")
    finally:
        for listener in held:
            listener.close()
        server.stop()


def _in_turn(work: Callable[[int], Awaitable[None]]) -> Callable[[int], Awaitable[None]]:
    """Have each connection serve one request at a time."""
    turns = [asyncio.Lock() for _ in range(AT_ONCE)]

    async def one(number: int) -> None:
        async with turns[number % AT_ONCE]:
            await work(number)

    return one


async def _sessions(server: Server) -> str:
    lines = (await server.get("/metrics")).splitlines()
    return next(line.split()[1] for line in lines if line.startswith("chat_broker_sessions "))


def _fail(error: Exception) -> None:
    raise error


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sessions", description=__doc__)
    parser.add_argument("--initializes", type=int, default=100_000, help="sessions opened from one peer (%(default)s)")
    parser.add_argument("--streams", type=int, default=2_000, help="sessions with a stream (%(default)s)")
    options = parser.parse_args()
    raise_open_files()
    asyncio.run(run(options.initializes, options.streams))


if __name__ == "__main__":
    main()
