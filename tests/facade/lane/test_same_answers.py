"""The lane and the SDK answer alike, and leave the same behind.

Every example runs at two brokers, one with the lane and one without. Their answers, their open streams, their logs,
states, presence, sessions and metrics are compared after each request, byte for byte.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.facade.lane.conversations import Conversation
from tests.facade.lane.twins import run, twins

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
    """A pair that has met, each of another era, and then whatever happens, what is `likely` above all."""
    async with twins(tally) as both:
        conversation = Conversation(both, data, likely)
        await conversation.begin()
        for _ in range(data.draw(st.integers(1, STEPS_MAX))):
            await conversation.step()
        both.compare_samples()


def test_whatever_is_asked_is_answered_alike() -> None:
    """No request makes a difference that anyone could see; and the lane has really answered its share."""
    tally: Counter[str] = Counter()

    @RUN
    @given(data=st.data())
    def compare(data: st.DataObject) -> None:
        run(converse(data, tally))

    compare()
    requests = sum(count for kind, count in tally.items() if kind.startswith("2") and "by the lane" not in kind)
    taken = sum(count for kind, count in tally.items() if "by the lane" in kind)
    assert taken > requests / 3, tally
