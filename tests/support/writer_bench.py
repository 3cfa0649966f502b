"""A writer on a fake log and clock, and its announcements."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from broker.batch import Accepted, CommandAnswer
from broker.clock import Clock
from broker.decide import decide
from broker.metrics import Metrics
from broker.replica import LogObserver
from broker.writer import LogWriter
from events.commands import Command, Disconnect
from events.commit import Commit
from events.ids import ConnectionId
from events.log import EventLog
from events.memory import MemoryLog
from events.policy import Policy
from projections.connections import Chatting
from projections.invariants import check_state, check_step
from projections.state import INITIAL_STATE, State, digest, fold
from tests.support.fake_clock import FakeClock, settle
from tests.support.logs import FaultyLog, run

PATIENT = Policy(messages_per_10s_max=1_000, queue_commands_per_10s_max=1_000)


def new_writer(log: EventLog, clock: Clock, keep_commits: int | None = None) -> LogWriter:
    """Return a writer alone, without a broker."""
    return LogWriter(log, clock, Metrics(lambda: INITIAL_STATE, lambda: 0), keep_commits=keep_commits)


class Bench(LogObserver):
    """A started writer on a faulty log and a fake clock, and its announcements."""

    def __init__(self, log: FaultyLog, clock: FakeClock, **options: Any) -> None:
        self.log = log
        self.clock = clock
        self.metrics = Metrics(lambda: self.state, lambda: 0)
        self.writer = LogWriter(log, clock, self.metrics, observer=self, **options)
        self.announced: list[Commit] = []
        self.absent: list[Disconnect] = []
        self.asked = 0
        """How often the writer asked who is absent."""

    @classmethod
    async def started(
        cls, policy: Policy = PATIENT, keep_commits: int | None = None, inner: MemoryLog | None = None
    ) -> Bench:
        """Return a bench with `policy` adopted, so its log is at position 1."""
        log, clock = FaultyLog(inner), FakeClock()
        bench = cls(log, clock, keep_commits=keep_commits)
        await bench.start(policy)
        return bench

    @classmethod
    async def some_on_one_log(cls, brokers: int = 2, policy: Policy = PATIENT) -> list[Bench]:
        """Return benches on one log, each following the others' commits."""
        clock = FakeClock()
        benches = [cls(log, clock) for log in FaultyLog.shared(brokers)]
        for bench in benches:
            await bench.start(policy)
        return benches

    async def start(self, policy: Policy) -> None:
        """Adopt `policy`, then clear the records."""
        await self.writer.start(policy)
        await settle()
        self.log.batches.clear()
        self.announced.clear()
        self.log.reads = self.log.tips = 0

    @property
    def state(self) -> State:
        """The writer's state."""
        return self.writer.replica.state

    def committed(self, commit: Commit, state: State) -> None:
        """Record a commit, and compare it with the state."""
        assert state is self.state
        assert state.tip == commit.tip
        self.announced.append(commit)

    def overdue(self) -> list[Disconnect]:
        """Return the commands for removing the absent."""
        self.asked += 1
        return self.absent

    def submit(self, command: Command) -> asyncio.Future[CommandAnswer]:
        """Submit a command without waiting for its answer."""
        return self.writer.submit(command)

    async def check(self) -> None:
        """Assert that the log is whole, its fold is the state, and all commits were announced and keep the promises."""
        state, commits = INITIAL_STATE, list(await self.log.inner.read(0, 100_000))
        for commit in commits:
            after = fold([commit], state)
            assert check_step(state, commit, after) == []
            assert decide(state, commit.command, commit.facts) == list(commit.events)
            state = after
        assert check_state(state) == []
        assert digest(state) == digest(self.state)
        assert self.announced == commits[-len(self.announced) :] if self.announced else True


def on_bench(scenario: Callable[[Bench], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Make a test of a started writer; after it, log, state and announcements agree."""

    def wrapper() -> None:
        async def whole() -> None:
            bench = await Bench.started()
            await scenario(bench)
            await bench.check()

        run(whole)

    wrapper.__doc__ = scenario.__doc__
    return wrapper


def accepted(answer: CommandAnswer) -> Accepted:
    """Return the answer; it must be an acceptance."""
    assert isinstance(answer, Accepted), answer
    return answer


def room_of(state: State, who: ConnectionId) -> Any:
    """Return the room of `who`."""
    place = state.connections.by_id[who].place
    assert isinstance(place, Chatting)
    return place.room_id
