"""The way from a command to a commit: decide and fold tentatively, append, adopt, announce.

One flush runs at a time. It takes every waiting command, decides each on the state after the ones before it, and
appends all their commits in one batch (group commit). Commands that arrive meanwhile make the next batch, so an idle
broker adds no delay. A log in memory never waits, so each command is carried out in the turn of its arrival. After the
batch is stored, its states are adopted and its commits announced, in order; then the commands are answered, in order.

In a shared log an append confirms the whole batch. A batch without a commit is confirmed by the log's tip, asked for
after its commands came. While appends conflict, each batch waits for a turn and takes all commands that came by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable

import structlog

from broker.batch import BATCH_COMMITS_MAX, Batch, CommandAnswer, PendingCommand
from broker.clock import SYSTEM_ENTROPY, Clock, CommitClock, RandomBytes, Timer, sleep_until
from broker.compaction import SnapshotKeeper
from broker.decision import Rejection
from broker.metrics import Metrics
from broker.replica import LOG_FAULTS, LogObserver, Replica
from events.commands import AdoptPolicy, CancelMatch, Command, Disconnect, ForgetNames, MatchDue
from events.commit import BrokenChainError, Facts
from events.log import Conflict, EventLog, LogUnavailableError
from events.policy import Policy

logger = structlog.get_logger(__name__)

RETRY_MS = 50
CONTENDED_MS = 2_000
"""After so long without a conflict or another's commit, appends need no turn any more."""

OWN_COMMANDS = (AdoptPolicy, CancelMatch, Disconnect, ForgetNames, MatchDue)
"""Commands of the broker itself: their refusals are no client's, and are not counted."""

