"""The promises as a function: whether a history keeps them, and if not, which is broken, where, and by how little.

After each commit all that is known is looked through, so this is for the histories of tests; for a long log there is
`chat-broker verify`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from broker.decide import Rejection, decide
from broker.matching import Matching
from broker.testing.matchings import standing_in
from broker.testing.witness import Broken, Witness
from broker.verification.pseudonyms import with_aliases
from broker.verification.scenario import Asked, Scenario, asked_in, connections_in, relive
from broker.verification.smallest import smallest
from events.commands import SendMessage
from events.commit import EMPTY_TIP, SCHEMA_VERSION, BrokenChainError, Commit, Tip, check_link, commit_after
from events.events import Event
from projections.state import INITIAL_STATE, evolve


def check_history(commits: Sequence[Commit], *, matching: Matching | None = None) -> Broken | None:
    """The first promise that a log, given from position 1 on, does not keep; `None` if it keeps them all.

    `matching` stands in for whatever the log's policy names. The history that is reported is the shortest that could
    be found; people, rooms, texts and times in it are made up, as long as it breaks the promise all the same. Of a
    broken chain the two commits are shown as they are, and so is a history whose last command can't be decided again.

    Raises:
        ValueError: a commit is of an older schema; those are for `chat-broker verify`.
    """
    old = next((commit for commit in commits if commit.schema != SCHEMA_VERSION), None)
    if old is not None:
        raise ValueError(f"the commit at position {old.position} is of schema {old.schema}: use chat-broker verify")
    with standing_in(matching):
        broken = _first_broken(commits, matching)
        return _with_shortest(broken.history, broken, matching) if broken is not None else None


def _first_broken(commits: Sequence[Commit], matching: Matching | None) -> Broken | None:
    """The first promise that is broken, with all the history that there is up to then."""
    witness = Witness(matching)
    for number, commit in enumerate(commits, 1):
        broken = witness.see(commit)
        if broken is not None:
            return msgspec.structs.replace(broken, history=commits[:number])
    return None


def _with_shortest(history: Sequence[Commit], broken: Broken, matching: Matching | None) -> Broken:
    """`broken`, by the last of `history`, with as little history as still breaks the same promise."""
    if not _is_linked(history):
        return msgspec.structs.replace(broken, history=history[-2:], is_shortest=True)

    def still(scenario: Scenario) -> bool:
        return _broken_by(scenario, broken.promise, matching) is not None

    scenario = _scenario_of(history)
    if scenario is None or not still(scenario):
        return msgspec.structs.replace(broken, history=history)
    found = smallest(scenario, still)
    renamed = with_aliases(found.scenario)
    last = _broken_by(renamed if still(renamed) else found.scenario, broken.promise, matching)
    assert last is not None, "what was found breaks the promise"
    # Less may have come to break it in the midst of what is left, where nobody has looked.
    first = _first_broken(last.history, matching)
    if first is not None and first.promise == broken.promise and len(first.history) < len(last.history):
        last = _with_shortest(first.history, first, matching)
    is_shortest = found.is_minimal and (last.is_shortest or first is None or len(first.history) == len(last.history))
    return msgspec.structs.replace(broken, evidence=last.evidence, history=last.history, is_shortest=is_shortest)


def _is_linked(history: Sequence[Commit]) -> bool:
    try:
        check_link(history[-2] if len(history) > 1 else EMPTY_TIP, history[-1])
    except BrokenChainError:
        return False
    return True


def _scenario_of(history: Sequence[Commit]) -> Scenario | None:
    """`history` as what was asked for, if its last command can be decided again."""
    last = history[-1]
    past = tuple(asked_in(commit) for commit in history[:-1])
    target = Asked(last.position, last.command, last.facts, frozenset(connections_in(last)))
    try:
        return Scenario(past, target, relive(past, target, {}).decided, [*last.events])
    except Exception:  # noqa: BLE001 - a fault may be one that folding or deciding stumbles over
        return None


def _broken_by(scenario: Scenario, promise: int, matching: Matching | None) -> Broken | None:
    """How `promise` is broken by the last of `scenario`, if it is, and its history."""
    try:
        history = _history_of(scenario)
        witness = Witness(matching)
        broken = witness.see(history[-1]) if all(map(witness.pass_over, history[:-1])) else None
    except Exception:  # noqa: BLE001 - as above; and what can't be brought about breaks nothing
        return None
    if broken is None or broken.promise != promise:
        return None
    return msgspec.structs.replace(broken, history=history)


def _history_of(scenario: Scenario) -> list[Commit]:
    """The commits that `scenario` leads to, the last with the events that are stored for it."""
    state, commits = INITIAL_STATE, list[Commit]()
    for asked in scenario.past:
        decision = decide(state, asked.command, asked.facts)
        assert not isinstance(decision, Rejection)
        commits.append(_stored(state.tip, asked, decision))
        state = evolve(state, commits[-1])
    return [*commits, _stored(state.tip, scenario.target, scenario.stored)]


def _stored(tip: Tip, asked: Asked, events: Sequence[Event]) -> Commit:
    facts = asked.facts
    if isinstance(asked.command, SendMessage) and facts.salt is None:
        facts = msgspec.structs.replace(facts, salt="salt")  # it was redacted
    return commit_after(tip, asked.command, facts, events)
