"""The removable texts of a commit, kept apart in Redis."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings

from broker.testing.strategies import commits
from events.codec import decode_commit, encode_commit, redact_line
from events.commit import Commit, commit_id_of, redact
from events.redis.texts import join, join_line, split, split_line
from tests.core.test_codec import LINES
from tests.support.examples import scaled


@settings(deadline=None, max_examples=scaled(75))
@given(commits())
def test_a_commit_is_put_together_as_it_was(commit: Commit) -> None:
    """It is equal to the original, its id and its bytes too, with any content."""
    line, missing = split(commit)
    assert line == encode_commit(redact(commit))
    restored = join(line, missing or None)
    assert restored == commit
    assert commit_id_of(restored) == commit.commit_id
    assert join_line(line, missing or None) == encode_commit(commit)
    assert split_line(encode_commit(commit)) == (commit, line, missing)
    assert not missing or isinstance(msgspec.json.decode(missing), list)


@settings(deadline=None, max_examples=scaled(75))
@given(commits())
def test_without_what_is_missing_a_commit_is_redacted(commit: Commit) -> None:
    """Nothing else is kept of its texts; a redacted commit is stored as it is."""
    line, missing = split(commit)
    redacted = redact(commit)
    assert join(line, None) == redacted
    assert (missing == b"") == (redacted == commit)
    assert split(redacted) == (encode_commit(redacted), b"")


@pytest.mark.parametrize("line", LINES, ids=range(1, len(LINES) + 1))
def test_the_line_of_any_schema_comes_back_byte_by_byte(line: bytes) -> None:
    """Without its texts, the line is that of the redacted commit."""
    commit, stored, missing = split_line(line)
    assert commit == decode_commit(line)
    assert join_line(stored, missing or None) == line
    assert join(stored, missing or None) == commit
    assert join_line(stored, None) in (redact_line(line), line)
    assert (missing == b"") == (decode_commit(redact_line(line)) == commit)


def test_a_line_that_is_spelled_in_another_way_is_kept_whole() -> None:
    """Its text goes with it."""
    line = next(line for line in LINES if b'"text":"' in line and decode_commit(line).schema == 3)
    spaced = line.replace(b'"schema":', b'"schema": ')
    _, stored, missing = split_line(spaced)
    assert missing == spaced
    assert join_line(stored, missing) == spaced
    assert join_line(stored, None) == redact_line(line)
