"""The log lines of one outage: a line when it begins, and one when it ends, however often work is tried meanwhile."""

from __future__ import annotations

import structlog

from broker.clock import Clock

logger = structlog.get_logger(__name__)

SILENT = "the log does not answer"
"""The reason of an error without a text."""

REASONS_MAX = 10
"""The most reasons that one outage is logged with."""


class OutageLines:
    """The lines about one kind of work that is tried again until it succeeds.

    A failure is logged once for each reason. The first success after it is logged with the length of the outage.
    """

    def __init__(self, clock: Clock, begins: str, ends: str) -> None:
        """Log the events `begins`, with a `reason`, and `ends`, with `after_s`."""
        self._clock = clock
        self._begins = begins
        self._ends = ends
        self._began_ms = 0.0
        self._reasons: set[str] = set()  # of the present outage; none while all is well

    def failed(self, error: Exception) -> None:
        """Note that the work failed, by `error`."""
        reason = str(error) or SILENT
        if not self._reasons:
            self._began_ms = self._clock.now_ms()
        if reason not in self._reasons and len(self._reasons) < REASONS_MAX:
            self._reasons.add(reason)
            logger.warning(self._begins, reason=reason)

    def succeeded(self, since_ms: float | None = None) -> None:
        """Note that the work succeeds: now, or since the moment `since_ms` of the same clock."""
        if self._reasons:
            ended_ms = self._clock.now_ms() if since_ms is None else since_ms
            logger.warning(self._ends, after_s=round((ended_ms - self._began_ms) / 1_000))
            self._reasons.clear()
