"""`replay --step`: a log in the terminal, forwards and backwards."""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from textual.binding import Binding
from textual.widgets import Static

from broker.errors import UsageError
from events.commands import AdoptPolicy, LeaveQueue, LeaveRoom, SendMessage
from events.commit import EMPTY_TIP, Commit, Facts, commit_after
from events.events import MessageSent, QueueEntered
from events.ids import ConnectionId, Position, RoomId
from events.log import DeliveryRecord, OperationRecord, Snapshot
from events.policy import Policy
from events.sqlite.file import SqliteFile
from log_debugger.reading.filters import CommitFilter
from log_debugger.reading.history_cache import BLOCK_COMMITS, HistoryCache
from log_debugger.reading.search import search
from log_debugger.reading.sources import Source, open_source
from log_debugger.reading.times import start_of
from log_debugger.telling.keybindings import KEY_NAMES
from log_debugger.telling.panels import changed_sections
from log_debugger.telling.stepper import FOLLOWS, Stepper, step_through, typed_filter
from log_debugger.terminal import Terminal
from projections.snapshots import STATE_CODEC
from projections.state import fold
from tests.log_debugger.logs import (
    ANN,
    BOB,
    CAT,
    DAN,
    ROOM,
    START_MS,
    Script,
    by_interests,
    conversation,
    dumped,
    filed,
    trimmed,
)
from tests.log_debugger.screens import RunningScreen

SECONDS_MAX = 30


class Seen(msgspec.Struct):
    """The final view of a stepper."""

    position: Position
    where: str
    commit: str
    state: str
    note: str
    commit_filter: CommitFilter


def seen(log: str, *keys: str, at: Position | None = None, filter_text: str = "") -> Seen:
    """Step through `log` with `keys`; one in quotes is typed. Return the final view."""
    with closing(open_source(log)) as source:
        cache = HistoryCache(source)
        app = Stepper(cache, typed_filter(filter_text, cache), filter_text, at, start_of(source))
        return asyncio.run(_pressed(app, keys))


async def _pressed(app: Stepper, keys: tuple[str, ...]) -> Seen:
    async with app.run_test(size=(160, 60)) as pilot:
        for key in keys:
            await pilot.press(*(key[1:-1] if key.startswith("'") else [key]))
            await app.workers.wait_for_complete()
            await pilot.pause()
        texts = [str(app.query_one(f"#{name}", Static).content) for name in ("where", "commit-text", "state-text")]
        return Seen(app.position, texts[0], texts[1], texts[2], app.noted, app.commit_filter)


@pytest.fixture
def log(tmp_path: Path) -> str:
    """Write a dump of a conversation; return its name."""
    return dumped(tmp_path / "log.jsonl", conversation().commits)


def long_script(commits: int) -> Script:
    """Return a script: Ann and Bob talk for long, and part; then they meet again, and so on."""
    script, number = Script(), 0
    while len(script.commits) < commits:
        room, at_ms = RoomId(f"r_{number:032x}"), 1_000_000 * number
        script.enters(at_ms, ANN, "Ann").enters(at_ms + 1, BOB, "Bob", room=room)
        for said in range(96):
            script.says(at_ms + 2 + 1_000 * said, ANN, f"{number}.{said}", room)
        script.add(at_ms + 100_000, LeaveRoom(BOB, room))
        number += 1
    return script


@pytest.mark.slow
def test_keys_lead_everywhere(log: str) -> None:
    """Keys go by one, by ten, to the ends, to a position or a time; never past the ends."""
    ways: dict[tuple[str, ...], Position] = {
        (): 1,
        ("right", "right"): 3,
        ("right", "right", "left"): 2,
        ("left", "left"): 0,
        ("pagedown",): 9,
        ("end", "pageup"): 0,
        ("G",): 9,
        ("home",): 0,
        ("G", "right"): 9,
        ("j", "'6'", "enter"): 6,
        ("j", "'600'", "enter"): 9,
        ("j", "'+44s'", "enter"): 4,
        ("j", "'2026-09-21T14:14:20Z'", "enter"): 6,
        ("j", "'6'", "escape"): 1,
        ("space", "n", "l", "p", "h"): 2,
    }
    with closing(open_source(log)) as source:
        app = Stepper(HistoryCache(source), CommitFilter(), "", None, start_of(source))

        async def led() -> dict[tuple[str, ...], Position]:
            found = {}
            async with app.run_test() as pilot:
                for keys in ways:
                    for key in ("g", "right", *keys):
                        await pilot.press(*(key[1:-1] if key.startswith("'") else [key]))
                    found[keys] = app.position
            return found

        assert asyncio.run(led()) == ways


