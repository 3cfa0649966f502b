"""Two ways to talk: as fast as answers come, and at a fixed rate."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from benchmarks.clients import BenchmarkClients, Talker, now
from benchmarks.connections import WrongAnswer

MEASUREMENT_S_MAX: Final = 30.0

T = TypeVar("T")


async def closed_loop(crowd: BenchmarkClients, messages: int) -> float:
    """Have each client send when its last message is delivered; return the seconds it took."""
    done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    unsent = messages
    undelivered = messages

    def delivered(talker: Talker) -> None:
        nonlocal unsent, undelivered
        undelivered -= 1
        if unsent:
            unsent -= 1
            talker.send(0.0)
        elif not undelivered:
            done.set_result(now())

    began = now()
    first = crowd.talkers[:messages]
    unsent -= len(first)
    crowd.on_delivered = delivered
    for talker in first:
        talker.send(0.0)
    return await _within(crowd, done, lambda: undelivered) - began


async def fixed_rate(crowd: BenchmarkClients, rate_per_second: int, messages: int) -> list[float]:
    """Send by the clock, independent of the server; return each message's seconds to delivery, sorted.

    A talker with a message still in progress sends late, and the wait counts.
    """
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    seconds: list[float] = []
    due: dict[Talker, deque[float]] = {talker: deque() for talker in crowd.talkers}

    def delivered(talker: Talker) -> None:
        seconds.append(now() - talker.started)
        if due[talker]:
            talker.send(due[talker].popleft())
        if len(seconds) == messages:
            done.set_result(None)

    async def send_by_the_clock() -> None:
        began = now()
        for number in range(messages):
            await asyncio.sleep(began + number / rate_per_second - now())
            talker = crowd.talkers[number % len(crowd.talkers)]
            if talker.answered and talker.arrived:
                talker.send(now())
            else:
                due[talker].append(now())

    crowd.on_delivered = delivered
    await _within(crowd, asyncio.gather(send_by_the_clock(), done), lambda: messages - len(seconds))
    return sorted(seconds)


async def _within(crowd: BenchmarkClients, work: Awaitable[T], missing: Callable[[], int]) -> T:
    try:
        async with asyncio.timeout(MEASUREMENT_S_MAX):
            return await crowd.watch(work)
    except TimeoutError:
        late = f"{missing()} messages were not delivered in {MEASUREMENT_S_MAX:.0f} s"
        raise WrongAnswer(late) from None
