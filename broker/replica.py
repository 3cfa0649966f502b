"""The state of one broker at a position of the log. Commits read, heard or appended are folded here.

A shared log is followed. Followed commits are kept as they arrive and folded between two batches, so each of them
crosses the network once. The log is read only if a conflict or a tip shows more than was heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TypeVar

from broker.clock import Clock, sleep_until
from broker.compaction import read_next_page
from broker.metrics import Metrics
from broker.outage_lines import OutageLines
from broker.questions import Questions, retrieve
from events.codec import UnreadableCommitError
from events.commands import Command, Disconnect
from events.commit import BrokenChainError, Commit, Tip, check_link
from events.ids import ConnectionId, Position
from events.log import EventLog, LogRolledBackError, LogUnavailableError, Snapshot, UnusableLogError
from projections.state import INITIAL_STATE, State, evolve
from projections.view import StateView

T = TypeVar("T")

FOLLOW_AGAIN_MS = 1_000
FOLLOWS_AFTER_MS = 15_000
"""A follower that has not failed for so long follows, even if it heard nothing. Each store notices an outage sooner."""

CATCH_UP_MS = 2_000
"""The longest wait for the log's tip, and for the commits up to there."""

FOLLOWED_COMMITS_MAX = 1_000
"""At so many followed commits not folded yet, following pauses."""

LOG_FAULTS = (BrokenChainError, LogRolledBackError, UnreadableCommitError, UnusableLogError)
"""Errors after which no commit of a log can be folded any more."""


class LogObserver:
    """Hears of commits, and names the absent connections; this one does neither. No method may block or raise."""

    def committed(self, commit: Commit, state: State) -> None:
        """Hear of the stored `commit`; `state` is the one right after it."""

    def overdue(self) -> Iterable[Disconnect]:
        """Return the commands that take out absent connections, to be decided before any matching."""
        return ()

    def to_avoid(self, state: StateView, who: ConnectionId) -> tuple[ConnectionId, ...]:
        """Return the waiting connections of `state` that a seeker should not meet, for reasons outside the log."""
        return ()

    def command_refused(self, command: Command, code: str) -> None:
        """Hear that a client's command was refused."""

    def append_stored(self) -> None:
        """Hear that the log has stored a batch of this broker."""

    def append_failed(self, *, is_given_up: bool = False) -> None:
        """Hear that an append failed, and with `is_given_up` that its commands were answered `unavailable`."""

    def log_failed(self, fault: Exception) -> None:
        """Hear of a fault of `LOG_FAULTS` in a shared log: this broker can't follow it any more."""

    def log_truncated(self) -> None:
        """Hear that the state has moved over trimmed commits, which were not announced."""


