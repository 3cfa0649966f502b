"""What the brokers of a shared log have in common beside it: a channel for notes, a clock, and the log's epoch.

No promise rests on it. A note may be lost at any time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

NOTE_BYTES_MAX = 5_000
"""The longest note that a channel carries."""


class Coordination(Protocol):
    """The common ground of a shared log's brokers. A note is delivered once or never."""

    async def publish(self, note: bytes) -> None:
        """Send `note`, of `NOTE_BYTES_MAX` at most, to all subscribers, this broker's own ones included.

        Raises:
            LogUnavailableError: the store did not answer; the note may have been sent.
            UnusableLogError: an operator has to change something, such as the broker's rights.
        """
        ...

    def subscribe(self) -> AsyncIterator[bytes]:
        """Yield the notes of all brokers, each broker's in the order of its calls of `publish`.

        What is published before the first step of the iteration has begun, or while the connection is broken, is
        missing. A closed log ends the iteration.

        Raises:
            LogUnavailableError: the connection broke; subscribe again.
            UnusableLogError: as for `publish`; subscribe again later.
        """
        ...

    async def time_ms(self) -> int:
        """Return the store's Unix time.

        Raises:
            LogUnavailableError: the store did not answer.
            UnusableLogError: as for `publish`.
        """
        ...

    async def renew_epoch(self, was: str) -> None:
        """Give the log a new epoch, unless it already has another than `was`: its positions have a new meaning.

        Brokers learn of it at their next start.

        Raises:
            LogUnavailableError: the store did not answer.
            UnusableLogError: as for `publish`.
        """
        ...
