"""One broker's process: the whole application as under uvicorn, on a loop and a clock of its own.

It can be killed between any two callbacks, paused and resumed, shut down, and have its clock set; the simulation then
starts it again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

from broker.batch import Accepted, CommandAnswer
from broker.broker import Broker
from broker.config import Settings
from events.commands import CancelMatch, Command, Disconnect
from events.commit import Commit
from events.ids import ConnectionId, Position
from events.log import EventLog
from mcp_facade.app import ChatApp
from projections.state import State
from tests.simulation.attendance import Attendance
from tests.simulation.freshness import Freshness
from tests.simulation.loop import Handle, SimLoop, sleep_ms
from tests.simulation.matches import Matches
from tests.simulation.network import Exchanged
from tests.simulation.sdk import ModernRequests
from tests.simulation.sometimes import Sometimes
from tests.simulation.store_client import StoreClient
from tests.simulation.surroundings import Surroundings
from tests.simulation.watched_memory import watched_memory_log

WALL_MS = 1_790_000_000_000
RESTART_MS = 1_500.0


class ProcessClock:
    """The simulated time, and a wall clock that can be set."""

    def __init__(self, loop: SimLoop, wall_ms: int) -> None:
        self._loop = loop
        self._world = loop.world
        self.wall_offset_ms = wall_ms

    def wall_ms(self) -> int:
        """Return Unix time by this machine's clock."""
        return self.wall_offset_ms + int(self._world.now_ms)

    def now_ms(self) -> float:
        """Return the simulated time."""
        return self._world.now_ms

    def call_at(self, at_ms: float, callback: Callable[[], None]) -> Handle:
        """See `Clock.call_at`."""
        handle = Handle(self._loop, callback, ())
        if not self._loop.dead:
            self._world.add_timer(at_ms, handle)
        return handle


class Trouble:
    """A time in which a process could tell the other brokers nothing."""

    def __init__(self, since_ms: float) -> None:
        self.since_ms = since_ms
        self.until_ms: float | None = None


