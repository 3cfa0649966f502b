"""The report: its columns agree with the fold, and its page is safe with any log."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from array import array
from collections.abc import Sequence
from contextlib import closing
from html.parser import HTMLParser
from itertools import accumulate
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.codec import encode_commit
from events.commands import LeaveQueue
from events.commit import EMPTY_TIP, Commit, Facts, commit_after, redact
from events.events import RoomOpened
from events.ids import CommitId, ConnectionId, Position, RoomId
from events.log import DeliveryRecord, OperationRecord
from events.policy import MatchingName
from events.sqlite.file import SqliteFile
from log_debugger.reading.deliveries import Deliveries
from log_debugger.reading.short_names import names_of
from log_debugger.reading.sources import open_source, steps
from log_debugger.report.data import FoldedLog, page_data
from log_debugger.report.html import embedded, page
from log_debugger.report.tables import ascending, packed
from mcp_facade.cli import main
from projections.invariants import check_step
from projections.notifications import deliveries
from projections.state import INITIAL_STATE, State, evolve, fold
from tests.browser.crowds import crowd
from tests.log_debugger.logs import ANN as ANN_S
from tests.log_debugger.logs import BOB as BOB_S
from tests.log_debugger.logs import ROOM, START_MS, Script, conversation, dumped, fair_company, filed, run_ok
from tests.support.logs import log_of
from tests.support.people import ANN, BOB, CAT, enter, leave, opened, said, say, vanish
from tests.support.specs import NOON_MS

HOSTILE = (
    "</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>\u2028\u2029&amp;\u202egnp\x00\x1b[2J\"'`${1}"
)
CHAT = [enter(ANN, "Ann", "chess"), enter(BOB, "Bob"), say(ANN, "hello there", "m1", RoomId("r_2"))]


def data_of(
    commits: Sequence[Commit],
    base: State = INITIAL_STATE,
    *,
    texts: bool = True,
    delivery_records: Sequence[DeliveryRecord] | None = None,
    recorded_after: Position = 0,
) -> dict[str, Any]:
    """Return the page's data for `commits`, as the page reads it."""
    folded = FoldedLog(base, texts=texts)
    list(folded.fold(commits))
    data: dict[str, Any] = json.loads(embedded(page_data("chat.jsonl", folded, delivery_records, recorded_after)))
    return data


def unpacked(text: str) -> list[Any]:
    """Return the numbers in `text`, written by `packed` or `ascending`."""
    column = array(text.removeprefix("+")[0], base64.b64decode(text.removeprefix("+")[1:]))
    return list(accumulate(column)) if text.startswith("+") else list(column)


def rows(table: dict[str, str]) -> list[dict[str, Any]]:
    """Return a table of the page, row by row."""
    columns = {name: unpacked(text) for name, text in table.items()}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def told_at(data: dict[str, Any], moment: int) -> tuple[set[str], set[tuple[str, str, str]]]:
    """Return the waiting people and the open rooms with their members, as the page has them after `moment`."""
    people = [None, *data["people"]]
    waiting = {people[one["who"]] for one in rows(data["wait"]) if one["start"] <= moment < one["end"]}
    open_rooms = {
        (data["rooms"][one["id"] - 1], people[one["first"]], people[one["second"]])
        for one in rows(data["room"])
        if one["start"] <= moment < one["end"]
    }
    return waiting, open_rooms


def folded_at(state: State) -> tuple[set[ConnectionId], set[tuple[RoomId, ConnectionId, ConnectionId]]]:
    """Return the same from the fold."""
    open_rooms = {(one.room_id, one.first, one.second) for one in state.rooms.by_id.values() if one.is_open}
    return set(state.queue.entered), open_rooms


