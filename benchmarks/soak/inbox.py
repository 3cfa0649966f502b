"""Notifications to one identity, by streams and by pages, as one sequence by cursor; both ways must agree."""

import asyncio
from collections.abc import Sequence
from typing import Final

from benchmarks.soak.delivery_ledger import DeliveryLedger
from benchmarks.soak.rooms import Identity, SentMessage
from benchmarks.wire import NotificationParams, StreamFrame

FRAME_WITHIN_S: Final = 15.0
"""Time limit for a frame after a page has held it."""

CHAT_METHODS: Final = frozenset({"chatroom.found", "message.received", "partner.disconnected"})


class ObservedInbox:
    """All notifications up to `cursor` were heard; a stream has to carry the rest, as `audit` checks.

    A stream that began live carries nothing from before it: its frames are `held` until the pages from
    `cursor` on are read.
    """

    def __init__(self, ledger: DeliveryLedger, who: Identity, connection_id: str, cursor: int) -> None:
        self.begins = self.cursor = cursor
        self._ledger = ledger
        self._who = who
        self._connection_id = connection_id
        self._held: list[NotificationParams] | None = None
        self._paged: set[int] = set()
        self._streamed: list[NotificationParams] = []
        """Frames from streams since the last audit."""
        self._audited = cursor
        self._grown = asyncio.Event()

    @property
    def audited(self) -> int:
        """The cursor from which the next audit has to read."""
        return self._audited

    def hold(self) -> None:
        """Hold frames back, for a stream that begins live."""
        self._held = []
        self._paged.clear()

    def frame(self, frame: StreamFrame) -> SentMessage | None:
        """Record a frame of the stream; return the message, if one was expected."""
        told = frame.params
        if told is None or frame.method not in CHAT_METHODS:
            return None
        if told.meta.connection_id != self._connection_id:
            self._ledger.problem(f"{self._who.name} got a frame for {told.meta.connection_id}", self._who)
        elif self._held is not None:
            self._held.append(told)
        elif told.cursor in self._paged:
            self._paged.discard(told.cursor)  # the page was quicker than the stream
        else:
            self._streamed.append(told)
            self._grown.set()
            return self._take(told)
        return None

    def page(self, events: Sequence[StreamFrame], cursor: int, *, missed: bool = False) -> None:
        """Record the result of a call with the current `cursor`: all after it, up to another cursor."""
        for told in _params(events):
            self._paged.add(told.cursor)
            self._take(told)
        self._advance(cursor, missed=missed)

    def caught_up(self) -> None:
        """Release held frames after reading the pages up to the log's end; the stream goes on from there."""
        held, self._held = self._held or [], None
        paged = self.cursor
        self._streamed, self._audited = [], paged
        for told in held:
            if told.cursor > paged:
                self._streamed.append(told)
                self._take(told)
            elif told.cursor in self._paged:
                self._paged.discard(told.cursor)
            else:
                self._ledger.problem(f"{self._who.name}: no page held the frame with cursor {told.cursor}", self._who)
        self._grown.set()

    async def audit(self, events: Sequence[StreamFrame], cursor: int, *, missed: bool) -> None:
        """Compare the log after `audited` with the frames of the stream."""
        paged = _params(events)
        await self._reach(paged[-1].cursor if paged else 0)
        streamed = [told for told in self._streamed if told.cursor <= cursor]
        if [_key(told) for told in streamed] != [_key(told) for told in paged]:
            what = f"the stream gave {[told.cursor for told in streamed]}, the log {[told.cursor for told in paged]}"
            self._ledger.problem(f"{self._who.name}, from {self._audited} to {cursor}: {what}", self._who)
        if missed:
            self._ledger.problem(f"{self._who.name} read from {self._audited} on, and something is missed", self._who)
        self._streamed = [told for told in self._streamed if told.cursor > cursor]
        self._audited = cursor
        self.cursor = max(self.cursor, cursor)

    async def _reach(self, cursor: int) -> None:
        try:
            async with asyncio.timeout(FRAME_WITHIN_S):
                while self.cursor < cursor:
                    self._grown.clear()
                    await self._grown.wait()
        except TimeoutError:
            what = f"no frame with cursor {cursor} came in {FRAME_WITHIN_S:.0f} s, though a page holds it"
            self._ledger.problem(f"{self._who.name}: {what}", self._who)

    def _take(self, told: NotificationParams) -> SentMessage | None:
        self._who.did(f"heard {told.cursor} {told.message or told.partner or told.reason}"[:80])
        if told.cursor <= self.cursor:
            what = f"heard the notification with cursor {told.cursor}, and had all up to {self.cursor}"
            self._ledger.problem(f"{self._who.name} {what}", self._who)
            return None
        self.cursor = told.cursor
        return self._ledger.heard(self._who, told)

    def _advance(self, cursor: int, *, missed: bool) -> None:
        if cursor < self.cursor:
            self._ledger.problem(f"{self._who.name} was given {cursor} after {self.cursor}", self._who)
        if missed:
            self._ledger.problem(f"{self._who.name} read from {self.cursor} on, and something is missed", self._who)
        self.cursor = max(self.cursor, cursor)


def _params(events: Sequence[StreamFrame]) -> list[NotificationParams]:
    return [event.params for event in events if event.params is not None]


def _key(told: NotificationParams) -> tuple[int, str, str | None, str, str, str]:
    return told.cursor, told.room_id, told.message, told.partner, told.reason, told.timestamp
