"""The channel between brokers. Notes travel to it and on to each subscriber, in order; each may be late or lost."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from events.log import LogUnavailableError
from tests.simulation.faults import Faults
from tests.simulation.loop import SimLoop, World

ANSWER_MS = 2.0
LATE_MS = 400.0
DEAF_MS = 20_000.0


class _Subscription:
    """One broker's subscription; notes queue up in it, also while the process is paused."""

    def __init__(self, loop: SimLoop, on_broken: Callable[[], None]) -> None:
        self.loop = loop
        self.on_broken = on_broken
        self.arrived: deque[bytes] = deque()
        self.has_news = asyncio.Event()
        self.is_broken = False
        self.last_ms = 0.0  # the arrival of the last note under way

    def arrive(self, note: bytes | None) -> None:
        """Take a note, or `None` for the end of the connection."""
        if self.loop.dead or self.is_broken:
            return
        if note is None:
            self.is_broken = True
            self.on_broken()
        else:
            self.arrived.append(note)
        self.has_news.set()


class SimChannel:
    """The shared part of the channel."""

    def __init__(self, world: World, faults: Faults) -> None:
        self.world = world
        self.faults = faults
        self.subscriptions: list[_Subscription] = []

    def spread(self, note: bytes) -> None:
        """Forward an arrived note to every subscriber."""
        self.subscriptions = [each for each in self.subscriptions if not (each.loop.dead or each.is_broken)]
        for subscription in self.subscriptions:
            if self.faults.strike("channel broken"):
                subscription.arrive(None)
                continue
            late = self.faults.strike("note late")
            at_ms = self.world.now_ms + self.faults.some(LATE_MS if late else ANSWER_MS)
            subscription.last_ms = max(subscription.last_ms, at_ms)
            self.world.at(subscription.last_ms, subscription.arrive, note)


class SimCoordination:
    """One process's `Coordination`."""

    def __init__(self, channel: SimChannel, loop: SimLoop, is_cut: Callable[[], bool]) -> None:
        self._channel = channel
        self._loop = loop
        self._world = loop.world
        self._is_cut = is_cut
        self._last_ms = 0.0
        self._deaf_until_ms = 0.0
        self._subscription: _Subscription | None = None

    async def publish(self, note: bytes) -> None:
        """See `Coordination.publish`."""
        world, answer = self._world, self._loop.create_future()
        faults = self._channel.faults
        is_lost, is_unheard = faults.strike("note not sent"), faults.strike("note not sent")
        self._last_ms = max(self._last_ms, world.now_ms + faults.some(ANSWER_MS))
        back_ms = faults.some(ANSWER_MS)

        def arrive() -> None:
            sent = not (is_lost or self._is_cut())
            if sent:
                self._channel.spread(note)
            world.after(back_ms, come_back, sent and not is_unheard)

        def come_back(is_sent: bool) -> None:
            if self._loop.dead or answer.done():
                return
            if is_sent:
                answer.set_result(None)
            else:
                answer.set_exception(LogUnavailableError("the channel does not answer"))

        world.at(self._last_ms, arrive)
        await answer

    async def subscribe(self) -> AsyncIterator[bytes]:
        """See `Coordination.subscribe`."""
        asked = self._loop.create_future()
        self._world.after(self._channel.faults.some(ANSWER_MS), lambda: asked.done() or asked.set_result(None))
        await asked
        if self._is_cut() or self._world.now_ms < self._deaf_until_ms:
            raise LogUnavailableError("the channel does not answer")
        subscription = self._subscription = _Subscription(self._loop, self._break)
        self._channel.subscriptions.append(subscription)
        while True:
            while subscription.arrived:
                yield subscription.arrived.popleft()
            if subscription.is_broken:
                raise LogUnavailableError("the channel broke")
            subscription.has_news.clear()
            await subscription.has_news.wait()

    def _break(self) -> None:
        """Hear nothing for a while; notes can still be sent."""
        self._deaf_until_ms = self._world.now_ms + self._channel.faults.some(DEAF_MS)

    def cut(self) -> None:
        """End the subscription because the process can't reach the store."""
        if self._subscription is not None:
            self._subscription.arrive(None)

    async def time_ms(self) -> int:
        """See `Coordination.time_ms`; the clocks of the simulated processes differ from the store's."""
        return int(self._world.now_ms)

    async def renew_epoch(self, was: str) -> None:
        """See `Coordination.renew_epoch`; never called, since no log of the simulation is rolled back."""
        raise AssertionError("the log was not rolled back")
