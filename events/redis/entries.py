"""Entries of the log's stream as commits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from events.codec import UnreadableCommitError
from events.commit import Commit, Tip
from events.ids import CommitId, Position
from events.known_commits import KnownCommits
from events.log import LogRolledBackError, LogUnavailableError, UnusableLogError
from events.redis.texts import join

RESTORE = "restore it from a backup"
_PLAIN_FIELDS = 4
"""So many names and values has an entry without texts: `i`, the commit's id, `c` and its line. Others have `t` too."""

Entry = tuple[bytes, Sequence[bytes]]


def position_of(entry: Entry) -> Position:
    """Return the position in the id of an entry, `<position>-0`."""
    return int(entry[0].partition(b"-")[0])


def is_split(entry: Entry) -> bool:
    """Return whether the entry's line had texts, which stand in the hash."""
    return len(entry[1]) > _PLAIN_FIELDS


def with_missing(entries: Sequence[Entry], texts: Sequence[bytes | None]) -> Iterator[tuple[Entry, bytes | None]]:
    """Return each entry with what its line lacks; `None` if it lacks nothing, or it was redacted."""
    found = iter(texts)
    for entry in entries:
        yield entry, next(found) if is_split(entry) else None


def is_redacted(entry: Entry, missing: bytes | None) -> bool:
    """Return whether the entry's texts were redacted."""
    return missing is None and is_split(entry)


def commit_of(entry: Entry, missing: bytes | None) -> Commit:
    """Return the commit of an entry.

    Raises:
        UnusableLogError: it is damaged, or newer than this program.
        BrokenChainError: it is of an older schema, and was altered.
    """
    try:
        return join(entry[1][3], missing)
    except (UnreadableCommitError, msgspec.DecodeError, LookupError) as error:
        raise unreadable(position_of(entry), error) from error


def unreadable(position: Position, error: Exception) -> UnusableLogError:
    """Return the error for a commit that is damaged, or newer than this program."""
    remedy = f"{RESTORE}, or use a newer version of this program"
    return UnusableLogError(f"the log's commit at position {position} can't be read ({error}); {remedy}")


def commits_of(entries: Sequence[Entry], texts: Sequence[bytes | None]) -> list[Commit]:
    """Return the commits of entries. Raises as `commit_of`."""
    return [commit_of(entry, missing) for entry, missing in with_missing(entries, texts)]


def commits_known(known: KnownCommits, entries: Sequence[Entry], texts: Sequence[bytes | None]) -> list[Commit]:
    """Return the commits of entries, undecoded if `known` has them, and add all to it. Raises as `commit_of`."""
    commits = [
        (not is_redacted(entry, missing) and known.find(position_of(entry), entry[1][1].decode()))
        or commit_of(entry, missing)
        for entry, missing in with_missing(entries, texts)
    ]
    known.add(commits)
    return commits


def tip_of(position: int, commit_id: bytes) -> Tip:
    """Return a tip as the scripts answer it."""
    return Tip(position, CommitId(commit_id.decode()))


IS_LOADING, IS_GONE = -2, -3
"""Answers of scripts that found no log to work on."""

GONE = "the log is gone from Redis; restore it, or start again"


def check_answer(answer: Any) -> Any:
    """Return a script's `answer`.

    Raises:
        LogUnavailableError: the log is gone, or is being loaded.
    """
    if answer[0] == IS_GONE:
        raise LogUnavailableError(GONE)
    if answer[0] == IS_LOADING:
        raise LogUnavailableError("the log is being loaded")
    return answer


def check_folded(answer: Any) -> Any:
    """Return a script's `answer` to a broker that has folded the log.

    Raises:
        LogRolledBackError: the log is gone. Waiting does not help, so the broker has to start again.
        LogUnavailableError: it is being loaded.
    """
    if answer[0] == IS_GONE:
        raise LogRolledBackError(GONE)
    return check_answer(answer)
