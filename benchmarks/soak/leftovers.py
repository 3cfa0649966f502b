"""What a server holds that has to be gone when everyone has left: streams, sessions, tasks, file descriptors."""

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
"""Gauges that are 0 where nobody is."""
TASKS: Final = "chat_broker_tasks"
FDS: Final = "file descriptors"
LOOKED_AT_EVERY_S: Final = 0.2
SWEEP_S: Final = 30.0
"""How often the server looks for sessions that are over."""
GONE_WITHIN_S: Final = 20.0

Held = dict[str, float]


async def held(server: Server) -> Held:
    """What it holds now."""
    seen = metrics(await server.get("/metrics"))
    return {name: seen[name] for name in (*PEOPLE, TASKS)} | {FDS: server.open_fds()}


async def held_by_an_idle_server(server: Server, options: SoakOptions) -> Held:
    """What it holds once it has served one visitor of each era: what is started for the first stays for all."""
    visited = SoakRun(server.port, replace(options, deletes=1.0))
    visited.is_open = False
    for number, era in enumerate((SESSIONS, MODERN)):
        visitor = PollingParticipant(visited, number, era)
        await visitor.come()
        await visitor.retire()
    return await _settled(server, dict.fromkeys(PEOPLE, 0.0), GONE_WITHIN_S)


async def held_when_all_is_over(server: Server, options: SoakOptions, before: Held) -> Held:
    """As before, or after some time more; sessions that nobody ended go by the server's own clock."""
    sweeps_s = options.session_idle_s + SWEEP_S if options.deletes < 1 else 0.0
    return await _settled(server, before, GONE_WITHIN_S + sweeps_s)


async def _settled(server: Server, to: Held, within_s: float) -> Held:
    deadline = time.monotonic() + within_s
    while True:
        now = await held(server)
        if all(now[name] <= value for name, value in to.items()) or time.monotonic() > deadline:
            return now
        await asyncio.sleep(LOOKED_AT_EVERY_S)