NEVER = -1.0
UNAVAILABLE = Rejection("unavailable")


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
        self._log = log
        self._never_waits = log.never_waits
        self._is_shared = log.is_shared
        self._clock = clock
        self._metrics = metrics
        self.commit_clock = CommitClock(clock)
        self._random_bytes = random_bytes
        self._snapshots = SnapshotKeeper(log, keep_commits, is_caretaker)
        self._pending: list[PendingCommand] = []
        self._in_flight: list[PendingCommand] = []
        self._is_flushing = False
        self._flushing: asyncio.Task[None] | None = None  # where the log may have to be waited for
        self._watchdog: Timer | None = None
        self._behind = False  # an append was given up and may have landed
        self._has_failed = False  # the log is lost for good
        self._contended_until_ms = NEVER

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
                await self._catch_up(to_the_end=self._behind)
                self._behind = False
            batch = await self._stored(commands)
            for state, commit in batch.steps:
                self.replica.adopt(state, commit)
            for pending, answer in batch.answers:
                self._answer(pending, answer)
            await self._snapshots.on_committed(self.replica.state)
        except LogUnavailableError as error:
            self._give_up(commands)
            logger.error("log_unavailable", commands=len(commands), reason=str(error))
        except Exception as fault:
            self._give_up(commands)
            self.replica.forget_heard()
            if self._is_shared and isinstance(fault, LOG_FAULTS):
                self._observer.log_failed(fault)
                return
            logger.error("batch_failed", commands=len(commands), fault=type(fault).__name__, exc_info=fault)

    def _answer(self, pending: PendingCommand, answer: CommandAnswer) -> None:
        """Give the caller its answer, unless it has gone or has one; count a client's refusal."""
        if pending.answer.done():
            return
        if isinstance(answer, Rejection) and not isinstance(pending.command, OWN_COMMANDS):
            self._metrics.rejected(answer.code)
        pending.answer.set_result(answer)

    def _answer_all(self, commands: Iterable[PendingCommand], answer: CommandAnswer) -> None:
        for pending in commands:
            self._answer(pending, answer)

    def _give_up(self, commands: Iterable[PendingCommand]) -> None:
        """Answer `unavailable`, and read the log before the next batch: the append may have landed."""
        self._behind = True
        self._answer_all(commands, UNAVAILABLE)
        self._observer.append_failed(is_given_up=True)

    async def _stored(self, commands: list[PendingCommand]) -> Batch:
        """Decide `commands` until their commits are stored or their answers confirmed, or no caller is left."""
        confirmed = 0  # how many of them came before the question for the tip
        while True:
            in_turn = self._is_shared and commands and self._is_contended
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
        async with self._log.turn(self.replica.state.position) as missed:
            self._metrics.turn_s.observe_ms(self._clock.now_ms() - asked_ms)
            if self.replica.fold(missed):
                self._stay_contended()
            commands += self._take(max(0, BATCH_COMMITS_MAX - len(commands)))
            return await self._tried(commands)

    async def _tried(self, commands: Iterable[PendingCommand]) -> Batch | None:
        """Decide `commands` and store the commits; `None` if another writer was first, whose commits were folded."""
        batch, truncations, may_have_landed = self._decided(commands), self.replica.truncations, False
        if batch.commits and self._is_shared:
            self.replica.seek(batch.commits[-1].commit_id)  # it names all those before it
        while batch.commits:
            started_ms = self._clock.now_ms()
            try:
                await self._log.append(batch.commits, expected=self.replica.state.tip)
            except Conflict as conflict:
                await self._fold_missed(conflict)
                if self.replica.has_come:  # the batch had landed, but was trimmed: the store could not tell
                    batch.steps.clear()
                    return batch
                if may_have_landed and self.replica.truncations > truncations:
                    raise LogUnavailableError("what was appended may stand among what was trimmed since") from None
                if _are_answered(commands):
                    return Batch(self.replica.state)  # they were told `unavailable`
                return None
            except LogUnavailableError:
                # The append may have landed. The same commits again are answered as done if it has.
                may_have_landed = True
                self._observer.append_failed()
                if _are_answered(commands):
                    raise
                await sleep_until(self._clock, self._clock.now_ms() + RETRY_MS)
            else:
                self._metrics.append_s.observe_ms(self._clock.now_ms() - started_ms)
                self._observer.append_stored()
                break
        return batch

    def _decided(self, commands: Iterable[PendingCommand]) -> Batch:
        """Decide `commands`, all at one reading of the clock, each on the state after the ones before it.

        Before the first that may match, absent connections are taken out.
        """
        batch, is_swept = Batch(self.replica.state), False
        at_ms = self.commit_clock.stamp_ms(self.replica.state.at_ms)
        for pending in commands:
            if pending.seeker is not None and not is_swept:
                is_swept = True
                for absent in self._observer.overdue():
                    batch.decide(absent, Facts(at_ms))
            avoid = self._observer.to_avoid(batch.state, pending.seeker) if pending.seeker is not None else ()
            answer = batch.decide(pending.command, Facts(at_ms, pending.room_id, pending.salt, avoid))
            batch.answers.append((pending, answer))
        return batch

    async def _fold_missed(self, conflict: Conflict) -> None:
        """Fold the commits that made an append conflict. They came with it, were heard meanwhile, or are read.

        Raises:
            BrokenChainError: there are none.
            LogUnavailableError: it could not be read.
        """
        self._metrics.conflicts.inc()
        self._contended_until_ms = self._clock.now_ms() + CONTENDED_MS
        if not (self.replica.fold(conflict.missed) or await self.replica.catch_up(to_the_end=True)):
            raise BrokenChainError("the log was rolled back behind what was folded") from None

    @property
    def _is_contended(self) -> bool:
        """Return whether other brokers wrote so lately that an append is likely to conflict."""
        return self._clock.now_ms() < self._contended_until_ms

    def _stay_contended(self) -> None:
        """Note that other brokers still write."""
        if self._is_contended:
            self._contended_until_ms = self._clock.now_ms() + CONTENDED_MS

    async def _catch_up(self, *, to_the_end: bool = False) -> bool:
        """Fold the log up to its known tip; return whether the state moved (see `Replica.catch_up`)."""
        moved = await self.replica.catch_up(to_the_end=to_the_end)
        if moved:
            self._stay_contended()
        return moved

    async def _is_at_tip(self, commands: Iterable[PendingCommand]) -> bool:
        """Confirm that the log ends where `commands` were decided; if not, fold the rest.

        Raises:
            BrokenChainError: the log's past has changed.
            LogUnavailableError: it does not answer, and no caller is left.
        """
        while True:
            try:
                if await self.replica.is_at_tip():
                    return True
                await self._catch_up()
                return False
            except LogUnavailableError:
                if _are_answered(commands):
                    raise
                await sleep_until(self._clock, self._clock.now_ms() + RETRY_MS)

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


def _are_answered(commands: Iterable[PendingCommand]) -> bool:
    """Return whether no caller waits for an answer any more."""
    return all(pending.answer.done() for pending in commands)


def _run_at_once(work: Coroutine[None, None, None]) -> None:
    """Run `work` to its end. It never waits, and a task would take two more turns of the event loop."""
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise RuntimeError("a log that never waits has waited")
