"""Copies of sessions at the brokers of a shared log, and the notes that keep them right.

The record is the truth: a change is kept first, and told then. A broker that hears of it, or that may have missed
notes, doubts its copy. It loads the record again before the next use of the session, or at once if the session is in
use: its stream is open, or a call is in flight.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from broker.broker import Broker
from broker.clock import sleep_until
from broker.notes import CALL_CANCELLED, SESSION_CHANGED, SessionNote
from broker.rate_limiter import RateLimiter
from mcp_facade.session import Session, digest_of

CANCELS_PER_10S_MAX = 200
"""How many calls of other brokers a peer may cancel; a note goes to all of them."""

REFRESH_AGAIN_MS = 1_000


class SessionNotes:
    """The other brokers' news of the sessions held here, and the own news for them (a `SessionNoteReader`)."""

    def __init__(self, broker: Broker, refresh: Callable[[Session], Awaitable[bool]]) -> None:
        """`refresh` loads the record of a session, and returns whether it could."""
        self._clock = broker.clock
        self._replica = broker.replica
        self._peers = broker.peers
        self._in_background = broker.in_background
        self._refresh = refresh
        self._cancels = RateLimiter(broker.clock)
        self._held: dict[str, Session] = {}  # by the keys of their records
        self._doubted: dict[Session, None] = {}  # those in use
        self._is_refreshing = False
        self._link = broker.roster_link
        if self._link is not None:
            self._link.subscribe(self)

    def hold(self, session: Session) -> None:
        """Hear news of `session` from now on."""
        self._held[session.token.record_key] = session

    def drop(self, session: Session) -> None:
        """Hear no more of it."""
        self._held.pop(session.token.record_key, None)

    def tell_change(self, session: Session) -> None:
        """Tell that the record of `session` was changed."""
        self._tell(SessionNote(session.token.record_key, SESSION_CHANGED))
        if session.stream is not None:  # another broker may have kept the id of its stream meanwhile
            self._doubt(session)

    def tell_cancelled(self, session: Session, request_id: int | str, address: str) -> None:
        """Tell that the client, of that address, has cancelled a call, not in flight here.

        The note may be lost; then the call goes on. A peer may have `CANCELS_PER_10S_MAX` calls looked for.
        """
        peer, keys_max = self._peers.peer_of(address), self._replica.state.policy.peers_tracked_max
        if peer is None or not self._cancels.use(peer, per_10s_max=CANCELS_PER_10S_MAX, keys_max=keys_max):
            self._tell(SessionNote(session.token.record_key, CALL_CANCELLED, digest_of(request_id)))

    def _tell(self, note: SessionNote) -> None:
        if self._link is not None:
            self._link.tell_session(note)

    def receive(self, note: SessionNote) -> None:
        """Act on the news of another broker (`SessionNoteReader`)."""
        session = self._held.get(note.key)
        if session is not None and note.what == SESSION_CHANGED:
            self._doubt(session)
        elif session is not None and note.what == CALL_CANCELLED:
            session.cancel_by_digest(note.detail)

    def notes_missed(self) -> None:
        """Doubt all copies (`SessionNoteReader`)."""
        for session in self._held.values():
            self._doubt(session)

    def _doubt(self, session: Session) -> None:
        """Have the record loaded before the next use of `session`, or now if it is in use."""
        session.doubts += 1
        if session.is_in_use:
            self._doubted[session] = None
            if not self._is_refreshing:
                self._is_refreshing = True
                self._in_background(self._refresh_doubted())

    async def _refresh_doubted(self) -> None:
        """Load the records of sessions in use one by one: after a gap in the notes, these are all of them."""
        while self._doubted:
            session = next(iter(self._doubted))
            del self._doubted[session]
            if not await self._refresh(session):
                self._doubted[session] = None
                await sleep_until(self._clock, self._clock.now_ms() + REFRESH_AGAIN_MS)
        self._is_refreshing = False