@given(st.lists(st.integers(-(2**52), 2**52)) | st.lists(st.integers(0, 300)) | st.lists(st.integers(-40_000, 70_000)))
def test_columns_come_back_as_they_were(numbers: list[int]) -> None:
    """Packed numbers are the same numbers at any width."""
    assert unpacked(packed(numbers)) == numbers
    assert unpacked(ascending(sorted(numbers))) == sorted(numbers)


@pytest.mark.parametrize("matching", ["first-come", "interests"])
def test_the_page_knows_the_queue_and_the_rooms_of_every_position(matching: MatchingName) -> None:
    """At each position, the waiting people and the open rooms are those of the fold."""
    commits = crowd(300, matching=matching)
    data, state = data_of(commits), INITIAL_STATE
    assert told_at(data, 0) == (set(), set())
    for commit in commits:
        state = evolve(state, commit)
        if commit.position % 7 == 0 or commit.position == len(commits):
            assert told_at(data, commit.position) == folded_at(state)


def test_a_trimmed_log_begins_with_the_state_of_its_base() -> None:
    """People waiting or chatting at the base do so from the page's first moment on."""
    commits = [*log_of(*CHAT), *log_of(enter(CAT), state=fold(log_of(*CHAT)))]
    base = fold(commits[:4])
    data = data_of(log_of(leave(ANN, RoomId("r_2")), state=base, step_ms=60_000), base)
    assert data["base"] == 4
    assert told_at(data, 0) == folded_at(base) == ({CAT}, {("r_2", ANN, BOB)})
    assert told_at(data, 1)[1] == set()
    assert data["opened_positions"] == [2]
    assert data["waiting_since"] == [0], "the newcomer came with the last commit before the base"


def test_whom_an_event_tells_is_whom_the_commit_tells() -> None:
    """The marks of the page are the deliveries of the broker."""
    commits = crowd(300)
    data = data_of(commits)
    people, events = [None, *data["people"]], iter(rows(data["event"]))
    for commit in commits:
        run_ok = []
        for event in (next(events) for _ in commit.events):
            run_ok += [people[event[side]] for side, bit in (("a", 1), ("b", 2)) if event["told"] & bit]
        assert sorted(run_ok) == sorted(who for who, _ in deliveries(commit))


def test_handings_stand_at_their_commits() -> None:
    """Each delivery has its recipient, way and delay after the commit; records without a commit are left out."""
    commits = log_of(*CHAT)
    late = [DeliveryRecord(3, BOB, "result", commits[2].at_ms + 40), DeliveryRecord(2, ANN, "get", commits[1].at_ms)]
    data = data_of(commits, delivery_records=[*late, DeliveryRecord(9, BOB, "get", 0)])
    handed = data["handed"]
    assert [unpacked(handed[name]) for name in ("moment", "after_ms")] == [[2, 3], [0, 40]]
    assert [data["people"][who - 1] for who in unpacked(handed["who"])] == [ANN, BOB]
    assert [handed["ways"][way - 1] for way in unpacked(handed["to"])] == ["get", "result"]
    assert data_of(commits)["handed"] is None
    assert data_of(commits, delivery_records=[], recorded_after=2)["handed_after"] == 2


@pytest.mark.parametrize("matching", ["first-come", "interests"])
def test_a_sound_log_has_no_red(matching: MatchingName) -> None:
    """A broker's own log breaks no promise, under either matching."""
    assert data_of(crowd(600, people=200, every_ms=1_500, matching=matching))["breaches"] == []


def test_breaches_are_those_of_the_checks() -> None:
    """A commit with a broken promise is marked with the check's text if it can be folded, and the fold goes on."""
    before = fold(log_of(enter(ANN), enter(BOB)))
    stranger = said(CAT, ANN, room=RoomId("r_2"))
    entry = log_of(enter(CAT), state=before, step_ms=0)[0]
    state = evolve(before, entry)
    wrong = commit_after(state.tip, say(CAT, room=RoomId("r_2")), Facts(NOON_MS * 2, None, "s"), [stranger])
    expected = check_step(state, wrong, evolve(state, wrong))
    assert expected
    data = data_of([*log_of(enter(ANN), enter(BOB)), entry, wrong, *log_of(vanish(CAT), state=evolve(state, wrong))])
    assert [tuple(one) for one in data["breaches"]] == [(one.position, one.promise, one.what) for one in expected]
    assert data["stopped"] is None
    assert len(unpacked(data["commit"]["who"])) == 5


