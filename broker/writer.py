"""Where a command becomes a commit: decide, append, evolve, announce.

One flush runs at a time. It takes every command that waits, decides one after the other against the state that
the ones before it lead to, and appends all their commits in one batch (group commit); what arrives meanwhile
makes the next batch, so an idle broker adds no delay. Over a log in memory there is nothing to wait for, and each
command is carried out in the turn in which it comes. Only once the batch is stored does the state move, are the
commits announced, in order, and the commands answered, in the order in which they were committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Protocol

import structlog

from broker.batch import Answer, Batch, PendingCommand
from broker.clock import SYSTEM_ENTROPY, Clock, CommitClock, RandomBytes, Timer, sleep_until
from broker.compaction import SnapshotKeeper, read_next_page
from broker.decide import Rejection
from events.commands import AdoptPolicy, Command, Disconnect
from events.commit import BrokenChainError, Commit, check_link
from events.ids import Position
from events.log import Conflict, EventLog, LogUnavailableError, Snapshot
from events.memory import MemoryLog
from events.policy import Policy
from projections.state import INITIAL_STATE, State, evolve

logger = structlog.get_logger(__name__)

RETRY_MS = 50
FOLLOW_AGAIN_MS = 1_000


class Observer(Protocol):
    """Is told of every commit once it is stored and folded; must not block and must not raise."""

    def __call__(self, commit: Commit, state: State) -> None:
        """`state` is the one right after `commit`."""
        ...


class LogWriter:
    """The one writer of a broker. Create it inside a running event loop, then `start` it.

    A submitted command belongs to the runtime: cancelling whoever waits for its answer cancels nothing.
    """

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        *,
        keep_commits: int | None = None,
        shared: bool = False,
        random_bytes: RandomBytes = SYSTEM_ENTROPY,
    ) -> None:
        """`keep_commits`: at how many commits `log` is compacted to half of them; `None` keeps all.

        `shared`: others write `log` too, and what they write is followed; else it is found when an append conflicts.
        """
        self.state = INITIAL_STATE
        self.observers: list[Observer] = []
        self.overdue: Callable[[], Iterable[Disconnect]] = tuple
        """Who has to go before anyone is matched, by this moment's reading of the clock."""
        self.on_append: Callable[[float], None] = lambda duration_ms: None
        self.on_log_truncated: Callable[[], None] = lambda: None
        """The state has moved over commits that are gone, and that nobody was told of."""
        self.on_foreign_commits: Callable[[], None] = lambda: None
        """Where the log is shared: another has written, and that was folded."""
        self._log = log
        self._never_waits = type(log) is MemoryLog  # of one that derives from it, or stands before it, nothing is known
        self._clock = clock
        self._commit_clock = CommitClock(clock)
        self._shared = shared
        self._random_bytes = random_bytes
        self._checkpoints = SnapshotKeeper(log, keep_commits)
        self._pending: list[PendingCommand] = []
        self._in_flight: list[PendingCommand] = []
        self._is_flushing = False
        self._flushing: asyncio.Task[None] | None = None  # where the log may have to be waited for
        self._watchdog: Timer | None = None
        self._behind = False  # an append was given up, which may have landed
        self._truncations = 0
        self._heard_of: Position = 0  # where the log was seen to go on, if it is followed
        self._following: asyncio.Task[None] | None = None

    async def start(self, policy: Policy) -> None:
        """Fold what the log holds, and adopt `policy` if the log's is another.

        Raises:
            BrokenChainError: the log is not what it was.
            UnusableLogError: it can't be read.
            LogUnavailableError: `policy` could not be stored in time.
        """
        snapshot = await self._log.newest_snapshot()
        folding = (snapshot.state if snapshot is not None else INITIAL_STATE).mutate()
        self._checkpoints.start_at(folding.position)
        while found := await read_next_page(self._log, folding.position):
            if isinstance(found, Snapshot):
                folding = found.state.mutate()
            else:
                folding.fold_checked(found)
        self.state = folding.finish()
        tip = await self._log.tip()
        if tip.position < self.state.position:
            raise BrokenChainError(
                f"a snapshot says that it went on to position {self.state.position}, and it ends at {tip.position}"
            )
        if isinstance(await self.submit(AdoptPolicy(policy)), Rejection):
            raise LogUnavailableError("the log does not answer, so the policy can't be stored")
        if self._shared:
            self._following = asyncio.get_running_loop().create_task(self._follow())

    async def submit(self, command: Command) -> Answer:
        """Carry out `command`; the answer stands on stored commits alone.

        `unavailable` says that the log did not answer in time: the command may yet be carried out.
        """
        return await self.enqueue(command)

    def enqueue(self, command: Command) -> asyncio.Future[Answer]:
        """Put `command` in line at once: it is decided after all that stand there, before all that come.

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
        """Return once nothing is being appended, or after `within_ms`: then those who wait are told `unavailable`."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})
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
        self._checkpoints.stop()

    async def _follow(self) -> None:
        """See what others append, and have it folded though nothing is asked of this broker."""
        while True:
            try:
                async for commit in self._log.follow(self.state.position):
                    self._heard_of = commit.position
                    if self._has_more:
                        self._start_flushing()
                return
            except LogUnavailableError as error:
                logger.warning("following_put_off", reason=str(error))
            await sleep_until(self._clock, self._clock.now_ms() + FOLLOW_AGAIN_MS)

    @property
    def _has_more(self) -> bool:
        """Whether the log is known to go on behind the state."""
        return self._heard_of > self.state.position

    def _start_flushing(self) -> None:
        """See that what waits is carried out; before this returns, if the log never has to be waited for."""
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
            while self._pending or self._has_more:
                self._in_flight, self._pending = self._pending, []
                await self._carry_out(self._in_flight)
                if self._behind and self._has_more and not self._pending:
                    await sleep_until(self._clock, self._clock.now_ms() + RETRY_MS)
        finally:
            if self._watchdog is not None:
                self._watchdog.cancel()
                self._watchdog = None
            self._in_flight = []
            self._is_flushing, self._flushing = False, None

    async def _carry_out(self, batch: Sequence[PendingCommand]) -> None:
        try:
            if self._behind or self._has_more:
                await self._catch_up()
                self._behind = False
            draft = await self._stored(batch)
            for state, commit in draft.steps:
                self.state = state
                assert commit is not None
                self._announce(commit, state)
            for submitted, answer in draft.answers:
                submitted.resolve(answer)
            await self._checkpoints.on_committed(self.state)
        except LogUnavailableError as error:
            self._give_up(batch)
            logger.error("log_unavailable", commands=len(batch), reason=str(error))
        except Exception as fault:
            self._give_up(batch)
            self._heard_of = 0  # what can't be folded is looked at again when somebody asks for something
            logger.error("batch_failed", commands=len(batch), fault=type(fault).__name__, exc_info=fault)

    def _give_up(self, batch: Sequence[PendingCommand]) -> None:
        """What was being appended may have landed: before the next batch, look."""
        self._behind = True
        for submitted in batch:
            submitted.resolve(Rejection("unavailable"))

    async def _stored(self, batch: Sequence[PendingCommand]) -> Batch:
        """Decide `batch` until what it leads to is stored, or no caller is left to answer."""
        draft, jumps, may_have_landed = self._drafted(batch), self._truncations, False
        while draft.commits:
            started_ms = self._clock.now_ms()
            try:
                await self._log.append(draft.commits, expected=self.state.tip)
            except Conflict:
                if not await self._catch_up():
                    raise BrokenChainError("the log was rolled back behind what was folded") from None
                if may_have_landed and self._truncations > jumps:
                    raise LogUnavailableError("what was appended may stand among what was trimmed since") from None
                if all(submitted.answer.done() for submitted in batch):
                    return Batch(self.state)  # they were told `unavailable`
                draft, may_have_landed = self._drafted(batch), False
            except LogUnavailableError:
                # The append may have landed. The same commits again are answered as done if it has.
                may_have_landed = True
                if all(submitted.answer.done() for submitted in batch):
                    raise
                await sleep_until(self._clock, self._clock.now_ms() + RETRY_MS)
            else:
                self.on_append(self._clock.now_ms() - started_ms)
                break
        return draft

    def _drafted(self, batch: Sequence[PendingCommand]) -> Batch:
        """What `batch` leads to at this moment, by one look at the clock."""
        draft = Batch(self.state)
        draft.decide_all(batch, self.time_ms(), self.overdue)
        return draft

    async def _catch_up(self) -> bool:
        """Fold and announce what has been appended since; whether there was anything."""
        before = self.state
        while found := await read_next_page(self._log, self.state.position):
            if isinstance(found, Snapshot):
                self.state = found.state
                self._truncations += 1
                self.on_log_truncated()
                continue
            for commit in found:
                check_link(self.state.tip, commit)
                self.state = evolve(self.state, commit)
                self._announce(commit, self.state)
        if self._shared and self.state is not before:
            self.on_foreign_commits()
        return self.state is not before

    def _announce(self, commit: Commit, state: State) -> None:
        for observer in self.observers:
            observer(commit, state)

    def _watch(self, at_ms: float) -> None:
        self._watchdog = self._clock.call_at(at_ms, self._give_up_on_late)

    def _give_up_on_late(self) -> None:
        """Answer `unavailable` to every command whose deadline passes while the log is silent."""
        now_ms = self._clock.now_ms()
        for submitted in (*self._in_flight, *self._pending):
            if submitted.deadline_ms <= now_ms:
                submitted.resolve(Rejection("unavailable"))
        self._watch(now_ms + RETRY_MS)


def _run_at_once(work: Coroutine[None, None, None]) -> None:
    """Run `work`, which never waits, to its end: a task for it would take two more turns of the event loop."""
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise RuntimeError("a log that never waits has waited")
