"""A log under construction in a shared store, and the choice of it or of a file."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from broker.stores import store_module
from events.commit import Tip
from events.log import Snapshot
from log_debugger.reading.files import is_shared, path_of
from log_debugger.reading.new_file import NewLogFile
from log_debugger.reading.store_source import StoreRunner
from projections.snapshots import STATE_CODEC


class NewLog(Protocol):
    """An empty log to fill, as a context. `finish` makes it a log; without it, nothing is left of it."""

    def start_from(self, snapshot: Snapshot) -> None:
        """Start from `snapshot`, before the first commit."""
        ...

    def append_lines(self, lines: Sequence[bytes], *, expected: Tip) -> None:
        """Append commits as lines of JSON, which were checked, after `expected`."""
        ...

    def save(self, snapshot: Snapshot) -> None:
        """Keep `snapshot`, of the present tip."""
        ...

    def finish(self) -> None:
        """Make it a log, with a new epoch."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def new_log(name: str) -> NewLog:
    """Begin the log `name`, in a file or a shared store.

    Raises:
        UsageError: it names something else, or a file with a log that is not empty.
        UnusableLogError: there can't be a new log.
        LogUnavailableError: the store can't be reached.
    """
    return NewStoreLog(name) if is_shared(name) else NewLogFile(path_of(name), name)


class NewStoreLog:
    """`NewLog` in a shared store. Until `finish`, brokers and readers refuse what is there, or do not see it.

    If this process is killed, the next load begins anew.
    """

    def __init__(self, url: str) -> None:
        """Begin the log at `url`.

        Raises:
            UnusableLogError: the log there is not empty, or can't be used; nothing was changed.
            LogUnavailableError: the store can't be reached.
        """
        self._store = StoreRunner(url)
        try:
            self._loader = self._store.run(store_module(url).open_loading(url, STATE_CODEC))
        except BaseException:
            self._store.close()
            raise

    def start_from(self, snapshot: Snapshot) -> None:
        """See `NewLog.start_from`."""
        self._store.run(self._loader.start_from(snapshot))

    def append_lines(self, lines: Sequence[bytes], *, expected: Tip) -> None:
        """See `NewLog.append_lines`. No broker can write meanwhile."""
        self._store.run(self._loader.append_lines(lines, expected=expected))

    def save(self, snapshot: Snapshot) -> None:
        """See `NewLog.save`."""
        self._store.run(self._loader.save(snapshot))

    def finish(self) -> None:
        """See `NewLog.finish`."""
        self._store.run(self._loader.finish())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._store.run(self._loader.abandon())
        finally:
            self._store.close()
