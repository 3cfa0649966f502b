"""The ordered log: the guarantees of every backend.

Compare-and-append is the only coordination. A writer names the tip of its fold, and the store refuses any other. So
several brokers can share a log, and none can decide on a state that another has changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from events.commit import Commit, Tip
from events.coordination import Coordination
from events.ids import ConnectionId, Position
from events.session_records import SessionRecords

MISSED_COMMITS_MAX = 256
"""The most commits that a conflict or a turn brings; the rest is read."""

TURN_MS = 100
"""The longest wait for a turn, and the longest time to hold one."""


class Conflict(Exception):  # noqa: N818 - the field's name for it
    """The log's tip is not the expected one; nothing was stored."""

    def __init__(self, missed: Sequence[Commit] = ()) -> None:
        """Take the next commits after the expected tip, in order; `missed` may hold only the first of them."""
        super().__init__()
        self.missed = missed


class LogUnavailableError(Exception):
    """The store did not answer. Read the log to learn whether an append landed."""


class LogRolledBackError(Exception):
    """The log is not the one that was folded: it has become shorter, or another commit stands at a folded position.

    A failover to a replica that lacked commits, a restored backup or a wiped store does this. The text is one line with
    both tips.
    """


class UnusableLogError(Exception):
    """A stored log can't be opened or read. The text is one line with the fault and the remedy.

    Nothing was written to it.
    """


class Snapshot(msgspec.Struct, frozen=True):
    """The state after the commit `tip`; a start from it needs no commit before."""

    tip: Tip
    state: Any  # the fold's own type, opaque to a log


class StateCodec(Protocol):
    """The encoding of states for a log that outlives its process. The log itself knows nothing of states."""

    def encode(self, state: Any) -> Iterator[bytes]:
        """Return `state` as lines of JSON, without their ends. Each is short work, so that other tasks get a turn."""
        ...

    def decode(self, lines: Iterable[bytes]) -> Any:
        """Return the state that `encode` made `lines` from, at any version up to the present.

        Raises:
            UnreadableSnapshotError: they are damaged, or newer than this program.
        """
        ...


class UnreadableSnapshotError(Exception):
    """Stored bytes are no state of a known version."""


DeliveredBy = Literal["get", "listen", "result", "inbox"]
"""The way of a notification to its connection: a stream of either era, a tool's result, or a read of the inbox."""


class DeliveryRecord(NamedTuple):
    """A notification was delivered. A record for debugging, not part of the log's chain."""

    position: Position
    connection_id: ConnectionId
    to: DeliveredBy
    at_ms: int  # Unix time


OperationKind = Literal["started", "running", "stopped", "refused", "log_unavailable", "log_available"]
"""`started` and `stopped` are a broker's start and its orderly end; the last two, its log's end and return.

`running` is the newest sign of life of one of several brokers, in the place of the one before.
"""

RUNNING_EVERY_MS = 10_000
"""The time between two signs of life of a broker with others beside it."""


class OperationRecord(NamedTuple):
    """Something about a broker's running that made no commit. A record for debugging, not part of the log's chain."""

    kind: OperationKind
    at_ms: int  # Unix time
    after: Position  # the last commit that the broker knew then
    connection_id: ConnectionId | None = None  # of a refusal, as all that follow; `None` if it is not known
    command: str | None = None  # its tag, or the tool that was refused before there was one
    code: str | None = None
    times: int = 1  # refusals that it stands for; more than one only if they are not told apart
    broker: str = ""  # tells the brokers of a shared log apart; another at each start


