"""The client's side of a scenario: blocking sockets, and everything that came back."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from typing import NamedTuple

from tests.fuzz.requests import Act, Request, Scenario

ANSWERED_WITHIN_SECONDS = 8.0
"""An append may take five; all else takes milliseconds."""

QUIET_SECONDS = 0.02
"""For how long a connection on which nothing is owed is listened to."""


class HungError(AssertionError):
    """A request that is owed an answer got none."""


class Response(NamedTuple):
    """One HTTP response, as far as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool

    @property
    def is_stream(self) -> bool:
        """Whether it is a stream of events."""
        return self.headers.get("content-type", "").startswith("text/event-stream")


class Talk(NamedTuple):
    """What was asked on one connection, and what came back."""

    asked: tuple[Request, ...]
    sent: bytes
    responses: tuple[Response, ...]
    rest: bytes  # what is no response


class Line:
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
        """Write it, for as long as the server listens."""
        self.sent += data
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def ask(self, request: Request, data: bytes) -> None:
        """Write some of a request, or all of it."""
        self.asked.append(request)
        self.is_owed = self.is_owed and request.is_owed_an_answer
        self.send(data)

    def listen(self) -> None:
        """Read what comes next, if it comes soon."""
        self.socket.settimeout(QUIET_SECONDS)
        with contextlib.suppress(TimeoutError, ConnectionError):
            self.received += self.socket.recv(1 << 20)
        self.socket.settimeout(ANSWERED_WITHIN_SECONDS)

    def finish(self) -> Talk:
        """Read what is owed, or for a moment if nothing is."""
        deadline = time.monotonic() + (ANSWERED_WITHIN_SECONDS if self.is_owed else QUIET_SECONDS)
        responses, rest = self._parsed()
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
            responses, rest = self._parsed()
            if not self.is_owed and time.monotonic() > deadline:
                break
        self.socket.close()
        return Talk(tuple(self.asked), self.sent, tuple(responses), rest)

    def _parsed(self) -> tuple[list[Response], bytes]:
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
        """Whether all has come that has to: a stream lasts, and what is behind it on its connection waits."""
        if not self.is_owed:
            return False
        if responses and not responses[-1].complete:
            return responses[-1].is_stream and bool(responses[-1].body) and _lasts(self.asked[len(responses) - 1])
        return len(responses) >= len(self.asked)


def _lasts(request: Request) -> bool:
    body = request.body.replace(b"\0", b"")  # the SDK also reads UTF-16 and UTF-32
    return request.method == b"GET" or b"subscriptions/listen" in body


def _response(head: bytes, rest: bytes, method: bytes) -> tuple[Response, bytes]:
    """The response that begins so, and what is behind it.

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


def carry_out(scenario: Scenario, values: Mapping[bytes, bytes], port: int) -> list[Talk]:
    """Do what `scenario` says; what came back on each connection that was not hung up.

    Raises:
        HungError: there was no answer where one is owed.
    """
    lines: dict[int, Line] = {}
    held: list[tuple[Line, bytes]] = []
    try:
        for act in scenario:
            line = lines.get(act.connection) or lines.setdefault(act.connection, Line(port))
            rest = _do(act, line, values)
            if act.then == "hang up":
                lines.pop(act.connection).socket.close()
                continue
            if rest:
                held.append((line, rest))
            if act.then == "listen":
                line.listen()
        for line, rest in held:
            if line in lines.values():
                line.send(rest)
        return [line.finish() for line in lines.values()]
    finally:
        for line in lines.values():
            line.socket.close()


def _do(act: Act, line: Line, values: Mapping[bytes, bytes]) -> bytes:
    """Send what is to be sent now; what is left."""
    data = act.request.wire(values)
    now = len(data) * act.cut // 100
    line.ask(act.request, data[:now])
    if line.is_half_asked or (now < len(data) and len(line.asked) > 1):
        line.is_owed = False  # one request stands in the middle of another
    line.is_half_asked = line.is_half_asked or now < len(data)
    return data[now:]
