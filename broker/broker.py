"""The broker as one thing: what a front end holds, and the only door to everything behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from broker.batch import Answer
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
from broker.waits import Wait
from broker.writer import LogWriter
from events.commands import Command, Disconnect
from events.ids import HANDLE_BYTES, POSITION_MAX, ConnectionId, Handle, Position, connection_id_of, handle_from
from events.log import DeliveredBy, EventLog
from events.policy import Policy
from projections.state import State

APPENDING_MS = 1_500
"""How long the end waits for an append: with all else that has to end, the process is gone within five seconds."""


class Broker:
    """A log, the runtime that writes it, and those who must know what was written.

    Create it inside a running event loop, `start` it, and `close` it when its front end has let go.
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
        """`keep_commits`, `shared`: see `LogWriter`; `random_bytes` is where handles, room ids and salts come from."""
        self.log = log
        self.clock = clock
        self.runtime = LogWriter(log, clock, keep_commits=keep_commits, shared=shared, random_bytes=random_bytes)
        self.notifier = Hub(clock)
        self.presence = Presence(clock, lambda: self.state)
        self.metrics = Metrics(lambda: self.state, lambda: len(asyncio.all_tasks()))
        self.ready = False
        self.draining = False
        self.on_gap: Callable[[], None] = lambda: None
        """Commits are gone of which nobody was told: what is heard as it happens has a gap."""
        self.delivery_records = DeliveryLog(log, clock, self.in_background)
        self._random_bytes = random_bytes
        self._minting = MintLimiter(clock)
        self._patience = MatchTimeouts(clock, self.runtime.time_ms, lambda: self.state, self.runtime.submit)
        self._tasks: set[asyncio.Task[object]] = set()
        self.runtime.overdue = self.presence.overdue
        self.runtime.on_append = self.metrics.appended
        self.runtime.on_log_truncated = self._on_log_truncated
        self.runtime.on_foreign_commits = self.presence.on_foreign_commits
        self.runtime.observers = [
            self.metrics.committed,
            self.presence.observe,
            self._patience.observe,
            self.notifier.announce,
        ]
        self.notifier.on_delivery = self.metrics.delivered
        self.presence.on_absent = lambda command: self.in_background(self.submit(command))

    @property
    def state(self) -> State:
        """What is known right now; immutable, so it can be kept."""
        return self.runtime.state

    @property
    def policy(self) -> Policy:
        """The limits and graces in force."""
        return self.runtime.state.policy

    async def start(self, policy: Policy, *, redact_after_ms: int | None = None) -> None:
        """Fold the log and take up `policy`; ready afterwards.

        `redact_after_ms`: how long after its room closed a text goes from the log; `None` keeps them.

        Raises:
            BrokenChainError: the log is not what it was.
            UnusableLogError: it can't be read.
            LogUnavailableError: it does not answer.
        """
        await self.runtime.start(policy)
        self._start_over()
        if redact_after_ms is not None:
            self.in_background(Redaction(self.log, self.clock, redact_after_ms).run())
        self.ready = not self.draining

    def _start_over(self) -> None:
        """Whoever waits or chats is taken to be there, and may be due."""
        self.presence.start()
        self._patience.start()
        self.notifier.wake_all()

    def _on_log_truncated(self) -> None:
        """Whoever listens has to look for what is left; a wait does so by itself."""
        self._start_over()
        self.on_gap()

    def drain(self) -> None:
        """Take no more calls, and let every wait end with what it has."""
        self.ready = False
        self.draining = True
        self.notifier.wake_all()

    async def close(self) -> None:
        """Finish what is being appended, unless that takes too long, and let go of the log."""
        self.drain()
        self.presence.stop()
        self._patience.stop()
        await self.runtime.stop(APPENDING_MS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.delivery_records.close()
        await self.log.close()

    def mint(self, peer: str) -> Handle | Rejection:
        """A handle that nobody has had, unless `peer` has asked for too many."""
        retry_after_ms = self._minting.use(peer, self.policy)
        if retry_after_ms:
            return self._refused(Rejection("rate_limited", retry_after_ms))
        return handle_from(self._random_bytes(HANDLE_BYTES))

    def resolve(self, handle: str) -> ConnectionId | None:
        """Whose handle it is, if its connection is known."""
        connection_id = connection_id_of(handle)
        return connection_id if self.knows(connection_id) else None

    def knows(self, connection_id: ConnectionId) -> bool:
        """Whether that connection is known (still)."""
        return self.state.connections.get(connection_id) is not None

    async def submit(self, command: Command) -> Answer:
        """Carry out `command`; see `LogWriter.submit`."""
        answer = await self.runtime.submit(command)
        return self._refused(answer) if isinstance(answer, Rejection) else answer

    def given(self, connection_id: ConnectionId, page: Page, to: DeliveredBy) -> None:
        """`page` is on its way to `connection_id`."""
        for event in page.events:
            self.delivery_records.note(event.params.cursor, connection_id, to)

    async def page(self, connection_id: ConnectionId, cursor: Position | None) -> Page:
        """What `connection_id` was told after `cursor`, or the newest of it; a page at the most."""
        limit = self.policy.events_per_page_max
        if cursor is None:
            return await newest_page(self.log, self.state, connection_id, limit)
        return await page_after(self.log, self.state, connection_id, cursor, limit)

    def wait(self, connection_id: ConnectionId, cursor: Position, wait_ms: int) -> Wait:
        """A wait for something to stand after `cursor`."""
        return Wait(self, connection_id, cursor, wait_ms)

    def abandon(self, connection_id: ConnectionId) -> None:
        """Nobody will ever hold the handle of `connection_id`: take it out of wherever it is, or is about to be.

        In line at once, so that it is gone before anyone who comes now is matched.
        """
        self.runtime.enqueue(Disconnect(connection_id, "disconnected", since=POSITION_MAX))

    def may_wait(self, connection_id: ConnectionId) -> bool:
        """Whether one more call of `connection_id` may wait."""
        return self.notifier.waits_of(connection_id) < self.policy.waits_per_connection_max

    def has_given(self, cursor: Position) -> bool:
        """Whether `cursor` can be one that this log has given: none is above its tip."""
        return 0 <= cursor <= self.state.position

    def _refused(self, rejection: Rejection) -> Rejection:
        self.metrics.rejected(rejection.code)
        return rejection

    def in_background(self, work: Awaitable[object]) -> None:
        """Let `work` run on its own; it is cancelled when the broker closes."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
