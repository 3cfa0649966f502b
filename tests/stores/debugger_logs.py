"""Logs in shared stores, for the debugger's commands."""

from __future__ import annotations

import asyncio
import io
import itertools
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar
from unittest import mock

import nats
from nats.js import JetStreamContext

from broker.stores import open_log
from events.codec import encode_commit
from events.commit import EMPTY_TIP, Commit
from events.log import DeliveryRecord, EventLog, Snapshot
from events.nats.layout import COMMIT_HEADER, Layout
from events.postgresql.open import init_log
from projections.state import State
from tests.log_debugger.logs import CommandResult, run_command
from tests.support.engines import postgresql
from tests.support.engines.nats import NatsServer
from tests.support.engines.redis import RedisServer

PASSWORD = "s3cret-pass"
_numbers = itertools.count()
T = TypeVar("T")


class Store(Protocol):
    """A server of a shared store."""

    def url(self, name: str | None = None, *, user: str | None = None) -> str:
        """Return the URL of a log, by default of a new one; `user` may be `USER:PASSWORD`."""
        ...

    def reader_url(self, url: str) -> str:
        """Return the URL of the log at `url` for a new user, with `PASSWORD`, who may only read it."""
        ...

    def stored(self, url: str) -> int:
        """Return how much is stored of the log at `url`: 0 if nothing, or if an empty log had to be made."""
        ...

    def say_another_text(self, url: str, position: int) -> None:
        """Replace the text of the message at `position`."""
        ...

    def lose(self, url: str, position: int) -> None:
        """Remove the commit at `position`."""
        ...


def name_of(url: str) -> str:
    """Return the name of the log."""
    return url.rpartition("name=")[2]


class RedisStore:
    """`Store` in Redis or Valkey."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server

    def url(self, name: str | None = None, *, user: str | None = None) -> str:
        """See `Store.url`."""
        return self.server.url(name or f"debugged-{next(_numbers)}", user=f"{user}@" if user else "")

    def reader_url(self, url: str) -> str:
        """See `Store.reader_url`."""
        name = name_of(url)
        rights = (f"~{{{name}}}:*", "+@read", "+@connection")
        self.client.execute_command("ACL", "SETUSER", f"reader-{name}", "reset", "on", f">{PASSWORD}", *rights)
        return self.url(name, user=f"reader-{name}:{PASSWORD}")

    @property
    def client(self) -> Any:
        """An operator's client."""
        return self.server.client

    def put_under_id(self, url: str, position: int, commit_id: str) -> None:
        """Let the entry at `position` name another commit id."""
        key = f"{{{name_of(url)}}}:log"
        entries = self.client.xrange(key)
        self.client.delete(key)
        for entry_id, fields in entries:
            is_it = entry_id == f"{position}-0".encode()
            self.client.xadd(key, fields | ({b"i": commit_id.encode()} if is_it else {}), id=entry_id)

    def stored(self, url: str) -> int:
        """See `Store.stored`."""
        return len(self.client.keys(f"{{{name_of(url)}}}:*"))

    def say_another_text(self, url: str, position: int) -> None:
        """See `Store.say_another_text`."""
        key = f"{{{name_of(url)}}}:texts"
        missing = self.client.hget(key, str(position))
        assert b"Hello" in missing
        self.client.hset(key, str(position), missing.replace(b"Hello", b"Howdy"))

    def lose(self, url: str, position: int) -> None:
        """See `Store.lose`."""
        assert self.client.xdel(f"{{{name_of(url)}}}:log", f"{position}-0") == 1


class PostgresqlStore:
    """`Store` in PostgreSQL."""

    def url(self, name: str | None = None, *, user: str | None = None) -> str:
        """See `Store.url`."""
        return postgresql.server().url(name or postgresql.new_name(), user=user or "postgres")

    def reader_url(self, url: str) -> str:
        """See `Store.reader_url`."""
        name = name_of(url)
        _sql(f"CREATE ROLE reader_{name} LOGIN PASSWORD '{PASSWORD}'")
        asyncio.run(init_log(url, readers=f"reader_{name}"))
        return self.url(name, user=f"reader_{name}:{PASSWORD}")

    def stored(self, url: str) -> int:
        """See `Store.stored`."""
        name = name_of(url)
        if not _sql(f"SELECT 1 FROM pg_namespace WHERE nspname = '{name}'"):
            return 0
        return sum(_sql(f'SELECT count(*) FROM "{name}".{table}')[0][0] for table in ("commits", "snapshots"))

    def say_another_text(self, url: str, position: int) -> None:
        """See `Store.say_another_text`."""
        changed = "replace(body::text, 'Hello', 'Howdy')::json"
        _sql(f'UPDATE "{name_of(url)}".commits SET body = {changed} WHERE position = {position}')

    def lose(self, url: str, position: int) -> None:
        """See `Store.lose`."""
        _sql(f'DELETE FROM "{name_of(url)}".commits WHERE position = {position}')


