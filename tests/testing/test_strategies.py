"""Each strategy keeps the promises of its docstring."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any
from unicodedata import category

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from broker.decide import decide
from broker.decision import Rejection
from broker.testing import CURRENT_ROOM, TimedCommand, check_history, log_of, logs, scripts, strategies
from broker.testing.strategies import HOSTILE, PEOPLE, SURROGATES
from broker.verification.scenario import connections_of
from events.commands import (
    AdoptPolicy,
    BlockPartner,
    CancelMatch,
    Command,
    Disconnect,
    EnterQueue,
    ForgetNames,
    LeaveQueue,
    LeaveRoom,
    MatchDue,
    NextPartner,
    ReportPartner,
    SendMessage,
)
from events.commit import Commit, Facts
from events.events import MessageSent, PartnerBlocked, QueueEntered, RoomClosed, RoomOpened
from events.policy import LIMITS, MAY_BE_OFF, Policy
from mcp_facade.tools.sanitise import LoneSurrogate, clean_interests, clean_message, clean_name
from projections.state import INITIAL_STATE, fold
from tests.support.examples import scaled
from tests.support.people import ANN, BOB, enter, say

quick = settings(deadline=None, max_examples=scaled(80))


@pytest.mark.parametrize(
    ("strategy", "pattern"),
    [
        (strategies.handles(), "cb_[A-Za-z0-9_-]{32}"),
        (strategies.connection_ids(), "c_[0-9a-f]{32}"),
        (strategies.room_ids(), "r_[0-9a-f]{32}"),
        (strategies.message_ids(), "[A-Za-z0-9_-]{1,64}"),
    ],
)
def test_ids_have_their_form(strategy: st.SearchStrategy[str], pattern: str) -> None:
    """Each kind of id has its own form."""

    @quick
    @given(strategy)
    def holds(one: str) -> None:
        assert re.fullmatch(pattern, one)

    holds()


@quick
@given(strategies.names().filter(lambda name: " " not in name), strategies.interests(), strategies.interests(few=True))
def test_names_and_interests_are_clean(name: str, interests: tuple[str, ...], few: tuple[str, ...]) -> None:
    """Cleaning a name or interests changes nothing."""
    assert clean_name(name) == name
    assert clean_interests(interests) == interests
    assert clean_interests(few) == few


@quick
@given(strategies.texts())
def test_texts_can_be_stored(text: str) -> None:
    """A text can be encoded, decoded and cleaned."""
    assert msgspec.json.decode(msgspec.json.encode(text)) == text
    clean_message(text)


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_hostile_can_come_up(kind: str) -> None:
    """Each hostile text comes up."""
    assert kind
    find(strategies.texts(), lambda text: text == HOSTILE[kind], settings=seeking())


def test_there_is_something_of_all_that_must_not_reach_a_stranger() -> None:
    """The hostile texts have controls, invisible formats, unassigned characters and excessive lengths."""
    everything = "".join(HOSTILE.values())
    assert {"Cc", "Cf", "Cn", "Mn", "Zl", "Zp"} <= {category(one) for one in everything}
    assert max(len(text.encode()) for text in HOSTILE.values()) > Policy().message_bytes_max


@pytest.mark.parametrize("text", SURROGATES)
def test_what_is_typed_may_be_no_text_at_all(text: str) -> None:
    """Lone surrogates come up, and cleaning refuses them."""
    with pytest.raises(LoneSurrogate):
        clean_message(text)
    find(strategies.typed(), lambda typed: typed in SURROGATES, settings=seeking())


@quick
@given(strategies.policies(), strategies.tiny_policies(), strategies.tiny_policies("interests"))
def test_policies_are_whole(any_policy: Policy, tiny: Policy, by_interests: Policy) -> None:
    """A policy is valid; a tiny one has tiny or default limits."""
    assert all(getattr(any_policy, name) >= (name not in MAY_BE_OFF) for name in LIMITS)
    assert tiny.closed_rooms_kept in {1, 2, 3, Policy().closed_rooms_kept}
    assert by_interests.matching == "interests"


@quick
@given(strategies.commands(), strategies.facts())
def test_facts_are_enough_for_any_command(command: Command, facts: Facts) -> None:
    """Any command can be decided with any facts."""
    assert isinstance(decide(INITIAL_STATE, command, facts), list | Rejection)


@quick
@given(scripts(ANN))
def test_a_script_is_one_members_and_begins_with_entering(script: Sequence[TimedCommand]) -> None:
    """A script is one member's, begins with entering, and names rooms by the placeholder."""
    assert isinstance(script[0].command, EnterQueue)
    for _, command in script:
        assert [*connections_of(command)] == [ANN]
        assert getattr(command, "room_id", CURRENT_ROOM) == CURRENT_ROOM


