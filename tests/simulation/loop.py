"""An event loop stepped from outside: one callback at a time, on a simulated clock.

Each simulated process has a loop of its own, all on one `World`. Within a loop, callbacks keep asyncio's order, first
in, first out; between loops, the seed decides. So a process can be stopped or killed between any two callbacks, at any
await; and time advances only when no loop has anything left to do.
"""

from __future__ import annotations

import asyncio
import random
import zlib
from asyncio import events as asyncio_events
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from heapq import heappop, heappush
from typing import Any

TRACE_KEPT = 400
MASK = (1 << 61) - 1


class Handle:
    """A callback in line, or a timer."""

    __slots__ = ("args", "callback", "loop")

    def __init__(self, loop: SimLoop, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.loop = loop
        self.callback: Callable[..., object] | None = callback
        self.args = args

    def cancel(self) -> None:
        """Cancel it."""
        self.callback = None

    def cancelled(self) -> bool:
        """Return whether it was cancelled."""
        return self.callback is None


class SimLoop(asyncio.AbstractEventLoop):
    """The event loop of one process."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.code = zlib.crc32(name.encode())
        self.ready: deque[Handle] = deque()
        self.paused = False
        self.dead = False
        self.fuse = 0  # after this many callbacks, `on_fuse` is called instead of the next one
        self.on_fuse: Callable[[], None] = lambda: None
        self._tasks: list[asyncio.Task[Any]] = []
        self._tasks_looked_at = 64

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Handle:
        """Put `callback` in line; the context is ignored, since nothing here uses one."""
        handle = Handle(self, callback, args)
        if not self.dead:
            if not self.ready and not self.paused:
                self.world.runnable.append(self)
            self.ready.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        """Schedule `callback` for `when`, in seconds of simulated time."""
        handle = Handle(self, callback, args)
        if not self.dead:
            self.world.add_timer(when * 1_000, handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        """Schedule `callback` in `delay` seconds."""
        return self.call_at(self.time() + delay, callback, *args)

    def time(self) -> float:
        """Return the simulated time in seconds."""
        return self.world.now_ms / 1_000

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], **kwargs: Any) -> asyncio.Task[Any]:
        """Return a task of this loop; it is kept until it is done."""
        task = asyncio.Task(coro, loop=self)
        self._tasks.append(task)
        if len(self._tasks) > self._tasks_looked_at:
            self._tasks_looked_at = max(64, 2 * len(self.tasks()))
        if self.dead:
            self._drop(task)
        return task

    def tasks(self) -> list[asyncio.Task[Any]]:
        """Return the unfinished tasks, in the order of creation, and forget the others."""
        self._tasks = [task for task in self._tasks if not task.done()]
        return self._tasks

    def get_debug(self) -> bool:
        """Return `False`: asyncio's own debugging is not wanted."""
        return False

    def is_running(self) -> bool:
        """Return `True`: the world runs it at any time."""
        return True

    def is_closed(self) -> bool:
        """Return `False`, even for a dead process."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Fail the run for an exception without an awaiter: it is a bug in this process."""
        if not self.dead:
            self.world.fail(f"{self.name}: {context.get('message')}: {context.get('exception')!r}")

    def pause(self) -> None:
        """Stop running callbacks until `resume`."""
        if not self.paused:
            self.paused = True
            if self.ready:
                self.world.runnable.remove(self)

    def resume(self) -> None:
        """Run callbacks again."""
        if self.paused:
            self.paused = False
            if self.ready and not self.dead:
                self.world.runnable.append(self)

    def kill(self) -> None:
        """Stop for good: all tasks are dropped where they are."""
        if self.ready and not self.paused:
            self.world.runnable.remove(self)
        self.ready.clear()
        left = self.tasks()
        self.dead = True
        previous = asyncio_events._get_running_loop()
        asyncio_events._set_running_loop(self)
        for task in left:
            self._drop(task)
        self._tasks = []
        asyncio_events._set_running_loop(previous)

    def _drop(self, task: asyncio.Task[Any]) -> None:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio knows it, its stubs do not
        asyncio.tasks._enter_task(self, task)  # libraries ask for the current task, also while they clean up
        with suppress(BaseException):  # its last actions have no effect
            task.get_coro().close()
        asyncio.tasks._leave_task(self, task)


STOPPED = "stopped, as was asked for"


class Failed(Exception):  # noqa: N818 - the way out of a run
    """A finding of the simulation; its text describes it."""


class World:
    """The simulated time, and the choice of the next loop."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(f"{seed} turns")
        self.now_ms = 0.0
        self.steps = 0
        self.digest = 0
        self.runnable: list[SimLoop] = []
        self.failure: str | None = None
        self.notes: deque[tuple[int, float, str, str]] = deque(maxlen=TRACE_KEPT)
        self.last: deque[tuple[int, float, str, object]] = deque(maxlen=40)
        self.on_note: Callable[[int, float, str, str], None] | None = None
        self.on_step: Callable[[int, float, str, object], None] | None = None
        self.stop_after: int | None = None
        """The last step: who asks for it sees what that step finds, and what is looked at once it is done."""
        self._timers: list[tuple[float, int, Handle]] = []
        self._serial = 0
        self._running: SimLoop | None = None
        self.loop = SimLoop(self, "world")

    def add_timer(self, at_ms: float, handle: Handle) -> None:
        """Put `handle` in line at `at_ms`."""
        self._serial += 1
        heappush(self._timers, (at_ms, self._serial, handle))

    def after(self, delay_ms: float, callback: Callable[..., object], *args: Any) -> Handle:
        """Schedule an event outside all processes, such as the arrival of a packet."""
        return self.at(self.now_ms + delay_ms, callback, *args)

    def at(self, at_ms: float, callback: Callable[..., object], *args: Any) -> Handle:
        """Schedule such an event at a moment; events of one moment keep the order of their scheduling."""
        handle = Handle(self.loop, callback, args)
        self.add_timer(at_ms, handle)
        return handle

    def fail(self, what: str) -> None:
        """Record a failure; the run ends with this step."""
        if self.failure is None:
            self.failure = what

    def note(self, who: str, what: str) -> None:
        """Add a line to the trace and to the digest."""
        self.notes.append((self.steps, self.now_ms, who, what))
        self.digest = (self.digest * 1_000_003 + zlib.crc32(what.encode("utf-8", "surrogatepass"))) & MASK
        if self.on_note is not None:
            self.on_note(self.steps, self.now_ms, who, what)

    def run(self, until: Callable[[], bool], *, steps_max: int, until_ms: float) -> bool:
        """Step until `until` holds, checked whenever time moves; return `False` if a bound was met first.

        Raises:
            Failed: something is broken.
        """
        runnable, timers = self.runnable, self._timers
        try:
            while True:
                if runnable:
                    self._step(runnable)
                elif until():
                    return True
                elif not timers or timers[0][0] > until_ms or self.steps >= steps_max:
                    self.now_ms = max(self.now_ms, until_ms) if self.steps < steps_max else self.now_ms
                    return until()
                else:
                    self._ring()
        finally:
            self._running = None
            asyncio_events._set_running_loop(None)

    def _step(self, runnable: list[SimLoop]) -> None:
        """Run the next callback of one of the loops with any."""
        if self.steps == self.stop_after:
            self.fail(STOPPED)
            raise Failed(STOPPED)
        count = len(runnable)
        index = int(self.random.random() * count) if count > 1 else 0
        loop = runnable[index]
        if loop.fuse:
            loop.fuse -= 1
            if not loop.fuse:
                loop.on_fuse()
                return
        handle = loop.ready.popleft()
        if not loop.ready:
            runnable[index] = runnable[-1]
            runnable.pop()
        callback = handle.callback
        if callback is None:
            return
        self.steps += 1
        self.digest = (self.digest * 31 + loop.code + len(loop.ready)) & MASK
        self.last.append((self.steps, self.now_ms, loop.name, callback))
        if self.on_step is not None:
            self.on_step(self.steps, self.now_ms, loop.name, callback)
        if loop is not self._running:
            self._running = loop
            asyncio_events._set_running_loop(loop)
        callback(*handle.args)
        del callback, handle  # an exception keeps this frame and so its task, from Python 3.12 on
        if self.failure is not None:
            raise Failed(self.failure)

    def _ring(self) -> None:
        """Advance to the next due moment, and put all due timers in line."""
        timers = self._timers
        at_ms = timers[0][0]
        self.now_ms = max(self.now_ms, at_ms)
        while timers and timers[0][0] <= at_ms:
            handle = heappop(timers)[2]
            loop, callback = handle.loop, handle.callback
            if callback is None or loop.dead:
                continue
            if not loop.ready and not loop.paused:
                self.runnable.append(loop)
            loop.ready.append(handle)


async def sleep_ms(delay_ms: float) -> None:
    """Sleep for a time of the simulated clock."""
    await asyncio.sleep(delay_ms / 1_000)
