"""The way of notes between the brokers of a shared log: it tells this broker's, and folds the others' into the roster.

A note that can't be sent is dropped: the gap in the numbers has the others ask for all rows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Protocol

import structlog

from broker.clock import Clock, Timer, sleep_until
from broker.metrics import Metrics
from broker.notes import ROWS_MAX, About, Confirmed, Gone, Note, Part, SessionNote, decode_note, encode_note
from broker.outage_lines import OutageLines
from broker.own_rows import OwnRows, Rows
from broker.presence import Presence
from broker.replica import within
from broker.roster import BEAT_MS, FLUSH_MS, Roster
from events.coordination import Coordination
from events.ids import ConnectionId
from events.log import LogUnavailableError, UnusableLogError

logger = structlog.get_logger(__name__)

SUBSCRIBE_AGAIN_MS = 250
ABOUT_EVERY_BEATS = 10
FORGET_EVERY_BEATS = 10
DISAGREEMENT_MS = 60_000
SESSION_NOTES_MAX = 1_000
"""The most notes of sessions that wait to be sent."""

FAREWELL_MS = 500
"""The longest wait for the last notes of a broker that ends."""

NEVER = -1.0

CHANNEL_FAULTS = LogUnavailableError, UnusableLogError
"""Errors of a channel. All of them may pass: rights that were taken away are given back without a restart."""


class SessionNoteReader(Protocol):
    """A reader of the other brokers' news of sessions. No method may block or raise."""

    def receive(self, note: SessionNote) -> None:
        """Take `note` of another broker."""
        ...

    def notes_missed(self) -> None:
        """Note that other brokers' notes were lost, or may have been."""
        ...


