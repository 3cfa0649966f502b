"""What redaction removes from a commit, kept apart in Redis."""

from __future__ import annotations

import msgspec
from hypothesis import given

from broker.testing.strategies import commits
from events.codec import encode_commit
from events.commit import Commit, commit_id_of, redact
from events.redis.texts import join, join_line, split, split_line


@given(commits())
def test_a_commit_is_put_together_as_it_was(commit: Commit) -> None:
    """It is equal to the original, its id and its bytes too, whatever is in it."""
    line, missing = split(commit)
    assert line == encode_commit(redact(commit))
    restored = join(line, missing or None)
    assert restored == commit
    assert commit_id_of(restored) == commit.commit_id
    assert join_line(line, missing or None) == encode_commit(commit)


@given(commits())
def test_without_what_is_missing_a_commit_is_redacted(commit: Commit) -> None:
    """Nothing else is kept of its texts."""
    line, missing = split(commit)
    assert join(line, None) == redact(commit)
    assert (missing == b"") == (redact(commit) == commit)


@given(commits())
def test_a_line_is_split_as_its_commit(commit: Commit) -> None:
    """The two ways into the store give the same."""
    assert split_line(encode_commit(commit)) == (commit, *split(commit))


@given(commits())
def test_a_redacted_commit_has_nothing_to_miss(commit: Commit) -> None:
    """It is stored as it is."""
    redacted = redact(commit)
    assert split(redacted) == (encode_commit(redacted), b"")


@given(commits())
def test_what_is_missing_is_json(commit: Commit) -> None:
    """An operator can read it."""
    _, missing = split(commit)
    assert not missing or isinstance(msgspec.json.decode(missing), list)
