"""The history with SQL: the queries of `docs/history.md`, its columns, its indexes, redaction and trimming."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from events.codec import decode_commit
from events.commands import AdoptPolicy, ReportPartner, SendMessage
from events.commit import EMPTY_TIP, Commit
from events.ids import RoomId
from events.log import Snapshot
from events.policy import Policy
from events.postgresql.log import PostgresqlLog
from events.postgresql.open import open_loading, open_log
from projections.state import INITIAL_STATE, fold
from tests.support import logs
from tests.support.engines.postgresql import VERSIONS, Server, new_name, server
from tests.support.log_contract import PickledStates
from tests.support.logs import log_of
from tests.support.people import ANN, BOB, CAT, DAN, enter, say

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "history.md").read_text()
QUERIES = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
R3 = RoomId("r_3")


def conversations() -> list[Commit]:
    """Ann and Bob talk, Bob reports Ann and so leaves her; Cat and Dan still talk."""
    return log_of(
        AdoptPolicy(Policy(reports_per_10min_max=3, blocks_per_connection_max=3)),
        enter(ANN),
        enter(BOB),
        say(ANN, "hello", "m1", R3),
        say(BOB, "hi, it's 'quoted' \\ and\nlong", None, R3),
        ReportPartner(BOB, R3, "spam", "an advertisement"),
        enter(CAT),
        enter(DAN),
        say(CAT, "hello, Dan", None, RoomId("r_8")),
        say(DAN, "bye", None, RoomId("r_8")),
    )


@asynccontextmanager
async def database(on: Server) -> AsyncIterator[tuple[PostgresqlLog, asyncpg.Connection]]:
    """Yield a log `chat` in a database of its own, and a connection to it."""
    name = new_name()
    await on.sql(f"CREATE DATABASE {name}")
    log = await open_log(on.url(database=name), PickledStates(), synchronous="full")
    connection = await asyncpg.connect(on.url(database=name))
    try:
        yield log, connection
    finally:
        await log.close()
        await connection.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_each_query_of_the_page_runs_as_it_stands(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each finds something in a log with two conversations of the last minute."""
    monkeypatch.setattr(logs, "NOON_MS", int(time.time() * 1_000) - 60_000)

    async def scenario() -> None:
        async with database(server(version)) as (log, connection):
            await log.append(conversations(), expected=EMPTY_TIP)
            for query in QUERIES:
                assert await connection.fetch(query), query

    assert len(QUERIES) >= 10
    asyncio.run(scenario())


def test_the_columns_of_the_views_are_those_of_the_page() -> None:
    """Names and types of columns are the same, view by view."""
    described: dict[str, dict[str, str]] = {}
    for view, table in re.findall(r"^### `(\w+)`.*?\n\n(\|.*?)\n\n", PAGE, re.MULTILINE | re.DOTALL):
        rows = [line.split(" | ") for line in table.splitlines()[2:]]
        described[view] = {name: kind.strip("` ") for names, kind, *_ in rows for name in re.findall(r"`(\w+)`", names)}

    async def scenario() -> None:
        async with database(server()) as (_, connection):
            found: dict[str, dict[str, str]] = {}
            for view, column, kind in await connection.fetch(
                "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_class c"
                " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
                " WHERE c.relnamespace = 'chat'::regnamespace AND c.relkind = 'v'"
            ):
                found.setdefault(view, {})[column] = kind.replace("timestamp with time zone", "timestamptz")
            assert found == described

    asyncio.run(scenario())


