"""Stored commits stay readable, and unknown content is an error."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.testing.strategies import commits
from events import codec
from events.codec import NewerCommitError, UnreadableCommitError, decode_commit, encode_commit, redact_line
from events.commands import Command, Disconnect
from events.commit import (
    SCHEMA_VERSION,
    BrokenChainError,
    Commit,
    Tip,
    check_link,
    commit_id_of,
    id_over,
    redact,
)
from events.events import Event, QueueLeft, RoomClosed
from events.ids import CommitId
from events.policy import MAY_BE_OFF, Policy
from events.text import RedactedText
from tests.support.examples import scaled
from tests.support.people import ANN
from tests.support.specs import state_after, waiting

GOLDEN = Path(__file__).parent.parent / "golden"
FILES = sorted(GOLDEN.glob("commits*.jsonl"))
LINES = [line for file in FILES for line in file.read_bytes().splitlines()]

TOO_DEEP = b"[" * 1_000_000
# The words of Python up to 3.13, and those since 3.14.
TOO_DEEP_TEXTS = "(maximum recursion depth exceeded|Stack overflow)"
NO_CONTAINER = "argument of type 'int' is not (a container or )?iterable"


def line_of_schema(line: bytes) -> int:
    """Return the schema version of `line`."""
    schema: int = json.loads(line)["schema"]
    return schema


def line_of(commit: Commit) -> dict[str, Any]:
    """Return `commit` as its stored JSON object."""
    line: dict[str, Any] = json.loads(encode_commit(commit))
    return line


def specimen() -> dict[str, Any]:
    """Return a line of the present schema."""
    line: dict[str, Any] = json.loads(NEWEST[0])
    return line


@settings(deadline=None, max_examples=scaled(150))
@given(commits())
def test_a_commit_comes_back_as_it_was(commit: Commit) -> None:
    """A decoded commit equals the original, and encodes to the same bytes."""
    line = encode_commit(commit)
    again = decode_commit(line)
    assert again == commit
    assert encode_commit(again) == line
    assert b"\n" not in line


SINCE_2 = json.loads((GOLDEN / "policy-2.json").read_text())
ADDED = SINCE_2 | json.loads((GOLDEN / "policy-3.json").read_text())
NEWEST = [line for line in LINES if line_of_schema(line) == SCHEMA_VERSION]
OLD = [line for line in LINES if line_of_schema(line) < SCHEMA_VERSION]


@pytest.mark.parametrize("line", NEWEST, ids=range(1, len(NEWEST) + 1))
def test_a_stored_line_is_read_and_written_the_same(line: bytes) -> None:
    """A golden line is decoded and encoded to the same bytes; a change here breaks stored logs."""
    commit = decode_commit(line)
    assert encode_commit(commit) == line
    assert commit_id_of(commit) == commit.commit_id


@pytest.mark.parametrize("line", OLD, ids=range(1, len(OLD) + 1))
def test_an_old_line_is_read_as_what_it_meant(line: bytes) -> None:
    """An old line keeps all its content, and new fields have the values implied then."""
    stored, commit = json.loads(line), decode_commit(line)
    now = json.loads(msgspec.json.encode(commit))
    for holder in (now["command"], *now["events"]):
        if "policy" in holder:
            later = {name: holder["policy"].pop(name) for name in ADDED if commit.schema < 2 or name not in SINCE_2}
            assert later == {name: ADDED[name] for name in later}
    assert now == stored


@pytest.mark.parametrize("line", OLD, ids=range(1, len(OLD) + 1))
def test_an_old_line_that_was_altered_is_noticed(line: bytes) -> None:
    """The id of an old line is checked on its stored form, before the upcast."""
    stored = json.loads(line)
    stored["at_ms"] += 1
    with pytest.raises(BrokenChainError, match=f"position {stored['position']} was altered"):
        decode_commit(msgspec.json.encode(stored))


@pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])
def test_the_stored_lines_are_one_log(file: Path) -> None:
    """The golden lines are one chain."""
    lines = file.read_bytes().splitlines()
    tip = Tip(0, decode_commit(lines[0]).previous_id)
    for line in lines:
        commit = decode_commit(line)
        check_link(tip, commit)
        tip = commit.tip


@pytest.mark.parametrize("line", LINES, ids=range(1, len(LINES) + 1))
def test_a_line_can_be_redacted_as_it_is(line: bytes) -> None:
    """A redacted line of any schema has no text and no salt, a valid id, and redacting it again changes nothing."""
    redacted = redact_line(line)
    commit, before = decode_commit(redacted), decode_commit(line)
    check_link(Tip(commit.position - 1, commit.previous_id), commit)
    assert b"salt" not in redacted
    for holder in (before.command, *before.events):
        for field in ("text", "note", *(("display_name", "first_name", "second_name") if before.schema > 2 else ())):
            text = getattr(holder, field, None)
            assert not isinstance(text, str) or json.dumps(text, ensure_ascii=False).encode() not in redacted
    assert redact_line(redacted) == redacted


@pytest.mark.parametrize("line", OLD, ids=range(1, len(OLD) + 1))
def test_an_old_line_keeps_its_names(line: bytes) -> None:
    """Names of commits of older schemas entered their hash as they are, so they stay."""
    before, after = decode_commit(line), decode_commit(redact_line(line))
    for holder, redacted in zip((before.command, *before.events), (after.command, *after.events), strict=True):
        for field in ("display_name", "interests", "first_name", "second_name"):
            assert getattr(holder, field, None) == getattr(redacted, field, None)


@settings(deadline=None, max_examples=scaled(100))
@given(commits())
def test_a_line_is_redacted_as_its_commit_is(commit: Commit) -> None:
    """Redacting a line gives the bytes of the redacted commit."""
    assert redact_line(encode_commit(commit)) == encode_commit(redact(commit))


def test_there_is_a_stored_line_for_every_type() -> None:
    """The golden lines have each command, each event and a redacted text."""
    stored = [decode_commit(line) for line in LINES]
    assert {type(commit.command) for commit in stored} == set(get_args(Command))
    assert {type(event) for commit in stored for event in commit.events} == set(get_args(Event))
    assert any(isinstance(getattr(commit.command, "text", None), RedactedText) for commit in stored)


def test_the_default_policy_never_changes() -> None:
    """The default policy never changes, since old logs do not store defaults."""
    stored = [json.loads(file.read_text()) for file in sorted(GOLDEN.glob("policy*.json"))]
    assert {name: getattr(Policy(), name) for name in Policy.__struct_fields__} == {
        name: value for values in stored for name, value in values.items()
    }


def test_a_matching_is_one_that_there_is() -> None:
    """An unknown matching is refused with a list of the known ones."""
    with pytest.raises(ValueError, match="matching must be one of first-come, interests"):
        Policy(matching="at random")


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "7", None])
def test_a_limit_is_a_positive_integer(value: object) -> None:
    """A limit that is no positive integer is refused by name."""
    with pytest.raises(ValueError, match="streams_max must be a whole number of at least 1"):
        Policy(streams_max=value)


@pytest.mark.parametrize("name", sorted(MAY_BE_OFF))
def test_some_limits_may_be_off(name: str) -> None:
    """Such a limit takes 0, and nothing less."""
    assert getattr(Policy(**{name: 0}), name) == 0
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 0"):
        Policy(**{name: -1})


CORRUPTIONS: dict[str, Callable[[dict[str, Any]], object]] = {
    "tag of the command": lambda line: line["command"].update(type="dance"),
    "tag of an event": lambda line: line["events"][0].update(type="danced"),
    "field of the commit": lambda line: line.update(extra=1),
    "field of the command": lambda line: line["command"].update(extra=1),
    "field of an event": lambda line: line["events"][0].update(extra=1),
    "field of the facts": lambda line: line["facts"].update(extra=1),
    "a field is missing": lambda line: line.pop("events"),
    "a field has another type": lambda line: line.update(position="1"),
    "a limit can't be": lambda line: line["events"][0]["policy"].update(streams_max=0),
    "a newer schema": lambda line: line.update(schema=SCHEMA_VERSION + 1),
    "an older schema that never was": lambda line: line.update(schema=0),
    "no schema": lambda line: line.pop("schema"),
}


def corrupted(change: str) -> bytes:
    """Return a line with unknown content."""
    line = specimen()
    CORRUPTIONS[change](line)
    return json.dumps(line).encode()


@pytest.mark.parametrize("change", CORRUPTIONS)
def test_what_is_not_known_fails_loudly(change: str) -> None:
    """An unknown tag, field or value is an error."""
    with pytest.raises(UnreadableCommitError):
        decode_commit(corrupted(change))


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema":1}', b'{"schema":1,"x":' + TOO_DEEP], ids=range(7)
)
def test_what_is_damaged_fails_loudly(line: bytes) -> None:
    """Anything else than a commit is an error."""
    with pytest.raises(UnreadableCommitError):
        decode_commit(line)


@pytest.mark.parametrize("line", [NEWEST[0], OLD[0]], ids=["present", "old"])
@pytest.mark.parametrize("read", [decode_commit, redact_line])
def test_a_byte_that_is_no_text_is_damage(line: bytes, read: Callable[[bytes], object]) -> None:
    """Invalid UTF-8 is damage in a line of any schema, for decoding and redacting."""
    at = line.index(b'"connection_id":"') if b'"connection_id":"' in line else line.index(b'"type":"')
    at = line.index(b'":"', at) + 3
    with pytest.raises(UnreadableCommitError, match=r"^not a commit: 'utf-8' codec can't decode"):
        read(line[:at] + b"\xff" + line[at + 1 :])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "^not a commit: Input data was truncated$"),
        (b'{"schema":3}', "^not a commit: Object missing required field `position`$"),
        (b'{"schema":1}', "^not a commit of schema version 1: 'command'$"),
        (b'{"schema":1,"command":1}', f"^not a commit of schema version 1: {NO_CONTAINER}$"),
        (b'{"schema":1,"command":{},"commit_id":"","position":7}', "^the commit at position 7 was altered$"),
        (b'{"schema":3,"x":' + TOO_DEEP, f"^not a commit: {TOO_DEEP_TEXTS}"),
        (b'{"schema":1,"command":{"text":"x"},"facts":[]}', "schema version 1: 'list' object has no attribute 'get'$"),
        (
            b'{"schema":3,"position":1,"commit_id":"","previous_id":"","at_ms":1,"command":{"x":' + TOO_DEEP,
            f"^not a commit: {TOO_DEEP_TEXTS}",
        ),
        (b'{"schema":1,"x":1e999}', "^not a commit: Number out of range"),
        (b'{"schema":0}', "^schema version 0; this program reads up to 3$"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(line: bytes, why: str) -> None:
    """The error's text is one line."""
    with pytest.raises((UnreadableCommitError, BrokenChainError), match=why):
        decode_commit(line)


