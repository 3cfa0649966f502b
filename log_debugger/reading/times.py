"""Times: parsing and formatting of points in time, durations and positions."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from broker.errors import UsageError
from broker.setting_reader import UNITS_MS
from broker.verification.safe_text import printable
from events.codec import UnreadableCommitError, decode_commit
from events.commit import BrokenChainError
from events.ids import Position
from events.log import UnusableLogError
from log_debugger.reading.sources import Source, check_position
from projections.notifications import timestamp_of

AT_HELP = (
    "a time: of day, as in 14:03:22, which is UTC without a zone and needs a date in a log of several days "
    "(2026-11-22T14:03:22+01:00); or since the log's first commit, as in +90s, +1.5m, +1h30m or +00:01:30.250"
)
POSITION_HELP = "a position, 0 being the empty log, or a time as replay --at takes it"

_WRITTEN = "as in 14:03:22 or 2026-11-22T14:03:22Z, or since the log's beginning as in +90s or +00:01:30.250"
_DIGITS_MAX = 15
_DAY_MS = 86_400_000
_PARTS = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")
_CLOCK = re.compile(r"([0-9]{1,6}):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]{1,3}))?")
_WALL_CLOCK = re.compile(
    r"(?:(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})(?:[Tt ](?=.)|$))?"
    r"(?:(?P<hour>[01]?[0-9]|2[0-3])(?:(?P<minute>:[0-5][0-9])(?:(?P<second>:[0-5][0-9])(?:[.,](?P<part>[0-9]{1,9}))?)?)?"
    r"(?: ?(?P<zone>[Zz]|UTC|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?))?)?"
)
"""A time in an ISO 8601 form, as other programs and the report's page write them."""


class LogSpan(NamedTuple):
    """The times of a log's first and last commit (Unix time in ms).

    `start_ms` is `None` if there is no commit, `end_ms` also if the last one can't be read.
    """

    start_ms: int | None
    end_ms: int | None


class WrittenTime(NamedTuple):
    """A time as written by a user; only one of the three numbers is given."""

    text: str
    at_ms: int | None = None  # Unix time
    since_ms: int | None = None  # after the first commit
    of_day_ms: int | None = None  # in UTC
    is_date: bool = False  # `at_ms` is a midnight

    def within(self, span: LogSpan) -> int:
        """Return the time in ms in a log of that span.

        A date is its midnight, even if the log begins later on that day.

        Raises:
            UsageError: it is outside the log, or a time of day that comes more than once in it.
        """
        if span.start_ms is None:
            raise UsageError(f"the log has no commits, so {printable(self.text)} is outside it")
        found = self._in(span.start_ms)
        earliest_ms = span.start_ms - _DAY_MS + 1 if self.is_date else span.start_ms
        if found < earliest_ms or (span.end_ms is not None and found > span.end_ms):
            raise UsageError(self._outside(span.start_ms, span.end_ms))
        if self.of_day_ms is not None and span.end_ms is not None and found + _DAY_MS <= span.end_ms:
            days = f"{timestamp(found)} and {timestamp(found + _DAY_MS)}"
            raise UsageError(f"{printable(self.text)} comes more than once in the log; write a date, as in {days}")
        return found

    def _in(self, start_ms: int) -> int:
        if self.at_ms is not None:
            return self.at_ms
        if self.since_ms is not None:
            return start_ms + self.since_ms
        return start_ms + ((self.of_day_ms or 0) - start_ms) % _DAY_MS

    def _outside(self, start_ms: int, end_ms: int | None) -> str:
        there = f"goes from {timestamp(start_ms)}" + (f" to {timestamp(end_ms)}" if end_ms is not None else " on")
        hint = ""
        if self.of_day_ms is not None and _clock(self.text) is not None:
            hint = f"; {self.text} since its beginning is written +{self.text}"
        elif self.since_ms is not None and end_ms is not None:
            hint = f", which is +{clock(end_ms - start_ms)}"
        return f"{printable(self.text)} is outside the log, which {there}{hint}"


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


