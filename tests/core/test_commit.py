"""The chain of commits: alterations are noticed, and redaction keeps the chain."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.testing.strategies import commits
from events.codec import UnreadableCommitError, decode_commit, encode_commit
from events.commands import EnterQueue, LeaveQueue, ReportPartner
from events.commit import (
    EMPTY_TIP,
    BrokenChainError,
    Commit,
    Facts,
    Tip,
    check_link,
    commit_after,
    commit_id_of,
    redact,
)
from events.events import PartnerReported, QueueEntered, RoomOpened
from events.ids import (
    POSITION_MAX,
    CommitId,
    Handle,
    connection_id_of,
    handle_from,
    room_id_from,
)
from events.text import RedactedText, redacted, redacted_interests
from tests.support.examples import scaled
from tests.support.people import ANN, BOB, ROOM, enter, entered, left, opened, said, say

SALT = "0123456789abcdef" * 2
BEFORE = Tip(41, CommitId("f" * 32))


def spoken(text: str = "a secret", salt: str | None = SALT) -> Commit:
    """Return a commit with a text."""
    return commit_after(BEFORE, say(ANN, text, "m1"), Facts(1_000, None, salt), [said(ANN, BOB, text, "m1")])


def met() -> Commit:
    """Return a commit without a text."""
    return commit_after(BEFORE, enter(BOB), Facts(1_000, room_id_from(bytes(16))), [entered(BOB), opened(ANN, BOB)])


def test_a_commit_follows_its_tip() -> None:
    """Position, link and time come from the tip and the facts."""
    commit = met()
    assert (commit.position, commit.previous_id, commit.at_ms) == (42, BEFORE.commit_id, 1_000)
    assert commit.tip == Tip(42, commit.commit_id)
    check_link(BEFORE, commit)


@pytest.mark.parametrize("commit", [spoken(), met()], ids=["with a text", "without"])
def test_an_id_is_128_bits_in_hexadecimal(commit: Commit) -> None:
    """An id is 128 bits in hexadecimal, and depends on the commit alone."""
    assert len(commit.commit_id) == 32
    assert int(commit.commit_id, 16) >= 0
    assert commit_id_of(decode_commit(encode_commit(commit))) == commit.commit_id


def leaves(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the paths of all scalars in a JSON value."""
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    if isinstance(value, list):
        return [leaf for n, item in enumerate(value) for leaf in leaves(item, (*path, n))]
    return [path]


def with_other(line: bytes, path: tuple[str | int, ...]) -> bytes:
    """Return `line` with another value of the same kind at `path`."""
    commit = json.loads(line)
    place = commit
    for key in path[:-1]:
        place = place[key]
    old = place[path[-1]]
    place[path[-1]] = old + 1 if isinstance(old, int) else "x" if old is None else old + "x"
    return json.dumps(commit).encode()


