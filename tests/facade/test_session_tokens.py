"""A session's id is a sealed token: a broker of its log can read it, and no client can forge it."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from events.ids import connection_id_of, handle_from
from mcp_facade.session_tokens import PREFIX, VERSIONS, TokenSealer

NOW_MS = 1_790_000_000_123
RANDOM = bytes(range(16))
SEALER = TokenSealer(b"s" * 32)
SESSION_ID = SEALER.seal("2025-06-18", NOW_MS, RANDOM)


def test_a_token_says_what_was_negotiated_and_when() -> None:
    """The times are exact to the second; a token has 54 visible characters."""
    token = SEALER.open(SESSION_ID)
    assert token is not None
    assert (token.version, token.made_ms, token.random) == ("2025-06-18", 1_790_000_000_000, RANDOM)
    assert len(SESSION_ID) == 54
    assert all("!" <= character <= "~" for character in SESSION_ID)


def test_every_version_with_a_handshake_has_a_place() -> None:
    """The place is permanent, since tokens hold its number."""
    assert VERSIONS == ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
    assert set(VERSIONS) == set(HANDSHAKE_PROTOCOL_VERSIONS)


@given(at=st.integers(0, 53), character=st.sampled_from("Aa0_-é\0="))
def test_a_token_with_another_character_is_none(at: int, character: str) -> None:
    """The character may be anywhere, also at spare bits of its base64."""
    other = SESSION_ID[:at] + character + SESSION_ID[at + 1 :]
    assert other == SESSION_ID or SEALER.open(other) is None


@pytest.mark.parametrize(
    "other",
    [
        "",
        PREFIX,
        SESSION_ID[:-1],
        SESSION_ID + "=",
        SESSION_ID + "A",
        SESSION_ID.removeprefix(PREFIX),
        SESSION_ID.replace(PREFIX, "cb_"),
        PREFIX + "A" * 51,
        "0123456789abcdef0123456789abcdef",
    ],
)
def test_other_texts_are_no_tokens(other: str) -> None:
    """None of them raises anything."""
    assert SEALER.open(other) is None


def test_another_logs_token_is_none_of_ours() -> None:
    """Each log has its own secret."""
    assert TokenSealer(b"t" * 32).open(SESSION_ID) is None


def test_a_session_has_a_handle_of_its_own() -> None:
    """It is the same for the same token and log, another for any other, and not to be derived from the token."""
    token, other = SEALER.open(SESSION_ID), SEALER.open(SEALER.seal("2025-06-18", NOW_MS, RANDOM[::-1]))
    assert token is not None
    assert other is not None
    handle = SEALER.own_handle(token)
    assert handle == SEALER.own_handle(token)
    assert len({handle, SEALER.own_handle(other), TokenSealer(b"t" * 32).own_handle(token)}) == 3
    assert base64.urlsafe_b64decode(handle.removeprefix("cb_")) not in base64.urlsafe_b64decode(SESSION_ID[3:] + "=")


def test_a_handle_is_locked_with_the_session() -> None:
    """Only the session's id opens it, and only for its own connection."""
    token, other = SEALER.open(SESSION_ID), SEALER.open(SEALER.seal("2025-06-18", NOW_MS, RANDOM[::-1]))
    assert token is not None
    assert other is not None
    handle = handle_from(bytes(range(100, 124)))
    connection_id = connection_id_of(handle)
    locked = token.lock(connection_id, handle)
    assert token.unlock(connection_id, locked) == handle
    assert other.unlock(connection_id, locked) is None
    assert token.unlock(connection_id_of("cb_other"), locked) is None
    assert base64.urlsafe_b64decode(handle.removeprefix("cb_")) != locked


def test_a_records_key_does_not_lead_back_to_the_session() -> None:
    """It is a hash of the whole id."""
    token = SEALER.open(SESSION_ID)
    assert token is not None
    assert len(token.record_key) == 32
    assert token.record_key not in SESSION_ID