@pytest.mark.parametrize("schema", [1, SCHEMA_VERSION])
@pytest.mark.parametrize("read", [decode_commit, redact_line])
def test_nesting_at_the_limit_of_the_stack_is_damage(read: Callable[[bytes], object], schema: int) -> None:
    """A line is read or is an error at any depth, also where it can be decoded but not hashed or encoded again."""
    stored = {"schema": schema, "command": {}, "facts": {}, "events": [], "commit_id": "", "position": 7, "x": 0}

    def nested(depth: int) -> bytes:
        return json.dumps(stored).encode().replace(b'"x": 0', b'"x": ' + b"[" * depth + b"]" * depth)

    def decodes(depth: int) -> bool:
        try:
            msgspec.json.decode(nested(depth))
        except RecursionError:
            return False
        return True

    limit = bisect_left(range(len(TOO_DEEP)), True, key=lambda depth: not decodes(depth))
    depths = [*range(1, limit, limit // 40), *range(limit - 40, limit + 5)]
    unexpected = []
    for depth in depths:
        try:
            read(nested(depth))
        except (UnreadableCommitError, BrokenChainError):
            continue
        except RecursionError:
            unexpected.append(depth)
    assert unexpected == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"schema":2}', "'command'"),
        (b'{"schema":2,"command":1}', NO_CONTAINER),
        (b'{"schema":2,"command":{"text":"x"},"facts":[]}', "'list' object has no attribute 'get'"),
        (b'{"schema":2,"command":{"text":"x"},"facts":{}}', "'events'"),
        (b'{"schema":3}', "Object missing required field `position`"),
    ],
)
def test_what_is_no_commit_can_not_be_redacted(line: bytes, why: str) -> None:
    """Redaction refuses such a line, since it may hold a text."""
    with pytest.raises(UnreadableCommitError, match=f"^not a commit: {why}$"):
        redact_line(line)


