"""Logs for tests: one made from a script of commands, and ones that fail as a store over a network does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from broker.decide import Rejection, decide
from events.commands import Command
from events.commit import Commit, Facts, Tip, commit_after
from events.ids import Position, RoomId
from events.log import DeliveryRecord, LogUnavailableError, Snapshot
from events.memory import MemoryLog
from projections.state import INITIAL_STATE, State, evolve
from tests.support.specs import NOON_MS

T = TypeVar("T")


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run an async test to its end."""
    return asyncio.run(work())


def log_of(*commands: Command, state: State = INITIAL_STATE, step_ms: int = 1_000) -> list[Commit]:
    """The commits that `commands` lead to, a second apart; those that lead to none are left out."""
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
    """A log in which `commands` were carried out, and the state after it."""
    log, state, commits = MemoryLog(), INITIAL_STATE, log_of(*commands)
    await log.append(commits, expected=state.tip)
    for commit in commits:
        state = evolve(state, commit)
    return log, state


class FaultyLog:
    """An `EventLog` in front of another; each append and read may be told to go wrong first."""

    def __init__(self, inner: MemoryLog | None = None) -> None:
        self.inner = inner if inner is not None else MemoryLog()
        self.batches: list[list[Commit]] = []
        self.reads = 0
        self.before_append: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.after_append: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.before_read: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.before_redact: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.saved: list[Snapshot] = []
        self.delivery_records: list[DeliveryRecord] = []
        self.before_compact: list[Callable[[], Coroutine[Any, Any, None]]] = []
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
    def redacted_to(self) -> Position:
        """See `EventLog.redacted_to`."""
        return self.inner.redacted_to

    async def append(self, commits: Sequence[Commit], *, expected: Tip) -> Tip:
        """Do what comes before, append, do what comes after."""
        self.batches.append(list(commits))
        await _next(self.before_append)
        tip = await self.inner.append(commits, expected=expected)
        await _next(self.after_append)
        return tip

    async def read(self, after: Position, limit: int) -> Sequence[Commit]:
        """Do what comes before, and read."""
        self.reads += 1
        await _next(self.before_read)
        return await self.inner.read(after, limit)

    def follow(self, after: Position) -> AsyncIterator[Commit]:
        """See `EventLog.follow`."""
        return self.inner.follow(after)

    async def tip(self) -> Tip:
        """See `EventLog.tip`."""
        return await self.inner.tip()

    async def compact(self, snapshot: Snapshot) -> None:
        """Do what comes before, and compact."""
        await _next(self.before_compact)
        await self.inner.compact(snapshot)

    async def newest_snapshot(self) -> Snapshot | None:
        """See `EventLog.newest_snapshot`."""
        return await self.inner.newest_snapshot()

    async def save(self, snapshot: Snapshot) -> None:
        """Keep `snapshot`, for the tests as well."""
        self.saved.append(snapshot)
        await self.inner.save(snapshot)

    async def redact(self, positions: Sequence[Position], *, done_to: Position) -> None:
        """Do what comes before, and redact."""
        await _next(self.before_redact)
        await self.inner.redact(positions, done_to=done_to)

    async def record(self, delivery_records: Sequence[DeliveryRecord]) -> None:
        """Do what comes before, and keep `delivery_records` for the tests."""
        await _next(self.before_record)
        self.delivery_records += delivery_records

    async def close(self) -> None:
        """See `EventLog.close`."""
        await self.inner.close()

    async def appended_by_another(self, *commands: Command, state: State) -> None:
        """Another writer carries out `commands` in this log, at the tip that `state` has folded."""
        await self.inner.append(log_of(*commands, state=state), expected=state.tip)


async def _next(faults: list[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    if faults:
        await faults.pop(0)()


async def nothing() -> None:
    """This time it goes well."""


async def unavailable() -> None:
    """The store does not answer."""
    raise LogUnavailableError


def until(event: asyncio.Event) -> Callable[[], Coroutine[Any, Any, None]]:
    """The store answers once `event` is set."""

    async def wait() -> None:
        await event.wait()

    return wait
