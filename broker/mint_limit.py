"""Rate limit on the handles for one peer address: kept in memory, since it is about no connection."""

from __future__ import annotations

from collections import OrderedDict

from broker.clock import Clock
from events.policy import Policy
from projections.rate_limit import allowance_after, retry_after_ms


class MintLimiter:
    """One rate limit for each peer, up to `peers_tracked_max` of the latest."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spent_until_us: OrderedDict[str, int] = OrderedDict()

    def use(self, peer: str, policy: Policy) -> int:
        """Take one use and return 0, or return the milliseconds that `peer` has to wait for the next."""
        now_ms, limit = int(self._clock.now_ms()), policy.handles_minted_per_10s_max
        spent_until_us = self._spent_until_us.pop(peer, 0)
        wait_ms = retry_after_ms(spent_until_us, now_ms, limit)
        if not wait_ms:
            spent_until_us = allowance_after(spent_until_us, now_ms, limit)
        self._spent_until_us[peer] = spent_until_us
        if len(self._spent_until_us) > policy.peers_tracked_max:
            self._spent_until_us.popitem(last=False)
        return wait_ms