def test_a_commit_and_what_it_changed_stand_side_by_side(log: str) -> None:
    """The commit has all its contents, and the state marks each change."""
    here = seen(log, at=6)
    assert here.where == "position 6 of 9, 2026-09-21T14:14:20.000Z (00:01:00.000)"
    for part in ("NextPartner(", "RoomClosed(", "RoomOpened(", "Ann·6f5d hears partner.disconnected", "the same"):
        assert part in here.commit
    for row in (
        "- 1. Anonymous·0a1b",
        "- r_2370 Ann·6f5d and Bob·b6cd",
        "+ r_91aa Anonymous·0a1b and Bob·b6cd: 0 messages in 0 s",
        "~ Bob·b6cd in r_91aa, was in r_2370",
        "~ Ann·6f5d idle, was in r_2370",
        "~ rooms closed 1, was 0",
        "messages 2",
    ):
        assert f" {row}\n" in here.state


def test_who_moves_up_in_the_queue_is_marked(tmp_path: Path) -> None:
    """The mark has their former place, as in `diff`; unmoved people have none."""
    script = Script().add(0, AdoptPolicy(Policy(matching="interests"))).enters(1_000, ANN, "Ann", "go")
    script.enters(2_000, BOB, "Bob").enters(3_000, CAT, "Cat").enters(4_000, DAN, "Dan").add(5_000, LeaveQueue(BOB))
    with closing(open_source(dumped(tmp_path / "log.jsonl", script.commits))) as source:
        cache = HistoryCache(source)
        cache.clamp(cache.last)
        queue = changed_sections(cache.names, *cache.step(cache.last))[0]
    assert [f"{row.mark} {row.text}" for row in queue.rows] == [
        "- 2. Bob·b6cd",
        "  1. Ann·6f5d6 for 4.0 s (go)",
        "~ 2. Cat·0a1b for 2.0 s, was 3rd",
        "~ 3. Dan·6f5d9 for 1.0 s, was 4th",
    ]


def test_what_is_too_long_for_a_line_goes_on_below_its_beginning(tmp_path: Path) -> None:
    """The mark is alone at the edge, however narrow the terminal, and no text is lost."""
    script = Script().enters(0, ANN, "Ann").enters(1, BOB, "Bob", room=ROOM)
    script.says(2_000, ANN, "word " * 30 + "x" * 80)
    with closing(open_source(dumped(tmp_path / "log.jsonl", script.commits))) as source:
        app = Stepper(HistoryCache(source), CommitFilter(), "", 3, start_of(source))

        async def lines() -> tuple[list[str], str]:
            async with app.run_test(size=(80, 60)) as pilot:
                await pilot.pause()
                shown = app.query_one("#commit-text", Static)
                return [shown.render_line(y).text.rstrip() for y in range(shown.size.height)], str(shown.content)

        rendered, plain = asyncio.run(lines())
    start = rendered.index("what happened")
    story = rendered[start + 1 : rendered.index("", start)]
    assert len(story) > 5
    assert all(line.startswith("   ") and line[3] != " " for line in story)
    assert "".join("".join(rendered).split()) == "".join(plain.split())


@pytest.mark.parametrize(
    ("filter_text", "keys", "position"),
    [
        ("type == room_closed", ("f",), 6),
        ("type == room_closed", ("f", "f"), 7),
        ("type == room_closed", ("G", "F"), 7),
        ("type == room_closed", ("G", "F", "F"), 6),
        ("room == 91", ("f",), 6),
        ("person == 0a1b", ("f",), 5),
        ("waiting > 0", ("f",), 5),
        ("person == 6f5d and type == message_sent", ("f", "f"), 4),
        ('"hello" in text and time > +43s', ("f",), 4),
        ("wait > 20s", ("f",), 2),
    ],
)
def test_a_search_goes_to_the_next_hit_or_the_one_before(
    log: str, filter_text: str, keys: tuple[str, ...], position: int
) -> None:
    """It stops at a room, a connection, a type of event, or a state."""
    assert seen(log, *keys, filter_text=filter_text).position == position


