"""Deciding a stored command again."""

from __future__ import annotations

from broker.decision import Decision
from broker.own_matching import decide_logged
from broker.verification.repetition import is_repeated
from log_debugger.reading.sources import Step


def decide_again(step: Step) -> Decision | None:
    """Return the present decision on the stored command; `None` if deciding it fails.

    Raises:
        MatchingError: the log's own matching is missing or failed.
    """
    try:
        return decide_logged(step.before, step.commit.command, step.commit.facts)
    except (AssertionError, AttributeError, LookupError, TypeError):
        return None  # no broker made this commit


def is_reproduced(step: Step) -> bool:
    """Return `True` if deciding the stored command again gives the stored events."""
    decision = decide_again(step)
    return decision is not None and is_repeated(step.before, step.commit, decision)
