"""`bisect`: the first position with a property, found by halving or by looking at every state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.log import Snapshot
from events.sqlite.file import SqliteFile
from log_debugger.commands import bisect
from log_debugger.commands.bisect import BisectResult, first_holding
from log_debugger.reading.filter_parser import Filter, parse_filter
from log_debugger.reading.filters import LogContext
from log_debugger.reading.sources import Source, open_source
from projections.snapshots import STATE_CODEC
from projections.state import State
from tests.log_debugger.crowds import crowd, states_of
from tests.log_debugger.logs import conversation, dumped, filed, run_command, run_ok, trimmed
from tests.support.examples import scaled

COMMITS = crowd(5, 400)
STATES = states_of(COMMITS)
LAST = len(COMMITS)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    """Yield a broker's file with some snapshots."""
    path = tmp_path_factory.mktemp("bisect") / "log.db"
    name = filed(path, COMMITS)
    saved(path, [STATES[at] for at in (40, 90, 150, 220)])
    with closing(open_source(name)) as source:
        yield source


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    """The same log, without snapshots."""
    with closing(open_source(dumped(tmp_path_factory.mktemp("bisect") / "dump.jsonl", COMMITS))) as source:
        yield source


def saved(path: Path, states: Sequence[State]) -> None:
    """Snapshots of `states` in a broker's file."""
    file = SqliteFile(path, "share")
    for state in states:
        file.save(Snapshot(state.tip, state), STATE_CODEC)
    file.close()


def position_in(answer: BisectResult) -> int | None:
    """Return the found position, if any."""
    return answer.found.state.position if answer.found is not None else None


def filter_of(text: str, source: Source) -> Filter:
    """Return a filter for a log."""
    return parse_filter(text)(LogContext(source))


def naively(text: str, source: Source, states: Sequence[State] = STATES) -> int | None:
    """Return the first matching position, found by a linear search."""
    found = filter_of(text, source)
    return next((state.position for state in states if found.holds(state, None)), None)


MONOTONE = st.builds(
    "{} {} {}".format,
    st.sampled_from(["messages", "position", "rooms_closed"]),
    st.sampled_from([">", ">="]),
    st.integers(0, LAST + 5),
)
PASSING = st.builds(
    "{} {} {}".format,
    st.sampled_from(["waiting", "rooms_open", "connections", "messages"]),
    st.sampled_from(["<", "==", "!=", ">="]),
    st.integers(0, 9),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=scaled(30))
