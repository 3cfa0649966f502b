"""The check of a log's chain: beside the run in a process of its own, where the log is long and a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from broker.verification.worker_pool import Task, cores
from events.codec import UnreadableCommitError
from events.commit import BrokenChainError, Commit, Tip, check_link, check_order
from events.ids import Position
from events.log import UnusableLogError
from log_debugger.reading.sources import Source, SqliteSource, commits, open_source

LONG_COMMITS = 20_000
"""A shorter log is checked sooner than a process has started."""


@contextmanager
def checked(source: Source, tip: Tip, last: Position) -> Iterator[Iterator[Commit]]:
    """Give the commits after `tip`; after the block, those up to `last` were checked to be as stored.

    Raises:
        UnreadableCommitError: a commit can't be decoded.
        BrokenChainError: a commit was altered, or does not follow the one before.
    """
    is_long = last - tip.position > LONG_COMMITS
    if not (is_long and cores() > 1 and isinstance(source, SqliteSource)):
        yield _linked(source, tip)
        return
    task = Task(lambda: _fault(source.name, tip, last))
    try:
        yield _in_order(source, tip)
    except Exception:
        _raise(task.result())  # the cause of the other error, perhaps
        raise
    except BaseException:
        task.end()
        raise
    _raise(task.result())


def _linked(source: Source, tip: Tip | Commit) -> Iterator[Commit]:
    for commit in commits(source, tip.position):
        check_link(tip, commit)
        tip = commit
        yield commit


def _in_order(source: Source, tip: Tip | Commit) -> Iterator[Commit]:
    for commit in commits(source, tip.position):
        check_order(tip, commit)
        tip = commit
        yield commit


def _fault(name: str, tip: Tip, last: Position) -> str | None:
    """Return what is wrong with the commits after `tip` up to `last`; `None` if nothing is."""
    try:
        with closing(open_source(name)) as source:
            for commit in _linked(source, tip):
                if commit.position >= last:
                    break
    except (BrokenChainError, UnreadableCommitError, UnusableLogError) as error:
        return str(error)
    return None


def _raise(fault: str | None) -> None:
    if fault is not None:
        raise BrokenChainError(fault)