class EventLog(Protocol):
    """An append-only, totally ordered sequence of commits.

    Order: positions run from 1 without a gap. Atomicity: an append stores all of its commits or none. Durability:
    stated by each backend.
    """

    @property
    def epoch(self) -> str:
        """The identity of this log's lifetime, without a dot; a wiped log has a new one."""
        ...

    @property
    def is_shared(self) -> bool:
        """True if other brokers write this log too. It never changes."""
        ...

    @property
    def survives(self) -> str:
        """What an acknowledged commit survives, as the store is set up; words for an operator's log line."""
        ...

    @property
    def coordination(self) -> Coordination | None:
        """Return what the brokers of a shared log have in common beside it; `None` if the log is not shared."""
        ...

    @property
    def is_contended(self) -> bool:
        """True if the last append was made without a turn while another writer had one; see `turn`."""
        ...

    @property
    def never_waits(self) -> bool:
        """True if `append`, `read` and `compact` return without ever suspending. It never changes."""
        ...

    @property
    def keeps_delivery_records(self) -> bool:
        """True if `record` may store delivery records. It never changes."""
        ...

    @property
    def keeps_operation_records(self) -> bool:
        """True if `record` may store operation records. It never changes."""
        ...

    @property
    def base(self) -> Tip:
        """The last commit replaced by a snapshot; `EMPTY_TIP` if all commits are there.

        It may move at any time, if another process trims the log.
        """
        ...

    async def append(self, commits: Sequence[Commit], *, expected: Tip) -> Tip:
        """Store `commits` after `expected`, and return the new tip.

        An append with the same commit ids at the same positions has landed already, and counts as done.

        Raises:
            Conflict: the tip is another; nothing was stored.
            LogRolledBackError: the store has lost `expected`; nothing was stored. Only a shared log raises it.
            LogUnavailableError: the store did not answer; the append may have landed.
        """
        ...

    async def read(self, after: Position, limit: int) -> Sequence[Commit]:
        """Return up to `limit` commits after position `after`, in order; from the base on, if `after` is below it.

        Raises:
            LogUnavailableError: the store did not answer.
        """
        ...

    def follow(self, after: Position) -> AsyncIterator[Commit]:
        """Return each commit after `after`, in order, exactly once; waits at the tip for the next."""
        ...

    async def tip(self) -> Tip:
        """Return the last commit's position and id at a moment between call and answer.

        Raises:
            LogUnavailableError: the store did not answer.
        """
        ...

    def turn(self, after: Position) -> AbstractAsyncContextManager[Sequence[Commit]]:
        """Wait in line to write; yield the next commits after `after`, `MISSED_COMMITS_MAX` at most.

        Turns are advisory: an append without one is as safe, but may make the holder conflict. A quick writer that
        never conflicts would keep the others waiting for ever, so it asks for turns too once `is_contended` is true.

        Order: first come, first served. A turn ends with its context, with the holder's next append, or `TURN_MS` after
        it began. Yield nothing if no turn came within `TURN_MS` or if the store does not answer. Never raise. A log
        that is not shared has no turns.
        """
        ...

    async def newest_snapshot(self) -> Snapshot | None:
        """Return the newest snapshot, at or above the base, as the start of a fold; `None` means position 0.

        Raises:
            UnusableLogError: commits are trimmed, and the snapshot in their place can't be read.
        """
        ...

    async def save(self, snapshot: Snapshot) -> None:
        """Keep `snapshot` for later starts. It may be lost, or dropped for a newer one, without harm."""
        ...

    async def compact(self, snapshot: Snapshot) -> None:
        """Replace every commit up to the tip of `snapshot` by it.

        One at or below the present base changes nothing.

        Raises:
            LogUnavailableError: the store did not answer; a retry does no harm.
        """
        ...

    @property
    def session_records(self) -> SessionRecords:
        """Return what is kept beside the log for the sessions of its brokers."""
        ...

    @property
    def redacted_to(self) -> Position:
        """The highest `done_to` given to `redact`, as of the last call; 0 at first."""
        ...

    async def redact(self, positions: Sequence[Position], *, done_to: Position, snapshots_before: Position = 0) -> None:
        """Remove the texts of the commits at `positions` for good, and store `done_to` once all of them are gone.

        A trimmed commit or one without a text is skipped. The chain holds: see `events.commit.redact`. The snapshots
        below `snapshots_before` are dropped, except for the base: they may hold names that are removed.

        Raises:
            LogUnavailableError: the store did not answer. Some texts may be gone; a retry does the rest.
        """
        ...

    async def record(
        self, delivery_records: Sequence[DeliveryRecord], operation_records: Sequence[OperationRecord] = ()
    ) -> None:
        """Keep both kinds beside the log, as far as the backend can; never an error, and they may be lost.

        Where both kinds are kept, those of one call are kept all or none.
        """
        ...

    async def probe(self) -> None:
        """Return if an append would be stored now, as far as can be tried; no commit is made.

        Raises:
            LogUnavailableError: it would not be; it may be later. The text says why, and does not name the log.
            UnusableLogError: the same, of a damaged log.
        """
        ...

    async def close(self) -> None:
        """Release all resources; followers end."""
        ...
