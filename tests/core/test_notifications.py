"""The notifications of a commit."""

from __future__ import annotations

import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.testing.strategies import events
from events.codec import decode_commit, encode_commit
from events.commit import EMPTY_TIP, Commit, Facts, Tip, commit_after, redact
from events.events import Event, PolicyAdopted
from events.ids import CommitId, ConnectionId
from events.policy import Policy
from projections.notifications import _second, deliveries, recipients, timestamp_of
from tests.support.examples import scaled
from tests.support.people import ANN, BOB, CAT, closed, entered, left, opened, said, say
from tests.support.specs import PAST

AT_MS = 1_790_000_000_007


def commit_of(*stored: Event, at_ms: int = AT_MS) -> Commit:
    """Return a commit at position 7."""
    return commit_after(Tip(6, CommitId("0" * 32)), PAST, Facts(at_ms, None, "salt"), stored)


def told(commit: Commit) -> dict[ConnectionId, object]:
    """Return the recipients with their notifications in wire form."""
    return {who: msgspec.json.decode(msgspec.json.encode(what)) for who, what in deliveries(commit)}


def test_a_room_that_opens_is_told_to_both() -> None:
    """Each member of a new room is told the other's name."""
    found = {"room_id": "r_fresh", "timestamp": "2026-09-21T14:13:20.007Z", "cursor": 7}
    assert told(commit_of(entered(BOB), opened(ANN, BOB))) == {
        ANN: {"method": "chatroom.found", "params": found | {"partner": "Bob"}},
        BOB: {"method": "chatroom.found", "params": found | {"partner": "Ann"}},
    }


def test_a_message_is_told_to_its_recipient_alone() -> None:
    """Only the recipient is notified of a message, without the sender's id of it."""
    assert told(commit_of(said(ANN, BOB, "hi", "m1"))) == {
        BOB: {
            "method": "message.received",
            "params": {
                "room_id": "r_old",
                "message": "hi",
                "timestamp": "2026-09-21T14:13:20.007Z",
                "cursor": 7,
                "sender": "stranger",
            },
        }
    }


@pytest.mark.parametrize("reason", ["left", "next", "disconnected", "timeout"])
def test_an_ending_is_told_to_the_one_who_did_not_end_it(reason: str) -> None:
    """Only the other member is notified of a closing, with the reason."""
    assert told(commit_of(closed(ANN, BOB, reason))) == {
        BOB: {
            "method": "partner.disconnected",
            "params": {"room_id": "r_old", "reason": reason, "timestamp": "2026-09-21T14:13:20.007Z", "cursor": 7},
        }
    }


def test_moving_on_tells_three_people() -> None:
    """A match after a closing notifies three connections, once each."""
    commit = commit_of(closed(ANN, BOB, "next"), entered(ANN), opened(CAT, ANN))
    methods = {who: what.method for who, what in deliveries(commit)}
    assert methods == {BOB: "partner.disconnected", CAT: "chatroom.found", ANN: "chatroom.found"}


@pytest.mark.parametrize("event", [entered(ANN), left(ANN), PolicyAdopted(Policy())])
def test_what_concerns_nobody_else_is_told_to_nobody(event: Event) -> None:
    """Entering, leaving the queue and a new policy notify no connection."""
    assert deliveries(commit_of(event)) == []
    assert recipients(event) == ()


def test_two_things_at_once_for_one_connection_are_a_bug() -> None:
    """Two notifications of one commit for one connection fail an assertion."""
    with pytest.raises(AssertionError):
        deliveries(commit_of(said(ANN, BOB), said(ANN, BOB)))


@settings(deadline=None, max_examples=scaled(200))
@given(events(), st.integers(0, 4_000_000_000_000))
def test_the_same_people_are_told_and_counted(event: Event, at_ms: int) -> None:
    """`recipients` and `deliveries` agree for every event."""
    if len(set(recipients(event))) == len(recipients(event)):
        assert [who for who, _ in deliveries(commit_of(event, at_ms=at_ms))] == list(recipients(event))


def test_a_replay_says_the_same_byte_for_byte() -> None:
    """A decoded commit gives the same notifications, byte for byte."""
    commit = commit_of(said(ANN, BOB, 'é "x" \u2028 👍'))
    again = decode_commit(encode_commit(commit))
    assert msgspec.json.encode([d[1] for d in deliveries(again)]) == msgspec.json.encode(
        [d[1] for d in deliveries(commit)]
    )


def test_a_redacted_text_is_replayed_as_such() -> None:
    """A redacted message is delivered as `[redacted]`."""
    commit = commit_after(EMPTY_TIP, say(ANN, "hush"), Facts(AT_MS, None, "salt"), [said(ANN, BOB, "hush")])
    ((_, notification),) = deliveries(redact(commit))
    assert notification.params.message == "[redacted]"


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (999, "1970-01-01T00:00:00.999Z"),
        (1_709_210_096_001, "2024-02-29T12:34:56.001Z"),
        (4_102_444_800_000, "2100-01-01T00:00:00.000Z"),
    ],
)
def test_timestamps_are_iso_8601_in_utc_with_milliseconds(at_ms: int, text: str) -> None:
    """Timestamps have milliseconds and end in Z."""
    assert timestamp_of(at_ms) == text


def test_times_are_in_utc_wherever_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timestamps do not depend on the machine's time zone."""
    _second.cache_clear()
    with monkeypatch.context() as there:
        there.setenv("TZ", "Asia/Kathmandu")
        time.tzset()
        assert timestamp_of(AT_MS) == "2026-09-21T14:13:20.007Z"
    time.tzset()


def test_a_second_is_written_once() -> None:
    """A second is formatted once, and a minute's worth is cached."""
    _second.cache_clear()
    assert len({timestamp_of(AT_MS - 7 + milliseconds) for milliseconds in range(1_000)}) == 1_000
    assert _second.cache_info().misses == 1
    for second in range(1_000):
        timestamp_of(AT_MS + 1_000 * second)
    assert 60 <= _second.cache_info().currsize <= 100
