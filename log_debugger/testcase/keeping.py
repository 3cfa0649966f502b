"""What a written case keeps, besides that which its decision needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from broker.errors import UsageError
from broker.verification.reduction import StillHolds
from broker.verification.safe_text import printable
from broker.verification.scenario import LoggedCommand, Scenario, state_after
from events.commands import Command
from events.ids import ConnectionId
from projections.state import State


def _has_policy(here: State, before: State) -> bool:
    return here.policy == before.policy


def _has_interests(here: State, before: State) -> bool:
    """Return whether all who are in `here` have the interests that they have in `before`."""
    people = before.connections.by_id
    return all(
        who not in people or known.interests == people[who].interests for who, known in here.connections.by_id.items()
    )


def _has_bystanders(here: State, before: State) -> bool:
    return _waiting(here) == _waiting(before) and _pairs(here) == _pairs(before)


def _waiting(state: State) -> list[ConnectionId]:
    return [who for _, who in state.queue.entries.items()]


def _pairs(state: State) -> set[frozenset[ConnectionId]]:
    return {frozenset({room.first, room.second}) for room in state.rooms.by_id.values() if room.is_open}


_KEPT: Mapping[str, tuple[str, Callable[[State, State], bool]]] = {
    "policy": ("the whole policy then, also the fields that don't matter", _has_policy),
    "interests": ("the interests of those in the case, under made-up names", _has_interests),
    "bystanders": ("all who wait or chat then, also those who don't matter", _has_bystanders),
}

KEEP_HELP = (
    "what the case keeps although the decision doesn't need it, separated by commas: "
    f"{'; '.join(f'{word}, {meaning}' for word, (meaning, _) in _KEPT.items())}"
)


def parse_keep(text: str | None) -> Sequence[str]:
    """Return the words of `--keep`.

    Raises:
        UsageError: one is unknown.
    """
    words = [word.strip() for word in text.split(",")] if text is not None else []
    for word in words:
        if word not in _KEPT:
            raise UsageError(f"--keep takes {', '.join(_KEPT)}, separated by commas, not {printable(word)}")
    return words


def kept(words: Sequence[str], before: State, target: LoggedCommand) -> StillHolds:
    """Return the condition that a scenario keeps what `words` name of `before`, the state before `target`."""
    conditions = [_KEPT[word][1] for word in words]

    def is_kept(scenario: Scenario) -> bool:
        if "interests" in words and _interests(scenario.target.command) != _interests(target.command):
            return False
        here = state_after(scenario.past) if conditions else before
        return all(holds(here, before) for holds in conditions)

    return is_kept


def _interests(command: Command) -> object:
    return getattr(command, "interests", None)
