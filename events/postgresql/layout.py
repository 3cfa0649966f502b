"""The tables, functions and views of a log, and their statements for an operator."""

from __future__ import annotations

from importlib.resources import files

from events.log import UnusableLogError
from events.postgresql.address import Address
from events.postgresql.link import Connection

FORMAT = 1

LOCK_MS = 2_000
"""The longest wait for a lock that another session holds. Those that come after it wait as well."""

ATTEMPTS = 5
PAUSE_MS = 500
"""The tries to replace the views of a log, and the time between two of them."""


def lock_of(schema: str, kind: str) -> str:
    """Return the SQL for the number of an advisory lock of the log: `append`, `turn` or `layout`."""
    return f"hashtextextended('chat-broker.{schema}.{kind}', 0)"


def statements(address: Address) -> str:
    """Return the statements that make an empty log, for one transaction. Run again, they change no commit."""
    return f"{_sql('layout.sql', address)}\n{_sql('history.sql', address)}"


def grants(address: Address, role: str, *, may_write: bool) -> str:
    """Return the statements that let `role` serve the log, or only read it."""
    return _sql("grants.sql" if may_write else "reader_grants.sql", address).replace("{role}", _quoted(role))


def _sql(file: str, address: Address) -> str:
    text = (files("events.postgresql") / file).read_text(encoding="utf-8")
    schema = address.schema
    for name, value in {
        "schema": _quoted(schema),
        "format": f"{FORMAT}",
        "lock_ms": f"{LOCK_MS}",
        "attempts": f"{ATTEMPTS}",
        "pause_ms": f"{PAUSE_MS}",
        "lock": lock_of(schema, "append"),
        "turn_lock": lock_of(schema, "turn"),
        "log_channel": f"'{address.log_channel}'",
    }.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


async def make(connection: Connection, address: Address) -> None:
    """Make what is missing of the log, whole or not at all. Brokers that start at the same moment take turns.

    Appends to a log that is there go on meanwhile, unless an index is missing.
    """
    async with connection.transaction():
        await connection.execute(f"SELECT pg_advisory_xact_lock({lock_of(address.schema, 'layout')})")
        await check(connection, address)
        await connection.execute(statements(address))


async def check(connection: Connection, address: Address) -> bool:
    """Return whether the log is there.

    Raises:
        UnusableLogError: the schema holds something else, or the log is of a newer format.
    """
    tables = {
        row[0]
        for row in await connection.fetch(
            "SELECT relname::text FROM pg_class"
            " WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'p', 'v', 'm')",
            _quoted(address.schema),
        )
    }
    if not tables:
        return False
    if not {"meta", "commits", "snapshots"} <= tables:
        raise UnusableLogError("the schema holds something else than a log; choose another ?name=")
    version = await connection.fetchval(f"SELECT format FROM {_quoted(address.schema)}.meta")  # noqa: S608
    if version is None or version > FORMAT:
        raise UnusableLogError(
            f"the log has format {version}, and this program knows up to {FORMAT}; use a newer version"
        )
    return True
