"""The fault of a state or of a commit: its first broken promise, with evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from broker.decision import Rejection
from broker.matching import MatchingError
from broker.own_matching import decide_logged
from broker.verification.repetition import is_repeated
from broker.verification.safe_text import diff, safe, safe_repr
from events.commit import Commit
from events.events import Event, RoomOpened
from projections.invariants import Violation, check_events, check_state, check_step
from projections.state import State, evolve


class ViolationReport(NamedTuple):
    """The first broken promise with lines of evidence; all text is safe for a terminal."""

    violation: Violation
    evidence: Sequence[str] = ()


def state_fault(state: State) -> ViolationReport | None:
    """Return the first promise broken by `state`, if any."""
    return next((_safe_report(violation) for violation in check_state(state)), None)


def explain(before: State, commit: Commit) -> ViolationReport:
    """Return the fault of `commit`, an unsound one after `before`.

    Raises:
        MatchingError: it was decided by an operator's own matching, which is missing or failed.
    """
    decided, is_stored = _decide_again(before, commit)
    violations = [*_step_violations(before, commit), *_decision_violations(commit, decided, is_stored=is_stored)]
    evidence = diff(commit.events, decided) if not is_stored else []
    return _safe_report(violations[0], [f"the command is {safe_repr(commit.command)}", *evidence])


def _safe_report(violation: Violation, evidence: Sequence[str] = ()) -> ViolationReport:
    return ViolationReport(Violation(violation.promise, violation.position, safe(violation.what)), evidence)


def _step_violations(before: State, commit: Commit) -> list[Violation]:
    """Return the violations of the step, also of one that can't be folded."""
    try:
        return check_step(before, commit, evolve(before, commit))
    except Exception:  # noqa: BLE001 - see `broker.verification.bulk_check`
        return check_events(before, commit)


def _decide_again(before: State, commit: Commit) -> tuple[Sequence[Event | Rejection], bool]:
    """Return the decision on the command of `commit`, and whether `commit` stores the same."""
    try:
        decision = decide_logged(before, commit.command, commit.facts)
        is_stored = [*commit.events] == decision or is_repeated(before, commit, decision)
    except MatchingError:
        raise
    except Exception:  # noqa: BLE001 - see `broker.verification.bulk_check`
        return [], not commit.events
    return [decision] if isinstance(decision, Rejection) else decision, is_stored


def _decision_violations(
    commit: Commit, decided: Sequence[Event | Rejection], *, is_stored: bool
) -> Iterator[Violation]:
    stored_pairs, pairs = _pairs(commit.events), _pairs(decided)
    if stored_pairs != pairs and not is_stored:
        yield Violation(3, commit.position, f"paired were {_named(stored_pairs)}, to be paired {_named(pairs)}")
    if not is_stored:
        yield Violation(6, commit.position, "deciding the command again does not give the events that are stored")
    if not commit.events:
        yield Violation(6, commit.position, "a command that led to nothing is stored")
    yield Violation(6, commit.position, "the commit can't be folded")


def _pairs(events: Sequence[Event | Rejection]) -> list[tuple[str, str]]:
    return [(event.first, event.second) for event in events if isinstance(event, RoomOpened)]


def _named(pairs: Sequence[tuple[str, str]]) -> str:
    return " and ".join(f"{first} with {second}" for first, second in pairs) or "nobody"
