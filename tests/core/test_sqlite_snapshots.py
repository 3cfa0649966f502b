"""Snapshots in a log's file: their parts, their order, and their removal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any

import apsw
import pytest

from events.commit import EMPTY_TIP, Tip
from events.ids import CommitId
from events.log import LogUnavailableError, Snapshot, UnreadableSnapshotError
from events.sqlite import schema as sqlite_schema
from events.sqlite import snapshots
from events.sqlite.snapshots import SnapshotRow

PART = 256 * 1_024


@pytest.fixture
def db() -> Iterator[apsw.Connection]:
    """Return an empty log's tables."""
    with closing(apsw.Connection(":memory:")) as db:
        db.execute(sqlite_schema._SCHEMA)
        yield db


def at(position: int) -> Tip:
    """Return a tip."""
    return Tip(position, CommitId(f"{position:032x}"))


class Lines:
    """A codec with lines as states."""

    def encode(self, state: Any) -> Iterator[bytes]:
        """Return the lines; an exception among them is raised."""
        for line in state:
            if isinstance(line, BaseException):
                raise line
            yield line

    def decode(self, lines: Iterable[bytes]) -> Any:
        """Return the lines."""
        return list(lines)


class Store:
    """A store that records its calls."""

    def __init__(self, *, fails_to_drop: bool = False) -> None:
        self.done: list[tuple[Any, ...]] = []
        self._fails_to_drop = fails_to_drop

    def begin_snapshot(self, tip: Tip) -> int:
        """Return the id 7."""
        self.done.append(("begin", tip))
        return 7

    def add_snapshot_part(self, snapshot: int, number: int, lines: str) -> None:
        """Record the part."""
        self.done.append(("add", snapshot, number, lines))

    def finish_snapshot(self, snapshot: int, tip: Tip, sha256: str, *, is_base: bool) -> None:
        """Record the end."""
        self.done.append(("finish", snapshot, tip, sha256, is_base))

    def drop_snapshot(self, snapshot: int) -> None:
        """Record the drop."""
        self.done.append(("drop", snapshot))
        if self._fails_to_drop:
            raise LogUnavailableError("no disk")


