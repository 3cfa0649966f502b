"""Redaction of messages in the log, a set time after their room closed; the record of the conversation stays.

It reads the log at that distance from the present, from the position reached before, and keeps the positions of the
messages in rooms open at that point. So its memory is bounded by those rooms, and a restart begins at the first of
those messages.

A commit is old enough by either of two clocks: by its timestamp and the wall clock, or because this process knew it
so long ago by the monotonic clock. The second one counts for commits that were stamped while the wall clock was ahead.
"""

from __future__ import annotations

import asyncio
from collections import deque

import structlog

from broker.clock import Clock, WatchedClock, sleep_until
from events.commit import Commit
from events.events import MessageSent, RoomClosed
from events.ids import Position, RoomId
from events.log import EventLog, LogUnavailableError, UnusableLogError

logger = structlog.get_logger(__name__)

SWEEP_MS = 60_000
PAGE_COMMITS = 1_000
SIGHTINGS_MAX = 1_000


class Redaction:
    """Forgets the texts of rooms that closed more than `after_ms` ago."""

    def __init__(self, log: EventLog, clock: Clock, watched: WatchedClock, after_ms: int) -> None:
        self._log = log
        self._clock = clock
        self._watched = watched
        self._after_ms = after_ms
        self._at: Position = log.redacted_to
        self._said: dict[RoomId, list[Position]] = {}  # in rooms open at `_at`
        self._sightings: deque[tuple[float, Position]] = deque()  # `now_ms`, and the log's tip at that moment

    async def run(self) -> None:
        """Sweep once a minute, until it is cancelled."""
        while True:
            try:
                await self.sweep()
            except (LogUnavailableError, UnusableLogError) as error:
                logger.warning("redaction_put_off", reason=str(error))
            await sleep_until(self._clock, self._clock.now_ms() + SWEEP_MS)

    async def sweep(self) -> None:
        """Redact all that is due by now.

        Raises:
            LogUnavailableError: the rest is done by the next sweep.
        """
        closed_by_ms = self._watched.cautious_ms() - self._after_ms
        known_to = await self._known_long_enough()
        while commits := await self._log.read(self._at, PAGE_COMMITS):
            due = [commit for commit in commits if commit.at_ms <= closed_by_ms or commit.position <= known_to]
            await self._redact(due)
            if len(due) < len(commits):
                return
            await asyncio.sleep(0)  # let other tasks run

    async def _known_long_enough(self) -> Position:
        """Return the last position that the log is known to have held `after_ms` ago; 0 if there is none."""
        now_ms, sightings = self._clock.now_ms(), self._sightings
        if not sightings or now_ms - sightings[-1][0] >= self._after_ms / SIGHTINGS_MAX:
            sightings.append((now_ms, (await self._log.tip()).position))
        while len(sightings) > 1 and sightings[1][0] <= now_ms - self._after_ms:
            sightings.popleft()
        return sightings[0][1] if sightings[0][0] <= now_ms - self._after_ms else 0

    async def _redact(self, commits: list[Commit]) -> None:
        """Redact the messages of the rooms closed by `commits`, the next ones in the log."""
        said = {room_id: list(positions) for room_id, positions in self._said.items()}
        forgotten: list[Position] = []
        for commit in commits:
            for event in commit.events:
                if isinstance(event, MessageSent) and isinstance(event.text, str):
                    said.setdefault(event.room_id, []).append(commit.position)
                elif isinstance(event, RoomClosed):
                    forgotten += said.pop(event.room_id, ())
        if commits:
            at = commits[-1].position
            await self._log.redact(forgotten, done_to=min([at, *(positions[0] - 1 for positions in said.values())]))
            self._at, self._said = at, said
        if forgotten:
            logger.info("redacted", messages=len(forgotten))
