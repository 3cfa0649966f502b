"""The watch over a log: it notices a failure to store, and its end, also while no command comes.

A stored append proves that the log takes commits. Without one, the log is probed: now and then while all is well, more
often after a failure, and when readiness is asked for. Commands are tried all the time.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import structlog

from broker.clock import Clock, Timer
from broker.metrics import Metrics
from broker.outage_lines import SILENT
from broker.record_buffer import RecordBuffer
from broker.replica import Replica, within
from events.commit import BrokenChainError
from events.log import EventLog, LogUnavailableError, UnusableLogError

logger = structlog.get_logger(__name__)

IDLE_PROBE_MS = 30_000
"""The time between two looks at a log that takes commits."""

LOST_PROBE_MS = 5_000
"""The time between two probes of a log that takes none, and the age of a proof that readiness may rest on."""

PROBE_MS = 5_000
"""The longest wait for an answer to a probe."""

NEVER = -math.inf

SHORTER = "the log is shorter than it was; put it back, or start again"
FAILING = "commands could not be stored, although the log answers; the log lines say why"


class StoreWatch:
    """The knowledge of one broker whether its log takes commits. A log in memory always does."""

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        replica: Replica,
        metrics: Metrics,
        records: RecordBuffer,
        in_background: Callable[[Awaitable[object]], None],
        on_log_failed: Callable[[Exception], None],
    ) -> None:
        """`on_log_failed` is called if a shared log is not the one that was folded."""
        self.reason: str | None = None
        """The fault in plain words, with no path and no input of a client; `None` while the log takes commits."""
        self._log = log
        self._clock = clock
        self._replica = replica
        self._metrics = metrics
        self._records = records
        self._in_background = in_background
        self._on_log_failed = on_log_failed
        self._is_stored = False  # an append was, since the last probe began
        self._has_given_up = False  # a command was answered `unavailable` since the last probe
        self._probing: asyncio.Future[None] | None = None
        self._proved_ms = clock.now_ms()
        self._timer: Timer | None = None  # of its own: a look goes on without any caller
        self._is_stopped = False
        self._lost_ms = 0.0

    def start(self) -> None:
        """Begin to watch."""
        if not self._log.never_waits:
            self._look_later()

    def stop(self) -> None:
        """Look no more."""
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def append_stored(self) -> None:
        """Note that the log has stored an append."""
        self._is_stored, self._proved_ms = True, self._clock.now_ms()
        if self.reason is not None:
            self._adopt(None)

    def append_failed(self, *, is_given_up: bool = False) -> None:
        """Probe the log at once, unless it is known to be lost. `is_given_up`: the callers were told."""
        self._is_stored = False
        self._has_given_up |= is_given_up
        if self.reason is None and not self._is_stopped:
            self._proved_ms = NEVER
            self._probe_now()

    async def checked(self) -> str | None:
        """Return `reason`, by a proof of the last `LOST_PROBE_MS`; probe the log if there is none."""
        if self._is_proved(LOST_PROBE_MS) or self._log.never_waits:
            return self.reason
        await asyncio.wait({self._probe_now()})
        return self.reason

    def _is_proved(self, age_max_ms: float) -> bool:
        """Return whether the last stored append or the last probe is younger than that."""
        return self._clock.now_ms() < self._proved_ms + age_max_ms  # the very sum that `_look_later` waits for

    def _probe_every_ms(self) -> float:
        return IDLE_PROBE_MS if self.reason is None else LOST_PROBE_MS

    def _look_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._is_stopped:
            self._timer = self._clock.call_at(self._proved_ms + self._probe_every_ms(), self._look)

    def _look(self) -> None:
        if self._is_proved(self._probe_every_ms()):
            self._look_later()
        else:
            self._probe_now()

    def _probe_now(self) -> asyncio.Future[None]:
        """Probe the log, unless a probe is under way; return that one then."""
        if self._probing is None or self._probing.done():
            self._probing = asyncio.ensure_future(self._probe())
            self._in_background(self._probing)
        return self._probing

    async def _probe(self) -> None:
        self._has_given_up, has_given_up = False, self._has_given_up
        self._is_stored = False
        fault = await self._fault() or (FAILING if has_given_up or self._has_given_up else None)
        self._adopt(None if self._is_stored else fault)
        self._proved_ms = self._clock.now_ms()
        self._look_later()

    async def _fault(self) -> str | None:
        """Return the reason why the log takes no commits; `None` if it does."""
        known = self._replica.state.position
        try:
            await within(self._clock, PROBE_MS, self._log.probe())
        except (LogUnavailableError, UnusableLogError) as error:
            return str(error) or SILENT
        try:
            tip = await within(self._clock, PROBE_MS, self._log.tip())
        except LogUnavailableError:
            return SILENT
        except UnusableLogError as error:
            return str(error)
        if self._log.is_shared:
            try:
                self._replica.check_tip(tip, known)
            except BrokenChainError as fault:
                self._on_log_failed(fault)
        return SHORTER if tip.position < known else None

    def _adopt(self, reason: str | None) -> None:
        """Take over `reason`; log the change from one state to the other."""
        was, self.reason = self.reason, reason
        if was is None and reason is not None:
            self._lost_ms = self._clock.now_ms()
            self._metrics.store_available.set(0)
            self._records.record_log_lost()
            logger.warning("store_lost", reason=reason)
        elif was is not None and reason is None:
            self._metrics.store_available.set(1)
            self._records.record_log_back()
            logger.warning("store_back", after_s=round((self._clock.now_ms() - self._lost_ms) / 1_000))
