"""Passes over the lines of a log, up to the first commit that something is wrong with: what checking a log costs.

Whatever can't have happened may fail in any way, so a pass takes any exception for a commit that is not sound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from broker.decide import decide
from events.codec import decode_commit
from events.commit import Commit, Tip, check_link
from projections.invariants import CheckedFold
from projections.state import StateMutation

Pass = Callable[[StateMutation, Sequence[bytes]], int]
"""Folds commits up to the first that it finds wrong, and says how many there are before that."""

BATCH_COMMITS: Final = 64
"""So many are read and linked, then decided and folded: each of the two finds its code in the processor's caches."""


def fold_lines(folding: StateMutation, lines: Sequence[bytes]) -> int:
    """Let the commits in `lines` have happened, unchecked."""
    for done, line in enumerate(lines):
        try:
            folding.fold(decode_commit(line))
        except Exception:  # noqa: BLE001 - whoever checks these lines says what it was
            return done
    return len(lines)


def check_lines(folding: StateMutation, lines: Sequence[bytes]) -> int:
    """Let the commits in `lines` have happened, up to the first that is not sound.

    One is sound if it follows the one before it, if deciding its command again with its facts gives its events, and if
    no promise is broken by the step from the state before it to the one after.
    """
    checked = CheckedFold(folding)
    for start in range(0, len(lines), BATCH_COMMITS):
        batch = lines[start : start + BATCH_COMMITS]
        sound = _count_sound(checked, _decode_linked(folding.tip, batch))
        if sound < len(batch):
            return start + sound
    return len(lines)


def _decode_linked(last: Tip | Commit, lines: Sequence[bytes]) -> Sequence[Commit]:
    """The commits in `lines`, up to the first that does not follow or is not what was stored."""
    commits: list[Commit] = []
    try:
        for line in lines:
            commit = decode_commit(line)
            check_link(last, commit)
            commits.append(commit)
            last = commit
    except Exception:  # noqa: BLE001 - see above; `checking` says what it was
        return commits
    return commits


def _count_sound(checked: CheckedFold, commits: Sequence[Commit]) -> int:
    """How many of them are sound, if they follow each other; those have happened then."""
    folding = checked.folding
    try:
        for done, commit in enumerate(commits):
            decision = decide(folding, commit.command, commit.facts)
            if not decision or type(decision) is not list or tuple(decision) != commit.events:
                return done  # also where it is empty: that is none to be stored
            if checked.step(commit):
                return done
    except Exception:  # noqa: BLE001 - see above
        return done
    return len(commits)
