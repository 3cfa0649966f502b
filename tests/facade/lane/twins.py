"""Two brokers alike, one with the fast lane and one without: every act is done to both, and compared.

Their clocks stand still together and their random numbers are the same, so handles, rooms, sessions and times are
too: nothing is left out of a comparison except pings, which the SDK sends by the machine's clock.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import uvloop

from broker.broker import Broker
from broker.config import Settings
from events.codec import encode_commit
from events.memory import MemoryLog
from events.policy import Policy
from mcp_facade.app import ChatApp
from mcp_facade.http.direct_response import DIRECT_RESPONSE_KEY, Header
from tests.hostile.request import Request
from tests.support.fake_clock import FakeClock, settle

TURNS_MAX = 400

_OWN = re.compile(r"process_|python_|chat_broker_tasks|.*_created[ {]")  # of the one process they share, and the moment

Headers = list[tuple[bytes, bytes]]
Message = dict[str, Any]


class AsgiExchange:
    """One HTTP request to one of the two, and its response so far."""

    def __init__(self, app: ChatApp, request: Request, cut: int | None = None) -> None:
        """Send `request`, its body in two pieces if `cut` is given."""
        ends = [len(request.body)] if cut is None or cut == len(request.body) else [cut, len(request.body)]
        pieces = [request.body[begin:end] for begin, end in pairwise([0, *ends])]
        self.status = 0
        self.headers: Headers = []
        self.body = b""
        self.is_over = False
        self._pieces = [
            {"type": "http.request", "body": piece, "more_body": number < len(pieces)}
            for number, piece in enumerate(pieces, 1)
        ]
        self._gone = asyncio.Event()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": "http",
            "method": request.method.decode(),
            "path": "/mcp",
            "raw_path": b"/mcp",
            "root_path": "",
            "query_string": b"",
            "headers": request.fields({}),
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 8_000),
            "extensions": {DIRECT_RESPONSE_KEY: _FastReader(self, pieces)},
        }
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))

    def hang_up(self) -> None:
        """Hang up."""
        self._gone.set()

    @property
    def is_gone(self) -> bool:
        """True if the client has left."""
        return self._gone.is_set()

    @property
    def answer(self) -> tuple[int, Headers, bytes, bool]:
        """Status, headers without the length (a server's framing), body without pings, and true if it is complete."""
        headers = [header for header in self.headers if header[0] != b"content-length"]
        return self.status, headers, re.sub(rb": ping[^\r]*\r\n\r\n", b"", self.body), self.is_over

    def header(self, name: bytes) -> str:
        """Return a header of the answer."""
        return dict(self.headers).get(name, b"").decode()

    @property
    def results(self) -> list[Any]:
        """The JSON-RPC messages in the answer, if any."""
        if self.header(b"content-type") == "application/json":
            return [json.loads(self.body)] if self.body else []
        return [json.loads(data) for data in re.findall(rb"data: (\{.*)\r\n", self.body)]

    async def _receive(self) -> Message:
        if self._pieces:
            return self._pieces.pop(0)
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._gone.is_set():
            return
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        else:
            self.body += message.get("body", b"")
            self.is_over = not message.get("more_body", False)


class _FastReader:
    """The `DirectResponse` of a reader without delays."""

    def __init__(self, exchanged: AsgiExchange, pieces: Sequence[bytes]) -> None:
        self._exchanged = exchanged
        self._pieces = pieces
        self.abort = exchanged.hang_up

    def body(self) -> bytes | None:
        """Return the body, if it comes in one piece."""
        return self._pieces[0] if len(self._pieces) == 1 and not self._exchanged.is_gone else None

    def respond(self, headers: Sequence[Header], body: bytes) -> bool:
        """Take the whole answer."""
        one = self._exchanged
        if not one.is_gone:
            one.status, one.headers, one.body, one.is_over = 200, list(headers), body, True
        return not one.is_gone

    def is_writable(self) -> bool:
        """Return true until the client hangs up."""
        return not self._exchanged.is_gone

    def is_open(self) -> bool:
        """Return true until the client hangs up."""
        return not self._exchanged.is_gone

    def write(self, body: bytes) -> None:
        """Take more of a stream."""
        self._exchanged.body += body


class Twin:
    """One of the two brokers."""

    def __init__(self, policy: Policy, seed: int, *, fast_lane: bool) -> None:
        self._random = random.Random(seed)
        with self.drawing():
            self.clock = FakeClock()
            self.broker = Broker(MemoryLog(), self.clock, random_bytes=self._random.randbytes)
            self.app = ChatApp(self.broker, Settings(policy=policy, fast_lane=fast_lane))
        self.policy = policy

    @contextmanager
    def drawing(self) -> Any:
        """Draw all random values from this twin's numbers meanwhile."""
        with (
            patch("secrets.token_hex", lambda count: self._random.randbytes(count).hex()),
            patch("secrets.token_bytes", self._random.randbytes),
        ):
            yield

    @property
    def traces(self) -> dict[str, Any]:
        """All of its state, in a comparable form."""
        sessions = self.app.endpoint._sessions._by_id
        presence, log = self.broker.presence.activities, self.broker.log
        confirmation = self.broker.presence.confirmation
        assert isinstance(log, MemoryLog)
        return {
            "log": [encode_commit(commit) for commit in log._commits],
            "state": self.broker.state,
            "presence": {
                who: (trace.streams, trace.calls, trace.stream_closed_ms, trace.call_over_ms)
                for who, trace in presence.items()
            },
            "unconfirmed": list(confirmation.unconfirmed),
            "sessions": [
                (
                    one.session_id,
                    len(one.calls),
                    one.active_ms,
                    one.connections,
                    list(one.default_handles()),
                    one.subscriptions,
                    bool(one.stream),
                )
                for one in sessions.values()
            ],
            "records": dict(log.session_records._records),
            "waits": {who: len(waits) for who, waits in self.broker.hub._waits.items()},
        }

    @property
    def samples(self) -> list[str]:
        """Its metrics, except those of the process."""
        return [line for line in self.broker.metrics.render().decode().splitlines() if not _OWN.match(line)]


class Twins:
    """Both, and every open request."""

    def __init__(self, with_lane: Twin, without: Twin, tally: Counter[str]) -> None:
        self.twins = (with_lane, without)
        self.lane = with_lane
        self._open: list[tuple[AsgiExchange, AsgiExchange]] = []
        self._tally = tally

    async def do(self, what: Callable[[Twin], Any]) -> None:
        """Carry out the same act, which is no request, on both."""
        for twin in self.twins:
            with twin.drawing():
                done = what(twin)
                if asyncio.iscoroutine(done):
                    await done
                await settle()
        self.compare()

    async def request(
        self, request: Request, *, kind: str = "", cut: int | None = None
    ) -> tuple[AsgiExchange, AsgiExchange]:
        """Send a request, its body in two pieces if `cut` is given; return both exchanges, with equal responses."""
        lane = self.lane.app.endpoint.fast_lane
        assert lane is not None
        taken_before = lane.taken
        both = []
        for twin in self.twins:
            with twin.drawing():
                both.append(AsgiExchange(twin.app, request, cut))
                await idle(both[-1])
        pair = (both[0], both[1])
        self._tally[kind] += 1
        self._tally[f"{kind}, by the lane"] += lane.taken - taken_before
        self._open.append(pair)
        self.compare()
        return pair

    async def hang_up(self, pair: tuple[AsgiExchange, AsgiExchange]) -> None:
        """Hang up the client of both."""
        for twin, exchanged in zip(self.twins, pair, strict=True):
            with twin.drawing():
                exchanged.hang_up()
                await settle(60)
        self._open.remove(pair)
        self.compare()

    @property
    def open(self) -> list[tuple[AsgiExchange, AsgiExchange]]:
        """The unanswered requests, and the streams."""
        return self._open

    def compare_samples(self) -> None:
        """Check that their metrics are equal."""
        differing = set(self.twins[0].samples) ^ set(self.twins[1].samples)
        assert not differing, differing

    def compare(self) -> None:
        """Check that responses and state are equal."""
        for one, other in self._open:
            assert one.answer == other.answer
        self._open = [pair for pair in self._open if not pair[0].is_over]
        ours, theirs = self.lane.traces, self.twins[1].traces
        for name, trace in theirs.items():
            assert ours[name] == trace, name


async def idle(exchanged: AsgiExchange) -> None:
    """Return once it is answered, or has no more effects by itself."""
    for turns in range(0, TURNS_MAX, 20):
        before = len(exchanged.body)
        await settle(20)
        has_started = exchanged.status and len(exchanged.body) == before
        if exchanged.task.done() or (has_started and turns > 40):
            return


@asynccontextmanager
async def twins(tally: Counter[str], seed: int = 1, **limits: Any) -> AsyncIterator[Twins]:
    """Start both brokers."""
    generous = {"messages_per_10s_max": 1_000_000, "queue_commands_per_10s_max": 1_000_000}
    policy = Policy(**(generous | {"handles_minted_per_10s_max": 1_000_000} | limits))
    both = [Twin(policy, seed, fast_lane=fast_lane) for fast_lane in (True, False)]
    async with both[0].app.endpoint.run(), both[1].app.endpoint.run():
        for twin in both:
            with twin.drawing():
                await twin.broker.start(policy)
        pair = Twins(both[0], both[1], tally)
        try:
            yield pair
        finally:
            for twin in both:
                with twin.drawing():
                    twin.app.drain()
                    await settle(60)
                    await twin.broker.close()
        for exchanges in pair.open:
            assert exchanges[0].answer == exchanges[1].answer


def run(comparison: Coroutine[None, None, None]) -> None:
    """Run a comparison in an event loop of its own; raise a failure as it was found."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(comparison)
    except ExceptionGroup as group:
        found = group.exceptions[0]
        while isinstance(found, ExceptionGroup):
            found = found.exceptions[0]
        raise found from None
