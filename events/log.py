"""The ordered log: what every backend promises.

Compare-and-append is the only coordination there is. A writer names the tip that it has folded, and the store
refuses any other; so several brokers can share a log, and none can act on a past that another has changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from events.commit import Commit, Tip
from events.ids import ConnectionId, Position


class Conflict(Exception):  # noqa: N818 - the field's name for it
    """The log's tip is not the one that the writer expected; nothing was stored."""


class LogUnavailableError(Exception):
    """The store did not answer. Whether an append landed is to be found out by reading."""


class UnusableLogError(Exception):
    """A stored log can't be opened or read on: its text is one line that says what is wrong and what to do.

    Nothing was written to it.
    """


class Snapshot(msgspec.Struct, frozen=True):
    """The state after the commit `tip`: a start needs no commit before it."""

    tip: Tip
    state: Any  # the fold's own type, opaque to a log


class StateCodec(Protocol):
    """How a log that outlives its process writes down states, of which it knows nothing."""

    def encode(self, state: Any) -> Iterator[bytes]:
        """`state` as lines of JSON, without their ends; each line is short work, so that others get their turn."""
        ...

    def decode(self, lines: Iterable[bytes]) -> Any:
        """The state that `encode` made `lines` from, at any version up to the present.

        Raises:
            UnreadableSnapshotError: they are damaged, or newer than this program.
        """
        ...


class UnreadableSnapshotError(Exception):
    """Stored bytes that are no state this program knows."""


DeliveredBy = Literal["get", "listen", "result", "inbox"]
"""How a notification reached its connection: a stream of either era, a tool's result, a reading of the inbox."""


class DeliveryRecord(NamedTuple):
    """A notification was handed over: for the one who debugs, and no part of the log's chain."""

    position: Position
    connection_id: ConnectionId
    to: DeliveredBy
    at_ms: int  # Unix time


class EventLog(Protocol):
    """An append-only, totally ordered sequence of commits.

    Order: positions run from 1 without a gap. Atomicity: an append stores all of its commits or none.
    Durability: what `append` has answered survives whatever the backend says it survives.
    """

    @property
    def epoch(self) -> str:
        """Identity of this log's lifetime, without a dot; a wiped log has a new one."""
        ...

    @property
    def base(self) -> Tip:
        """Up to where the commits are gone and a snapshot stands in for them; `EMPTY_TIP` where all are there.

        It may move at any time, if somebody else trims the log.
        """
        ...

    async def append(self, commits: Sequence[Commit], *, expected: Tip) -> Tip:
        """Store `commits` behind `expected`, and answer the new tip.

        The same commit ids at the same positions are an append that had landed: answered as done.

        Raises:
            Conflict: the tip is another; nothing was stored.
            LogUnavailableError: the store did not answer; the append may have landed.
        """
        ...

    async def read(self, after: Position, limit: int) -> Sequence[Commit]:
        """Up to `limit` commits behind position `after`, in order; from the base on, where `after` is below.

        Raises:
            LogUnavailableError: the store did not answer.
        """
        ...

    def follow(self, after: Position) -> AsyncIterator[Commit]:
        """Each commit behind `after`, in order, exactly once; waits at the tip for the next."""
        ...

    async def tip(self) -> Tip:
        """The last commit's position and id."""
        ...

    async def newest_snapshot(self) -> Snapshot | None:
        """The best place to start folding: the newest snapshot there is, at or above the base; `None` is position 0.

        Raises:
            UnusableLogError: commits are gone, and what should stand in for them can't be read.
        """
        ...

    async def save(self, snapshot: Snapshot) -> None:
        """Keep `snapshot` for later starts. It may be lost, or dropped for a newer one, and nothing is lost with it."""
        ...

    async def compact(self, snapshot: Snapshot) -> None:
        """Let `snapshot` stand in for every commit up to its tip, and forget those.

        One at or below the present base changes nothing.

        Raises:
            LogUnavailableError: the store did not answer; doing it again does no harm.
        """
        ...

    @property
    def redacted_to(self) -> Position:
        """Up to where `redact` has been told that nothing is left to do; 0 at first."""
        ...

    async def redact(self, positions: Sequence[Position], *, done_to: Position) -> None:
        """Forget for good what was said in the commits at `positions`, and keep `done_to` in mind; all or nothing.

        A commit that is gone or says nothing is passed over. The chain holds: see `events.commit.redact`.

        Raises:
            LogUnavailableError: the store did not answer; doing it again does no harm.
        """
        ...

    async def record(self, delivery_records: Sequence[DeliveryRecord]) -> None:
        """Keep `delivery_records` beside the log, as far as the backend can; never an error, and they may be lost."""
        ...

    async def close(self) -> None:
        """Give back what the log holds; followers end."""
        ...
