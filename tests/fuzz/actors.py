"""Actors of the scenarios: two strangers, one of each era, paired and in conversation before each scenario."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import Any

from mcp_facade.server import KEEP_ALIVE_SECONDS
from tests.facade.people import SESSIONS
from tests.fuzz.protocol import FuzzConnection, Response
from tests.hostile.messages import Draft, end_session, in_session, modern, opening
from tests.hostile.request import Request
from tests.hostile.values import MARK

IDLE_SECONDS_MAX = KEEP_ALIVE_SECONDS - 15
"""A connection idle for longer is not used again: the server may be about to close it."""
STRANGER = f"{MARK}stranger"


class HungUpError(Exception):
    """The server closed a connection with an answer still due."""


class KeepAliveClient:
    """One keep-alive connection to a server; it is replaced after a long silence."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: FuzzConnection | None = None
        self._used = 0.0

    def ask(self, request: Request) -> Response:
        """Send a request and return its response.

        Raises:
            HungUpError: the server closed the connection instead.
        """
        if self._connection is not None and time.monotonic() - self._used > IDLE_SECONDS_MAX:
            self.close()
        if self._connection is None:
            self._connection = FuzzConnection(self._port)
        connection = self._connection
        connection.asked, connection.received = [], b""
        connection.ask(request, request.wire({}))
        responses: list[Response] = []
        while not (responses and responses[-1].complete):
            try:
                data = connection.socket.recv(1 << 20)
            except OSError:  # reset, or silent for too long
                data = b""
            if not data:
                self.close()
                raise HungUpError(f"{request!r} was answered with {connection.received!r} and no more")
            connection.received += data
            responses, _ = connection.parsed()
        self._used = time.monotonic()
        return responses[-1]

    def get(self, path: bytes) -> Response:
        """Send a GET for a path other than the endpoint."""
        return self.ask(Request(b"GET", path, ((b"host", b"localhost"),)))

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            with contextlib.suppress(OSError):  # the other side was quicker
                self._connection.socket.shutdown(socket.SHUT_RDWR)
            self._connection.socket.close()
            self._connection = None


class Actors:
    """Ann of 2025 and Bob of 2026."""

    def __init__(self, client: KeepAliveClient) -> None:
        self._client = client
        self.ann = self.bob = self.room = self.session = ""
        self.cursor = 0

    def enter(self) -> None:
        """Open Ann's session, and pair the two; Bob sends a first message."""
        self.session = self.new_session()
        while True:
            entered = self.as_ann("enter_queue", display_name="Ann")
            self.ann = entered["handle"]
            if entered["status"] == "waiting":
                break
            self.as_ann("leave_chat", room_id=entered["room_id"])  # a partner from an earlier scenario
        entered = self.as_bob("enter_queue", display_name=STRANGER)
        assert entered["status"] == "matched", "two strangers are not paired"
        self.bob, self.room, self.cursor = entered["handle"], entered["room_id"], entered["cursor"]
        self.as_bob("send_message", handle=self.bob, room_id=self.room, message=STRANGER)

    def talk(self) -> None:
        """Send a message each way, and check its arrival."""
        said = [f"{MARK} to Ann", f"{MARK} to Bob"]
        self.as_bob("send_message", handle=self.bob, room_id=self.room, message=said[0])
        self.as_ann("send_message", room_id=self.room, message=said[1])
        heard = [self.as_ann("wait_for_events", cursor=0), self.as_bob("wait_for_events", handle=self.bob, cursor=0)]
        for events, text in zip(heard, said, strict=True):
            assert events["events"][-1]["params"]["message"] == text

    def new_session(self) -> str:
        """Open another session of 2025."""
        session = self._ask(opening()).headers["mcp-session-id"]
        initialized = in_session("notifications/initialized", {}, session, version=SESSIONS)
        del initialized.body["id"]
        self._ask(initialized)
        return session

    def end_session(self, session: str) -> None:
        """Send a DELETE; the session may have ended already."""
        response = self._client.ask(end_session(session).request())
        assert response.status in (200, 404)

    def as_ann(self, tool: str, **arguments: Any) -> Any:
        """Call a tool in Ann's session."""
        return _result(self._ask(in_session("tools/call", {"name": tool, "arguments": arguments}, self.session)))

    def as_bob(self, tool: str, **arguments: Any) -> Any:
        """Call a tool as Bob."""
        return _result(self._ask(modern("tools/call", {"name": tool, "arguments": arguments}, 1, tool)))

    def _ask(self, draft: Draft) -> Response:
        response = self._client.ask(draft.request())
        assert response.status in (200, 202), response
        return response


def _result(response: Response) -> Any:
    """Return the structured result of a tool."""
    text = response.body.decode()
    if response.is_stream:
        text = [line for line in text.split("\n") if line.startswith("data: ")][-1].removeprefix("data: ")
    result = json.loads(text)["result"]
    assert not result.get("isError"), result
    return result["structuredContent"]
