"""A pass over a log folds no more than necessary, and gives the same as the fold of every commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.codec import decode_commit, encode_commit
from events.commands import NextPartner
from events.commit import EMPTY_TIP, BrokenChainError, Commit
from events.events import RoomClosed, RoomOpened
from events.log import Snapshot
from events.sqlite.file import SqliteFile
from log_debugger.reading import iterate as iterating
from log_debugger.reading import own_acts, short_names, sources, times, traversal
from log_debugger.reading.iterate import LogEntry, conversations_after, conversations_in, iterate
from log_debugger.reading.room_messages import conversations_counted
from log_debugger.reading.sources import SqliteSource, open_source
from log_debugger.reading.traversal import Absences, Stretch, Traversal, state_folded
from log_debugger.telling.describe import open_rooms
from projections.snapshots import STATE_CODEC
from tests.log_debugger.crowds import LITTLE, crowd, states_of, with_events
from tests.log_debugger.logs import ANN, CAT, conversation, dumped, run_ok


def filed(path: Path, commits: Sequence[Commit], snapshots_at: Sequence[int]) -> str:
    """Return the URL of a broker's file with `commits`, and a snapshot after each of those positions."""
    states = states_of(commits)
    with closing(SqliteFile(path, "write")) as file:
        file.append(commits, expected=EMPTY_TIP)
        for position in snapshots_at:
            state = states[position]
            file.save(Snapshot(state.tip, state), STATE_CODEC)
    return f"sqlite:{path}"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for many files."""
    return tmp_path_factory.mktemp("traversal")


@pytest.fixture(autouse=True, scope="module")
def small_pages() -> object:
    """Let logs of some hundred commits have many pages, and let every snapshot save work."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(traversal, "PAGE_COMMITS", 7)
        patch.setattr(traversal, "PENDING_MAX", 10)
        patch.setattr(traversal, "JUMP_COMMITS_MIN", 3)
        patch.setattr(own_acts, "PAGE_COMMITS", 7)
        patch.setattr(short_names, "PAGE_COMMITS", 5)
        patch.setattr(sources, "PAGE_COMMITS", 7)
        yield patch


@settings(deadline=None)
@given(
    st.integers(0, 5),
    st.sets(st.integers(1, 120), max_size=4),
    st.integers(0, 120),
    st.integers(1, 30),
    st.sets(st.integers(0, 120)),
)
def test_it_tells_the_same_as_a_fold_of_every_commit(
    path: Path, seed: int, snapshots_at: set[int], last: int, every: int, absent_after: set[int]
) -> None:
    """For any log, snapshots, wanted commits and known stretches without them, it gives the same.

    That is the same steps, conversations of closed rooms, and end.
    """
    commits = crowd(seed, 150, policy=LITTLE)[:120]
    last = min(last, len(commits))
    lines = {encode_commit(commit): commit.position for commit in commits}
    name = filed(path / "log.db", commits, sorted(at for at in snapshots_at if at <= len(commits)))
    with closing(open_source(name)) as source:
        folded = list(iterate(source, last))
        unwanted = _stretches(position for position in sorted(absent_after) if (position + 1) % every)
        counted_commits: list[int] = []
        one = Traversal(source, last, lambda stored: _has_any(stored, lines, every), counted_commits.append, unwanted)
        passed = list(one.entries())
        assert sum(counted_commits) == last
        wanted = [entry for entry in folded if entry.step.commit.position % every == 0]
        assert [entry[:2] for entry in passed] == [entry[:2] for entry in wanted]
        assert list(map(_told_of, passed)) == list(map(_told_of, wanted))
        state = folded[-1].step.after if folded else source.base.state
        assert one.end() == state_folded(source, source.snapshot(last).state, last) == state
        conversations = conversations_in(source.base.state)
        for entry in folded:
            conversations = conversations_after(conversations, entry.step.commit)
        rooms = open_rooms(state)
        counted = one.conversations_in(rooms)
        for room in rooms:
            assert counted.get(room.room_id) == conversations.get(room.room_id)
    for part in path.iterdir():
        part.unlink()


def _stretches(positions: Iterable[int]) -> list[Stretch]:
    """Return the stretches of the single commits after `positions`, as a pass over the log notes them."""
    absences = Absences(b"sought")
    for position in positions:
        absences.note(position, [b"a line"])
    return absences.stretches


def _has_any(stored: bytes, lines: dict[bytes, int], every: int) -> bool:
    return any(lines.get(line, 1) % every == 0 for line in stored.split(b"\n"))


def _told_of(entry: LogEntry) -> list[object]:
    """Return the conversations for a line about the commit: those of its closed rooms, and of the room left before."""
    commit = entry.step.commit
    told: list[object] = [entry.conversations.get(one.room_id) for one in commit.events if isinstance(one, RoomClosed)]
    if isinstance(commit.command, NextPartner):
        told.append(entry.conversations.end_of(commit.command.room_id))
    return told


