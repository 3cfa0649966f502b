"""The position at which two logs part.

Commits are chained by hashes, so two logs with the same commit at a position have the same ones before. A commit of
which texts were redacted has the id that it had: it is the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Literal, NamedTuple

from broker.verification.safe_text import safe
from events.codec import UnreadableCommitError, decode_commit
from events.commit import BrokenChainError, Commit, Tip, check_link
from events.ids import CommitId, Position
from events.text import RedactedText
from log_debugger.reading.sources import Source

PAGE_COMMITS = 1_000

Relation = Literal["equal", "a_is_prefix", "b_is_prefix", "parted", "apart"]
"""`apart`: one ends before the other begins, so nothing can be compared."""


class RedactedRange(NamedTuple):
    """The commits of one log that have less text than those of the other."""

    commits: int = 0
    first: Position = 0
    last: Position = 0

    def with_commit(self, position: Position) -> RedactedRange:
        """Return the range with one more commit."""
        return RedactedRange(self.commits + 1, self.first or position, position)


class Parting(NamedTuple):
    """The outcome of a comparison of logs A and B.

    They are compared after position `start`, where the later one begins. `common` is the last position at which both
    have the same commit; `None` if there is none from `start` on.
    """

    relation: Relation
    start: Position
    common: Position | None
    a_tip: Position
    b_tip: Position
    a_redacted: RedactedRange = RedactedRange()
    b_redacted: RedactedRange = RedactedRange()
    is_other_base: bool = False
    """Both begin after the same commit, and their snapshots there say different things."""


def parting_of(a: Source, b: Source, advance: Callable[[int], None] = lambda commits: None) -> Parting:
    """Compare two logs. `advance` is told the number of compared commits.

    Raises:
        UnreadableCommitError: a commit can't be decoded.
        BrokenChainError: a commit was altered.
    """
    start, tips = max(a.base.tip.position, b.base.tip.position), (a.tip().position, b.tip().position)
    if min(tips) < start:
        return Parting("apart", start, None, *tips)
    if _id_at(a, start) != _id_at(b, start):
        return Parting("parted", start, None, *tips)
    end, position, redacted = min(tips), start, (RedactedRange(), RedactedRange())
    pairs = zip(a.lines(start), b.lines(start), strict=False)
    for position, (one, other) in enumerate(islice(pairs, end - start), start + 1):
        if one != other:
            found = _less_text(a, b, position, one, other)
            if found is None:
                return Parting("parted", start, position - 1, *tips, *redacted, _is_other_base(a, b))
            redacted = (
                redacted[0].with_commit(position) if found[0] else redacted[0],
                (redacted[1].with_commit(position) if found[1] else redacted[1]),
            )
        if position % PAGE_COMMITS == 0:
            advance(PAGE_COMMITS)
    relation: Relation = "equal" if tips[0] == tips[1] else "a_is_prefix" if tips[0] < tips[1] else "b_is_prefix"
    return Parting(relation, start, position, *tips, *redacted, _is_other_base(a, b))


@contextmanager
def named_errors(source: Source) -> Iterator[None]:
    """Name `source` in an error about one of its commits."""
    try:
        yield
    except (BrokenChainError, UnreadableCommitError) as error:
        if str(error).startswith(source.name):
            raise
        raise type(error)(f"{source.name}: {error}") from error


def _id_at(source: Source, position: Position) -> CommitId:
    if position == source.base.tip.position:
        return source.base.tip.commit_id
    return _commit(source, position, next(source.lines(position - 1))).commit_id


def _commit(source: Source, position: Position, line: bytes) -> Commit:
    with named_errors(source):
        try:
            return decode_commit(line)
        except UnreadableCommitError as error:
            raise UnreadableCommitError(f"{source.name}, position {position}: {safe(str(error))}") from None


def _less_text(a: Source, b: Source, position: Position, one: bytes, other: bytes) -> tuple[bool, bool] | None:
    """Return whether the line of A, and that of B, has less text than the other; `None` for two commits."""
    commits = [_commit(source, position, line) for source, line in ((a, one), (b, other))]
    if commits[0].commit_id != commits[1].commit_id:
        return None
    for source, commit in zip((a, b), commits, strict=True):
        with named_errors(source):
            check_link(Tip(position - 1, commit.previous_id), commit)
    if commits[0] == commits[1]:
        return False, False
    redacted, others = map(_redacted_fields, commits)
    return bool(redacted - others), bool(others - redacted)


def _redacted_fields(commit: Commit) -> set[tuple[int, str]]:
    holders = enumerate((commit.command, *commit.events))
    return {
        (number, name)
        for number, holder in holders
        for name in holder.__struct_fields__
        if isinstance(getattr(holder, name), RedactedText)
    }


def _is_other_base(a: Source, b: Source) -> bool:
    return a.base.tip == b.base.tip and a.base.state != b.base.state