def test_a_search_never_goes_around_the_end(log: str) -> None:
    """After the last hit there is no other, and the position stays."""
    here = seen(log, "f", "f", "f", filter_text="type == room_closed")
    assert (here.position, here.note) == (7, "there is none further on")
    here = seen(log, "F", filter_text="type == room_closed")
    assert (here.position, here.note) == (1, "there is none before")


def test_what_to_stop_at_can_be_asked_for_meanwhile(log: str) -> None:
    """The question leads to the first hit, and is shown."""
    here = seen(log, "b", "'type == room_closed'", "enter")
    assert here.position == 6
    assert here.where.endswith("; looks for type == room_closed")
    assert seen(log, "f").note == "nothing is looked for yet: b says at what to stop"


@pytest.mark.parametrize("asked", ["room == ffff", "room", "type == nothing", "waiting >", "'", "time > 15:00:00"])
def test_a_question_that_can_not_be_read_is_answered(log: str, asked: str) -> None:
    """The error is shown, and nothing else happens."""
    here = seen(log, "b", f"'{asked}'", "enter")
    assert here.position == 1
    assert here.note
    assert "--" not in here.note, "no flag was typed"
    assert here.commit_filter.matches_all


def test_a_question_that_can_not_be_read_can_be_mended(log: str) -> None:
    """The typed text stays, with the question open; the wrong condition is named."""
    here = seen(log, "b", "'room == 2370 and wating > 0'", "enter")
    assert here.note.startswith('the filter, column 18: "wating" is no name of a filter, which are ')
    assert seen(log, "j", "'6x'", "enter").note.startswith(
        '"6x" is no position and no time: write a number, or a time '
    )
    assert seen(log, "j", "'6x'", "enter", "backspace", "enter").position == 6
    closed = seen(log, "j", "'6x'", "enter", "escape", "right")
    assert (closed.position, closed.note) == (2, "")


def test_a_jump_beyond_an_end_is_told(tmp_path: Path, log: str) -> None:
    """The jump leads to the end, and says so; the keys for single steps stop there silently."""
    far = seen(log, "j", "'600'", "enter")
    assert (far.position, far.note) == (9, "there is no position 600: the log goes from 0 to 9")
    script = conversation()
    trimmed_log = trimmed(tmp_path / "log.db", script, fold(script.commits[:4]))
    assert seen(trimmed_log, "j", "'3'", "enter").note == "there is no position 3: the log goes from 4 to 9"
    assert seen(log, "G", "right").note == ""


@pytest.mark.parametrize("key", ["x", "f5", "tab"])
def test_a_key_that_means_nothing_leads_to_those_that_do(log: str, key: str) -> None:
    """The answer names `?`, the first key of the last line."""
    assert seen(log, key).note == "that key does nothing; ? lists those that do"
    assert seen(log, "right", key).position == 2


def test_every_key_is_listed(log: str) -> None:
    """`?` explains each of them."""
    note = seen(log, "question_mark").note
    for binding in Stepper.BINDINGS:
        assert isinstance(binding, Binding)
        for key in binding.key.split(","):
            assert KEY_NAMES.get(key, key) in note.replace(",", " ").replace(";", " ").split(), key


