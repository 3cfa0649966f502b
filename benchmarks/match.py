"""`python -m benchmarks.match`: cost of a match and of a removal with 10, 10,000 and 1,000,000 clients waiting.

Under first come, first served at most one client waits, so these wait under `--matching interests`, each for an
interest of its own. A match is a newcomer's `enter_queue` with one of those interests; a removal is a newcomer's
`leave_queue` from the end of the queue. Server CPU of the whole call, from the operating system's accounting; beside
it, deciding and folding alone. The sizes take turns; results are medians of the rounds, and ratios are of one round.
"""

import argparse
import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import uvloop

from benchmarks.connections import CallConnection, WrongAnswer
from benchmarks.server import Server, python
from benchmarks.wire import RequestBuilder, ToolResult, answer
from broker.decide import decide
from broker.decision import Rejection
from events.commands import Command, EnterQueue, LeaveQueue
from events.commit import Facts, Tip, commit_after
from events.ids import CommitId, ConnectionId, RoomId
from events.log import Snapshot
from events.policy import Policy
from events.sqlite.file import SqliteFile
from projections.connections import Connection, Connections, Waiting
from projections.persistent_map import Map
from projections.queue import Queue
from projections.snapshots import STATE_CODEC
from projections.state import State, evolve

SIZES: Final = (10, 10_000, 1_000_000)
ROUNDS: Final = 5
CALLS: Final = 200
FOLDED_WITHIN_S: Final = 120.0
REPEATS: Final = 500
STRIDE: Final = 7_919
"""A prime: steps of it go all over the queue."""
AT_MS: Final = time.time_ns() // 1_000_000  # patience counts from then
PATIENT: Final = {
    "matching": "interests",
    "interest_patience_ms": 10**9,
    "idle_grace_queue_ms": 10**9,
    "queue_connections_max": 2_000_000,
    "connections_kept": 4_000_000,
}
US_PER_S: Final = 1_000_000


