"""New handles, at a limited rate; and the end of connections whose handle reached no client."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from broker.addresses import subscriber_of
from broker.clock import Clock, RandomBytes
from broker.decide import Rejection
from broker.metrics import Metrics
from broker.presence import Presence
from broker.writer import LogWriter
from events.commands import Disconnect
from events.ids import HANDLE_BYTES, POSITION_MAX, ConnectionId, Handle, handle_from
from events.policy import Policy
from projections.rate_limit import allowance_after, retry_after_ms

ABANDON_MS = 2_000


class Minting:
    """Mints handles."""

    def __init__(
        self, clock: Clock, writer: LogWriter, presence: Presence, metrics: Metrics, random_bytes: RandomBytes
    ) -> None:
        self._clock = clock
        self._writer = writer
        self._presence = presence
        self._metrics = metrics
        self._random_bytes = random_bytes
        self._limiter = MintLimiter(clock)

    def mint(self, peer: str, handle: Handle | None = None) -> Handle | Rejection:
        """Return `handle`, or one never used before; a refusal if `peer` has asked for too many."""
        retry_after_ms = self._limiter.use(peer, self._writer.replica.state.policy)
        if retry_after_ms:
            self._metrics.rejected("rate_limited")
            return Rejection("rate_limited", retry_after_ms)
        return handle if handle is not None else handle_from(self._random_bytes(HANDLE_BYTES))

    def abandon(self, connection_id: ConnectionId) -> None:
        """Take `connection_id` out of wherever it is or is about to be: no client will ever hold its handle.

        The command is in line at once, so the connection is gone before a later newcomer is matched.
        """
        self._writer.submit(Disconnect(connection_id, "disconnected", since=POSITION_MAX))

    def abandon_unless_heard(self, connection_id: ConnectionId, is_heard: Callable[[], bool] = lambda: False) -> None:
        """Take `connection_id` out in two seconds, unless it is heard until then: its client may call again.

        `is_heard` is a caller's own evidence, asked at the end of that time.
        """
        abandoned_ms = self._clock.now_ms()

        def look() -> None:
            if not (is_heard() or self._presence.is_heard_since(connection_id, abandoned_ms)):
                self.abandon(connection_id)

        self._clock.call_at(abandoned_ms + ABANDON_MS, look)


class MintLimiter:
    """One rate limit for each peer, up to `peers_tracked_max` of the latest. It is kept in memory alone.

    A peer is an IPv4 address, or a /64 of IPv6: a subscriber of IPv6 has that many addresses.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spent_until_us: OrderedDict[str, int] = OrderedDict()

    def use(self, peer: str, policy: Policy) -> int:
        """Take one use and return 0, or return the milliseconds that `peer` has to wait for the next."""
        now_ms, limit = int(self._clock.now_ms()), policy.handles_minted_per_10s_max
        subscriber = subscriber_of(peer)
        spent_until_us = self._spent_until_us.pop(subscriber, 0)
        wait_ms = retry_after_ms(spent_until_us, now_ms, limit)
        if not wait_ms:
            spent_until_us = allowance_after(spent_until_us, now_ms, limit)
        self._spent_until_us[subscriber] = spent_until_us
        if len(self._spent_until_us) > policy.peers_tracked_max:
            self._spent_until_us.popitem(last=False)
        return wait_ms