def written(lines: list[Any], store: Store, *, is_base: bool = False) -> list[tuple[Any, ...]]:
    """Return the calls for writing a state of `lines`."""
    calls = []

    def call(work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        calls.append(work)
        return work(*args, **kwargs)

    try:
        snapshots.write(store, Snapshot(at(5), lines), Lines(), is_base=is_base, run=call)
    finally:
        assert len(calls) == len(store.done), "everything goes through `call`"
    return store.done


@pytest.mark.parametrize("is_base", [True, False])
def test_it_is_written_in_parts_and_counts_at_the_end(is_base: bool) -> None:
    """A part ends with the line that reaches 256 KiB, and the digest is of all parts."""
    exact, under = b"a" * (PART - 1), b"b" * (PART - 2)
    parts = ["".join(f"{line.decode()}\n" for line in part) for part in ([under, b"c"], [exact], [under, b"d"], [b"e"])]
    digest = hashlib.sha256("".join(parts).encode()).hexdigest()
    assert written([under, b"c", exact, under, b"d", b"e"], Store(), is_base=is_base) == [
        ("begin", at(5)),
        *(("add", 7, number, part) for number, part in enumerate(parts)),
        ("finish", 7, at(5), digest, is_base),
    ]


@pytest.mark.parametrize("store", [Store(), Store(fails_to_drop=True)], ids=["well", "no disk"])
@pytest.mark.parametrize("error", [KeyError("lost"), KeyboardInterrupt()])
def test_one_that_is_cut_short_is_dropped(store: Store, error: BaseException) -> None:
    """A failing snapshot is dropped if possible, and the error is raised."""
    store.done.clear()
    with pytest.raises(type(error)):
        written([b"a", error], store)
    assert store.done == [("begin", at(5)), ("drop", 7)]


def kept(db: apsw.Connection, *positions: int, is_base: bool = False) -> list[int]:
    """Return the ids of finished snapshots at these positions."""
    ids = []
    for position in positions:
        snapshot = snapshots.begin(db, at(position))
        assert snapshots.finish(db, snapshot, at(position), f"sha {position}", is_base=is_base)
        ids.append(snapshot)
    return ids


def positions(db: apsw.Connection, base: Tip = EMPTY_TIP, at_most: int | None = None) -> list[int]:
    """Return the positions of finished snapshots."""
    return [stored.tip.position for stored in snapshots.finished(db, base, at_most)]


def test_the_newest_that_counts_comes_first(db: apsw.Connection) -> None:
    """Finished snapshots from the base up to the limit are returned, newest first, by id at one position."""
    first, second, third, fourth = kept(db, 3, 5, 9, 5)
    snapshots.begin(db, at(6))
    assert snapshots.finished(db, EMPTY_TIP) == [
        SnapshotRow(third, at(9), False, "sha 9"),
        SnapshotRow(fourth, at(5), False, "sha 5"),
        SnapshotRow(second, at(5), False, "sha 5"),
        SnapshotRow(first, at(3), False, "sha 3"),
    ]
    assert positions(db, at(5)) == [9, 5, 5]
    assert positions(db, at(6)) == [9]
    assert positions(db, EMPTY_TIP, 5) == [5, 5, 3]
    assert positions(db, EMPTY_TIP, 4) == [3]
    assert positions(db, EMPTY_TIP, 2) == []


def test_a_base_stands_alone(db: apsw.Connection) -> None:
    """A new base removes older snapshots with the old base, and keeps newer ones."""
    kept(db, 2)
    kept(db, 4, is_base=True)
    kept(db, 6, 8)
    kept(db, 6, is_base=True)
    assert [(stored.tip.position, stored.is_base) for stored in snapshots.finished(db, EMPTY_TIP)] == [
        (8, False),
        (6, True),
        (6, False),
    ]
    kept(db, 6, is_base=True)
    assert [stored.is_base for stored in snapshots.finished(db, EMPTY_TIP)] == [False, True, False, False]


def test_one_that_was_dropped_can_not_be_finished(db: apsw.Connection) -> None:
    """A dropped snapshot can't be finished, and a finished one can't be dropped."""
    (counts,) = kept(db, 3)
    one, other = snapshots.begin(db, at(5)), snapshots.begin(db, at(5))
    snapshots.drop(db, one)
    snapshots.drop(db, counts)
    assert not snapshots.finish(db, one, at(5), "sha", is_base=False)
    assert snapshots.finish(db, other, at(5), "sha", is_base=False)
    assert positions(db) == [5, 3]


def test_every_other_one_goes_when_there_are_sixteen(db: apsw.Connection) -> None:
    """At sixteen, every other snapshot goes, but not the newest or the base."""
    kept(db, 1, is_base=True)
    kept(db, *range(2, 16))
    assert positions(db) == list(range(15, 0, -1))
    kept(db, 16)
    assert positions(db) == [16, 14, 12, 10, 8, 6, 4, 2, 1]


def with_parts(db: apsw.Connection, position: int, *parts: str) -> SnapshotRow:
    """Insert a finished snapshot with these parts."""
    snapshot = snapshots.begin(db, at(position))
    for number, lines in enumerate(parts):
        db.execute("INSERT INTO snapshot_parts VALUES (?, ?, ?)", (snapshot, number, lines))
    sha256 = hashlib.sha256("".join(parts).encode()).hexdigest()
    snapshots.finish(db, snapshot, at(position), sha256, is_base=False)
    return next(stored for stored in snapshots.finished(db, EMPTY_TIP) if stored.id == snapshot)


def test_it_is_read_part_by_part(db: apsw.Connection) -> None:
    """A snapshot is read from its own parts, in order, line by line."""
    with_parts(db, 3, "x\n")
    stored = with_parts(db, 5, "a\nb\n", "c\n", "\n")
    with_parts(db, 7, "y\n", "z\n")
    assert snapshots.load(db, stored, Lines()) == Snapshot(at(5), [b"a", b"b", b"c", b""])


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE snapshot_parts SET lines = 'b' WHERE number = 0",
        "DELETE FROM snapshot_parts WHERE number = 1",
        "DELETE FROM snapshot_parts",
        "INSERT INTO snapshot_parts VALUES (1, 2, 'c')",
    ],
)
def test_one_that_is_not_what_was_written_is_not_read(db: apsw.Connection, harm: str) -> None:
    """A missing, altered or extra part makes a snapshot unreadable."""
    stored = with_parts(db, 5, "a\n", "b\n")
    db.execute(harm)
    with pytest.raises(UnreadableSnapshotError, match=r"^the snapshot at position 5 is not what was written$"):
        snapshots.load(db, stored, Lines())


def test_parts_that_belong_to_none_go_a_few_at_a_time(db: apsw.Connection) -> None:
    """Parts of dropped snapshots are deleted a few at a time, and others stay."""
    with_parts(db, 3, "a\n", "b\n")
    gone = with_parts(db, 5, "c\n", "d\n", "e\n")
    db.execute("DELETE FROM snapshots WHERE id = ?", (gone.id,))
    assert [snapshots.purge_parts(db, 2) for _ in range(3)] == [True, True, False]
    assert db.execute("SELECT lines FROM snapshot_parts ORDER BY number").fetchall() == [("a\n",), ("b\n",)]


def test_run_inline_calls_the_function() -> None:
    """`run_inline` calls the function and returns its result."""
    assert snapshots.run_inline(divmod, 7, 2) == (3, 1)
    assert snapshots.run_inline(dict, a=1) == {"a": 1}
