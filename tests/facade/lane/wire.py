"""One connection to a server, over which bytes go as they are; where an answer ends is told by its framing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import chain, repeat
from typing import NamedTuple

import h11

from tests.hostile.cases import HEALTHZ
from tests.support.server import WITHIN_SECONDS

HEALTHY = '{"status":"ok"}'

FRAMING = {"content-length", "transfer-encoding"}
NOT_COMPARED = FRAMING | {"date"}

EVENT_END = "\r\n\r\n"


class WireResponse(NamedTuple):
    """One HTTP response, as far as it came."""

    status: int
    reason: str
    headers: list[tuple[str, str]]  # sorted, each as often as it came
    body: str = ""
    is_whole: bool = False

    @property
    def framing(self) -> set[str]:
        """Headers that tell its end."""
        return FRAMING.intersection(name for name, _ in self.headers)

    @property
    def headers_that_matter(self) -> list[tuple[str, str]]:
        """Headers that clients use."""
        return [header for header in self.headers if header[0] not in NOT_COMPARED]


def answers_in(received: bytes, methods: Sequence[bytes]) -> list[WireResponse]:
    """The responses in `received` to requests of `methods`, and to further POSTs; only the last may not be whole.

    Raises:
        h11.RemoteProtocolError: it is no HTTP.
    """
    parser = h11.Connection(h11.CLIENT)
    if received:  # nothing would be an end
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
    """The response that comes next, perhaps with a `100 Continue` before it; nothing if its head is not there yet."""
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

    It is no `StreamReader`, which forgets what it has not handed out yet when the connection is reset.
    """

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.is_closed = False
        self._methods: list[bytes] = []
        self._received = b""
        self._changed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """More has come."""
        self._received += data
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The server has closed it, or reset it, which is a matter of what it had not read yet."""
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
        """Return once `condition` holds, or the server has closed; it is looked at whenever something comes."""
        async with asyncio.timeout(WITHIN_SECONDS):
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
    """A connection, hung up afterwards."""
    transport, connection = await asyncio.get_running_loop().create_connection(RawConnection, "127.0.0.1", port)
    connection.transport = transport
    try:
        yield connection
    finally:
        transport.abort()


async def round_trip(port: int) -> None:
    """A request on another connection; once it is answered, the server has read whatever was sent to it before."""
    async with connected_to(port) as other:
        assert await other.stays_open()
