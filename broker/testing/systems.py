"""Systems for a machine to drive: the pure core, or a whole broker over a log, on a clock moved by the machine."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from broker.broker import Broker
from broker.decide import decide
from broker.decision import Rejection
from broker.hub import Delivery
from broker.reads import Page, PageLimits, page_after
from broker.testing.clock import FakeClock, settle
from events.codec import decode_commit, encode_commit
from events.commands import (
    AdoptPolicy,
    CancelMatch,
    Command,
    EnterQueue,
    ForgetNames,
    MatchDue,
    NextPartner,
    ReportPartner,
    SendMessage,
)
from events.commit import Commit, Facts, commit_after
from events.ids import ConnectionId, Position, RoomId
from events.log import EventLog
from events.memory import MemoryLog
from events.policy import Policy
from events.sqlite.log import SqliteLog
from projections.notifications import Notification, deliveries
from projections.snapshots import STATE_CODEC
from projections.state import INITIAL_STATE, State, evolve, fold

START_MS = 1_790_000_000_000
"""The time at which every system starts (Unix ms)."""

COMMITS_MAX = 100_000

ReceivedNotification = tuple[ConnectionId, Notification]
"""A notification and its recipient."""


class Observation(NamedTuple):
    """The result of one action on a system."""

    answer: Commit | Rejection | None = None
    """A command's commit or rejection; `None` if it was done already, or if the action was no command."""
    commits: Sequence[Commit] = ()
    """All that was stored, in order; after a command's commit, only matches that it made due."""
    received: Sequence[ReceivedNotification] = ()
    """All notifications that were sent."""


class System(Protocol):
    """An implementation of the broker's commands.

    It begins with an empty log at `START_MS`. Its time moves only with `pass_time`.
    """

    @property
    def state(self) -> State:
        """The system's state."""
        ...

    @property
    def now_ms(self) -> int:
        """The system's time (Unix ms)."""
        ...

    def start(self, policy: Policy) -> Observation:
        """Start under `policy`."""
        ...

    def submit(self, command: Command) -> Observation:
        """Carry out `command`."""
        ...

    def pass_time(self, by_ms: int) -> Observation:
        """Advance the clock by `by_ms`."""
        ...

    def restart(self) -> Observation:
        """Stop, and start again from the log alone."""
        ...

    def to_avoid(self, connection_id: ConnectionId) -> tuple[ConnectionId, ...]:
        """Return the waiting connections to be avoided by a command that may match `connection_id` (`Facts.avoid`)."""
        ...

    def page(self, connection_id: ConnectionId, cursor: Position) -> Page:
        """Return the notifications for `connection_id` after `cursor`, one page at most."""
        ...

    def stored(self) -> Sequence[Commit]:
        """Return the whole log."""
        ...

    def close(self) -> None:
        """Release all resources."""
        ...


def avoid_none(state: State, connection_id: ConnectionId) -> tuple[ConnectionId, ...]:
    """Return no connections to avoid: all have peers of their own."""
    return ()


def facts_for(
    command: Command,
    at_ms: int,
    number: int,
    to_avoid: Callable[[ConnectionId], tuple[ConnectionId, ...]] = lambda connection_id: (),
) -> Facts:
    """Return facts as a broker would for `command`, with readable ids: `r_7`, `salt7`."""
    salt = f"salt{number}" if isinstance(command, EnterQueue | SendMessage | ReportPartner) else None
    if isinstance(command, EnterQueue | NextPartner | MatchDue):
        return Facts(at_ms, RoomId(f"r_{number}"), salt, to_avoid(command.connection_id))
    return Facts(at_ms, None, salt)


class CoreSystem:
    """The pure functions alone: decide, encode and decode, evolve, deliveries, pages."""

    def __init__(self, to_avoid: Callable[[State, ConnectionId], tuple[ConnectionId, ...]] = avoid_none) -> None:
        """`to_avoid` stands in for a broker's knowledge of peers: see `System.to_avoid`."""
        self._to_avoid = to_avoid
        self.state = INITIAL_STATE
        self.now_ms = START_MS
        self._log = MemoryLog()
        self._runner = asyncio.Runner()
        self._submitted = 0

    def start(self, policy: Policy) -> Observation:
        """See `System.start`."""
        return self.submit(AdoptPolicy(policy))

    def submit(self, command: Command) -> Observation:
        """See `System.submit`."""
        self._submitted += 1
        facts = facts_for(command, self.now_ms, self._submitted, self.to_avoid)
        decision = decide(self.state, command, facts)
        if isinstance(decision, Rejection):
            return Observation(decision)
        if not decision:
            return Observation()
        commit = decode_commit(encode_commit(commit_after(self.state.tip, command, facts, decision)))
        self._runner.run(self._log.append([commit], expected=self.state.tip))
        self.state = evolve(self.state, commit)
        return Observation(commit, [commit], deliveries(commit))

    def pass_time(self, by_ms: int) -> Observation:
        """See `System.pass_time`. Nothing happens by itself."""
        self.now_ms += by_ms
        return Observation()

    def restart(self) -> Observation:
        """See `System.restart`."""
        self.state = fold(self.stored())
        return Observation()

    def to_avoid(self, connection_id: ConnectionId) -> tuple[ConnectionId, ...]:
        """See `System.to_avoid`."""
        return self._to_avoid(self.state, connection_id)

    def page(self, connection_id: ConnectionId, cursor: Position) -> Page:
        """See `System.page`."""
        limit = self.state.policy.events_per_page_max
        return self._runner.run(page_after(self._log, self.state, connection_id, cursor, PageLimits(limit)))

    def stored(self) -> Sequence[Commit]:
        """See `System.stored`."""
        return self._runner.run(self._log.read(0, COMMITS_MAX))

    def close(self) -> None:
        """See `System.close`."""
        self._runner.close()


