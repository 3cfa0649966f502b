"""Limits of a peer address in the view of its clients, and an attack by one peer on all matches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from typing import cast

import pytest

from tests.facade.people import Era, Person, RefusedError, crowd
from tests.support.fake_clock import FakeClock
from tests.support.process import killed, started
from tests.support.process import serving as process
from tests.support.server import Running, serving

pytestmark = pytest.mark.anyio

ELSEWHERE = "127.0.0.2"


async def test_a_peer_with_too_many_connections_is_refused(era: Era) -> None:
    """The refusal says what to do; the call has no effect, other addresses are served, and a departure makes room."""
    async with serving(connections_per_peer_max=2, exempt_peers=()) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        cat = await there.person(era)
        before = running.broker.state
        refusal = await cat.refused("enter_queue")
        assert (refusal["code"], refusal["retry_after_ms"]) == ("too_many_connections", 10_000)
        assert refusal["error"] == (
            "Too many connections from your address wait or chat already. End one of them with leave_queue or "
            "leave_chat, or wait 10000 ms; then call again."
        )
        assert running.broker.state is before
        assert running.metric('chat_broker_rejections_total{code="too_many_connections"}') == 1
        await (await there.person(era, ELSEWHERE)).enter()
        await bob.say("Still here.")
        await ann.call("leave_chat", room_id=ann.room_id, handle=ann.handle)
        await cat.enter()


async def test_who_is_in_the_queue_is_not_refused_its_place(era: Era) -> None:
    """A repeated call gets the current answer, at both limits."""
    limits = {"connections_per_peer_max": 1, "queue_entries_per_peer_10s_max": 1, "exempt_peers": ()}
    async with serving(**limits) as running, crowd(running) as there:
        ann = await there.person(era)
        entered = await ann.enter()
        for _ in range(3):
            assert await ann.enter(handle=ann.handle) == entered


async def test_a_peer_that_enters_too_often_is_slowed_down(era: Era) -> None:
    """Its connections count together; `next_partner` is an entry too, and after its refusal the room goes on."""
    clock = FakeClock()
    limits = {"queue_entries_per_peer_10s_max": 2, "exempt_peers": ()}
    async with serving(clock=clock, **limits) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        for refusal in (
            await (await there.person(era)).refused("enter_queue"),
            await ann.refused("next_partner", room_id=ann.room_id, handle=ann.handle),
        ):
            assert (refusal["code"], refusal["retry_after_ms"]) == ("rate_limited", 5_000)
        await bob.say("Still here.")
        await clock.advance(5_000)
        await ann.call("next_partner", room_id=ann.room_id, handle=ann.handle)
        assert (await bob.refused("enter_queue", handle=bob.handle))["code"] == "rate_limited"


async def test_this_machine_has_no_limits(era: Era) -> None:
    """A local user has one address for all clients; a public broker applies the limits."""
    limits = {"connections_per_peer_max": 1, "queue_entries_per_peer_10s_max": 1, "handles_minted_per_10s_max": 1}
    async with serving(**limits) as running, crowd(running) as there:
        await there.pair(era, era)
        await there.pair(era, era)


@pytest.mark.parametrize(
    ("more", "event"),
    [
        ((), "peers_share_an_address"),
        (("--trust-proxy", "127.0.0.1"), "serving"),
        (("--peer-exempt", "127.0.0.1"), "serving"),
        (("--host", "0.0.0.0"), "serving"),  # noqa: S104 - it is not called
    ],
)
async def test_a_public_broker_that_sees_one_address_alone_says_so(more: tuple[str, ...], event: str) -> None:
    """The first line of the log names the remedy for a proxy that hides all callers."""
    running = await started("serve", "--port", "0", "--log-format", "json", "--allow-host", "chat.example.com", *more)
    assert running.stderr is not None
    line = json.loads(await running.stderr.readline())
    await killed(running)
    assert line["event"] == event
    assert (event == "serving") or "--trust-proxy" in line["hint"]


@pytest.mark.parametrize("is_asked", [True, False])
async def test_the_address_of_the_last_call_is_kept_for_reports(era: Era, is_asked: bool) -> None:
    """Only the operator's setting keeps it; it is also known after the person has left."""
    async with serving(log_peers=is_asked) as running, crowd(running) as there:
        ann = await there.person(era, ELSEWHERE)
        await ann.enter()
        await ann.call("leave_queue", handle=ann.handle)
        assert running.broker.peers.address_of(ann.connection_id) == (ELSEWHERE if is_asked else None)


MALLORYS = "127.0.0.2"
ADDRESSES = {"Ann": "127.0.0.3", "Bob": "127.0.0.4"}
MET_WITHIN_SECONDS = 10
MOMENT_SECONDS = 0.2
"""The time for which a person looks at the lobby, so that the attacker waits again by then."""


async def stranger(person: Person, tool: str, **arguments: object) -> str:
    """Call `tool`, repeating it after a rate limit, and wait for a stranger; return the name."""
    try:
        result = await person.call(tool, handle=person.handle, **arguments)
    except RefusedError as refused:
        if refused.args[0]["code"] != "rate_limited":
            raise
        await asyncio.sleep(refused.args[0]["retry_after_ms"] / 1_000)
        return await stranger(person, tool, **arguments)
    if result["status"] == "matched":
        return str(result["partner"])
    while True:
        for event in await person.hear():
            if event["method"] == "chatroom.found":
                return str(event["params"]["partner"])


@asynccontextmanager
async def attacked_by(mallories: list[Person]) -> AsyncIterator[None]:
    """Have one of `mallories` wait at any time; each leaves at once after a match."""

    async def attack() -> None:
        async with asyncio.TaskGroup() as leaving:
            for mallory in cycle(mallories):
                await stranger(mallory, "enter_queue", display_name="Mallory")
                leaving.create_task(mallory.call("leave_chat", room_id=mallory.room_id, handle=mallory.handle))

    await mallories[0].enter("Mallory")
    attacking = asyncio.create_task(attack())
    try:
        yield
    finally:
        attacking.cancel()
        await asyncio.wait({attacking})


async def met_by(person: Person, name: str) -> list[str]:
    """Return the names of all strangers of `person`, up to the first other than Mallory."""
    names = [await stranger(person, "enter_queue", display_name=name)]
    while names[-1] == "Mallory":
        await asyncio.sleep(MOMENT_SECONDS)
        names.append(await stranger(person, "next_partner", room_id=person.room_id))
    return names


@pytest.mark.slow
async def test_one_peer_does_not_own_the_lobby() -> None:
    """On a public broker the attacker always waits and leaves at once, and yet two people beside it meet."""
    public = ("--allow-host", "chat.example.com")
    async with process(*public) as broker, crowd(cast("Running", broker)) as there:
        mallories = [await there.person("2026", MALLORYS) for _ in range(6)]
        people = {name: await there.person("2026", address) for name, address in ADDRESSES.items()}
        async with attacked_by(mallories), asyncio.timeout(MET_WITHIN_SECONDS):
            anns, bobs = await asyncio.gather(*(met_by(person, name) for name, person in people.items()))
    assert (anns[-1], bobs[-1]) == ("Bob", "Ann")
    assert "Mallory" in anns + bobs
