"""One round: an engine, workers, a proxy and people of its own; faults for a while; then the verdict."""

import asyncio
import random
import time
from typing import Final

from benchmarks import engines
from benchmarks.chaos.deployment import Deployment
from benchmarks.chaos.official import OfficialParticipant
from benchmarks.chaos.options import ChaosOptions
from benchmarks.chaos.people import Listener, ToolUser, Vanishing
from benchmarks.chaos.run import ChaosRun
from benchmarks.chaos.verdict import LogJudge, Outage, Verdict, read_log
from benchmarks.wire import MODERN, SESSIONS

LEFT_WITHIN_S: Final = 120.0
RESTARTED_AFTER_S: Final = 0.5


class Round:
    """One round."""

    def __init__(self, options: ChaosOptions, number: int) -> None:
        self._options = options
        self._rng = random.Random(f"{options.seed}/{number}")
        self._seed = options.seed * 1_000 + number
        self._spares_one = number % 2 == 1
        self._outages: list[Outage] = []

    async def execute(self) -> Verdict:
        """Run it, and return the verdict."""
        engine = engines.started(self._options.store)
        try:
            deployment = Deployment(engine.url, self._options.workers, self._options.flags())
            try:
                await deployment.start()
                run = ChaosRun(deployment, self._options, self._seed)
                await self._faults_among_people(engine, deployment, run)
            finally:
                deployment.stop()
            log = await read_log(engine.url)
            verdict = LogJudge(log, run, deployment, self._outages).judge()
            self._add_what_people_saw(verdict, run)
            verdict.other += deployment.faults()
            verdict.counts["workers killed"] = len(deployment.kills)
            verdict.counts["engine killed"] = len(self._outages)
            deployment.remove()
            return verdict
        finally:
            engine.remove()

    def _add_what_people_saw(self, verdict: Verdict, run: ChaosRun) -> None:
        for problem in run.ledger.problems:
            is_departure = "is gone: " in problem
            (verdict.taken_out if is_departure else verdict.lost).append(problem)

    async def _faults_among_people(self, engine: engines.Engine, deployment: Deployment, run: ChaosRun) -> None:
        people = {asyncio.create_task(person.live()) for person in self._people(run)}
        try:
            faults = asyncio.create_task(self._faults(engine, deployment))
            await asyncio.wait((faults, run.failed), return_when="FIRST_COMPLETED")
            faults.cancel()
            await asyncio.wait((faults,))
            if not faults.cancelled():
                faults.result()
            run.is_open = False
            left = asyncio.create_task(asyncio.wait(people))
            await asyncio.wait((left, run.failed), timeout=LEFT_WITHIN_S, return_when="FIRST_COMPLETED")
            late = sum(not person.done() for person in people)
            left.cancel()
            if late and not run.failed.done():
                run.ledger.problem(f"{late} people could not leave in {LEFT_WITHIN_S:.0f} s")
        finally:
            for person in people:
                person.cancel()
            await asyncio.gather(*people, return_exceptions=True)
        if not run.failed.done():
            run.ledger.finish()

    def _people(self, run: ChaosRun) -> list[OfficialParticipant]:
        options, eras = self._options, (SESSIONS, MODERN)
        listeners, stay = options.listeners, options.people
        people: list[OfficialParticipant] = [Listener(run, n, eras[n % 2]) for n in range(listeners)]
        people += [ToolUser(run, n, eras[n % 2]) for n in range(listeners, stay)]
        vanishing = range(stay, stay + options.vanishing)
        return people + [Vanishing(run, n, eras[n % 2], is_lonely=n // 2 % 2 == 0) for n in vanishing]

    async def _faults(self, engine: engines.Engine, deployment: Deployment) -> None:
        """Kill a worker every few seconds, and the engine once, however long that takes; leave all of them running.

        A worker that has just begun judges nobody. So in every other round one is spared, which can judge all the time.
        """
        mortal = deployment.workers[1:] if self._spares_one else deployment.workers
        until = time.monotonic() + self._options.faults_s
        engine_at = until - self._options.faults_s * self._rng.uniform(0.3, 0.7)
        while (now := time.monotonic()) < until or not self._outages:
            pause = self._rng.uniform(*self._options.worker_killed_every_s)
            if not self._outages and now + pause >= engine_at:
                await asyncio.sleep(max(0.0, engine_at - now))
                await self._kill_engine(engine)
            await asyncio.sleep(pause)
            worker = self._rng.choice(mortal)
            deployment.kill(worker)
            await asyncio.sleep(RESTARTED_AFTER_S)
            worker.start()
            await worker.until_ready()
        for worker in deployment.workers:
            if worker.status() is not None:
                raise RuntimeError(f"{worker.name} has ended by itself: {worker.status()}")

    async def _kill_engine(self, engine: engines.Engine) -> None:
        outage = Outage(time.time(), time.time())
        await engine.kill()
        await asyncio.sleep(self._options.engine_down_s)
        await engine.start()
        outage.to_s = time.time()
        self._outages.append(outage)
