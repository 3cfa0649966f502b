"""The broker: the one object that a front end holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from broker.batch import CommandAnswer
from broker.clock import SYSTEM_ENTROPY, Clock, RandomBytes
from broker.decide import Rejection
from broker.delivery_log import DeliveryLog
from broker.hub import Hub
from broker.match_timeouts import MatchTimeouts
from broker.metrics import Metrics
from broker.mint_limit import MintLimiter
from broker.presence import Presence
from broker.reads import Page, newest_page, page_after
from broker.retention import Redaction
from broker.streams import Streams
from broker.waits import Waits
from broker.writer import LogWriter
from events.commands import Command, Disconnect
from events.ids import HANDLE_BYTES, POSITION_MAX, ConnectionId, Handle, Position, connection_id_of, handle_from
from events.log import DeliveredBy, EventLog, LogUnavailableError
from events.policy import Policy
from projections.state import State

APPENDING_MS = 1_500
"""The longest wait of `close` for an append. With all else to end, the process is gone within five seconds."""


ABANDON_MS = 2_000


class Broker:
    """A log, its writer, and the observers of each commit.

    Create it inside a running event loop, `start` it, and `close` it once its front end no longer uses it.
    """

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        *,
        keep_commits: int | None = None,
        random_bytes: RandomBytes = SYSTEM_ENTROPY,
    ) -> None:
        """`keep_commits`: see `LogWriter`; `random_bytes`: the source of handles, room ids and salts."""
        self.log = log
        self.clock = clock
        self.writer = LogWriter(log, clock, keep_commits=keep_commits, random_bytes=random_bytes)
        self.hub = Hub(clock)
        self.presence = Presence(clock, lambda: self.state)
        self.metrics = Metrics(lambda: self.state, lambda: len(asyncio.all_tasks()))
        self.ready = False
        self.draining = False
        self.delivery_log = DeliveryLog(log, clock)
        self.streams = Streams(
            clock, self.hub, self.presence, self.metrics, self.delivery_log, lambda: self.state.policy
        )
        self.waits = Waits(clock, self.hub, lambda: self.state, self.page)
        self.random_bytes = random_bytes
        self._minting = MintLimiter(clock)
        self._match_timeouts = MatchTimeouts(clock, self.writer.time_ms, lambda: self.state, self.writer.submit)
        self._tasks: set[asyncio.Task[object]] = set()
        self.writer.overdue = self.presence.overdue
        self.writer.on_append = self.metrics.appended
        self.writer.replica.on_log_truncated = self._on_log_truncated
        self.writer.on_foreign_commits = self.presence.on_foreign_commits
        self.writer.replica.observers = [
            self.metrics.committed,
            self.presence.observe,
            self._match_timeouts.observe,
            self.hub.announce,
        ]
        self.hub.on_delivery = self.metrics.delivered
        self.presence.on_absent = lambda command: self.in_background(self.submit(command))

    @property
    def state(self) -> State:
        """Return the state of the replica; it is immutable."""
        return self.writer.replica.state

    @property
    def policy(self) -> Policy:
        """Return the limits and graces in force."""
        return self.writer.replica.state.policy

    async def start(self, policy: Policy, *, redact_after_ms: int | None = None) -> None:
        """Fold the log and take up `policy`; ready afterwards.

        `redact_after_ms`: the time from the end of a room to the redaction of its texts; `None` keeps them.

        Raises:
            BrokenChainError: the log is not what it was.
            UnusableLogError: it can't be read.
            LogUnavailableError: it does not answer.
        """
        await self.writer.start(policy)
        self._start_over()
        if redact_after_ms is not None:
            self.in_background(Redaction(self.log, self.clock, redact_after_ms).run())
        self.ready = not self.draining

    def _start_over(self) -> None:
        """Treat every connection in the queue or a room as present, and schedule the match timeouts."""
        self.presence.start()
        self._match_timeouts.start()
        self.hub.wake_all()

    def _on_log_truncated(self) -> None:
        """End the streams, so their clients catch up by cursor: trimmed commits were not announced."""
        self._start_over()
        self.streams.end_open()

    def drain(self) -> None:
        """Take no more calls; end every wait and every stream with what it has."""
        self.ready = False
        self.draining = True
        self.waits.drain()
        self.streams.end_all()

    async def close(self) -> None:
        """Finish the append in progress, for at most `APPENDING_MS`, and close the log."""
        self.drain()
        self.presence.stop()
        self._match_timeouts.stop()
        await self.writer.stop(APPENDING_MS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.delivery_log.close()
        await self.log.close()

    def mint(self, peer: str, handle: Handle | None = None) -> Handle | Rejection:
        """Return `handle`, or one never used before; a refusal if `peer` has asked for too many."""
        retry_after_ms = self._minting.use(peer, self.policy)
        if retry_after_ms:
            return self._refused(Rejection("rate_limited", retry_after_ms))
        return handle if handle is not None else handle_from(self.random_bytes(HANDLE_BYTES))

    async def confirm(self, position: Position | None = None) -> None:
        """Wait until the state is at `position` at least, or at the log's tip; see `Replica.caught_up`.

        Raises:
            LogUnavailableError: the log does not answer in time.
        """
        if not await self.caught_up(position):
            raise LogUnavailableError("the log does not answer, so nothing that may be stale is said")

    def resolve(self, handle: str) -> ConnectionId | None:
        """Return the connection of `handle`, if it is known."""
        connection_id = connection_id_of(handle)
        return connection_id if self.knows(connection_id) else None

    def knows(self, connection_id: ConnectionId) -> bool:
        """Return whether that connection is known (still)."""
        return self.state.connections.get(connection_id) is not None

    async def is_known(self, connection_id: ConnectionId) -> bool:
        """Return whether that connection is known; if not, look again at the log's tip.

        Raises:
            LogUnavailableError: the log does not answer in time.
        """
        if not self.knows(connection_id):
            await self.confirm()
        return self.knows(connection_id)

    async def caught_up(self, position: Position | None = None) -> bool:
        """Return once the state is at `position` at least, or at the log's tip; see `Replica.caught_up`."""
        return await self.writer.replica.caught_up(position)

    async def submit(self, command: Command) -> CommandAnswer:
        """Carry out `command`; see `LogWriter.submit`."""
        answer = await self.writer.submit(command)
        return self._refused(answer) if isinstance(answer, Rejection) else answer

    def record_page(self, connection_id: ConnectionId, page: Page, to: DeliveredBy) -> None:
        """Record that `page` is on its way to `connection_id`."""
        for event in page.events:
            self.delivery_log.record(event.params.cursor, connection_id, to)

    async def page(self, connection_id: ConnectionId, cursor: Position | None) -> Page:
        """Return a page of the notifications of `connection_id` after `cursor`; without a cursor, of the newest."""
        limit = self.policy.events_per_page_max
        if cursor is None:
            return await newest_page(self.log, self.state, connection_id, limit)
        return await page_after(self.log, self.state, connection_id, cursor, limit)

    def abandon(self, connection_id: ConnectionId) -> None:
        """Take `connection_id` out of wherever it is or is about to be: no client will ever hold its handle.

        The command is in line at once, so the connection is gone before a later newcomer is matched.
        """
        self.writer.enqueue(Disconnect(connection_id, "disconnected", since=POSITION_MAX))

    def abandon_unless_heard(self, connection_id: ConnectionId, is_heard: Callable[[], bool] = lambda: False) -> None:
        """Take `connection_id` out in two seconds, unless it is heard until then: its client may call again.

        `is_heard` is a caller's own evidence, asked at the end of that time.
        """
        abandoned_ms = self.clock.now_ms()

        def look() -> None:
            if not (is_heard() or self.presence.is_heard_since(connection_id, abandoned_ms)):
                self.abandon(connection_id)

        self.clock.call_at(abandoned_ms + ABANDON_MS, look)

    async def has_given(self, cursor: Position) -> bool:
        """Return whether this log can have given `cursor`: none is above its tip.

        Raises:
            LogUnavailableError: the log does not answer in time.
        """
        await self.confirm(cursor)
        return 0 <= cursor <= self.state.position

    def _refused(self, rejection: Rejection) -> Rejection:
        self.metrics.rejected(rejection.code)
        return rejection

    def in_background(self, work: Awaitable[object]) -> None:
        """Let `work` run on its own; it is cancelled when the broker closes."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