def test_the_key_for_all_keys_is_seen_on_a_narrow_screen(log: str) -> None:
    """It comes first even without room for the others."""
    with closing(open_source(log)) as source:
        app = Stepper(HistoryCache(source), CommitFilter(), "", None, start_of(source))

        async def first_key() -> tuple[str, int]:
            async with app.run_test(size=(40, 20)) as pilot:
                await pilot.pause()
                key = app.query("FooterKey").first()
                return str(key.render()), key.region.right

        text, right = asyncio.run(first_key())
        assert text.split() == ["?", "keys"]
        assert 0 < right <= 40


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_can_not_show_it_is_refused(log: str, term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal is one line rather than a blank screen."""

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stdin", Screen())
    with closing(open_source(log)) as source, pytest.raises(UsageError, match="TERM") as raised:
        step_through(source, Terminal(Screen(), Screen()), argparse.Namespace(), None, 0)
    assert "\n" not in str(raised.value)


def test_a_decision_that_is_refused_today_is_found(tmp_path: Path) -> None:
    """`rejection` stops where a stored command would not be stored again, and says why."""
    script = Script().enters(0, ANN, "Ann").enters(1, BOB, "Bob", room=ROOM).add(2, LeaveRoom(BOB, ROOM))
    said = MessageSent(ROOM, BOB, ANN, "too late", None)
    facts = Facts(START_MS + 3, None, "salt")
    script.store(commit_after(script.state.tip, SendMessage(BOB, ROOM, "too late", None), facts, [said]))
    here = seen(dumped(tmp_path / "log.jsonl", script.commits), "f", filter_text="rejection")
    assert here.position == 4
    assert "~ refused: chat_ended" in here.commit


def test_markup_and_escapes_in_texts_are_only_shown(tmp_path: Path) -> None:
    """Texts typed by people style nothing."""
    event = QueueEntered(ANN, "[red]Ann[/red]\x1b[2J", ())
    commit = commit_after(EMPTY_TIP, SendMessage(ANN, ROOM, "x", None), Facts(START_MS, ROOM, "salt"), [event])
    here = seen(dumped(tmp_path / "log.jsonl", Script().store(commit).commits))
    assert '"[red]Ann[/red]\\u001b[2J"·6f5d' in here.state


def test_an_empty_log_can_be_looked_at(tmp_path: Path) -> None:
    """There is nowhere to go, and nothing breaks."""
    log = filed(tmp_path / "log.db", [])
    for key in ("right", "left", "G", "r", "pagedown"):
        assert seen(log, key).position == 0
    assert seen(log, "f", filter_text="waiting > 0").note == "there is none further on"


def test_a_trimmed_log_begins_at_its_base(tmp_path: Path) -> None:
    """The first state is the base."""
    script = conversation()
    here = seen(trimmed(tmp_path / "log.db", script, fold(script.commits[:4])), "g", "left")
    assert here.position == 4
    assert "r_2370 Ann·6f5d and Bob·b6cd: 0 messages or more" in here.state
    assert seen(trimmed(tmp_path / "next.db", script, fold(script.commits[:4])), "right").position == 6


def test_a_broken_log_can_be_looked_at_as_far_as_it_goes(tmp_path: Path) -> None:
    """The last readable position has a note about the fault after it."""
    commits = conversation().commits
    commits[5] = msgspec.structs.replace(commits[5], at_ms=commits[5].at_ms + 1)
    here = seen(dumped(tmp_path / "log.jsonl", commits), "G")
    assert here.position == 5
    assert here.note == "the log can't be read on: the commit at position 6 was altered"


def test_a_log_that_grows_is_taken_in_when_asked(tmp_path: Path) -> None:
    """`r` goes to the new tip of a running broker's log."""
    commits = conversation().commits
    log = filed(tmp_path / "log.db", commits[:3])
    with closing(open_source(log)) as source:
        cache = HistoryCache(source)
        app = Stepper(cache, CommitFilter(), "", None, START_MS)

        async def grow() -> tuple[int, str, str]:
            async with app.run_test() as pilot:
                await pilot.press("G")
                before = app.position
                with SqliteFile(tmp_path / "log.db", "share") as broker:
                    broker.append(commits[3:], expected=commits[2].tip)
                await pilot.press("r")
                after = (app.position, app.noted)
                await pilot.press("r")
                return before, str(after), app.noted

        assert asyncio.run(grow()) == (3, "(9, '6 commits more')", "nothing new")


def test_a_log_that_grows_is_followed_until_a_key_leads_elsewhere(tmp_path: Path) -> None:
    """`t` goes to the last commit, and to each new one."""
    commits = conversation().commits
    log = filed(tmp_path / "log.db", commits[:3])
    with closing(open_source(log)) as source:
        app = Stepper(HistoryCache(source), CommitFilter(), "", None, START_MS)

        async def followed() -> list[tuple[int, str, bool]]:
            seen = []
            async with app.run_test() as pilot:
                await pilot.press("t")
                seen.append((app.position, app.noted, app.is_following))
                with SqliteFile(tmp_path / "log.db", "share") as broker:
                    broker.append(commits[3:], expected=commits[2].tip)
                deadline = time.monotonic() + SECONDS_MAX
                while app.position < 9 and time.monotonic() < deadline:
                    await pilot.pause(0.01)
                seen.append((app.position, app.noted, app.is_following))
                for key in ("left", "t", "j", "escape", "t", "g", "t", "escape"):
                    await pilot.press(key)
                    seen.append((app.position, app.noted, app.is_following))
            return seen

        note = "the log is followed; a key that leads elsewhere ends that"
        assert asyncio.run(followed()) == [
            (3, note, True),
            (9, note, True),
            (8, "", False),
            (9, note, True),
            (9, note, False),
            (9, "", False),
            (9, note, True),
            (0, "", False),
            (9, note, True),
            (9, "", False),
        ]


def test_why_two_met_is_told_where_they_did(tmp_path: Path, log: str) -> None:
    """The words are those of `trace`; a fruitless entry has its reason too."""
    here = seen(log, at=2)
    assert "why they met\n   first come, first served: Ann·6f5d was the head of the queue, with 41.2 s\n" in here.commit
    assert "nobody else waited\n" in here.commit
    assert "why" not in seen(log, at=3).commit
    interested = dumped(tmp_path / "interests.jsonl", by_interests().commits)
    assert (
        "why nobody was met\n   1 other waited, but none shared an interest with them" in seen(interested, at=3).commit
    )


def test_when_it_was_handed_over_is_told_of_each_notification(tmp_path: Path, log: str) -> None:
    """The form is that of `trace`; a dump has no records, and a commit without notifications has no such lines."""
    records = [DeliveryRecord(2, ANN, "get", START_MS + 41_203), DeliveryRecord(3, ANN, "result", START_MS + 42_300)]
    here = seen(filed(tmp_path / "log.db", conversation().commits, records), at=2)
    assert "handed over\n   handed to Ann·6f5d: the GET stream of a session after 3 ms\n" in here.commit
    assert "   no note that it was handed to Bob·b6cd: most likely" in here.commit
    assert "handed over\n   when a notification was handed over is not noted in a dump" in seen(log, at=2).commit
    assert "handed" not in seen(log, at=1).commit


def test_what_was_noted_is_told_after_the_commit_before_it(tmp_path: Path, log: str) -> None:
    """Refusals, starts and ends have their time; a start before the first commit is at the empty log."""
    records = [
        OperationRecord("started", START_MS - 100, 0),
        OperationRecord("refused", START_MS + 42_300, 3, ANN, "send_message", "room_not_found"),
        OperationRecord("started", START_MS + 42_400, 3),
        *(OperationRecord("refused", START_MS + 50_000, 5, None, "get_status", "unknown_handle") for _ in range(40)),
    ]
    noted = filed(tmp_path / "log.db", conversation().commits, (), records)
    assert seen(noted, at=0).commit == "noted after it\n   00:00:00.000 the broker starts\n\n"
    assert (
        "\n\nnoted after it\n   00:00:42.300 Ann\u00b76f5d is refused send_message: room_not_found\n"
        "   00:00:42.400 the broker starts, with no note of an orderly end before\n\n"
    ) in seen(noted, at=3).commit
    assert "   and 10 more; replay has them all\n" in seen(noted, at=5).commit
    assert "noted after it" not in seen(noted, at=4).commit + seen(log, at=3).commit


@pytest.mark.parametrize("key", ["r", "t"])
def test_notes_that_come_late_are_taken_in(tmp_path: Path, key: str) -> None:
    """When asked, and where the log is followed; also where there is no new commit."""
    commits = conversation().commits
    log = filed(tmp_path / "log.db", commits)
    with closing(open_source(log)) as source:
        app = Stepper(HistoryCache(source), CommitFilter(), "", 9, START_MS)

        async def noted() -> str:
            async with app.run_test() as pilot:
                assert "noted after it" not in str(app.query_one("#commit-text", Static).content)
                with SqliteFile(tmp_path / "log.db", "share") as broker:
                    broker.record((), [OperationRecord("stopped", START_MS + 430_500, 9)])
                await pilot.press(key)
                assert app.noted == ("new notes, but no commit" if key == "r" else FOLLOWS)
                return str(app.query_one("#commit-text", Static).content)

        assert "noted after it\n   00:07:10.500 the broker stops in good order\n" in asyncio.run(noted())


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Commit]]:
    """Write a log of several blocks of commits; return its name and its commits."""
    commits = long_script(5 * BLOCK_COMMITS).commits
    return dumped(tmp_path_factory.mktemp("logs") / "long.jsonl", commits), commits


