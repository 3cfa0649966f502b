"""Records that a log keeps beside its commits for the sessions of its brokers.

They are no part of the log: a dump holds none of them, and losing one costs a client a repeated handle.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Protocol

SECRET_BYTES = 32
RECORDS_MAX = 100_000

Fields = Mapping[str, bytes]


class SessionRecords(Protocol):
    """Small records by key; each of their fields has a Unix time (ms) until which it is kept.

    Every method but a constructor raises `LogUnavailableError` if the store does not answer; nothing is changed then.
    """

    secret: bytes
    """Random bytes of this log: made with it, kept as long as it, the same for all its brokers. Never shown."""

    async def load(self, key: str, *, now_ms: int) -> Fields:
        """Return the fields of `key`; none if there is no record, or not any more."""
        ...

    async def keep(self, key: str, changes: Mapping[str, bytes | None], *, until_ms: int) -> None:
        """Set fields of `key` until `until_ms`, and remove those that are `None`; all or nothing.

        Changes of one key are applied in the order of the calls.
        """
        ...

    async def expire(self, *, now_ms: int) -> None:
        """Forget the records whose time is over."""
        ...


class MemorySessionRecords:
    """`SessionRecords` of a log that lives and dies with its process. The oldest beyond `RECORDS_MAX` are forgotten."""

    def __init__(self, secret: bytes | None = None) -> None:
        self.secret = secret if secret is not None else secrets.token_bytes(SECRET_BYTES)
        self._records: OrderedDict[str, dict[str, tuple[int, bytes]]] = OrderedDict()

    async def load(self, key: str, *, now_ms: int) -> Fields:
        """See `SessionRecords.load`. Never suspends."""
        fields = self._records.get(key, {})
        return {name: value for name, (until_ms, value) in fields.items() if until_ms > now_ms}

    async def keep(self, key: str, changes: Mapping[str, bytes | None], *, until_ms: int) -> None:
        """See `SessionRecords.keep`. Never suspends."""
        fields = self._records.pop(key, {})
        for name, value in changes.items():
            if value is None:
                fields.pop(name, None)
            else:
                fields[name] = until_ms, value
        if fields:
            self._records[key] = fields
        if len(self._records) > RECORDS_MAX:
            self._records.popitem(last=False)

    async def expire(self, *, now_ms: int) -> None:
        """See `SessionRecords.expire`. Never suspends."""
        over = [key for key, fields in self._records.items() if all(until <= now_ms for until, _ in fields.values())]
        for key in over:
            del self._records[key]
