"""A pair does not meet again at once; a third person is met first."""

from __future__ import annotations

import pytest

from tests.facade.people import Era, crowd
from tests.support.fake_clock import FakeClock
from tests.support.server import serving

pytestmark = pytest.mark.anyio

PATIENCE = 20_000
REMATCHING = {"rematch_after_ms": 600_000, "rematch_patience_ms": PATIENCE}


async def test_two_alone_meet_again_once_both_were_patient(era: Era) -> None:
    """In 100 repetitions they meet not at once, and not before the later of the two has waited."""
    clock = FakeClock()
    async with serving(clock=clock, **REMATCHING) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        for _ in range(100):
            before = ann.room_id
            assert (await ann.call("next_partner", room_id=before, handle=ann.handle))["status"] == "waiting"
            await clock.advance(5_000)
            assert (await bob.call("next_partner", room_id=before, handle=bob.handle))["status"] == "waiting"
            await clock.advance(PATIENCE - 1)
            assert len(running.broker.state.queue) == 2
            await clock.advance(1)
            for one in (ann, bob):
                assert [event["method"] for event in await one.hear(0)][-1] == "chatroom.found"
            assert ann.room_id == bob.room_id != before


async def test_a_third_person_is_met_first(era: Era) -> None:
    """In ten repetitions, the unmet third person meets the longer waiting of the two."""
    async with serving(**REMATCHING) as running, crowd(running) as there:
        for _ in range(10):
            ann, bob = await there.pair(era, era)
            await ann.call("next_partner", room_id=ann.room_id, handle=ann.handle)
            assert (await bob.enter("Bob", handle=bob.handle))["status"] == "waiting"
            cat = await there.person(era)
            assert (await cat.enter("Cat"))["status"] == "matched"
            assert running.broker.state.rooms.by_id[cat.room_id].has(ann.connection_id)
            await cat.call("leave_chat", room_id=cat.room_id, handle=cat.handle)
            await bob.call("leave_queue", handle=bob.handle)
