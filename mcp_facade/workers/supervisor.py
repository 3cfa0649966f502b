"""The supervisor of several workers: it starts, watches, replaces and ends them.

Each worker has a listening socket of its own, over which the kernel spreads new connections (`SO_REUSEPORT`). The
supervisor keeps these sockets open, so no connection is lost while one worker takes over from another.
"""

from __future__ import annotations

import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import structlog

from broker.config import Settings
from broker.errors import EXIT_USAGE, StartFailedError, UsageError
from mcp_facade import systemd
from mcp_facade.listening import ADMIN_FLAGS, listen, log_serving, reserve, warn_of_shared_address
from mcp_facade.workers.process import Slot, WorkerProcess
from mcp_facade.workers.worker import Opens

logger = structlog.get_logger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def supervise(settings: Settings) -> None:
    """Run the workers of `settings` until a signal ends them; SIGHUP replaces them, one after the other.

    Raises:
        UsageError: an address can't be listened on, or a worker can't start; the text is one line and says why.
        StartFailedError: a worker can't start, for another reason.
    """
    if sys.platform != "linux":
        raise UsageError("--workers needs Linux; elsewhere, start a broker for each port behind a proxy")
    with listen(settings.host, settings.port) as alone:  # refused if another program has the port
        address, port = alone.getsockname()[:2]
    warn_of_shared_address(settings, address)
    with reserve(settings.host, port, shared=True) as held:  # it keeps the port, also while no worker lives
        slots = [Slot(number, partial(_reserved, settings, port, number)) for number in range(1, settings.workers + 1)]
        log_serving(held, has_page=settings.page, workers=len(slots))
        Supervisor(slots).run()
    logger.info("ended")


def _reserved(settings: Settings, port: int, number: int) -> list[socket.socket]:
    public = reserve(settings.host, port, shared=True)
    if settings.admin_port is None:
        return [public]
    try:
        return [public, reserve(settings.admin_host, settings.admin_port + number, ADMIN_FLAGS)]
    except UsageError:
        public.close()
        raise


