"""What a machine can drive: the pure core, or a real broker over a real log, on a clock that the machine moves."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from broker.broker import Broker
from broker.decide import Rejection, decide
from broker.hub import Delivery
from broker.reads import Page, page_after
from broker.testing.clock import FakeClock, settle
from events.codec import decode_commit, encode_commit
from events.commands import AdoptPolicy, Command, EnterQueue, MatchDue, NextPartner, SendMessage
from events.commit import Commit, Facts, commit_after
from events.ids import ConnectionId, Position, RoomId
from events.log import EventLog
from events.memory import MemoryLog
from events.policy import Policy
from events.sqlite.log import SqliteLog
from projections.notifications import Notification, deliveries
from projections.snapshots import STATE_CODEC
from projections.state import INITIAL_STATE, State, evolve, fold

NOON_MS = 1_790_000_000_000
"""When every story begins: Unix time."""

COMMITS_MAX = 100_000

Heard = tuple[ConnectionId, Notification]
"""Who was told something, and what."""


class Happened(NamedTuple):
    """What became of something that was done to a system."""

    answer: Commit | Rejection | None = None
    """What a command led to; `None` if it was done already, or if none was given."""
    commits: Sequence[Commit] = ()
    """All that was stored, in order; the answer's is the last of them."""
    heard: Sequence[Heard] = ()
    """All that anyone was told."""


