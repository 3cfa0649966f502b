"""`check_history` passes sound histories, and names the broken promise of others with a shortest history."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings

from broker.matching import most_shared
from broker.testing import TimedCommand, check_history, log_of, logs
from events.codec import decode_commit
from events.commands import BlockPartner, CancelMatch, Command, Disconnect, ForgetNames, MatchDue, ReportPartner
from events.commit import Commit, commit_after, redact
from events.events import MessageSent, RoomOpened
from events.ids import POSITION_MAX, CommitId, ConnectionId, RoomId
from events.policy import Policy
from tests.support.examples import scaled
from tests.support.people import ANN, BOB, CAT, DAN, enter, leave, leave_queue, move_on, opened, say
from tests.testing.planted import BUGS, newest_first

EVE = ConnectionId("c_eve")
CURRENT_ROOM = "r_here"
LITTLE = Policy(
    matching="interests", closed_rooms_kept=2, connections_kept=4, message_ids_kept=4, messages_per_10s_max=5
)


def bustle(policy: Policy) -> list[Commit]:
    """Return a log of five members in constant activity."""
    days: Sequence[tuple[ConnectionId, str]] = [(ANN, "tea"), (BOB, "tea"), (CAT, "go"), (DAN, "go"), (EVE, "ski")]
    scripts = []
    for number, (who, interest) in enumerate(days):
        day: list[Command] = []
        for round_ in range(3):
            day += [
                enter(who, None, interest),
                say(who, f"hello {round_}", f"m{round_}", CURRENT_ROOM),
                say(who, "so", None, CURRENT_ROOM),
            ]
            day += [move_on(who, CURRENT_ROOM), say(who, "again", f"m{round_}", CURRENT_ROOM), MatchDue(who)]
            day += [leave(who, CURRENT_ROOM), leave_queue(who), Disconnect(who, "timeout", POSITION_MAX)]
        scripts.append([TimedCommand(2_000 + 700 * number, command) for command in day])
    return log_of(scripts, policy)


COMPANY = Policy(
    confirm_grace_ms=25_000,
    requeue_on_missed_match=1,
    rematch_after_ms=600_000,
    rematch_patience_ms=20_000,
    blocks_per_connection_max=2,
    reports_per_10min_max=2,
    evidence_keep_ms=1_000,
)


def company() -> list[Commit]:
    """Return a log of people missing matches, meeting again, blocking, reporting and being forgotten."""
    commands: list[Command] = [
        *(enter(ANN), enter(BOB), say(BOB, "hi", None, RoomId("r_3")), missed(BOB, RoomId("r_3"))),
        *(leave(ANN, RoomId("r_3")), enter(ANN), enter(BOB), MatchDue(BOB), MatchDue(ANN)),
        *(BlockPartner(ANN, RoomId("r_10")), enter(ANN), enter(BOB)),
        *(enter(CAT), enter(DAN), missed(CAT, RoomId("r_14")), enter(EVE)),
        *(ReportPartner(EVE, RoomId("r_17"), "spam", "buy this"), ReportPartner(ANN, RoomId("r_17"), "other")),
        *(
            ForgetNames((ANN,), POSITION_MAX),
            ForgetNames((CAT, EVE), POSITION_MAX),
            move_on(ANN, RoomId("r_17")),
            enter(CAT),
        ),
    ]
    return log_of([[TimedCommand(10_000, command) for command in commands]], COMPANY)


def missed(who: ConnectionId, room: RoomId) -> CancelMatch:
    """Return the command about a match missed by `who`."""
    return CancelMatch(room, (who,), is_other_present=True)


@settings(deadline=None, max_examples=scaled(60))
@given(logs())
def test_whatever_happens_keeps_the_promises(log: list[Commit]) -> None:
    """Every generated log is sound, as stored and redacted."""
    broken = check_history(log) or check_history([redact(commit) for commit in log])
    assert broken is None, str(broken)


def samples() -> list[list[Commit]]:
    """Return logs that show each of the bugs."""
    return [bustle(Policy()), bustle(LITTLE), company()]


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_named_with_the_shortest_history(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted bug is reported by its promise, with a history from which no commit can be left out."""
    plant, promise, commits, is_stored = BUGS[bug]
    sound = samples()
    plant(monkeypatch)
    logs = samples() if is_stored else sound
    found = [broken for log in logs if (broken := check_history(log)) is not None]
    assert found, "the bug was not found"
    shortest = min(found, key=lambda broken: len(broken.history))
    assert (shortest.promise, len(shortest.history), shortest.is_shortest) == (promise, commits, True), str(shortest)
    again = check_history(shortest.history)
    assert again is not None
    assert (again.promise, again.position) == (promise, commits)


