"""Checking many lines of a log at once, up to the first unsound commit: the hot loop of a check.

An impossible commit may fail in any way, so every exception counts as unsound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from broker.own_matching import decide_logged
from broker.verification.repetition import is_repeated
from events.codec import decode_commit
from events.commit import Commit, Tip, check_link
from projections.invariants import CheckedFold
from projections.state import StateMutation

BATCH_COMMITS: Final = 64
"""Commits that are first decoded and linked, then decided and folded: each loop keeps its code in the CPU's caches."""


def fold_lines(folding: StateMutation, lines: Sequence[bytes]) -> int:
    """Fold the commits in `lines`, unchecked. Return how many were folded."""
    for done, line in enumerate(lines):
        try:
            folding.fold(decode_commit(line))
        except Exception:  # noqa: BLE001 - the check of these lines reports the error
            return done
    return len(lines)


def check_lines(folding: StateMutation, lines: Sequence[bytes]) -> int:
    """Fold the commits in `lines` up to the first unsound one. Return how many were sound.

    A commit is sound if it follows the one before it, if deciding its command again with its facts gives its events,
    and if the step between the states before and after it breaks no promise.
    """
    checked = CheckedFold(folding)
    for start in range(0, len(lines), BATCH_COMMITS):
        batch = lines[start : start + BATCH_COMMITS]
        sound = _count_sound(checked, _decode_linked(folding.tip, batch))
        if sound < len(batch):
            return start + sound
    return len(lines)


def _decode_linked(last: Tip | Commit, lines: Sequence[bytes]) -> Sequence[Commit]:
    """Return the commits in `lines`, up to the first broken link or altered commit."""
    commits: list[Commit] = []
    try:
        for line in lines:
            commit = decode_commit(line)
            check_link(last, commit)
            commits.append(commit)
            last = commit
    except Exception:  # noqa: BLE001 - see above; `faults` explains the error
        return commits
    return commits


def _count_sound(checked: CheckedFold, commits: Sequence[Commit]) -> int:
    """Fold linked commits up to the first unsound one, and return how many were sound."""
    folding = checked.folding
    try:
        for done, commit in enumerate(commits):
            decision = decide_logged(folding, commit.command, commit.facts)
            is_equal = type(decision) is list and tuple(decision) == commit.events
            if not commit.events or not (is_equal or is_repeated(folding, commit, decision)):
                return done  # also if it is empty: then there is nothing to store
            if checked.step(commit):
                return done
    except Exception:  # noqa: BLE001 - see above
        return done
    return len(commits)
