"""Regular snapshots, so that a start has little to fold; and a log that moves on without its broker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from broker.batch import Accepted
from broker.broker import APPENDING_MS, Broker
from broker.decision import Rejection
from events.commit import BrokenChainError, Commit
from events.ids import Position
from events.log import Snapshot
from events.memory import MemoryLog
from events.policy import Policy
from projections.state import digest, fold
from tests.support.bench import LENIENT, BrokerBench
from tests.support.fake_clock import FakeClock, settle
from tests.support.limits import HUNG_SECONDS
from tests.support.logs import FaultyLog, log_of, run, stored, until
from tests.support.people import ANN, BOB, CAT, enter, leave_queue
from tests.support.writer_bench import new_writer

EVERY_10 = Policy(queue_commands_per_10s_max=1_000, snapshot_every_commits=10)


class RememberingLog(FaultyLog):
    """A log across processes: its newest snapshot passes to the next one."""

    def __init__(self, inner: MemoryLog | None = None) -> None:
        super().__init__(inner)
        self.read_after: list[Position] = []

    async def read(self, after: Position, limit: int) -> Sequence[Commit]:
        """Note from where on it is read."""
        self.read_after.append(after)
        return await super().read(after, limit)

    async def newest_snapshot(self) -> Snapshot | None:
        """Return the last saved snapshot."""
        return self.saved[-1] if self.saved else None


def test_a_snapshot_is_saved_every_so_many_commits() -> None:
    """Each is the state of the log at its position."""

    async def scenario() -> None:
        log = RememberingLog()
        runtime = new_writer(log, FakeClock())
        await runtime.start(EVERY_10)
        for _ in range(20):
            await runtime.submit(enter(ANN))
            await runtime.submit(leave_queue(ANN))
        await settle()
        assert [snapshot.tip.position for snapshot in log.saved] == [10, 20, 30, 40]
        for snapshot in log.saved:
            assert digest(snapshot.state) == digest(fold(await log.read(0, snapshot.tip.position)))

    run(scenario)


def test_a_start_folds_only_what_stands_behind_the_newest_snapshot() -> None:
    """And comes to the same state."""

    async def scenario() -> None:
        inner, state = await stored(enter(ANN), leave_queue(ANN), enter(BOB), enter(CAT))
        log = RememberingLog(inner)
        log.saved = [Snapshot(tip=one.tip, state=one) for one in [fold(await log.read(0, 3))]]
        runtime = new_writer(log, FakeClock())
        log.read_after.clear()
        await runtime.start(state.policy)
        assert min(log.read_after) == 3
        assert digest(runtime.replica.state) == digest(state)

    run(scenario)


def test_no_batch_waits_for_a_snapshot() -> None:
    """However slow it is to write; the next is begun once it is done."""

    async def scenario() -> None:
        log, written = FaultyLog(), asyncio.Event()
        begun: list[int] = []

        async def slow(snapshot: Snapshot) -> None:
            begun.append(snapshot.tip.position)
            await written.wait()

        log.save = slow
        runtime = new_writer(log, FakeClock())
        await runtime.start(EVERY_10)
        for _ in range(20):
            await runtime.submit(enter(ANN))
            await runtime.submit(leave_queue(ANN))
        assert begun == [10]
        written.set()
        await settle()
        await runtime.submit(enter(ANN))
        await settle()
        assert begun == [10, 42]

    run(scenario)


def test_a_worker_whose_past_was_trimmed_goes_on_from_the_base() -> None:
    """No client hears of the lost commits, but all waits look again, and graces start anew."""

    async def scenario() -> None:
        inner, clock = MemoryLog(), FakeClock()
        bench = BrokerBench(FaultyLog(inner), clock)
        await bench.broker.start(LENIENT)
        other = log_of(enter(ANN), leave_queue(ANN), enter(BOB), state=bench.broker.state)
        await inner.append(other, expected=bench.broker.state.tip)
        state = fold(await inner.read(0, 100))
        await inner.compact(Snapshot(state.tip, state))
        await inner.append(log_of(enter(CAT), state=state), expected=state.tip)
        await bench.do(leave_queue(ANN))
        await bench.do(enter(ANN))
        assert bench.place_of(BOB) == bench.place_of(CAT)
        await clock.advance(LENIENT.idle_grace_room_ms)
        assert bench.is_idle(BOB)
        await bench.broker.close()

    run(scenario)


def test_a_gap_that_nothing_stands_in_for_is_never_folded_over() -> None:
    """The start fails, since a commit of the past is missing."""

    async def scenario() -> None:
        inner, state = await stored(enter(ANN), leave_queue(ANN), enter(BOB))

        class Gap(FaultyLog):
            async def read(self, after: Position, limit: int) -> Sequence[Commit]:
                return [commit for commit in await inner.read(after, limit) if commit.position != 2]

        with pytest.raises(BrokenChainError):
            await new_writer(Gap(inner), FakeClock()).start(state.policy)

    run(scenario)


def test_an_end_does_not_wait_for_ever_for_an_append() -> None:
    """Its caller gets `unavailable`: the append may have landed."""

    async def scenario() -> None:
        clock, log = FakeClock(), FaultyLog()
        broker = Broker(log, clock)
        await broker.start(LENIENT)
        never = asyncio.Event()
        log.before_append = [until(never)]
        answer = asyncio.ensure_future(broker.writer.submit(enter(ANN)))
        await settle()
        closing = asyncio.ensure_future(broker.close())
        await clock.advance(APPENDING_MS)
        await asyncio.wait_for(closing, HUNG_SECONDS)
        assert await answer == Rejection("unavailable")

    run(scenario)


def test_an_end_waits_for_an_append_that_lands() -> None:
    """The command gets its true answer."""

    async def scenario() -> None:
        clock, log, landed = FakeClock(), FaultyLog(), asyncio.Event()
        broker = Broker(log, clock)
        await broker.start(LENIENT)
        log.before_append = [until(landed)]
        answer = asyncio.ensure_future(broker.writer.submit(enter(ANN)))
        await settle()
        closing = asyncio.ensure_future(broker.close())
        await clock.advance(APPENDING_MS - 1)
        landed.set()
        await asyncio.wait_for(closing, HUNG_SECONDS)
        assert isinstance(await answer, Accepted)

    run(scenario)


def test_a_log_that_ends_before_its_snapshot_is_never_begun_with() -> None:
    """Its tail is gone: to go on from the snapshot would be to write behind a gap."""

    async def scenario() -> None:
        inner, state = await stored(enter(ANN), leave_queue(ANN))
        log = RememberingLog(inner)
        later = fold(log_of(enter(BOB), state=state), state)
        log.saved = [Snapshot(later.tip, later)]
        with pytest.raises(BrokenChainError, match="went on to position 3, and it ends at 2"):
            await new_writer(log, FakeClock()).start(state.policy)

    run(scenario)