@pytest.fixture
def long_source(long_log: tuple[str, list[Commit]]) -> Iterator[Source]:
    """Yield the same log, open."""
    with closing(open_source(long_log[0])) as source:
        yield source


def test_every_state_of_a_long_log_is_the_folds(long_source: Source, long_log: tuple[str, list[Commit]]) -> None:
    """This holds for any way there: from the end to the beginning, and in leaps."""
    cache, commits = HistoryCache(long_source), long_log[1]
    last = len(commits)
    for position in (last, last - 1, BLOCK_COMMITS, BLOCK_COMMITS + 1, 1, 3 * BLOCK_COMMITS, 0, last, 700):
        assert cache.clamp(position) == position
        assert cache.state(position) == fold(commits[:position])


def test_to_step_back_folds_no_more_than_a_block(long_source: Source) -> None:
    """A long log is read again in blocks, and never from its beginning."""
    cache = HistoryCache(long_source)
    cache.clamp(cache.last)
    read = _counting(long_source)
    for position in range(cache.last, cache.last - 3 * BLOCK_COMMITS, -1):
        cache.clamp(position)
        cache.step(position)
    assert sum(read) <= 4 * BLOCK_COMMITS


def _counting(source: Source) -> list[int]:
    """Count the lines taken from `source` from now on, with one entry for each."""
    taken: list[int] = []
    lines = source.lines

    def counted(after: Position) -> Iterator[bytes]:
        for line in lines(after):
            taken.append(1)
            yield line

    source.lines = counted
    return taken


