"""Snapshots in parts of some hundred kilobytes, so that no statement is long and appends go on meanwhile.

A snapshot counts once it has its digest, which comes last; one without is unfinished. Its rows may be lost until then:
by a crash of the server, or because a redaction drops them for the names that they hold.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any, NamedTuple

from events.commit import Tip
from events.ids import CommitId, Position
from events.log import LogRolledBackError, LogUnavailableError, Snapshot, StateCodec
from events.postgresql.link import Connection, Link
from events.snapshot_parts import lines_of, parts_of

SNAPSHOTS_MAX = 16
"""At this number, every other snapshot is dropped: the older they are, the further apart they are."""


class SnapshotRow(NamedTuple):
    """A finished snapshot, without its content."""

    id: int
    tip: Tip
    sha256: str


class Written(NamedTuple):
    """A snapshot with all its parts, but without its digest."""

    id: int
    tip: Tip
    parts: int
    sha256: str


def _schema(link: Link) -> str:
    return f'"{link.address.schema}"'


async def finished(link: Link, base: Position, at_most: Position | None) -> list[SnapshotRow]:
    """Return the finished snapshots from position `base` on up to `at_most`, the newest first."""
    rows = await link.rows(
        f"SELECT id, position, commit_id, sha256 FROM {_schema(link)}.snapshots WHERE sha256 IS NOT NULL"  # noqa: S608
        " AND position >= $1 AND ($2::bigint IS NULL OR position <= $2) ORDER BY position DESC, id DESC",
        base,
        at_most,
    )
    return [SnapshotRow(number, Tip(position, CommitId(commit_id)), sha) for number, position, commit_id, sha in rows]


async def load(link: Link, stored: SnapshotRow, codec: StateCodec) -> Snapshot:
    """Return the snapshot of a row.

    Raises:
        UnreadableSnapshotError: it is damaged, or gone since, or newer than this program.
    """
    parts: list[bytes] = []
    sql = f"SELECT lines FROM {_schema(link)}.snapshot_parts WHERE snapshot = $1 AND number = $2"  # noqa: S608
    while (row := await link.row(sql, stored.id, len(parts))) is not None:
        parts.append(row[0].encode())

    def decoded() -> Any:
        return codec.decode(lines_of(parts, stored.sha256, stored.tip.position))

    return Snapshot(stored.tip, await asyncio.to_thread(decoded))


async def write(link: Link, snapshot: Snapshot, codec: StateCodec) -> Written:
    """Write `snapshot` by `link`, unfinished. Encoding happens in another thread.

    It may be dropped meanwhile, for a higher base or by a redaction; `finish` tells them apart.

    Raises:
        LogUnavailableError: it could not be stored.
    """
    schema = _schema(link)
    # What was cut short before is of no use to any broker after so long.
    await link.execute(
        f"DELETE FROM {schema}.snapshots WHERE sha256 IS NULL AND began_at < now() - interval '1 hour'"  # noqa: S608
    )
    (number,) = await link.row(
        f"INSERT INTO {schema}.snapshots (position, commit_id) VALUES ($1, $2) RETURNING id",  # noqa: S608
        *snapshot.tip,
    )
    digest, count, parts = hashlib.sha256(), 0, parts_of(codec.encode(snapshot.state))
    while (part := await asyncio.to_thread(next, parts, None)) is not None:
        digest.update(part)
        is_there = await link.execute(
            f"INSERT INTO {schema}.snapshot_parts"  # noqa: S608
            f" SELECT id, $2, $3 FROM {schema}.snapshots WHERE id = $1 FOR KEY SHARE",
            number,
            count,
            part.decode(),
        )
        if not is_there:
            break
        count += 1
    return Written(number, snapshot.tip, count, digest.hexdigest())


async def finish(
    connection: Connection, schema: str, written: Written, *, is_base: bool, is_loading: bool = False
) -> None:
    """Make a snapshot count, inside a transaction; if it is to be the base, drop the older ones.

    A snapshot at or below the present base is dropped. `is_loading`: its commits may follow.

    Raises:
        LogRolledBackError: its tip is no commit of the log.
        LogUnavailableError: it was dropped while it was written, whole or in part.
    """
    # Others that move the base or drop snapshots wait here, so no statement below acts on an older base.
    base_position = await connection.fetchval(f"SELECT base_position FROM {schema}.meta FOR UPDATE")  # noqa: S608
    if written.tip.position <= base_position:
        await connection.execute(f"DELETE FROM {schema}.snapshots WHERE id = $1", written.id)  # noqa: S608
        return
    if not is_loading:
        await _check_tip(connection, schema, written.tip)
    is_whole = await connection.fetchval(
        f"UPDATE {schema}.snapshots SET sha256 = $1 WHERE id = $2"  # noqa: S608
        f" AND $3 = (SELECT count(*) FROM {schema}.snapshot_parts WHERE snapshot = $2) RETURNING true",
        written.sha256,
        written.id,
        written.parts,
    )
    if not is_whole:
        raise LogUnavailableError("the snapshot was dropped while it was written; try again")
    if is_base:
        await connection.execute(
            f"UPDATE {schema}.meta SET base_position = $1, base_id = $2",  # noqa: S608
            *written.tip,
        )
        await connection.execute(
            f"DELETE FROM {schema}.snapshots WHERE position < $1",  # noqa: S608
            written.tip.position,
        )
    await _thin_out(connection, schema)


async def _check_tip(connection: Connection, schema: str, tip: Tip) -> None:
    sql = f"SELECT EXISTS (SELECT FROM {schema}.commits WHERE position = $1 AND commit_id = $2)"  # noqa: S608
    if not await connection.fetchval(sql, *tip):
        raise LogRolledBackError(f"the log has no commit {tip.commit_id} at position {tip.position} any more")


async def drop_older(connection: Connection, schema: str, before: Position) -> None:
    """Drop the snapshots below position `before`, finished or not, except for the base.

    The transaction has to hold the row of `meta`; see `finish`.
    """
    await connection.execute(
        f"DELETE FROM {schema}.snapshots WHERE position < $1"  # noqa: S608
        f" AND (sha256 IS NULL OR position <> (SELECT base_position FROM {schema}.meta))",
        before,
    )


async def _thin_out(connection: Connection, schema: str) -> None:
    """Keep the table from filling with snapshots; the base and the newest stay."""
    await connection.execute(
        f"""
        WITH kept AS (
            SELECT id, position, row_number() OVER (ORDER BY position DESC, id DESC) AS place, count(*) OVER () AS total
            FROM {schema}.snapshots WHERE sha256 IS NOT NULL
        )
        DELETE FROM {schema}.snapshots WHERE id IN (
            SELECT id FROM kept, {schema}.meta
            WHERE total >= {SNAPSHOTS_MAX} AND place % 2 = 0 AND position <> base_position
        )
        """  # noqa: S608
    )