class RosterLink:
    """One broker's end of the channel."""

    def __init__(
        self,
        coordination: Coordination,
        clock: Clock,
        roster: Roster,
        rows: OwnRows,
        presence: Presence,
        metrics: Metrics,
        about: Callable[[], About],
    ) -> None:
        """Tell `rows`, which are those of `presence`, and what `about` says of this broker."""
        self._coordination = coordination
        self._clock = clock
        self._roster = roster
        self._rows = rows
        self._presence = presence
        self._metrics = metrics
        self._about = about
        self._metrics.roster_fresh_s.set_function(lambda: roster.fresh_age_ms(clock.now_ms()) / 1_000)
        self._number = 0
        self._confirmed: list[Confirmed] = []
        self._sessions: list[SessionNote] = []
        self._session_readers: list[SessionNoteReader] = []
        self._gaps = roster.gaps
        self._outbox: deque[bytes] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._said_ms = self._asked_ms = self._disagreed_ms = NEVER
        self._beats = 0
        self._all_due_ms: float | None = None  # when all rows are to be told, if another broker asked
        self._outage = OutageLines(clock, "roster_put_off", "roster_resumed")
        self._is_stopped = False

    def start(self) -> None:
        """Begin to tell and to listen."""
        self._listening = asyncio.get_running_loop().create_task(self._listen())
        self._tick()

    async def stop(self) -> None:
        """Tell what is left to tell, and that this broker ends; within `FAREWELL_MS`."""
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._listening is None:
            return
        rows = self._rows.take(self._clock.now_ms(), is_final=True)
        for part in _parts(rows):
            self._say(here=tuple(part.here), gone=tuple(part.gone))
        self._say(is_bye=True)
        self._send()
        if self._sending is not None:
            with suppress(*CHANNEL_FAULTS):
                await within(self._clock, FAREWELL_MS, self._sending)
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)

    def tell_confirmed(self, confirmed: Confirmed) -> None:
        """Tell at once that a member of a match has given a sign of life."""
        self._confirmed.append(confirmed)
        self._tell_soon()

    def tell_session(self, note: SessionNote) -> None:
        """Tell at once of a session. With `SESSION_NOTES_MAX` unsent, the note is lost, and its number with it."""
        if len(self._sessions) >= SESSION_NOTES_MAX:
            self._number += 1
            return
        self._sessions.append(note)
        self._tell_soon()

    def subscribe(self, reader: SessionNoteReader) -> None:
        """Give `reader` the other brokers' news of sessions from now on."""
        self._session_readers.append(reader)

    def _tell_soon(self) -> None:
        if not self._is_stopped and len(self._confirmed) + len(self._sessions) == 1:
            asyncio.get_running_loop().call_soon(self._tell)

    def _tick(self) -> None:
        now_ms = self._clock.now_ms()
        self._presence.reconsider(self._roster.check_lost(now_ms))
        self._check_gaps()
        self._tell()
        self._timer = self._clock.call_at(now_ms + FLUSH_MS, self._tick)

    def _tell(self) -> None:
        """Tell what there is to tell. While a note is under way, what comes meanwhile waits for the next one."""
        if self._is_stopped or (self._sending is not None and not self._sending.done()):
            return
        now_ms = self._clock.now_ms()
        if self._all_due_ms is not None and self._all_due_ms <= now_ms:
            self._all_due_ms = None
            self._say_all(now_ms)
        for part in _parts(self._rows.take(now_ms)):
            self._say(here=tuple(part.here), gone=tuple(part.gone))
        while self._confirmed or self._sessions:
            confirmed, sessions = self._confirmed[:ROWS_MAX], self._sessions[: ROWS_MAX // 4]
            del self._confirmed[: len(confirmed)], self._sessions[: len(sessions)]
            self._say(confirmed=tuple(confirmed), sessions=tuple(sessions))
        if self._roster.lacks_rows and now_ms - self._asked_ms >= BEAT_MS:
            self._asked_ms = now_ms
            self._say(is_hello=True)
        if now_ms - self._said_ms >= BEAT_MS:
            self._beat(now_ms)
        self._send()

    def _beat(self, now_ms: float) -> None:
        self._beats += 1
        self._say(about=self._about() if self._beats % ABOUT_EVERY_BEATS == 1 else None)
        if self._beats % FORGET_EVERY_BEATS == 0:
            self._roster.forget(self._presence.is_idle, self._presence.longest_grace_ms, now_ms)
            self._rows.forget()
            self._presence.confirmation.told_lately()  # it forgets the others

    def _say_all(self, now_ms: float) -> None:
        confirmed = self._presence.confirmation.told_lately()
        for start in range(0, len(confirmed), ROWS_MAX):
            self._say(confirmed=tuple(confirmed[start : start + ROWS_MAX]))
        rows = self._rows.take_all(self._presence.activities.values(), now_ms)
        parts = list(_parts(rows)) or [Rows([], [])]
        for number, part in enumerate(parts, 1):
            self._say(here=tuple(part.here), gone=tuple(part.gone), all_rows=Part(number, len(parts)))

    def _say(
        self,
        *,
        here: tuple[ConnectionId, ...] = (),
        gone: tuple[Gone, ...] = (),
        confirmed: tuple[Confirmed, ...] = (),
        sessions: tuple[SessionNote, ...] = (),
        all_rows: Part | None = None,
        is_hello: bool = False,
        is_bye: bool = False,
        about: About | None = None,
    ) -> None:
        """Write the next note."""
        self._number += 1
        self._said_ms = self._clock.now_ms()
        self._roster.sent(self._number, self._said_ms)
        note = Note(
            self._roster.broker_id,
            self._number,
            here,
            gone,
            confirmed,
            all_rows,
            is_hello,
            is_bye,
            sessions,
            about,
        )
        self._outbox.append(encode_note(note))

    def _send(self) -> None:
        if self._outbox and (self._sending is None or self._sending.done()):
            self._sending = asyncio.get_running_loop().create_task(self._publish())

    async def _publish(self) -> None:
        while self._outbox:
            try:
                await self._coordination.publish(self._outbox.popleft())
            except CHANNEL_FAULTS as error:
                self._outage.failed(error)

    async def _listen(self) -> None:
        while True:
            try:
                is_first = True
                async for raw in self._coordination.subscribe():
                    if is_first:
                        is_first = False
                        self._roster.subscribed(self._clock.now_ms())
                        self._check_gaps()
                    self._receive(raw)
                return
            except CHANNEL_FAULTS as error:
                self._outage.failed(error)
            await sleep_until(self._clock, self._clock.now_ms() + SUBSCRIBE_AGAIN_MS)

    def _receive(self, raw: bytes) -> None:
        note = decode_note(raw)
        if note is None:
            return
        now_ms = self._clock.now_ms()
        for confirmed in self._roster.receive(note, now_ms):
            self._presence.confirmation.confirmed_elsewhere(confirmed)
        self._check_gaps()
        if note.broker == self._roster.broker_id:
            self._outage.succeeded()
            self._metrics.brokers.set(self._roster.brokers)
            return
        if note.is_hello and self._all_due_ms is None:
            # Not at once with all others: each broker has its own moment within a second.
            self._all_due_ms = now_ms + int.from_bytes(self._roster.broker_id, "big") % BEAT_MS
        for reader in self._session_readers:
            for session_note in note.sessions:
                reader.receive(session_note)
        if note.about is not None:
            self._check_agreement(note.about, now_ms)

    def _check_gaps(self) -> None:
        if self._gaps != self._roster.gaps:
            self._gaps = self._roster.gaps
            for reader in self._session_readers:
                reader.notes_missed()

    def _check_agreement(self, theirs: About, now_ms: float) -> None:
        own = self._about()
        if theirs.policy_digest == own.policy_digest or now_ms - self._disagreed_ms < DISAGREEMENT_MS:
            return
        self._disagreed_ms = now_ms
        logger.warning(
            "brokers_disagree",
            hint="brokers of one log were started with different limits, matchings or code of a matching; the last one "
            "started sets limits and matching for all",
            version=own.version,
            other_version=theirs.version,
        )


def _parts(rows: Rows) -> Iterator[Rows]:
    """Yield `rows` in notes of at most `ROWS_MAX` rows."""
    here, gone = rows
    for start in range(0, len(here), ROWS_MAX):
        yield Rows(here[start : start + ROWS_MAX], [])
    for start in range(0, len(gone), ROWS_MAX):
        yield Rows([], gone[start : start + ROWS_MAX])
