"""The log in a file: `EventLog` over `SqliteFile`, whose calls block, so each kind has a thread of its own.

One thread writes, one reads, one encodes snapshots. So a slow disk stalls no event loop, a reading waits for no
append, and appends go on while a snapshot is written: its parts take their turn among them.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar, TypeVarTuple

from events.commit import Commit, Tip
from events.ids import Position
from events.log import DeliveryRecord, LogUnavailableError, Snapshot, StateCodec, UnusableLogError
from events.sqlite.file import SqliteFile
from events.sqlite.open import Mode, Synchronous
from events.sqlite.reader import SqliteReader
from events.sqlite.wakeup import Bell, listen

FOLLOWED_PAGE = 500
LOOK_AFRESH_SECONDS = 1.0

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class SqliteLog:
    """`EventLog` over a file. What `append` has answered survives what `Synchronous` says.

    Every method but `save`, `record` and `close` raises `LogUnavailableError` while the file can't be reached (a full
    disk, an error of the disk, a lock held for longer than 0.8 s) and goes on by itself once it can; it raises
    `UnusableLogError` if the file is damaged. The work of a caller that is cancelled is done all the same, or not at
    all if it had not begun.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        codec: StateCodec,
        *,
        mode: Mode = "write",
        synchronous: Synchronous = "FULL",
        look_afresh_seconds: float = LOOK_AFRESH_SECONDS,
    ) -> None:
        """Open the log at `path`; in the mode `write` a missing one is made, which only its owner may read.

        It blocks, and needs no event loop. A follower hears of what other processes store within some 20 ms where
        files can be watched (not in the mode `write`, where there is nothing to hear), or else within
        `look_afresh_seconds`.

        Raises:
            UnusableLogError: it can't be; its text is one line that says why and what to do. The file is untouched.
        """
        self._file = SqliteFile(path, mode, synchronous=synchronous)
        try:
            self._reader = SqliteReader(path, "read")
        except BaseException:
            self._file.close()
            raise
        self.epoch = self._file.epoch
        self._codec, self._mode, self._look_afresh_seconds = codec, mode, look_afresh_seconds
        self._writing, self._reading, self._aside = (
            ThreadPoolExecutor(1, f"log-{name}") for name in ("write", "read", "snapshot")
        )
        self._bell = Bell(self._file.path) if mode != "read" else None
        self._loop: asyncio.AbstractEventLoop | None = None  # the followers'
        self._listening: asyncio.Task[None] | None = None
        self._grown = asyncio.Event()
        self._is_closed = False
        if mode == "write":
            self._tidy()  # what somebody began to trim and did not finish

    @property
    def base(self) -> Tip:
        """Up to where the commits are gone, as of the last append or read; see `EventLog.base`."""
        return max(self._file.base, self._reader.base)

    async def append(self, commits: Sequence[Commit], *, expected: Tip) -> Tip:
        """Store `commits` in one transaction; see `EventLog.append`."""
        return await self._on(self._writing, self._append, commits, expected)

    async def read(self, after: Position, limit: int) -> Sequence[Commit]:
        """Commits behind `after`; see `EventLog.read`. Never waits for an append."""
        return await self._on(self._reading, self._reader.read, after, limit)

    async def follow(self, after: Position) -> AsyncIterator[Commit]:
        """Each commit behind `after`, whichever process stored it; see `EventLog.follow`."""
        self._attend()
        while not self._is_closed:
            grown = self._grown
            try:
                commits = await self.read(after, FOLLOWED_PAGE)
            except LogUnavailableError:
                if self._is_closed:
                    return
                raise
            for commit in commits:
                yield commit
                after = commit.position
            if not commits:
                with suppress(TimeoutError):
                    await asyncio.wait_for(grown.wait(), self._look_afresh_seconds)

    async def tip(self) -> Tip:
        """The last commit; see `EventLog.tip`."""
        return await self._on(self._reading, self._reader.tip)

    async def newest_snapshot(self) -> Snapshot | None:
        """The newest snapshot that can be read; see `EventLog.newest_snapshot`."""
        return await self._on(self._reading, self._reader.load_snapshot, None, self._codec)

    async def save(self, snapshot: Snapshot) -> None:
        """Keep `snapshot`, if it can be; see `EventLog.save`. Appends go on meanwhile."""
        with suppress(LogUnavailableError, UnusableLogError):
            await self._on(self._aside, self._file.save, snapshot, self._codec, self._call)
            self._tidy()

    async def compact(self, snapshot: Snapshot) -> None:
        """Forget the commits up to `snapshot`; see `EventLog.compact`. Appends go on meanwhile, of any process.

        The commits count as gone at once, for every reader. Deleting them takes a while; if it is cut short, it is
        done by the next call, or the next start of a broker.
        """
        await self._on(self._aside, self._file.compact, snapshot, self._codec, self._call)
        await asyncio.wrap_future(self._tidy())
        await self._on(self._writing, self._file.checkpoint)

    @property
    def redacted_to(self) -> Position:
        """As of the last `redact` here, or of the opening; see `EventLog.redacted_to`."""
        return self._file.redacted_to

    async def redact(self, positions: Sequence[Position], *, done_to: Position) -> None:
        """Forget what was said there; see `EventLog.redact`. No byte of it is left in the file or its WAL then.

        Raises:
            LogUnavailableError: it was not done; or it was, and another process keeps the WAL from being emptied.
        """
        await self._on(self._writing, self._redact, positions, done_to)

    async def record(self, delivery_records: Sequence[DeliveryRecord]) -> None:
        """Store `delivery_records`, if they can be; see `EventLog.record`."""
        if delivery_records and self._mode != "read":
            with suppress(LogUnavailableError, UnusableLogError):
                await self._on(self._writing, self._file.record, delivery_records)

    async def close(self) -> None:
        """Finish what was begun, but snapshots, and give the file back; see `EventLog.close`."""
        if self._is_closed:
            return
        self._is_closed = True
        self._wake_followers()
        if self._listening is not None:
            self._listening.cancel()
        await asyncio.to_thread(self._close)

    # In the event loop

    async def _on(self, thread: ThreadPoolExecutor, work: Callable[[*Ts], T], *args: *Ts) -> T:
        if self._is_closed:
            raise self._closed_error()
        return await asyncio.get_running_loop().run_in_executor(thread, work, *args)

    def _attend(self) -> None:
        """Let followers hear of what is stored, here and in other processes."""
        self._loop = asyncio.get_running_loop()
        if self._mode != "write" and self._listening is None and not self._is_closed:
            self._listening = self._loop.create_task(listen(self._file.path, self._wake_followers))

    def _wake_followers(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    # In the thread that writes

    def _append(self, commits: Sequence[Commit], expected: Tip) -> Tip:
        tip = self._file.append(commits, expected=expected)
        # Here rather than where it is awaited: what is stored is to be heard of also when its caller is gone.
        assert self._bell is not None, "a log that is read takes no commits"
        self._bell.ring()
        if self._loop is not None:
            with suppress(RuntimeError):  # that loop is over, and its followers with it
                self._loop.call_soon_threadsafe(self._wake_followers)
        return tip

    def _redact(self, positions: Sequence[Position], done_to: Position) -> None:
        self._file.redact(positions, done_to=done_to)
        if not self._file.checkpoint():
            kept = f"{self._file.name}: the texts are replaced, but another process keeps them in its WAL"
            raise LogUnavailableError(f"{kept}; end that one, and do it again")

    def _tidy(self) -> Future[None]:
        """Delete what counts as gone, piece by piece, so that appends get their turn; done when nothing is left."""
        done: Future[None] = Future()

        def piece() -> None:
            try:
                began = time.perf_counter()
                if not self._file.purge():
                    done.set_result(None)
                    return
                if self._mode == "share":
                    time.sleep(time.perf_counter() - began)  # a broker's appends wait outside of this thread's queue
                submit()
            except (LogUnavailableError, UnusableLogError) as error:
                done.set_exception(error)

        def submit() -> None:
            try:
                self._writing.submit(piece)
            except RuntimeError:  # closed meanwhile; the next start goes on with it
                done.set_exception(self._closed_error())

        submit()
        return done

    # In other threads

    def _call(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As `work` in the thread that writes; a log that closes does not wait for a snapshot."""
        if self._is_closed:
            raise self._closed_error()
        return self._writing.submit(work, *args, **kwargs).result()

    def _closed_error(self) -> LogUnavailableError:
        return LogUnavailableError(f"{self._file.name}: the log is closed")

    def _close(self) -> None:
        for thread in (self._aside, self._writing, self._reading):
            thread.shutdown()
        self._reader.close()
        self._file.close()
        if self._bell is not None:
            self._bell.close()
