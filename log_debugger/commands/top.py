"""`chat-broker top LOG`: show the figures of a log while brokers write to it, in the terminal, until `q` or Ctrl-C.

Nothing is written to the log. A store that goes away is waited for.

Exit status: 0; 2 if a commit can't be read or doesn't follow the one before.
"""

from __future__ import annotations

import argparse
import io
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import TextIO

from broker.errors import UsageError
from broker.verification.safe_text import safe
from events.log import LogUnavailableError, OperationRecord
from log_debugger.commands import trace
from log_debugger.reading.files import WRITTEN_LOG_HELP
from log_debugger.reading.filters import MATCH_ALL
from log_debugger.reading.following import Follower, open_growing
from log_debugger.reading.iterate import Conversations
from log_debugger.reading.operations import GrowingNotes
from log_debugger.reading.room_messages import conversations_counted
from log_debugger.reading.short_names import names_of
from log_debugger.reading.sources import LOG_ERRORS, Source
from log_debugger.reading.times import timestamp
from log_debugger.telling.describe import open_rooms
from log_debugger.telling.figures import (
    RATE_MS,
    REFUSALS_MS,
    Figures,
    Subject,
    figures_of,
    head_lines,
)
from log_debugger.terminal import Advance, Terminal
from projections.state import State

PRINTED_ROWS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.add_argument("log", metavar="LOG", help=WRITTEN_LOG_HELP)
    parser.add_argument("--once", action="store_true", help="print the figures as lines, and end; it needs no terminal")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Show the figures until they are left, or print them once; return 0.

    Raises:
        UsageError: the log does not grow, or there is no suitable terminal.
        UnreadableCommitError: a commit can't be decoded.
        BrokenChainError: a commit does not follow the one before.
        UnusableLogError: the log is damaged or was rolled back.
        LogUnavailableError: its store can't be reached at the start.
    """
    if not options.once:
        terminal.check_interactive("top", "top --once prints the figures as lines")
    with closing(open_growing(options.log, "top")) as source:
        watch = LogWatch(source, _now_ms)
        if options.once:
            _print(watch.figures, terminal)
            return 0
        from log_debugger.telling.top_screen import TopScreen  # slow to import

        if (error := TopScreen(watch.look, partial(traced, options.log)).run()) is not None:
            raise error
    return 0


class LogWatch:
    """The figures of a log that brokers write to.

    Args:
        source: the log.
        now_ms: returns the time, in Unix ms.
    """

    def __init__(self, source: Source, now_ms: Callable[[], int]) -> None:
        start_ms, tip = now_ms(), source.tip().position
        self._name, self._names, self._now_ms, self._away = source.name, names_of(source), now_ms, ""
        self._follower = Follower(source, self._names, tip, self._on_away, partial(_conversations, source))
        self._notes = GrowingNotes(source, MATCH_ALL, source.position_at(start_ms - REFUSALS_MS))
        self._refused = deque[OperationRecord]()
        self._passed = deque([(start_ms - RATE_MS, min(tip, source.position_at(start_ms - RATE_MS)))])
        self.figures = self._folded()

    def look(self) -> Figures:
        """Take in what came since, and return the figures; while the store is away, those of before.

        Raises:
            LogTrimmedError: commits were trimmed before they were read.
            UnusableLogError: the log is damaged, or now another one.
            UnreadableCommitError: a commit can't be decoded.
            BrokenChainError: a commit does not follow the one before.
        """
        for _ in self._follower.page():
            pass
        if self._follower.is_away:
            self.figures = self.figures._replace(away=self._away)
        else:
            self._notes.look()
            self.figures = self._folded()
        return self.figures

    def _folded(self) -> Figures:
        now_ms, state = self._now_ms(), self._follower.state
        self._passed.append((now_ms, state.position))
        while len(self._passed) > 2 and self._passed[1][0] <= now_ms - RATE_MS:
            self._passed.popleft()
        notes = self._notes.before(state.position + 1)
        self._refused.extend(note.record for note in notes if note.record.kind == "refused")
        while self._refused and self._refused[0].at_ms <= now_ms - REFUSALS_MS:
            self._refused.popleft()
        return figures_of(self._name, self._names, state, self._follower.conversations, self._refused, self._passed)

    def _on_away(self, error: LogUnavailableError) -> None:
        self._away = f"since {timestamp(self._now_ms())}: {safe(' '.join(str(error).split()))}"


class _LeftError(Exception):
    """A trace is no longer wanted."""


class _TraceTerminal(Terminal):
    """A terminal that ends what is no longer wanted, in place of showing progress."""

    def __init__(self, out: TextIO, is_wanted: Callable[[], bool]) -> None:
        super().__init__(out, io.StringIO())
        self._is_wanted = is_wanted

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Advance]:
        """See `Terminal.progress`."""
        yield self._advance

    def _advance(self, steps: int) -> None:
        if not self._is_wanted():
            raise _LeftError


def traced(log: str, subject: Subject, is_wanted: Callable[[], bool]) -> str:
    """Return what `trace` prints about `subject`, or why it can't; nothing once `is_wanted` returns false."""
    options = argparse.Namespace(log=log, connection=None, room=None, pair=None, when=None, json=False)
    setattr(options, subject.kind, subject.id)
    printed = io.StringIO()
    try:
        trace.run(options, _TraceTerminal(printed, is_wanted))
    except _LeftError:
        return ""
    except (UsageError, *LOG_ERRORS) as error:
        printed.write(safe(" ".join(str(error).split())))
    return printed.getvalue()


def _conversations(source: Source, state: State) -> Conversations:
    return Conversations(conversations_counted(source, open_rooms(state), state.position))


def _print(figures: Figures, terminal: Terminal) -> None:
    for line in head_lines(figures):
        terminal.line(line)
    for section in figures.sections:
        terminal.line(f"\n{section.title}")
        for row in section.cut(PRINTED_ROWS):
            terminal.line(f"  {row.text}")


def _now_ms() -> int:
    return int(time.time() * 1_000)
