"""Following a log while brokers write to it: each commit once, in order, through outages of its store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from time import sleep

from events.ids import Position
from events.log import LogUnavailableError, UnusableLogError
from log_debugger.reading.iterate import LogEntry, conversations_after, conversations_in, step_of
from log_debugger.reading.short_names import ShortNames
from log_debugger.reading.sources import Source, state_at
from log_debugger.reading.store_source import LogTrimmedError
from projections.state import State

POLL_SECONDS = 0.2
RETRY_SECONDS = 1.0


class Follower:
    """The commits of a log after `start`, as they come.

    Args:
        source: the log.
        names: its short names; those of new commits are added.
        start: the position before the first commit.
        on_away: called with the reason when the store goes away; once until it is back.
    """

    def __init__(
        self, source: Source, names: ShortNames, start: Position, on_away: Callable[[LogUnavailableError], None]
    ) -> None:
        self._source, self._names, self._on_away = source, names, on_away
        self._state = state_at(source, start)
        self._conversations = conversations_in(self._state)
        self._is_away = False

    @property
    def state(self) -> State:
        """The state after the last commit that was yielded."""
        return self._state

    def pages(self) -> Iterator[Iterator[LogEntry]]:
        """Yield the new commits, of which there may be none, every `POLL_SECONDS`; each page must be used up.

        Raises:
            LogTrimmedError: commits were trimmed before they were read.
            UnusableLogError: the log is damaged, or now another one.
            UnreadableCommitError: a commit can't be decoded.
            BrokenChainError: a commit does not follow the one before.
        """
        while True:
            tip = self._tip()
            yield iter(()) if tip is None else self._page(tip)
            sleep(RETRY_SECONDS if self._is_away else POLL_SECONDS)

    def _tip(self) -> Position | None:
        """Return the position of the last commit; `None` while the store is away."""
        try:
            tip = self._source.tip()
        except LogUnavailableError as error:
            self._away(error)
            return None
        known = self._state.tip
        if tip.position < known.position or (tip.position == known.position and tip != known):
            raise UnusableLogError(
                f"{self._source.name} ends at position {tip.position:,}, and no longer holds the commit at position "
                f"{known.position:,} that was read before: it was rolled back, or is another log now; start again"
            )
        if tip == known:
            self._is_away = False  # else the commits have to be read, too
        return tip.position

    def _page(self, tip: Position) -> Iterator[LogEntry]:
        """Yield the commits up to `tip`; fewer if the store goes away meanwhile."""
        after = self._state.position
        if tip == after:
            return
        try:
            self._names.learn(self._source, after)
            for line in islice(self._source.lines(after), tip - after):
                step = step_of(self._state, line)
                entry = LogEntry(line, step, self._conversations)
                self._state, self._conversations = step.after, conversations_after(self._conversations, step.commit)
                yield entry
            self._is_away = False
        except LogTrimmedError:
            raise
        except LogUnavailableError as error:
            self._away(error)

    def _away(self, error: LogUnavailableError) -> None:
        if not self._is_away:
            self._is_away = True
            self._on_away(error)
