"""Snapshots in Redis: each a list of parts, the last of which has its tip and digest.

A snapshot counts once it is in the sorted set. Until then its key has an expiry, so one that is cut short goes by
itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import msgspec

from events.commit import EMPTY_TIP, Tip
from events.ids import CommitId, Position
from events.log import LogRolledBackError, Snapshot, StateCodec, UnreadableSnapshotError, UnusableLogError
from events.redis.address import Keys
from events.redis.client import Client
from events.redis.entries import RESTORE
from events.redis.scripts import FINISH_SNAPSHOT, TRIM
from events.snapshot_parts import PART_BYTES, lines_of

SNAPSHOTS_MAX = 8
"""At so many beside the base, every other one is dropped: the older they are, the further apart they are."""

PARTS_READ = 4
WORK_SECONDS = 0.002
UNFINISHED_SECONDS = 3_600
TRIMMED_AT_ONCE = 1_000


class _End(NamedTuple):
    """The last part of a snapshot."""

    position: Position
    commit_id: CommitId
    sha256: str


class SnapshotRow(NamedTuple):
    """A finished snapshot, without its content."""

    key: bytes
    position: Position


async def write(client: Client, keys: Keys, snapshot: Snapshot, codec: StateCodec, *, is_base: bool) -> None:
    """Store `snapshot`; other commands go on between its parts.

    Raises:
        LogUnavailableError: it could not be stored.
        LogRolledBackError: its tip is no commit of this log.
    """
    position, commit_id = snapshot.tip
    key, digest = f"{keys.snapshot}{position}:{secrets.token_hex(4)}", hashlib.sha256()
    async for part in _parts(codec, snapshot):
        digest.update(part)
        await client.call_all([(b"RPUSH", key, part), (b"EXPIRE", key, UNFINISHED_SECONDS)])
    end = msgspec.json.encode(_End(position, commit_id, digest.hexdigest()))
    await client.call_all([(b"RPUSH", key, end), (b"EXPIRE", key, UNFINISHED_SECONDS)])
    names = (keys.log, keys.meta, keys.snapshots, key)
    answer = await client.run(FINISH_SNAPSHOT, names, position, commit_id, int(is_base), SNAPSHOTS_MAX)
    if answer == -1:
        raise LogRolledBackError(f"the log has no commit {commit_id} at position {position} any more")


async def trim(client: Client, keys: Keys) -> None:
    """Forget the commits that the base stands for, some at a time."""
    while await client.run(TRIM, (keys.log, keys.texts, keys.meta), TRIMMED_AT_ONCE):
        pass


async def _parts(codec: StateCodec, snapshot: Snapshot) -> AsyncIterator[bytes]:
    """Return the state's lines with their ends, in pieces of about `PART_BYTES`; other tasks get a turn meanwhile."""
    part, rested = bytearray(), time.perf_counter()
    for line in codec.encode(snapshot.state):
        part += line
        part += b"\n"
        if len(part) >= PART_BYTES:
            yield bytes(part)
            part.clear()
        elif time.perf_counter() - rested > WORK_SECONDS:
            await asyncio.sleep(0)
            rested = time.perf_counter()
    if part:
        yield bytes(part)


async def finished(client: Client, keys: Keys, at_least: Position, at_most: Position | None) -> list[SnapshotRow]:
    """Return the finished snapshots from `at_least` to `at_most`, the newest first."""
    highest = at_most if at_most is not None else "+inf"
    found = await client.call(b"ZREVRANGEBYSCORE", keys.snapshots, highest, at_least, b"WITHSCORES")
    return [SnapshotRow(key, int(float(score))) for key, score in zip(found[::2], found[1::2], strict=True)]


async def tip_of(client: Client, row: SnapshotRow) -> Tip | None:
    """Return the tip of a snapshot; `None` if it is gone or damaged."""
    found = await client.call(b"LINDEX", row.key, -1)
    try:
        return Tip(*_end_of(found)[:2])
    except msgspec.DecodeError:
        return None


async def load(client: Client, row: SnapshotRow, codec: StateCodec) -> Snapshot:
    """Return the snapshot of a row.

    Raises:
        UnreadableSnapshotError: it is damaged, or gone since, or newer than this program.
    """
    parts: list[bytes] = []
    while found := await client.call(b"LRANGE", row.key, len(parts), len(parts) + PARTS_READ - 1):
        parts += found
    try:
        end = _end_of(parts.pop() if parts else None)
    except msgspec.DecodeError as error:
        raise UnreadableSnapshotError(str(error)) from error
    return Snapshot(Tip(*end[:2]), codec.decode(lines_of(parts, end.sha256, row.position)))


async def newest(
    client: Client, keys: Keys, base: Tip, codec: StateCodec, at_most: Position | None = None
) -> Snapshot | None:
    """Return the newest readable snapshot from `base` on up to `at_most`; see `StoreReader.load_snapshot`.

    Raises:
        UnusableLogError: commits are trimmed, and the snapshot in their place can't be read.
    """
    if at_most is not None and at_most < base.position:
        return None
    rows: Sequence[SnapshotRow] = await finished(client, keys, base.position, at_most)
    for row in rows:
        try:
            return await load(client, row, codec)
        except UnreadableSnapshotError:
            continue
    if base == EMPTY_TIP:
        return None
    trimmed = f"the commits up to position {base.position} were trimmed, and the snapshot in their place can't be read"
    raise UnusableLogError(f"{trimmed}; {RESTORE}, or use a newer version of this program")


def _end_of(part: bytes | None) -> _End:
    return msgspec.json.decode(part or b"", type=_End)
