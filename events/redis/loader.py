"""Loading a dump into a log in Redis; see `events.store_loader`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from events.commit import EMPTY_TIP, Tip
from events.log import Conflict, LogRolledBackError, LogUnavailableError, Snapshot, StateCodec, UnusableLogError
from events.redis import snapshots
from events.redis.address import Address
from events.redis.client import Argument, Client
from events.redis.scripts import ABANDON_LOADING, FINISH_LOADING, LOAD
from events.redis.texts import split_line

LINES_AT_ONCE = 500
"""The most lines that one script stores; it keeps the engine from all else meanwhile."""


class RedisLoader:
    """`StoreLoader` over keys whose `meta` has the field `loading`. `events.redis.open.open_loading` makes one."""

    def __init__(self, address: Address, codec: StateCodec, token: str) -> None:
        self._keys = address.keys
        self._codec = codec
        self._token = token
        self._client = Client(address)
        self._tip = EMPTY_TIP

    async def append_lines(self, lines: Sequence[bytes], *, expected: Tip) -> Tip:
        """Append dumped commits; see `StoreLoader.append_lines`."""
        if expected != self._tip:
            raise Conflict
        split = [split_line(line) for line in lines]
        for start in range(0, len(split), LINES_AT_ONCE):
            page = split[start : start + LINES_AT_ONCE]
            arguments: list[Argument] = []
            for commit, line, missing in page:
                arguments += (commit.commit_id, line, missing)
            keys = (self._keys.log, self._keys.texts, self._keys.meta)
            self._check(await self._client.run(LOAD, keys, self._token, *self._tip, len(page), *arguments))
            self._tip = page[-1][0].tip
        return self._tip

    async def start_from(self, snapshot: Snapshot) -> None:
        """Start the empty log from `snapshot`; see `StoreLoader.start_from`."""
        if self._tip != EMPTY_TIP:
            raise Conflict
        try:
            await snapshots.write(self._client, self._keys, snapshot, self._codec, is_base=True)
        except LogRolledBackError:
            self._check(-1)
        self._tip = snapshot.tip

    async def save(self, snapshot: Snapshot) -> None:
        """Keep `snapshot`; see `StoreLoader.save`."""
        with suppress(LogRolledBackError):
            await snapshots.write(self._client, self._keys, snapshot, self._codec, is_base=False)

    async def finish(self) -> None:
        """Make the log usable; see `StoreLoader.finish`."""
        self._check(await self._client.run(FINISH_LOADING, (self._keys.meta, self._keys.log), self._token))
        await self._client.close()

    async def abandon(self) -> None:
        """Remove what was loaded; see `StoreLoader.abandon`."""
        with suppress(LogUnavailableError):
            await self._client.run(ABANDON_LOADING, self._keys.fixed, self._token)
        await self._client.close()

    def _check(self, answer: int) -> None:
        if answer == 0:
            raise Conflict
        if answer == -1:
            raise UnusableLogError("another load into the same log has begun; end that one, and load again")
