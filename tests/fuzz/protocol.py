"""The client's side of a scenario's HTTP, over blocking sockets."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from typing import NamedTuple

from tests.hostile.request import Request
from tests.hostile.scenarios import Act, Scenario

ANSWERED_WITHIN_SECONDS = 8.0
"""An append may take five; all else takes milliseconds."""

QUIET_SECONDS = 0.02
"""The time to listen on a connection with no answer due."""


class HungError(AssertionError):
    """An answer was due, and none came."""


class Response(NamedTuple):
    """One HTTP response, or the received part of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool

    @property
    def is_stream(self) -> bool:
        """Tell if it is a stream of events."""
        return self.headers.get("content-type", "").startswith("text/event-stream")


class Dialogue(NamedTuple):
    """Requests on one connection, and their responses."""

    asked: tuple[Request, ...]
    sent: bytes
    responses: tuple[Response, ...]
    rest: bytes  # bytes after the last response


class FuzzConnection:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWERED_WITHIN_SECONDS)
        self.asked: list[Request] = []
        self.sent = b""
        self.received = b""
        self.is_owed = True
        self.is_half_asked = False
        self.closed = False

    def send(self, data: bytes) -> None:
        """Send `data`, for as long as the server listens."""
        self.sent += data
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def ask(self, request: Request, data: bytes) -> None:
        """Send part of a request, or all of it."""
        self.asked.append(request)
        self.is_owed = self.is_owed and request.is_owed_an_answer
        self.send(data)

    def listen(self) -> None:
        """Read the next bytes, if some come soon."""
        self.socket.settimeout(QUIET_SECONDS)
        with contextlib.suppress(TimeoutError, ConnectionError):
            self.received += self.socket.recv(1 << 20)
        self.socket.settimeout(ANSWERED_WITHIN_SECONDS)

    def finish(self) -> Dialogue:
        """Read the answers that are due; without any, listen for a moment."""
        deadline = time.monotonic() + (ANSWERED_WITHIN_SECONDS if self.is_owed else QUIET_SECONDS)
        responses, rest = self.parsed()
        while not self.closed and not self._is_satisfied(responses):
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self.socket.recv(1 << 20)
            except TimeoutError:
                if self.is_owed:
                    raise HungError(f"no answer within {ANSWERED_WITHIN_SECONDS} s") from None
                break
            except OSError:
                data = b""
            self.closed = not data
            self.received += data
            responses, rest = self.parsed()
            if not self.is_owed and time.monotonic() > deadline:
                break
        self.socket.close()
        return Dialogue(tuple(self.asked), self.sent, tuple(responses), rest)

    def parsed(self) -> tuple[list[Response], bytes]:
        """Return the responses so far, and the bytes after them."""
        responses: list[Response] = []
        data = self.received
        while data:
            head, found, rest = data.partition(b"\r\n\r\n")
            if not found:
                return responses, data
            method = self.asked[len(responses)].method if len(responses) < len(self.asked) else b""
            response, data = _response(head, rest, method)
            if response.status != 100:
                responses.append(response)
            if not response.complete:
                break
        return responses, data

    def _is_satisfied(self, responses: list[Response]) -> bool:
        """Tell if all due answers have come; a stream has no end, and later requests on its connection wait."""
        if not self.is_owed:
            return False
        if responses and not responses[-1].complete:
            return responses[-1].is_stream and bool(responses[-1].body) and _lasts(self.asked[len(responses) - 1])
        return len(responses) >= len(self.asked)


def _lasts(request: Request) -> bool:
    body = request.body.replace(b"\0", b"")  # the SDK also reads UTF-16 and UTF-32
    return request.method == b"GET" or b"subscriptions/listen" in body


def _response(head: bytes, rest: bytes, method: bytes) -> tuple[Response, bytes]:
    """Return the response with this head, and the bytes after it.

    Raises:
        AssertionError: it is no HTTP.
    """
    status_line, *lines = head.decode("latin-1").split("\r\n")
    version, status, *_ = status_line.split(" ")
    assert version == "HTTP/1.1", status_line
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert len(headers) == len(lines), f"a header twice: {head!r}"
    if method == b"HEAD" or status in ("100", "204", "304"):
        return Response(int(status), headers, b"", complete=True), rest
    if headers.get("transfer-encoding") == "chunked":
        body, complete, rest = _unchunked(rest)
    else:
        length = int(headers["content-length"])
        body, complete, rest = rest[:length], len(rest) >= length, rest[length:]
    return Response(int(status), headers, body, complete), rest


def _unchunked(data: bytes) -> tuple[bytes, bool, bytes]:
    body = b""
    while True:
        size, found, rest = data.partition(b"\r\n")
        if not found or len(rest) < int(size, 16) + 2:
            return body, False, b""
        if int(size, 16) == 0:
            return body, True, rest[2:]
        body += rest[: int(size, 16)]
        data = rest[int(size, 16) + 2 :]


def carry_out(scenario: Scenario, values: Mapping[bytes, bytes], port: int) -> list[Dialogue]:
    """Carry out `scenario`; return the dialogue on each connection except those of a hang-up.

    Raises:
        HungError: an answer is due, and none came.
    """
    connections: dict[int, FuzzConnection] = {}
    held: list[tuple[FuzzConnection, bytes]] = []
    try:
        for act in scenario:
            connection = connections.get(act.connection) or connections.setdefault(act.connection, FuzzConnection(port))
            rest = _do(act, connection, values)
            if act.then == "hang up":
                connections.pop(act.connection).socket.close()
                continue
            if rest:
                held.append((connection, rest))
            if act.then == "listen":
                connection.listen()
        for connection, rest in held:
            if connection in connections.values():
                connection.send(rest)
        return [connection.finish() for connection in connections.values()]
    finally:
        for connection in connections.values():
            connection.socket.close()


def _do(act: Act, connection: FuzzConnection, values: Mapping[bytes, bytes]) -> bytes:
    """Send the part that is due now; return the rest."""
    request = act.request.filled(values)  # ids and methods may be placeholders too
    data = request.wire({})
    now = len(data) * act.cut // 100
    connection.ask(request, data[:now])
    if connection.is_half_asked or (now < len(data) and len(connection.asked) > 1):
        connection.is_owed = False  # one request stands in the middle of another
    connection.is_half_asked = connection.is_half_asked or now < len(data)
    return data[now:]
