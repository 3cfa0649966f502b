"""Work for every core, on what is in memory already: a process that is forked has it all without a copy."""

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
    """How many processes can work at once; 1 where none can be forked."""
    return (os.cpu_count() or 1) if "fork" in multiprocessing.get_all_start_methods() else 1


class Task(Generic[T]):
    """A job at work in a process of its own: nothing that it changes is seen here, and it must answer, not raise."""

    def __init__(self, job: Job[T]) -> None:
        fork = multiprocessing.get_context("fork")
        self._answer, there = fork.Pipe(duplex=False)
        self._process = fork.Process(target=_work, args=(job, there), daemon=True)
        with _no_interrupt():
            self._process.start()
        there.close()

    def is_done(self) -> bool:
        """Whether `answer` need not wait, or has been asked."""
        return self._answer.closed or self._answer.poll()

    def answer(self) -> T:
        """What the job answers, once that is there. To be asked once."""
        try:
            answered: T = self._answer.recv()
        finally:
            self.end()
        return answered

    def end(self) -> None:
        """Let it be over, done or not."""
        self._process.terminate()
        self._process.join()
        self._answer.close()


class WorkerPool:
    """Processes beside this one, of which at most so many work at once. They end with it."""

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

    def has_time(self) -> bool:
        """Whether one of them could begin something."""
        return sum(not task.is_done() for task in self._tasks) < self.size

    def begin(self, job: Job[T]) -> Task[T]:
        """Let one of them do `job`, on what is in memory now."""
        task = Task(job)
        self._tasks.append(task)
        return task


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Hold back control-C, which a terminal sends to all of a command's processes; one that is forked never hears it.

    Its end is this process's to say, which hears of it afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(job: Job[object], answer: Any) -> None:
    answer.send(job())
    answer.close()