class System(Protocol):
    """Something that carries out commands. It begins with an empty log, at `NOON_MS`, and its time stands still."""

    @property
    def state(self) -> State:
        """What it knows."""
        ...

    @property
    def now_ms(self) -> int:
        """What time it is: Unix time."""
        ...

    def start(self, policy: Policy) -> Happened:
        """Begin to serve under `policy`."""
        ...

    def submit(self, command: Command) -> Happened:
        """Carry out `command`."""
        ...

    def pass_time(self, by_ms: int) -> Happened:
        """Let so much time pass."""
        ...

    def restart(self) -> Happened:
        """End, and go on from what is stored alone."""
        ...

    def page(self, who: ConnectionId, cursor: Position) -> Page:
        """What `who` was told after `cursor`, a page at most."""
        ...

    def stored(self) -> Sequence[Commit]:
        """The whole log."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


def facts_for(command: Command, at_ms: int, number: int) -> Facts:
    """Facts as a broker brings them for `command`, but with ids that are easy to read: `r_7`, `salt7`."""
    room_id = RoomId(f"r_{number}") if isinstance(command, EnterQueue | NextPartner | MatchDue) else None
    return Facts(at_ms, room_id, f"salt{number}" if isinstance(command, SendMessage) else None)


class Core:
    """Pure functions alone: decide, a commit there and back through its line of JSON, evolve, deliveries, pages."""

    def __init__(self) -> None:
        self.state = INITIAL_STATE
        self.now_ms = NOON_MS
        self._log = MemoryLog()
        self._runner = asyncio.Runner()
        self._submitted = 0

    def start(self, policy: Policy) -> Happened:
        """See `System.start`."""
        return self.submit(AdoptPolicy(policy))

    def submit(self, command: Command) -> Happened:
        """See `System.submit`."""
        self._submitted += 1
        facts = facts_for(command, self.now_ms, self._submitted)
        decision = decide(self.state, command, facts)
        if isinstance(decision, Rejection):
            return Happened(decision)
        if not decision:
            return Happened()
        commit = decode_commit(encode_commit(commit_after(self.state.tip, command, facts, decision)))
        self._runner.run(self._log.append([commit], expected=self.state.tip))
        self.state = evolve(self.state, commit)
        return Happened(commit, [commit], deliveries(commit))

    def pass_time(self, by_ms: int) -> Happened:
        """See `System.pass_time`: nothing happens by itself."""
        self.now_ms += by_ms
        return Happened()

    def restart(self) -> Happened:
        """See `System.restart`."""
        self.state = fold(self.stored())
        return Happened()

    def page(self, who: ConnectionId, cursor: Position) -> Page:
        """See `System.page`."""
        limit = self.state.policy.events_per_page_max
        return self._runner.run(page_after(self._log, self.state, who, cursor, limit))

    def stored(self) -> Sequence[Commit]:
        """See `System.stored`."""
        return self._runner.run(self._log.read(0, COMMITS_MAX))

    def close(self) -> None:
        """See `System.close`."""
        self._runner.close()


class Served:
    """A whole broker: runtime, presence, patience and notifier. It hears what each is told who ever gave a command.

    A command is a call of its connection, and nobody has a stream, so who does nothing for long is found absent.
    """

    def __init__(self, open_log: Callable[[], EventLog], *, on_close: Callable[[], None] = lambda: None) -> None:
        """`open_log` opens the same log each time."""
        self._open_log = open_log
        self._on_close = on_close
        self._clock = FakeClock(NOON_MS)
        self._runner = asyncio.Runner()
        self._broker: Broker
        self._listening: dict[ConnectionId, None] = {}
        self._heard: list[Heard] = []
        self._seen: Position = 0

    @property
    def state(self) -> State:
        """See `System.state`."""
        return self._broker.state

    @property
    def now_ms(self) -> int:
        """See `System.now_ms`."""
        return self._clock.wall_ms()

    def start(self, policy: Policy) -> Happened:
        """See `System.start`."""
        return self._runner.run(self._start(policy))

    def submit(self, command: Command) -> Happened:
        """See `System.submit`."""
        return self._runner.run(self._submit(command))

    def pass_time(self, by_ms: int) -> Happened:
        """See `System.pass_time`: timers ring, each at its moment."""
        return self._runner.run(self._pass_time(by_ms))

    def restart(self) -> Happened:
        """See `System.restart`."""
        return self._runner.run(self._restart())

    def page(self, who: ConnectionId, cursor: Position) -> Page:
        """See `System.page`."""
        return self._runner.run(self._broker.page(who, cursor))

    def stored(self) -> Sequence[Commit]:
        """See `System.stored`."""
        return self._runner.run(self._broker.log.read(0, COMMITS_MAX))

    def close(self) -> None:
        """See `System.close`."""
        self._runner.run(self._broker.close())
        self._runner.close()
        self._on_close()

    def deliver(self, delivery: Delivery) -> None:
        """Hear what is told to one of those who listen (a `Subscriber` of the notifier)."""
        self._heard.append((delivery.connection_id, delivery.notification))

    async def _start(self, policy: Policy) -> Happened:
        self._broker = Broker(self._open_log(), self._clock)
        await self._broker.start(policy)
        for who in self._listening:
            self._broker.notifier.attach(who, self)
        return await self._happened(None)

    async def _submit(self, command: Command) -> Happened:
        if isinstance(command, AdoptPolicy):
            return await self._answered(command)
        self._listening[command.connection_id] = None
        self._broker.notifier.attach(command.connection_id, self)
        with self._broker.presence.call(command.connection_id):
            return await self._answered(command)

    async def _answered(self, command: Command) -> Happened:
        answer = await self._broker.submit(command)
        return await self._happened(answer if isinstance(answer, Rejection) else answer.commit)

    async def _pass_time(self, by_ms: int) -> Happened:
        await self._clock.advance(by_ms, self._quiet)
        return await self._happened(None)

    async def _restart(self) -> Happened:
        policy = self._broker.policy
        await self._broker.close()
        return await self._start(policy)

    async def _happened(self, answer: Commit | Rejection | None) -> Happened:
        await self._quiet()
        commits = await self._broker.log.read(self._seen, COMMITS_MAX)
        heard, self._heard = self._heard, []
        self._seen += len(commits)
        return Happened(answer, commits, heard)

    async def _quiet(self) -> None:
        """Return once nothing more follows; a log in a file answers from another thread."""
        for _ in range(2):
            await settle()
            await self._broker.runtime.drained()


def served_from_memory() -> Served:
    """A broker with its log in memory; `restart` finds it there again."""
    log = MemoryLog()
    return Served(lambda: log)


def served_from_a_file() -> Served:
    """A broker with its log in a file, in a directory that is gone with it."""
    directory = tempfile.TemporaryDirectory(prefix="chat-broker-testing-")
    path = Path(directory.name) / "chat.db"
    return Served(lambda: SqliteLog(path, STATE_CODEC, synchronous="NORMAL"), on_close=directory.cleanup)
