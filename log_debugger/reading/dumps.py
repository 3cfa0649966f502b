"""A dump: one JSON commit a line; a trimmed log's begins with the lines of a snapshot."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import msgspec

from broker.errors import UsageError
from events.codec import UnreadableCommitError, decode_commit
from events.commit import EMPTY_TIP, BrokenChainError, Commit, Tip
from events.ids import NO_COMMIT, ConnectionId, Position
from events.log import DeliveryRecord, OperationRecord, Snapshot, UnreadableSnapshotError
from projections.snapshots import STATE_CODEC
from projections.state import INITIAL_STATE, State

BLOCK_LINES = 500

LOG_HELP = (
    "sqlite:PATH, a shared store's URL (redis://HOST, postgresql://HOST/DATABASE, nats://HOST), a dump (.jsonl, "
    ".jsonl.gz), its URL, or - for standard input"
)
LOG_IS = f"a LOG is {LOG_HELP}"
STDIN_NAME = "standard input"

UNTRIMMED_BASE = Snapshot(EMPTY_TIP, INITIAL_STATE)
"""The base of a log with all of its commits."""

_BEGINNINGS = (b'{"schema":', b'{"snapshot":')
"""The first bytes of a commit's line, and of a snapshot's first line."""


class _Kind(msgspec.Struct):
    schema: int | None = None
    snapshot: int | None = None


_kind = msgspec.json.Decoder(_Kind)


def is_commit(line: bytes) -> bool:
    """Return `True` if a line of a dump is a commit, `False` if it belongs to a snapshot.

    Raises:
        msgspec.DecodeError: the line is neither.
        UnicodeDecodeError: the line is neither.
    """
    return _kind.decode(line).schema is not None


def begins_a_dump(line: bytes) -> bool:
    """Return `True` if `line`, which may be cut off, can be the first of a dump."""
    try:
        kind = _kind.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return line.startswith(_BEGINNINGS) and not line.endswith(b"\n")
    return kind.schema is not None or kind.snapshot is not None


class Dump:
    """A `Source` over a seekable file, with an index of every `BLOCK_LINES`th line."""

    recorded_after = None

    def __init__(self, name: str, file: BinaryIO) -> None:
        """Index `file`. The dump owns it from here on: `close` closes it, and so does an error.

        Raises:
            UsageError: it is no dump, or one that does not begin where a log does.
            UnreadableCommitError: its first lines can't be decoded.
        """
        self.name = name
        self._file = file
        self._blocks = array("q")  # the offset of each in bytes
        self._is_cut_off = False
        """The last line is incomplete: it counts, but is never yielded."""
        try:
            self.base = self._read_base()
            self._count = self._index()
            self._tip = self._last()
        except BaseException:
            file.close()
            raise

    def tip(self) -> Tip:
        """See `Source.tip`."""
        return self._tip

    def lines(self, after: Position) -> Iterator[bytes]:
        """See `Source.lines`.

        Raises:
            UnreadableCommitError: the last line is cut off; all lines before it were yielded.
        """
        skipped = max(0, after - self.base.tip.position)
        for block in range(skipped // BLOCK_LINES, len(self._blocks)):
            yield from self._block(block)[skipped % BLOCK_LINES if block == skipped // BLOCK_LINES else 0 :]
        if self._is_cut_off and skipped < self._count:
            raise self._cut_off_in(f"position {self.base.tip.position + self._count}")

    def snapshots(self) -> Sequence[Position]:
        """See `Source.snapshots`: a dump has only its base."""
        return [self.base.tip.position]

    def snapshot(self, at_most: Position) -> Snapshot:
        """See `Source.snapshot`."""
        return self.base

    def position_at(self, at_ms: int) -> Position:
        """See `Source.position_at`; a binary search over the indexed lines."""
        low, high = 0, self._count - self._is_cut_off  # the answer, counted from the base, is in between
        while low < high:
            middle = (low + high + 1) // 2
            if self._commit(middle - 1).at_ms <= at_ms:
                low = middle
            else:
                high = middle - 1
        return self.base.tip.position + low

    def delivery_records(
        self, after: Position, last: Position, connection_id: ConnectionId | None
    ) -> Sequence[DeliveryRecord]:
        """See `Source.delivery_records`: a dump holds none."""
        return []

    def operation_records(self, since_ms: int = 0) -> Sequence[OperationRecord] | None:
        """See `Source.operation_records`: a dump holds none."""
        return None

    def close(self) -> None:
        """See `Source.close`."""
        self._file.close()

    def _read_base(self) -> Snapshot:
        """Read the snapshot before the first commit, and leave the file at that commit."""
        lines: list[bytes] = []
        while line := self._file.readline():
            if not lines and not begins_a_dump(line):
                raise UsageError(f"{self.name} is no dump of a log; {LOG_IS}")
            if self._is_commit(line, len(lines) + 1):
                self._file.seek(-len(line), 1)
                break
            lines.append(line.rstrip(b"\n"))
        else:
            if not lines:
                what_to_do = "give it a dump" if self.name == STDIN_NAME else "name a dump"
                raise UsageError(f"there is nothing in {self.name}; {what_to_do}")
        if not lines:
            return UNTRIMMED_BASE
        try:
            state: State = STATE_CODEC.decode(lines)
        except UnreadableSnapshotError as error:
            raise UnreadableCommitError(f"{self.name}: {error}") from None
        return Snapshot(state.tip, state)

    def _is_commit(self, line: bytes, number: int) -> bool:
        try:
            return is_commit(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if line.endswith(b"\n"):
                raise UnreadableCommitError(f"{self.name}, line {number}: not a commit: {error}") from None
            is_snapshot = not line.startswith(_BEGINNINGS[0])
            raise self._cut_off_in("the snapshot that it begins with" if is_snapshot else "its first commit") from None

    def _cut_off_in(self, where: str) -> UnreadableCommitError:
        return UnreadableCommitError(f"{self.name} ends in the middle of {where}; was it cut off?")

    def _index(self) -> int:
        count, line = 0, b""
        while True:
            start, lines = self._file.tell(), 0
            for line in _some(self._file, BLOCK_LINES):
                if not line.strip():
                    raise UnreadableCommitError(f"{self.name}: a line behind commit {count + lines} is empty")
                lines += 1
            if not lines:
                self._is_cut_off = not line.endswith(b"\n") and not _is_whole(line)
                return count
            self._blocks.append(start)
            count += lines

    def _last(self) -> Tip:
        if not self._count:
            return self.base.tip
        first = self._commit(0)
        if first.position != self.base.tip.position + 1:
            raise UsageError(
                f"{self.name} begins at position {first.position}, and nothing can be folded without what stood "
                "before; dump the log without --after"
            )
        try:
            return self._commit(self._count - 1).tip
        except (UnreadableCommitError, BrokenChainError, IndexError):  # reported on reading that far
            return Tip(self.base.tip.position + self._count, NO_COMMIT)

    def _commit(self, index: int) -> Commit:
        try:
            return decode_commit(self._block(index // BLOCK_LINES)[index % BLOCK_LINES])
        except UnreadableCommitError as error:
            raise UnreadableCommitError(f"{self.name}, commit {index + 1}: {error}") from None

    def _block(self, block: int) -> list[bytes]:
        self._file.seek(self._blocks[block])
        lines = [line.rstrip(b"\n") for line in _some(self._file, BLOCK_LINES)]
        return lines[:-1] if self._is_cut_off and block == len(self._blocks) - 1 else lines


def _is_whole(line: bytes) -> bool:
    try:
        is_commit(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _some(file: BinaryIO, count: int) -> Iterator[bytes]:
    """Yield up to `count` lines; unlike iteration, `readline` leaves the file after the last one."""
    for _ in range(count):
        line = file.readline()
        if not line:
            return
        yield line
