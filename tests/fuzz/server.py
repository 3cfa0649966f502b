"""The broker as `chat-broker serve` runs it, in a process of its own, with a probe of its contents.

The parent process passes both sockets: one to listen on, and one for the probe. The probe answers each word with one
line: `report`, all live objects; `sweep`, the same after the end of every unused session, as if its time were up.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import sys
from typing import Any

import broker.streams
import mcp_facade.app
import mcp_facade.serve
from broker.config import Settings
from broker.logging import configure_logs
from events.policy import Policy
from mcp_facade.app import ChatApp
from mcp_facade.http.exchange import HttpExchange
from mcp_facade.tools.results import status_of

POLICY = Policy(
    # Limits that would slow the requests are off. Little is remembered, so that it is full soon and growth shows. Waits
    # are short, so that a hang shows.
    messages_per_10s_max=1_000_000,
    queue_commands_per_10s_max=1_000_000,
    handles_minted_per_10s_max=1_000_000,
    wait_ms_max=150,
    stream_grace_ms=300,
    idle_grace_queue_ms=300,
    idle_grace_room_ms=2_000,
    connections_kept=50,
    closed_rooms_kept=20,
    message_ids_kept=64,
    log_commits_max=200,
    inbox_events_max=64,
    blocks_per_connection_max=5,
    reports_per_10min_max=3,
)


class ProbedApp(ChatApp):
    """The application, and a probe of its contents."""

    probe_descriptor = 0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._probing = asyncio.ensure_future(self._probe())

    async def _probe(self) -> None:
        probing = socket.socket(fileno=self.probe_descriptor)
        reader, writer = await asyncio.open_unix_connection(sock=probing)
        while line := await reader.readline():
            if line == b"sweep\n":
                await self._sweep()
            writer.write(json.dumps(self._report()).encode() + b"\n")
            await writer.drain()

    async def _sweep(self) -> None:
        sessions = self.endpoint._sessions
        for session in sessions._by_id.values():
            session.active_ms = float("-inf")
        sessions.stop()
        sessions._sweep()

    def _report(self) -> dict[str, Any]:
        gc.collect()
        broker, endpoint = self.broker, self.endpoint
        traces = broker.presence.activities
        return {
            "epoch": broker.log.epoch,
            "tasks": sorted(_where(task) for task in asyncio.all_tasks()),
            "sessions": len(endpoint._sessions),
            "calls in sessions": sum(len(session.calls) for session in endpoint._sessions._by_id.values()),
            "streams": len(broker.streams._open),
            "subscribers": len(broker.hub._subscribers),
            "waits": len(broker.hub._waits),
            "calls": sum(trace.calls for trace in traces.values()),
            "listening": sum(trace.streams for trace in traces.values()),
            "traces of the idle": sum(status_of(broker.state, who) == "idle" for who in traces),
            "exchanges": sum(isinstance(one, HttpExchange) for one in gc.get_objects()),
            "descriptors": len(os.listdir("/proc/self/fd")),
        }


def _where(task: asyncio.Task[Any]) -> str:
    """Return a task's coroutine and the innermost one that it awaits."""
    coroutine: Any = task.get_coro()
    name = coroutine.__qualname__
    while (awaited := getattr(coroutine, "cr_await", None)) is not None:
        coroutine = awaited
        if hasattr(coroutine, "cr_code"):
            name += f" > {coroutine.__qualname__}"
    return name


def main() -> None:
    """Serve until the process ends: `python -m tests.fuzz.server LISTENING PROBE`, two descriptors."""
    listening, ProbedApp.probe_descriptor = map(int, sys.argv[1:])
    mcp_facade.app.ChatApp = ProbedApp
    vars(mcp_facade.serve)["listen"] = lambda host, port: socket.socket(fileno=listening)
    broker.streams.SLOT_MS = 3_600_000  # a departure must be noticed without a failing ping
    configure_logs("json", "info")
    mcp_facade.serve.serve(Settings(policy=POLICY, reads_per_10s_max=1_000_000))


if __name__ == "__main__":
    main()
