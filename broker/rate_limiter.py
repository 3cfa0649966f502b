"""A rate limit for each of many keys, in memory alone: no decision reads it, and no other broker counts it."""

from __future__ import annotations

from collections import OrderedDict

from broker.clock import Clock
from projections.rate_limit import allowance_after, retry_after_ms


class RateLimiter:
    """Counts the uses of each key, up to so many of the latest keys."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spent_until_us: OrderedDict[str, int] = OrderedDict()

    def use(self, key: str, *, per_10s_max: int, keys_max: int) -> int:
        """Take one use and return 0, or return the wait of `key` for the next, in milliseconds.

        `per_10s_max`: 0 is no limit.
        """
        if not per_10s_max:
            return 0
        now_ms = int(self._clock.now_ms())
        spent_until_us = self._spent_until_us.pop(key, 0)
        wait_ms = retry_after_ms(spent_until_us, now_ms, per_10s_max)
        if not wait_ms:
            spent_until_us = allowance_after(spent_until_us, now_ms, per_10s_max)
        self._spent_until_us[key] = spent_until_us
        if len(self._spent_until_us) > keys_max:
            self._spent_until_us.popitem(last=False)
        return wait_ms
