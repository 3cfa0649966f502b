"""The way from a command to a commit: decide, append, evolve, announce.

One flush runs at a time. It takes every waiting command, decides each on the state after the ones before it, and
appends all their commits in one batch (group commit). Commands that arrive meanwhile make the next batch, so an idle
broker adds no delay. A log in memory never waits, so each command is carried out in the turn of its arrival. After the
batch is stored, the state moves, the commits are announced in order, and the commands are answered in order.

In a shared log an append confirms the whole batch. A batch without a commit is confirmed by the log's tip, asked for
after its commands came. While appends conflict, each batch waits for a turn and takes all commands that came by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence

import structlog

from broker.batch import BATCH_COMMITS_MAX, Batch, CommandAnswer, PendingCommand
from broker.clock import SYSTEM_ENTROPY, Clock, CommitClock, RandomBytes, Timer, sleep_until
from broker.compaction import SnapshotKeeper
from broker.decide import Rejection
from broker.replica import Replica
from events.commands import AdoptPolicy, Command, Disconnect
from events.commit import BrokenChainError
from events.log import Conflict, EventLog, LogUnavailableError
from events.policy import Policy
from projections.state import State

logger = structlog.get_logger(__name__)

RETRY_MS = 50
CONTENDED_MS = 2_000
"""After so long without a conflict or another's commit, appends need no turn any more."""

NEVER = -1.0


