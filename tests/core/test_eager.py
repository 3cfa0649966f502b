"""Work that begins at once, and is a task only where it has to wait."""

from __future__ import annotations

import asyncio

import pytest

from broker.eager import eagerly
from tests.support.logs import run


def test_what_waits_for_nothing_is_done_at_once() -> None:
    """No turn of the event loop goes by, and there is no task."""
    done: list[str] = []

    async def work() -> None:
        done.append("all")

    async def scenario() -> None:
        assert eagerly(work()) is None
        assert done == ["all"]

    run(scenario)


def test_what_has_to_wait_goes_on_as_a_task() -> None:
    """However often it waits, for a future or for a turn, and it is given what it waited for."""
    done: list[object] = []

    async def work(*futures: asyncio.Future[str]) -> None:
        done.append("begun")
        for future in futures:
            done.append(await future)
            await asyncio.sleep(0)
        done.append("ended")

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        first, second = loop.create_future(), loop.create_future()
        task = eagerly(work(first, second))
        assert task is not None
        assert done == ["begun"]
        first.set_result("one")
        await asyncio.wait({task}, timeout=0)
        second.set_result("two")
        await task
        assert done == ["begun", "one", "two", "ended"]

    run(scenario)


def test_what_it_waits_for_may_fail() -> None:
    """The work gets the error where it waits, and may go on."""
    seen: list[str] = []

    async def work(future: asyncio.Future[None]) -> None:
        try:
            await future
        except OSError as error:
            seen.append(str(error))
        await asyncio.sleep(0)
        raise ValueError("of its own")

    async def scenario() -> None:
        future = asyncio.get_running_loop().create_future()
        task = eagerly(work(future))
        assert task is not None
        future.set_exception(OSError("gone"))
        with pytest.raises(ValueError, match="of its own"):
            await task
        assert seen == ["gone"]

    run(scenario)


def test_what_it_raises_before_it_waits_is_for_whoever_began_it() -> None:
    """There is no task that could hold it."""

    async def work() -> None:
        raise ValueError("at once")

    async def scenario() -> None:
        with pytest.raises(ValueError, match="at once"):
            eagerly(work())

    run(scenario)


@pytest.mark.parametrize("turns", [0, 1, 2], ids=["before its first turn", "while it waits", "while it waits again"])
def test_cancelling_the_task_cancels_the_work(turns: int) -> None:
    """Where it waits, so it can clean up; also if the task has not had a turn yet."""
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(0)
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            seen.append("cleaned up")

    async def scenario() -> None:
        task = eagerly(work())
        assert task is not None
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert seen == ["cancelled", "cleaned up"]

    run(scenario)
