"""One soak: a server, its clients, and the resources left when all of them have gone."""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from types import TracebackType
from typing import Final, Self

from benchmarks.server import DIRECTORY, Server, python
from benchmarks.soak.leftovers import held_by_an_idle_server, held_when_all_is_over
from benchmarks.soak.options import SoakOptions
from benchmarks.soak.participant import Participant
from benchmarks.soak.polling import PollingParticipant
from benchmarks.soak.readings import COLLECTIONS, POSITION, Reading, metrics
from benchmarks.soak.run import PROBLEMS_MAX, SoakRun
from benchmarks.soak.streaming import StreamingParticipant
from benchmarks.soak.teardown import ENDED_WITHIN_S, end_with_streams_open
from benchmarks.soak.verdict import Verdict
from benchmarks.wire import MODERN, SESSIONS

LOGS: Final = {"memory": "memory:", "sqlite": f"sqlite:{DIRECTORY}/soak.db"}
READ_EVERY_S: Final = 1.0
METRICS_EVERY: Final = 5
LEFT_WITHIN_S: Final = 180.0
VERIFIED_WITHIN_S: Final = 300.0


class Soak:
    """A server and its clients, as a context; the server ends with it."""

    def __init__(self, options: SoakOptions) -> None:
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.flags().items()]
        self.server = Server(
            *python("mcp_facade.main", "serve", f"--log={LOGS[options.log]}", "--log-format=json", *flags)
        )
        self.run = SoakRun(self.server.port, options)
        self.verdict = Verdict(options, self.run)
        self._options = options
        self._began = 0.0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the server."""
        self.server.stop()

    async def execute(self) -> Verdict:
        """Run all phases in turn and return the verdict; a fatal problem ends the run."""
        await self.server.ready()
        verdict = self.verdict
        verdict.before = await held_by_an_idle_server(self.server, self._options)
        self._began = time.monotonic()
        watching = asyncio.create_task(self._watch())
        try:
            own = time.process_time()
            await self._people()
            verdict.busy_own = (time.process_time() - own) / (time.monotonic() - self._began)
        finally:
            watching.cancel()
        if not self.run.failed.done():
            self.run.ledger.finish()
            verdict.after = await held_when_all_is_over(self.server, self._options, verdict.before)
            verdict.ending = await end_with_streams_open(self.server, self.run)
        else:
            await self.server.terminate(ENDED_WITHIN_S)
        self._look_into_the_log()
        return verdict

    async def _people(self) -> None:
        """Let clients come, stay, and leave when the time is up, or all at once after a failure."""
        tasks = {asyncio.create_task(person.live()) for person in self._everyone()}
        try:
            await asyncio.wait({self.run.failed}, timeout=self._options.minutes * 60)
            self.run.is_open = False
            left = asyncio.create_task(asyncio.wait(tasks))
            await asyncio.wait((left, self.run.failed), timeout=LEFT_WITHIN_S, return_when="FIRST_COMPLETED")
            left.cancel()
            late = sum(not task.done() for task in tasks)
            if late and not self.run.failed.done():
                self.run.ledger.problem(f"{late} people could not leave in {LEFT_WITHIN_S:.0f} s")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _everyone(self) -> list[Participant]:
        options = self._options
        eras = [SESSIONS, MODERN]
        people: list[Participant] = [
            StreamingParticipant(self.run, number, eras[number % 2]) for number in range(options.connections)
        ]
        numbers = range(options.connections, options.people)
        return people + [PollingParticipant(self.run, number, eras[number % 2]) for number in numbers]

    async def _watch(self) -> None:
        """Read the server's resources every second, and adjust the rate of talking."""
        seen: dict[str, float] = {}
        last: Reading | None = None
        for number in range(round(self._options.minutes * 60 / READ_EVERY_S)):
            await asyncio.sleep(max(0, self._began + (number + 1) * READ_EVERY_S - time.monotonic()))
            if number % METRICS_EVERY == 0:
                seen = metrics(await self.server.get("/metrics"))
            now = self._reading(seen)
            if now.at_s > self.verdict.warm_up_s:
                self.verdict.streams.append(seen["chat_broker_streams"])
            if last is not None:
                lately = self.run.latencies.lately
                busy = (now.cpu_s - last.cpu_s) / (now.at_s - last.at_s)
                self.run.rate.adjust(busy, statistics.median(lately) if lately else 0.0)
            last = now
            self.verdict.readings.append(now)
            if number % 30 == 29:
                self._say(now, seen)
            if self.run.ledger.problem_count > PROBLEMS_MAX and not self.run.failed.done():
                self.run.failed.set_result(None)

    def _reading(self, seen: dict[str, float]) -> Reading:
        server, at_s = self.server, time.monotonic() - self._began
        counted = int(seen[POSITION]), tuple(int(seen[name]) for name in COLLECTIONS)
        return Reading(at_s, server.resident_kb(), server.open_fds(), server.cpu_seconds(), *counted)

    def _say(self, now: Reading, seen: dict[str, float]) -> None:
        run = self.run
        said = (
            f"{now.at_s:4.0f} s: {run.counts['messages']:,} messages",
            f"{seen['chat_broker_streams']:,.0f} streams",
            f"{now.resident_kb / 1_024:,.1f} MiB",
            f"{now.open_fds:,} fds",
            f"{seen['chat_broker_tasks']:,.0f} tasks",
            f"{run.rate.think_s:.1f} s of thinking",
            f"{run.ledger.problem_count} problems",
        )
        print(", ".join(said), file=sys.stderr)

    def _look_into_the_log(self) -> None:
        """Check that the server logged no error, and that a log in a file passes `verify`."""
        for line in self.server.log_lines():
            if '"level":"error"' in line or "Traceback" in line or not _is_json(line):
                self.run.ledger.problem(f"the server logged {line[:500]}")
        if self._options.log == "sqlite":
            command = python("mcp_facade.main", "verify", self.server.placed(LOGS["sqlite"]))
            done = subprocess.run(command, capture_output=True, text=True, timeout=VERIFIED_WITHIN_S, check=False)
            self.verdict.verified = (done.stdout or done.stderr).strip()
            if done.returncode:
                self.run.ledger.problem(f"chat-broker verify: {self.verdict.verified}")


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