class LogWriter:
    """The one writer of a broker. Create it inside a running event loop, then `start` it.

    A submitted command belongs to the writer: cancelling its caller cancels nothing.
    """

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        *,
        keep_commits: int | None = None,
        random_bytes: RandomBytes = SYSTEM_ENTROPY,
    ) -> None:
        """`keep_commits`: at how many commits `log` is compacted to half of them; `None` keeps all."""
        assert not (log.never_waits and log.is_shared)
        self.replica = Replica(log, clock, on_heard=self._start_flushing, on_foreign_commits=self._on_foreign_commits)
        self.overdue: Callable[[], Iterable[Disconnect]] = tuple
        """Return the commands that take out absent connections, to be decided before any matching."""
        self.on_append: Callable[[float], None] = lambda duration_ms: None
        self.on_foreign_commits: Callable[[], None] = lambda: None
        """Called in a shared log after other brokers' commits were folded."""
        self._log = log
        self._never_waits = log.never_waits
        self._is_shared = log.is_shared
        self._clock = clock
        self._commit_clock = CommitClock(clock)
        self._random_bytes = random_bytes
        self._checkpoints = SnapshotKeeper(log, keep_commits)
        self._pending: list[PendingCommand] = []
        self._in_flight: list[PendingCommand] = []
        self._is_flushing = False
        self._flushing: asyncio.Task[None] | None = None  # where the log may have to be waited for
        self._watchdog: Timer | None = None
        self._behind = False  # an append was given up and may have landed
        self._contended_until_ms = NEVER

    @property
    def state(self) -> State:
        """Return the state of the replica; it is immutable."""
        return self.replica.state

    async def start(self, policy: Policy) -> None:
        """Fold what the log holds, and adopt `policy` if the log's is another.

        Raises:
            BrokenChainError: the log is not what it was.
            UnusableLogError: it can't be read.
            LogUnavailableError: it does not answer, or `policy` could not be stored in time.
        """
        await self.replica.start()
        self._checkpoints.start_at(self.replica.started_at)
        if isinstance(await self.submit(AdoptPolicy(policy)), Rejection):
            raise LogUnavailableError("the log does not answer, so the policy can't be stored")
        self.replica.follow()

    async def submit(self, command: Command) -> CommandAnswer:
        """Carry out `command`; the answer rests on stored commits alone.

        `unavailable` says that the log did not answer in time: the command may yet be carried out.
        """
        return await self.enqueue(command)

    def enqueue(self, command: Command) -> asyncio.Future[CommandAnswer]:
        """Put `command` in line at once, after all waiting commands.

        The future has its answer, as `submit` gives it.
        """
        policy = self.state.policy
        submitted = PendingCommand(command, self._clock.now_ms() + policy.command_timeout_ms, self._random_bytes)
        if len(self._pending) >= policy.commands_pending_max:
            submitted.resolve(Rejection("unavailable"))
            return submitted.answer
        self._pending.append(submitted)
        self._start_flushing()
        return submitted.answer

    def time_ms(self) -> int:
        """Unix time, as a commit would be stamped with it at this moment."""
        return self._commit_clock.at_ms(self.state.at_ms)

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
            for submitted in (*self._in_flight, *self._pending):
                submitted.resolve(Rejection("unavailable"))
            await asyncio.wait({self._flushing})
        for task in (drained, deadline):
            task.cancel()
        await asyncio.gather(drained, deadline, return_exceptions=True)
        await self.replica.stop()
        self._checkpoints.stop()

    def _start_flushing(self) -> None:
        """Carry out the waiting commands; before returning, if the log never waits."""
        if self._is_flushing:
            return
        self._is_flushing = True
        if self._never_waits:
            _run_at_once(self._flush())
        else:
            self._flushing = asyncio.get_running_loop().create_task(self._flush())
            self._watch(self._clock.now_ms() + self.state.policy.command_timeout_ms)

    async def _flush(self) -> None:
        try:
            while self._pending or self.replica.is_behind:
                self._in_flight = self._take(BATCH_COMMITS_MAX if self._is_shared else len(self._pending))
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
        """Take the commands that have waited longest, in order."""
        taken, self._pending = self._pending[:commands_max], self._pending[commands_max:]
        return taken

    async def _carry_out(self, batch: list[PendingCommand]) -> None:
        try:
            if self._behind or self.replica.is_behind:
                await self.replica.catch_up(to_the_end=self._behind)
                self._behind = False
            decided = await self._stored(batch)
            for state, commit in decided.steps:
                assert commit is not None
                self.replica.move(state, commit)
            for submitted, answer in decided.answers:
                submitted.resolve(answer)
            await self._checkpoints.on_committed(self.state)
        except LogUnavailableError as error:
            self._give_up(batch)
            logger.error("log_unavailable", commands=len(batch), reason=str(error))
        except Exception as fault:
            self._give_up(batch)
            self.replica.forget_heard()
            logger.error("batch_failed", commands=len(batch), fault=type(fault).__name__, exc_info=fault)

    def _give_up(self, batch: Sequence[PendingCommand]) -> None:
        """Answer `unavailable`, and read the log before the next batch: the append may have landed."""
        self._behind = True
        for submitted in batch:
            submitted.resolve(Rejection("unavailable"))

    async def _stored(self, batch: list[PendingCommand]) -> Batch:
        """Decide `batch` until its commits are stored or its answers confirmed, or no caller is left."""
        confirmed = 0 if self._is_shared else len(batch)  # commands from before the question for the tip
        while True:
            decided = await (self._in_turn(batch) if batch and self._is_contended else self._tried(batch))
            if decided is None:
                continue
            if decided.commits or not decided.answers or confirmed == len(batch):
                return decided
            confirmed = len(batch)
            if await self._is_at_tip(batch):
                return decided

    async def _in_turn(self, batch: list[PendingCommand]) -> Batch | None:
        """Wait for a turn, fold all commits before it, and take all commands that wait by then into `batch`."""
        async with self._log.turn(self.state.position) as missed:
            self.replica.fold(missed)
            batch += self._take(BATCH_COMMITS_MAX - len(batch))
            return await self._tried(batch)

    async def _tried(self, batch: Sequence[PendingCommand]) -> Batch | None:
        """Decide `batch` and store its commits; `None` if another writer was first, whose commits were folded."""
        decided, jumps, may_have_landed = self._drafted(batch), self.replica.truncations, False
        while decided.commits:
            started_ms = self._clock.now_ms()
            try:
                await self._log.append(decided.commits, expected=self.state.tip)
            except Conflict as conflict:
                await self._fold_missed(conflict)
                if may_have_landed and self.replica.truncations > jumps:
                    raise LogUnavailableError("what was appended may stand among what was trimmed since") from None
                if _are_answered(batch):
                    return Batch(self.state)  # they were told `unavailable`
                return None
            except LogUnavailableError:
                # The append may have landed. The same commits again are answered as done if it has.
                may_have_landed = True
                if _are_answered(batch):
                    raise
                await sleep_until(self._clock, self._clock.now_ms() + RETRY_MS)
            else:
                self.on_append(self._clock.now_ms() - started_ms)
                break
        return decided

    async def _fold_missed(self, conflict: Conflict) -> None:
        """Fold the commits that made an append conflict. They came with it, were heard meanwhile, or are read.

        Raises:
            BrokenChainError: there are none.
            LogUnavailableError: it could not be read.
        """
        self._contended_until_ms = self._clock.now_ms() + CONTENDED_MS
        if not (self.replica.fold(conflict.missed) or await self.replica.catch_up(to_the_end=True)):
            raise BrokenChainError("the log was rolled back behind what was folded") from None

    @property
    def _is_contended(self) -> bool:
        """Return whether other brokers wrote so lately that an append is likely to conflict."""
        return self._is_shared and self._clock.now_ms() < self._contended_until_ms

    def _on_foreign_commits(self) -> None:
        if self._is_contended:
            self._contended_until_ms = self._clock.now_ms() + CONTENDED_MS
        self.on_foreign_commits()

    async def _is_at_tip(self, batch: Sequence[PendingCommand]) -> bool:
        """Confirm that the log ends where `batch` was decided; if not, fold the rest.

        Raises:
            BrokenChainError: the log is not what it was.
            LogUnavailableError: it does not answer, and no caller is left.
        """
        while True:
            try:
                if await self.replica.is_at_tip():
                    return True
                await self.replica.catch_up()
                return False
            except LogUnavailableError:
                if _are_answered(batch):
                    raise
                await sleep_until(self._clock, self._clock.now_ms() + RETRY_MS)

    def _drafted(self, batch: Sequence[PendingCommand]) -> Batch:
        """Return the decisions on `batch` at this moment, by one reading of the clock."""
        decided = Batch(self.state)
        decided.decide_all(batch, self.time_ms(), self.overdue)
        return decided

    def _watch(self, at_ms: float) -> None:
        self._watchdog = self._clock.call_at(at_ms, self._give_up_on_late)

    def _give_up_on_late(self) -> None:
        """Answer `unavailable` to each command past its deadline."""
        now_ms = self._clock.now_ms()
        for submitted in (*self._in_flight, *self._pending):
            if submitted.deadline_ms <= now_ms:
                submitted.resolve(Rejection("unavailable"))
        self._watch(now_ms + RETRY_MS)


def _are_answered(batch: Sequence[PendingCommand]) -> bool:
    """Return whether no caller waits for an answer any more."""
    return all(submitted.answer.done() for submitted in batch)


def _run_at_once(work: Coroutine[None, None, None]) -> None:
    """Run `work` to its end. It never waits, and a task would take two more turns of the event loop."""
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise RuntimeError("a log that never waits has waited")
