"""The way of a batch into the log: decided, appended, and decided anew on what another broker was quicker with.

In a shared log an append confirms the whole batch. A batch without a commit is confirmed by the log's tip, asked for
after its commands came. While appends of this or another broker conflict, each batch waits for a turn and takes all
commands that came by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from broker.batch import BATCH_COMMITS_MAX, Batch, PendingCommand
from broker.clock import Clock, CommitClock, sleep_until
from broker.decision import UNAVAILABLE
from broker.line_limit import LineLimit
from broker.matching import MatchingError
from broker.metrics import Metrics
from broker.replica import LogObserver, Replica
from events.commit import BrokenChainError, Facts
from events.log import Conflict, EventLog, LogUnavailableError

logger = structlog.get_logger(__name__)

RETRY_MS = 50
CONTENDED_MS = 2_000
"""After so long without a conflict or another's commit, appends need no turn any more."""

NEVER = -1.0


class Contention:
    """Whether other brokers wrote so lately that an append without a turn is likely to make one conflict."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until_ms = NEVER

    @property
    def is_active(self) -> bool:
        """Return whether a batch should wait for a turn."""
        return self._clock.now_ms() < self._until_ms

    def begin(self) -> None:
        """Note a conflict."""
        self._until_ms = self._clock.now_ms() + CONTENDED_MS

    def stay(self) -> None:
        """Note that other brokers still write."""
        if self.is_active:
            self.begin()


class BatchStorage:
    """Decides commands and stores their commits, one batch at a time. Nothing of it is adopted or announced here."""

    def __init__(
        self,
        log: EventLog,
        replica: Replica,
        clock: Clock,
        metrics: Metrics,
        observer: LogObserver,
        take_more: Callable[[int], list[PendingCommand]],
    ) -> None:
        """`take_more`: takes so many commands at most that came meanwhile."""
        self._log = log
        self._is_shared = log.is_shared
        self._replica = replica
        self._clock = clock
        self.commit_clock = CommitClock(clock)
        self._metrics = metrics
        self._observer = observer
        self._take_more = take_more
        self._contention = Contention(clock)
        self._matching_errors = LineLimit(clock.now_ms)

    async def stored(self, commands: list[PendingCommand]) -> Batch:
        """Decide `commands` until their commits are stored or their answers confirmed, or no caller is left."""
        confirmed = 0  # how many of them came before the question for the tip
        while True:
            in_turn = self._is_shared and commands and self._contention.is_active
            batch = await (self._in_turn(commands) if in_turn else self._tried(commands))
            if batch is None:
                continue
            if not self._is_shared or batch.commits or not batch.answers or confirmed == len(commands):
                return batch
            confirmed = len(commands)
            if await self._is_at_tip(commands):
                return batch

    async def _in_turn(self, commands: list[PendingCommand]) -> Batch | None:
        """Wait for a turn, fold all commits before it, and take all commands that wait by then into `commands`."""
        asked_ms = self._clock.now_ms()
        async with self._log.turn(self._replica.state.position) as missed:
            self._metrics.turn_s.observe_ms(self._clock.now_ms() - asked_ms)
            if self._replica.fold(missed):
                self._contention.stay()
            commands += self._take_more(max(0, BATCH_COMMITS_MAX - len(commands)))
            return await self._tried(commands)

    async def _tried(self, commands: Iterable[PendingCommand]) -> Batch | None:
        """Decide `commands` and store the commits; `None` if another writer was first, whose commits were folded."""
        batch, truncations, may_have_landed = self._decided(commands), self._replica.truncations, False
        if batch.commits and self._is_shared:
            self._replica.seek(batch.commits[-1].commit_id)  # it names all those before it
        while batch.commits:
            try:
                await self._append(batch)
                break
            except Conflict as conflict:
                await self._fold_missed(conflict)
                if self._replica.has_come:  # the batch had landed, but was trimmed: the store could not tell
                    batch.steps.clear()
                    return batch
                if may_have_landed and self._replica.truncations > truncations:
                    raise LogUnavailableError("what was appended may stand among what was trimmed since") from None
                if _are_answered(commands):
                    return Batch(self._replica.state)  # they were told `unavailable`
                return None
            except LogUnavailableError:
                # The append may have landed. The same commits again are answered as done if it has.
                may_have_landed = True
                self._observer.append_failed()
                if _are_answered(commands):
                    raise
                await sleep_until(self._clock, self._clock.now_ms() + RETRY_MS)
        return batch

    async def _append(self, batch: Batch) -> None:
        """Store the commits; raises as `EventLog.append`."""
        started_ms = self._clock.now_ms()
        await self._log.append(batch.commits, expected=self._replica.state.tip)
        self._metrics.append_s.observe_ms(self._clock.now_ms() - started_ms)
        self._observer.append_stored()
        if self._log.is_contended:
            self._contention.begin()

    def _decided(self, commands: Iterable[PendingCommand]) -> Batch:
        """Decide `commands`, all at one reading of the clock, each on the state after the ones before it.

        Before the first that may match, absent connections are taken out.
        """
        batch, is_swept = Batch(self._replica.state), False
        at_ms = self.commit_clock.stamp_ms(self._replica.state.at_ms)
        for pending in commands:
            if pending.seeker is not None and not is_swept:
                is_swept = True
                for absent in self._observer.overdue():
                    batch.decide(absent, Facts(at_ms))
            avoid = self._observer.to_avoid(batch.state, pending.seeker) if pending.seeker is not None else ()
            facts = Facts(at_ms, pending.room_id, pending.salt, avoid)
            try:
                answer = batch.decide(pending.command, facts)
            except MatchingError as error:
                answer = UNAVAILABLE
                self._log_matching_error(error)
            batch.answers.append((pending, answer))
        return batch

    def _log_matching_error(self, error: MatchingError) -> None:
        """Log a fault of the operator's own matching, with its traceback, once a minute for each place in its code.

        Its texts are the operator's code's and may quote people, so only a traceback, which is masked, has them.
        """
        fault = error.__cause__ or error
        counted = self._matching_errors.admit_fault("matching_failed", fault)
        if counted is not None:
            matching = self._replica.state.policy.matching
            logger.error("matching_failed", matching=matching, fault=type(fault).__name__, exc_info=fault, **counted)

    async def _fold_missed(self, conflict: Conflict) -> None:
        """Fold the commits that made an append conflict. They came with it, were heard meanwhile, or are read.

        Raises:
            BrokenChainError: there are none.
            LogUnavailableError: it could not be read.
        """
        self._metrics.conflicts.inc()
        self._contention.begin()
        if not (self._replica.fold(conflict.missed) or await self._replica.catch_up(to_the_end=True)):
            raise BrokenChainError("the log was rolled back behind what was folded") from None

    async def catch_up(self, *, to_the_end: bool = False) -> bool:
        """Fold the log up to its known tip; return whether the state moved (see `Replica.catch_up`)."""
        moved = await self._replica.catch_up(to_the_end=to_the_end)
        if moved:
            self._contention.stay()
        return moved

    async def _is_at_tip(self, commands: Iterable[PendingCommand]) -> bool:
        """Confirm that the log ends where `commands` were decided; if not, fold the rest.

        Raises:
            BrokenChainError: the log's past has changed.
            LogUnavailableError: it does not answer, and no caller is left.
        """
        while True:
            try:
                if await self._replica.is_at_tip():
                    return True
                await self.catch_up()
                return False
            except LogUnavailableError:
                if _are_answered(commands):
                    raise
                await sleep_until(self._clock, self._clock.now_ms() + RETRY_MS)


def _are_answered(commands: Iterable[PendingCommand]) -> bool:
    """Return whether no caller waits for an answer any more."""
    return all(pending.answer.done() for pending in commands)
