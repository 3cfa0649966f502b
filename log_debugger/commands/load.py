"""`chat-broker log load LOG < FILE`: load a dump into a new log with a new epoch.

The dump goes into a temporary file beside the log, or into a store in such a way that nothing can use it yet. It
becomes the log after the last line was checked and folded. Any failure before that, even a loss of power, leaves no log
that can be mistaken for a whole one.
"""

from __future__ import annotations

import argparse
import gzip
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any, BinaryIO

import msgspec

from broker.errors import UsageError
from broker.verification.safe_text import safe
from events.codec import UnreadableCommitError, decode_commit
from events.commit import EMPTY_TIP, BrokenChainError
from events.log import Snapshot, UnreadableSnapshotError
from log_debugger.reading.dumps import STDIN_NAME, UNTRIMMED_BASE, begins_a_dump, is_commit
from log_debugger.reading.files import WRITTEN_LOG_HELP, check_name
from log_debugger.reading.iterate import FOLD_ERRORS, step_of
from log_debugger.reading.new_log import NewLog, new_log
from log_debugger.reading.sources import GZIP_MAGIC
from log_debugger.telling.narrative import count
from log_debugger.terminal import Advance, Terminal
from projections.snapshots import STATE_CODEC
from projections.state import State, fold

LINES_AT_ONCE = 2_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.add_argument("log", metavar="LOG", help=f"{WRITTEN_LOG_HELP}, where there is no log yet, or an empty one")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Load the dump on standard input, plain or compressed by gzip; return 0.

    Raises:
        UsageError: the input is no dump, or the log is not empty; nothing was changed.
    """
    check_name(options.log)
    stream = sys.stdin.buffer
    try:
        lines = _of_a_dump(_lines(stream))  # before anything is created
        with new_log(options.log) as new, terminal.progress("loading", _size(stream)) as advance:
            loading = _Loading(new, advance)
            loading.take(lines)
            new.finish()
    except _LoadError as error:
        raise UsageError(f"{error}; nothing was loaded") from None
    last, base = loading.state.position, loading.base
    where = f"from position {base + 1} to {last}" if last > base else f"after position {base}"
    terminal.line(f"loaded {count(last - base, 'commit')}, {where}")
    return 0


class _LoadError(Exception):
    """A fault in the dump; the message names the line."""


class _Loading:
    """A log in the course of being loaded."""

    def __init__(self, new: NewLog, advance: Advance) -> None:
        self.state: State = UNTRIMMED_BASE.state
        self.base = 0
        self._new = new
        self._advance = advance
        self._number = 0  # of the last appended line
        self._saved = 0

    def take(self, lines: Iterator[bytes]) -> None:
        """Append all of a dump."""
        first = self._begin(lines)
        page = [*first, *islice(lines, LINES_AT_ONCE - len(first))]
        while page:
            self._take_page(page)
            page = list(islice(lines, LINES_AT_ONCE))

    def _begin(self, lines: Iterator[bytes]) -> list[bytes]:
        """Load the snapshot before the first commit, if there is one; return the line of that commit."""
        before: list[bytes] = []
        for line in lines:
            if self._is_commit(line, len(before) + 1):
                self._begin_behind(before)
                return [line]
            before.append(line)
        self._begin_behind(before)
        return []

    def _begin_behind(self, lines: Sequence[bytes]) -> None:
        if not lines:
            return
        try:
            self.state = STATE_CODEC.decode(lines)
        except UnreadableSnapshotError as error:
            raise _LoadError(f"the snapshot in lines 1 to {len(lines)} can't be read: {safe(str(error))}") from None
        self._new.start_from(Snapshot(self.state.tip, self.state))
        self._number, self.base, self._saved = len(lines), self.state.position, self.state.position

    def _take_page(self, page: list[bytes]) -> None:
        before = self.state
        try:
            self.state = fold(map(decode_commit, page), before)
        except (UnreadableCommitError, BrokenChainError, *FOLD_ERRORS):
            raise self._error_in(page, before) from None
        self._new.append_lines(page, expected=before.tip)
        if self.state.position - self._saved >= self.state.policy.snapshot_every_commits:
            self._new.save(Snapshot(self.state.tip, self.state))
            self._saved = self.state.position
        self._number += len(page)
        self._advance(sum(map(len, page)))

    def _error_in(self, page: Sequence[bytes], state: State) -> _LoadError:
        for number, line in enumerate(page, self._number + 1):
            try:
                state = step_of(state, line).after
            except (UnreadableCommitError, BrokenChainError) as error:
                if state.tip == EMPTY_TIP and number == 1:
                    return _LoadError(f"line 1: {safe(str(error))}; a dump has to begin where its log does")
                return _LoadError(f"line {number}: {safe(str(error))}")
        raise AssertionError("what can't be folded at once can't be folded one by one")

    @staticmethod
    def _is_commit(line: bytes, number: int) -> bool:
        try:
            return is_commit(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _LoadError(f"line {number} is no line of a dump: {safe(str(error))}") from None


def _of_a_dump(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Return `lines` after checking that the first can begin a dump."""
    first = next(lines, None)
    if first is None:
        raise _LoadError(f"there is nothing in {STDIN_NAME}; give it a dump")
    if not begins_a_dump(first):
        raise _LoadError(f"{STDIN_NAME} is no dump of a log")
    return chain((first,), lines)


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of `stream` without line ends, decompressed if necessary."""
    peek: Any = getattr(stream, "peek", None)
    is_compressed = peek is not None and peek(len(GZIP_MAGIC))[: len(GZIP_MAGIC)] == GZIP_MAGIC
    plain: Any = gzip.GzipFile(fileobj=stream) if is_compressed else stream
    try:
        for line in plain:
            yield line.rstrip(b"\n")
    except (OSError, EOFError) as error:
        raise _LoadError(f"{STDIN_NAME} can't be read to its end: {error}") from None


def _size(stream: BinaryIO) -> int:
    try:
        return os.fstat(stream.fileno()).st_size
    except OSError:
        return 0
