"""The end of a broker whose shared log is not the one that it folded, or is newer than this program.

Its process ends, and the next start folds the log as it is. A log that was rolled back gets a new epoch first, so event
ids of its lost commits are not taken for those of others.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import structlog

from broker.clock import Clock
from broker.replica import Replica, within
from events.codec import NewerCommitError, UnreadableCommitError
from events.commit import Tip
from events.log import EventLog, LogUnavailableError, UnusableLogError

logger = structlog.get_logger(__name__)

SETTLE_MS = 1_000
"""The longest wait for each answer of a log that is given up."""

FaultReason = Literal["log", "log_rolled_back", "newer_log"]


class LogFault(NamedTuple):
    """The reason why a broker gives up its log: a word, and a sentence for an operator."""

    reason: FaultReason
    detail: str

    @classmethod
    def of(cls, error: Exception) -> LogFault:
        """Return the fault behind an error of `broker.replica.LOG_FAULTS`."""
        if isinstance(error, NewerCommitError) or isinstance(error.__cause__, NewerCommitError):
            return cls("newer_log", f"a newer program writes the log: {error}")
        if isinstance(error, UnreadableCommitError | UnusableLogError):
            return cls("log", f"the log can't be read: {error}")
        return cls("log_rolled_back", f"the log was rolled back or replaced: {error}")


async def settle(fault: LogFault, log: EventLog, clock: Clock, replica: Replica) -> None:
    """Log `fault`; give a log that was rolled back a new epoch, as far as its store answers."""
    if fault.reason != "log_rolled_back":
        logger.error("log_given_up", reason=fault.reason, detail=fault.detail)
        return
    try:
        found: Tip | None = await within(clock, SETTLE_MS, log.tip())
    except (LogUnavailableError, UnusableLogError):
        found = None
    logger.error("log_rolled_back", detail=fault.detail, known=_shown(replica.state.tip), found=_shown(found))
    if log.coordination is not None:
        try:
            await within(clock, SETTLE_MS, log.coordination.renew_epoch(log.epoch))
        except (LogUnavailableError, UnusableLogError) as error:
            logger.error("epoch_not_renewed", reason=str(error))


def _shown(tip: Tip | None) -> str:
    return "unknown" if tip is None else f"{tip.position}:{tip.commit_id}"
