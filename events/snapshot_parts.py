"""The parts in which stores keep a snapshot: pieces of its lines, and one digest over all of them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence

from events.ids import Position
from events.log import UnreadableSnapshotError

PART_BYTES = 256 * 1024
"""The size at which a part ends: so no statement is long."""

WORK_SECONDS = 0.001
PAUSE_SECONDS = 0.000_2


def parts_of(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Return `lines` with their ends, in pieces of about `PART_BYTES`; for a thread beside an event loop."""
    part: list[bytes] = []
    size = 0
    for line in _gently(lines):
        part.append(line)
        size += len(line) + 1
        if size >= PART_BYTES:
            yield b"\n".join(part) + b"\n"
            part, size = [], 0
    if part:
        yield b"\n".join(part) + b"\n"


def _gently(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Return `lines` with pauses: a thread that only computes makes an event loop wait 5 ms at each turn."""
    rested = time.perf_counter()
    for line in lines:
        yield line
        if time.perf_counter() - rested > WORK_SECONDS:
            time.sleep(PAUSE_SECONDS)  # the event loop gets the interpreter meanwhile
            rested = time.perf_counter()


def lines_of(parts: Sequence[bytes], sha256: str, position: Position) -> Iterator[bytes]:
    """Return the lines of a snapshot at `position`, without their ends.

    Raises:
        UnreadableSnapshotError: the digest of its parts is another.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    if digest.hexdigest() != sha256:
        raise UnreadableSnapshotError(f"the snapshot at position {position} is not what was written")
    return (line for part in parts for line in part.split(b"\n")[:-1])
