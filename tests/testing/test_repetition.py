"""Deciding a log again after some of its texts were redacted: by the checks of `verify` and by the reference model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest

from broker.testing import TimedCommand, check_history, log_of
from broker.verification.bulk_check import check_lines
from broker.verification.repetition import is_choice_hidden
from events.codec import encode_commit
from events.commands import BlockPartner, Command, EnterQueue
from events.commit import Commit, commit_after, redact
from events.events import Event, RoomOpened
from events.ids import RoomId
from events.policy import Policy
from projections.state import INITIAL_STATE, State, fold
from tests.support.people import ANN, BOB, CAT, DAN, enter, leave, say

BY_INTERESTS = Policy(matching="interests", blocks_per_connection_max=1)
THREE = (enter(ANN, "Ann", "go"), enter(BOB, "Bob", "tea"), enter(CAT, "Cat", "tea"), say(CAT, room=RoomId("r_4")))


def log(*commands: Command) -> list[Commit]:
    """Return the log of `commands` under a policy of matching by interests, a second apart."""
    return log_of([[TimedCommand(1_000, command) for command in commands]], BY_INTERESTS)


def redacted(commits: Sequence[Commit], *kinds: type[Command]) -> list[Commit]:
    """Return `commits`, those of the commands of `kinds` without texts."""
    return [redact(commit) if isinstance(commit.command, kinds) else commit for commit in commits]


def with_last(commits: Sequence[Commit], change: Callable[[Event], Event]) -> list[Commit]:
    """Return `commits`, the last one with other events."""
    *past, last = commits
    return [*past, commit_after(past[-1].tip, last.command, last.facts, [change(event) for event in last.events])]


def meets_instead(event: Event) -> Event:
    """Let Cat meet Ann, and not Bob."""
    return (
        msgspec.structs.replace(event, first=ANN, first_name="Ann", first_salt="salt2") if is_opening(event) else event
    )


def is_opening(event: Event) -> bool:
    """Return whether a room opens."""
    return isinstance(event, RoomOpened)


def under_interests(*commits: Commit) -> State:
    """Return the state after the policy and `commits`."""
    return fold([log()[0], *commits])


def count_sound(commits: Sequence[Commit]) -> int:
    """Return how many commits pass the checks of `verify`."""
    return check_lines(INITIAL_STATE.mutate(), [encode_commit(commit) for commit in commits])


@pytest.mark.parametrize("of", [range(5), [1], [3], [1, 2], [3, 4]])
def test_a_log_redacted_in_part_is_sound(of: Sequence[int]) -> None:
    """A text is compared by its hash where one side has no more of it."""
    commits = [redact(commit) if number in of else commit for number, commit in enumerate(log(*THREE))]
    assert count_sound(commits) == len(commits)
    assert check_history(commits) is None


def test_a_choice_by_redacted_interests_is_taken_as_it_was() -> None:
    """Another pair than the matching's is a fault only as long as all interests are known."""
    commits = with_last(log(*THREE)[:4], meets_instead)
    broken = check_history(commits)
    assert broken is not None
    assert (broken.promise, broken.position, count_sound(commits)) == (3, 4, 3)
    for gone in ([1], [2], [3]):
        less = [redact(commit) if number in gone else commit for number, commit in enumerate(commits)]
        assert check_history(less) is None
        assert count_sound(less) == 4


def test_redacted_interests_hide_nothing_if_there_are_none() -> None:
    """An empty list stays visible; redaction also hides nothing without a choice, or under another matching."""
    _, *entries = redacted(log(enter(ANN), enter(BOB)), EnterQueue)
    assert not is_choice_hidden(under_interests(entries[0]), entries[1])
    _, *entries = redacted(log(enter(ANN, "Ann", "go"), enter(BOB)), EnterQueue)
    state = under_interests(entries[0])
    assert is_choice_hidden(state, entries[1])
    first_come = msgspec.structs.replace(state, policy=Policy())
    assert not is_choice_hidden(first_come, entries[1])
    assert not is_choice_hidden(state, msgspec.structs.replace(entries[1], command=leave(BOB)))


def test_a_hidden_choice_is_still_held_to_the_promises() -> None:
    """A blocked connection is no possible choice, nor is one outside the queue."""
    room = RoomId("r_3")
    commits = log(enter(ANN, "Ann", "go"), enter(BOB, "Bob", "go"), BlockPartner(ANN, room), *THREE[:3])
    assert len(commits) == 7
    last = commits[5]
    opened = RoomOpened(RoomId("r_6"), ANN, BOB, "Ann", "Bob", "salt5", "salt6")
    met = commit_after(commits[4].tip, last.command, last.facts, [*last.events, opened])
    broken = check_history(redacted([*commits[:5], met], EnterQueue))
    assert broken is not None
    assert (broken.promise, broken.position) == (9, 6)
    absent = msgspec.structs.replace(opened, first=DAN)
    met = commit_after(commits[4].tip, last.command, last.facts, [*last.events, absent])
    assert count_sound(redacted([*commits[:5], met], EnterQueue)) == 5


def test_another_name_than_the_redacted_one_is_found() -> None:
    """The hash of a redacted name shows that another name took its place."""
    commits = with_last(
        log(*THREE)[:4], lambda event: msgspec.structs.replace(event, first_name="Bo") if is_opening(event) else event
    )
    commits[2] = redact(commits[2])
    broken = check_history(commits)
    assert broken is not None
    assert (broken.promise, broken.position, count_sound(commits)) == (3, 4, 3)
