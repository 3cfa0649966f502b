"""An unreadable log in a store is refused in one line without a password. Nothing is made."""

from __future__ import annotations

import sys

import pytest

from tests.log_debugger.logs import conversation, run_command
from tests.stores.debugger_logs import PASSWORD, PostgresqlStore, RedisStore, Store, dumped, filled, loaded, name_of
from tests.support.process import free_port


def refused(*arguments: str) -> str:
    """Return the line."""
    result = run_command(*arguments)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("chat-broker: ")
    assert result.err.count("\n") == 1
    assert PASSWORD not in result.err
    return result.err


def test_no_log_of_that_name(store: Store) -> None:
    """The line has the name, and the setting `?name=` for another."""
    url = store.url()
    for command in (("verify", url), ("log", "trim", url, "--before", "1")):
        text = refused(*command)
        assert name_of(url) in text
        assert "?name=" in text
    assert store.stored(url) == 0


@pytest.mark.parametrize("scheme", ["redis", "rediss", "postgresql", "postgres"])
def test_a_store_that_is_not_there(scheme: str) -> None:
    """The line has its URL."""
    text = refused("verify", f"{scheme}://user:{PASSWORD}@127.0.0.1:{free_port()}/")
    assert f"{scheme}://user:***@127.0.0.1" in text
    assert "can't be reached" in text


def test_a_socket_that_is_not_there() -> None:
    """The line names its path."""
    assert "unix:///no/such.sock: Redis can't be reached" in refused("verify", "unix:///no/such.sock")


def test_a_wrong_password(store: Store) -> None:
    """The wrong password is not shown either."""
    right = store.reader_url(filled(store.url(), conversation().commits))
    assert "password" in refused("verify", right.replace(PASSWORD, f"{PASSWORD}-no"))


@pytest.mark.parametrize(
    ("scheme", "extra", "library"), [("redis", "redis", "redis"), ("postgres", "postgresql", "asyncpg")]
)
def test_a_missing_library(scheme: str, extra: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says what to install."""
    for name in list(sys.modules):
        if name.partition(".")[0] == library or name.startswith(f"events.{extra}"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    url = f"{scheme}://host/db"
    install = f"install mcp-chat-broker with its extra '{extra}'"
    for command in (("verify", url), ("log", "dump", url), ("log", "trim", url, "--before", "2")):
        assert install in refused(*command)
    assert install in loaded(url, dumped(conversation().commits)).err


def test_foreign_keys(valkey: RedisStore) -> None:
    """The line names the key."""
    url = valkey.url()
    key = f"{{{name_of(url)}}}:meta"
    valkey.client.set(key, "x")
    assert f"Redis has a key {key} that is no log of this program" in refused("verify", url)


def test_a_foreign_schema() -> None:
    """The line names the schema."""
    store = PostgresqlStore()
    assert "public" in refused("verify", store.url("public"))


def test_a_user_without_rights(valkey: RedisStore) -> None:
    """The line has the missing rights."""
    url = filled(valkey.url(), conversation().commits)
    valkey.client.execute_command("ACL", "SETUSER", "nothing", "reset", "on", f">{PASSWORD}", "+@connection")
    text = refused("verify", valkey.url(name_of(url), user=f"nothing:{PASSWORD}"))
    assert "lacks rights; give it ~{NAME}:* +@read +@connection" in text


def test_a_malformed_url() -> None:
    """The line says what is wrong with it."""
    assert "unknown setting 'nmae'" in refused("verify", f"redis://:{PASSWORD}@host/?nmae=x")


def test_a_log_in_memory() -> None:
    """Only its broker can read it."""
    assert "redis://HOST, postgresql://HOST/DATABASE or nats://HOST" in refused("verify", "memory:")