def test_an_altered_commit_is_marked_and_folded() -> None:
    """An altered commit breaks the chain, and later commits are still shown."""
    commits = log_of(*CHAT)
    commits[0] = msgspec.structs.replace(commits[0], command=enter(ANN, "Eve"))
    data = data_of(commits)
    assert [one[:2] for one in data["breaches"]] == [[1, 5]]
    assert "altered" in data["breaches"][0][2]
    assert len(unpacked(data["commit"]["who"])) == 3


def test_a_missing_commit_ends_the_page() -> None:
    """Nothing can be folded after a gap: the page says so, and shows the commits before."""
    commits = log_of(*CHAT)
    data = data_of([commits[0], commits[2]])
    assert data["stopped"] == "expected the commit at position 2, found 3"
    assert data["breaches"] == [[2, 5, data["stopped"]]]
    assert len(unpacked(data["commit"]["who"])) == 1


def test_a_commit_that_can_not_be_folded_is_the_last() -> None:
    """A contradiction to the state ends the page, with the broken promise."""
    commits = log_of(enter(ANN))
    nobody = commit_after(commits[0].tip, LeaveQueue(CAT), Facts(NOON_MS * 2), [opened(BOB, CAT, RoomId("r_1"))])
    data = data_of([*commits, nobody, *log_of(enter(BOB))])
    assert len(unpacked(data["commit"]["who"])) == 2
    assert {promise for _, promise, _ in data["breaches"]} >= {3, 6}
    assert "can't be folded" in data["stopped"]


def test_the_command_takes_the_notes_of_the_file(tmp_path: Path) -> None:
    """Each with the commits before it, its time and whether an orderly end is missing; a dump has none."""
    commits = conversation().commits
    notes = [
        OperationRecord("started", START_MS - 10, 0),
        OperationRecord("refused", START_MS + 5, 1, ANN, "send_message", "not_in_room"),
        OperationRecord("started", START_MS + 50_000, 5),
    ]
    for name, expected in (
        (filed(tmp_path / "log.db", commits, (), notes), [[0, -10, "started", 0], [5, 50_000, "started", 1]]),
        (dumped(tmp_path / "log.jsonl", commits), []),
    ):
        run_ok("report", name, "-o", str(tmp_path / "page.html"))
        page = (tmp_path / "page.html").read_text("utf-8")
        assert f'"broker":{json.dumps(expected, separators=(",", ":"))}' in page


def busy() -> Script:
    """Return a conversation with a message every 400 ms, and two of them after a pause."""
    script = Script().enters(0, ANN_S, "Ann").enters(100, BOB_S, "Bob", room=ROOM)
    for at_ms in (*range(500, 6_500, 400), 40_000, 40_100):
        script.says(at_ms, ANN_S, str(at_ms))
    return script.says(90_000, BOB_S, "still there?")


ENDED = {
    "in good order": [OperationRecord("started", START_MS, 0), OperationRecord("stopped", START_MS + 6_200, 17)],
    "killed": [OperationRecord("started", START_MS, 0), OperationRecord("started", START_MS + 20_000, 8)],
    "killed twice": [OperationRecord("started", START_MS, end) for end in (1, 8, 8, 14)],
    "one of two lost": [
        OperationRecord("started", START_MS, 0, broker="a"),
        OperationRecord("running", START_MS + 3_000, 9, broker="a"),
        OperationRecord("running", START_MS + 95_000, 20, broker="b"),
    ],
    "one of two silent": [
        OperationRecord("running", START_MS + 38_000, 17, broker="a"),
        OperationRecord("running", START_MS + 60_000, 19, broker="b"),
    ],
}


