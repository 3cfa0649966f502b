"""One connection to a server, with bytes as they are; the framing tells the end of an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import chain, repeat
from typing import NamedTuple

import h11

from tests.hostile.cases import HEALTHZ
from tests.support.limits import SOON_SECONDS

HEALTHY = '{"status":"ok"}'

FRAMING = {"content-length", "transfer-encoding"}
NOT_COMPARED = FRAMING | {"date"}

EVENT_END = "\r\n\r\n"


class WireResponse(NamedTuple):
    """One HTTP response, or the received part of it."""

    status: int
    reason: str
    headers: list[tuple[str, str]]  # sorted, each as often as it came
    body: str = ""
    is_whole: bool = False

    @property
    def framing(self) -> set[str]:
        """The headers with its end."""
        return FRAMING.intersection(name for name, _ in self.headers)

    @property
    def headers_that_matter(self) -> list[tuple[str, str]]:
        """The headers of use to clients."""
        return [header for header in self.headers if header[0] not in NOT_COMPARED]


def answers_in(received: bytes, methods: Sequence[bytes]) -> list[WireResponse]:
    """Return the responses in `received` to requests of `methods`, and to further POSTs; the last may be partial.

    Raises:
        h11.RemoteProtocolError: it is no HTTP.
    """
    parser = h11.Connection(h11.CLIENT)
    if received:  # no data would be an end
        parser.receive_data(received)
    answers: list[WireResponse] = []
    for method in chain(methods, repeat(b"POST")):
        parser.send(h11.Request(method=method, target="/", headers=[("host", "")]))
        parser.send(h11.EndOfMessage())
        answers += _next_answer(parser)
        if parser.states != {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            break
        parser.start_next_cycle()
    if parser.their_state is h11.MUST_CLOSE:
        assert parser.trailing_data[0] == b"", "something came after the last answer"
    return answers


def _next_answer(parser: h11.Connection) -> list[WireResponse]:
    """Return the next response, perhaps after a `100 Continue`; nothing before its head is there."""
    answers: list[WireResponse] = []
    while (event := parser.next_event()) is not h11.NEED_DATA:
        match event:
            case h11.InformationalResponse() | h11.Response():
                headers = sorted((name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers)
                is_whole = isinstance(event, h11.InformationalResponse)
                answers.append(WireResponse(event.status_code, event.reason.decode(), headers, is_whole=is_whole))
            case h11.Data():
                answers[-1] = answers[-1]._replace(body=answers[-1].body + event.data.decode())
            case _:
                answers[-1] = answers[-1]._replace(is_whole=True)
                break
    return answers


class RawConnection(asyncio.Protocol):
    """One connection.

    It is no `StreamReader`, because a reset makes that one forget its unread data.
    """

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.is_closed = False
        self._methods: list[bytes] = []
        self._received = b""
        self._changed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Take more data."""
        self._received += data
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the close; it is a reset if the server had unread data."""
        self.is_closed = True
        self._changed.set()

    def ask(self, method: bytes, request: bytes) -> None:
        """Send a request of that method."""
        self._methods.append(method)
        self.transport.write(request)

    @property
    def answers(self) -> list[WireResponse]:
        """The responses so far."""
        return answers_in(self._received, self._methods)

    @property
    def final_answers(self) -> int:
        """The number of complete final responses."""
        return sum(answer.is_whole and answer.status >= 200 for answer in self.answers)

    @property
    def events(self) -> int:
        """The number of events in all responses together."""
        return sum(answer.body.count(EVENT_END) for answer in self.answers)

    @property
    def is_streaming(self) -> bool:
        """True if a response has begun and not ended."""
        return any(not answer.is_whole for answer in self.answers)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once `condition` holds, or the server has closed; it is checked on each change."""
        async with asyncio.timeout(SOON_SECONDS):
            while not (condition() or self.is_closed):
                self._changed.clear()
                await self._changed.wait()

    async def stays_open(self) -> bool:
        """Send one more request; return true if it is answered."""
        answered = self.final_answers
        self._methods[answered:] = []
        self.ask(b"GET", HEALTHZ)
        await self.until(lambda: self.final_answers > answered and self.answers[-1].body == HEALTHY)
        return not self.is_closed


@asynccontextmanager
async def connected_to(port: int) -> AsyncIterator[RawConnection]:
    """Open a connection; hang up afterwards."""
    transport, connection = await asyncio.get_running_loop().create_connection(RawConnection, "127.0.0.1", port)
    connection.transport = transport
    try:
        yield connection
    finally:
        transport.abort()


async def round_trip(port: int) -> None:
    """Make a request on another connection; after its answer, the server has read all earlier bytes."""
    async with connected_to(port) as other:
        assert await other.stays_open()
