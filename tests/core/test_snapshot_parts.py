"""The parts of a snapshot: their sizes, their digest, and pauses while they are made."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import pytest

from events import snapshot_parts
from events.log import UnreadableSnapshotError
from events.snapshot_parts import PART_BYTES, lines_of, parts_of


@pytest.mark.parametrize("lengths", [[], [0], [5, 0, 7], [PART_BYTES - 1], [PART_BYTES - 2, 3], [PART_BYTES, 1]])
def test_parts_give_their_lines_again(lengths: list[int]) -> None:
    """A part ends with the line that reaches `PART_BYTES`; the last may end there too."""
    lines = [b"x" * length for length in lengths]
    parts = list(parts_of(lines))
    assert all(len(part) >= PART_BYTES for part in parts[:-1])
    assert list(lines_of(parts, hashlib.sha256(b"".join(parts)).hexdigest(), 7)) == lines


def test_parts_that_are_not_what_was_written_are_unreadable() -> None:
    """The digest is over all of them, in their order."""
    digest = hashlib.sha256(b"one\ntwo\n").hexdigest()
    assert list(lines_of([b"one\n", b"two\n"], digest, 7)) == [b"one", b"two"]
    for parts in ([b"one\n"], [b"two\n", b"one\n"], []):
        with pytest.raises(UnreadableSnapshotError, match="at position 7 is not what was written"):
            lines_of(parts, digest, 7)


def test_making_parts_pauses_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """It pauses 0.2 ms after each ms of work."""
    now_ms, slept = [0.0], list[tuple[float, float]]()

    def sleep(seconds: float) -> None:
        slept.append((now_ms[0], seconds))

    monkeypatch.setattr(snapshot_parts, "time", SimpleNamespace(perf_counter=lambda: now_ms[0] / 1_000, sleep=sleep))
    for _ in snapshot_parts._gently([b""] * 13):
        now_ms[0] += 0.25
    assert slept == [(1.25, 0.000_2), (2.5, 0.000_2)]
