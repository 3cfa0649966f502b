"""Opening a shared log, whose store may be away for a while, and comparing this machine's clock with the store's."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from broker.clock import Clock, sleep_until
from broker.outage_lines import SILENT
from broker.stores import Synchronous, open_log, store_module, without_password
from events.coordination import Coordination
from events.log import EventLog, LogUnavailableError, UnusableLogError

logger = structlog.get_logger(__name__)

T = TypeVar("T")

AGAIN_MS = 1_000
WAITING_LINE_MS = 10_000

CLOCK_WARN_MS = 1_000
CLOCK_REFUSE_MS = 30_000
"""Commits are stamped by the clocks of all brokers: one so far off does not start."""

COMPARE_MS = 60_000


async def until_available(attempt: Callable[[], Awaitable[T]], clock: Clock) -> T:
    """Return the result of `attempt`, made again until the store answers; a log line every ten seconds says so."""
    silent_until_ms = -math.inf
    while True:
        try:
            return await attempt()
        except LogUnavailableError as error:
            if clock.now_ms() >= silent_until_ms:
                silent_until_ms = clock.now_ms() + WAITING_LINE_MS
                logger.warning("waiting_for_log", reason=str(error) or SILENT)
        await sleep_until(clock, clock.now_ms() + AGAIN_MS)


async def open_shared_log(url: str, synchronous: Synchronous, clock: Clock) -> EventLog:
    """Open the shared log at `url` once its store can be reached.

    Raises:
        UnusableLogError: it can't be used, or this machine's clock differs from the store's by `CLOCK_REFUSE_MS`.
    """
    await asyncio.to_thread(store_module, url)  # its library takes a while to load
    log = await until_available(lambda: open_log(url, synchronous), clock)
    try:
        if log.coordination is not None:
            coordination = log.coordination
            ahead_ms = await until_available(lambda: clock_difference_ms(coordination, clock), clock)
            _check_clock(ahead_ms, url)
    except BaseException:
        await log.close()
        raise
    return log


def log_opened(log: EventLog, url: str) -> None:
    """Log what an acknowledged message survives in `log`."""
    logger.info("log_opened", log=without_password(url), survives=log.survives)


def _check_clock(ahead_ms: float, url: str) -> None:
    if abs(ahead_ms) >= CLOCK_REFUSE_MS:
        side = "ahead of" if ahead_ms > 0 else "behind"
        raise UnusableLogError(
            f"this machine's clock is {abs(ahead_ms) / 1_000:.0f} s {side} that of {without_password(url)}: "
            "set both by NTP, and start again"
        )
    _warn_of_clock(ahead_ms)


def _warn_of_clock(ahead_ms: float) -> None:
    if abs(ahead_ms) >= CLOCK_WARN_MS:
        logger.warning("clock_differs", ahead_of_store_s=round(ahead_ms / 1_000, 1), hint="set both clocks by NTP")


async def clock_difference_ms(coordination: Coordination, clock: Clock) -> float:
    """Return how far the wall clock is ahead of the store's, at least; negative if it is behind.

    The store answers at some moment of the call, so a slow answer proves no difference.

    Raises:
        LogUnavailableError: the store did not answer.
    """
    before_ms = clock.wall_ms()
    store_ms = await coordination.time_ms()
    after_ms = clock.wall_ms()
    return max(0, before_ms - store_ms) or min(0, after_ms - store_ms)


async def watch_clock(coordination: Coordination, clock: Clock) -> None:
    """Compare the clocks once a minute, and warn while they differ; never returns."""
    while True:
        await sleep_until(clock, clock.now_ms() + COMPARE_MS)
        try:
            _warn_of_clock(await clock_difference_ms(coordination, clock))
        except (LogUnavailableError, UnusableLogError):
            continue  # the watch over the log says so