class Process:
    """A broker with many starts; `is_up` while it takes requests."""

    def __init__(self, around: Surroundings, number: int) -> None:
        self.around = around
        self.number = number
        self.name = f"broker-{number}"
        self.random_bytes = random.Random(f"{around.seed} entropy {number}").randbytes
        self.is_up = False
        self.starts = 0
        self.stopping = False
        self.attendance = Attendance(around, self)
        self.matches = Matches(around, self)
        self.wall_offset_ms = WALL_MS + around.faults.random.randrange(2_000)
        self.decided_ids: set[str] = set()
        self.announced_to: Position | None = None  # `None` at a start and after a jump, where any may come next
        self._exchanges: dict[Exchanged, None] = {}
        self.store: StoreClient | None = None
        self.troubles: list[Trouble] = []
        """When it could tell the others nothing, latest last."""

    def begins_trouble(self) -> None:
        """Note that it can tell the others nothing from now on."""
        if not self.troubles or self.troubles[-1].until_ms is not None:
            self.troubles.append(Trouble(self.around.world.now_ms))

    def ends_trouble(self) -> None:
        """Note that it can tell them again."""
        if self.troubles and self.troubles[-1].until_ms is None:
            self.troubles[-1].until_ms = self.around.world.now_ms

    def start(self) -> None:
        """Start again, with nothing left of the last life."""
        self.starts += 1
        self.stopping = False
        self.announced_to = None
        around = self.around
        around.world.note(self.name, "starts")
        self.loop = SimLoop(around.world, self.name)
        self.clock = ProcessClock(self.loop, self.wall_offset_ms)
        self._exchanges = {}
        self._shutdown = asyncio.Event()
        self.loop.call_soon(self._boot)

    def _boot(self) -> None:
        around = self.around
        self.broker = around.plan.broker_type(
            self._open_log(),
            self.clock,
            keep_commits=around.plan.keep_commits,
            attended_grace_ms=around.plan.attended_grace_ms,
            random_bytes=self.random_bytes,
        )
        self._watch_broker(self.broker)
        settings = Settings(
            policy=around.plan.policy,
            redact_after_ms=around.plan.redact_after_ms,
            fast_lane=around.plan.fast_lane,
        )
        self.app = ChatApp(self.broker, settings, self._started)
        endpoint = self.app.endpoint
        endpoint._stateless_requests._manager = ModernRequests(self, endpoint._sessions)
        self.loop.create_task(self._live())

    def _open_log(self) -> EventLog:
        around = self.around
        if around.plan.in_memory:
            return watched_memory_log(around.disk, around.world, self._decided)
        plan = around.plan
        store = StoreClient(
            around.disk,
            self.loop,
            around.faults,
            around.sometimes,
            channel=around.channel,
            lag_ms=plan.lag_ms,
        )
        store.on_append = self._decided
        self.store = store
        return store

    def _watch_broker(self, broker: Broker) -> None:
        presence, attendance = broker.presence, self.attendance
        opened, closed, call = presence.stream_opened, presence.stream_closed, presence.call

        joint = self.around.joint_attendance

        def stream_opened(who: ConnectionId) -> None:
            attendance.arrives(who)
            joint.begins(self, who, by_stream=True)
            opened(who)

        def stream_closed(who: ConnectionId) -> None:
            closed(who)
            attendance.leaves(who, by_stream=True)
            joint.ends(self, who, by_stream=True)

        @contextmanager
        def watched_call(who: ConnectionId) -> Any:
            attendance.arrives(who)
            joint.begins(self, who, by_stream=False)
            try:
                with call(who):
                    yield
            finally:
                attendance.leaves(who, by_stream=False)
                joint.ends(self, who, by_stream=False)

        presence.stream_opened, presence.stream_closed = stream_opened, stream_closed
        presence.call = watched_call
        committed, submit, truncated = broker.committed, broker.writer.submit, broker.log_truncated
        sometimes = self.around.sometimes

        def watched_committed(commit: Commit, state: State) -> None:
            committed(commit, state)
            self._announced(commit, state)

        def watched_submit(command: Command) -> asyncio.Future[CommandAnswer]:
            if isinstance(command, CancelMatch):
                self.matches.check_cancel(command)
            answer = submit(command)
            if isinstance(command, Disconnect):
                answer.add_done_callback(lambda done: _note_too_late(done, sometimes))
            return answer

        def watched_truncated() -> None:
            sometimes.reached("the log was trimmed under a broker, which jumped")
            self.announced_to = None
            truncated()

        broker.committed, broker.log_truncated = watched_committed, watched_truncated
        broker.writer.submit = watched_submit
        self.matches.watch(broker)
        Freshness(self.around, self, broker)
        presence._submit = presence.confirmation._submit = broker.writer.submit

    async def _live(self) -> None:
        """Run the lifespan of the application, up to the end of the process."""
        sent: list[str] = []

        async def receive() -> dict[str, Any]:
            if not sent:
                sent.append("startup")
                return {"type": "lifespan.startup"}
            await self._shutdown.wait()
            return {"type": "lifespan.shutdown"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"].endswith("failed") and not self.loop.dead:
                self.around.world.fail(f"{self.name}: {message}")

        await self.app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
        self.loop.call_soon(self._ended)

    def _started(self) -> None:
        around, failure = self.around, self.app.failure
        if failure is not None:
            around.sometimes.reached("a start failed")
            around.world.note(self.name, f"could not start: {failure}")
            around.check_start_failure(failure)
            around.world.after(0, self.crash)
        elif not self.stopping:
            self.is_up = True
            self.ends_trouble()
            self.attendance.begins(around.world.now_ms)
            self.matches.begins(around.world.now_ms)
            around.world.note(self.name, f"is up at {self.broker.state.position}")

    def _ended(self) -> None:
        """Check that a graceful end leaves no task."""
        self.around.world.note(self.name, "has ended")
        left = [task for task in self.loop.tasks() if not task.done()]
        if left:
            self.around.world.fail(f"{self.name} has ended, and there still are {left}")
        self._gone()

    @property
    def is_appending(self) -> bool:
        """Return whether an append is under way."""
        broker = getattr(self, "broker", None)
        return broker is not None and broker.writer._flushing is not None

    def serve(self, exchanged: Exchanged, scope: dict[str, Any]) -> None:
        """Serve a request."""
        self._exchanges[exchanged] = None
        self.loop.create_task(self._serve(exchanged, scope))

    async def _serve(self, exchanged: Exchanged, scope: dict[str, Any]) -> None:
        try:
            await self.app(scope, exchanged.receive, exchanged.send)
        finally:
            exchanged.finished()
            self._exchanges.pop(exchanged, None)

    def shut_down(self) -> None:
        """End gracefully, as uvicorn does: streams and waits first, then the rest."""
        if self.is_up and not self.stopping:
            self.around.world.note(self.name, "shuts down")
            self.stopping, self.is_up = True, False
            self.loop.call_soon(self._drain)

    def _drain(self) -> None:
        self.app.drain()
        self.loop.create_task(self._shut_down())

    async def _shut_down(self) -> None:
        deadline_ms = self.clock.now_ms() + 3_000
        while self._exchanges and self.clock.now_ms() < deadline_ms:  # as uvicorn does
            await sleep_ms(50)
        serving = [task for task in self.loop.tasks() if task.get_coro().__name__ == "_serve"]
        for task in serving:
            task.cancel()
        if serving:
            await asyncio.wait(serving)
        self._shutdown.set()

    def crash(self) -> None:
        """End at once."""
        if not self.loop.dead:
            self.around.world.note(self.name, "crashes")
            self.around.lost_with(self)
            self._gone()

    def _gone(self) -> None:
        self.is_up = False
        self.begins_trouble()
        self.around.joint_attendance.dies(self)
        lane = self.app.endpoint.fast_lane if hasattr(self, "app") else None
        if lane is not None and lane.taken:
            self.around.sometimes.reached("the fast lane answered")
        self.loop.kill()
        for exchanged in self._exchanges:
            exchanged.server_died()
        if not self.around.over:
            self.around.world.after(self.around.faults.some(RESTART_MS) + 1, self.start)

    def set_clock(self, by_ms: int) -> None:
        """Set the machine's clock."""
        self.wall_offset_ms += by_ms
        self.clock.wall_offset_ms = self.wall_offset_ms

    def _decided(self, commits: Sequence[Commit]) -> None:
        if not self.is_appending:  # no task to wait for
            self.around.sometimes.reached("commands were carried out at once")
        self.around.decided(self, commits)

    def _announced(self, commit: Commit, state: Any) -> None:
        self.around.announced(self, commit)


def _note_too_late(answer: asyncio.Future[CommandAnswer], sometimes: Sometimes) -> None:
    if not answer.cancelled() and isinstance(accepted := answer.result(), Accepted) and accepted.commit is None:
        sometimes.reached("a Disconnect came too late")