@quick
@given(logs())
def test_a_log_is_whole(log: list[Commit]) -> None:
    """A log folds, its time does not go back, and no room has the placeholder's name."""
    assert fold(log).position == len(log)
    assert all(before.at_ms <= after.at_ms for before, after in pairwise(log))
    assert not any(getattr(commit.command, "room_id", None) == CURRENT_ROOM for commit in log)


def is_there(*kinds: type[Any]) -> Callable[[list[Commit]], bool]:
    """Return a predicate: a log has each of `kinds` among its commands and events."""

    def in_it(log: list[Commit]) -> bool:
        return {*kinds} <= {type(one) for commit in log for one in (commit.command, *commit.events)}

    return in_it


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        NextPartner,
        LeaveQueue,
        LeaveRoom,
        Disconnect,
        MatchDue,
        CancelMatch,
        BlockPartner,
        ReportPartner,
        ForgetNames,
        AdoptPolicy,
        RoomOpened,
        PartnerBlocked,
    ],
)
def test_all_that_can_happen_happens_in_some_log(kind: type[Any]) -> None:
    """Each command comes up in a log, with its effects."""
    find(logs(), is_there(kind), settings=seeking())


@pytest.mark.slow
def test_people_talk_in_some_log() -> None:
    """A log with messages and a closed room comes up."""
    find(logs(), is_there(MessageSent, RoomClosed), settings=seeking())


@pytest.mark.slow
def test_a_member_waits_again_in_some_log() -> None:
    """Some log has a member returned to its place in the queue."""

    def is_given_back(log: list[Commit]) -> bool:
        events = (event for commit in log for event in commit.events)
        return any(isinstance(event, QueueEntered) and event.earlier is not None for event in events)

    to_confirm = Policy(confirm_grace_ms=1, requeue_on_missed_match=1)
    find(logs(policies=st.just(to_confirm)), is_given_back, settings=seeking())


def test_a_log_of_scripts_of_ones_own() -> None:
    """Commands are in the order of their times, each about the room of its sender at that time."""
    log = log_of(
        [
            [
                TimedCommand(0, enter(ANN)),
                TimedCommand(2_000, say(ANN, "hello", None, CURRENT_ROOM)),
                TimedCommand(2_000, SendMessage(ANN, CURRENT_ROOM, "?", None)),
            ],
            [TimedCommand(1_000, enter(BOB)), TimedCommand(2_000, LeaveRoom(BOB, CURRENT_ROOM))],
        ]
    )
    assert [type(commit.events[-1]).__name__ for commit in log] == [
        "QueueEntered",
        "RoomOpened",
        "MessageSent",
        "RoomClosed",
    ]
    assert check_history(log) is None
    assert {commit.at_ms - log[0].at_ms for commit in log} == {0, 1_000, 2_000, 3_000}
    assert len(PEOPLE) == 5


def seeking() -> settings:
    """Return settings for a repeatable search; the first find is enough."""
    return settings(
        max_examples=5_000,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
