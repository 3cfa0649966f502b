"""A changed shared log: its broker gives it up, with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.broker import Broker
from broker.decision import Rejection
from broker.log_fault import SETTLE_MS
from broker.store_watch import IDLE_PROBE_MS
from events.codec import NewerCommitError, UnreadableCommitError
from events.commands import Disconnect
from events.commit import Commit
from events.ids import POSITION_MAX
from events.log import LogRolledBackError, LogUnavailableError, UnusableLogError
from events.memory import MemoryLog
from events.policy import Policy
from tests.support.fake_clock import FakeClock, settle
from tests.support.limits import HUNG_SECONDS
from tests.support.logs import FaultyLog, log_of, run, unavailable
from tests.support.people import ANN, BOB, CAT, enter, leave_queue

UNAVAILABLE = Rejection("unavailable")


class BadLog(FaultyLog):
    """A shared log with followers that fail after `fault` is set."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.fault: Exception | None = None

    async def follow(self, after: int) -> AsyncIterator[Commit]:
        """Follow until there is a fault."""
        async for commit in super().follow(after):
            if self.fault is not None:
                raise self.fault
            yield commit


def raises(fault: Exception) -> Callable[[], Coroutine[Any, Any, None]]:
    """The store fails so."""

    async def fail() -> None:
        raise fault

    return fail


class Pair:
    """Two brokers on one log; `log` is the way of the first, `other` is the second."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.log, other_log = BadLog.shared(2)
        self.broker, self.other = (Broker(log, self.clock) for log in (self.log, other_log))
        self.logged: list[Any] = []

    async def __aenter__(self) -> Pair:
        self._capturing = capture_logs()
        self.logged = self._capturing.__enter__()
        for broker in (self.broker, self.other):
            await broker.start(Policy())
        await self.broker.writer.submit(enter(ANN))
        await settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._capturing.__exit__(None, None, None)
        for broker in (self.broker, self.other):
            await broker.close()

    @property
    def reason(self) -> str | None:
        """Return the first broker's reason for giving its log up."""
        return self.broker.log_fault.reason if self.broker.log_fault is not None else None

    @property
    def renewed_epoch(self) -> str:
        """Return the log's new epoch."""
        return self.log.coordination.epoch

    def lines(self, event: str) -> list[Any]:
        """The log lines of a kind."""
        return [line for line in self.logged if line["event"] == event]

    def roll_back(self, *, to: MemoryLog | None = None) -> None:
        """Put another history in the place of the log's."""
        self.log.inner = to if to is not None else MemoryLog()


async def another_history(*commands: Any) -> MemoryLog:
    """Return a separate log after `commands`."""
    log = MemoryLog()
    commits = log_of(*commands)
    await log.append(commits, expected=await log.tip())
    return log


