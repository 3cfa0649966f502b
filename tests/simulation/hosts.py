"""Ways of a client to reach a broker: requests on their own, a session for each call, or one session kept."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import msgspec
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY

from mcp_facade.streams.frames import EXTENSION
from tests.simulation.loop import sleep_ms
from tests.simulation.network import Broken, Exchanged
from tests.simulation.sdk import KEPT, MODERN
from tests.simulation.sse import EventReader

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.surroundings import Surroundings

PATIENCE_MS = 30_000.0
ENVELOPE = {
    PROTOCOL_VERSION_META_KEY: MODERN,
    CLIENT_INFO_META_KEY: {"name": "simulation", "version": "1"},
    CLIENT_CAPABILITIES_META_KEY: {"extensions": {EXTENSION: {}}},
}
HANDSHAKE = {"protocolVersion": KEPT, "capabilities": {}, "clientInfo": {"name": "simulation", "version": "1"}}
STREAM = "text/event-stream"


class Answer(NamedTuple):
    """A tool's result, with the store's tip at the question and at the answer."""

    payload: dict[str, Any]
    is_error: bool
    asked_at: int
    heard_at: int
    asked_ms: float
    named: bool  # whether the call had a handle


class Host:
    """A client program; its calls go to one process, or to any if it roams."""

    kind = "modern"

    def __init__(self, around: Surroundings, name: str) -> None:
        self.around = around
        self.name = name
        self.random = random.Random(f"{around.seed} {name}")
        self.address = f"10.0.0.{2 + crc32(name.encode()) % 200}"  # a few share one
        self.home = around.processes[self.random.randrange(len(around.processes))]
        self.has_vanished = False
        self._request_id = 0
        self._exchanges: list[Exchanged] = []

    @property
    def somewhere(self) -> Process:
        """The process for the next request."""
        roams = self.around.plan.roams if self.kind in ("modern", "listening", "per call") else 0.0
        if roams and self.random.random() < roams:
            self.home = self.around.processes[self.random.randrange(len(self.around.processes))]
        return self.home

    def request(
        self, process: Process, method: str, headers: Mapping[str, str], body: bytes = b"", *, about: str
    ) -> Exchanged:
        """Begin a request.

        Raises:
            Broken: the host has vanished.
        """
        if self.has_vanished:
            raise Broken
        exchanged = self.around.network.request(process, method, headers, body, about=about, address=self.address)
        self._exchanges = [*(one for one in self._exchanges if not one.is_over), exchanged]
        return exchanged

    def vanish(self) -> None:
        """Disappear for good, at any moment, with all connections."""
        self.has_vanished = True
        for exchanged in self._exchanges:
            exchanged.close()

    async def call(
        self, tool: str, arguments: dict[str, Any], *, leave_after_ms: float | None = None, progress: bool = False
    ) -> Answer | None:
        """Call a tool; `None` if the answer is lost, with the effect unknown."""
        params: dict[str, Any] = {"name": tool, "arguments": arguments}
        if progress:
            params["_meta"] = {"progressToken": self._request_id + 1}
        around, asked_at, asked_ms = self.around, self.around.disk.tip.position, self.around.world.now_ms
        around.calls += 1
        around.world.note(self.name, f"-> {tool} {arguments}")
        result = await self.ask("tools/call", params, leave_after_ms=leave_after_ms)
        if result is None or "structuredContent" not in result:
            around.world.note(self.name, f"<- {tool}: lost, or {result}")
            return None
        payload = result["structuredContent"]
        around.world.note(self.name, f"<- {tool}: {payload}")
        return Answer(
            payload, result.get("isError", False), asked_at, around.disk.tip.position, asked_ms, "handle" in arguments
        )

    async def ask(
        self, method: str, params: dict[str, Any], *, leave_after_ms: float | None = None
    ) -> dict[str, Any] | None:
        """Make any request; return its result, or `None` if there is none."""
        try:
            return await self.post(self.somewhere, *alone(method, params), leave_after_ms)
        except Broken:
            return None

    async def post(
        self,
        process: Process,
        headers: dict[str, str],
        method: str,
        params: dict[str, Any],
        leave_after_ms: float | None = None,
    ) -> dict[str, Any] | None:
        """Make one POST; return `None` if the answer is no result.

        Raises:
            Broken: the connection broke before the end of the answer.
        """
        self._request_id += 1
        body = msgspec.json.encode({"jsonrpc": "2.0", "id": self._request_id, "method": method, "params": params})
        exchanged = self.request(process, "POST", headers, body, about=method)
        patience_ms = leave_after_ms if leave_after_ms is not None else PATIENCE_MS
        alarm = self.around.world.after(patience_ms, exchanged.close)
        try:
            if await exchanged.answered() != 200:
                return {"status": exchanged.status}
            result = await self._result(exchanged)
            return {"session_id": exchanged.headers["mcp-session-id"]} if method == "initialize" and result else result
        finally:
            alarm.cancel()
            exchanged.close()

    async def _result(self, exchanged: Exchanged) -> dict[str, Any] | None:
        if exchanged.headers.get("content-type") == "application/json":
            whole = b""
            while data := await exchanged.read():
                whole += data
            return _result_in(msgspec.json.decode(whole))
        reader = EventReader()
        while data := await exchanged.read():
            for event in reader.feed(data):
                message = event.message or {}
                if message.get("method") == "notifications/progress":
                    self.around.sometimes.reached("progress was told")
                elif "result" in message or "error" in message:
                    return _result_in(message)
        return None


def alone(method: str, params: dict[str, Any]) -> tuple[dict[str, str], str, dict[str, Any]]:
    """Return the headers, the method, and the params of a request of 2026-07-28, including the client's envelope."""
    headers = {"mcp-protocol-version": MODERN, "mcp-method": method}
    if "name" in params:
        headers["mcp-name"] = params["name"]
    return headers, method, {**params, "_meta": {**ENVELOPE, **params.get("_meta", {})}}


def _result_in(message: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = message.get("result", {"error": message.get("error")})
    return result


class PerCallHost(Host):
    """A host with a new session for every call, seldom deleted."""

    kind = "per call"

    async def ask(
        self, method: str, params: dict[str, Any], *, leave_after_ms: float | None = None
    ) -> dict[str, Any] | None:
        """Make the request in a new session."""
        process = self.somewhere
        try:
            opened = await self.post(process, {}, "initialize", HANDSHAKE)
            if opened is None or "session_id" not in opened:
                return None
            headers = {"mcp-session-id": opened["session_id"], "mcp-protocol-version": KEPT}
            result = await self.post(process, headers, method, params, leave_after_ms)
            if self.random.random() < 0.7:
                await delete(self, process, opened["session_id"])
        except Broken:
            return None
        return result


async def delete(host: Host, process: Process, session_id: str) -> None:
    """End a session.

    Raises:
        Broken: the connection broke; the session may have ended.
    """
    headers = {"mcp-session-id": session_id, "mcp-protocol-version": KEPT}
    await host.request(process, "DELETE", headers, about="delete").answered()


async def pause_between(host: Host, most_ms: float) -> None:
    """Pause for at most `most_ms`, shorter for a seed with more haste."""
    await sleep_ms(most_ms * host.random.random() ** 2 / host.around.plan.haste)
