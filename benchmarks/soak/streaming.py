"""A client with an open stream: the GET of a session, or `subscriptions/listen`."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import Final

from benchmarks.connections import HTTP_OK, WrongAnswer
from benchmarks.soak.listener import Listener
from benchmarks.soak.participant import NOT_FOUND, Deed, Participant
from benchmarks.soak.rooms import Flood
from benchmarks.soak.run import SoakRun
from benchmarks.wire import StreamFrame

OnFrame = Callable[[StreamFrame], object]

FLOODED_WITHIN_S: Final = 20.0
CUT_WITHIN_S: Final = 1.0
CHECKED_EVERY_S: Final = 20.0
"""Longest time between two checks: the log does not reach back for ever."""


class StreamingParticipant(Participant):
    """A client that hears by its stream. By the cursor it reads missed notifications, and checks the stream."""

    def __init__(self, run: SoakRun, number: int, protocol_version: str) -> None:
        super().__init__(run, number, protocol_version)
        self._listener = self._new_listener(lambda _: None)
        self._event_id = b""
        self._opened_at = math.inf
        self._check_at = 0.0

    async def come(self) -> None:
        """Enter; a session may open its stream before that, or after."""
        self._check_at = time.monotonic() + CHECKED_EVERY_S
        await self.begin()
        self.rename()
        if self.client.has_sessions and self.rng.random() < 0.5:
            early: list[StreamFrame] = []
            await self._open(early.append)
            await self.enter_anew(stands_before=1)
            self._listener.on_frame = self._heard
            for frame in early:
                self._heard(frame)
        else:
            await self.enter_anew(stands_before=0)
            await self._open_and_read()

    async def turn(self) -> None:
        """Think, then act."""
        await asyncio.sleep(self.run.rate.draw(self.rng))
        if self._listener.over.is_set():
            raise WrongAnswer(f"the server ended {self.who.name}'s stream, which was read")
        if not await self.answer_flood():
            await (self.check() if time.monotonic() > self._check_at else self._lot()())

    def _lot(self) -> Deed:
        deeds: Sequence[tuple[Deed, float]] = (
            (self._say, 80),
            (self.step_out, 6),
            (self.next_partner, 4),
            (self.leave_chat, 2.5),
            (self._displace, 1.5),
            (self.forsake, 4),
            (self.vanish, 1.5),
            (self.check, 1),
            (self._read_slowly, 0.5),
        )
        if self.member is None:
            deeds = ((self.enter, 80), (self.leave_queue, 6), (self.step_out, 10), (self.vanish, 2), (self.forsake, 2))
        return self.rng.choices([deed for deed, _ in deeds], [weight for _, weight in deeds])[0]

    async def _say(self) -> None:
        await self.say()

    async def check(self) -> None:
        """Check that the stream carried all that the log holds since the last check."""
        await self.audit()
        self._check_at = time.monotonic() + CHECKED_EVERY_S

    async def go_away(self) -> None:
        """Drop the stream, and often the connection for calls."""
        self._close()
        if self.rng.random() < 0.5:
            self.client.hang_up()

    async def come_back(self) -> None:
        """Resume by `Last-Event-ID` in the same session or in a new one, or by the cursor."""
        if not self.client.has_sessions or self.rng.random() < 0.3:
            await self._open_and_read()
            return
        if self.rng.random() < 0.3:
            await self.begin()
            await self.call("get_status")
            self.run.counts["resumptions in a new session"] += 1
        await self._resume()

    async def live(self) -> None:
        """Come and go as others, and close the stream in any case."""
        try:
            await super().live()
        finally:
            self._listener.close()

    async def retire(self) -> None:
        """Leave for good, and close the stream last."""
        await super().retire()
        self._close()

    async def _displace(self) -> None:
        """Open another stream while one is open: the new one goes on from the old one's last event."""
        old = self._listener
        old.deafen()
        self._event_id = old.event_id
        self.run.counts["streams displaced"] += 1
        if self.client.has_sessions:
            await self._resume()
            async with asyncio.timeout(FLOODED_WITHIN_S):
                await old.over.wait()
        else:
            await self._open_and_read()
        old.drop()
        self.who.stream_dropped()

    async def _read_slowly(self) -> None:
        """Stop reading while the partner sends a flood: the stream is cut, and nothing is lost."""
        member, slowness = self.member, self.run.slowness
        partner = member.other.who if member is not None and member.other is not None else None
        if member is None or partner is None or partner.has_left or partner.flood is not None or slowness.locked():
            return
        async with slowness:
            self._close()
            await self._open_and_read(narrow=True)
            assert self._listener.transport is not None
            self._listener.transport.pause_reading()
            self._opened_at = math.inf  # messages read late by choice are no latency
            self.who.stream_dropped()  # whenever the server gives it up
            flood = partner.flood = Flood(member.room)
            try:
                async with asyncio.timeout(FLOODED_WITHIN_S):
                    await flood.done.wait()
            except TimeoutError:
                flood.left = 0
            self.run.counts["slow readers"] += 1
            if self._listener.transport is not None:
                self._listener.transport.resume_reading()
            try:
                async with asyncio.timeout(CUT_WITHIN_S):
                    await self._listener.over.wait()
                self.run.counts["slow readers cut"] += 1
            except TimeoutError:
                pass
            self._forget_stream()
            await self.come_back()

    async def _resume(self) -> None:
        """Resume after the last stream's last event."""
        self.run.counts["resumptions by LastClient-Event-ID"] += 1
        if not self._event_id:
            await self._open_and_read()
        else:
            await self._open(self._heard, self._event_id)

    async def _open_and_read(self, *, narrow: bool = False) -> None:
        """Open a stream that begins now, and read earlier notifications by the cursor."""
        self.run.counts["gaps read by cursor"] += 1
        self.inbox.hold()
        await self._open(self._heard, narrow=narrow)
        await self.read_next_page()
        self.inbox.caught_up()

    async def _open(
        self, on_frame: Callable[[StreamFrame], object], event_id: bytes = b"", *, narrow: bool = False
    ) -> None:
        self._opened_at = math.inf
        listener = self._new_listener(on_frame)
        request = self.client.wire.stream(self.handle, event_id)
        status = await listener.open(self.run.port, request, event_id=event_id, narrow=narrow)
        if status == NOT_FOUND and self.client.has_sessions:
            listener.drop()
            await self.begin_after_404()
            await self.call("get_status")
            await self._open(on_frame, event_id, narrow=narrow)
            return
        if status != HTTP_OK or listener.over.is_set():
            raise WrongAnswer(f"{self.who.name} was refused a stream: HTTP {status}")
        self.who.did(f"has a stream after {event_id.decode() or 'nothing'}")
        self.who.stream_opened()
        self._opened_at = time.perf_counter()
        self._listener = listener

    def _new_listener(self, on_frame: OnFrame) -> Listener:
        return Listener(lambda error: self.run.fail(error, self.who), on_frame)

    def _heard(self, frame: StreamFrame) -> None:
        """Record a frame; a message sent while the stream was open gives a latency."""
        said = self.inbox.frame(frame)
        if said is not None and said.sent_at > self._opened_at:
            self.run.latencies.heard(time.perf_counter() - said.sent_at)

    def _close(self) -> None:
        self._forget_stream()
        self.who.stream_dropped()

    def _forget_stream(self) -> None:
        """Drop the stream, and keep its last event's id for the next."""
        self._event_id = self._listener.event_id
        self._listener.deafen()
        self._listener.drop() if self.rng.random() < 0.5 else self._listener.close()