def test_a_matching_of_ones_own_is_held_to_its_own_word() -> None:
    """Under a custom matching, the pairs of the log must be its choices, and its choices must be waiting."""
    log = bustle(LITTLE)
    assert check_history(log, matching=most_shared) is None
    broken = check_history(log, matching=newest_first)
    assert broken is not None
    assert (broken.promise, broken.position) == (3, 11)
    assert broken.what.startswith("paired were ")
    absent = check_history(log, matching=lambda state, seeker, at_ms: DAN)
    assert absent is not None
    assert (absent.promise, absent.position) == (3, 2)
    assert absent.what == "the matching named c_dan, who is not among the others who wait"


def test_a_matching_has_to_name_the_same_again() -> None:
    """A matching with changing answers, by counting or at random, breaks promise 3."""
    calls = iter(range(1_000))
    broken = check_history(
        bustle(LITTLE), matching=lambda state, seeker, at_ms: ConnectionId(f"c_{next(calls)}") if state.queue else None
    )
    assert broken is not None
    assert broken.promise == 3


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("was altered", {"commit_id": CommitId("f" * 32)}),
        ("does not follow", {"previous_id": CommitId("f" * 32)}),
        ("expected the commit at position 9, found 10", {"position": 10}),
    ],
)
def test_of_a_broken_chain_both_ends_are_shown(what: str, change: dict[str, object]) -> None:
    """For a broken link the history is the two commits around it."""
    log = bustle(Policy())
    log[8] = msgspec.structs.replace(log[8], **change)
    broken = check_history(log)
    assert broken is not None
    assert (broken.promise, broken.history, broken.is_shortest) == (5, log[7:9], True)
    assert what in broken.what


def test_a_log_that_says_what_was_not_decided_is_found() -> None:
    """A stored event that was never decided is found even if the chain is whole."""
    log = bustle(Policy())
    number = next(number for number, commit in enumerate(log) if isinstance(commit.events[-1], MessageSent))
    said = msgspec.structs.replace(log[number].events[0], text="never said")
    log[number] = commit_after(log[number - 1].tip, log[number].command, log[number].facts, [said])
    broken = check_history(log[: number + 1])
    assert broken is not None
    assert (broken.promise, broken.position, len(broken.history)) == (6, number + 1, 3)
    assert "never said" not in str(broken)  # in the shortest history, the words are made up


def test_a_report_can_be_read() -> None:
    """The report has the promise, the position, each commit with its time and events, and a diff of the last."""
    log = bustle(Policy())
    opening = next(commit for commit in log if any(isinstance(event, RoomOpened) for event in commit.events))
    wrong = opened(BOB, ANN, opening.events[1].room_id)
    number = opening.position
    log[number - 1] = commit_after(log[number - 2].tip, opening.command, opening.facts, [opening.events[0], wrong])
    assert str(check_history(log[:number])).splitlines() == [
        f"promise 3 is broken at position {number}: c_bob did not enter before c_ann",
        "  Whoever entered first is `first` in the room. The log's matching names the pair, of those who may meet.",
        "the shortest history that breaks it:",
        '  1. after 0 ms EnterQueue(connection_id="ann", display_name="Ann", interests=())',
        '       QueueEntered(connection_id="ann", display_name="Ann", interests=(), salt="salt")',
        '  2. after 0 ms EnterQueue(connection_id="bob", display_name="Bob", interests=())',
        '       QueueEntered(connection_id="bob", display_name="Bob", interests=(), salt="salt")',
        '       RoomOpened(room_id="r_1", first="bob", second="ann", first_name="Bob", second_name="Ann")',
        '  the command is EnterQueue(connection_id="bob", display_name="Bob", interests=())',
        '    QueueEntered(connection_id="bob", display_name="Bob", interests=(), salt="salt")',
        '  - RoomOpened(room_id="r_1", first="bob", second="ann", first_name="Bob", second_name="Ann")',
        '  + RoomOpened(room_id="r_1", first="ann", second="bob", first_name="Ann", second_name="Bob", '
        'first_salt="salt", second_salt="salt")',
    ]


def test_what_cannot_even_be_looked_at_is_reported_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in a check is reported as a broken promise."""
    log = bustle(LITTLE)

    def falls_over(*whatever: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("projections.event_checks.recipients", falls_over)
    broken = check_history(log)
    assert broken is not None
    assert (broken.promise, broken.position) == (6, 1)
    assert broken.what == "it can't even be checked: ZeroDivisionError oh"


def test_a_log_of_another_schema_is_for_verify() -> None:
    """A commit of an older schema is refused, since it can't be encoded again."""
    old = decode_commit(Path("tests/golden/commits.jsonl").read_bytes().splitlines()[0])
    with pytest.raises(ValueError, match="the commit at position 1 is of schema 1: use chat-broker verify"):
        check_history([old])
