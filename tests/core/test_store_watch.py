"""The watch over a log that may take no commits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from structlog.testing import capture_logs

from broker.broker import Broker
from broker.outage_lines import SILENT
from broker.store_watch import FAILING, IDLE_PROBE_MS, LOST_PROBE_MS, PROBE_MS, SHORTER
from events.commit import EMPTY_TIP, Tip
from events.log import LogUnavailableError, UnusableLogError
from events.memory import MemoryLog
from tests.support.bench import LENIENT, BrokerBench, with_broker
from tests.support.fake_clock import FakeClock, settle
from tests.support.logs import nothing, run, unavailable
from tests.support.people import ANN, BOB, enter, leave_queue


def fails(error: Exception) -> Callable[[], Coroutine[Any, Any, None]]:
    """Return a store's refusal for that reason."""

    async def refuse() -> None:
        raise error

    return refuse


async def hang() -> None:
    """The store never answers."""
    await asyncio.Event().wait()


def available(bench: BrokerBench) -> bool:
    """Return the metric of the log's availability."""
    return "\nchat_broker_store_available 1.0\n" in bench.broker.metrics.render().decode()


@with_broker()
async def test_an_idle_log_is_probed_now_and_then(bench: BrokerBench) -> None:
    """A lost one more often; each change is one log line, and the metric says it."""
    watch, log = bench.broker.store_watch, bench.log
    log.before_probe = [fails(LogUnavailableError("the disk is full")), unavailable, nothing]
    with capture_logs() as logged:
        await bench.clock.advance(IDLE_PROBE_MS - 1)
        assert (log.probes, watch.reason, available(bench)) == (0, None, True)
        await bench.clock.advance(1)
        assert (log.probes, watch.reason, available(bench)) == (1, "the disk is full", False)
        await bench.clock.advance(LOST_PROBE_MS)
        assert (log.probes, watch.reason, available(bench)) == (2, SILENT, False)
        await bench.clock.advance(LOST_PROBE_MS)
        assert (log.probes, watch.reason, available(bench)) == (3, None, True)
        await bench.clock.advance(IDLE_PROBE_MS - 1)
        assert log.probes == 3
    lines = [line for line in logged if line["event"].startswith("store")]
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("store_lost", "warning"),
        ("store_back", "warning"),
    ]
    assert (lines[0]["reason"], lines[1]["after_s"]) == ("the disk is full", 10)


@with_broker()
async def test_a_log_that_stores_appends_is_not_probed(bench: BrokerBench) -> None:
    """Each append proves it; the probes begin once there are no more."""
    for number in range(3):
        await bench.do(enter(ANN) if number % 2 == 0 else leave_queue(ANN))
        await bench.clock.advance(IDLE_PROBE_MS - 1)
        assert bench.log.probes == 0
    await bench.clock.advance(2 * IDLE_PROBE_MS)
    assert bench.log.probes >= 1


@with_broker()
async def test_a_failed_append_has_the_log_probed_at_once(bench: BrokerBench) -> None:
    """The probe decides whether the log is lost; the next stored append shows its return."""
    bench.log.before_append = [unavailable]
    bench.log.before_probe = [fails(UnusableLogError("the log is damaged"))]
    entering = bench.broker.writer.submit(enter(ANN))
    await settle()
    assert bench.broker.store_watch.reason == "the log is damaged"
    await bench.clock.advance(100)
    assert entering.done()
    assert bench.broker.store_watch.reason is None
    assert bench.log.probes == 1


@with_broker()
async def test_a_failure_that_passes_at_once_is_none(bench: BrokerBench) -> None:
    """The probe succeeds, and so does the repeated append."""
    bench.log.before_append = [unavailable]
    with capture_logs() as logged:
        entering = bench.broker.writer.submit(enter(ANN))
        await bench.clock.advance(100)
    assert entering.done()
    assert bench.log.probes == 1
    assert [line for line in logged if line["event"].startswith("store")] == []


