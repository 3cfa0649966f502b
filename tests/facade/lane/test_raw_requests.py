"""The lane and the SDK answer alike on the wire: two real servers, one without the lane, are sent the same bytes.

Checked here, and taken for granted by the comparison within one process (`test_same_answers.py`): the framing of
requests, their segments and their order on a connection, the fate of that connection, and the partner's events. Only
the way to give the end of an answer may differ.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import NamedTuple, cast

import pytest

from tests.facade.lane.wire import RawConnection, WireResponse, connected_to, round_trip
from tests.facade.people import Era, InSession, Modern, crowd
from tests.hostile.cases import CASES, Case, ChatRequests, ClientStep, Pause, chat_requests
from tests.hostile.request import Request
from tests.hostile.scenarios import made, requests
from tests.support.process import NO_MISSED_MATCH, Process, serving
from tests.support.server import Running

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

DRAWN = 60


class Servers(NamedTuple):
    """Two servers; only the lane differs."""

    with_lane: Process
    without: Process


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The event loop for all tests, since the servers last as long."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="module")
async def servers() -> AsyncIterator[Servers]:
    """Start both, independent of the environment; they must end cleanly, without a fault in their logs."""
    async with AsyncExitStack() as stack:
        both = [
            await stack.enter_async_context(
                serving("--log-level", "warning", *NO_MISSED_MATCH, CHAT_BROKER_NO_FAST_LANE=no_lane)
            )
            for no_lane in ("0", "1")
        ]
        yield Servers(*both)
        for server in both:
            status, _, logged = await server.terminate()
            assert status == 0
            assert "Traceback" not in logged


def requests_of(person: Modern | InSession, cursor: int) -> ChatRequests:
    """Return the requests of `person`, whose events up to `cursor` are read."""
    session_id = person.session_id if isinstance(person, InSession) else None
    return chat_requests(person.handle, person.room_id, cursor, session_id)


class CaseClient:
    """A client of one connection; it carries out a case."""

    def __init__(self, connection: RawConnection, bob: Modern) -> None:
        """Take the connection, and the partner `bob`."""
        self._connection = connection
        self._bob = bob
        self._has_ended = False
        self._answers = 0
        self._events = 0

    async def take(self, step: ClientStep) -> None:
        """Carry out the next step."""
        connection = self._connection
        match step:
            case Request():
                connection.ask(step.method, step.wire({}))
            case bytes():
                connection.transport.write(step)
            case Pause.ROUND_TRIP:
                await round_trip(self._bob.running.port)
            case Pause.ANSWERED:
                self._answers += 1
                await connection.until(lambda: connection.final_answers >= self._answers)
            case Pause.EVENT:
                self._events += 1
                await connection.until(lambda: connection.events >= self._events)
            case Pause.CONTINUE:
                await connection.until(lambda: connection.answers != [])
            case Pause.SPOKEN_TO:
                await self._bob.say("hello")
            case Pause.END:
                connection.transport.write_eof()
                self._has_ended = True

    async def end(self, answers: int) -> str:
        """Wait for so many answers; return the state of the connection after them."""
        connection = self._connection
        await connection.until(lambda: connection.final_answers >= answers)
        if self._has_ended:
            await connection.until(lambda: connection.is_closed)
        elif connection.is_streaming:
            await round_trip(self._bob.running.port)
        elif not connection.is_closed:
            return "open" if await connection.stays_open() else "closed"
        return "closed" if connection.is_closed else "open"

    @property
    def answers(self) -> list[WireResponse]:
        """The answers so far, without one that the client cut short, since its length depends on time."""
        return [answer for answer in self._connection.answers if answer.is_whole or not self._has_ended]


def values_of(ann: Modern | InSession, bob: Modern) -> dict[bytes, bytes]:
    """Return values for the placeholders in requests of Ann, with Bob as her partner."""
    values = {
        "SESSION": ann.session_id if isinstance(ann, InSession) else "none",
        "HANDLE": ann.handle,
        "PARTNER": bob.handle,
        "ROOM": ann.room_id,
        "CURSOR": str(bob.cursor),
    }
    return {f"@{name}@".encode(): value.encode() for name, value in values.items()}


def is_answered_at_once(request: Request) -> bool:
    """Tell if the answer to `request` is independent of time: no stream, no wait, no open end."""
    lasts = request.method == b"GET" or any(word in request.body for word in (b"subscriptions", b"wait"))
    return request.is_owed_an_answer and not lasts


async def outcome(server: Process, era: Era, case: Case) -> str:
    """Return all visible effects of `case`, done by one of a new pair at `server`, except ids and times."""
    async with crowd(cast("Running", server)) as there, connected_to(server.port) as connection:
        ann, bob = await there.pair(era, "2026")
        met_at = bob.cursor
        client = CaseClient(connection, bob)
        for step in case.steps(requests_of(ann, met_at)):
            await client.take(step.filled(values_of(ann, bob)) if isinstance(step, Request) else step)
        end = await client.end(case.answers)
        answers = [shown(answer) for answer in client.answers]
        told = await bob.call("wait_for_events", handle=bob.handle, cursor=met_at, wait_seconds=0)
    return masked("\n".join([*answers, end, json.dumps(told, indent=1)]), server.port, met_at)


def shown(answer: WireResponse) -> str:
    """Return the parts of an answer a client uses."""
    headers = (f"{name}: {value}" for name, value in answer.headers_that_matter)
    end = "" if answer.is_whole else "..."
    return "\n".join([f"{answer.status} {answer.reason}", *headers, "", *answer.body.splitlines(), end])


IDS = re.compile(r"cb_[\w-]{32}|cs_[\w-]{51}|\b[cr]_[0-9a-f]{32}\b|\b[0-9a-f]{32}\b|\b[0-9a-f]{16}(?=\.[0-9a-f]+\.\d+)")
POSITIONS = re.compile(r'(cursor\\?": ?|<id \d+>\.)(\d+)')
TIMES = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z|(idle_seconds\\?": ?|\bretry: )\d+')


def masked(text: str, port: int, met_at: int) -> str:
    """Return `text` with ids numbered in order, and positions counted from `met_at`."""
    numbers: dict[str, int] = {}
    text = IDS.sub(lambda found: f"<id {numbers.setdefault(found[0], len(numbers))}>", text)
    text = POSITIONS.sub(lambda found: f"{found[1]}<{int(found[2]) - met_at} later>", text)
    return TIMES.sub(r"\1<time>", text).replace(f":{port}", ":<port>")


@pytest.mark.parametrize("name", CASES)
async def test_the_same_bytes_have_the_same_outcome(servers: Servers, era: Era, name: str) -> None:
    """Equal are the answers, the state of the connection, and the partner's events."""
    ours, theirs = await asyncio.gather(*(outcome(server, era, CASES[name]) for server in servers))
    assert ours == theirs


async def test_a_hostile_request_has_the_same_outcome(servers: Servers, era: Era) -> None:
    """Requests are drawn as for the fuzzer (odd heads, bodies and targets); answers and partner's events are equal."""
    drawn = [request for request in made(requests(), DRAWN, seed=1) if is_answered_at_once(request)]
    assert len(drawn) > DRAWN / 4
    for request in drawn:
        case = Case(lambda ask, request=request: [request])
        ours, theirs = await asyncio.gather(*(outcome(server, era, case) for server in servers))
        assert ours == theirs, request


async def test_only_one_of_them_has_a_lane(servers: Servers) -> None:
    """Only the lane gives the length of an answer in a session beforehand."""

    async def framing(server: Process) -> set[str]:
        async with crowd(cast("Running", server)) as there, connected_to(server.port) as connection:
            ann, bob = await there.pair("2025", "2026")
            client = CaseClient(connection, bob)
            await client.take(requests_of(ann, bob.cursor).call)
            await client.take(Pause.ANSWERED)
            return connection.answers[0].framing

    assert await framing(servers.with_lane) == {"content-length"}
    assert await framing(servers.without) == {"transfer-encoding"}