@pytest.mark.parametrize("ended", ENDED)
def test_the_page_concludes_as_little_as_a_trace(tmp_path: Path, ended: str) -> None:
    """Where `trace` has no conclusion on a delivery, or none yet, the page knows the same of the moment."""
    script, records = busy(), ENDED[ended]
    folded = FoldedLog(INITIAL_STATE)
    list(folded.fold(script.commits))
    spans = page_data("chat.db", folded, [], 0, records)["handed"]["unsure"]
    words = {"no conclusion": "lost", "one of the brokers": "late", "most likely": None}
    with closing(open_source(filed(tmp_path / "log.db", script.commits))) as source:
        source.operation_records = lambda since_ms=0: records
        traced, names = Deliveries(source, len(script.commits)), names_of(source)
        for step in list(steps(source))[1:-1]:
            of_it = traced.of(step.commit, step.commit.events)
            for line in traced.lines(names, step.after, step.commit, of_it):
                why = next(why for text, why in words.items() if text in line)
                m = step.commit.position
                assert next((why for low, high, why in spans if low <= m <= high), None) == why, line


def test_redacted_texts_are_their_length() -> None:
    """The page has the length of a redacted message or note, and marks redacted names and interests."""
    data = data_of([redact(one) for one in log_of(*CHAT)])
    assert (data["said"], data["names"], data["interests"]) == ([len("hello there")], ["[redacted]"], [])
    assert data_of([redact(one) for one in fair_company().commits])["note"]["value"] == [len("sells watches")]


def test_the_page_knows_a_report_and_who_had_to_be_avoided() -> None:
    """A report has its category and note; each search has the excluded partners, with the time since they met."""
    data = data_of(fair_company().commits)
    events = [{**one, "kind": data["kinds"][one["kind"]]} for one in rows(data["event"])]
    assert [data["reasons"][one["reason"]] for one in events if one["kind"] == "partner_reported"] == ["spam"]
    assert next(data["reasons"][one["reason"]] for one in events if one["kind"] == "room_closed") == "missed"
    assert data["note"]["value"] == ["sells watches"]
    forgotten = [data["people"][one - 1][:6] for one in data["forgotten"]["value"][0]]
    assert (forgotten, len(data["forgotten"]["value"])) == (["c_b6cd", "c_6f5d"], 1)
    avoided = dict(zip(unpacked(data["avoided"]["moment"]), data["avoided"]["value"], strict=True))
    assert {moment: [one[1:] for one in found] for moment, found in avoided.items()} == {
        8: [["met", 1_000]],
        9: [["met", 21_000]],
        12: [["blocked", None]],
        13: [["peer", None]],
    }


def test_a_wait_after_a_missed_match_has_its_old_place() -> None:
    """The place counts from the base, and the time from the beginning; so do those of people waiting in the base."""
    commits = fair_company().commits
    assert data_of(commits)["requeued"] == [[4, 2, 1_000]]
    base = fold(commits[:4])
    data = data_of(commits[4:], base)
    assert (data["waiting_at"], data["waiting_since"]) == ([-2], [-26_500])


def test_without_texts_nothing_that_was_typed_is_in_the_page() -> None:
    """Names, interests, messages and the senders' own ids for them are left out, and all other data is there."""
    commits = log_of(*CHAT)
    data = data_of(commits, texts=False)
    assert not re.search("Ann|Bob|chess|hello|m1", json.dumps(data))
    assert data["said"] == [len("hello there")]
    assert data["people"] == [ANN, BOB]
    whole = json.dumps(data_of(commits))
    assert all(word in whole for word in ("Ann", "Bob", "chess", "hello there", "m1"))
    data = data_of(fair_company().commits, texts=False)
    assert data["note"]["value"] == [len("sells watches")]
    assert not re.search("Ann|tea|sells|Watches", json.dumps(data))


