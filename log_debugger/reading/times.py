"""Times: parsing and formatting of points in time, durations and positions."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal

from broker.errors import UsageError
from broker.setting_reader import UNITS_MS
from broker.verification.safe_text import printable
from events.codec import UnreadableCommitError, decode_commit
from events.commit import BrokenChainError
from events.ids import Position
from log_debugger.reading.sources import Source, check_position
from projections.notifications import timestamp_of

AT_HELP = (
    "a time: ISO 8601 (2026-11-22T19:29:47.568Z; UTC where it doesn't say), or one since the log's first commit, "
    "as in +90s, +1.5m, +1h30m, +250ms or 00:01:30.250"
)
POSITION_HELP = "a position, 0 being the empty log, or a time as replay --at takes it"

_WRITTEN = "as in 2026-11-22T19:29:47Z, or since the log's beginning as in +90s or 00:01:30.250"
_DIGITS_MAX = 15
_PARTS = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")
_CLOCK = re.compile(r"([0-9]{1,6}):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]{1,3}))?")


def timestamp(at_ms: int) -> str:
    """Return `at_ms` (Unix time) as ISO 8601, or as a number if it is outside the calendar."""
    try:
        return timestamp_of(at_ms)
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms"


def clock(ms: int) -> str:
    """Return a time since the log began as `hh:mm:ss.mmm`."""
    seconds, milliseconds = divmod(abs(ms), 1_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{'-' if ms < 0 else ''}{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}"


def span(ms: int) -> str:
    """Return a duration at readable precision: `250 ms`, `41.2 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.

    The rest is rounded, halves up. `duration` in `report/page/text.js` must give the same text.
    """
    if ms < 0:
        return f"-{span(-ms)}"
    if ms < 1_000:
        return f"{ms} ms" if ms else "0 s"
    if (tenths := _rounded(ms, 100)) < 600:
        return f"{tenths // 10}.{tenths % 10} s"
    if (seconds := _rounded(ms, 1_000)) < 3_600:
        return f"{seconds // 60} min {seconds % 60} s"
    if (minutes := _rounded(ms, 60_000)) < 1_440:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = _rounded(ms, 3_600_000)
    return f"{hours // 24} d {hours % 24} h"


def _rounded(ms: int, unit_ms: int) -> int:
    return (ms + unit_ms // 2) // unit_ms


def start_of(source: Source) -> int:
    """Return the start of a log in ms: the time of its first commit, or of the base if there is none."""
    with suppress(UnreadableCommitError, BrokenChainError):  # reported by folding it
        for line in source.lines(source.base.tip.position):
            return decode_commit(line).at_ms
    return int(source.base.state.at_ms)


def end_of(source: Source, last: Position) -> int:
    """Return the time in ms of the commit at `last`, the log's tip, or of the base if that is the tip."""
    with suppress(UnreadableCommitError, BrokenChainError):
        for line in source.lines(last - 1) if last > source.base.tip.position else ():
            return decode_commit(line).at_ms
    return int(source.base.state.at_ms)


def position_asked(source: Source, to: int | None, at: str | None, start_ms: int) -> Position:
    """Return the position for `--to` or `--at`; the tip if both are `None`.

    Raises:
        UsageError: the log does not have that position, or the time can't be parsed.
    """
    if to is not None:
        check_position(source, to)
        return to
    last = source.tip().position
    if at is None:
        return last
    return min(last, max(source.base.tip.position, source.position_at(parse_time(at, start_ms))))


def position_of(text: str, start_ms: int, position_at: Callable[[int], Position]) -> Position:
    """Parse `text`, a position or a time.

    Args:
        text: a number, taken as it is, or a time in one of the forms of `AT_HELP`.
        start_ms: the time of the log's first commit.
        position_at: maps a time in ms to a position.

    Raises:
        UsageError: it is neither a number nor a time.
    """
    if _is_number(text):
        return int(text)
    at_ms = _time(text, start_ms)
    if at_ms is None:
        raise UsageError(f"{printable(text)} is no position and no time: write a number, or a time {_WRITTEN}")
    return position_at(at_ms)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX


def position_number(text: str) -> int:
    """Parse a position for `argparse`.

    Raises:
        argparse.ArgumentTypeError: it is no whole number.
    """
    if not _is_number(text.removeprefix("-")):
        raise argparse.ArgumentTypeError(f"a position is a whole number, not {printable(text)}")
    return int(text)


def parse_time(text: str, start_ms: int) -> int:
    """Parse `text`, in one of the forms of `AT_HELP`, to Unix time in ms.

    Raises:
        UsageError: it has none of these forms.
    """
    at_ms = _time(text, start_ms)
    if at_ms is None:
        raise UsageError(f"{printable(text)} is no time: write it {_WRITTEN}")
    return at_ms


def _time(text: str, start_ms: int) -> int | None:
    since = _clock(text.removeprefix("+"))
    if since is None and text.startswith("+"):
        since = _parts(text[1:])
    if since is not None:
        return start_ms + since
    with suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(text)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)
    return None


def _clock(text: str) -> int | None:
    found = _CLOCK.fullmatch(text)
    if found is None:
        return None
    hours, minutes, seconds = int(found[1]), int(found[2]), int(found[3])
    return ((hours * 60 + minutes) * 60 + seconds) * 1_000 + int((found[4] or "").ljust(3, "0"))


def _parts(text: str) -> int | None:
    parts = _PARTS.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(round(Decimal(number) * (1 if unit == "ms" else UNITS_MS[unit])) for number, unit in parts)
