"""`top`: the figures of a log that grows."""

from __future__ import annotations

import asyncio
import hashlib
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from threading import Event
from unittest import mock

import apsw
import pytest
from rich.cells import cell_len
from textual.widgets import Log

from broker.errors import UsageError
from events.commands import AdoptPolicy, LeaveQueue
from events.commit import Commit
from events.ids import ConnectionId, RoomId
from events.log import LogUnavailableError, OperationRecord, UnusableLogError
from events.policy import Policy
from events.sqlite.file import SqliteFile
from log_debugger.commands import top
from log_debugger.commands.top import LogWatch, traced
from log_debugger.reading.short_names import names_of
from log_debugger.reading.sources import SqliteSource, open_source
from log_debugger.telling.figures import REFUSALS_MS, ROWS_MAX, Figures, Subject, figures_of
from log_debugger.telling.keybindings import KEY_NAMES, UNBOUND, keys_of
from log_debugger.telling.top_screen import BINDINGS, TopScreen, wrapped
from log_debugger.terminal import Terminal
from projections.state import State, fold
from tests.log_debugger.logs import (
    ANN,
    BOB,
    CAT,
    DAN,
    ROOM,
    START_MS,
    Script,
    conversation,
    dumped,
    filed,
    run_command,
    run_ok,
    trimmed,
)
from tests.log_debugger.screens import SECONDS_MAX, Clock, RunningScreen, Shows, on_screen, printed, squeezed

COMMITS = conversation().commits
REFUSED = OperationRecord("refused", START_MS + 44_000, 5, BOB, "send_message", "rate_limited")


@pytest.fixture
def log(tmp_path: Path) -> str:
    """Write a broker's file with the first five commits and a refusal; return its name."""
    return filed(tmp_path / "log.db", COMMITS[:5], (), [REFUSED])


def append(log: str, commits: Sequence[Commit], records: Sequence[OperationRecord] = ()) -> None:
    """Append `commits` and records as a running broker does."""
    with SqliteFile(Path(log.removeprefix("sqlite:")), "share") as broker:
        if commits:
            broker.append(commits, expected=fold(COMMITS[: commits[0].position - 1]).tip)
        broker.record((), records)


def texts(figures: Figures) -> list[str]:
    """Return the titles and the rows of `figures`."""
    return [text for one in figures.sections for text in (one.title, *(row.text for row in one.rows))]


