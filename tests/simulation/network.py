"""HTTP without sockets: bytes are delayed, arrive in pieces, or do not arrive.

The server's side is uvicorn's interface for an application, `receive` and `send`, with its limit of unread bytes. The
client's side is a status, headers and bytes, until they end or break.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mcp_facade.http.direct_response import DIRECT_RESPONSE_KEY, Header
from tests.simulation.faults import Faults
from tests.simulation.loop import SimLoop, World
from tests.simulation.sometimes import Sometimes

if TYPE_CHECKING:
    from tests.simulation.process import Process

LATENCY_MS = 4.0
UNNOTICED_MS = 20_000.0
STALL_MS = 8_000.0
WINDOW_BYTES = 2_000  # bytes under way or unread before a writer has to wait
STREAMS = ("get", "listen")

Headers = Mapping[str, str]


class Broken(Exception):  # noqa: N818 - what a client sees of it
    """A broken connection; bytes that arrived before can be used."""


class Network:
    """The network between clients, all in one loop, and processes."""

    def __init__(self, world: World, clients: SimLoop, faults: Faults, sometimes: Sometimes) -> None:
        self.world = world
        self.clients = clients
        self.faults = faults
        self.sometimes = sometimes

    def request(
        self,
        process: Process,
        method: str,
        headers: Headers,
        body: bytes = b"",
        *,
        about: str = "",
        address: str = "10.0.0.1",
    ) -> Exchanged:
        """Begin a request from `address`; return its exchange, for reading the answer."""
        exchanged = Exchanged(self, process, about)
        faults = self.faults
        if faults.strike("request lost"):
            self.world.after(faults.some(UNNOTICED_MS), exchanged.break_client)
        else:
            sent = {"content-type": "application/json", "accept": "application/json, text/event-stream", **headers}
            if method == "POST":
                sent["content-length"] = str(len(body))
            scope_headers = [(name.lower().encode(), value.encode()) for name, value in sent.items()]
            self.world.after(faults.some(LATENCY_MS), exchanged.arrive, method, scope_headers, body, address)
        return exchanged


class Exchanged:
    """One request and its answer, on a connection of their own."""

    def __init__(self, network: Network, process: Process, about: str) -> None:
        self.about = about
        self.status = 0
        self.headers: dict[str, str] = {}
        self.stalled = False  # the client does not read
        self._network = network
        self._world = network.world
        self._faults = network.faults
        self._process = process
        self._server_gone = asyncio.Event()  # the server knows of the client's end
        self._body: bytes | None = b""
        self._ended = False  # the server has written all
        self._unread = 0  # bytes written by the server and not read by the client
        self._drained = asyncio.Event()
        self._transit: list[bytes | None] = []  # bytes under way; `None` is the end
        self._last_arrival_ms = 0.0
        self._arrived = bytearray()
        self._client_ended = False
        self._client_broken = False
        self._something = asyncio.Event()
        self._break_after = -1
        if about not in STREAMS and self._faults.strikes("answer lost"):
            self._break_after = self._faults.random.randrange(400)

    # The client's side, in the clients' loop

    async def answered(self) -> int:
        """Return the status when it has arrived.

        Raises:
            Broken: it never will.
        """
        while not self.status:
            if self._client_broken:
                raise Broken
            await self._wait()
        return self.status

    async def read(self) -> bytes:
        """Return the next bytes; none at the end.

        Raises:
            Broken: there will be no more.
        """
        while not self._arrived:
            if self._client_broken:
                raise Broken
            if self._client_ended:
                return b""
            await self._wait()
        data = bytes(self._arrived)
        self._arrived.clear()
        self._unread -= len(data)
        if self._unread < WINDOW_BYTES:
            self._drained.set()
        return data

    def close(self) -> None:
        """Close the client's side; the server notices sooner or later."""
        if not self._client_broken and not self._client_ended:
            self.break_client()
            self._tell_server()

    @property
    def is_over(self) -> bool:
        """Return whether the client will get nothing more of it."""
        return self._client_broken or self._client_ended

    async def _wait(self) -> None:
        self._something.clear()
        await self._something.wait()

    def break_client(self) -> None:
        """Break the client's side: nothing more arrives."""
        self._client_broken = True
        self._transit.clear()
        self._something.set()

    def cut(self) -> None:
        """Break the network: some of the bytes under way arrive, and each side notices later."""
        if self._client_broken or self._client_ended:
            return
        rest = b"".join(chunk for chunk in self._transit if chunk)
        kept = rest[: self._faults.random.randrange(len(rest) + 1)]
        if kept:
            self._arrived += kept
        self.break_client()
        self._tell_server()

    def _tell_server(self) -> None:
        late = self._faults.strike("leaving unnoticed")
        self._world.after(self._faults.some(UNNOTICED_MS if late else LATENCY_MS), self._server_notices)

    # The server's side, in the process's loop

    def arrive(self, method: str, headers: list[tuple[bytes, bytes]], body: bytes, address: str) -> None:
        """Start the request in its process, if that lives."""
        if not self._process.is_up:
            self._world.after(self._faults.some(LATENCY_MS), self.break_client)
            return
        self._body = body
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": "/mcp",
            "raw_path": b"/mcp",
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1:8000"), *headers],
            "client": (address, 1),
            "server": ("127.0.0.1", 8000),
            "scheme": "http",
            "extensions": {DIRECT_RESPONSE_KEY: ServerLink(self)},
        }
        self._process.serve(self, scope)

    async def receive(self) -> dict[str, Any]:
        """Receive, as in ASGI."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        if not self._ended:
            await self._server_gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        """Send, as in ASGI; wait while too much is unread."""
        if self._server_gone.is_set() or self._process.loop.dead:
            return
        if message["type"] == "http.response.start":
            self._send_start(message)
            return
        if body := message.get("body", b""):
            self._send_bytes(body)
        if not message.get("more_body", False):
            self._ended = True
            self._send_later(None)
        while self._unread >= WINDOW_BYTES and not self._server_gone.is_set():
            self._drained.clear()
            await self._drained.wait()

    @property
    def request_body(self) -> bytes | None:
        """The body of the request; `None` if the client has gone."""
        return None if self._server_gone.is_set() else self._body

    @property
    def is_open(self) -> bool:
        """Return whether the connection is open, as far as the server knows."""
        return not self._server_gone.is_set() and not self._process.loop.dead

    @property
    def takes_more(self) -> bool:
        """Return whether the server can write without waiting."""
        return self.is_open and self._unread < WINDOW_BYTES

    def server_writes(self, body: bytes, start: dict[str, Any] | None = None) -> None:
        """Write more of a response, or with its start the whole."""
        if start is not None:
            self._send_start(start)
        self._send_bytes(body)
        if start is not None:
            self._ended = True
            self._send_later(None)

    def server_cuts(self) -> None:
        """Drop the connection at once, for the application."""
        self._network.sometimes.reached("a stream was cut at its backlog")
        self._world.note("network", f"{self.about} is cut by the server")
        self._transit.clear()
        self._world.after(self._faults.some(LATENCY_MS), self.break_client)
        self._server_notices()

    def server_died(self) -> None:
        """Close the connection because the process has died."""
        self._world.after(self._faults.some(LATENCY_MS), self.cut)

    def finished(self) -> None:
        """End the exchange after the application has returned; without an end of the answer, the connection breaks."""
        if not self._ended:
            self._ended = True
            self._world.after(self._faults.some(LATENCY_MS), self.break_client)

    def _server_notices(self) -> None:
        self._server_gone.set()
        self._drained.set()

    def _send_start(self, message: dict[str, Any]) -> None:
        headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        self._send_later((message["status"], headers))

    def _send_bytes(self, body: bytes) -> None:
        self._unread += len(body)
        draw = self._faults.random
        if self.about in STREAMS and self._faults.strikes("stream broken"):
            self._break_after = draw.randrange(len(body) + 1)
        if len(body) > 1 and draw.random() < 0.3:
            middle = draw.randrange(1, len(body))
            self._send_later(body[:middle])
            body = body[middle:]
        self._send_later(body)

    def _send_later(self, what: Any) -> None:
        """Schedule an arrival after all earlier ones."""
        slow = self._faults.strike("reader slow")
        at_ms = self._world.now_ms + self._faults.some(300.0 if slow else LATENCY_MS)
        if isinstance(what, bytes) and self._faults.strike("reader stalled"):
            at_ms += STALL_MS * self._faults.random.random()
        self._last_arrival_ms = at_ms = max(at_ms, self._last_arrival_ms)
        if what is None or isinstance(what, bytes):
            self._transit.append(what)
        self._world.at(at_ms, self._arrives, what)

    def _arrives(self, what: Any) -> None:
        if self._client_broken or self._client_ended:
            return
        if isinstance(what, tuple):
            self.status, self.headers = what
            if self.status not in (200, 404, 503):
                self._world.fail(f"{self.about} was answered with status {self.status}")
        else:
            if not self._transit:
                return  # dropped on its way
            self._transit.pop(0)
            if what is None:
                self._client_ended = True
            elif 0 <= self._break_after < len(what):
                self._arrived += what[: self._break_after]
                self._faults.happens("stream broken" if self.about in STREAMS else "answer lost")
                self._network.sometimes.reached("a frame was cut in two")
                self.break_client()
                self._tell_server()
            else:
                if self._break_after >= 0:
                    self._break_after -= len(what)
                self._arrived += what
        self._something.set()


class ServerLink:
    """The `DirectResponse` of a request, for immediate writes by the server."""

    def __init__(self, exchanged: Exchanged) -> None:
        self._exchanged = exchanged
        self.abort = exchanged.server_cuts

    def body(self) -> bytes | None:
        """See `DirectResponse`."""
        return self._exchanged.request_body

    def respond(self, headers: Sequence[Header], body: bytes) -> bool:
        """See `DirectResponse`."""
        if not self._exchanged.takes_more:
            return False
        self._exchanged.server_writes(body, {"status": 200, "headers": headers})
        return True

    def is_writable(self) -> bool:
        """See `DirectResponse`."""
        return self._exchanged.takes_more

    def is_open(self) -> bool:
        """See `DirectResponse`."""
        return self._exchanged.is_open

    def write(self, body: bytes) -> None:
        """See `DirectResponse`."""
        self._exchanged.server_writes(body)
