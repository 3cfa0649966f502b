"""Worker processes for every core. A forked process shares the memory of this one without a copy."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")

Job = Callable[[], T]


def cores() -> int:
    """Return the number of processes that can run at once; 1 if the system can't fork."""
    return (os.cpu_count() or 1) if "fork" in multiprocessing.get_all_start_methods() else 1


class Task(Generic[T]):
    """A job in a forked process. Its changes are not seen here; it must return, not raise."""

    def __init__(self, job: Job[T]) -> None:
        fork = multiprocessing.get_context("fork")
        self._results, there = fork.Pipe(duplex=False)
        self._process = fork.Process(target=_work, args=(job, there), daemon=True)
        with _no_interrupt():
            self._process.start()
        there.close()

    def is_done(self) -> bool:
        """Return true if `result` would not wait, or was called before."""
        return self._results.closed or self._results.poll()

    def result(self) -> T:
        """Wait for the job's result and return it. Must be called once at most."""
        try:
            result: T = self._results.recv()
        finally:
            self.end()
        return result

    def end(self) -> None:
        """End the process, finished or not."""
        self._process.terminate()
        self._process.join()
        self._results.close()


class WorkerPool:
    """At most `size` worker processes at a time. They end with the pool."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._tasks: list[Task[Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.end()

    def is_idle(self) -> bool:
        """Return true if another job can start at once."""
        return sum(not task.is_done() for task in self._tasks) < self.size

    def submit(self, job: Job[T]) -> Task[T]:
        """Start `job` on a copy of the present memory."""
        task = Task(job)
        self._tasks.append(task)
        return task


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Block SIGINT while forking: a terminal sends it to all processes, and a worker must never get it.

    This process handles the signal afterwards, and ends the workers.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(job: Job[object], results: Any) -> None:
    results.send(job())
    results.close()
