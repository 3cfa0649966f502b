"""Session records in Redis: a hash for each, and a sorted set of the times until which they are kept.

A field's value is the time until which it is kept, a colon, and the value.
"""

from __future__ import annotations

from collections.abc import Mapping

from events.redis.address import Keys
from events.redis.client import Argument, Client
from events.redis.scripts import EXPIRE_RECORDS, KEEP_RECORD
from events.session_records import Fields

EXPIRED_PAGE = 500


class RedisSessionRecords:
    """See `events.session_records.SessionRecords`. They are as durable as the log."""

    def __init__(self, secret: bytes, keys: Keys, client: Client) -> None:
        self.secret = secret
        self._keys = keys
        self._client = client

    async def load(self, key: str, *, now_ms: int) -> Fields:
        """See `SessionRecords.load`."""
        found = await self._client.call(b"HGETALL", self._keys.session + key)
        fields = {}
        for name, stored in zip(found[::2], found[1::2], strict=True):
            until_ms, _, value = stored.partition(b":")
            if int(until_ms) > now_ms:
                fields[name.decode()] = value
        return fields

    async def keep(self, key: str, changes: Mapping[str, bytes | None], *, until_ms: int) -> None:
        """See `SessionRecords.keep`."""
        kept: list[Argument] = []
        for name, value in changes.items():
            if value is not None:
                kept += (name, b"%d:%b" % (until_ms, value))
        removed = [name for name, value in changes.items() if value is None]
        keys = self._keys.session + key, self._keys.session_times, self._keys.meta
        await self._client.run(KEEP_RECORD, keys, until_ms, len(kept) // 2, *kept, *removed)

    async def expire(self, *, now_ms: int) -> None:
        """See `SessionRecords.expire`."""
        while await self._client.run(EXPIRE_RECORDS, (self._keys.session_times,), now_ms, EXPIRED_PAGE):
            pass
