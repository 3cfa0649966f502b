"""Work for every core, on what is in memory already: a process that is forked has it all without a copy."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

T = TypeVar("T")

Job = Callable[[], T]


def cores() -> int:
    """How many processes can work at once; 1 where none can be forked."""
    return (os.cpu_count() or 1) if "fork" in multiprocessing.get_all_start_methods() else 1


def in_order(jobs: Iterable[Job[T]], workers: int) -> Iterator[T]:
    """What each of `jobs` answers, in their order, with at most so many at work at once.

    A job is begun as soon as it is drawn and a worker is free, in a process of its own: nothing that it changes is
    seen here, and it must answer rather than raise. Those at work are ended with the iterator.
    """
    at_work: deque[tuple[BaseProcess, Connection]] = deque()
    try:
        for job in jobs:
            if len(at_work) == workers:
                yield _answer(*at_work.popleft())
            at_work.append(_begun(job))
        while at_work:
            yield _answer(*at_work.popleft())
    finally:
        for process, answer in at_work:
            process.terminate()
            process.join()
            answer.close()


def _begun(job: Job[object]) -> tuple[BaseProcess, Connection]:
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)
    process = fork.Process(target=_work, args=(job, there), daemon=True)
    process.start()
    there.close()
    return process, here


def _work(job: Job[object], answer: Connection) -> None:
    answer.send(job())
    answer.close()


def _answer(process: BaseProcess, answer: Connection) -> Any:
    with answer:
        try:
            return answer.recv()
        finally:
            process.join()
