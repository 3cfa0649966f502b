"""Sources of commits: a broker's own file or shared store, even in use, or a dump of a log.

A `Source` is read-only, and can be read from any position repeatedly. A dump from standard input, and a compressed
one, is first copied into a temporary file.
"""

from __future__ import annotations

import gzip
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from broker.errors import UsageError
from broker.stores import MEMORY_URL, SHARED_SCHEMES, SQLITE_SCHEME, scheme_of
from broker.verification.checking import CheckedLog
from broker.verification.safe_text import printable
from events.codec import UnreadableCommitError, decode_commit
from events.commit import BrokenChainError, Commit, Tip
from events.ids import ConnectionId, Position
from events.log import DeliveryRecord, LogUnavailableError, OperationRecord, Snapshot, UnusableLogError
from events.sqlite.reader import SqliteReader
from log_debugger.reading.dumps import LOG_IS, STDIN_NAME, UNTRIMMED_BASE, Dump
from log_debugger.reading.store_source import LogTrimmedError, StoreSource
from projections.snapshots import STATE_CODEC
from projections.state import State, evolve, fold

STDIN = "-"
PAGE_COMMITS = 1_000
BUFFER_BYTES = 65_536
"""The read buffer of a dump; the default would need a system call for every few lines."""
SQLITE_MAGIC = b"SQLite format 3\0"
GZIP_MAGIC = b"\x1f\x8b"
WEB_SCHEMES = ("http://", "https://")
WEB_TIMEOUT_SECONDS = 30
LOG_ERRORS = (LogUnavailableError, UnusableLogError, UnreadableCommitError, BrokenChainError)
"""Errors of reading a log."""
LASTING = "sqlite:PATH, redis://HOST, postgresql://HOST/DATABASE or nats://HOST"
"""The logs that can be read while their brokers run."""
URL_IS = (
    "a LOG's URL is that of a dump (.jsonl, .jsonl.gz), or of a store that brokers share; a broker's own log is "
    f"{LASTING}"
)


class Source(CheckedLog, Protocol):
    """A log to read. Its `base` is `UNTRIMMED_BASE` unless commits were trimmed."""

    name: str

    @property
    def recorded_after(self) -> Position | None:
        """The position after which deliveries are recorded completely; `None` if they are not recorded.

        Records of late deliveries may exist up to that position.
        """
        ...

    def position_at(self, at_ms: int) -> Position:
        """Return the last position at or before `at_ms` (Unix time); the base's if there is none."""
        ...

    def delivery_records(
        self, after: Position, last: Position, connection_id: ConnectionId | None
    ) -> Sequence[DeliveryRecord]:
        """Return the delivery records of the commits after `after` up to `last`, oldest record first.

        `connection_id` limits them to one recipient.
        """
        ...

    def operation_records(self, since_ms: int = 0) -> Sequence[OperationRecord] | None:
        """Return the operation records of Unix time `since_ms` or later, oldest first; `None` if none are kept.

        They are those of the commits in the log.
        """
        ...

    def close(self) -> None:
        """Release the file or the connection."""
        ...


def open_source(name: str) -> Source:
    """Open the log `name`: `sqlite:PATH`, a shared store's URL, a path to a file or a dump, a dump's URL, or `-`.

    Raises:
        UsageError: there is no such log, or its format is unknown.
        UnusableLogError: it is damaged, or newer than this program; or a store has none of that name.
        LogUnavailableError: its store can't be reached.
        UnreadableCommitError: it is a dump, and its first lines can't be decoded.
    """
    if name in ("", SQLITE_SCHEME):
        raise UsageError(f"the path is missing in {printable(name)}; {LOG_IS}")
    if name.startswith(SQLITE_SCHEME):
        return SqliteSource(name)
    if scheme_of(name) in SHARED_SCHEMES:
        return StoreSource(name)
    if name == STDIN:
        return Dump(STDIN_NAME, _spooled(sys.stdin.buffer))
    if name.startswith(WEB_SCHEMES):
        return Dump(name, _fetched(name))
    if name == MEMORY_URL:
        raise UsageError(f"a log in memory can't be looked into from outside: run the broker with --log {LASTING}")
    return _from_path(name)


def commits(source: Source, after: Position) -> Iterator[Commit]:
    """Yield each commit after `after`.

    Raises:
        UnreadableCommitError: a commit can't be decoded; the message names the position.
    """
    for position, line in enumerate(source.lines(after), max(after, source.base.tip.position) + 1):
        try:
            yield decode_commit(line)
        except UnreadableCommitError as error:
            raise UnreadableCommitError(f"{source.name}, position {position}: {error}") from None


def state_at(source: Source, position: Position) -> State:
    """Return the state after the commit at `position`, folded from the nearest snapshot.

    Raises:
        UsageError: the log does not have that position.
    """
    check_position(source, position)
    state: State = source.snapshot(position).state
    following = islice(commits(source, state.position), position - state.position)
    while page := list(islice(following, PAGE_COMMITS)):
        state = fold(page, state)
    return state