@given(
    text=st.one_of(
        MONOTONE,
        st.builds("{} and {}".format, MONOTONE, MONOTONE),
        st.builds("not ({} and not {})".format, PASSING, MONOTONE),
        st.builds("{} and {}".format, MONOTONE, PASSING),
    ),
    kept=st.sampled_from([2, 3, 7, 500]),
)
def test_the_first_position_is_the_one_that_a_scan_finds(text: str, kept: int, stored: Source, dump: Source) -> None:
    """Halving and the linear search agree, with snapshots or without, however few states are kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bisect, "STATES_KEPT", kept)
        for source in (stored, dump):
            answer = first_holding(source, filter_of(text, source))
            assert position_in(answer) == naively(text, source)
            if answer.found is not None and answer.found.step is not None:
                step = answer.found.step
                assert step.commit == COMMITS[step.commit.position - 1]
                assert (step.before.tip, step.after.tip) == (STATES[step.before.position].tip, step.commit.tip)


def test_few_states_are_looked_at_where_it_goes_on_to_hold(stored: Source, dump: Source) -> None:
    """The cost is O(log n): some for the snapshots, some for the gap between two of them."""
    for source in (stored, dump):
        for at in (1, 41, 150, 151, LAST // 2, LAST):
            answer = first_holding(source, filter_of(f"position >= {at}", source))
            assert position_in(answer) == at
            assert answer.looked_at <= 3 + 10


def test_only_the_gap_is_folded(stored: Source) -> None:
    """Commits before the snapshot are not read."""
    heard: list[int] = []
    first_holding(stored, filter_of("position >= 200", stored), heard.append)
    assert sum(heard) == 220 - 150


def test_a_snapshot_that_is_damaged_costs_time_alone(tmp_path: Path) -> None:
    """An older one is used in its place, and the answer is the same."""
    name = filed(tmp_path / "log.db", COMMITS)
    saved(tmp_path / "log.db", [STATES[at] for at in (40, 90, 150)])
    db = apsw.Connection(str(tmp_path / "log.db"))
    db.execute("UPDATE snapshot_parts SET lines = 'x' WHERE snapshot = 2")
    db.close()
    source = open_source(name)
    for at in (1, 41, 60, 90, 100, 150, 151, LAST):
        assert position_in(first_holding(source, filter_of(f"position >= {at}", source))) == at
    source.close()


def test_what_happened_there_is_told_and_how_it_was_found(tmp_path: Path) -> None:
    """The answer has the commit in words, the number of states looked at, the method, and the reason for it."""
    name = dumped(tmp_path / "dump.jsonl", conversation().commits)
    assert run_ok("bisect", name, "--when", "messages >= 2").lines == [
        '      4  00:00:44.000  Ann·6f5d tells Bob·b6cd in r_2370: "Hello!"',
        "(4 states looked at, by halving: what was asked goes on to hold once it does)",
    ]
    lines = run_ok("bisect", name, "--when", "rooms_open == 1 and rooms_closed == 1").lines
    assert lines[0].startswith(
        "      6  00:01:00.000  Bob·b6cd leaves Ann·6f5d in r_2370 for somebody else (2 messages"
    )
    assert lines[1] == (
        "(7 states looked at, one after the other: what was asked about rooms_open may hold for a moment only)"
    )
    answer = run_ok("bisect", name, "--when", "messages == 2")
    assert answer.lines[1].endswith("what was asked about messages may hold for a moment only)")


def test_what_was_said_before_is_left_out_where_nobody_looked(tmp_path: Path) -> None:
    """Halving passes over the messages of a room that is closed there."""
    name = dumped(tmp_path / "dump.jsonl", conversation().commits)
    assert run_ok("bisect", name, "--when", "rooms_closed >= 1").lines[0] == (
        "      6  00:01:00.000  Bob·b6cd leaves Ann·6f5d in r_2370 for somebody else, "
        "enters the queue and meets Anonymous·0a1b, who waited 15.0 s, in r_91aa"
    )


def test_what_never_holds_is_said_and_the_exit_status_is_1(tmp_path: Path) -> None:
    """Both methods end this way."""
    name = dumped(tmp_path / "dump.jsonl", conversation().commits)
    for text in ("messages > 99", "waiting > 99"):
        answer = run_command("bisect", name, "--when", text)
        assert (answer.status, answer.err) == (1, "")
        assert answer.lines[0] == "it never holds, from position 0 to 9"


def test_what_holds_from_the_start_has_no_commit(tmp_path: Path) -> None:
    """The match is at the empty log, or at the base of a trimmed one."""
    script = conversation()
    name = dumped(tmp_path / "dump.jsonl", script.commits)
    base = trimmed(tmp_path / "log.db", script, states_of(script.commits)[4])
    for log, text, position in ((name, "waiting == 0", 0), (base, "messages >= 2", 4), (base, "waiting == 0", 4)):
        assert run_ok("bisect", log, "--when", text).lines[0] == (
            f"{position:>7}  it holds from the start: the log begins with this state"
        )
    assert run_ok("bisect", base, "--when", "position > 6").lines[0].startswith("      7  ")


def test_the_beginning_is_asked_for_nothing_that_only_a_commit_has(tmp_path: Path) -> None:
    """So the first match is the first one of `replay`, also for what is negated."""
    name = dumped(tmp_path / "dump.jsonl", conversation().commits)
    for text, position in (
        ("person != Ann", 5),
        ("not type == queue_entered and messages < 9", 3),
        ("not rejection", 1),
        ("waiting == 0 or wait > 1d", 2),
        ("waiting == 0", 0),
    ):
        assert run_ok("bisect", name, "--when", text).lines[0].startswith(f"{position:>7}  ")


def test_a_question_that_can_t_be_read_is_an_error_of_use(tmp_path: Path) -> None:
    """One line, with the column; the log is not even opened."""
    answer = run_command("bisect", str(tmp_path / "nothing"), "--when", "waiting >> 3")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith("chat-broker: --when, column 10: expected a value")


def test_a_log_that_was_altered_is_an_error(tmp_path: Path) -> None:
    """An altered log has no first position."""
    commits = conversation().commits
    name = dumped(tmp_path / "dump.jsonl", [*commits[:4], commits[5], *commits[6:]])
    for text in ("messages > 99", "waiting > 99"):
        answer = run_command("bisect", name, "--when", text)
        assert answer.status == 2
        assert "position 5" in answer.err
