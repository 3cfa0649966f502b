"""Without faults, the simulated store keeps the contract of a log, also over a slow network."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

import pytest

from events.log import EventLog
from tests.simulation.channel import SimChannel
from tests.simulation.disk import Disk
from tests.simulation.faults import Faults
from tests.simulation.loop import SimLoop, World
from tests.simulation.sometimes import Sometimes
from tests.simulation.store_client import StoreClient
from tests.support import log_contract, shared_log_contract
from tests.support.log_contract import LogContract
from tests.support.shared_log_contract import SharedLogContract
from tests.support.turns import TurnLine


class InAWorld(LogContract):
    """Tests of the contract, on a simulated loop."""

    is_shared = False

    @pytest.fixture(autouse=True)
    def _in_a_world(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = World("contract")
        self.loop = SimLoop(self.world, "process")
        self.numbers = count()
        for module in (log_contract, shared_log_contract):
            monkeypatch.setattr(module, "run", self._run)

    async def make(self) -> EventLog:
        """Return an empty log, on a disk of its own."""
        return self.client_of(Disk(f"e{next(self.numbers)}", TurnLine(self.world.after)))

    def client_of(self, disk: Disk) -> StoreClient:
        """Return a process's access to `disk`."""
        faults = Faults("contract")
        faults.on = False
        channel = SimChannel(self.world, faults) if self.is_shared else None
        return StoreClient(disk, self.loop, faults, Sometimes(), channel=channel)

    def _run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        tasks = []
        self.loop.call_soon(lambda: tasks.append(self.loop.create_task(work())))
        assert self.world.run(lambda: bool(tasks) and tasks[0].done(), steps_max=100_000, until_ms=60_000)
        tasks[0].result()


class TestStoreClient(InAWorld):
    """The store of a single broker."""


class TestSharedStoreClient(InAWorld, SharedLogContract):
    """The store of several brokers."""

    is_shared = True

    async def make_another(self, log: EventLog) -> EventLog:
        """Return another broker's access."""
        assert isinstance(log, StoreClient)
        return self.client_of(log.disk)