def test_the_views_say_what_happened() -> None:
    """Messages, rooms, people and reports of a small log, in every column."""

    async def scenario() -> None:
        commits = conversations()
        at = {commit.position: commit.at_ms for commit in commits}
        async with database(server()) as (log, connection):
            await log.append(commits, expected=EMPTY_TIP)
            messages = await connection.fetch("SELECT * FROM chat.messages ORDER BY position")
            assert [tuple(row)[2:] for row in messages] == [
                (R3, ANN, BOB, "Ann", "hello", "m1"),
                (R3, BOB, ANN, "Bob", "hi, it's 'quoted' \\ and\nlong", None),
                ("r_8", CAT, DAN, "Cat", "hello, Dan", None),
                ("r_8", DAN, CAT, "Dan", "bye", None),
            ]
            assert [round(row["sent_at"].timestamp() * 1_000) for row in messages] == [
                at[row["position"]] for row in messages
            ]
            rooms = await connection.fetch(
                "SELECT room_id, reason, closed_by, first, second, first_name, second_name, messages,"
                " opened_position, closed_position, closed_at FROM chat.rooms ORDER BY opened_position"
            )
            assert [tuple(row)[:-1] for row in rooms] == [
                (R3, "left", BOB, ANN, BOB, "Ann", "Bob", 2, 3, 6),
                ("r_8", None, None, CAT, DAN, "Cat", "Dan", 2, 8, None),
            ]
            assert [row["closed_at"] is None for row in rooms] == [False, True]
            people = await connection.fetch(
                "SELECT connection_id, name, messages, rooms, (extract(epoch FROM last_seen - first_seen))::int"
                " FROM chat.people ORDER BY connection_id"
            )
            assert [tuple(row) for row in people] == [
                (ANN, "Ann", 1, 1, (at[4] - at[2]) // 1_000),
                (BOB, "Bob", 1, 1, (at[6] - at[3]) // 1_000),
                (CAT, "Cat", 1, 1, (at[9] - at[7]) // 1_000),
                (DAN, "Dan", 1, 1, (at[10] - at[8]) // 1_000),
            ]
            reports = await connection.fetch("SELECT * FROM chat.reports")
            assert [(*tuple(row)[:1], *tuple(row)[2:]) for row in reports] == [
                (6, R3, BOB, ANN, "spam", "an advertisement")
            ]

    asyncio.run(scenario())


def test_what_was_redacted_is_null_in_the_history() -> None:
    """Redacted texts, names and notes are null; all others are still there."""

    async def scenario() -> None:
        async with database(server()) as (log, connection):
            await log.append(conversations(), expected=EMPTY_TIP)
            await log.redact([2, 3, 4, 6], done_to=6)
            texts = await connection.fetch("SELECT text, sender_name FROM chat.messages ORDER BY position")
            assert [tuple(row) for row in texts][:3] == [
                (None, None),
                ("hi, it's 'quoted' \\ and\nlong", None),
                ("hello, Dan", "Cat"),
            ]
            names = await connection.fetch("SELECT first_name, second_name FROM chat.rooms ORDER BY opened_position")
            assert [tuple(row) for row in names] == [(None, None), ("Cat", "Dan")]
            people = await connection.fetch("SELECT name FROM chat.people ORDER BY connection_id")
            assert [row["name"] for row in people] == [None, None, "Cat", "Dan"]
            assert await connection.fetchval("SELECT note FROM chat.reports") is None

    asyncio.run(scenario())


def test_what_was_trimmed_is_gone_from_the_history_at_once() -> None:
    """They are gone even before their rows are deleted."""

    async def scenario() -> None:
        commits = conversations()
        async with database(server()) as (log, connection):
            await log.append(commits, expected=EMPTY_TIP)
            await log._write(Snapshot(commits[6].tip, fold(commits[:7])), is_base=True)
            counted = {
                view: await connection.fetchval(f"SELECT count(*) FROM chat.{view}")
                for view in ("messages", "rooms", "people", "reports")
            }
            assert counted == {"messages": 2, "rooms": 1, "people": 2, "reports": 0}

    asyncio.run(scenario())


_MANY = """
INSERT INTO chat.commits (position, commit_id, body)
SELECT n, md5(n::text), json_build_object('schema', 3, 'position', n, 'at_ms', 1790000000000 + n * 10000, 'command',
    CASE n % 10
    WHEN 0 THEN json_build_object('type', 'enter_queue', 'connection_id', 'c_' || n / 10, 'display_name', 'N')
    ELSE json_build_object(
        'type', 'send_message', 'connection_id', 'c_' || n / 10, 'room_id', 'r_' || n / 10, 'text', 'x'
    ) END, 'events', CASE n % 10 WHEN 0 THEN json_build_array(json_build_object('type', 'room_opened', 'room_id',
    'r_' || n / 10, 'first', 'c_' || n / 10, 'second', 'd_' || n / 10)) ELSE '[]' END)
FROM generate_series(1, 20000) n
"""


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM chat.messages WHERE room_id = 'r_77' ORDER BY position",
        "SELECT * FROM chat.messages WHERE sent_at > '2026-09-23 20:30+00' ORDER BY position",
        "SELECT * FROM chat.messages WHERE sender = 'c_77'",
        "SELECT * FROM chat.messages ORDER BY position DESC LIMIT 10",
        "SELECT * FROM chat.rooms WHERE room_id = 'r_77'",
        "SELECT * FROM chat.rooms WHERE first = 'c_77' OR second = 'c_77'",
        "SELECT * FROM chat.rooms WHERE opened_at > '2026-09-23 20:30+00'",
        "SELECT * FROM chat.people WHERE connection_id = 'c_77'",
        "SELECT * FROM chat.reports WHERE reported_at > '2026-09-23 20:30+00'",
    ],
)
def test_what_the_page_calls_quick_does_not_read_the_whole_log(query: str, many: str) -> None:
    """The plan of each has no scan of all commits, in a log of 20,000."""

    async def scenario() -> None:
        connection = await asyncpg.connect(many)
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {query}"))
        assert "Seq Scan on commits" not in plan, plan
        await connection.close()

    asyncio.run(scenario())


@pytest.fixture(scope="module")
def many() -> str:
    """Return the URL of a database with a log of 20,000 commits."""
    name = new_name()

    async def fill() -> None:
        await server().sql(f"CREATE DATABASE {name}")
        await (await open_log(server().url(database=name), PickledStates(), synchronous="full")).close()
        await server().sql(_MANY, "ANALYZE chat.commits", "SELECT 1", database=name)

    asyncio.run(fill())
    return server().url(database=name)


@pytest.mark.parametrize("file", sorted((ROOT / "tests" / "golden").glob("commits*.jsonl")), ids=lambda file: file.stem)
def test_commits_of_every_schema_are_in_the_history(file: Path) -> None:
    """A log of an older version is loaded; its messages are those read by the codec."""
    lines = file.read_bytes().splitlines()
    commits = [decode_commit(line) for line in lines]
    said = [
        (each.position, who, text if isinstance(text, str) else None)
        for each in commits
        if isinstance(each.command, SendMessage)
        for who, text in [(each.command.connection_id, each.command.text)]
    ]

    async def scenario() -> None:
        name = new_name()
        loader = await open_loading(server().url(name), PickledStates())
        await loader.append_lines(lines, expected=EMPTY_TIP)
        await loader.finish()
        rows = await server().sql(f"SELECT position, sender, text FROM {name}.messages ORDER BY position")
        assert [tuple(row) for row in rows] == said
        rooms = await server().sql(f"SELECT room_id, closed_at FROM {name}.rooms")
        state = fold(commits, INITIAL_STATE)
        for room_id, room in state.rooms.by_id.items():
            assert (room_id, not room.is_open) in {(row[0], row[1] is not None) for row in rooms}

    asyncio.run(scenario())
