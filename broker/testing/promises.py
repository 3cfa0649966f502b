"""The promises as a function: check a history and find a shortest one that breaks the same promise.

The cost of a commit is linear in all that is known, so this is for the histories of tests. For long logs use
`chat-broker verify`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from broker.decision import Rejection
from broker.matching import Matching
from broker.own_matching import decide_logged
from broker.testing.checked_matching import override_matchings
from broker.testing.checker import Checker, Counterexample
from broker.verification.pseudonyms import with_pseudonyms
from broker.verification.reduction import reduce_scenario
from broker.verification.repetition import are_stored
from broker.verification.scenario import LoggedCommand, Scenario, connections_in, logged_command, replay_scenario
from events.commands import SendMessage
from events.commit import EMPTY_TIP, SCHEMA_VERSION, BrokenChainError, Commit, Tip, check_link, commit_after
from events.events import Event
from projections.state import INITIAL_STATE, evolve


def check_history(commits: Sequence[Commit], *, matching: Matching | None = None) -> Counterexample | None:
    """Return the first promise broken by a log, or `None`. The log is given from position 1 on.

    The history in the result is the shortest one found; its connections, rooms, texts and times are invented, if
    it breaks the promise under those names too. Two cases are reported as they are in the log: the two commits around a
    broken link, and a history whose last command can't be decided again.

    Args:
        commits: the log, of the present schema.
        matching: used in place of the matchings of the log's policies.

    Raises:
        MatchingError: the log is decided by an operator's own matching, which is missing or failed.
        ValueError: a commit is of an older schema; `chat-broker verify` reads those.
    """
    old = next((commit for commit in commits if commit.schema != SCHEMA_VERSION), None)
    if old is not None:
        raise ValueError(f"the commit at position {old.position} is of schema {old.schema}: use chat-broker verify")
    with override_matchings(matching):
        found = _first_broken(commits, matching)
        return _with_shortest(found.history, found, matching) if found is not None else None


def _first_broken(commits: Sequence[Commit], matching: Matching | None) -> Counterexample | None:
    """Return the first broken promise, with the history up to there."""
    checker = Checker(matching)
    for number, commit in enumerate(commits, 1):
        found = checker.check(commit)
        if found is not None:
            return msgspec.structs.replace(found, history=commits[:number])
    return None


def _with_shortest(history: Sequence[Commit], found: Counterexample, matching: Matching | None) -> Counterexample:
    """Return `found`, broken by the last of `history`, with a shortest history that breaks the same promise."""
    if not _is_linked(history):
        return msgspec.structs.replace(found, history=history[-2:], is_shortest=True)

    def still_broken(scenario: Scenario) -> bool:
        return _broken_by(scenario, found.promise, matching) is not None

    scenario = _scenario_of(history)
    if scenario is None or not still_broken(scenario):
        return msgspec.structs.replace(found, history=history)
    reduced = reduce_scenario(scenario, still_broken)
    renamed = with_pseudonyms(reduced.scenario)
    last = _broken_by(renamed if still_broken(renamed) else reduced.scenario, found.promise, matching)
    assert last is not None, "a reduced scenario breaks the promise"
    # A prefix of the reduced history may break the same promise; the reduction has checked the last commit alone.
    first = _first_broken(last.history, matching)
    if first is not None and first.promise == found.promise and len(first.history) < len(last.history):
        last = _with_shortest(first.history, first, matching)
    is_shortest = reduced.is_minimal and (last.is_shortest or first is None or len(first.history) == len(last.history))
    return msgspec.structs.replace(found, evidence=last.evidence, history=last.history, is_shortest=is_shortest)


def _is_linked(history: Sequence[Commit]) -> bool:
    try:
        check_link(history[-2] if len(history) > 1 else EMPTY_TIP, history[-1])
    except BrokenChainError:
        return False
    return True


def _scenario_of(history: Sequence[Commit]) -> Scenario | None:
    """Return `history` as a scenario, or `None` if its last command can't be decided again."""
    last = history[-1]
    past = tuple(logged_command(commit) for commit in history[:-1])
    target = LoggedCommand(last.position, last.command, last.facts, frozenset(connections_in(last)))
    try:
        decided = replay_scenario(past, target, {}).decided
        # In one form: the stored texts may be redacted, and those of the past not.
        stored = decided if are_stored(decided, last) else [*last.events]
        return Scenario(past, target, decided, stored)
    except Exception:  # noqa: BLE001 - folding or deciding may fail on the fault itself
        return None


def _broken_by(scenario: Scenario, promise: int, matching: Matching | None) -> Counterexample | None:
    """Return the counterexample if the last command of `scenario` breaks `promise`."""
    try:
        history = _history_of(scenario)
        checker = Checker(matching)
        found = checker.check(history[-1]) if all(map(checker.skip, history[:-1])) else None
    except Exception:  # noqa: BLE001 - as above; a scenario that can't be replayed breaks nothing
        return None
    if found is None or found.promise != promise:
        return None
    return msgspec.structs.replace(found, history=history)


def _history_of(scenario: Scenario) -> list[Commit]:
    """Return the commits of `scenario`; the last one has the events that were stored."""
    state, commits = INITIAL_STATE, list[Commit]()
    for logged in scenario.past:
        decision = decide_logged(state, logged.command, logged.facts)
        assert not isinstance(decision, Rejection)
        commits.append(_stored(state.tip, logged, decision))
        state = evolve(state, commits[-1])
    return [*commits, _stored(state.tip, scenario.target, scenario.stored)]


def _stored(tip: Tip, logged: LoggedCommand, events: Sequence[Event]) -> Commit:
    facts = logged.facts
    if isinstance(logged.command, SendMessage) and facts.salt is None:
        facts = msgspec.structs.replace(facts, salt="salt")  # the text was redacted
    return commit_after(tip, logged.command, facts, events)
