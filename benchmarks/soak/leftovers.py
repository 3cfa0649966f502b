"""Resources of a server that must be free when all clients have left: streams, sessions, tasks, file descriptors."""

import asyncio
import time
from dataclasses import replace
from typing import Final

from benchmarks.server import Server
from benchmarks.soak.options import SoakOptions
from benchmarks.soak.polling import PollingParticipant
from benchmarks.soak.readings import metrics
from benchmarks.soak.run import SoakRun
from benchmarks.wire import MODERN, SESSIONS

PEOPLE: Final = ("chat_broker_streams", "chat_broker_sessions", "chat_broker_waiting", "chat_broker_rooms_open")
"""Gauges that are 0 without clients."""
TASKS: Final = "chat_broker_tasks"
FDS: Final = "file descriptors"
LOOKED_AT_EVERY_S: Final = 0.2
SWEEP_S: Final = 30.0
"""Interval at which the server looks for expired sessions."""
GONE_WITHIN_S: Final = 20.0

Held = dict[str, float]


async def held(server: Server) -> Held:
    """Return the resources held now."""
    seen = metrics(await server.get("/metrics"))
    return {name: seen[name] for name in (*PEOPLE, TASKS)} | {FDS: server.open_fds()}


async def held_by_an_idle_server(server: Server, options: SoakOptions) -> Held:
    """Return the resources held after one client of each era: some things start with the first and stay."""
    visited = SoakRun(server.port, replace(options, deletes=1.0))
    visited.is_open = False
    for number, era in enumerate((SESSIONS, MODERN)):
        visitor = PollingParticipant(visited, number, era)
        await visitor.come()
        await visitor.retire()
    return await _settled(server, dict.fromkeys(PEOPLE, 0.0), GONE_WITHIN_S)


async def held_when_all_is_over(server: Server, options: SoakOptions, before: Held) -> Held:
    """Return the resources held once they are as `before`, or after a time limit; sessions may have to expire."""
    sweeps_s = options.session_idle_s + SWEEP_S if options.deletes < 1 else 0.0
    return await _settled(server, before, GONE_WITHIN_S + sweeps_s)


async def _settled(server: Server, to: Held, within_s: float) -> Held:
    deadline = time.monotonic() + within_s
    while True:
        now = await held(server)
        if all(now[name] <= value for name, value in to.items()) or time.monotonic() > deadline:
            return now
        await asyncio.sleep(LOOKED_AT_EVERY_S)