@pytest.mark.parametrize(
    ("commit", "path"),
    [
        (commit, path)
        for commit in (spoken(), met(), redact(spoken()))
        for path in leaves(json.loads(encode_commit(commit)))
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else type(value.command).__name__,
)
def test_whatever_is_altered_is_noticed(commit: Commit, path: tuple[str | int, ...]) -> None:
    """An altered field makes the line unreadable or breaks the chain."""
    line = with_other(encode_commit(commit), path)
    with pytest.raises((BrokenChainError, UnreadableCommitError)):
        check_link(BEFORE, decode_commit(line))


@pytest.mark.parametrize("part", ["command", "events", "both"])
def test_a_text_that_is_altered_anywhere_is_noticed(part: str) -> None:
    """An altered text breaks the chain, in the command, in the event or in both."""
    commit = spoken()
    if part != "events":
        commit = msgspec.structs.replace(commit, command=say(ANN, "another", "m1"))
    if part != "command":
        commit = msgspec.structs.replace(commit, events=(said(ANN, BOB, "another", "m1"),))
    with pytest.raises(BrokenChainError, match="altered"):
        check_link(BEFORE, commit)


def test_a_dropped_salt_is_noticed() -> None:
    """A dropped salt breaks the chain."""
    with pytest.raises(BrokenChainError, match="altered"):
        check_link(BEFORE, msgspec.structs.replace(spoken(), facts=Facts(1_000)))


def test_an_added_salt_is_noticed() -> None:
    """An added salt breaks the chain."""
    commit = met()
    salted = msgspec.structs.replace(commit, facts=Facts(1_000, commit.facts.room_id, SALT))
    with pytest.raises(BrokenChainError, match="altered"):
        check_link(BEFORE, salted)


def test_events_that_are_added_or_dropped_are_noticed() -> None:
    """An added or dropped event breaks the chain."""
    for events in ((), (entered(BOB),), (*met().events, entered(ANN)), tuple(reversed(met().events))):
        with pytest.raises(BrokenChainError, match=r"^the commit at position 42 was altered$"):
            check_link(BEFORE, msgspec.structs.replace(met(), events=events))


def test_a_gap_is_noticed() -> None:
    """A gap in the positions breaks the chain."""
    with pytest.raises(BrokenChainError, match=r"^expected the commit at position 41, found 42$"):
        check_link(Tip(40, BEFORE.commit_id), met())


def test_another_past_is_noticed() -> None:
    """A commit of another past breaks the chain, as after a rollback."""
    with pytest.raises(BrokenChainError, match=r"^the commit at position 42 does not follow the one before it$"):
        check_link(Tip(41, CommitId("e" * 32)), met())


def test_a_redacted_commit_keeps_its_place_in_the_chain() -> None:
    """A redacted commit has the same id, so the next commit still follows it."""
    commit = redact(spoken())
    check_link(BEFORE, commit)
    check_link(commit.tip, commit_after(spoken().tip, LeaveQueue(ANN), Facts(2_000), []))


def test_a_redacted_commit_forgets_the_text() -> None:
    """A redacted commit has only the text's length and salted hash."""
    commit = redact(spoken("Grüße"))
    line = encode_commit(commit)
    assert "Gr" not in line.decode()
    assert SALT not in line.decode()
    text = commit.events[0].text
    assert isinstance(text, RedactedText)
    assert text.length_bytes == len("Grüße".encode())
    assert text == commit.command.text


def test_redacting_twice_is_redacting_once() -> None:
    """Redacting a second time changes nothing."""
    assert redact(redact(spoken())) == redact(spoken())


def test_what_holds_no_text_is_not_redacted() -> None:
    """A commit without a text is not changed by redaction."""
    gone = commit_after(BEFORE, LeaveQueue(ANN), Facts(1_000), [left(ANN)])
    assert redact(gone) == gone


def test_a_redacted_commit_forgets_names_and_interests() -> None:
    """Each name is replaced by its own salted hash, and the id still holds."""
    facts = Facts(1_000, ROOM, SALT)
    entry = QueueEntered(BOB, "Bob", ("chess",), SALT)
    room = RoomOpened(ROOM, ANN, BOB, "Ann", "Bob", "her salt", SALT)
    commit = commit_after(BEFORE, enter(BOB, "Bob", "chess"), facts, [entry, room])
    gone = redact(commit)
    interests = redacted_interests(("chess",), SALT)
    name = redacted("Bob", SALT)
    assert gone.command == EnterQueue(BOB, name, interests)
    assert gone.facts == Facts(1_000, ROOM)
    assert gone.events == (
        QueueEntered(BOB, name, interests),
        RoomOpened(ROOM, ANN, BOB, redacted("Ann", "her salt"), name),
    )
    check_link(BEFORE, gone)
    assert redact(gone) == gone


def test_a_redacted_report_forgets_its_note() -> None:
    """The note of a report is a text like a message; a report without one stays as it is."""
    for note, kept in (("he was rude", redacted("he was rude", SALT)), (None, None)):
        facts = Facts(1_000, None, SALT)
        report = PartnerReported(ROOM, ANN, BOB, "spam", 3, 7, note)
        gone = redact(commit_after(BEFORE, ReportPartner(ANN, ROOM, "spam", note), facts, [report]))
        assert (gone.command, gone.facts.salt) == (ReportPartner(ANN, ROOM, "spam", kept), None)
        assert gone.events == (PartnerReported(ROOM, ANN, BOB, "spam", 3, 7, kept),)
        check_link(BEFORE, gone)


def test_the_same_text_has_another_stand_in_under_another_salt() -> None:
    """Equal texts have different hashes under different salts."""
    assert redacted("yes", "a") != redacted("yes", "b")
    assert redacted("yes", "a") == redacted("yes", "a")


def test_a_text_without_a_salt_is_a_bug() -> None:
    """Committing a text without a salt fails an assertion."""
    with pytest.raises(AssertionError, match="salt"):
        spoken(salt=None)


@settings(deadline=None, max_examples=scaled(200))
@given(commits())
def test_every_commit_links_and_redacts(commit: Commit) -> None:
    """Any commit is valid in the chain, as it is and redacted."""
    before = Tip(commit.position - 1, commit.previous_id)
    check_link(before, commit)
    check_link(before, redact(commit))


@settings(deadline=None, max_examples=scaled(100))
@given(st.binary(min_size=24, max_size=24), st.binary(min_size=16, max_size=16))
def test_ids_look_as_they_are_described(handle_bytes: bytes, room_bytes: bytes) -> None:
    """A handle, a connection id and a room id have their documented forms."""
    handle, room_id = handle_from(handle_bytes), room_id_from(room_bytes)
    connection_id = connection_id_of(handle)
    assert re.fullmatch("cb_[A-Za-z0-9_-]{32}", handle)
    assert re.fullmatch("c_[0-9a-f]{32}", connection_id)
    assert re.fullmatch("r_[0-9a-f]{32}", room_id)
    assert connection_id_of(handle) == connection_id
    assert handle not in connection_id


def test_a_connection_id_never_changes() -> None:
    """The connection id of a handle never changes, since logs hold it."""
    assert connection_id_of(Handle("cb_example")) == "c_8bb8bc7140b55948b30160521c237534"


def test_a_position_is_a_number_that_every_json_reader_keeps() -> None:
    """Positions stay in the range of exact integers in JavaScript."""
    assert POSITION_MAX == 9_007_199_254_740_992


@pytest.mark.parametrize(("make", "right"), [(handle_from, 24), (room_id_from, 16)])
def test_an_id_of_another_length_is_a_bug(make: Callable[[bytes], str], right: int) -> None:
    """Too few or too many random bytes fail an assertion."""
    make(bytes(right))
    for wrong in (right - 1, right + 1):
        with pytest.raises(AssertionError):
            make(bytes(wrong))


def test_a_log_begins_at_nothing() -> None:
    """The empty tip is position 0, before the first commit."""
    assert EMPTY_TIP == (0, "")
    first = commit_after(EMPTY_TIP, enter(ANN), Facts(1), [entered(ANN)])
    assert (first.schema, first.position, first.previous_id) == (3, 1, "")


def test_a_stand_in_is_the_hash_of_salt_and_text() -> None:
    """A stand-in hashes salt and text (without a salt, the text), and is its own stand-in."""
    assert redacted("Grüße", "ab") == RedactedText(7, hashlib.sha256("abGrüße".encode()).hexdigest())
    assert redacted("Grüße", None) == RedactedText(7, hashlib.sha256("Grüße".encode()).hexdigest())
    assert redacted(redacted("Grüße", "ab"), "cd") == redacted("Grüße", "ab")


def test_a_redacted_commit_is_the_same_but_for_its_texts_and_its_salt() -> None:
    """Redaction changes only texts and the salt."""
    facts = Facts(1_000, room_id_from(bytes(16)), SALT)
    commit = commit_after(BEFORE, say(ANN, "a secret", "m1"), facts, [entered(BOB), said(ANN, BOB, "a secret", "m1")])
    stand_in = redacted("a secret", SALT)
    assert redact(commit) == msgspec.structs.replace(
        commit,
        command=msgspec.structs.replace(commit.command, text=stand_in),
        facts=Facts(1_000, facts.room_id),
        events=(entered(BOB), msgspec.structs.replace(said(ANN, BOB, "", "m1"), text=stand_in)),
    )


def test_an_event_that_says_something_else_is_redacted_as_what_it_says() -> None:
    """An event with another text than its command gets a hash of its own text."""
    commit = commit_after(BEFORE, say(ANN, "one", "m1"), Facts(1_000, None, SALT), [said(ANN, BOB, "two", "m1")])
    assert redact(commit).events == (msgspec.structs.replace(said(ANN, BOB, "", "m1"), text=redacted("two", SALT)),)


def test_any_text_at_all_names_a_connection() -> None:
    """Any text, even invalid Unicode, has a connection id."""
    assert connection_id_of("\ud800") != connection_id_of("\ud801")


def test_a_name_without_a_salt_is_not_redacted() -> None:
    """It could be guessed from a hash; it is `Anonymous`, or in commits of older schemas too."""
    room = RoomOpened(ROOM, ANN, BOB, "Ann", "Bob", None, SALT)
    events = [QueueEntered(BOB, "Bob", (), SALT), QueueEntered(ANN, "Ann", ("tea",)), room]
    gone = redact(commit_after(BEFORE, enter(BOB), Facts(1_000, ROOM, SALT), events))
    hidden = redacted("Bob", SALT)
    assert gone.events == (
        QueueEntered(BOB, hidden, redacted_interests((), SALT)),
        QueueEntered(ANN, "Ann", ("tea",)),
        RoomOpened(ROOM, ANN, BOB, "Ann", hidden),
    )
    check_link(BEFORE, gone)
    plain = commit_after(BEFORE, enter(ANN), Facts(1_000), [QueueEntered(ANN, "Ann", ())])
    assert redact(plain) == plain