class Replica:
    """The state, and the ways for commits to reach it. Only the writer lets it fold, one task at a time."""

    def __init__(
        self, log: EventLog, clock: Clock, metrics: Metrics, observer: LogObserver, on_heard: Callable[[], None]
    ) -> None:
        """`on_heard`: there is something to fold."""
        self.state = INITIAL_STATE
        self.truncations = 0
        self.started_at: Position = 0
        """The position of the snapshot at the start, or 0."""
        self._log = log
        self._clock = clock
        self._metrics = metrics
        self._observer = observer
        self._on_heard = on_heard
        self._tips = Questions(lambda: within(clock, CATCH_UP_MS, log.tip()))
        self._heard: list[Commit] = []  # followed, not folded yet
        self._heard_to: Position = 0
        self._seen_to: Position = 0  # the log was seen to hold so much
        self._sought: str | None = None  # the id of a commit whose append was not answered
        self._has_come = False
        self._is_folded = False
        self._moved = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self._follow_outage = OutageLines(clock, "following_put_off", "following_resumed")

    async def start(self) -> None:
        """Fold the contents of the log; a second start goes on where the first has got to.

        Raises:
            BrokenChainError: the log's past has changed.
            UnusableLogError: it can't be read.
            LogUnavailableError: it does not answer.
        """
        if self._is_folded:
            return
        snapshot = await self._log.newest_snapshot()
        folding = (snapshot.state if snapshot is not None else INITIAL_STATE).mutate()
        self.started_at = folding.position
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
        self._is_folded = True

    def follow(self) -> None:
        """Begin to hear other brokers' commits, if the log is shared."""
        if self._log.is_shared:
            self._following = asyncio.get_running_loop().create_task(self._follow())

    async def stop_following(self) -> None:
        """Hear no more."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})

    async def stop(self) -> None:
        """Ask no more; cancel the callers waiting for an answer."""
        await self._tips.stop()

    async def _follow(self) -> None:
        while True:
            began_ms = self._clock.now_ms()
            follows = partial(self._follow_outage.succeeded, began_ms)
            timer = self._clock.call_at(began_ms + FOLLOWS_AFTER_MS, follows)
            try:
                async for commit in self._log.follow(max(self.state.position, self._heard_to)):
                    follows()
                    await self._hear(commit)
                return
            except LogUnavailableError as error:
                self._follow_outage.failed(error)
            except LOG_FAULTS as fault:
                self._observer.log_failed(fault)
                return
            finally:
                timer.cancel()
            await sleep_until(self._clock, self._clock.now_ms() + FOLLOW_AGAIN_MS)

    async def _hear(self, commit: Commit) -> None:
        self._heard_to = commit.position
        if commit.position > self.state.position:
            self._heard.append(commit)
            self._on_heard()
        while len(self._heard) >= FOLLOWED_COMMITS_MAX:
            await self._until_moved()

    @property
    def is_behind(self) -> bool:
        """Return whether the log is known to go on after the state."""
        return self._seen_to > self.state.tip.position or bool(self._heard)

    def adopt(self, state: State, commit: Commit) -> None:
        """Take `state`, the one after the stored `commit`, and announce the commit."""
        self.state = state
        self._observer.committed(commit, state)
        self._moved.set()

    def seek(self, commit_id: str) -> None:
        """Look out for a commit among those that come by another way than its own append."""
        self._sought, self._has_come = commit_id, False

    @property
    def has_come(self) -> bool:
        """Return whether the sought commit was folded."""
        return self._has_come

    def fold(self, commits: Iterable[Commit] = ()) -> bool:
        """Fold and announce `commits` and all that was heard; return whether the state moved. Skip known commits.

        Raises:
            BrokenChainError: the log's past has changed.
        """
        heard, self._heard, before = self._heard, [], self.state
        wall_ms = self._clock.wall_ms() if self._log.is_shared else 0
        for commit in (*commits, *heard):
            if commit.position > self.state.position + 1:
                self._seen_to = max(self._seen_to, commit.position)  # the commits between have to be read
            elif commit.position == self.state.position + 1:
                check_link(self.state.tip, commit)
                self._has_come = self._has_come or commit.commit_id == self._sought
                self.adopt(evolve(self.state, commit), commit)
                if self._log.is_shared:
                    self._metrics.followed(wall_ms - commit.at_ms)
        self._moved.set()
        return self.state is not before

    async def catch_up(self, *, to_the_end: bool = False) -> bool:
        """Fold the log up to its known tip, or `to_the_end` up to its end; return whether the state moved.

        Raises:
            BrokenChainError: the log's past has changed.
            LogUnavailableError: it does not answer.
        """
        moved = self.fold()
        while to_the_end or self._seen_to > self.state.position:
            seen_to = self._seen_to  # it may grow during the read
            found = await read_next_page(self._log, self.state.position)
            if isinstance(found, Snapshot):
                self.state = found.state
                self.truncations += 1
                self._observer.log_truncated()
                moved = True
            moved |= self.fold(() if isinstance(found, Snapshot) else found)
            if not found and seen_to > self.state.position:
                raise BrokenChainError(f"the log held position {seen_to}, and ends at {self.state.position}")
            to_the_end = to_the_end and bool(found)
        return moved

    def forget_heard(self) -> None:
        """Drop what was heard and can't be folded; the next command reads the log again."""
        self._heard.clear()
        self._seen_to = 0
        self._moved.set()

    async def is_at_tip(self) -> bool:
        """Ask the log for its tip, and return whether the state is there.

        One question is under way at a time; callers that come meanwhile share the next.

        Raises:
            BrokenChainError: the log has become shorter, or ends with another commit.
            UnusableLogError: it can't be read any more.
            LogUnavailableError: the log does not answer, or not within `CATCH_UP_MS`.
        """
        tip = await self._tip()
        self._seen_to = max(self._seen_to, tip.position)
        return tip.position <= self.state.position

    async def _tip(self) -> Tip:
        """Ask the log for its tip.

        Raises:
            BrokenChainError: it can't be a tip of the log that was folded.
            UnusableLogError: the log can't be read any more.
            LogUnavailableError: the log does not answer.
        """
        known = self.state.position
        tip = await self._tips.ask()
        self.check_tip(tip, known)
        return tip

    def check_tip(self, tip: Tip, known: Position) -> None:
        """Check that the log that was folded may have `tip`, asked for when the state was at position `known`.

        Raises:
            BrokenChainError: it may not.
        """
        if tip.position < known:
            raise BrokenChainError(f"the log held position {known}, and ends at {tip.position}")
        if tip.position == self.state.position and tip != self.state.tip:
            raise BrokenChainError(f"the log ends with another commit at position {tip.position}")

    async def caught_up(self, position: Position | None = None) -> bool:
        """Return once the state is at `position` at least, or at the tip as of this call.

        Return False if the log does not answer within `CATCH_UP_MS`. An unshared log is asked nothing. Any
        number of callers at once cost one question to the log per round trip.
        """
        if not self._log.is_shared or (position is not None and position <= self.state.position):
            return True
        try:
            await within(self._clock, CATCH_UP_MS, self._reach(position))
        except LogUnavailableError:
            return position is not None and position <= self.state.position
        except LOG_FAULTS as fault:
            self._observer.log_failed(fault)
            return position is not None and position <= self.state.position
        return True

    async def confirm(self) -> None:
        """Return once the state is at the tip as of this call; see `caught_up`.

        Raises:
            LogUnavailableError: the log does not answer in time.
        """
        if self._log.is_shared and not await self.caught_up():
            raise LogUnavailableError("the log does not answer, so nothing that may be stale is said")

    async def _reach(self, position: Position | None) -> None:
        tip = await self._tip()
        target = tip.position if position is None else min(tip.position, position)
        if target > self.state.position:
            self._seen_to = max(self._seen_to, target)
            self._on_heard()
        while self.state.position < target:
            await self._until_moved()

    async def _until_moved(self) -> None:
        self._moved.clear()
        await self._moved.wait()


async def within(clock: Clock, within_ms: int, work: Awaitable[T]) -> T:
    """Await `work`, and cancel it after `within_ms`.

    Raises:
        LogUnavailableError: it took longer.
    """
    working = asyncio.ensure_future(work)
    working.add_done_callback(retrieve)  # it may fail in the moment in which the caller is cancelled

    def give_up() -> None:
        working.cancel()

    timer = clock.call_at(clock.now_ms() + within_ms, give_up)
    try:
        await asyncio.wait({working})
    finally:
        timer.cancel()
        working.cancel()
    if working.cancelled():
        raise LogUnavailableError("the log does not answer in time")
    return working.result()