READER_RIGHTS = (
    "publish: ['$JS.API.INFO', '$JS.API.STREAM.INFO.>', '$JS.API.STREAM.MSG.GET.>', '$JS.API.DIRECT.GET.>'],"
    " subscribe: '*.>'"
)
NATS_USERS = (
    f"authorization {{ users: [{{ user: owner, password: owner }},"
    f" {{ user: reader, password: '{PASSWORD}', permissions: {{ {READER_RIGHTS} }} }}] }}\nno_auth_user: owner"
)


class NatsStore:
    """`Store` in NATS, with the settings `NATS_USERS`."""

    def __init__(self, server: NatsServer) -> None:
        self._server = server

    def url(self, name: str | None = None, *, user: str | None = None) -> str:
        """See `Store.url`."""
        name = name or f"debugged-{next(_numbers)}"
        return f"nats://{f'{user}@' if user else ''}127.0.0.1:{self._server.port}/?synced=always&name={name}"

    def reader_url(self, url: str) -> str:
        """See `Store.reader_url`; one user may read all logs."""
        return self.url(name_of(url), user=f"reader:{PASSWORD}")

    def stored(self, url: str) -> int:
        """See `Store.stored`."""
        layout = Layout(name_of(url))

        async def count(js: JetStreamContext) -> int:
            found = {info.config.name: info.state.messages for info in await js.streams_info()}
            return sum(found.get(name, 0) for name in (layout.log_stream, f"OBJ_{layout.snapshots_store}"))

        return self._with_js(count)

    def say_another_text(self, url: str, position: int) -> None:
        """See `Store.say_another_text`; a stand-in holds the text, since a message can't be changed."""
        layout = Layout(name_of(url))

        async def replace(js: JetStreamContext) -> None:
            message = await js.get_msg(layout.log_stream, position)
            assert message.data is not None
            assert b"Hello" in message.data
            changed = message.data.replace(b"Hello", b"Howdy")
            headers = {COMMIT_HEADER: (message.headers or {})[COMMIT_HEADER]}
            await js.publish(layout.stand_in_subject(position), changed, headers=headers)
            await js.delete_msg(layout.log_stream, position)

        self._with_js(replace)

    def lose(self, url: str, position: int) -> None:
        """See `Store.lose`."""
        self._with_js(lambda js: js.delete_msg(Layout(name_of(url)).log_stream, position))

    def _with_js(self, work: Callable[[JetStreamContext], Awaitable[T]]) -> T:
        async def connected() -> T:
            client = await nats.connect(f"nats://127.0.0.1:{self._server.port}")
            try:
                return await work(client.jetstream())
            finally:
                await client.close()

        return asyncio.run(connected())


def _sql(statement: str) -> Sequence[Sequence[int]]:
    return asyncio.run(postgresql.server().sql(statement))


def on_log(url: str, work: Callable[[EventLog], Awaitable[None]]) -> None:
    """Do something as a broker of the log at `url` does."""

    async def opened() -> None:
        log = await open_log(url)
        try:
            await work(log)
        finally:
            await log.close()

    asyncio.run(opened())


def filled(url: str, commits: Sequence[Commit], delivery_records: Sequence[DeliveryRecord] = ()) -> str:
    """Store `commits` in the new log at `url`, with delivery records, as brokers do; return `url`."""

    async def fill(log: EventLog) -> None:
        await log.append(commits, expected=EMPTY_TIP)
        await log.record(delivery_records)

    on_log(url, fill)
    return url


def snapshot_of(state: State) -> Snapshot:
    """Return the snapshot of `state`."""
    return Snapshot(state.tip, state)


def loaded(url: str, dump: bytes) -> CommandResult:
    """Return the result of `log load` into the log at `url`."""
    with mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(dump))):
        return run_command("log", "load", url)


def dumped(commits: Iterable[Commit]) -> bytes:
    """Return a dump of `commits`."""
    return b"".join(encode_commit(commit) + b"\n" for commit in commits)


def dump_of(url: str) -> bytes:
    """Return the dump of the log at `url`."""
    result = run_command("log", "dump", url)
    assert (result.status, result.err) == (0, "")
    return result.out.encode()
