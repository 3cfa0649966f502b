"""The stepped loop: the choice of the next loop, the movement of time, and the end of a dead process."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest

from tests.simulation.loop import Failed, SimLoop, World, sleep_ms
from tests.support.fake_clock import settle


def started(loop: SimLoop, work: Coroutine[Any, Any, Any]) -> None:
    """Run `work` as a task."""
    loop.call_soon(loop.create_task, work)


def ran(world: World, until_ms: float = 1_000) -> None:
    """Run everything."""
    world.run(lambda: False, steps_max=10_000, until_ms=until_ms)


def test_within_a_loop_callbacks_keep_their_order() -> None:
    """Callbacks run first in, first out, for any seed."""
    for seed in range(20):
        world, order = World(str(seed)), []
        loop = SimLoop(world, "one")
        for number in range(10):
            loop.call_soon(order.append, number)
        ran(world)
        assert order == list(range(10))


def test_between_loops_the_seed_decides() -> None:
    """Different seeds give many orders, and the same seed the same order."""

    def order_of(seed: str) -> tuple[str, ...]:
        world, order = World(seed), list[str]()
        for name in "abc":
            loop = SimLoop(world, name)
            for _ in range(3):
                loop.call_soon(order.append, name)
        ran(world)
        return tuple(order)

    orders = [order_of(str(seed)) for seed in range(50)]
    assert len(set(orders)) > 30
    assert orders == [order_of(str(seed)) for seed in range(50)]


def test_time_moves_only_when_nobody_has_anything_to_do() -> None:
    """Time moves to the next due moment."""
    world, seen = World("time"), []
    loop = SimLoop(world, "one")

    async def work() -> None:
        for delay_ms in (5, 0.5, 100):
            await sleep_ms(delay_ms)
            for _ in range(3):
                await settle(1)
                seen.append(world.now_ms)

    started(loop, work())
    ran(world)
    assert seen == pytest.approx([5] * 3 + [5.5] * 3 + [105.5] * 3)


def test_the_dead_do_nothing_more() -> None:
    """Its tasks and timers are gone, and the cleanup of a task has no effect on a living loop."""
    world, seen = World("death"), []
    loop, other = SimLoop(world, "one"), SimLoop(world, "other")

    async def work() -> None:
        try:
            loop.call_later(0.2, seen.append, "timer")
            await sleep_ms(100)
            seen.append("task")
        finally:
            loop.call_soon(seen.append, "breath")
            await settle(1)

    started(loop, work())
    other.call_later(0.05, loop.kill)
    ran(world)
    assert seen == []
    assert loop.tasks() == []


def test_a_paused_loop_goes_on_where_it_was() -> None:
    """Its timers are late, and nothing is lost."""
    world, seen = World("pause"), []
    loop, other = SimLoop(world, "one"), SimLoop(world, "other")

    async def work() -> None:
        for _ in range(3):
            await sleep_ms(10)
            seen.append(world.now_ms)

    started(loop, work())
    other.call_later(0.015, loop.pause)
    other.call_later(0.5, loop.resume)
    ran(world)
    assert seen == pytest.approx([10, 500, 510])


@pytest.mark.parametrize("callbacks", [1, 2, 5])
def test_a_fuse_burns_by_callbacks(callbacks: int) -> None:
    """A process can be killed between any two callbacks."""
    world, seen = World("fuse"), []
    loop = SimLoop(world, "one")
    for number in range(9):
        loop.call_soon(seen.append, number)
    loop.fuse, loop.on_fuse = callbacks, loop.kill
    ran(world)
    assert seen == list(range(callbacks - 1))


def test_an_exception_that_nobody_awaits_ends_the_run() -> None:
    """An exception without an awaiter is a bug in its process."""
    world = World("fault")

    async def work() -> None:
        raise ValueError("boom")

    async def more() -> None:
        for _ in range(100):
            await settle(1)
            loop.tasks()

    loop = SimLoop(world, "one")
    started(loop, work())
    started(loop, more())
    with pytest.raises(Failed, match="boom"):
        ran(world)
