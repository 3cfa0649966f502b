"""One seed, from its beginning to its end."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from broker.broker import Broker
from projections.state import digest
from tests.simulation import rest
from tests.simulation.kept_host import KeptHost
from tests.simulation.listening_host import ListeningHost
from tests.simulation.log_lines import errors_found
from tests.simulation.loop import Failed, World
from tests.simulation.mischief import mischief
from tests.simulation.people import Person
from tests.simulation.plan import Plan
from tests.simulation.population import come, populate, vanishing
from tests.simulation.process import Process
from tests.simulation.surroundings import Surroundings

STEPS_MAX = 2_000_000
REST_MS = 240_000.0
ZOMBIES_MS = 30_000.0


class Outcome(NamedTuple):
    """The result of a seed."""

    seed: str
    steps: int
    commits: int
    calls: int
    starts: int
    digest: int
    state_digest: str
    faults: Counter[str]
    sometimes: Counter[str]
    failure: str | None
    seconds: float


class Simulation:
    """One seed."""

    def __init__(self, seed: str, broker_type: Callable[..., Broker] = Broker) -> None:
        self.plan = Plan(seed, broker_type)
        self.around = Surroundings(seed, self.plan)
        self.around.processes = [Process(self.around, number) for number in range(self.plan.brokers)]
        populate(self.around)

    @property
    def world(self) -> World:
        """The seed's time and trace."""
        return self.around.world

    def run(self) -> Outcome:
        """Run the seed; return its outcome, with any finding."""
        began = time.process_time()
        gc.disable()  # the time of a collection depends on earlier runs
        try:
            with errors_found(self.world.fail):
                self._run()
        except Failed:
            pass
        finally:
            gc.enable()
        around = self.around
        for process in around.processes:
            if hasattr(process, "loop") and not process.loop.dead:
                process.loop.kill()
        around.clients.kill()
        return Outcome(
            around.seed,
            self.world.steps,
            len(around.disk.commits),
            around.calls,
            sum(process.starts for process in around.processes),
            self.world.digest,
            digest(around.disk.state),
            around.faults.happened,
            around.sometimes.counts,
            self.world.failure,
            time.process_time() - began,
        )

    def _run(self) -> None:
        around, world = self.around, self.world
        for process in around.processes:
            process.start()
        for host in around.hosts:
            come(around, host)
        around.clients.call_soon(around.clients.create_task, mischief(around))
        around.clients.call_soon(around.clients.create_task, vanishing(around))
        world.run(lambda: False, steps_max=STEPS_MAX, until_ms=self.plan.duration_ms)
        self._calm()
        self._until("everyone is at rest", lambda: all(person.at_rest for person in around.people))
        world.run(lambda: False, steps_max=STEPS_MAX, until_ms=world.now_ms + ZOMBIES_MS)
        self._until("every broker is up", lambda: all(process.is_up for process in around.processes))
        self._each("everyone has caught up", rest.catch_up)
        around.strict_since_ms = world.now_ms
        self._each("ghosts have come", rest.haunt)
        self._each("everyone has looked for someone", rest.meet)
        self._each("everyone knows whom they met", rest.catch_up)
        rest.check_met(around)
        self._each("no ghost is left", rest.linger)
        rest.check_met(around)
        for _ in range(rest.ROUNDS):
            self._each("everyone has spoken", rest.talk)
        self._each("everyone has heard", rest.catch_up)
        world.run(lambda: False, steps_max=STEPS_MAX, until_ms=world.now_ms + 2_000)
        rest.check_streams(around)
        self._fail_now()
        self._each("everyone has left", rest.leave)
        self._each("everyone knows it", rest.know)
        rest.check_idle(around)
        for host in around.hosts:
            if isinstance(host, KeptHost | ListeningHost):
                host.wants_stream = False
                host.hang_up()
        world.run(lambda: False, steps_max=STEPS_MAX, until_ms=world.now_ms + self.plan.longest_grace_ms)
        rest.check_states(around)
        rest.check_messages(around)
        self._fail_now()
        around.over = True
        for process in around.processes:
            process.shut_down()
        self._until("every broker has ended", lambda: all(process.loop.dead for process in around.processes))

    def _calm(self) -> None:
        around = self.around
        around.world.note("world", "from now on nothing goes wrong")
        around.faults.on = around.faulty = False
        around.calm_since_ms = around.world.now_ms
        for process in around.processes:
            process.loop.fuse = 0
            process.loop.resume()

    def _each(self, what: str, do: Callable[[Person], Coroutine[Any, Any, None]]) -> None:
        tasks: list[asyncio.Task[None]] | None = None

        def begin() -> None:
            nonlocal tasks
            people = [person for person in self.around.people if not person.vanished]
            tasks = [self.around.clients.create_task(do(person)) for person in people]

        self.around.clients.call_soon(begin)
        self._until(what, lambda: tasks is not None and all(task.done() for task in tasks))

    def _until(self, what: str, holds: Callable[[], bool]) -> None:
        world = self.world
        if not world.run(holds, steps_max=world.steps + STEPS_MAX, until_ms=world.now_ms + REST_MS):
            world.fail(f"nothing goes wrong any more, and it never came to this: {what}")
            self._fail_now()

    def _fail_now(self) -> None:
        if self.world.failure is not None:
            raise Failed(self.world.failure)
