"""Those whom a scenario speaks of: two strangers of either era, who are paired and talk before each of them."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import Any

from mcp_facade.serve import KEEP_ALIVE_SECONDS
from mcp_facade.streams.frames import EXTENSION
from tests.facade.people import ACCEPT, CLIENT_INFO, MODERN, SESSIONS
from tests.fuzz.requests import Request
from tests.fuzz.strategies import MARK
from tests.fuzz.talk import Line, Response

HEADERS = {b"host": b"localhost", b"accept": ACCEPT.encode(), b"content-type": b"application/json"}
IDLE_SECONDS_MAX = KEEP_ALIVE_SECONDS - 15
"""A connection that was idle for longer is not used again: the server may be about to close it."""
STRANGER = f"{MARK}stranger"


class HungUpError(Exception):
    """The server closed a connection on which an answer was owed."""


class Client:
    """One keep-alive connection to a server, by hand; another one after a long time of silence."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._line: Line | None = None
        self._used = 0.0

    def ask(self, request: Request) -> Response:
        """Make a request that has to be answered.

        Raises:
            HungUpError: it was not.
        """
        if self._line is not None and time.monotonic() - self._used > IDLE_SECONDS_MAX:
            self.close()
        if self._line is None:
            self._line = Line(self._port)
        line = self._line
        line.asked, line.received = [], b""
        line.ask(request, request.wire({}))
        responses: list[Response] = []
        while not (responses and responses[-1].complete):
            try:
                data = line.socket.recv(1 << 20)
            except OSError:  # reset, or silent for too long
                data = b""
            if not data:
                self.close()
                raise HungUpError(f"{request!r} was answered with {line.received!r} and no more")
            line.received += data
            responses, _ = line._parsed()
        self._used = time.monotonic()
        return responses[-1]

    def get(self, path: bytes) -> Response:
        """A GET of something that is not the endpoint."""
        return self.ask(Request(b"GET", path, ((b"host", b"localhost"),)))

    def close(self) -> None:
        """Hang up."""
        if self._line is not None:
            with contextlib.suppress(OSError):  # the other side was quicker
                self._line.socket.shutdown(socket.SHUT_RDWR)
            self._line.socket.close()
            self._line = None


class Cast:
    """Ann of 2025 and Bob of 2026."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.ann = self.bob = self.room = self.session = ""
        self.cursor = 0

    def enter(self) -> None:
        """Open Ann's session, and pair the two; Bob says something."""
        self.session = self.new_session()
        while True:
            entered = self.as_ann("enter_queue", display_name="Ann")
            self.ann = entered["handle"]
            if entered["status"] == "waiting":
                break
            self.as_ann("leave_chat", room_id=entered["room_id"])  # someone from an earlier scenario
        entered = self.as_bob("enter_queue", display_name=STRANGER)
        assert entered["status"] == "matched", "two strangers are not paired"
        self.bob, self.room, self.cursor = entered["handle"], entered["room_id"], entered["cursor"]
        self.as_bob("send_message", handle=self.bob, room_id=self.room, message=STRANGER)

    def talk(self) -> None:
        """Each says something that the other hears."""
        said = [f"{MARK} to Ann", f"{MARK} to Bob"]
        self.as_bob("send_message", handle=self.bob, room_id=self.room, message=said[0])
        self.as_ann("send_message", room_id=self.room, message=said[1])
        heard = [self.as_ann("wait_for_events", cursor=0), self.as_bob("wait_for_events", handle=self.bob, cursor=0)]
        for events, text in zip(heard, said, strict=True):
            assert events["events"][-1]["params"]["message"] == text

    def new_session(self) -> str:
        """Another session of 2025."""
        params = {"protocolVersion": SESSIONS, "capabilities": {}, "clientInfo": CLIENT_INFO}
        response = self._post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}, {})
        session = response.headers["mcp-session-id"]
        self._post({"jsonrpc": "2.0", "method": "notifications/initialized"}, _in_session(session))
        return session

    def end_session(self, session: str) -> None:
        """A DELETE; it may have ended already."""
        headers = {**HEADERS, **_in_session(session)}
        response = self._client.ask(Request(b"DELETE", b"/mcp", tuple(headers.items())))
        assert response.status in (200, 404)

    def as_ann(self, tool: str, **arguments: Any) -> Any:
        """A tool call in Ann's session."""
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        return _result(self._post(call, _in_session(self.session)))

    def as_bob(self, tool: str, **arguments: Any) -> Any:
        """A tool call of Bob's."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": CLIENT_INFO,
            "io.modelcontextprotocol/clientCapabilities": {"extensions": {EXTENSION: {}}},
        }
        params = {"name": tool, "arguments": arguments, "_meta": meta}
        headers = {b"mcp-protocol-version": MODERN.encode(), b"mcp-method": b"tools/call", b"mcp-name": tool.encode()}
        return _result(self._post({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, headers))

    def _post(self, message: dict[str, Any], headers: dict[bytes, bytes]) -> Response:
        given = tuple({**HEADERS, **headers}.items())
        response = self._client.ask(Request(b"POST", b"/mcp", given, json.dumps(message).encode()))
        assert response.status in (200, 202), response
        return response


def _in_session(session: str) -> dict[bytes, bytes]:
    return {b"mcp-session-id": session.encode(), b"mcp-protocol-version": SESSIONS.encode()}


def _result(response: Response) -> Any:
    """What a tool gave."""
    text = response.body.decode()
    if response.is_stream:
        text = [line for line in text.splitlines() if line.startswith("data: ")][-1].removeprefix("data: ")
    result = json.loads(text)["result"]
    assert not result.get("isError"), result
    return result["structuredContent"]
