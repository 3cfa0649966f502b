"""Loading a dump into a log in NATS; see `events.store_loader`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from nats.aio.client import Client as Nats
from nats.js.errors import APIError

from events.codec import decode_commit
from events.commit import EMPTY_TIP, Commit, Tip
from events.log import Conflict, LogRolledBackError, LogUnavailableError, Snapshot, StateCodec, UnusableLogError
from events.nats import meta
from events.nats.address import Address
from events.nats.client import Client
from events.nats.errors import not_stored
from events.nats.layout import COMMIT_HEADER
from events.nats.requests import (
    EXPECTED_SEQUENCE,
    EXPECTED_STREAM,
    WRONG_SEQUENCE,
    Draft,
    api,
    publish_batch,
)
from events.nats.snapshots import Snapshots
from events.nats.streams import delete_streams

LINES_AT_ONCE = 500


class NatsLoader:
    """`StoreLoader` over streams whose bucket has a value of `loading`. `events.nats.open.open_loading` makes one."""

    def __init__(self, address: Address, codec: StateCodec, token: bytes) -> None:
        self._layout = address.layout
        self._token = token
        self._client = Client(address)
        self._snapshots = Snapshots(self._layout, self._client, codec)
        self._tip = EMPTY_TIP
        self._is_finished = False

    async def append_lines(self, lines: Sequence[bytes], *, expected: Tip) -> Tip:
        """Append dumped commits; see `StoreLoader.append_lines`."""
        if expected != self._tip:
            raise Conflict
        commits = [decode_commit(line) for line in lines]
        for start in range(0, len(lines), LINES_AT_ONCE):
            await self._check()
            end = start + LINES_AT_ONCE
            try:
                await self._client.ask(partial(self._store, commits[start:end], lines[start:end]))
            except LogUnavailableError as error:
                raise not_stored(error) from error.__cause__
            self._tip = commits[start:end][-1].tip
        return self._tip

    async def _store(self, commits: Sequence[Commit], lines: Sequence[bytes], nats: Nats) -> None:
        drafts = [
            Draft(self._layout.log_subject(commit.commit_id), line, {COMMIT_HEADER: commit.commit_id})
            for commit, line in zip(commits, lines, strict=True)
        ]
        demands = {EXPECTED_STREAM: self._layout.log_stream, EXPECTED_SEQUENCE: str(self._tip.position)}
        drafts[0] = drafts[0]._replace(headers={**drafts[0].headers, **demands})
        try:
            await publish_batch(nats, drafts)
        except APIError as error:
            if error.err_code in WRONG_SEQUENCE:
                raise Conflict from error
            raise

    async def start_from(self, snapshot: Snapshot) -> None:
        """Start the empty log from `snapshot`; see `StoreLoader.start_from`."""
        if self._tip != EMPTY_TIP:
            raise Conflict
        await self._check()
        await self._snapshots.start(snapshot)
        # An empty stream takes the next sequence from the purge.
        purge = {"seq": snapshot.tip.position + 1}
        await self._client.ask(lambda nats: api(nats, f"STREAM.PURGE.{self._layout.log_stream}", purge))
        self._tip = snapshot.tip

    async def save(self, snapshot: Snapshot) -> None:
        """Keep `snapshot`; see `StoreLoader.save`."""
        await self._check()
        with suppress(LogRolledBackError):
            await self._snapshots.write(snapshot, is_base=False)

    async def finish(self) -> None:
        """Make the log usable; see `StoreLoader.finish`."""
        position = self._tip.position
        await self._check()
        await self._client.ask(lambda nats: meta.raise_position(nats, self._layout, meta.RECORDED_AFTER, position))
        if await self._client.ask(self._end) != b"":
            raise _other_load()
        self._is_finished = True
        await self._client.close()

    async def _end(self, nats: Nats) -> bytes | None:
        return await meta.change(nats, self._layout, meta.LOADING, lambda old: b"" if old == self._token else None)

    async def abandon(self) -> None:
        """Remove what was loaded; see `StoreLoader.abandon`."""
        if not self._is_finished:
            with suppress(LogUnavailableError, UnusableLogError):
                await self._check()
                await self._client.ask(lambda nats: delete_streams(nats, self._layout))
        await self._client.close()

    async def _check(self) -> None:
        """Check that this load is the last that has begun."""
        if await self._client.ask(lambda nats: meta.get(nats, self._layout, meta.LOADING)) != self._token:
            raise _other_load()


def _other_load() -> UnusableLogError:
    return UnusableLogError("another load into the same log has begun; end that one, and load again")