class WaitingServer:
    """A server with so many clients in its queue, and a newcomer's connection to it."""

    def __init__(self, size: int, state: State, path: Path) -> None:
        self.size = size
        with closing(SqliteFile(path, "write", synchronous="NORMAL")) as file:
            file.start_from(Snapshot(state.tip, state), STATE_CODEC)
        flags = [word for name, value in PATIENT.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        flags += ["--log", f"sqlite:{path}", "--log-synchronous", "normal"]
        self._server = Server(*python("mcp_facade.main", "serve", *flags))
        self._wire = RequestBuilder(self._server.port)
        self._calls = CallConnection(_fail)
        self._met = 0
        self.match_us: list[float] = []
        self.removal_us: list[float] = []

    async def open(self) -> None:
        """Wait until the server has folded its log, and call once."""
        await self._server.ready(FOLDED_WITHIN_S)
        await asyncio.get_running_loop().create_connection(lambda: self._calls, "127.0.0.1", self._server.port)
        await self.measure(1)
        self.match_us.clear()
        self.removal_us.clear()

    async def measure(self, calls: int) -> None:
        """Measure one round; a matched client is replaced, to keep the number of waiting ones."""
        matching_s = leaving_s = 0.0
        for _ in range(calls):
            self._met += 1
            interest = _interest(self._met * STRIDE % self.size)
            matching_s += await self._seconds(self._enter(interest, "matched"))
            await self._enter(interest, "waiting")
            handle = await self._enter("an interest of nobody else", "waiting")
            leaving_s += await self._seconds(self._ask("leave_queue", {"handle": handle}))
        self.match_us.append(matching_s / calls * US_PER_S)
        self.removal_us.append(leaving_s / calls * US_PER_S)

    async def _enter(self, interest: str, status: str) -> str:
        entered = await self._ask("enter_queue", {"interests": [interest]})
        if entered.status != status:
            raise WrongAnswer(f"a newcomer with {interest} was {entered.status}")
        return entered.handle

    async def _ask(self, tool: str, arguments: dict[str, object]) -> ToolResult:
        body = await self._calls.ask(self._wire.call(tool, arguments))
        result = answer(body).result
        if result is None or result.is_error or result.structured_content is None:
            raise WrongAnswer(f"{tool} was answered {body[:500]!r}")
        return result.structured_content

    async def _seconds(self, call: Awaitable[object]) -> float:
        """Return the server CPU of `call`."""
        began = self._server.cpu_seconds()
        await call
        return self._server.cpu_seconds() - began

    def close(self) -> None:
        """Stop the server."""
        self._calls.close()
        self._server.stop()


def _fail(error: Exception) -> None:
    raise error


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(prog="python -m benchmarks.match", description=__doc__).parse_args()
    states = [_waiting(size) for size in SIZES]
    with TemporaryDirectory() as directory, ExitStack() as stack:
        servers = [
            WaitingServer(len(state.queue), state, Path(directory) / f"{len(state.queue)}.db") for state in states
        ]
        for server in servers:
            stack.callback(server.close)
        uvloop.run(_measure(servers))
        print("a call of a newcomer, whole:")
        _print([server.match_us for server in servers], [server.removal_us for server in servers])
    gc.freeze()
    gc.disable()
    print("\nits deciding and folding alone:")
    _print(*(_in_turn(states, command) for command in (_newcomer, _leaver)))


async def _measure(servers: Sequence[WaitingServer]) -> None:
    for server in servers:
        await server.open()
    for _ in range(ROUNDS):
        for server in servers:
            await server.measure(CALLS)


def _print(matches: Sequence[Sequence[float]], removals: Sequence[Sequence[float]]) -> None:
    print(f"{'waiting':>10} {'match us':>10} {'x fewest':>9} {'removal us':>11} {'x fewest':>9}")
    for size, match_us, removal_us in zip(SIZES, matches, removals, strict=True):
        cells = (median(match_us), _ratio(match_us, matches[0]), median(removal_us), _ratio(removal_us, removals[0]))
        print("{:>10,} {:>10.1f} {:>9.2f} {:>11.1f} {:>9.2f}".format(size, *cells))


def _ratio(values: Sequence[float], others: Sequence[float]) -> float:
    return median(value / other for value, other in zip(values, others, strict=True))


def _waiting(size: int) -> State:
    """Return a state with so many waiting clients, each with a position and an interest of its own."""
    entries = [(position, _person(position), (_interest(position % size),)) for position in range(1, size + 1)]
    places = {who: Connection("Somebody", named, Waiting(at), at, AT_MS, 0, 0) for at, who, named in entries}
    return State(
        Tip(size, CommitId("0" * 32)),
        AT_MS,
        Policy(**PATIENT),  # type: ignore[arg-type] # the types in a dict are not checked
        Queue.of(entries),
        connections=Connections(Map(places)),
    )


def _person(number: int) -> ConnectionId:
    return ConnectionId(f"c_{number:032x}")


def _interest(number: int) -> str:
    return f"interest {number}"


def _newcomer(state: State, number: int) -> Command:
    return EnterQueue(_person(10**9 + number), "Somebody new", (_interest(number * STRIDE % state.position),))


def _leaver(state: State, number: int) -> Command:
    return LeaveQueue(_person(1 + number * STRIDE % state.position))


def _in_turn(states: Sequence[State], command_of: Callable[[State, int], Command]) -> list[list[float]]:
    rounds = [[_decided_us(state, command_of) for state in states] for _ in range(ROUNDS)]
    return [list(one) for one in zip(*rounds, strict=True)]


def _decided_us(state: State, command_of: Callable[[State, int], Command]) -> float:
    """CPU of one command, decided and folded; each starts from the same state."""
    commands = [command_of(state, number) for number in range(REPEATS)]
    facts = Facts(AT_MS, RoomId("r_" + "0" * 32))
    began = time.process_time()
    for command in commands:
        decision = decide(state, command, facts)
        assert not isinstance(decision, Rejection)
        evolve(state, commit_after(state.tip, command, facts, decision))
    return (time.process_time() - began) / REPEATS * US_PER_S


if __name__ == "__main__":
    main()
