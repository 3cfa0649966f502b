"""The load generator reports a server that loses, doubles, alters or refuses: a figure proves that all arrived."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn

from benchmarks.bare import BareArguments, BareMember, BareServer
from benchmarks.clients import BenchmarkClients
from benchmarks.connections import WrongAnswer
from benchmarks.load import closed_loop, fixed_rate
from benchmarks.wire import MODERN

pytestmark = pytest.mark.anyio

MESSAGES = 60
BROKEN_AT = 40

Fault = Callable[["Faulty", BareMember, BareArguments], None]


class Faulty(BareServer):
    """The bare server with a fault in one message."""

    def __init__(self, before: Fault | None, after: Fault | None) -> None:
        super().__init__()
        self._before = before
        self._after = after
        self._messages = 0
        self.refuses = False

    def _send_message(self, arguments: BareArguments) -> dict[str, object]:
        self._messages += 1
        is_due = self._messages == BROKEN_AT
        partner = self._members[arguments.handle].partner
        assert partner is not None
        if is_due and self._before is not None:
            self._before(self, partner, arguments)
        answer = super()._send_message(arguments)
        if is_due and self._after is not None:
            self._after(self, partner, arguments)
        return answer | {"success": not (is_due and self.refuses)}

    def members(self) -> list[BareMember]:
        """Return every member so far."""
        return list(self._members.values())

    def turn_back(self) -> None:
        """Reset the cursor, so that cursors are given a second time."""
        self._cursor = 0


def _refuse(server: Faulty, partner: BareMember, arguments: BareArguments) -> None:
    server.refuses = True


def _alter(server: Faulty, partner: BareMember, arguments: BareArguments) -> None:
    arguments.message = arguments.message[:-1] + "!"


def _turn_back(server: Faulty, partner: BareMember, arguments: BareArguments) -> None:
    server.turn_back()


def _lose(server: Faulty, partner: BareMember, arguments: BareArguments) -> None:
    partner.frames.get_nowait()


def _double(server: Faulty, partner: BareMember, arguments: BareArguments) -> None:
    frame = partner.frames.get_nowait()
    partner.frames.put_nowait(frame)
    partner.frames.put_nowait(frame)


def _misdirect(server: Faulty, partner: BareMember, arguments: BareArguments) -> None:
    another = next(member for member in server.members() if member is not partner)
    another.frames.put_nowait(partner.frames.get_nowait())


FAULTS: dict[str, tuple[Fault | None, Fault | None, str]] = {
    "a refusal": (_refuse, None, "was answered"),
    "another text": (_alter, None, "did not expect"),
    "a cursor that does not grow": (_turn_back, None, "did not expect"),
    "a loss": (None, _lose, "messages were not delivered"),
    "a second copy": (None, _double, "did not expect"),
    "another's message": (None, _misdirect, "did not expect"),
}


@asynccontextmanager
async def crowd_of(server: Faulty) -> AsyncIterator[BenchmarkClients]:
    """Yield the clients of two pairs matched at `server`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(server, http="httptools", lifespan="off", log_config=None, access_log=False)
        running = uvicorn.Server(config)
        serving = asyncio.ensure_future(running.serve([listening]))
        crowd = BenchmarkClients(listening.getsockname()[1], protocol_version=MODERN)
        try:
            await crowd.watch(crowd.gather_pairs(2))
            await crowd.redial()
            yield crowd
        finally:
            crowd.close()
            running.should_exit = running.force_exit = True
            await serving


async def talk(crowd: BenchmarkClients, pace: str) -> None:
    """Send some messages, as fast as they are answered or by the clock."""
    if pace == "closed loop":
        await closed_loop(crowd, MESSAGES)
    else:
        await fixed_rate(crowd, 2_000, MESSAGES)
    await crowd.settle()


@pytest.mark.parametrize("pace", ["closed loop", "fixed rate"])
async def test_a_server_that_does_well_is_measured(pace: str) -> None:
    """A faultless server raises no error."""
    async with crowd_of(Faulty(None, None)) as crowd:
        await talk(crowd, pace)


@pytest.mark.parametrize("pace", ["closed loop", "fixed rate"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_one_message_done_wrong_ends_the_run(fault: str, pace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One faulty message in sixty, among two pairs, ends the run."""
    monkeypatch.setattr("benchmarks.load.MEASUREMENT_S_MAX", 1.0)
    before, after, told = FAULTS[fault]
    async with crowd_of(Faulty(before, after)) as crowd:
        with pytest.raises(WrongAnswer, match=told):
            await talk(crowd, pace)
