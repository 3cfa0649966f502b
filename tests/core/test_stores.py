"""The URLs of logs, as they are shown."""

from __future__ import annotations

import pytest

from broker.stores import name_of, scheme_of, without_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host/1?name=chat", "redis://host/1?name=chat"),
        ("redis://user:s3cret@host", "redis://user:***@host"),
        ("rediss://:s3cret@host:1", "rediss://:***@host:1"),
        ("postgresql://a:s3%40cret@host/db?sslmode=require", "postgresql://a:***@host/db?sslmode=require"),
        ("postgresql://host/db?password=s3cret&name=x", "postgresql://host/db?password=***&name=x"),
        ("postgresql://a:s3cret@host/db?sslpassword=s3cret", "postgresql://a:***@host/db?sslpassword=***"),
        ("postgres://a:s3cret@[host/db", "postgres://"),
        ("nats://s3cret@host:4222,other/?name=x", "nats://***@host:4222,other/?name=x"),
        ("tls://user:s3cret@host", "tls://user:***@host"),
        ("nats://user:s3cret?s3cret@host", "nats://"),
        ("redis://:s3cret/s3cret@host/1", "redis://"),
        ("postgresql://a:s3cret?x=s3cret@host/db", "postgresql://"),
        ("postgresql://host/db?user=a@b", "postgresql://host/db?user=a@b"),
        ("unix://user:s3cret@/run/a@b.sock", "unix://"),
        ("unix:///run/a@b.sock", "unix:///run/a@b.sock"),
        ("sqlite:chat.db", "sqlite:chat.db"),
    ],
)
def test_no_password_is_shown(url: str, shown: str) -> None:
    """Neither before the host nor among the parameters; all else is."""
    assert without_password(url) == shown


def test_a_url_names_its_log() -> None:
    """The default is `chat`."""
    assert [name_of(f"redis://host{rest}") for rest in ("", "/?name=", "/0?db=1&name=a%2Db")] == ["chat", "chat", "a-b"]
    assert [scheme_of(url) for url in ("redis://host", "sqlite:x", "x")] == ["redis", "", ""]