def test_what_lies_before_a_snapshot_is_not_folded(path: Path) -> None:
    """An altered commit before the snapshot does no harm; without the snapshot, it is found."""
    commits = crowd(1, 150)
    for snapshots_at, is_found in (([40], False), ([], True)):
        name = filed(path / f"{len(snapshots_at)}.db", commits, snapshots_at)
        with closing(apsw.Connection(name.removeprefix("sqlite:"))) as db:
            db.execute("UPDATE commits SET body = replace(body, '\"at_ms\":1', '\"at_ms\":2') WHERE position = 9")
        with closing(open_source(name)) as source:
            one = Traversal(source, 60, lambda line: False, lambda commits: None)
            assert list(one.entries()) == []
            if is_found:
                with pytest.raises(BrokenChainError, match="position 9"):
                    one.end()
            else:
                assert one.end() == states_of(commits)[60]


def test_little_is_decoded_for_one_room_or_one_state(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A room costs its own commits and some after two snapshots; a state costs the commits after the last one."""
    commits = crowd(4, 1_500, people=40)
    last = len(commits)
    name = filed(path / "work.db", commits, [last // 3, 2 * last // 3, last - 50])
    opened = next(one for commit in commits[last // 3 + 20 :] for one in commit.events if isinstance(one, RoomOpened))
    theirs = sum(opened.room_id.encode() in encode_commit(commit) for commit in commits)
    decoded: list[bytes] = []

    def counted(line: bytes) -> Commit:
        decoded.append(line)
        return decode_commit(line)

    for module in (iterating, short_names, sources, times, traversal):
        monkeypatch.setattr(module, "decode_commit", counted)
    run_ok("trace", name, "--room", opened.room_id)
    assert 50 + theirs <= len(decoded) <= 150
    decoded.clear()
    run_ok("replay", name, "--state-only")
    assert 50 <= len(decoded) <= 75


def test_what_lacks_the_id_is_read_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the pass that collects the names, a room costs the reading of its pages and of some after snapshots."""
    commits = crowd(4, 1_500, people=40)
    last = len(commits)
    name = filed(path / "once.db", commits, [last // 3, last - 50])
    opened = next(one for commit in commits[last // 3 + 20 :] for one in commit.events if isinstance(one, RoomOpened))
    read: list[bytes] = []
    lines = SqliteSource.lines

    def counted(source: SqliteSource, after: int) -> Iterator[bytes]:
        for line in lines(source, after):
            read.append(line)
            yield line

    monkeypatch.setattr(SqliteSource, "lines", counted)
    whole = run_ok("trace", name, "--room", opened.room_id).out
    assert last < len(read) < last + 300
    assert run_ok("trace", name, "--room", opened.room_id.removeprefix("r_")[:12]).out == whole


def test_a_line_with_an_escaped_character_may_hold_the_id() -> None:
    """It belongs to no stretch without it, and ends the stretch before."""
    absences = Absences(b"c_ab")
    for after, lines in ((0, [b"c_cd", b"c_ef"]), (2, [b"c_a"]), (3, [b"c_\\u0061b"]), (4, [b""]), (5, [b"", b"c_ab"])):
        absences.note(after, lines)
    assert absences.stretches == [(0, 3), (4, 5)]


@pytest.mark.parametrize("command", ["trace", "replay"])
def test_a_life_is_told_alike_however_it_is_named(path: Path, command: str) -> None:
    """By an id, the beginning of one, a short name or a display name, the output is the same."""
    name = dumped(path / f"{command}.jsonl", conversation().commits)
    for who, others in ((ANN, ("Ann", "6f5d", "c_6f", "Ann·6f5d")), (CAT, ("anonymous", "0a1b", CAT[:20]))):
        outputs = {run_ok(command, name, "--connection", named).out for named in (who, *others)}
        assert len(outputs) == 1


@pytest.mark.parametrize("command", ["trace", "replay"])
def test_a_life_is_told_alike_with_snapshots_and_without(path: Path, command: str) -> None:
    """The output is the same byte for byte, for each of several people."""
    commits = crowd(3, 400, people=12)
    half = len(commits) // 2
    names = [filed(path / f"{command}{number}.db", commits, at) for number, at in enumerate(([], [half, half + 60]))]
    people = sorted({commit.command.connection_id for commit in commits if hasattr(commit.command, "connection_id")})
    for who in people[:5]:
        without, with_snapshots = (run_ok(command, name, "--connection", who).out for name in names)
        assert without == with_snapshots
        assert who in without


def test_a_commit_of_several_events_counts_in_each_of_their_rooms(path: Path) -> None:
    """A message is counted by its event, even beside another in one commit that no broker would store."""
    script = conversation()
    more = with_events(script.commits, 4, *script.commits[2].events, *script.commits[3].events)
    with closing(open_source(dumped(path / "several.jsonl", more[:5]))) as source:
        rooms = open_rooms(states_of(more[:5])[-1])
        assert [one.messages for one in conversations_counted(source, rooms, 5).values()] == [3]


@pytest.mark.parametrize("last", [1, 7, 8, 60, 120])
def test_the_newest_own_act_is_found_on_any_page(path: Path, last: int) -> None:
    """For each person, it is the one of a walk from the beginning."""
    commits = crowd(2, 150)[:last]
    with closing(open_source(dumped(path / "acts.jsonl", commits))) as source:
        for who in {commit.command.connection_id for commit in commits if hasattr(commit.command, "connection_id")}:
            acts = [act for commit in commits if (act := own_acts.own_act(commit, who)) is not None]
            assert own_acts.newest_own_act(source, last, who) == (acts[-1] if acts else None)
