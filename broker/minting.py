"""New handles, at a limited rate; and the end of connections whose handle reached no client."""

from __future__ import annotations

from collections.abc import Callable

from broker.clock import Clock, RandomBytes
from broker.decision import Rejection
from broker.peers import Peers
from broker.presence import Presence
from broker.rate_limiter import RateLimiter
from broker.writer import LogWriter
from events.commands import Disconnect
from events.ids import HANDLE_BYTES, POSITION_MAX, ConnectionId, Handle, handle_from

ABANDON_MS = 2_000


class Minting:
    """Mints handles."""

    def __init__(
        self,
        clock: Clock,
        writer: LogWriter,
        presence: Presence,
        peers: Peers,
        random_bytes: RandomBytes,
    ) -> None:
        self._clock = clock
        self._writer = writer
        self._presence = presence
        self._peers = peers
        self._random_bytes = random_bytes
        self._limiter = RateLimiter(clock)

    def mint(self, address: str, handle: Handle | None = None) -> Handle | Rejection:
        """Return `handle`, or one never used before; a refusal if the peer of `address` has asked for too many."""
        policy, peer = self._writer.replica.state.policy, self._peers.peer_of(address)
        retry_after_ms = peer is not None and self._limiter.use(
            peer, per_10s_max=policy.handles_minted_per_10s_max, keys_max=policy.peers_tracked_max
        )
        if retry_after_ms:
            return Rejection("rate_limited", retry_after_ms)
        return handle if handle is not None else handle_from(self._random_bytes(HANDLE_BYTES))

    def abandon(self, connection_id: ConnectionId) -> None:
        """Take `connection_id` out of wherever it is or is about to be: no client will ever hold its handle.

        The command is in line at once, so the connection is gone before a later newcomer is matched. The partner in an
        unconfirmed match keeps its place.
        """
        self._writer.submit(Disconnect(connection_id, "disconnected", since=POSITION_MAX, is_abandoned=True))

    def abandon_unless_heard(self, connection_id: ConnectionId, is_heard: Callable[[], bool] = lambda: False) -> None:
        """Take `connection_id` out in two seconds, unless it is heard until then: its client may call again.

        `is_heard` is a caller's own evidence, asked at the end of that time.
        """
        abandoned_ms = self._clock.now_ms()

        def look() -> None:
            if not (is_heard() or self._presence.is_heard_since(connection_id, abandoned_ms)):
                self.abandon(connection_id)

        self._clock.call_at(abandoned_ms + ABANDON_MS, look)
