"""Logs for tests: one made from commands, and ones with the faults of a store in a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Self, TypeVar

from broker.decide import decide
from broker.decision import Rejection
from events.commands import Command
from events.commit import Commit, Facts, Tip, commit_after
from events.ids import Position, RoomId
from events.log import (
    MISSED_COMMITS_MAX,
    TURN_MS,
    Conflict,
    DeliveryRecord,
    LogUnavailableError,
    OperationRecord,
    Snapshot,
)
from events.memory import MemoryLog
from events.session_records import SessionRecords
from projections.state import INITIAL_STATE, State, evolve
from tests.support.channel import MemoryChannel
from tests.support.specs import NOON_MS
from tests.support.turns import Leave, TurnLine

T = TypeVar("T")


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run an async function to its end."""
    return asyncio.run(work())


def log_of(*commands: Command, state: State = INITIAL_STATE, step_ms: int = 1_000) -> list[Commit]:
    """Return the commits of `commands`, a second apart; a command without events makes none."""
    commits = []
    for number, command in enumerate(commands):
        position = state.position + 1
        facts = Facts(max(state.at_ms, NOON_MS + step_ms * number), RoomId(f"r_{position}"), f"salt{position}")
        decision = decide(state, command, facts)
        assert not isinstance(decision, Rejection), (command, decision)
        if decision:
            commits.append(commit_after(state.tip, command, facts, decision))
            state = evolve(state, commits[-1])
    return commits


async def stored(*commands: Command) -> tuple[MemoryLog, State]:
    """Return a log after `commands`, and its state."""
    log, state, commits = MemoryLog(), INITIAL_STATE, log_of(*commands)
    await log.append(commits, expected=state.tip)
    for commit in commits:
        state = evolve(state, commit)
    return log, state


class FaultyLog:
    """An `EventLog` in front of another; each call can be made to fail first.

    With a line of turns it is one broker's access to a shared log.
    """

    survives = "what the inner log does"
    never_waits = False
    keeps_delivery_records = True
    keeps_operation_records = True

    def __init__(
        self, inner: MemoryLog | None = None, turns: TurnLine | None = None, channel: MemoryChannel | None = None
    ) -> None:
        self.coordination = channel
        self.inner = inner if inner is not None else MemoryLog()
        self.is_shared = turns is not None
        self.is_contended = False
        self.turns_taken = 0
        self.tips = 0
        self.before_tip: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.gives_missed = True
        self.may_hear = asyncio.Event()
        self.may_hear.set()
        self.turns = turns
        self._end_turn: Leave = lambda: False
        self.batches: list[list[Commit]] = []
        self.reads = 0
        self.before_append: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.after_append: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.before_read: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.before_redact: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.saved: list[Snapshot] = []
        self.delivery_records: list[DeliveryRecord] = []
        self.operation_records: list[OperationRecord] = []
        self.before_compact: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.probes = 0
        self.before_probe: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.before_record: list[Callable[[], Coroutine[Any, Any, None]]] = []

    @property
    def epoch(self) -> str:
        """See `EventLog.epoch`."""
        return self.inner.epoch

    @property
    def base(self) -> Tip:
        """See `EventLog.base`."""
        return self.inner.base

    @property
    def session_records(self) -> SessionRecords:
        """See `EventLog.session_records`."""
        return self.inner.session_records

    @property
    def redacted_to(self) -> Position:
        """See `EventLog.redacted_to`."""
        return self.inner.redacted_to

    async def append(self, commits: Sequence[Commit], *, expected: Tip) -> Tip:
        """Run the next fault before the append, append, and run the next fault after it."""
        self.batches.append(list(commits))
        await _next(self.before_append)
        try:
            tip = await self.inner.append(commits, expected=expected)
        except Conflict:
            if self.gives_missed:
                raise
            raise Conflict from None
        finally:
            had_turn = self._end_turn()
        self.is_contended = not had_turn and bool(self.turns)
        await _next(self.after_append)
        return tip

    async def read(self, after: Position, limit: int) -> Sequence[Commit]:
        """Run the next fault, and read."""
        self.reads += 1
        await _next(self.before_read)
        return await self.inner.read(after, limit)

    async def follow(self, after: Position) -> AsyncIterator[Commit]:
        """Yield each commit after `after`, while commits may be heard; see `EventLog.follow`."""
        async for commit in self.inner.follow(after):
            await self.may_hear.wait()
            yield commit

    async def tip(self) -> Tip:
        """Run the next fault, and return the tip."""
        self.tips += 1
        await _next(self.before_tip)
        return await self.inner.tip()

    @asynccontextmanager
    async def turn(self, after: Position) -> AsyncIterator[Sequence[Commit]]:
        """Wait in line for a turn; see `EventLog.turn`."""
        if self.turns is None:
            yield ()
            return
        self.turns_taken += 1
        came = asyncio.Event()
        self._end_turn = leave = self.turns.join(came.set)
        with suppress(TimeoutError):
            await asyncio.wait_for(came.wait(), TURN_MS / 1_000)
        try:
            yield await self.inner.read(after, MISSED_COMMITS_MAX) if came.is_set() else ()
        finally:
            leave()

    async def compact(self, snapshot: Snapshot) -> None:
        """Run the next fault, and compact."""
        await _next(self.before_compact)
        await self.inner.compact(snapshot)

    async def newest_snapshot(self) -> Snapshot | None:
        """See `EventLog.newest_snapshot`."""
        return await self.inner.newest_snapshot()

    async def save(self, snapshot: Snapshot) -> None:
        """Keep `snapshot`, for the tests as well."""
        self.saved.append(snapshot)
        await self.inner.save(snapshot)

    async def redact(self, positions: Sequence[Position], *, done_to: Position, snapshots_before: Position = 0) -> None:
        """Run the next fault, and redact."""
        await _next(self.before_redact)
        await self.inner.redact(positions, done_to=done_to, snapshots_before=snapshots_before)

    async def record(
        self, delivery_records: Sequence[DeliveryRecord], operation_records: Sequence[OperationRecord] = ()
    ) -> None:
        """Run the next fault, and keep the records for the tests."""
        await _next(self.before_record)
        self.delivery_records += delivery_records
        self.operation_records += operation_records

    async def probe(self) -> None:
        """Run the next fault; see `EventLog.probe`."""
        self.probes += 1
        await _next(self.before_probe)

    async def close(self) -> None:
        """See `EventLog.close`."""
        await self.inner.close()

    @classmethod
    def shared(cls, brokers: int) -> list[Self]:
        """Return one access to a shared log for each of `brokers` brokers."""
        inner, loop = MemoryLog(), asyncio.get_running_loop()
        turns = TurnLine(lambda delay_ms, callback: loop.call_later(delay_ms / 1_000, callback))
        channel = MemoryChannel()
        return [cls(inner, turns, channel) for _ in range(brokers)]

    async def appended_by_another(self, *commands: Command, state: State) -> None:
        """Append `commands` as another writer would, after the tip of `state`."""
        await self.inner.append(log_of(*commands, state=state), expected=state.tip)


async def _next(faults: list[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    if faults:
        await faults.pop(0)()


async def nothing() -> None:
    """Let a call succeed."""


async def unavailable() -> None:
    """Let a call fail as if the store did not answer."""
    raise LogUnavailableError


def until(event: asyncio.Event) -> Callable[[], Coroutine[Any, Any, None]]:
    """Return a fault that delays the store's answer until `event` is set."""

    async def wait() -> None:
        await event.wait()

    return wait
