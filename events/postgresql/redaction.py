"""Redaction in transactions that are short, so that appends go on between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from events.codec import UnreadableCommitError, redact_line
from events.ids import Position
from events.postgresql import snapshots
from events.postgresql.errors import damaged
from events.postgresql.link import Connection

REDACTED_AT_ONCE = 200
"""An append may wait for as many: some 20 ms."""


async def redact_page(connection: Connection, schema: str, positions: Sequence[Position]) -> None:
    """Redact the texts at `positions` in one transaction. A row without a text is not written again.

    Raises:
        UnusableLogError: one of the commits can't be read.
    """
    async with connection.transaction():
        rows = await connection.fetch(
            f"SELECT position, body::text FROM {schema}.commits"  # noqa: S608
            " WHERE position = ANY($1) ORDER BY position FOR UPDATE",
            list(positions),
        )
        if changed := _changed(rows):
            await connection.execute(
                f"UPDATE {schema}.commits c SET body = u.line::json"  # noqa: S608
                " FROM unnest($1::bigint[], $2::text[]) AS u(position, line) WHERE c.position = u.position",
                *map(list, zip(*changed, strict=True)),
            )


def _changed(rows: Iterable[tuple[Position, str]]) -> list[tuple[Position, str]]:
    """Return the rows that redaction changes, redacted."""
    try:
        redacted = [(position, redact_line(line.encode()).decode(), line) for position, line in rows]
    except UnreadableCommitError as error:
        raise damaged(f"a commit can't be read: {error}") from error
    return [(position, line) for position, line, was in redacted if line != was]


async def finish(connection: Connection, schema: str, done_to: Position, snapshots_before: Position) -> Position:
    """Store `done_to`, and drop the snapshots below `snapshots_before`; return how far the log is redacted."""
    async with connection.transaction():
        # This comes first: the base is known then, also one that this waited for.
        reached: Position = await connection.fetchval(
            f"UPDATE {schema}.meta SET redacted_to = greatest(redacted_to, $1) RETURNING redacted_to",  # noqa: S608
            done_to,
        )
        await snapshots.drop_older(connection, schema, snapshots_before)
        return reached
