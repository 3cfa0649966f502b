"""The way from a command to a commit: decide and fold tentatively, append, adopt, announce.

One flush runs at a time. It takes every waiting command, decides each on the state after the ones before it, and
appends all their commits in one batch (group commit). Commands that arrive meanwhile make the next batch, so an idle
broker adds no delay. A log in memory never waits, so each command is carried out in the turn of its arrival. After the
batch is stored, its states are adopted and its commits announced, in order; then the commands are answered, in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable

import structlog

from broker.batch import BATCH_COMMITS_MAX, CommandAnswer, PendingCommand
from broker.batch_storage import RETRY_MS, BatchStorage
from broker.clock import SYSTEM_ENTROPY, Clock, RandomBytes, Timer, sleep_until
from broker.compaction import SnapshotKeeper
from broker.decision import UNAVAILABLE, Rejection
from broker.line_limit import LineLimit
from broker.metrics import Metrics
from broker.outage_lines import SILENT
from broker.replica import LOG_FAULTS, LogObserver, Replica
from events.commands import OWN_COMMANDS, AdoptPolicy, Command
from events.log import EventLog, LogUnavailableError
from events.policy import Policy

logger = structlog.get_logger(__name__)


class LogWriter:
    """The one writer of a broker. Create it inside a running event loop, then `start` it.

    A submitted command belongs to the writer: cancelling its caller cancels nothing.
    """

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        metrics: Metrics,
        *,
        observer: LogObserver | None = None,
        is_caretaker: Callable[[], bool] = lambda: True,
        keep_commits: int | None = None,
        random_bytes: RandomBytes = SYSTEM_ENTROPY,
    ) -> None:
        """`keep_commits`: at how many commits `log` is compacted to half of them; `None` keeps all.

        `is_caretaker` returns whether this broker saves snapshots and compacts.
        """
        assert not (log.never_waits and log.is_shared)
        self._observer = observer if observer is not None else LogObserver()
        self.replica = Replica(log, clock, metrics, self._observer, on_heard=self._start_flushing)
        self._storage = BatchStorage(log, self.replica, clock, metrics, self._observer, self._take)
        self.commit_clock = self._storage.commit_clock
        self._never_waits = log.never_waits
        self._is_shared = log.is_shared
        self._clock = clock
        self._metrics = metrics
        self._random_bytes = random_bytes
        self._snapshots = SnapshotKeeper(log, clock, keep_commits, is_caretaker)
        self._pending: list[PendingCommand] = []
        self._in_flight: list[PendingCommand] = []
        self._is_flushing = False
        self._flushing: asyncio.Task[None] | None = None  # where the log may have to be waited for
        self._watchdog: Timer | None = None
        self._behind = False  # an append was given up and may have landed
        self._has_failed = False  # the log is lost for good
        self._lines = LineLimit(clock.now_ms)
        self._refused = 0  # commands refused as the log did not answer, and not logged yet

    async def start(self, policy: Policy) -> None:
        """Fold the contents of the log, and adopt `policy` if the log's is another.

        Raises:
            BrokenChainError: the log's past has changed.
            UnusableLogError: it can't be read.
            LogUnavailableError: it does not answer, or `policy` could not be stored in time.
        """
        await self.replica.start()
        self._snapshots.start_at(self.replica.started_at)
        if isinstance(await self.submit(AdoptPolicy(policy)), Rejection):
            raise LogUnavailableError("the log does not answer, so the policy can't be stored")
        self.replica.follow()

    def submit(self, command: Command) -> asyncio.Future[CommandAnswer]:
        """Put `command` in line, after all waiting commands; the future's answer rests on stored commits alone.

        `unavailable` says that the log did not answer in time: the command may yet be carried out. In a log that never
        waits, the command is carried out before this returns.
        """
        policy = self.replica.state.policy
        pending = PendingCommand(command, self._clock.now_ms() + policy.command_timeout_ms, self._random_bytes)
        if len(self._pending) >= policy.commands_pending_max:
            self._answer(pending, UNAVAILABLE)
        else:
            self._pending.append(pending)
            self._start_flushing()
        return pending.answer

    def fail(self) -> None:
        """Answer every command `unavailable` from now on: the log is lost."""
        self._has_failed = True

    def time_ms(self) -> int:
        """Unix time, as a commit would be stamped with it at this moment."""
        return self.commit_clock.at_ms(self.replica.state.at_ms)

    async def drained(self) -> None:
        """Return once nothing is being appended."""
        while self._flushing is not None:
            await asyncio.wait({self._flushing})

    async def stop(self, within_ms: int) -> None:
        """Return once nothing is being appended, or after `within_ms`; then all callers are answered `unavailable`."""
        await self.replica.stop_following()
        drained = asyncio.ensure_future(self.drained())
        deadline = asyncio.ensure_future(sleep_until(self._clock, self._clock.now_ms() + within_ms))
        await asyncio.wait({drained, deadline}, return_when=asyncio.FIRST_COMPLETED)
        if self._flushing is not None:
            self._flushing.cancel()
            self._answer_all((*self._in_flight, *self._pending), UNAVAILABLE)
            await asyncio.wait({self._flushing})
        for task in (drained, deadline):
            task.cancel()
        await asyncio.gather(drained, deadline, return_exceptions=True)
        await self.replica.stop()
        self._snapshots.stop()

    def _start_flushing(self) -> None:
        """Carry out the waiting commands; before returning, if the log never waits."""
        if self._is_flushing:
            return
        self._is_flushing = True
        if self._never_waits:
            _run_at_once(self._flush())
        else:
            self._flushing = asyncio.get_running_loop().create_task(self._flush())
            self._watch(self._clock.now_ms() + self.replica.state.policy.command_timeout_ms)

    async def _flush(self) -> None:
        try:
            while self._pending or self.replica.is_behind:
                if self._is_shared:
                    self._in_flight = self._take(BATCH_COMMITS_MAX)
                else:
                    self._in_flight, self._pending = self._pending, []
                await self._carry_out(self._in_flight)
                if self._behind and self.replica.is_behind and not self._pending:
                    await sleep_until(self._clock, self._clock.now_ms() + RETRY_MS)
        finally:
            if self._watchdog is not None:
                self._watchdog.cancel()
                self._watchdog = None
            self._in_flight = []
            self._is_flushing, self._flushing = False, None

    def _take(self, commands_max: int) -> list[PendingCommand]:
        """Take the longest waiting commands, in order."""
        taken, self._pending = self._pending[:commands_max], self._pending[commands_max:]
        return taken

    async def _carry_out(self, commands: list[PendingCommand]) -> None:
        """Decide and fold tentatively, append, adopt and announce; then answer."""
        if self._has_failed:
            self._give_up(commands)
            self.replica.forget_heard()
            return
        try:
            if self._behind or self.replica.is_behind:
                await self._storage.catch_up(to_the_end=self._behind)
                self._behind = False
            batch = await self._storage.stored(commands)
            for state, commit in batch.steps:
                self.replica.adopt(state, commit)
            for pending, answer in batch.answers:
                self._answer(pending, answer)
            await self._snapshots.on_committed(self.replica.state)
        except LogUnavailableError as error:
            self._give_up(commands)
            self._log_refused(len(commands), error)
        except Exception as fault:
            self._give_up(commands)
            self.replica.forget_heard()
            if self._is_shared and isinstance(fault, LOG_FAULTS):
                self._observer.log_failed(fault)
                return
            counted = self._lines.admit_fault("batch_failed", fault)
            if counted is not None:
                name = type(fault).__name__
                logger.error("batch_failed", commands=len(commands), fault=name, exc_info=fault, **counted)

    def _log_refused(self, commands: int, error: LogUnavailableError) -> None:
        """Log once a minute how many commands were refused since the line before."""
        self._refused += commands
        if self._lines.admit("log_unavailable") is not None:
            logger.error("log_unavailable", commands=self._refused, reason=str(error) or SILENT)
            self._refused = 0

    def _answer(self, pending: PendingCommand, answer: CommandAnswer) -> None:
        """Give the caller its answer, unless it has gone or has one; count a refusal, if it is a client's."""
        if pending.answer.done():
            return
        if isinstance(answer, Rejection) and not isinstance(pending.command, OWN_COMMANDS):
            self._metrics.rejected(answer.code)
            self._observer.command_refused(pending.command, answer.code)
        pending.answer.set_result(answer)

    def _answer_all(self, commands: Iterable[PendingCommand], answer: CommandAnswer) -> None:
        for pending in commands:
            self._answer(pending, answer)

    def _give_up(self, commands: Iterable[PendingCommand]) -> None:
        """Answer `unavailable`, and read the log before the next batch: the append may have landed."""
        self._behind = True
        self._answer_all(commands, UNAVAILABLE)
        self._observer.append_failed(is_given_up=True)

    def _watch(self, at_ms: float) -> None:
        self._watchdog = self._clock.call_at(at_ms, self._give_up_on_late)

    def _give_up_on_late(self) -> None:
        """Answer `unavailable` to each command past its deadline."""
        now_ms = self._clock.now_ms()
        waiting = [pending for pending in (*self._in_flight, *self._pending) if not pending.answer.done()]
        late = [pending for pending in waiting if pending.deadline_ms <= now_ms]
        if late:
            self._answer_all(late, UNAVAILABLE)
            self._observer.append_failed(is_given_up=True)
        self._watch(now_ms + RETRY_MS)


def _run_at_once(work: Coroutine[None, None, None]) -> None:
    """Run `work` to its end. It never waits, and a task would take two more turns of the event loop."""
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise RuntimeError("a log that never waits has waited")
