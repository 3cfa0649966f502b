"""DeliveryLog on their way to the file: in batches, soon, and never more than memory has room for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any, get_args

import pytest

from events.log import DeliveredBy, DeliveryRecord, LogUnavailableError, UnusableLogError
from events.sqlite.deliveries import PendingDeliveries
from tests.support.logs import run
from tests.support.people import ANN

DELAY_SECONDS = 0.2
BATCH = 1_000
PENDING_MAX = 100_000


def delivery_records(count: int, first: int = 0) -> list[DeliveryRecord]:
    """As many, at different times."""
    return [DeliveryRecord(1, ANN, "get", first + n) for n in range(count)]


class SlowThread(Executor):
    """Does its work when it is told to."""

    def __init__(self) -> None:
        self.given: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Later."""
        done: Future[Any] = Future()
        self.given.append((done, lambda: work(*args, **kwargs)))
        return done

    def catch_up(self) -> None:
        """Now."""
        while self.given:
            done, work = self.given.pop(0)
            done.set_result(work())


class Stage:
    """What is pending, and what was stored of it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.thread = SlowThread()
        self.stored: list[list[DeliveryRecord]] = []
        self.pending = PendingDeliveries(self.thread, self._store)
        self._error = error

    def _store(self, batch: Sequence[DeliveryRecord]) -> None:
        if self._error is not None:
            raise self._error
        self.stored.append(list(batch))

    def let_time_pass(self) -> None:
        """Until the timer is due."""
        timer = self.pending._timer
        assert timer is not None
        assert timer.when() - asyncio.get_running_loop().time() <= DELAY_SECONDS
        timer._run()  # instead of waiting for it
        timer.cancel()


def staged(scenario: Callable[[Stage], None], error: Exception | None = None) -> None:
    """Run `scenario`."""

    async def whole() -> None:
        stage = Stage(error)
        scenario(stage)
        stage.pending.flush()
        assert stage.pending._timer is None

    run(whole)


def test_a_few_are_stored_in_a_moment() -> None:
    """All that came meanwhile in one go, and the next ones in another moment."""

    def scenario(stage: Stage) -> None:
        for n in range(3):
            stage.pending.add(delivery_records(1, n))
        assert stage.thread.given == []
        stage.let_time_pass()
        stage.thread.catch_up()
        assert stage.stored == [delivery_records(3)]
        stage.pending.add(delivery_records(1, 9))
        stage.let_time_pass()
        stage.thread.catch_up()
        assert stage.stored == [delivery_records(3), delivery_records(1, 9)]

    staged(scenario)


def test_a_full_batch_is_stored_at_once() -> None:
    """And leaves no timer behind."""

    def scenario(stage: Stage) -> None:
        stage.pending.add(delivery_records(BATCH - 1))
        timer = stage.pending._timer
        assert timer is not None
        assert stage.thread.given == []
        stage.pending.add(delivery_records(1, BATCH - 1))
        stage.thread.catch_up()
        assert stage.stored == [delivery_records(BATCH)]
        assert stage.pending._timer is None
        assert timer.cancelled()

    staged(scenario)


def test_while_the_disk_is_busy_all_wait() -> None:
    """For its end and the next moment; then they go together."""

    def scenario(stage: Stage) -> None:
        stage.pending.add(delivery_records(BATCH))
        stage.pending.add(delivery_records(BATCH, BATCH))
        stage.let_time_pass()
        stage.let_time_pass()
        assert len(stage.thread.given) == 1
        stage.thread.catch_up()
        stage.let_time_pass()
        stage.thread.catch_up()
        assert stage.stored == [delivery_records(BATCH), delivery_records(BATCH, BATCH)]

    staged(scenario)


def test_once_the_disk_is_free_a_full_batch_goes_at_once() -> None:
    """The one before is stored."""

    def scenario(stage: Stage) -> None:
        stage.pending.add(delivery_records(BATCH))
        stage.thread.catch_up()
        stage.pending.add(delivery_records(BATCH, BATCH))
        stage.thread.catch_up()
        assert stage.stored == [delivery_records(BATCH), delivery_records(BATCH, BATCH)]

    staged(scenario)


def test_what_there_is_no_room_for_is_lost() -> None:
    """What came first is kept."""

    def scenario(stage: Stage) -> None:
        stage.pending.add(delivery_records(BATCH))
        stage.pending.add(delivery_records(PENDING_MAX - 1, BATCH))
        stage.pending.add(delivery_records(5, BATCH + PENDING_MAX - 1))
        stage.pending.add(delivery_records(5))
        stage.pending.flush()
        stage.thread.catch_up()
        assert stage.stored == [delivery_records(BATCH), delivery_records(PENDING_MAX, BATCH)]

    staged(scenario)


def test_to_store_nothing_is_no_work() -> None:
    """For the thread that has better things to do."""

    def scenario(stage: Stage) -> None:
        stage.pending.flush()
        assert stage.thread.given == []

    staged(scenario)


@pytest.mark.parametrize("error", [LogUnavailableError(), UnusableLogError()])
def test_what_can_not_be_stored_is_lost(error: Exception) -> None:
    """Nobody is told, and the next are tried again."""

    def scenario(stage: Stage) -> None:
        for _ in range(2):
            stage.pending.add(delivery_records(BATCH))
            stage.thread.catch_up()
        assert stage.stored == []

    staged(scenario, error)


def test_the_ways_have_names_that_stay() -> None:
    """They are stored."""
    assert get_args(DeliveredBy) == ("get", "listen", "result", "inbox")