def check_position(source: Source, position: Position) -> None:
    """Check that there is a state at `position`.

    Raises:
        UsageError: there is none; the message names the available range.
    """
    first, last = source.base.tip.position, source.tip().position
    if not first <= position <= last:
        there = f"states from position {first} to {last}" if first < last else f"one state, at position {first}"
        raise UsageError(f"{source.name} has {there}, and none at {position}")


class Step(NamedTuple):
    """One commit, and the states around it."""

    before: State
    commit: Commit
    after: State


def steps(source: Source, last: Position | None = None) -> Iterator[Step]:
    """Yield each commit from the base up to `last`, with the states around it; nothing is checked."""
    before: State = source.base.state
    for commit in commits(source, before.position):
        if last is not None and commit.position > last:
            return
        after = evolve(before, commit)
        yield Step(before, commit, after)
        before = after


class SqliteSource:
    """A broker's file; the broker may be running."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._file = SqliteReader(name.removeprefix(SQLITE_SCHEME), "read")
        base = self._file.load_snapshot(self._file.base.position, STATE_CODEC) if self._file.base.position else None
        self.base = base if base is not None else UNTRIMMED_BASE
        self.recorded_after = self._file.recorded_after

    def tip(self) -> Tip:
        """See `Source.tip`."""
        return self._file.tip()

    def lines(self, after: Position) -> Iterator[bytes]:
        """See `Source.lines`; reads one page at a time, so the broker can checkpoint its file meanwhile.

        Raises:
            LogTrimmedError: the next commits were trimmed meanwhile.
        """
        after = max(after, self.base.tip.position)
        while page := self._page(after):
            yield from page
            after += len(page)

    def snapshots(self) -> Sequence[Position]:
        """See `Source.snapshots`."""
        kept = {tip.position for tip in self._file.snapshot_tips() if tip.position > self.base.tip.position}
        return sorted({self.base.tip.position, *kept})

    def snapshot(self, at_most: Position) -> Snapshot:
        """See `Source.snapshot`."""
        found = self._file.load_snapshot(at_most, STATE_CODEC)
        return found if found is not None and found.tip.position >= self.base.tip.position else self.base

    def position_at(self, at_ms: int) -> Position:
        """See `Source.position_at`."""
        return self._file.position_at(at_ms)

    def delivery_records(
        self, after: Position, last: Position, connection_id: ConnectionId | None
    ) -> Sequence[DeliveryRecord]:
        """See `Source.delivery_records`."""
        return self._file.delivery_records(after=after, last=last, connection_id=connection_id)

    def operation_records(self, since_ms: int = 0) -> Sequence[OperationRecord] | None:
        """See `Source.operation_records`; a broker of an earlier version kept none."""
        return self._file.operation_records(since_ms)

    def close(self) -> None:
        """See `Source.close`."""
        self._file.close()

    def _page(self, after: Position) -> list[bytes]:
        page = self._file.lines(after, PAGE_COMMITS)
        if (trimmed := self._file.base.position) > after:
            raise LogTrimmedError(f"{self.name} was trimmed up to position {trimmed} while it was read; start again")
        return page


def _from_path(name: str) -> Source:
    path = Path(name)
    try:
        file = path.open("rb")
    except OSError as error:
        hint = "check its owner and its mode" if isinstance(error, PermissionError) else LOG_IS
        raise UsageError(f"can't read {name}: {error.strerror}; {hint}") from None
    with file:
        magic = file.read(len(SQLITE_MAGIC))
    if magic == SQLITE_MAGIC:
        return SqliteSource(f"{SQLITE_SCHEME}{name}")
    if magic.startswith(GZIP_MAGIC):
        with path.open("rb") as compressed:
            return Dump(name, _spooled(compressed))
    return Dump(name, path.open("rb", BUFFER_BYTES))


def _spooled(stream: BinaryIO) -> BinaryIO:
    """Copy `stream`, decompressed if necessary, to a seekable temporary file, which is deleted on close."""
    spooled = _copy(stream)
    if spooled.read(len(GZIP_MAGIC)) == GZIP_MAGIC:
        spooled.seek(0)
        with spooled, gzip.open(spooled) as plain:
            try:
                return _copy(plain)
            except (OSError, EOFError) as error:
                raise UsageError(f"the dump can't be decompressed: {error}") from None
    spooled.seek(0)
    return spooled


def _copy(stream: BinaryIO | gzip.GzipFile) -> BinaryIO:
    spooled = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        shutil.copyfileobj(stream, spooled)
        spooled.seek(0)
    except BaseException:
        spooled.close()
        raise
    return spooled


def _fetched(url: str) -> BinaryIO:
    import urllib.error  # few logs are fetched, and these take longer to load than a short one to read
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=WEB_TIMEOUT_SECONDS) as answer:  # noqa: S310 - http or https, as was checked
            return _spooled(answer)
    except (urllib.error.URLError, OSError, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the answer too, with its body
        why = getattr(error, "reason", error)
        raise UsageError(f"can't fetch {url}: {why}; {URL_IS}") from None