def test_an_old_line_whose_id_holds_may_still_be_no_commit() -> None:
    """An old line with a valid id and an unknown field is an error."""
    stored = json.loads(OLD[0]) | {"more": 1}
    stored["commit_id"] = id_over([value for name, value in stored.items() if name != "commit_id"])
    why = f"^not a commit of schema version {stored['schema']}: Object contains unknown field"
    with pytest.raises(UnreadableCommitError, match=why):
        decode_commit(json.dumps(stored).encode())


def test_only_a_policy_of_an_old_line_is_brought_up_to_date() -> None:
    """The upcast adds the old values to policies alone."""
    holders: list[dict[str, Any]] = [{"policy": {"streams_max": 7}}, {"text": "x"}]
    line = {"schema": 1, "command": holders[0], "events": holders}
    then = {"matching": "first-come", "interest_patience_ms": 15_000, "snapshot_every_commits": 50_000}
    now = codec.UPCASTS[1](line)
    assert now["events"] == [{"policy": {"streams_max": 7} | then}, {"text": "x"}]
    assert now["command"] == now["events"][0]


@pytest.mark.parametrize(
    ("kind", "reasons"),
    [
        (Disconnect, ("disconnected", "timeout")),
        (QueueLeft, ("left", "disconnected", "timeout")),
        (RoomClosed, ("left", "next", "disconnected", "timeout")),
    ],
)
def test_the_reasons_are_these(kind: type[Disconnect | QueueLeft | RoomClosed], reasons: tuple[str, ...]) -> None:
    """The stored reasons are exactly these."""
    known = {"connection_id": "c_ann", "since": 1, "room_id": "r_1", "closed_by": "c_ann", "other": "c_bob"}
    tag = kind.__struct_config__.tag
    stored = {name: known[name] for name in kind.__struct_fields__ if name in known} | {"type": tag}
    for reason in reasons:
        assert msgspec.convert(stored | {"reason": reason}, kind).reason == reason
    for reason in ("XX", "next" if "next" not in reasons else "", "LEFT"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(stored | {"reason": reason}, kind)


@settings(deadline=None, max_examples=scaled(200))
@given(st.sampled_from(LINES), st.data())
def test_a_line_cut_short_is_no_commit(line: bytes, data: st.DataObject) -> None:
    """Every prefix of a line is an error, as after a crash in the middle of a write."""
    with pytest.raises(UnreadableCommitError):
        decode_commit(line[: data.draw(st.integers(0, len(line) - 1))])


def test_a_newer_schema_is_named() -> None:
    """The error for a newer schema names its version, and is one of its own."""
    with pytest.raises(
        NewerCommitError, match=f"schema version {SCHEMA_VERSION + 1}; this program reads up to {SCHEMA_VERSION}"
    ):
        decode_commit(corrupted("a newer schema"))


def test_versions_are_brought_up_to_date_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each version is upcast to the next before decoding."""

    def from_minus_one(commit: dict[str, Any]) -> dict[str, Any]:
        return commit | {"command": commit["command"] | {"type": commit["command"]["type"].removeprefix("old_")}}

    def from_zero(commit: dict[str, Any]) -> dict[str, Any]:
        return commit | {"at_ms": commit["at_ms"] - 1}

    monkeypatch.setattr(codec, "UPCASTS", {-1: from_minus_one, 0: from_zero, **codec.UPCASTS})
    now = decode_commit(OLD[-1])
    line = json.loads(OLD[-1]) | {"schema": -1, "at_ms": now.at_ms + 1}
    line["command"]["type"] = f"old_{line['command']['type']}"
    line["commit_id"] = id_over([value for name, value in line.items() if name != "commit_id"])
    read = decode_commit(json.dumps(line).encode())
    assert read == msgspec.structs.replace(now, schema=-1, commit_id=CommitId(line["commit_id"]))


def test_facts_that_were_not_needed_are_not_stored() -> None:
    """Missing facts are not in the line, not even as null."""
    facts = line_of(decode_commit(NEWEST[0]))["facts"]
    assert None not in facts.values()


def test_no_handle_can_stand_in_a_commit() -> None:
    """No type of a commit has a field for a handle."""
    assert state_after(waiting(ANN)).connections.get(ANN) is not None
    assert not [line for line in LINES if b"cb_" in line or b"handle" in line.replace(b"handles_", b"")]
