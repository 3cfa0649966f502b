"""The statements for records beside a log: of deliveries, and of what made no commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from events.log import OperationRecord

OPERATIONS_KEPT = 100_000
"""Operation records kept: so many refusals, and as many others."""


def columns(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Return the columns of records, the arguments of their statement."""
    return [list(column) for column in zip(*rows, strict=True)]


def newest_signs(records: Sequence[OperationRecord]) -> list[OperationRecord]:
    """Return `records` with the newest sign of life of each broker alone: one statement changes a row once."""
    signs = {record.broker: record for record in records if record.kind == "running"}
    return [*(record for record in records if record.kind != "running"), *signs.values()]


def deliveries_sql(schema: str) -> str:
    """Return the statement that inserts `DeliveryRecord`s; one that is there already is not kept twice."""
    return (
        f"INSERT INTO {schema}.deliveries (position, connection_id, delivered_by, at_ms)"  # noqa: S608
        " SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[]) ON CONFLICT DO NOTHING"
    )


def operations_sql(schema: str) -> str:
    """Return the statement that inserts `OperationRecord`s; a sign of life takes the place of the one before."""
    return (
        f"INSERT INTO {schema}.operations"  # noqa: S608
        " (kind, at_ms, position, connection_id, command, code, times, broker)"
        " SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::int[],"
        " $8::text[]) ON CONFLICT (broker) WHERE kind = 'running'"
        " DO UPDATE SET at_ms = excluded.at_ms, position = excluded.position"
    )


def forget_sql(schema: str) -> str:
    """Return the statement that deletes all but the newest refusals ($1 true), or other records, $2 in number."""
    return (
        f"DELETE FROM {schema}.operations WHERE (kind = 'refused') = $1 AND id <= ("  # noqa: S608
        f"SELECT id FROM {schema}.operations WHERE (kind = 'refused') = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)"
    )