class BrokerSystem:
    """A whole broker: writer, presence, match timeouts and hub.

    A command counts as a call of its connection. There are no streams, so a connection that is inactive for long is
    absent. From its first command on, a connection's notifications are recorded.
    """

    def __init__(self, open_log: Callable[[], EventLog], *, on_close: Callable[[], None] = lambda: None) -> None:
        """Take a function that opens the same log each time; `on_close` is called last by `close`."""
        self._open_log = open_log
        self._on_close = on_close
        self._clock = FakeClock(START_MS)
        self._runner = asyncio.Runner()
        self._broker: Broker
        self._attached: dict[ConnectionId, None] = {}
        self._received: list[ReceivedNotification] = []
        self._seen: Position = 0

    @property
    def state(self) -> State:
        """See `System.state`."""
        return self._broker.state

    @property
    def now_ms(self) -> int:
        """See `System.now_ms`."""
        return self._clock.wall_ms()

    def start(self, policy: Policy) -> Observation:
        """See `System.start`."""
        return self._runner.run(self._start(policy))

    def submit(self, command: Command) -> Observation:
        """See `System.submit`."""
        return self._runner.run(self._submit(command))

    def pass_time(self, by_ms: int) -> Observation:
        """See `System.pass_time`. Each timer fires at its own time."""
        return self._runner.run(self._pass_time(by_ms))

    def restart(self) -> Observation:
        """See `System.restart`."""
        return self._runner.run(self._restart())

    def to_avoid(self, connection_id: ConnectionId) -> tuple[ConnectionId, ...]:
        """See `System.to_avoid`."""
        return self._broker.to_avoid(self.state, connection_id)

    def page(self, connection_id: ConnectionId, cursor: Position) -> Page:
        """See `System.page`."""
        return self._runner.run(self._broker.reads.page(connection_id, cursor))

    def stored(self) -> Sequence[Commit]:
        """See `System.stored`."""
        return self._runner.run(self._broker.log.read(0, COMMITS_MAX))

    def close(self) -> None:
        """See `System.close`."""
        self._runner.run(self._broker.close())
        self._runner.close()
        self._on_close()

    def deliver(self, delivery: Delivery) -> None:
        """Record a notification (a `Subscriber` of the hub)."""
        self._received.append((delivery.connection_id, delivery.notification))

    async def _start(self, policy: Policy) -> Observation:
        self._broker = Broker(self._open_log(), self._clock)
        await self._broker.start(policy)
        for connection_id in self._attached:
            self._broker.hub.attach(connection_id, self)
        return await self._observe(None)

    async def _submit(self, command: Command) -> Observation:
        if isinstance(command, AdoptPolicy | CancelMatch | ForgetNames):  # the broker's own
            return await self._call(command)
        self._attached[command.connection_id] = None
        self._broker.hub.attach(command.connection_id, self)
        with self._broker.presence.call(command.connection_id):
            return await self._call(command)

    async def _call(self, command: Command) -> Observation:
        answer = await self._broker.writer.submit(command)
        return await self._observe(answer if isinstance(answer, Rejection) else answer.commit)

    async def _pass_time(self, by_ms: int) -> Observation:
        await self._clock.advance(by_ms, self._quiet)
        return await self._observe(None)

    async def _restart(self) -> Observation:
        policy = self._broker.state.policy
        await self._broker.close()
        return await self._start(policy)

    async def _observe(self, answer: Commit | Rejection | None) -> Observation:
        await self._quiet()
        commits = await self._broker.log.read(self._seen, COMMITS_MAX)
        received, self._received = self._received, []
        self._seen += len(commits)
        return Observation(answer, commits, received)

    async def _quiet(self) -> None:
        """Wait until no more work is pending; a log in a file answers from another thread."""
        for _ in range(2):
            await settle()
            await self._broker.writer.drained()


def broker_in_memory() -> BrokerSystem:
    """Make a broker over a log in memory; the log outlives `restart`."""
    log = MemoryLog()
    return BrokerSystem(lambda: log)


def broker_in_file() -> BrokerSystem:
    """Make a broker over a log in a file, in a temporary directory that `close` removes."""
    directory = tempfile.TemporaryDirectory(prefix="chat-broker-testing-")
    path = Path(directory.name) / "chat.db"
    return BrokerSystem(lambda: SqliteLog(path, STATE_CODEC, synchronous="NORMAL"), on_close=directory.cleanup)
