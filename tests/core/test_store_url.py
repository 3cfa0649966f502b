"""A store's URL is taken apart only if its password ends where it should."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from events.log import UnusableLogError
from events.store_url import split_url


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:s3cret@host:6379/?name=chat",
        "redis://user:s%2Fcr%3Fe%23t%40@host",
        "nats://one,two/?name=chat&creds=/home/me@work/chat.creds",
        "postgresql:///chat?host=/run/me@work",
    ],
)
def test_a_sound_url_is_taken_apart(url: str) -> None:
    """An `@` in a setting's value, or escaped, is no fault."""
    assert split_url(url) == urlsplit(url)


@pytest.mark.parametrize("character", "/?#")
def test_a_password_that_ends_early_is_refused_unshown(character: str) -> None:
    """The refusal names the escapes."""
    with pytest.raises(UnusableLogError, match="write / in a password as %2F") as refusal:
        split_url(f"redis://user:sec{character}ret@host/?name=chat")
    assert "sec" not in str(refusal.value)


def test_brackets_without_an_address_are_refused() -> None:
    """The refusal says where they belong."""
    with pytest.raises(UnusableLogError, match=r"write \[ and \] only around an IPv6 address"):
        split_url("redis://[host/")