def test_embedded_json_is_the_same_data_without_markup() -> None:
    """The block has no character to end it or begin a comment, and it reads back unchanged."""
    text = embedded({"said": [HOSTILE]})
    assert json.loads(text) == {"said": [HOSTILE]}
    assert not set("<>&\u2028\u2029") & set(text)


class _Elements(HTMLParser):
    """All elements, and the contents of the scripts and the style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[str] = []
        self.is_raw = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element."""
        self.found.append((tag, dict(attrs)))
        self.is_raw = tag in ("script", "style")
        if self.is_raw:
            self.raw.append("")

    def handle_endtag(self, tag: str) -> None:
        """Note the end of a script or style, if one was open."""
        self.is_raw = False

    def handle_data(self, data: str) -> None:
        """Add to the content of the newest script or style."""
        if self.is_raw:
            self.raw[-1] += data


def hostile_page() -> str:
    """Return a page where all text chosen by a person, or by a forged dump, is hostile."""
    who, other, room = ConnectionId(f"c_{HOSTILE}"), ConnectionId(f"d_{HOSTILE}"), RoomId(f"r_{HOSTILE}")
    commits = log_of(enter(who, HOSTILE, HOSTILE), enter(other, HOSTILE))
    last = commits[1].events[-1]
    assert isinstance(last, RoomOpened)
    commits[1] = msgspec.structs.replace(
        commits[1],
        commit_id=CommitId(HOSTILE),
        events=(commits[1].events[0], msgspec.structs.replace(last, room_id=room)),
    )
    folded = FoldedLog(INITIAL_STATE)
    list(folded.fold(commits))
    return page(page_data(HOSTILE, folded, None))


def test_a_hostile_log_adds_no_element() -> None:
    """The page of a hostile log has the elements of the page of an empty one."""
    empty = page(page_data("x", FoldedLog(INITIAL_STATE), None))
    hostile = hostile_page()
    assert "alert(1)" in hostile
    assert [tag for tag, _ in _Elements(hostile).found] == [tag for tag, _ in _Elements(empty).found]