def test_a_snapshot_saves_the_way_to_the_end(tmp_path: Path) -> None:
    """A jump to the end of a log with snapshots starts at the newest; only the lengths of talks are then unknown."""
    script = long_script(6 * BLOCK_COMMITS)
    log = filed(tmp_path / "log.db", script.commits)
    state = fold(script.commits[: 4 * BLOCK_COMMITS + 7])
    with SqliteFile(tmp_path / "log.db", "share") as file:
        file.save(Snapshot(state.tip, state), STATE_CODEC)
    with closing(open_source(log)) as source:
        cache, read = HistoryCache(source), _counting(source)
        assert cache.clamp(cache.last) == cache.last
        assert sum(read) < 3 * BLOCK_COMMITS
        assert cache.state(cache.last) == script.state
        hits = asyncio.run(_hits(cache, typed_filter("position == 3", cache)))
        assert hits == [3]
        assert cache.clamp(10) == 10
        assert cache.state(10) == fold(script.commits[:10])


async def _hits(cache: HistoryCache, commit_filter: CommitFilter) -> list[Position]:
    return [one.hit async for one in search(cache, commit_filter, cache.last, -1) if one.hit is not None]


def test_a_search_crosses_blocks_in_both_directions(long_log: tuple[str, list[Commit]]) -> None:
    """The hit may be far away."""
    log, commits = long_log
    last = len(commits)
    far = f"position == {last - 2}"
    assert seen(log, "f", filter_text=far).position == last - 2
    assert seen(log, "G", "F", filter_text="position == 3").position == 3
    assert seen(log, "G", "F", "F", filter_text="type == room_closed").position == last - 198


def test_a_long_queue_is_cut(tmp_path: Path) -> None:
    """The rows are those of the head, and all changed ones."""
    script = Script().add(0, AdoptPolicy(Policy(matching="interests")))
    for number in range(30):
        script.enters(number, ConnectionId(f"c_{number:04x}"), "Anonymous")
    with closing(open_source(dumped(tmp_path / "log.jsonl", script.commits))) as source:
        cache = HistoryCache(source)
        cache.clamp(cache.last)
        queue = changed_sections(cache.names, *cache.step(cache.last))[0]
    assert queue.title == "queue: 30 waiting"
    assert [row.text for row in queue.rows][-2:] == ["and 18 more", "30. Anonymous·001d for 0 s"]
    assert [row.mark for row in queue.rows].count("+") == 1


def test_it_runs_in_a_real_terminal(log: str) -> None:
    """Keys come from a terminal, the screen goes to it, and `q` ends it well."""
    with RunningScreen("replay", log, "--step", "--to", "2") as screen:
        screen.read_until(b"position 2 of 9")
        screen.press(b"G")
        screen.read_until(b"9 of 9")
        screen.press(b"q")
        assert screen.end()[0] == 0
