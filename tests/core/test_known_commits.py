"""Known commits are found by position and id; the oldest make room."""

from __future__ import annotations

from events.known_commits import KNOWN_COMMITS_MAX, KnownCommits
from tests.support.log_contract import chain


def test_a_commit_is_found_under_its_own_id_alone() -> None:
    """Another broker's commit at the same position is another one."""
    first, second = chain(2)
    known = KnownCommits()
    known.add([first, second])
    assert known.find(2, second.commit_id) is second
    assert known.find(2, first.commit_id) is None
    assert known.find(3, second.commit_id) is None


def test_the_oldest_make_room() -> None:
    """So many are kept as can come again."""
    commits = chain(KNOWN_COMMITS_MAX + 1)
    known = KnownCommits()
    known.add(commits)
    assert known.find(1, commits[0].commit_id) is None
    assert known.find(2, commits[1].commit_id) is commits[1]