@with_broker()
async def test_an_append_that_was_given_up_counts_although_the_probe_goes_well(bench: BrokerBench) -> None:
    """Until a probe with no such append since the one before."""
    bench.log.before_append = [fails(ValueError("a bug"))] * 2
    watch = bench.broker.store_watch
    await bench.broker.writer.submit(enter(ANN))
    await settle()
    assert watch.reason == FAILING
    await bench.broker.writer.submit(enter(ANN))
    await bench.clock.advance(LOST_PROBE_MS)
    assert watch.reason == FAILING
    await bench.clock.advance(LOST_PROBE_MS)
    assert watch.reason is None


@with_broker()
async def test_a_store_that_hangs_is_lost(bench: BrokerBench) -> None:
    """After the longest wait for a probe; commands are answered in time."""
    hung = asyncio.Event()
    bench.log.before_append = [hung.wait]  # type: ignore[list-item]  # its `True` is ignored
    bench.log.before_probe = [hang] * 3
    bench.broker.writer.submit(enter(ANN))
    await bench.clock.advance(bench.broker.state.policy.command_timeout_ms + PROBE_MS + 100)
    assert bench.broker.store_watch.reason == "the log does not answer in time"
    hung.set()
    await settle()
    assert bench.broker.store_watch.reason is None


@with_broker()
async def test_an_append_during_a_probe_outweighs_it(bench: BrokerBench) -> None:
    """It is the later news."""
    bench.log.before_probe = [hang]
    await bench.clock.advance(IDLE_PROBE_MS)
    await bench.do(enter(ANN))
    await bench.clock.advance(PROBE_MS)
    assert (bench.log.probes, bench.broker.store_watch.reason) == (1, None)


@with_broker()
async def test_a_log_that_became_shorter_is_lost(bench: BrokerBench) -> None:
    """Its file may have been restored from a backup; no append can follow the folded commits."""
    answers = [EMPTY_TIP, None]

    async def tip() -> Tip:
        return answers.pop(0) or await bench.log.inner.tip()

    bench.log.tip = tip
    assert await after(bench, IDLE_PROBE_MS) == SHORTER
    assert await after(bench, LOST_PROBE_MS) is None


@with_broker()
async def test_a_log_that_says_no_tip_is_lost(bench: BrokerBench) -> None:
    """The reason has nothing of the error, which may name its path."""
    bench.log.before_tip = [fails(LogUnavailableError("/home/ann/chat.db: gone"))]
    assert await after(bench, IDLE_PROBE_MS) == SILENT


async def after(bench: BrokerBench, by_ms: int) -> str | None:
    """The reason so much later."""
    await bench.clock.advance(by_ms)
    return bench.broker.store_watch.reason


@with_broker()
async def test_readiness_rests_on_a_young_proof(bench: BrokerBench) -> None:
    """An append or a probe of the last seconds is one; callers at once share a probe."""
    watch, log = bench.broker.store_watch, bench.log
    await bench.clock.advance(LOST_PROBE_MS)
    await bench.do(enter(ANN))
    await bench.clock.advance(LOST_PROBE_MS - 1)
    assert (await watch.checked(), log.probes) == (None, 0)
    await bench.clock.advance(1)
    log.before_probe = [unavailable]
    assert await asyncio.gather(*(watch.checked() for _ in range(3))) == [SILENT] * 3
    assert (await watch.checked(), log.probes) == (SILENT, 1)


@with_broker()
async def test_a_failed_append_ends_the_proof_of_one_before(bench: BrokerBench) -> None:
    """Readiness waits for the probe begun by the failure."""
    hung = asyncio.Event()
    await bench.do(enter(BOB))
    bench.log.before_append = [unavailable]
    bench.log.before_probe = [hung.wait]  # type: ignore[list-item]  # its `True` is ignored
    bench.broker.writer.submit(enter(ANN))
    await settle()
    asked = asyncio.ensure_future(bench.broker.store_watch.checked())
    await settle()
    assert not asked.done()
    hung.set()
    assert await asked is None
    await bench.clock.advance(100)  # the append is tried again


def test_a_log_in_memory_is_not_watched() -> None:
    """It takes every commit."""

    async def scenario() -> None:
        clock = FakeClock()
        broker = Broker(MemoryLog(), clock)
        await broker.start(LENIENT)
        await clock.advance(IDLE_PROBE_MS)
        assert await broker.store_watch.checked() is None
        await broker.close()

    run(scenario)
