"""The time after the faults: everything comes to rest, and each person has all notifications."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import combinations
from typing import TYPE_CHECKING

from broker.testing.comparison import differences
from projections.connections import Idle
from projections.state import digest, fold
from tests.simulation.hosts import Answer, Host
from tests.simulation.kept_host import KeptHost
from tests.simulation.listening_host import ListeningHost
from tests.simulation.loop import sleep_ms
from tests.simulation.matches import CANCELLED_WITHIN_MS
from tests.simulation.population import new_host, vanish

if TYPE_CHECKING:
    from tests.simulation.people import Person
    from tests.simulation.surroundings import Surroundings

AGAIN_MS = 250.0
WAIT_SECONDS = 3
ROUNDS = 3
VANISHING = 0.4
HAUNTING = 0.4
LINGER_SECONDS = 2
PATIENCE_SLACK_MS = 2_500
TRIES_MAX = 240


async def insist(person: Person, ask: Callable[[], Awaitable[Answer | None]]) -> Answer | None:
    """Ask until the answer is other than "later"."""
    answer = None
    for _ in range(TRIES_MAX):
        answer = await ask()
        if answer is not None and answer.payload.get("code") not in ("unavailable", "rate_limited"):
            return answer
        wait_ms = answer.payload.get("retry_after_ms", 0) if answer is not None else 0
        await sleep_ms(max(AGAIN_MS, wait_ms))
    person.around.world.fail(f"{person.name} never got an answer, though nothing is wrong any more, but {answer}")
    return None


async def catch_up(person: Person) -> None:
    """Read all events, up to the place in the log."""
    if person.who is None:
        return
    await insist(person, person.status)
    while person.who is not None:
        before = person.cursor
        answer = await insist(person, lambda: person.wait(0))
        if answer is None or answer.is_error or (not answer.payload.get("events") and person.cursor == before):
            break
        if not answer.payload.get("events") and person.cursor is not None:
            break


def check_idle(around: Surroundings) -> None:
    """Check that all people have left, and know it."""
    for person in around.people:
        if person.who is not None and not person.vanished and (person.waits or person.room_id is not None):
            place = around.record.person(person.who).place
            around.world.fail(f"{person.name} has left and believes to be somewhere still; the log says {place}")


async def meet(person: Person) -> None:
    """Enter the queue, unless the person waits or chats."""
    if person.room_id is None and not person.waits:
        await insist(person, person.enter)


async def haunt(person: Person) -> None:
    """Let a ghost enter before some people: it waits, and disappears for good before any match."""
    around = person.around
    if around.plan.vanishing and person.random.random() < HAUNTING:
        ghost = new_host(around, Host)
        await insist(around.people[-1], around.people[-1].enter)
        vanish(around, ghost)


async def linger(person: Person) -> None:
    """Wait for events until every ghost has missed its match."""
    around = person.around
    until_ms = around.world.now_ms + around.plan.policy.confirm_grace_ms + CANCELLED_WITHIN_MS
    while around.world.now_ms < until_ms and person.who is not None:
        await insist(person, lambda: person.wait(max(LINGER_SECONDS, around.plan.policy.confirm_grace_ms // 10_000)))
        await sleep_ms(AGAIN_MS)


def check_met(around: Surroundings) -> None:
    """Check that under first come, first served, no two waiting people may meet."""
    state, policy, at_ms = around.disk.state, around.plan.policy, around.processes[0].broker.writer.time_ms()
    if policy.matching != "first-come" or state.rooms.open_count >= policy.rooms_open_max:
        return
    patient_since_ms = at_ms - policy.rematch_patience_ms - PATIENCE_SLACK_MS
    for one, other in combinations([who for _, who in state.queue.entries.items()], 2):
        reason = around.record.meetings.reason(one, other, at_ms, policy)
        if reason is None and (around.avoids_peer(one, other, at_ms) or around.avoids_peer(other, one, at_ms)):
            reason = "peer"
        since_ms = max(around.record.person(who).entry.at_ms for who in (one, other))
        if reason is None or (reason != "blocked" and since_ms < patient_since_ms):
            around.world.fail(f"{one} and {other} wait for each other, and may meet: {reason}, {since_ms}, {at_ms}")


async def talk(person: Person) -> None:
    """Send a message from the room, and wait at the same time for the partner's."""
    if person.room_id is None or person.who is None:
        return
    around, room_id = person.around, person.room_id
    message = person.message(named=True)
    waiting = asyncio.ensure_future(person.wait(WAIT_SECONDS))
    answer = await insist(person, lambda: person.say(message, listen=False))
    may_fail = room_id in around.record.closed or around.plan.policy.message_bytes_max < len(message.text)
    if answer is None or (answer.is_error and not may_fail):
        around.world.fail(f"{person.name} could not speak in {room_id}: {answer}")
    await waiting


async def leave(person: Person) -> None:
    """Leave for good, politely or by disappearing. A match may come on the way out."""
    if person.random.random() < VANISHING:
        person.vanished = True
        return
    while person.who is not None and not person.around.world.failure:
        await insist(person, person.status)
        if person.room_id is not None:
            await insist(person, person.leave_chat)
        elif person.waits:
            await insist(person, person.leave_queue)
        else:
            return


async def know(person: Person) -> None:
    """Read the last events of the people still present."""
    await catch_up(person)


def check_streams(around: Surroundings) -> None:
    """Check that every open stream has brought all that it owes."""
    for host in around.hosts:
        missing: list[str] = []
        if (isinstance(host, KeptHost) and host.live and host.line is not None) or isinstance(host, ListeningHost):
            missing = host.missing()
        if missing:
            around.world.fail("; ".join(missing[:3]))


def check_states(around: Surroundings) -> None:
    """Check that every broker has the state of the log, and that all people have gone."""
    expected = digest(fold(around.disk.commits))
    if digest(around.disk.state) != expected:
        around.world.fail("promise 6: folding all at once is not folding one by one")
    if unlike := differences(around.record.reference.state, around.disk.state):
        around.world.fail(f"the reference says otherwise: {unlike[:3]}")
    for process in around.processes:
        state = process.broker.state
        if digest(state) != expected:
            around.world.fail(
                f"promise 6: {process.name} at {state.position} is not what the log at {around.disk.tip.position} says"
            )
    for who, known in around.disk.state.connections.by_id.items():
        if not isinstance(known.place, Idle):
            around.world.fail(f"{who} has been gone for longer than any grace, and is {known.place}")


def check_messages(around: Surroundings) -> None:
    """Check that each message is stored at most as often as it was sent, and at most once with an id."""
    for person in around.people:
        for message in person.said:
            stored = len(around.record.by_text.get(message.text, ()))
            most = 1 if message.message_id is not None else message.tries
            if stored > most:
                around.world.fail(f"{message.text!r} was said {message.tries} times, and is stored {stored} times")
