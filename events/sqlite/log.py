"""The log in a file: `EventLog` over `SqliteFile`. Its calls block, so each kind has a thread of its own.

One thread writes, one reads, one encodes snapshots. So a slow disk does not stall the event loop, and a read does not
wait for an append. Appends go on while a snapshot is written: its parts take turns with them.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from functools import partial
from typing import ParamSpec, TypeVar, TypeVarTuple

from events.commit import Commit, Tip
from events.ids import Position
from events.log import DeliveryRecord, LogUnavailableError, OperationRecord, Snapshot, StateCodec, UnusableLogError
from events.session_records import SessionRecords
from events.sqlite.file import SqliteFile
from events.sqlite.open import SURVIVES, Mode, SynchronousMode
from events.sqlite.reader import SqliteReader
from events.sqlite.session_records import SqliteSessionRecords
from events.sqlite.wakeup import Wakeup, watch

FOLLOWED_PAGE = 500
POLL_SECONDS = 1.0

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class SqliteLog:
    """`EventLog` over a file. For the durability of `append` see `SynchronousMode`.

    Every method but `save`, `record` and `close` raises `LogUnavailableError` while the file can't be reached (a full
    disk, a disk error, a lock held for longer than 0.8 s), and works again once it can. It raises `UnusableLogError` if
    the file is damaged. A cancelled caller's work is done completely, or not at all if it had not begun.
    """

    is_shared = False
    is_contended = False
    coordination = None
    never_waits = False
    keeps_delivery_records = True
    keeps_operation_records = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        codec: StateCodec,
        *,
        mode: Mode = "write",
        synchronous: SynchronousMode = "FULL",
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """Open the log at `path`. The mode `write` makes a missing file, readable by its owner alone.

        Blocks, and needs no event loop. A follower gets other processes' commits within some 20 ms if files can be
        watched (not in the mode `write`, which has no other writers), else within `poll_seconds`.

        Raises:
            UnusableLogError: it can't be opened; one line gives the cause and the remedy. The file is untouched.
        """
        self._file = SqliteFile(path, mode, synchronous=synchronous)
        try:
            self._reader = SqliteReader(path, "read")
        except BaseException:
            self._file.close()
            raise
        self.epoch = self._file.epoch
        self.survives = SURVIVES[synchronous]
        self._codec, self._mode, self._poll_seconds = codec, mode, poll_seconds
        self._writing, self._reading, self._snapshotting = (
            ThreadPoolExecutor(1, f"log-{name}") for name in ("write", "read", "snapshot")
        )
        self._session_records = (
            SqliteSessionRecords(self._file, partial(self._on, self._writing)) if mode == "write" else None
        )
        self._wakeup = Wakeup(self._file.path) if mode != "read" else None
        self._loop: asyncio.AbstractEventLoop | None = None  # the followers'
        self._watching: asyncio.Task[None] | None = None
        self._grown = asyncio.Event()
        self._is_closed = False
        if mode == "write":
            self._purge()  # a trim that was cut short

    @property
    def base(self) -> Tip:
        """The last trimmed commit, as of the last append or read; see `EventLog.base`."""
        return max(self._file.base, self._reader.base)

    async def append(self, commits: Sequence[Commit], *, expected: Tip) -> Tip:
        """Store `commits` in one transaction; see `EventLog.append`."""
        return await self._on(self._writing, self._append, commits, expected)

    async def read(self, after: Position, limit: int) -> Sequence[Commit]:
        """Read the commits after `after`; see `EventLog.read`. Never waits for an append."""
        return await self._on(self._reading, self._reader.read, after, limit)

    async def follow(self, after: Position) -> AsyncIterator[Commit]:
        """Follow the commits after `after`, of all processes; see `EventLog.follow`."""
        self._start_watching()
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
                    async with asyncio.timeout(self._poll_seconds):  # `wait_for` may swallow a cancellation (3.11)
                        await grown.wait()

    async def tip(self) -> Tip:
        """Return the last commit's tip; see `EventLog.tip`."""
        return await self._on(self._reading, self._reader.tip)

    def turn(self, after: Position) -> AbstractAsyncContextManager[Sequence[Commit]]:
        """None: one broker writes a file; see `EventLog.turn`."""
        return nullcontext(())

    async def newest_snapshot(self) -> Snapshot | None:
        """Return the newest readable snapshot; see `EventLog.newest_snapshot`."""
        return await self._on(self._reading, self._reader.load_snapshot, None, self._codec)

    async def save(self, snapshot: Snapshot) -> None:
        """Keep `snapshot`, if possible; see `EventLog.save`. Appends go on meanwhile."""
        with suppress(LogUnavailableError, UnusableLogError):
            await self._on(self._snapshotting, self._file.save, snapshot, self._codec, self._call)
            self._purge()

    async def compact(self, snapshot: Snapshot) -> None:
        """Forget the commits up to `snapshot`; see `EventLog.compact`. Appends go on meanwhile, of any process.

        The commits count as gone at once, for every reader. Deleting them takes a while. If it is cut short, the next
        call or the next start of a broker finishes it.
        """
        await self._on(self._snapshotting, self._file.compact, snapshot, self._codec, self._call)
        await asyncio.wrap_future(self._purge())
        await self._on(self._writing, self._file.checkpoint)

    @property
    def redacted_to(self) -> Position:
        """See `EventLog.redacted_to`; as of the last `redact` here, or of the opening."""
        return self._file.redacted_to

    async def redact(self, positions: Sequence[Position], *, done_to: Position, snapshots_before: Position = 0) -> None:
        """Redact the texts at `positions`; see `EventLog.redact`. No byte of them is left in the file or its WAL then.

        Raises:
            LogUnavailableError: it was not done; or it was, and another process keeps the WAL from being emptied.
        """
        if snapshots_before:
            # In the same order when it is repeated, so that no content of a dropped snapshot is left either.
            await self._on(self._writing, self._file.drop_snapshots, snapshots_before)
            await asyncio.wrap_future(self._purge())
        await self._on(self._writing, self._redact, positions, done_to)

    async def record(
        self, delivery_records: Sequence[DeliveryRecord], operation_records: Sequence[OperationRecord] = ()
    ) -> None:
        """Store the records, if they can be; see `EventLog.record`."""
        if (delivery_records or operation_records) and self._mode != "read":
            with suppress(LogUnavailableError, UnusableLogError):
                await self._on(self._writing, self._file.record, delivery_records, operation_records)

    @property
    def session_records(self) -> SessionRecords:
        """See `EventLog.session_records`; of a log in the mode `write`."""
        assert self._session_records is not None, "a broker's own log is open for writing"
        return self._session_records

    async def probe(self) -> None:
        """Write something small to the disk, and check that the file is in place; see `EventLog.probe`."""
        await self._on(self._writing, self._file.probe)

    async def close(self) -> None:
        """Finish all work but snapshots, and release the file; see `EventLog.close`."""
        if self._is_closed:
            return
        self._is_closed = True
        self._wake_followers()
        if self._watching is not None:
            self._watching.cancel()
        await asyncio.to_thread(self._close)

    # In the event loop

    async def _on(self, thread: ThreadPoolExecutor, work: Callable[[*Ts], T], *args: *Ts) -> T:
        if self._is_closed:
            raise self._closed_error()
        return await asyncio.get_running_loop().run_in_executor(thread, work, *args)

    def _start_watching(self) -> None:
        """Let followers be woken by appends, here and in other processes."""
        self._loop = asyncio.get_running_loop()
        if self._mode != "write" and self._watching is None and not self._is_closed:
            self._watching = self._loop.create_task(watch(self._file.path, self._wake_followers))

    def _wake_followers(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    # In the thread that writes

    def _append(self, commits: Sequence[Commit], expected: Tip) -> Tip:
        tip = self._file.append(commits, expected=expected)
        # Here and not after the await: a cancelled caller's commits must wake followers too.
        assert self._wakeup is not None, "a log that is read takes no commits"
        self._wakeup.notify()
        if self._loop is not None:
            with suppress(RuntimeError):  # that loop has ended, and its followers with it
                self._loop.call_soon_threadsafe(self._wake_followers)
        return tip

    def _redact(self, positions: Sequence[Position], done_to: Position) -> None:
        self._file.redact(positions, done_to=done_to)
        if not self._file.checkpoint():
            kept = f"{self._file.name}: the texts are replaced, but another process keeps them in its WAL"
            raise LogUnavailableError(f"{kept}; end that one, and do it again")

    def _purge(self) -> Future[None]:
        """Delete what counts as gone, piece by piece, so that appends get a turn. The future ends with the last."""
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
            except RuntimeError:  # closed meanwhile; the next start continues
                done.set_exception(self._closed_error())

        submit()
        return done

    # In other threads

    def _call(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in the writing thread; a closing log does not wait for a snapshot."""
        if self._is_closed:
            raise self._closed_error()
        return self._writing.submit(work, *args, **kwargs).result()

    def _closed_error(self) -> LogUnavailableError:
        return LogUnavailableError(f"{self._file.name}: the log is closed")

    def _close(self) -> None:
        for thread in (self._snapshotting, self._writing, self._reading):
            thread.shutdown()
        self._reader.close()
        self._file.close()
        if self._wakeup is not None:
            self._wakeup.close()
