"""Comparison of a repeated decision with the stored events, perhaps without some of their texts.

A redacted text is compared by its hash. Redacted interests may have changed the choice of a partner. That choice can't
be repeated: the stored one stands in for it, and only the checks of the step hold it to the promises.
"""

from __future__ import annotations

from typing import TypeGuard

from broker.decide import decide
from broker.decision import Decision, Rejection
from broker.verification.scenario import MAY_MATCH
from events.commands import EnterQueue
from events.commit import Commit, events_without_text
from events.events import Event, RoomOpened
from events.ids import ConnectionId
from events.text import Interests, RedactedText
from projections.view import FoldView

_NO_INTERESTS_BYTES = len("[]")


def is_repeated(before: FoldView, commit: Commit, decided: Decision) -> bool:
    """Return whether `decided`, on the command of `commit` in `before`, is stored by `commit`."""
    if are_stored(decided, commit):
        return True
    if not is_choice_hidden(before, commit):
        return False
    partner = stored_partner(commit)
    again = decide(
        before,
        commit.command,
        commit.facts,
        matching=lambda state, seeker, at_ms: partner if partner in state.queue.entered else None,
    )
    return are_stored(again, commit)


def are_stored(decided: Decision, commit: Commit) -> TypeGuard[list[Event]]:
    """Return whether `decided` are the events of `commit`, or were before some of their texts were redacted."""
    if isinstance(decided, Rejection) or not commit.events:
        return False
    salt = commit.facts.salt
    return [*commit.events] == decided or events_without_text(decided, salt) == events_without_text(commit.events, salt)


def is_choice_hidden(before: FoldView, commit: Commit) -> bool:
    """Return whether redacted interests may have changed the choice of a partner for the command of `commit`."""
    command = commit.command
    if before.policy.matching == "first-come" or not isinstance(command, MAY_MATCH):
        return False
    people = before.connections.by_id
    if isinstance(command, EnterQueue):
        seekers: Interests = command.interests
    else:
        known = people.get(command.connection_id)
        seekers = known.interests if known is not None else ()
    waiting = (people[who].interests for _, who in before.queue.entries.items())
    return _are_hidden(seekers) or any(map(_are_hidden, waiting))


def stored_partner(commit: Commit) -> ConnectionId | None:
    """Return the partner found for the command of `commit`, one that may match; `None` if there is none."""
    who = getattr(commit.command, "connection_id", None)
    for event in commit.events:
        if isinstance(event, RoomOpened):
            return event.second if event.first == who else event.first
    return None


def _are_hidden(interests: Interests) -> bool:
    return isinstance(interests, RedactedText) and interests.length_bytes > _NO_INTERESTS_BYTES