def crowd(tmp_path: Path) -> str:
    """Write a log with waits, rooms and refusals, more of each than a small screen has lines for."""
    script = Script().add(0, AdoptPolicy(Policy(matching="interests")))
    for number in range(2 * ROWS_MAX):
        who, partner = (ConnectionId(f"c_{kind}{number:03x}ffff") for kind in "ab")
        room = RoomId(f"r_{number:04x}ffff")
        script.enters(10 * number, who, "Ann", f"tea {number}")
        script.enters(10 * number + 1, partner, "Bob", f"tea {number}", room=room)
        script.enters(10 * number + 2, ConnectionId(f"c_{number:04x}ffff"), "Cat", f"go {number}")
        for said in range(number // 10):
            script.says(10 * number + 3, who, f"{said}", room)
    records = [REFUSED._replace(after=9, code=f"code_{n}", connection_id=ConnectionId("c_0001ffff")) for n in range(9)]
    return filed(tmp_path / "crowd.db", script.commits, (), records)


def test_the_figures_are_printed_once(log: str) -> None:
    """Names, times and lengths of talks are those that other commands print."""
    assert printed(log, 50_000) == [
        log,
        "position 5, last commit 2026-09-21T14:14:05.000Z (5.0 s ago)",
        "1 waiting, 1 room open, 0.1 commits a second in the last minute",
        "",
        "longest waits",
        "  Anonymous·0a1b for 5.0 s, since 2026-09-21T14:14:05.000Z",
        "",
        "most messages",
        "  r_2370 Ann·6f5d and Bob·b6cd: 2 messages in 8.8 s",
        "",
        "1 refused in the last 10 minutes",
        "  1 rate_limited, the last 6.0 s ago: Bob·b6cd send_message",
    ]


def test_a_log_where_nothing_happens_is_no_error(tmp_path: Path) -> None:
    """An empty log has no last commit, and a quiet one no rate."""
    nothing = ["", "nobody waits", "", "no room is open", "", "0 refused in the last 10 minutes"]
    empty = filed(tmp_path / "empty.db", [])
    still = "0 waiting, 0 rooms open, 0.0 commits a second in the last minute"
    assert printed(empty, 0) == [empty, "position 0, no commit", still, *nothing]
    quiet = filed(tmp_path / "quiet.db", COMMITS)
    last = "position 9, last commit 2026-09-21T14:20:30.000Z (7 d 0 h ago)"
    assert printed(quiet, 430_000 + 7 * 86_400_000) == [quiet, last, still, *nothing]


def test_of_a_trimmed_log_what_is_known_is_told(tmp_path: Path) -> None:
    """What was said in a room before is gone with its commits."""
    lines = printed(trimmed(tmp_path / "log.db", conversation(), fold(COMMITS[:4])), 60_000)
    assert "position 9, last commit 2026-09-21T14:20:30.000Z (0 s ago)" in lines
    cut = Script().enters(0, ANN, "Ann").enters(1, BOB, "Bob", room=ROOM).says(2, ANN, "one").says(3, ANN, "two")
    rest = printed(trimmed(tmp_path / "open.db", cut, fold(cut.commits[:3])), 60_000)
    assert "  r_2370 Ann·6f5d and Bob·b6cd: 1 message or more" in rest


@pytest.fixture
def people() -> State:
    """A state with people in it."""
    return fold(COMMITS[:5])


def figures(log: str, state: State, refused: Sequence[OperationRecord], *passed: tuple[int, int]) -> Figures:
    """Return the figures of `state`; times are ms after the start of the log."""
    with closing(open_source(log)) as source:
        looks = [(START_MS + since_ms, position) for since_ms, position in passed]
        return figures_of("a log", names_of(source), state, top._conversations(source, state), refused, looks)


def test_the_rate_is_that_between_the_first_look_and_the_last(log: str, people: State) -> None:
    """A clock that goes back makes no negative time."""
    assert figures(log, people, [], (0, 0), (30_000, 2), (60_000, 90)).commits_a_second == 1.5
    assert figures(log, people, [], (60_000, 5), (60_000, 5)).commits_a_second == 0
    ahead = figures(log, people, [], (0, 5), (1_000, 5))
    assert ahead.at_ms == people.at_ms, "the broker's clock is ahead"
    assert "Anonymous·0a1b for 0 s, " in texts(ahead)[1]


def test_refusals_are_counted_by_their_code(log: str, people: State) -> None:
    """Old ones do not count, and those not told apart come last, however many they are."""
    now_ms = START_MS + REFUSALS_MS + 100_000
    entered = OperationRecord("refused", now_ms - 5_000, 5, ANN, "enter_queue", "rate_limited\x1b[2J")
    refused = [
        REFUSED,
        entered,
        REFUSED._replace(at_ms=now_ms - 3_000),
        REFUSED._replace(at_ms=now_ms - 4_000, connection_id=ANN),
        OperationRecord("refused", now_ms - 2_000, 5, times=30),
        OperationRecord("refused", now_ms - 1_000, 5, None, "send_message", "unknown_handle"),
    ]
    assert texts(figures(log, people, refused, (0, 0), (now_ms - START_MS, 5)))[4:] == [
        "34 refused in the last 10 minutes",
        "2 rate_limited, the last 3.0 s ago: Bob·b6cd send_message",
        "1 rate_limited\N{REPLACEMENT CHARACTER}[2J, the last 5.0 s ago: Ann·6f5d enter_queue",
        "1 unknown_handle, the last 1.0 s ago: an unknown caller send_message",
        "30 too many to note each, the last 2.0 s ago",
    ]


def test_the_longest_waits_and_the_most_messages_come_first(tmp_path: Path) -> None:
    """Of many rows some are told, and the number of the others."""
    lines = printed(crowd(tmp_path), 2_000)
    waits = lines[lines.index("longest waits") + 1 :][:10]
    assert waits[0] == "  Cat·0000 for 2.0 s, since 2026-09-21T14:13:20.002Z (go 0)"
    assert waits[8:] == ["  Cat·0008 for 1.9 s, since 2026-09-21T14:13:20.082Z (go 8)", "  and 91 more"]
    rooms = lines[lines.index("most messages") + 1 :][:10]
    assert rooms[0] == "  r_005a Ann·a05a and Bob·b05a: 9 messages in 1.1 s"
    assert rooms[9] == "  and 91 more"
    assert lines[lines.index("9 refused in the last 10 minutes") + 1 :][8].startswith("  1 code_8, ")


def test_nothing_is_written(log: str) -> None:
    """The file is the same, byte for byte."""
    path = Path(log.removeprefix("sqlite:"))
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    with closing(open_source(log)) as source:
        watch = LogWatch(source, Clock(50_000))
        assert watch.look() == watch.figures
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_a_dump_is_refused(tmp_path: Path) -> None:
    """It does not grow; the line names the kinds of logs to follow."""
    answer = run_command("top", dumped(tmp_path / "log.jsonl", COMMITS), "--once")
    assert (answer.status, answer.out) == (2, "")
    assert "is a dump, and does not grow: replay tells it; top follows sqlite:PATH" in answer.err
    assert answer.err.count("\n") == 1


def test_without_a_terminal_it_is_refused(log: str) -> None:
    """The line names the way without one."""
    answer = run_command("top", log)
    assert (answer.status, answer.out) == (2, "")
    says = "top needs a terminal for its input and output; top --once prints the figures as lines"
    assert answer.err == f"chat-broker: {says}\n"


def test_a_terminal_for_lines_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """`TERM` says so."""
    screen = mock.Mock(spec=io.StringIO, isatty=lambda: True)
    monkeypatch.setattr(sys, "stdin", screen)
    monkeypatch.setenv("TERM", "dumb")
    with pytest.raises(UsageError, match="top needs a terminal that can do more than lines"):
        Terminal(screen, screen).check_interactive("top", "")


def test_the_screen_takes_in_what_comes(log: str) -> None:
    """It shows what `--once` prints, before and after."""
    clock = Clock(50_000)

    async def work(shows: Shows) -> None:
        before = await shows.press("r")
        for line in printed(log, 50_000)[1:]:
            assert line.strip() in before
        append(log, COMMITS[5:6], [REFUSED._replace(at_ms=START_MS + 60_500, after=6)])
        clock.since_ms = 61_000
        after = await shows.press("r")
        assert "position 6, last commit 2026-09-21T14:14:20.000Z (1.0 s ago)" in after
        assert "0 waiting, 1 room open, 0.1 commits a second in the last 1 min 11 s" in after
        assert "r_91aa Anonymous·0a1b and Bob·b6cd: 0 messages in 1.0 s" in after
        assert "2 rate_limited, the last 500 ms ago: Bob·b6cd send_message" in after

    on_screen(log, work, clock)


def test_the_rate_is_that_of_the_last_minute(log: str) -> None:
    """Earlier looks do not count."""
    clock = Clock(100_000)
    with closing(open_source(log)) as source:
        watch = LogWatch(source, clock)
        assert watch.figures.commits_a_second == 4 / 60
        append(log, COMMITS[5:8])
        for since_ms, rate in ((130_000, 7 / 90), (160_000, 3 / 60), (190_000, 0), (3_000_000, 0)):
            clock.since_ms = since_ms
            assert watch.look().commits_a_second == rate, since_ms


def test_enter_leads_to_the_trace_of_a_line_and_escape_back(log: str) -> None:
    """It is the one that `trace` prints, of a waiting person, a room, and the person of a refusal."""

    async def work(shows: Shows) -> None:
        await shows.press("enter")
        assert shows.app.noted == "no line is chosen: ↓ leads to the first"
        for which in (("--connection", "0a1b"), ("--room", "2370"), ("--connection", "Bob")):
            assert sum(line.startswith("> ") for line in await shows.press("down")) == 1
            assert await shows.trace() == squeezed(run_ok("trace", log, *which).out)
            assert shows.app.opened is not None
            assert "longest waits" in await shows.press("enter", "escape")
        assert "longest waits" in await shows.press("down")

    on_screen(log, work)


def test_a_long_trace_can_be_scrolled(log: str) -> None:
    """It begins at its top each time."""

    async def work(shows: Shows) -> None:
        title = "the life of r_2370d88192c52a48572ac5a03645081a"
        assert title in await shows.press("down", "j", "enter")
        assert title not in await shows.press("end")
        assert title in await shows.press("home")
        assert title not in await shows.press("pagedown")
        assert title in await shows.press("escape", "enter")

    on_screen(log, work)


def test_a_trace_that_is_no_longer_wanted_ends(log: str) -> None:
    """So leaving it costs no more work, however long the log."""
    subject = Subject("room", ROOM)
    assert traced(log, subject, lambda: True) == run_ok("trace", log, "--room", "2370").out
    assert traced(log, subject, lambda: False) == ""


@pytest.mark.parametrize(
    "text", ["", "short", "one two three four five", "x" * 41, "words then " + "x" * 41, "你好" * 30]
)
def test_a_long_line_of_a_trace_goes_on_below(text: str) -> None:
    """Nothing is lost, no part is wider than the screen, and words stay whole where there is place for them."""
    parts = [*wrapped(text, 20)]
    assert "".join(parts) == text
    assert all(cell_len(part) <= 20 for part in parts)
    assert all(cell_len(part) > 10 for part in parts[:-1])
    assert [*wrapped("one two three four five", 20)] == ["one two three four ", "five"]


def test_a_trace_that_comes_too_late_is_not_shown(log: str) -> None:
    """It is told that it is no longer wanted once Esc has led back."""
    ended = Event()

    def never(subject: Subject, is_wanted: Callable[[], bool]) -> str:
        deadline = time.monotonic() + SECONDS_MAX
        while is_wanted():
            assert time.monotonic() < deadline
            time.sleep(0)  # lets the screen go on
        ended.set()
        return "too late"

    async def left() -> None:
        async with app.run_test() as pilot:
            await app.workers.wait_for_complete()
            await pilot.pause()
            await pilot.press("down", "enter", "escape")
            await app.workers.wait_for_complete()
            assert ended.is_set()
            assert app.opened is None
            assert "too late" not in app.query_one("#trace", Log).lines

    with closing(open_source(log)) as source:
        app = TopScreen(LogWatch(source, Clock(50_000)).look, never)
        asyncio.run(left())


def test_a_person_whom_the_log_does_not_know_has_no_trace(tmp_path: Path) -> None:
    """A refusal may be all that is known; the answer is one line."""
    log = filed(tmp_path / "log.db", COMMITS[:5], (), [REFUSED._replace(connection_id=DAN)])

    async def work(shows: Shows) -> None:
        assert "> 1 rate_limited, the last 6.0 s ago: ?·6f5d9 send_message" in await shows.press("end")
        assert (await shows.trace()).startswith(f'thereisnoconnection"{DAN}"inthislog;')

    on_screen(log, work)


def test_the_chosen_line_stays_the_chosen_one(tmp_path: Path) -> None:
    """New lines above it do not move the choice; it ends with its line."""
    script = Script().add(0, AdoptPolicy(Policy(matching="interests"))).enters(1_000, ANN, "Ann", "go")
    script.enters(2_000, BOB, "Bob", "tea")
    log = filed(tmp_path / "log.db", script.commits)
    begun = len(script.commits)

    def goes_on(more: Script) -> None:
        nonlocal begun
        with SqliteFile(tmp_path / "log.db", "share") as broker:
            broker.append(more.commits[begun:], expected=fold(more.commits[:begun]).tip)
        begun = len(more.commits)

    async def work(shows: Shows) -> None:
        assert any(line.startswith("> Bob") for line in await shows.press("down", "down"))
        goes_on(script.add(3_000, LeaveQueue(ANN)).enters(4_000, CAT, "Cat", "film"))
        assert any(line.startswith("> Bob") for line in await shows.press("r"))
        goes_on(script.add(5_000, LeaveQueue(BOB)))
        assert not any(line.startswith(">") for line in await shows.press("r"))
        assert any(line.startswith("> Cat") for line in await shows.press("up"))

    on_screen(log, work)


def test_each_kind_of_line_has_its_place_on_a_small_screen(tmp_path: Path) -> None:
    """Nothing is told by colour alone: the chosen line has a mark."""
    log = crowd(tmp_path)

    async def work(shows: Shows) -> None:
        lines = await shows.press("end")
        assert sum(line.endswith(" more") for line in lines) == 3
        for title in ("longest waits", "most messages", "9 refused in the last 10 minutes"):
            assert title in lines
        assert [line[:8] for line in lines if line.startswith(">")] == ["> 1 code"]
        assert lines[-1].startswith("? keys")
        assert lines[-1].endswith("q quit")
        assert lines != await shows.press("enter", "r")
        assert await shows.press("escape") == lines

    on_screen(log, work)


def test_names_can_not_control_the_terminal(tmp_path: Path) -> None:
    """Markup and escapes are only shown, those in the log's own name too."""
    script = Script().enters(0, ANN, "[red]Ann[/red]\x1b[2J", "[b]\x07")
    log = filed(tmp_path / "[b]\x1b[2J.db", script.commits)

    async def work(shows: Shows) -> None:
        (shown,) = (line for line in await shows.press("r") if "6f5d" in line)
        assert '"[red]Ann[/red]\\u001b[2J"·6f5d for 50.0 s' in shown
        assert not any("\x1b" in line for line in await shows.press("down", "enter"))

    on_screen(log, work)
    lines = printed(log, 0)
    assert lines[0].endswith("/[b]\N{REPLACEMENT CHARACTER}[2J.db")
    assert '  "[red]Ann[/red]\\u001b[2J"·6f5d for 0 s, since 2026-09-21T14:13:20.000Z ("[b]\\u0007")' in lines


def test_every_key_is_listed(log: str) -> None:
    """`?` explains each of them, and an unbound key leads there."""

    async def work(shows: Shows) -> None:
        await shows.press("x")
        assert shows.app.noted == UNBOUND
        await shows.press("question_mark")
        words = shows.app.noted.replace(";", " ").split()
        assert {KEY_NAMES.get(key, key) for key in keys_of(BINDINGS)} <= set(words)
        await shows.press("down")
        assert shows.app.noted == ""

    on_screen(log, work)


@pytest.fixture
def outage(log: str) -> Iterator[list[bool]]:
    """While the list has something in it, the store of the log is away."""
    is_away: list[bool] = []
    real = SqliteSource.tip

    def tip(self: SqliteSource) -> object:
        if is_away:
            raise LogUnavailableError(f"{self.name}: locked\x1b[2J")
        return real(self)

    with mock.patch.object(SqliteSource, "tip", tip):
        yield is_away


def test_a_store_that_goes_away_is_waited_for(log: str, outage: list[bool]) -> None:
    """The last figures stay, with the reason; then all that came meanwhile is in them."""
    clock = Clock(50_000)

    async def work(shows: Shows) -> None:
        before = await shows.press("r")
        outage.append(True)
        append(log, COMMITS[5:7])
        for since_ms in (51_000, 52_000):
            clock.since_ms = since_ms
            away = await shows.press("r")
            head = " ".join(away[:2])
            assert head.startswith("AWAY since 2026-09-21T14:14:11.000Z: ")
            assert "locked\N{REPLACEMENT CHARACTER}[2J" in " ".join(away[:3])
            assert set(before[1:]) <= set(away), "the figures are those of before"
        outage.clear()
        clock.since_ms = 430_000
        back = await shows.press("r")
        assert "position 7, last commit 2026-09-21T14:20:20.000Z (10.0 s ago)" in back
        assert "0 waiting, 0 rooms open, 0.0 commits a second in the last 6 min 20 s" in back
        assert not any("AWAY" in line for line in back)

    on_screen(log, work, clock)


def test_a_store_that_is_away_at_the_start_is_an_error(log: str, outage: list[bool]) -> None:
    """The error is one line."""
    outage.append(True)
    answer = run_command("top", log, "--once")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith(f"chat-broker: {log}: locked")
    assert answer.err.count("\n") == 1


def test_a_log_that_was_rolled_back_ends_it(log: str) -> None:
    """Going on would mix two histories."""

    async def work(shows: Shows) -> None:
        with mock.patch.object(SqliteSource, "tip", return_value=fold(COMMITS[:3]).tip):
            await shows.press("r")

    error = on_screen(log, work)
    assert isinstance(error, UnusableLogError)
    assert "no longer holds the commit at position 5" in str(error)


def test_a_look_that_ends_after_the_screen_shows_nothing(log: str) -> None:
    """The widgets are gone by then."""
    with closing(open_source(log)) as source:
        app = TopScreen(LogWatch(source, Clock(50_000)).look, lambda subject, is_wanted: "")

        async def left() -> None:
            async with app.run_test():
                await app.workers.wait_for_complete()
            app.action_look()
            await app.workers.wait_for_complete()

        asyncio.run(left())


def test_it_looks_by_itself_in_a_real_terminal(log: str) -> None:
    """New commits are shown without a key, and `q` ends it well."""
    with RunningScreen("top", log) as screen:
        screen.read_until(b"position 5")
        append(log, COMMITS[5:])
        screen.read_until(b"no room is open")
        screen.press(b"q")
        assert screen.end()[0] == 0


@pytest.mark.slow
def test_an_interrupt_ends_it_in_order(log: str) -> None:
    """A key or a signal: it is no failure, and nothing is told of it."""
    for interrupt in (lambda screen: screen.press(b"\x03"), RunningScreen.interrupt):
        with RunningScreen("top", log) as screen:
            screen.read_until(b"position 5")
            interrupt(screen)
            status, shown = screen.end()
            assert status == 0
            assert b"Traceback" not in shown
            assert shown.endswith(b"l"), "the terminal is as it was"


@pytest.mark.slow
def test_an_error_that_ends_it_is_one_line_below_the_screen(log: str) -> None:
    """The exit status is that of other commands."""
    with RunningScreen("top", log) as screen:
        screen.read_until(b"position 5")
        with closing(apsw.Connection(log.removeprefix("sqlite:"))) as db:
            db.execute("DELETE FROM commits WHERE position > 3")
        status, shown = screen.end()
    assert status == 2
    assert b"chat-broker: " in shown
    assert b"no longer holds the commit at position 5" in shown
    assert b"Traceback" not in shown