class Supervisor:
    """The life of the workers in `slots`."""

    def __init__(self, slots: list[Slot]) -> None:
        self._slots = slots
        self._alive: set[WorkerProcess] = set()
        self._to_replace: list[Slot] = []
        self._is_ending = False
        self._is_ready = False
        self._failure: UsageError | StartFailedError | None = None
        self._selector = selectors.DefaultSelector()
        self._sign_of_life_at_s = time.monotonic()

    def run(self) -> None:
        """Run until all workers have ended for good.

        Raises:
            UsageError: one of them was refused before all of them were ready for the first time.
            StartFailedError: one of them failed to start, as early as that.
        """
        with _heard_signals() as signals:
            self._selector.register(signals, selectors.EVENT_READ, partial(self._take_signals, signals))
            for slot in self._slots:
                self._start(slot)
            while self._alive or not self._is_ending:
                for key, _ in self._selector.select(self._seconds_to_next()):
                    key.data()
                self._look_at_the_time()
        if self._failure is not None:
            raise self._failure

    def _start(self, slot: Slot) -> None:
        """Start the worker of `slot`; have it tried again later if there is no room for one."""
        try:
            slot.worker = self._started(slot, b"at once")
        except (OSError, UsageError) as error:
            slot.close_sockets()
            again_in_s = slot.start_later()
            logger.error("worker_not_started", worker=slot.number, reason=str(error), again_in_s=again_in_s)

    def _started(self, slot: Slot, opens: Opens) -> WorkerProcess:
        """Start a process for `slot`.

        Raises:
            UsageError: its address can't be listened on any more.
            OSError: the system has no room for a process.
        """
        worker = slot.start(opens)
        slot.start_at_s = None
        self._alive.add(worker)
        self._selector.register(worker.channel, selectors.EVENT_READ, partial(self._hear, slot, worker))
        return worker

    def _hear(self, slot: Slot, worker: WorkerProcess) -> None:
        lives = worker.hear()
        if worker.is_ready and worker is slot.successor:
            self._take_over(slot)
        if not self._is_ready and all(slot.worker is not None and slot.worker.is_ready for slot in self._slots):
            self._is_ready = True
            logger.info("workers_ready", workers=len(self._slots))
            systemd.notify(systemd.READY)
        if not lives:
            self._selector.unregister(worker.channel)
            self._alive.discard(worker)
            self._ended(slot, worker, worker.ended())

    def _ended(self, slot: Slot, worker: WorkerProcess, status: int) -> None:
        if self._is_ending:
            return
        if worker is slot.successor:
            slot.successor = None
            self._give_up_replacing(slot, worker.refusal, status)
            if slot.worker is None:
                slot.close_sockets()
                slot.start_later()
        elif worker is not slot.worker:  # another has taken over
            self._replace_next()
        elif worker.is_refused(status) and not self._is_ready:
            text = worker.refusal or f"worker {slot.number} can't start"
            self._failure = UsageError(text) if status == EXIT_USAGE else StartFailedError(text)
            self._end()
        else:
            slot.worker = None
            self._start_again(slot, worker, status)

    def _start_again(self, slot: Slot, worker: WorkerProcess, status: int) -> None:
        if slot.successor is None:
            slot.close_sockets()
            again_in_s = slot.start_later(time.monotonic() - worker.began_s)
            reason = {"reason": worker.refusal} if worker.refusal else {}
            logger.error("worker_ended", worker=slot.number, status=status, again_in_s=again_in_s, **reason)

    def _give_up_replacing(self, slot: Slot, reason: str, status: int | None = None) -> None:
        """Leave the workers that were not replaced as they are."""
        self._to_replace.clear()
        logger.error("replacing_given_up", worker=slot.number, status=status, reason=reason)

    def _replace_all(self) -> None:
        logger.info("replacing_workers")
        self._to_replace = list(self._slots)
        if all(slot.successor is None for slot in self._slots):
            self._replace_next()

    def _replace_next(self) -> None:
        """Start the successor of the next worker; one that has ended is started again anyhow."""
        while self._to_replace:
            slot = self._to_replace.pop(0)
            if slot.worker is not None:
                try:
                    slot.successor = self._started(slot, b"when ready")
                except (OSError, UsageError) as error:
                    self._give_up_replacing(slot, str(error))
                return

    def _take_over(self, slot: Slot) -> None:
        before, slot.worker, slot.successor = slot.worker, slot.successor, None
        logger.info("worker_replaced", worker=slot.number)
        if before is not None:
            before.end()
        else:
            self._replace_next()

    def _take_signals(self, signals: socket.socket) -> None:
        for number in signals.recv(64):
            if number != signal.SIGHUP:
                self._end()
            elif not self._is_ending:
                self._replace_all()

    def _end(self) -> None:
        """End all workers; the second time, at once."""
        if not self._is_ending:
            self._is_ending = True
            logger.info("shutting_down")
            systemd.notify(systemd.STOPPING)
        for slot in self._slots:
            slot.close_sockets()
        for worker in self._alive:
            worker.end()

    def _look_at_the_time(self) -> None:
        now_s = time.monotonic()
        for worker in self._alive:
            if worker.finish_by_s is not None and worker.finish_by_s <= now_s:
                worker.process.kill()
        for slot in self._slots:
            if slot.start_at_s is not None and slot.start_at_s <= now_s and not self._is_ending:
                self._start(slot)
        if self._sign_of_life_at_s <= now_s:
            self._sign_of_life_at_s = now_s + systemd.alive_every_s()
            systemd.notify(systemd.sign_of_life(is_starting=not self._is_ready))

    def _seconds_to_next(self) -> float:
        moments = [self._sign_of_life_at_s]
        moments += [worker.finish_by_s for worker in self._alive if worker.finish_by_s is not None]
        moments += [slot.start_at_s for slot in self._slots if slot.start_at_s is not None]
        return max(0.0, min(moments) - time.monotonic())


def _heard(number: int, frame: FrameType | None) -> None:
    """Do nothing: the signal's number has come by the wakeup socket."""


@contextmanager
def _heard_signals() -> Iterator[socket.socket]:
    """Yield a socket from which the numbers of `SIGNALS` are read, a byte each, while the context is open."""
    reading, writing = socket.socketpair()
    with reading, writing:
        writing.setblocking(False)
        before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}
        woken = signal.set_wakeup_fd(writing.fileno())
        for number in SIGNALS:
            before[number] = signal.signal(number, _heard)
        try:
            yield reading
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(woken)
