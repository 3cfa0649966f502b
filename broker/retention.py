"""Redaction of texts and names in the log, a set time after they were needed; the record of the events stays.

It reads the log at that distance from the present, from the position reached before. `TextHolders` tells which commits
are free at that point. A restart begins at the first commit that is not free.

Messages and notes are redacted at once. Names are also in the state: those of idle people are forgotten there first, by
a commit, and the snapshots before that are dropped. So a fold of the redacted log still gives the live state. As each
round of names costs a snapshot, they take turns of an hour.

A commit is old enough by either of two clocks: by its timestamp and the wall clock, or because this process knew it
so long ago by the monotonic clock. The second one counts for commits stamped while the wall clock was ahead.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from broker.batch import CommandAnswer
from broker.clock import Clock, WatchedClock, sleep_until
from broker.decision import Rejection
from broker.outage_lines import OutageLines
from broker.replica import Replica
from broker.text_holders import TextHolders
from events.commands import Command, ForgetNames
from events.ids import ConnectionId, Position, RoomId
from events.log import EventLog, LogUnavailableError, Snapshot, UnusableLogError
from projections.connections import Idle

logger = structlog.get_logger(__name__)

SWEEP_MS = 60_000
NAMES_MS = 3_600_000
PAGE_COMMITS = 1_000
SIGHTINGS_MAX = 1_000
FORGOTTEN_AT_ONCE = 256
FREE_NAMES_MAX = 10_000
"""At so many commits with names to redact, a round of them comes early."""


class Redaction:
    """Forgets the texts of rooms closed, and the names of people idle, for more than `after_ms`.

    A reported room is kept until the state's policy releases its evidence.
    """

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        watched: WatchedClock,
        after_ms: int,
        replica: Replica,
        submit: Callable[[Command], asyncio.Future[CommandAnswer]],
        is_caretaker: Callable[[], bool] = lambda: True,
    ) -> None:
        """Do nothing unless `is_caretaker`: of the brokers of a shared log, one suffices."""
        self._log = log
        self._clock = clock
        self._watched = watched
        self._after_ms = after_ms
        self._replica = replica
        self._submit = submit
        self._is_caretaker = is_caretaker
        self._took_care = True
        self._outage = OutageLines(clock, "redaction_put_off", "redaction_resumed")
        self._at: Position = log.redacted_to
        self._texts = TextHolders()  # at `_at`
        self._names_due_ms = clock.now_ms()
        self._sightings: deque[tuple[float, Position]] = deque()  # `now_ms`, and the log's tip at that moment

    async def run(self) -> None:
        """Sweep once a minute, until it is cancelled."""
        while True:
            try:
                if not self._is_caretaker():
                    self._took_care = False
                else:
                    if not self._took_care:
                        await self._take_over()
                    await self.sweep()
                    self._outage.succeeded()
            except (LogUnavailableError, UnusableLogError) as error:
                self._outage.failed(error)
            await sleep_until(self._clock, self._clock.now_ms() + SWEEP_MS)

    async def _take_over(self) -> None:
        """Go on where the caretaker before has got to."""
        await self._log.redact((), done_to=0)  # nothing but the question
        self._at, self._texts = self._log.redacted_to, TextHolders()
        self._took_care = True

    async def sweep(self) -> None:
        """Redact everything due by now.

        Raises:
            LogUnavailableError: the rest is done by the next sweep.
        """
        old_by_ms = self._watched.cautious_ms() - self._after_ms
        known_to = await self._known_long_enough()
        self._texts.release_evidence(self._reported())
        while commits := await self._log.read(self._at, PAGE_COMMITS):
            due = [commit for commit in commits if commit.at_ms <= old_by_ms or commit.position <= known_to]
            reported = self._reported()
            for commit in due:
                self._texts.take(commit, reported)
                self._at = commit.position
            await self._redact_texts()
            if len(self._texts.free_names) >= FREE_NAMES_MAX:
                await self._redact_names()
            if len(due) < len(commits):
                break
            await asyncio.sleep(0)  # let other tasks run
        await self._redact_texts()
        if self._names_due_ms <= self._clock.now_ms():
            await self._redact_names()

    async def _known_long_enough(self) -> Position:
        """Return the last position known to be in the log `after_ms` ago; 0 if there is none."""
        now_ms, sightings = self._clock.now_ms(), self._sightings
        if not sightings or now_ms - sightings[-1][0] >= self._after_ms / SIGHTINGS_MAX:
            sightings.append((now_ms, (await self._log.tip()).position))
        while len(sightings) > 1 and sightings[1][0] <= now_ms - self._after_ms:
            sightings.popleft()
        return sightings[0][1] if sightings[0][0] <= now_ms - self._after_ms else 0

    def _reported(self) -> frozenset[RoomId]:
        """Return the rooms held by a report now."""
        state = self._replica.state
        since_ms = self._watched.cautious_ms() - state.policy.evidence_keep_ms
        return frozenset(report.room_id for _, report in state.reports.items() if report.at_ms > since_ms)

    async def _redact_texts(self) -> None:
        texts, names = self._texts.free_texts, self._texts.free_names
        while texts:
            part, rest = texts[:PAGE_COMMITS], texts[PAGE_COMMITS:]
            await self._log.redact(part, done_to=self._done_to([*rest, *names]))
            texts[:] = rest
            logger.info("redacted", messages=len(part))
        done_to = self._done_to(names)
        if done_to > self._log.redacted_to:
            await self._log.redact((), done_to=done_to)

    async def _redact_names(self) -> None:
        """Forget the names of people idle since `_at`, and redact the commits no longer needed."""
        if self._replica.state.position < self._at:
            return  # it lags behind a shared log
        forgotten = await self._forget_names()
        names = self._texts.free_names
        if names or forgotten:
            state = self._replica.state
            await self._log.save(Snapshot(state.tip, state))
            logger.info("names_redacted", commits=len(names), connections=forgotten)
            while True:
                part, rest = names[:PAGE_COMMITS], names[PAGE_COMMITS:]
                await self._log.redact(part, done_to=self._done_to(rest), snapshots_before=state.position)
                names[:] = rest
                if not rest:
                    break
        self._names_due_ms = self._clock.now_ms() + NAMES_MS

    async def _forget_names(self) -> int:
        """Forget the names of all people idle since `_at`, in the state; return how many.

        Raises:
            LogUnavailableError: a command was not carried out.
        """
        people, some, forgotten = self._replica.state.connections, list[ConnectionId](), 0
        for number, (key, who) in enumerate(people.idle.items(), 1):
            if Idle(key).since_position > self._at:
                break
            if not people.by_id[who].is_forgotten:
                some.append(who)
            if len(some) == FORGOTTEN_AT_ONCE:
                forgotten += await self._forget(some)
                some = []
            if number % PAGE_COMMITS == 0:
                await asyncio.sleep(0)
        return forgotten + (await self._forget(some) if some else 0)

    async def _forget(self, people: list[ConnectionId]) -> int:
        answer = await self._submit(ForgetNames(tuple(people), self._at))
        if isinstance(answer, Rejection):
            raise LogUnavailableError("the names of idle people could not be forgotten")
        return len(people)

    def _done_to(self, names: list[Position]) -> Position:
        """Return the last position before which nothing is left to redact; `names` are left."""
        left = [position - 1 for position in (self._texts.first_held(), *names) if position is not None]
        return min([self._at, *left])
