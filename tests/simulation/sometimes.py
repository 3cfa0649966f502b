"""Rare paths: a long run must reach each of them, and none of the recoveries too often.

A path never reached tests nothing; a recovery that happens all the time hides the fault behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

SOMETIMES: Mapping[str, float | None] = {
    "an append landed and was not answered": None,
    "an append that had landed was answered as done": None,
    "an append of a dead process landed": None,
    "a conflict was decided again to another outcome": None,
    "a crash between append and announce": None,
    "a snapshot was unreadable, and an older one or none served": None,
    "a start from a snapshot": None,
    "the log was trimmed under a broker, which jumped": None,
    "a page said that something was missed": None,
    "a stream resumed within a position": None,
    "a stream resumed in a new session": None,
    "a stream was cut at its backlog": None,
    "a stream was displaced by a second one": None,
    "a stream came to carry another handle": None,
    "a frame was cut in two": None,
    "a ghost was abandoned": None,
    "a Disconnect came too late": None,
    "someone absent was taken out": None,
    "a host vanished": None,
    "a match was missed": None,
    "the partner of a ghost waits again": None,
    "someone was blocked": None,
    "someone was reported": None,
    "two met again, since both had waited": None,
    "a silent partner was told": None,
    "someone absent was taken out before a match": None,
    "a message was repeated and said once": None,
    "a message came after the end, and brought the last words": None,
    "an old cursor was read again": None,
    "a wait was cancelled": None,
    "a handle was unknown": None,
    "a command was unavailable": 0.2,
    "a command was rate limited": 0.3,
    "a start failed": 0.5,
    "two of one session met each other": None,
    "a mark came with its notification": None,
    "progress was told": None,
    "a text was redacted": None,
    "a name was redacted": None,
    "patience ended in a match": None,
    "the fast lane answered": None,
    "a broker followed what another wrote": None,
    "a stale refusal was decided again": None,
    "a turn was taken": None,
    "a turn was done without": None,
    "commands were carried out at once": None,
}
"""Each path, and for a recovery the most of it there may be: of the calls, or of the starts."""

ONLY_ALONE = frozenset(
    {
        "someone absent was taken out",
        "someone absent was taken out before a match",
        "commands were carried out at once",
        "compact failed",
    }
)
"""Paths and faults that are not looked for where every seed has several brokers."""

ONLY_SHARED = frozenset(
    {"a stale refusal was decided again", "a turn was done without", "a stream came to carry another handle"}
)
"""Those that are too rare where most seeds have one."""

PER: Mapping[str, str] = {"a start failed": "starts"}
"""What a ceiling is a share of, where it is not the calls."""


class Sometimes:
    """The count of each path."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def reached(self, path: str) -> None:
        """Count one more."""
        assert path in SOMETIMES, path
        self.counts[path] += 1