def test_the_page_allows_itself_nothing_but_its_own_script_and_style() -> None:
    """The policy in the page names both by their hashes and forbids all loading; no attribute refers to anything."""
    elements = _Elements(hostile_page())
    policy = next(one["content"] for _, one in elements.found if one.get("http-equiv") == "Content-Security-Policy")
    style, _, script = elements.raw
    hashes = ["sha256-" + base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in (script, style)]
    assert policy == (
        f"default-src 'none'; script-src '{hashes[0]}'; style-src '{hashes[1]}'; base-uri 'none'; form-action 'none'"
    )
    for _, attributes in elements.found:
        assert not {"src", "href", "style", "action"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|fetch\(|XMLHttp|import\(", script
    )


@pytest.mark.slow
def test_ten_thousand_commits_are_less_than_a_megabyte() -> None:
    """The page stays small enough to send."""
    folded = FoldedLog(INITIAL_STATE)
    list(folded.fold(crowd(10_000, people=400, every_ms=2_000)))
    assert len(page(page_data("x", folded, None)).encode()) < 1_000_000


def dump(path: Path, commits: Sequence[Commit]) -> Path:
    """Write `commits` as a dump; return its path."""
    path.write_bytes(b"".join(encode_commit(one) + b"\n" for one in commits))
    return path


def report(*arguments: object) -> int:
    """Run the command; return its exit status."""
    return main(["report", *map(str, arguments)], {}, lambda _: None)


def test_the_command_writes_the_page_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says where the page is, how many commits are in it and how big it is; an existing page is replaced."""
    log, output = dump(tmp_path / "chat.jsonl", log_of(*CHAT)), tmp_path / "page.html"
    output.write_text("old")
    assert report(log, "-o", output) == 0
    answer = capsys.readouterr()
    assert re.fullmatch(rf"{re.escape(str(output))}: 3 commits, [0-9]+ kB\n", answer.out)
    assert answer.err == ""
    assert output.read_text("utf-8").startswith("<!doctype html>")
    assert {one.name for one in tmp_path.iterdir()} == {"chat.jsonl", "page.html"}
    assert str(tmp_path) not in output.read_text("utf-8"), "where the log lies is nobody's business"


@pytest.mark.parametrize("name", ["a chat?.jsonl", "no #1.jsonl"])
def test_the_page_is_called_as_the_log_is(tmp_path: Path, name: str) -> None:
    """This includes names like a piece of an address."""
    output = tmp_path / "page.html"
    assert report(dump(tmp_path / name, log_of(*CHAT)), "-o", output) == 0
    assert f'"log":"{name}"' in output.read_text("utf-8")


def test_the_command_tells_of_broken_promises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken or partly unreadable log still makes a page; the exit status is 1, as for `verify`."""
    commits = log_of(*CHAT)
    log = dump(tmp_path / "chat.jsonl", [commits[0], commits[2]])
    assert report(log, "--output", tmp_path / "page.html", "--no-texts") == 1
    assert "1 commit, " in (out := capsys.readouterr().out)
    assert out.endswith("; 1 breach of a promise, in red\n")


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("DELETE FROM commits WHERE position = 2", "after position 1 commits are missing"),
        ("UPDATE commits SET body = '{}' WHERE position = 2", "at position 2 stands another commit"),
        ("UPDATE commits SET body = 'x' WHERE position = 2", "not a commit"),
    ],
)
def test_damage_in_a_brokers_file_ends_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sql: str, what: str
) -> None:
    """Commits before the damage are there, the promise is in red, and the log's directory is not named."""
    output = tmp_path / "page.html"
    with contextlib.closing(SqliteFile(tmp_path / "chat.db")) as file:
        file.append(log_of(*CHAT), expected=EMPTY_TIP)
    with contextlib.closing(apsw.Connection(str(tmp_path / "chat.db"))) as db:
        db.execute(sql)
    assert report(f"sqlite:{tmp_path / 'chat.db'}", "-o", output) == 1
    answer = capsys.readouterr()
    assert answer.out.endswith("; 1 breach of a promise, in red\n")
    assert answer.err.startswith("the page ends after position 1: ")
    assert what in answer.err
    assert what in (written := output.read_text("utf-8"))
    assert str(tmp_path) not in written


def test_an_empty_log_has_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No commit is no error."""
    SqliteFile(tmp_path / "chat.db").close()
    assert report(f"sqlite:{tmp_path / 'chat.db'}", "-o", tmp_path / "page.html") == 0
    assert ": 0 commits, " in capsys.readouterr().out


def test_a_brokers_file_says_how_things_were_handed_over(tmp_path: Path) -> None:
    """The page for a log on disk has its delivery records."""
    commits, output = log_of(*CHAT), tmp_path / "page.html"
    file = SqliteFile(tmp_path / "chat.db")
    file.append(commits, expected=EMPTY_TIP)
    file.record([DeliveryRecord(3, BOB, "result", commits[2].at_ms + 40)])
    file.close()
    assert report(f"sqlite:{tmp_path / 'chat.db'}", "-o", output) == 0
    handed = re.search(r'"handed":(\{.*?\})', output.read_text("utf-8"))
    assert handed is not None
    assert json.loads(handed[1])["ways"] == ["result"]


@pytest.mark.parametrize("output", ["missing/page.html", ".", "chat.jsonl"])
def test_what_can_not_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str) -> None:
    """A missing folder, a folder in the file's place, or the log itself: exit 2, and nothing is touched."""
    log = dump(tmp_path / "chat.jsonl", log_of(*CHAT))
    before = log.read_bytes()
    assert report(log, "-o", tmp_path / output) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert log.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["chat.jsonl"]
