"""A shared log with an absent store, or a store with another clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker import shared_log
from broker.shared_log import (
    AGAIN_MS,
    COMPARE_MS,
    clock_difference_ms,
    log_opened,
    open_shared_log,
    until_available,
    watch_clock,
)
from events.log import LogUnavailableError, UnusableLogError
from tests.support.channel import MemoryChannel
from tests.support.fake_clock import FakeClock, settle
from tests.support.logs import FaultyLog, run

URL = "redis://ann:secret@store.example/?name=chat"


class Store:
    """The module of a store; it may be away, or refuse."""

    def __init__(self, clock: FakeClock, ahead_ms: int = 0) -> None:
        self.fault: Exception | None = None
        self.opened: list[FaultyLog] = []
        self.closed = 0
        self.coordination = MemoryChannel(lambda: clock.wall_ms() - ahead_ms)

    async def open_log(self, url: str, codec: object, *, synchronous: str) -> FaultyLog:
        """Open a log, unless there is a fault."""
        if self.fault is not None:
            raise self.fault
        log = FaultyLog()
        log.coordination, log.is_shared = self.coordination, True
        log.close = self._close
        self.opened.append(log)
        return log

    async def _close(self) -> None:
        self.closed += 1


def with_store(
    ahead_ms: int = 0,
) -> Callable[[Callable[[Store, FakeClock], Coroutine[Any, Any, None]]], Callable[[pytest.MonkeyPatch], None]]:
    """Make a test of a store in the place of Redis; this machine's clock is `ahead_ms` ahead of the store's."""

    def made(scenario: Callable[[Store, FakeClock], Coroutine[Any, Any, None]]) -> Callable[[pytest.MonkeyPatch], None]:
        def wrapper(monkeypatch: pytest.MonkeyPatch) -> None:
            async def whole() -> None:
                clock = FakeClock()
                store = Store(clock, ahead_ms)
                monkeypatch.setattr("broker.stores.store_module", lambda url: store)
                monkeypatch.setattr(shared_log, "store_module", lambda url: store)
                await scenario(store, clock)

            run(whole)

        wrapper.__doc__ = scenario.__doc__
        return wrapper

    return made


async def begun(opening: asyncio.Task[Any], clock: FakeClock) -> None:
    """Return once `opening` waits for the clock; it loads the store in a thread first."""
    while not opening.done() and not clock._timers:
        await settle(1)


@with_store()
async def test_a_store_that_is_away_is_waited_for(store: Store, clock: FakeClock) -> None:
    """It is tried once a second, and a line says so every ten seconds."""
    store.fault = LogUnavailableError("connection refused")
    with capture_logs() as logged:
        opening = asyncio.create_task(open_shared_log(URL, "full", clock))
        await begun(opening, clock)
        await clock.advance(19_999)
        assert [line["reason"] for line in logged] == ["connection refused"] * 2
        assert {line["event"] for line in logged} == {"waiting_for_log"}
        store.fault = None
        await clock.advance(AGAIN_MS)
        assert await opening is store.opened[0]
    assert store.closed == 0


@with_store()
async def test_a_refusal_is_not_waited_for(store: Store, clock: FakeClock) -> None:
    """A wrong password does not get better."""
    store.fault = UnusableLogError("wrong password")
    with pytest.raises(UnusableLogError, match="wrong password"):
        await open_shared_log(URL, "full", clock)


@with_store(ahead_ms=30_000)
async def test_a_clock_that_is_far_ahead_does_not_start(store: Store, clock: FakeClock) -> None:
    """The line has the difference, a remedy, and no password; the log is closed."""
    with pytest.raises(UnusableLogError) as refused:
        await open_shared_log(URL, "full", clock)
    assert str(refused.value) == (
        "this machine's clock is 30 s ahead of that of redis://ann:***@store.example/?name=chat: "
        "set both by NTP, and start again"
    )
    assert store.closed == 1


@with_store(ahead_ms=-45_000)
async def test_a_clock_that_is_far_behind_does_not_start(store: Store, clock: FakeClock) -> None:
    """This holds for a late clock as for an early one."""
    with pytest.raises(UnusableLogError, match="45 s behind that of"):
        await open_shared_log(URL, "full", clock)


@with_store(ahead_ms=-1_500)
async def test_a_clock_that_is_off_by_a_second_is_a_warning(store: Store, clock: FakeClock) -> None:
    """It is logged at the start and once a minute; an absent store is asked again later."""
    with capture_logs() as logged:
        await open_shared_log(URL, "full", clock)
        assert [line["ahead_of_store_s"] for line in logged] == [-1.5]
        watching = asyncio.create_task(watch_clock(store.coordination, clock))
        await settle()
        await clock.advance(COMPARE_MS)
        for fault in (LogUnavailableError("away"), UnusableLogError("the role may not")):
            store.coordination.break_it(fault)
            await clock.advance(COMPARE_MS)
        store.coordination.mend()
        await clock.advance(COMPARE_MS)
        assert [line["event"] for line in logged] == ["clock_differs"] * 3
        watching.cancel()


@with_store(ahead_ms=999)
async def test_a_smaller_difference_is_none(store: Store, clock: FakeClock) -> None:
    """Machines with NTP differ by milliseconds."""
    with capture_logs() as logged:
        await open_shared_log(URL, "full", clock)
    assert logged == []


@with_store()
async def test_a_log_without_a_clock_is_opened(store: Store, clock: FakeClock) -> None:
    """There is nothing to compare with."""
    store.coordination = None
    assert await open_shared_log(URL, "full", clock) is store.opened[0]


@pytest.mark.parametrize(("store_ms", "ahead_ms"), [(-100, 100), (0, 0), (3_000, 0), (5_000, 0), (5_100, -100)])
def test_a_slow_answer_proves_no_difference(store_ms: int, ahead_ms: int) -> None:
    """The store may have read its clock at any moment of the five seconds of the call."""

    async def scenario() -> None:
        clock = FakeClock()
        began_ms = clock.wall_ms()

        async def slowly() -> int:
            await clock.advance(5_000)
            return began_ms + store_ms

        assert await clock_difference_ms(SimpleNamespace(time_ms=slowly), clock) == ahead_ms

    run(scenario)


def test_the_reason_is_in_words_even_if_the_store_gives_none() -> None:
    """It does not answer."""

    async def scenario() -> None:
        clock, answers = FakeClock(), [LogUnavailableError(), None]

        async def attempt() -> str:
            if (fault := answers.pop(0)) is not None:
                raise fault
            return "done"

        with capture_logs() as logged:
            trying = asyncio.create_task(until_available(attempt, clock))
            await settle()
            await clock.advance(AGAIN_MS)
            assert await trying == "done"
        assert [line["reason"] for line in logged] == ["the log does not answer"]

    run(scenario)


def test_a_line_says_what_a_message_survives() -> None:
    """And where the log is, without its password."""
    with capture_logs() as logged:
        log_opened(FaultyLog(), URL)
    (line,) = logged
    assert (line["log"], line["survives"]) == (
        "redis://ann:***@store.example/?name=chat",
        "what the inner log does",
    )
