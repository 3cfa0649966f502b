"""The lane and the SDK answer alike, and leave the same behind.

Every example runs at two brokers, one with the lane and one without. Their answers, their open streams, their logs,
states, presence, sessions and metrics are compared after each request, byte for byte.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.facade.lane.conversations import Conversation
from tests.facade.lane.twins import Twins, run, twins
from tests.hostile.messages import Draft, Json, in_session, modern, opening

EXAMPLES = int(os.environ.get("LANE_EXAMPLES", "60"))
STEPS_MAX = 14

RUN = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # a conversation takes too long for shrinking to end
)


async def converse(data: st.DataObject, tally: Counter[str], likely: Collection[str] = ()) -> None:
    """Pair two clients of different eras, and draw steps after that, mostly those in `likely`."""
    async with twins(tally, confirm_grace_ms=8_000, requeue_on_missed_match=1) as both:
        conversation = Conversation(both, data, likely)
        await conversation.begin()
        for _ in range(data.draw(st.integers(1, STEPS_MAX))):
            await conversation.step()
        both.compare_samples()


@pytest.mark.slow
def test_whatever_is_asked_is_answered_alike() -> None:
    """No request makes a visible difference, and the lane has answered its share."""
    tally: Counter[str] = Counter()

    @RUN
    @given(data=st.data())
    def compare(data: st.DataObject) -> None:
        run(converse(data, tally))

    compare()
    requests = sum(count for kind, count in tally.items() if kind.startswith("2") and "by the lane" not in kind)
    taken = sum(count for kind, count in tally.items() if "by the lane" in kind)
    assert taken > requests / 3, tally


@pytest.mark.parametrize("levels", [10, 150, 195, 200, 205, 900, 5_000])
def test_what_is_nested_deeply_is_answered_alike(levels: int) -> None:
    """Beyond the depth limit of the SDK's parser for sessions, the answer is only a parse error."""

    async def compare() -> None:
        async with twins(Counter()) as both:
            session_id = await _session(both)
            arguments = {"room_id": "r", "message": "hello", "x": "NESTED"}
            params = {"name": "send_message", "arguments": arguments}
            for request in (
                in_session("tools/call", params, session_id),
                modern("tools/call", params, 1, "send_message"),
                modern("subscriptions/listen", {"notifications": {"x": "NESTED"}}),
            ):
                await _ask(both, nested(request, levels))

    run(compare())


def nested(draft: Draft, levels: int) -> Draft:
    """Return `draft` with lists in lists in the place of `"NESTED"`."""
    draft.written = draft.text.replace(b'"NESTED"', b"[" * levels + b"]" * levels)
    return draft


async def _ask(both: Twins, draft: Draft) -> str:
    ours, _ = await both.request(draft.request())
    return ours.header(b"mcp-session-id")


async def _session(both: Twins) -> str:
    """Open a session, and return its id."""
    session_id = await _ask(both, opening())
    await _ask(both, in_session("tools/list", {}, session_id))
    return session_id


@pytest.mark.parametrize(
    "params",
    [
        {"requestId": 7},
        {"requestId": "7"},
        {"requestId": "07"},
        {"requestId": 7.0},
        {"requestId": 7, "reason": "enough"},
        {"requestId": 7, "reason": 5},
        {"requestId": 7, "reason": None},
        {"requestId": 7, "_meta": 5},
        {"requestId": 7, "_meta": {"progressToken": []}},
        {"requestId": 7, "x": 1},
        {"requestId": True},
        {"request_id": 7},
    ],
)
def test_a_wait_is_called_off_alike(params: Json) -> None:
    """A good notification cancels it at both; a bad one with a similar look does so at neither."""

    async def compare() -> None:
        async with twins(Counter()) as both:
            session_id = await _session(both)
            await _ask(both, in_session("tools/call", {"name": "enter_queue"}, session_id, 2))
            wait = {"name": "wait_for_events", "arguments": {"cursor": both.lane.broker.state.position}}
            await _ask(both, in_session("tools/call", wait, session_id, 7))
            off = in_session("notifications/cancelled", params, session_id)
            del off.body["id"]
            await _ask(both, off)

    run(compare())