def on_pair(scenario: Callable[[Pair], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Make a test of two brokers."""

    def wrapper() -> None:
        async def whole() -> None:
            async with Pair() as pair:
                await scenario(pair)

        run(whole)

    wrapper.__doc__ = scenario.__doc__
    return wrapper


@on_pair
async def test_an_append_that_finds_another_log_gives_it_up(pair: Pair) -> None:
    """The epoch is renewed, the line has both tips, and every command after it is unavailable."""
    pair.log.before_append = [raises(LogRolledBackError("the log ends at 1:x, and held 2:y"))]
    assert await pair.broker.writer.submit(leave_queue(ANN)) == UNAVAILABLE
    await asyncio.wait_for(pair.broker.log_given_up.wait(), HUNG_SECONDS)
    assert pair.reason == "log_rolled_back"
    assert pair.renewed_epoch == f"{pair.log.epoch}+"
    (line,) = pair.lines("log_rolled_back")
    assert line["known"] == line["found"] == "{}:{}".format(*pair.broker.state.tip)
    assert "the log ends at 1:x, and held 2:y" in line["detail"]
    batches = len(pair.log.batches)
    assert await pair.broker.writer.submit(leave_queue(ANN)) == UNAVAILABLE
    assert len(pair.log.batches) == batches


@on_pair
async def test_an_epoch_that_may_not_be_renewed_is_a_line(pair: Pair) -> None:
    """The log is given up all the same."""
    pair.log.coordination.break_it(UnusableLogError("the role may not"))
    pair.log.before_append = [raises(LogRolledBackError("another"))]
    assert await pair.broker.writer.submit(leave_queue(ANN)) == UNAVAILABLE
    await asyncio.wait_for(pair.broker.log_given_up.wait(), HUNG_SECONDS)
    assert [line["reason"] for line in pair.lines("epoch_not_renewed")] == ["the role may not"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (NewerCommitError("schema version 9"), "newer_log"),
        (UnreadableCommitError("not a commit"), "log"),
        (UnusableLogError("the log is damaged"), "log"),
        (LogRolledBackError("another"), "log_rolled_back"),
    ],
)
def test_a_follower_that_can_not_go_on_gives_the_log_up(fault: Exception, reason: str) -> None:
    """It happens without any command; only a rolled-back log gets a new epoch."""

    async def scenario() -> None:
        async with Pair() as pair:
            pair.log.fault = fault
            await pair.other.writer.submit(enter(BOB))
            await settle()
            assert pair.broker.log_given_up.is_set()
            assert pair.reason == reason
            assert pair.renewed_epoch == (f"{pair.log.epoch}+" if reason == "log_rolled_back" else "")
            given_up = [line["reason"] for line in pair.lines("log_given_up")]
            assert given_up == ([reason] if reason != "log_rolled_back" else [])
            assert await pair.broker.writer.submit(leave_queue(ANN)) == UNAVAILABLE

    run(scenario)


@on_pair
async def test_a_newer_commit_behind_a_stores_own_error_is_known(pair: Pair) -> None:
    """The store reports it as its own error about an unreadable commit."""
    try:
        try:
            raise NewerCommitError("schema version 9")
        except NewerCommitError as error:
            raise UnusableLogError("the commit at position 3 can't be read") from error
    except UnusableLogError as error:
        pair.log.fault = error
    await pair.other.writer.submit(enter(BOB))
    await settle()
    assert pair.reason == "newer_log"
    assert "position 3" in pair.broker.log_fault.detail


@on_pair
async def test_a_chain_that_breaks_gives_the_log_up(pair: Pair) -> None:
    """Another commit stands where the next one was to follow."""
    pair.log.inner._commits[:] = log_of(enter(CAT), leave_queue(CAT), enter(BOB))
    pair.log.inner._tip = pair.log.inner._commits[-1].tip
    pair.log.inner._wake_followers()
    await settle()
    assert pair.reason == "log_rolled_back"
    line, *_ = pair.lines("log_rolled_back")  # the other broker's too
    assert line["known"].startswith("1:")
    assert line["found"].startswith("3:")


@on_pair
async def test_a_read_that_is_confirmed_notices_a_shorter_log(pair: Pair) -> None:
    """It is not answered from the state."""
    pair.roll_back()
    assert not await pair.broker.replica.caught_up()
    await settle()
    assert pair.reason == "log_rolled_back"


@on_pair
async def test_a_read_that_is_confirmed_notices_a_damaged_log(pair: Pair) -> None:
    """A call is put off, and no traceback is written: the store can't read its last commit any more."""
    pair.log.before_tip = [raises(UnusableLogError("the log's commit at position 1 is missing"))]
    assert not await pair.broker.replica.caught_up()
    await settle()
    assert pair.reason == "log"


@on_pair
async def test_readiness_says_how_a_log_is_damaged(pair: Pair) -> None:
    """Its probe may pass nevertheless."""
    await pair.clock.advance(IDLE_PROBE_MS)
    pair.log.before_tip = [raises(UnusableLogError("the log's commit at position 1 is missing"))]
    await pair.clock.advance(IDLE_PROBE_MS)
    assert pair.broker.store_watch.reason == "the log's commit at position 1 is missing"


@on_pair
async def test_another_commit_at_the_same_position_is_noticed(pair: Pair) -> None:
    """The log is as long as it was."""
    pair.roll_back(to=await another_history(enter(CAT)))
    assert not await pair.broker.replica.caught_up()
    await settle()
    assert pair.reason == "log_rolled_back"


@on_pair
async def test_an_idle_broker_notices_too(pair: Pair) -> None:
    """The probe of the store watch looks at the tip."""
    await pair.clock.advance(IDLE_PROBE_MS)
    pair.roll_back()
    await pair.clock.advance(IDLE_PROBE_MS)
    assert pair.reason == "log_rolled_back"


@on_pair
async def test_work_in_the_background_notices_too(pair: Pair) -> None:
    """Redaction notices too; any other fault of it is one line."""

    async def fail(fault: Exception) -> None:
        raise fault

    pair.broker.in_background(fail(ValueError("a bug")))
    await settle()
    assert [line["fault"] for line in pair.lines("background_failed")] == ["ValueError"]
    assert pair.reason is None
    pair.broker.in_background(fail(NewerCommitError("schema version 9")))
    await settle()
    assert pair.reason == "newer_log"


@on_pair
async def test_a_log_that_does_not_answer_is_no_fault_of_work_in_the_background(pair: Pair) -> None:
    """The callers of the work get the error."""

    async def fail() -> None:
        raise LogUnavailableError

    pair.broker.in_background(fail())
    await settle()
    assert pair.lines("background_failed") == []
    assert pair.reason is None


@on_pair
async def test_the_first_fault_counts(pair: Pair) -> None:
    """Faults after it are its consequences."""
    pair.broker.log_failed(NewerCommitError("schema version 9"))
    pair.broker.log_failed(LogRolledBackError("another"))
    await settle()
    assert pair.reason == "newer_log"


@on_pair
async def test_a_store_that_is_away_does_not_hold_the_end(pair: Pair) -> None:
    """The epoch can't be renewed then, and a line says so."""
    pair.log.coordination.break_it()
    pair.log.before_tip = [unavailable] * 9
    pair.broker.log_failed(LogRolledBackError("another"))
    await pair.clock.advance(2 * SETTLE_MS)
    assert pair.broker.log_given_up.is_set()
    assert [line["found"] for line in pair.lines("log_rolled_back")] == ["unknown"]
    assert len(pair.lines("epoch_not_renewed")) == 1


@on_pair
async def test_a_log_without_an_epoch_to_renew_is_given_up_all_the_same(pair: Pair) -> None:
    """There may be no coordination."""
    pair.log.coordination = None
    pair.broker.log_failed(LogRolledBackError("another"))
    await settle()
    assert pair.broker.log_given_up.is_set()


def test_a_log_of_ones_own_is_not_given_up() -> None:
    """A file may be put back: the broker goes on trying, as ever."""

    async def scenario() -> None:
        log, clock = FaultyLog(), FakeClock()
        broker = Broker(log, clock)
        await broker.start(Policy())
        log.before_append = [raises(LogRolledBackError("another"))]
        with capture_logs() as logged:
            assert await broker.writer.submit(enter(ANN)) == UNAVAILABLE
        assert [line["event"] for line in logged if line["log_level"] == "error"] == ["batch_failed"]
        assert broker.log_fault is None
        log.before_append = [raises(LogUnavailableError())]
        assert not isinstance(await broker.writer.submit(Disconnect(BOB, "timeout", POSITION_MAX)), Exception)
        await broker.close()

    run(scenario)
