"""Loading a dump into a shared store, for tools: a log that can't be used before it is complete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from events.commit import Tip
from events.log import Snapshot


class StoreLoader(Protocol):
    """A log under construction. A broker and a reader refuse it before `finish`.

    Every method raises `LogUnavailableError` if the store does not answer, and `UnusableLogError` if another load has
    begun, which threw this one away.
    """

    async def append_lines(self, lines: Sequence[bytes], *, expected: Tip) -> Tip:
        """Append dumped commits of any schema version, and return the new tip; a reader returns the same lines.

        Raises:
            Conflict: the tip is another; nothing was stored.
            UnreadableCommitError: a line is no commit; nothing was stored.
            BrokenChainError: a line of an older schema was altered; nothing was stored.
        """
        ...

    async def start_from(self, snapshot: Snapshot) -> None:
        """Start the empty log from `snapshot` (for loading a trimmed log).

        Raises:
            Conflict: the log is not empty; nothing was stored.
        """
        ...

    async def save(self, snapshot: Snapshot) -> None:
        """Keep `snapshot`, of the present tip, for later starts. It may be dropped without harm."""
        ...

    async def finish(self) -> None:
        """Make the log usable, with what was appended, and release all resources."""
        ...

    async def abandon(self) -> None:
        """Remove what was loaded, if it can be, and release all resources; never an error. After `finish`: nothing."""
        ...
