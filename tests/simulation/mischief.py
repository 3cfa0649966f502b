"""Faults of whole processes, and of the log without their knowledge: once a second, by chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.loop import sleep_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.loop import SimLoop
    from tests.simulation.process import Process
    from tests.simulation.store_client import StoreClient
    from tests.simulation.surroundings import Surroundings

CALLBACKS_MOST = 80
PAUSE_MS = 12_000.0
CUT_MS = 25_000.0
CLOCK_MS = 900_000
TRIMMED_TO_MOST = 40


async def mischief(around: Surroundings) -> None:
    """Cause faults until the end of the faulty time."""
    while around.faulty:
        await sleep_ms(1_000)
        for process in around.processes:
            _strike(around, process)
        if around.faults.strikes("trim") and around.disk.trim(int(around.faults.some(TRIMMED_TO_MOST))):
            around.faults.happens("trim")
            around.world.note("store", f"is trimmed to {around.disk.base.position}")


def _strike(around: Surroundings, process: Process) -> None:
    faults, loop = around.faults, process.loop
    if loop.dead or loop.paused:
        return
    # A crash is worth more during a call to the store.
    if faults.strike("crash") or (process.is_appending and faults.strike("crash")):
        _after_callbacks(around, process, process.crash)
    elif faults.strike("pause"):
        _after_callbacks(around, process, lambda: _pause(around, process))
    elif process.store is not None and process.store.is_shared and faults.strike("cut"):
        _cut(around, process, process.store)
    elif faults.strikes("shutdown") and process.is_up:
        faults.happens("shutdown")
        process.shut_down()
    elif faults.strike("clock forward"):
        process.set_clock(faults.random.randrange(CLOCK_MS))
    elif faults.strike("clock back"):
        process.set_clock(-faults.random.randrange(CLOCK_MS))


def _after_callbacks(around: Surroundings, process: Process, what: Callable[[], None]) -> None:
    """Call `what` after some callbacks, so at any await."""
    process.loop.fuse = 1 + around.faults.random.randrange(CALLBACKS_MOST)
    process.loop.on_fuse = what


def _pause(around: Surroundings, process: Process) -> None:
    loop = process.loop
    around.world.note(process.name, "is paused")
    process.begins_trouble()
    loop.pause()
    around.world.after(around.faults.some(PAUSE_MS), _wake, around, process, loop)


def _wake(around: Surroundings, process: Process, loop: SimLoop) -> None:
    around.world.note(loop.name, "wakes")
    loop.resume()
    if process.loop is loop and process.is_up:
        process.ends_trouble()


def _cut(around: Surroundings, process: Process, store: StoreClient) -> None:
    for_ms = around.faults.some(CUT_MS)
    around.world.note(process.name, f"is cut for {for_ms:.0f} ms")
    process.begins_trouble()
    store.cut(for_ms)
    around.world.after(for_ms, _mend, around, process, store)


def _mend(around: Surroundings, process: Process, store: StoreClient) -> None:
    if process.store is store and process.is_up and not process.loop.paused:
        process.ends_trouble()
