"""The 2025 sessions of one broker: made, found, kept, ended.

A session's id is a token (`session_tokens`), so a session exists without being stored: its own handle is derived from
the token. All its other state is a small record beside the log (`SessionRecords`), loaded at the session's first
request here. The copy in memory (`Session`) can be dropped at any time while the session is not in use.

In a shared log each broker has a copy (`session_notes`). Where an old one would do harm, nobody waits for a note: the
record is loaded to open a stream or end a session, to find the meaning of a left-out handle, and to be renewed.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from broker.broker import Broker
from broker.clock import Timer, sleep_until
from broker.questions import Questions, retrieve
from events.ids import Position
from events.log import LogUnavailableError
from mcp_facade.session import Session
from mcp_facade.session_notes import SessionNotes
from mcp_facade.session_record import ENDED
from mcp_facade.session_tokens import NONCE_BYTES, RANDOM_BYTES, SessionToken, TokenSealer

T = TypeVar("T")

SWEEP_MS = 30_000

STREAM_ID_BYTES = 8
MAY_HAVE_EXPIRED = 3 / 4
"""The part of the time for which a record is kept: a broker that did not renew it for so long was held up."""


class Sessions:
    """The recently used sessions of one broker, the longest inactive first."""

    def __init__(self, broker: Broker, age_max_ms: int) -> None:
        """Take `age_max_ms`, the validity of a session's id."""
        self._clock = broker.clock
        self._watched_clock = broker.writer.commit_clock.watched
        self._random_bytes = broker.random_bytes
        self._replica = broker.replica
        self._metrics = broker.metrics
        self._in_background = broker.in_background
        self._log_put_off = broker.log_put_off
        self._records = broker.log.session_records
        self._tokens = TokenSealer(self._records.secret)
        self._age_max_ms = age_max_ms
        self._by_id: OrderedDict[str, Session] = OrderedDict()
        self._is_shared = broker.log.is_shared
        self._notes = SessionNotes(broker, self.has_refreshed) if self._is_shared else None
        self._sweep_timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._by_id)

    def new_id(self, version: str) -> str:
        """Return the id of a new session; nothing is stored."""
        return self._tokens.seal(version, self._clock.wall_ms(), self._random_bytes(RANDOM_BYTES))

    def seal_position(self, position: Position) -> str:
        """Return `position` for a client that may not know it."""
        return self._tokens.seal_position(position, self._random_bytes(NONCE_BYTES))

    def open_position(self, sealed: str) -> Position | None:
        """Return a sealed position of this log; `None` if it is none."""
        return self._tokens.open_position(sealed)

    def get(self, session_id: str, *, fresh: bool = False) -> Session | None:
        """Return the session of that id, if it is held here and may be used.

        `fresh`: the copies of other brokers count as well, so in a shared log it has to be found again.
        """
        session = self._by_id.get(session_id)
        if session is None or session.is_in_doubt or session.ended or self._is_too_old(session.token):
            return None
        return session if not (fresh and self._is_shared) else None

    async def find(self, session_id: str) -> Session | None:
        """Return the session of that id, from its token and its record; `None` if there is none (any more).

        Raises:
            LogUnavailableError: its record can't be read now.
        """
        token = self._tokens.open(session_id)
        if token is None or self._is_too_old(token):
            return None
        session = self._by_id.get(session_id)
        if session is None:
            session = Session(token, self._tokens.own_handle(token), self._clock, self._replica)
            self._add(session)
        await self.refresh(session)
        return None if session.ended or self._is_too_old(token) else session

    async def refresh(self, session: Session) -> None:
        """Have `session` say what its record says by now. One that no other broker has is read once.

        Raises:
            LogUnavailableError: its record can't be read now.
        """
        if not (self._is_shared or session.is_in_doubt):
            return
        if session.reads is None:
            session.reads = Questions(lambda: self._load(session))
        session.refreshing += 1
        try:
            await session.reads.ask()
        finally:
            session.refreshing -= 1

    async def _load(self, session: Session) -> None:
        doubts, key = session.doubts, session.token.record_key
        session.begin_load()
        fields = await self._answered(self._records.load(key, now_ms=self._clock.wall_ms()))
        if ENDED in fields:
            self._close(session)
            return
        session.take_over(fields, may_have_expired=not fields or self._is_due(session, MAY_HAVE_EXPIRED))
        session.doubts_resolved = doubts
        if session.kept_at_ms is None:
            session.kept_at_ms = -math.inf if fields else self._clock.now_ms()
            if fields:
                self._in_background(self.keep(session))  # its use begins now, also if that is a stream

    def touch(self, session: Session) -> None:
        """Note a use of the session now."""
        session.active_ms = self._clock.now_ms()
        if session.session_id in self._by_id:
            self._by_id.move_to_end(session.session_id)

    def new_stream_id(self) -> bytes | None:
        """Return an id for a GET stream, for the other brokers to see; `None` if there are none."""
        return self._random_bytes(STREAM_ID_BYTES) if self._is_shared else None

    def keep_soon(self, session: Session) -> None:
        """Keep the changes of its record in the background."""
        self._in_background(self.keep(session))

    async def keep(self, session: Session) -> None:
        """Keep the changes of its record; if a quarter of its time has passed, keep all of it for `session_idle_ms`.

        If the log does not answer, the next call in the session tries again.
        """
        may_renew = self._is_due(session) and await self.has_refreshed(session)
        while session.keeping is not None:  # one after the other, in their order
            await asyncio.wait({session.keeping})
        changes, session.changes = session.changes, {}
        has_news, session.has_news = session.has_news, False
        if may_renew and self._is_due(session):
            changes = session.fields() | changes
            session.kept_at_ms = self._clock.now_ms()
        if session.ended or not changes:
            return
        session.being_kept = changes
        session.keeping = asyncio.ensure_future(self._store(session, changes, has_news=has_news))
        self._in_background(session.keeping)  # a caller that is cancelled changes nothing
        await self._wait(session.keeping)

    async def has_refreshed(self, session: Session) -> bool:
        """Return whether `session` has all that other brokers kept, since what is not renewed is over."""
        try:
            await self.refresh(session)
        except LogUnavailableError as error:
            self._log_put_off("session_put_off", error)
            return False
        return True

    async def _store(self, session: Session, changes: Mapping[str, bytes | None], *, has_news: bool) -> None:
        until_ms = self._clock.wall_ms() + self._replica.state.policy.session_idle_ms
        try:
            await self._records.keep(session.token.record_key, changes, until_ms=until_ms)
        except LogUnavailableError as error:
            session.changes = {**changes, **session.changes}
            session.has_news = session.has_news or has_news
            self._log_put_off("session_put_off", error)
        else:
            if has_news and self._notes is not None:
                self._notes.tell_change(session)
        finally:
            session.keeping, session.being_kept = None, {}

    async def end(self, session: Session) -> None:
        """End `session` for good: its stream, the waits of its calls, and every later request.

        Raises:
            LogUnavailableError: its end could not be kept; it goes on.
        """
        session.ended = True
        until_ms = session.token.made_ms + self._age_max_ms
        changes: dict[str, bytes | None] = dict.fromkeys(session.fields())
        try:
            ending = self._records.keep(session.token.record_key, changes | {ENDED: b"1"}, until_ms=until_ms)
            await self._answered(ending)
        except LogUnavailableError:
            session.ended = False
            raise
        self._close(session)
        if self._notes is not None:
            self._notes.tell_change(session)

    def _close(self, session: Session) -> None:
        """Let go of an ended session."""
        session.ended = True
        self._drop(session)
        for call in tuple(session.calls):
            call.finish_early()
        if session.stream is not None:
            session.stream.stream.end()

    def cancel(self, session: Session, request_id: int | str, address: str) -> None:
        """Cancel the call of that id, in flight here or at another broker; `address` is the client's."""
        if not session.cancel(request_id) and self._notes is not None:
            self._notes.tell_cancelled(session, request_id, address)

    async def _answered(self, asking: Coroutine[None, None, T]) -> T:
        """Return what the store answers to `asking`.

        Raises:
            LogUnavailableError: it does not answer, or not within `command_timeout_ms`.
        """
        asked = asyncio.ensure_future(asking)
        self._in_background(_until_done(asked))  # a caller that is cancelled changes nothing
        if not await self._wait(asked):
            asked.cancel()
            raise LogUnavailableError("the session's record could not be reached in time")
        return asked.result()

    async def _wait(self, work: asyncio.Future[Any]) -> bool:
        """Return whether `work` is done within `command_timeout_ms`; it goes on in any case."""
        clock = self._clock
        deadline_ms = clock.now_ms() + self._replica.state.policy.command_timeout_ms
        deadline = asyncio.ensure_future(sleep_until(clock, deadline_ms))
        try:
            await asyncio.wait({work, deadline}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            deadline.cancel()
        return work.done()

    def start_sweeping(self) -> None:
        """Drop unused sessions every thirty seconds, and keep the records of used ones in time."""
        clock = self._clock
        every_ms = min(SWEEP_MS, self._replica.state.policy.session_idle_ms / 4)
        self._sweep_timer = clock.call_at(clock.now_ms() + every_ms, self._sweep)

    def stop(self) -> None:
        """Stop sweeping."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()

    def _sweep(self) -> None:
        now_ms = self._clock.now_ms()
        for session in tuple(self._by_id.values()):
            if self._is_too_old(session.token):
                self._drop(session)
                if session.stream is not None:
                    session.stream.stream.end()
            elif not session.is_busy and now_ms - session.active_ms >= self._replica.state.policy.session_idle_ms:
                self._drop(session)
            elif session.changes or (self._is_due(session) and (session.is_busy or session.was_used_since_kept)):
                self._in_background(self.keep(session))
        self._in_background(self._expire())
        self.start_sweeping()

    def _is_due(self, session: Session, after: float = 1 / 4) -> bool:
        """Return whether so much of the time has passed that its record is kept for."""
        kept_at_ms = session.kept_at_ms
        if kept_at_ms is None:
            return False
        return self._clock.now_ms() - kept_at_ms >= self._replica.state.policy.session_idle_ms * after

    async def _expire(self) -> None:
        with suppress(LogUnavailableError):  # the next sweep tries again
            await self._records.expire(now_ms=self._watched_clock.cautious_ms())

    def _is_too_old(self, token: SessionToken) -> bool:
        return self._clock.wall_ms() - token.made_ms >= self._age_max_ms

    def _add(self, session: Session) -> None:
        """Hold `session`; beyond `sessions_max`, drop one that is not in use. Its record stays."""
        self._by_id[session.session_id] = session
        if self._notes is not None:
            self._notes.hold(session)
        self.touch(session)
        while len(self._by_id) > self._replica.state.policy.sessions_max:
            longest_inactive = next(iter(self._by_id.values()))
            if longest_inactive is session:  # all the others are in use
                break
            if longest_inactive.is_busy:
                self._by_id.move_to_end(longest_inactive.session_id)
            else:
                self._drop(longest_inactive)
        self._count()

    def _drop(self, session: Session) -> None:
        if self._by_id.get(session.session_id) is session:
            del self._by_id[session.session_id]
            if self._notes is not None:
                self._notes.drop(session)
        self._count()

    def _count(self) -> None:
        self._metrics.sessions.set(len(self._by_id))


async def _until_done(asked: asyncio.Future[Any]) -> None:
    """Return once `asked` is done, however it ends; if this is cancelled, `asked` is too."""
    asked.add_done_callback(retrieve)
    try:
        await asyncio.wait({asked})
    finally:
        asked.cancel()
