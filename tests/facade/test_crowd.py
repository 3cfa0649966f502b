"""Many people at once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.facade.people import Crowd, Modern, texts

pytestmark = pytest.mark.anyio

PEOPLE = 200


@pytest.mark.slow
async def test_two_hundred_who_enter_at_once_make_a_hundred_pairs(there: Crowd) -> None:
    """Each is in exactly one room with exactly one other, and each pair hears each other."""
    callers = [await there.modern() for _ in range(20)]
    people = [Modern(there.running) for _ in range(PEOPLE)]
    for number, person in enumerate(people):
        await person.http.aclose()
        person.http = callers[number % len(callers)].http
    await asyncio.gather(*(person.enter(f"{number}") for number, person in enumerate(people)))
    statuses = await asyncio.gather(*(person.call("get_status", handle=person.handle) for person in people))
    assert {status["status"] for status in statuses} == {"chatting"}
    rooms = Counter(status["room_id"] for status in statuses)
    assert len(rooms) == PEOPLE // 2
    assert set(rooms.values()) == {2}
    partners = {str(number): status["partner"] for number, status in enumerate(statuses)}
    assert all(partners[partners[name]] == name for name in partners)
    await asyncio.gather(*(person.say(f"from {number}") for number, person in enumerate(people)))
    heard = await asyncio.gather(*(person.hear(wait_seconds=0) for person in people))
    assert [texts(events) for events in heard] == [[f"from {partners[str(number)]}"] for number in range(PEOPLE)]


async def test_sessions_that_enter_at_once_are_paired_too(there: Crowd) -> None:
    """Fifty 2025 sessions, opened and entered at the same time, make twenty-five pairs."""
    people = await asyncio.gather(*(there.session() for _ in range(50)))
    await asyncio.gather(*(person.enter() for person in people))
    state = there.running.broker.state
    assert state.rooms.open_count == 25
    assert len(state.queue) == 0
