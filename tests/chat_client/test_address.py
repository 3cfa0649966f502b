"""The address of a broker, as people write it."""

from __future__ import annotations

import pytest

from chat_client import AddressError, Stranger
from chat_client.address import endpoint


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("localhost:8000", "http://localhost:8000/mcp"),
        ("127.0.0.1:8140", "http://127.0.0.1:8140/mcp"),
        ("[::1]:8000", "http://[::1]:8000/mcp"),
        ("::1", "http://[::1]/mcp"),
        ("192.168.1.5", "http://192.168.1.5/mcp"),
        ("chat.localhost", "http://chat.localhost/mcp"),
        ("chat.example.com", "https://chat.example.com/mcp"),
        ("chat.example.com:8443/", "https://chat.example.com:8443/mcp"),
        ("http://chat.example.com", "http://chat.example.com/mcp"),
        (" https://example.com/chat/mcp ", "https://example.com/chat/mcp"),
        ("https://example.com/mcp?key=1#top", "https://example.com/mcp?key=1"),
    ],
)
def test_scheme_and_path_may_be_left_out(written: str, url: str) -> None:
    """The usual is added: `/mcp`, and plain HTTP for this machine and for addresses in digits."""
    assert endpoint(written) == url
    assert Stranger(written).url == url


@pytest.mark.parametrize(
    "written", ["", "  ", "ftp://example.com", "http://", "localhost:eight", "a b", "localhost:99999", "[::1", "a\x1bb"]
)
def test_no_address_is_an_error_in_words(written: str) -> None:
    """The error says how to write an address, and repeats no text harmful to a terminal."""
    with pytest.raises(AddressError) as caught:
        endpoint(written)
    assert "address of a broker" in str(caught.value)
    assert str(caught.value).isprintable()