def span_of(source: Source) -> LogSpan:
    """Return the span of a log."""
    base, last = source.base.tip.position, source.tip().position
    return LogSpan(_time_after(source, base), _time_after(source, last - 1)) if last > base else LogSpan(None, None)


def _time_after(source: Source, position: Position) -> int | None:
    with suppress(UnreadableCommitError, BrokenChainError, UnusableLogError):  # reported by folding it
        for line in source.lines(position):
            return decode_commit(line).at_ms
    return None


def position_asked(source: Source, to: int | None, at: str | None) -> tuple[Position, int | None]:
    """Return the position for `--to` or `--at`, the tip if both are `None`, and the time for `--at`.

    Raises:
        UsageError: the log does not have that position or time, or the time can't be parsed.
    """
    if to is not None:
        check_position(source, to)
        return to, None
    last = source.tip().position
    if at is None:
        return last, None
    at_ms = written_time(at).within(span_of(source))
    return min(last, max(source.base.tip.position, source.position_at(at_ms))), at_ms


def position_of(text: str, span: Callable[[], LogSpan], position_at: Callable[[int], Position]) -> Position:
    """Parse `text`, a position or a time.

    Args:
        text: a number, taken as it is, or a time in one of the forms of `AT_HELP`.
        span: returns the log's span; called for a time only.
        position_at: maps a time in ms to a position.

    Raises:
        UsageError: it is neither a number nor a time, or a time outside the log.
    """
    if _is_number(text):
        return int(text)
    written = _time(text)
    if written is None:
        raise UsageError(f"{printable(text)} is no position and no time: write a number, or a time {_WRITTEN}")
    return position_at(written.within(span()))


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


def written_time(text: str) -> WrittenTime:
    """Parse `text`, in one of the forms of `AT_HELP`.

    Raises:
        UsageError: it has none of these forms.
    """
    written = _time(text)
    if written is None:
        raise UsageError(f"{printable(text)} is no time: write it {_WRITTEN}")
    return written


def duration_ms(text: str) -> int | None:
    """Return the duration `text` in ms, as in `30s`, `1.5m`, `1h30m` or `250ms`; `None` if it is none."""
    parts = _PARTS.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(round(Decimal(number) * (1 if unit == "ms" else UNITS_MS[unit])) for number, unit in parts)


def _time(text: str) -> WrittenTime | None:
    if text.startswith("+"):
        since_ms = _clock(text[1:])
        since_ms = duration_ms(text[1:]) if since_ms is None else since_ms
        return WrittenTime(text, since_ms=since_ms) if since_ms is not None else None
    return _wall_clock(text)


def _wall_clock(text: str) -> WrittenTime | None:
    found = _WALL_CLOCK.fullmatch(text)
    if found is None or (found["date"] is None and found["minute"] is None):
        return None
    date, hour, minute, second, part, zone = found.groups("")
    offset = "+00:00" if zone in ("", "Z", "z", "UTC") else zone
    with suppress(ValueError, OverflowError):  # no such date; a zone beyond the calendar
        iso = f"{date or '1970-01-02'}T{hour or '0':0>2}{minute or ':00'}{second or ':00'}.{part[:3]:0<3}{offset}"
        at_ms = round(datetime.fromisoformat(iso).timestamp() * 1_000)
        if not date:
            return WrittenTime(text, of_day_ms=at_ms % _DAY_MS)
        return WrittenTime(text, at_ms=at_ms, is_date=not hour)
    return None


def _clock(text: str) -> int | None:
    found = _CLOCK.fullmatch(text)
    if found is None:
        return None
    hours, minutes, seconds = int(found[1]), int(found[2]), int(found[3])
    return ((hours * 60 + minutes) * 60 + seconds) * 1_000 + int((found[4] or "").ljust(3, "0"))
