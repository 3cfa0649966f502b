"""URLs of all shared stores with a password that ends too early."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broker.stores import without_password
from events.log import UnusableLogError
from events.nats.address import parse as parse_nats
from events.postgresql.address import address_of as parse_postgresql
from events.redis.address import parse as parse_redis

PARSERS: tuple[tuple[str, Callable[[str], object]], ...] = (
    ("nats", parse_nats),
    ("tls", parse_nats),
    ("redis", parse_redis),
    ("rediss", parse_redis),
    ("postgresql", parse_postgresql),
)


@pytest.mark.parametrize(
    "password", ["s3cr3t/s3cr3t", "s3cr3t?s3cr3t", "s3cr3t?x=s3cr3t", "s3cr3t#s3cr3t", "s3/cr3t?s3cr3t"]
)
@pytest.mark.parametrize(("scheme", "parse"), PARSERS)
def test_a_password_that_is_not_escaped_is_not_shown(
    scheme: str, parse: Callable[[str], object], password: str
) -> None:
    """Its rest would be taken for a port, a path or a setting. The refusal says how to write it."""
    for user in ("user:", ":"):
        url = f"{scheme}://{user}{password}@host/?name=chat"
        with pytest.raises(
            UnusableLogError, match=r"write / in a password as %2F, \? as %3F, # as %23 and @ as %40"
        ) as refused:
            parse(url)
        assert "cr3t" not in str(refused.value)
        assert without_password(url) == f"{scheme}://"


@pytest.mark.parametrize(("scheme", "parse"), PARSERS)
def test_a_bracket_that_is_not_closed_is_refused(scheme: str, parse: Callable[[str], object]) -> None:
    """It belongs to an IPv6 address, or into a password as an escape."""
    with pytest.raises(UnusableLogError, match="is malformed: write") as refused:
        parse(f"{scheme}://user:[s3cr3t@host/")
    assert "s3cr3t" not in str(refused.value)
