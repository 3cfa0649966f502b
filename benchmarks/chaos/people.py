"""People with a stream, people who only call tools, and people who vanish."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from benchmarks.chaos.host import LostAnswer, OpenStream
from benchmarks.chaos.official import OfficialParticipant
from benchmarks.chaos.run import ChaosRun
from benchmarks.connections import WrongAnswer
from benchmarks.soak.participant import Deed
from benchmarks.soak.polling import PollingParticipant
from benchmarks.wire import SESSIONS, StreamFrame, ToolResult, frame

GIVEN_UP_S: Final = 5.0
"""After so long without a stream, the SDK does not come back by itself."""


class Listener(OfficialParticipant):
    """A person with a stream, whose every frame is held against the log."""

    def __init__(self, run: ChaosRun, number: int, era: str) -> None:
        super().__init__(run, number, era, listens=True)
        self.host.on_data = self._heard
        self.host.on_stream = self._stream_opened
        self._silent_since = 0.0
        self._is_bound = False
        self._has_gap = False  # a call made a new session, whose stream lacks what came before
        self._early: list[StreamFrame] | None = None

    async def come(self) -> None:
        """Enter, and listen."""
        self._is_bound = False
        await self.begin()
        early: list[StreamFrame] = []
        self._early = early
        # The stream of a session is open by now, so it may tell of the match before the entry is answered.
        await self.enter_anew(stands_before=self.era == SESSIONS)
        self._early = None
        for told in early:
            self.inbox.frame(told)
        await self.come_back()

    async def turn(self) -> None:
        """Think, then act."""
        await asyncio.sleep(self.run.rate.draw(self.rng))
        if self.host.has_stream:
            self._silent_since = time.monotonic()
        if self._needs_stream():
            await self.come_back()
        await self._lot()()

    def _needs_stream(self) -> bool:
        """Tell if the SDK will not open or resume the stream by itself."""
        if self._has_gap or not self.host.is_connected:
            return True
        is_given_up = time.monotonic() - self._silent_since > GIVEN_UP_S
        return not self.host.has_stream and (self.era != SESSIONS or is_given_up)

    def _lot(self) -> Deed:
        deeds: Sequence[tuple[Deed, float]] = (
            (self._say, 84),
            (self.step_out, 2),
            (self.next_partner, 1.5),
            (self.leave_chat, 1),
            (self.forsake, 0.7),
            (self.check, 4),
        )
        if self.member is None:
            deeds = ((self.enter, 90), (self.leave_queue, 4), (self.check, 6))
        return self.rng.choices([deed for deed, _ in deeds], [weight for _, weight in deeds])[0]

    async def _say(self) -> None:
        await self.say()

    async def check(self) -> None:
        """Check that the stream carried all that the log holds since the last check; again, if it breaks off."""
        while True:
            await self._until_streaming()
            auditing = asyncio.create_task(self.audit())
            breaking = asyncio.create_task(self.host.stream_lost())
            try:
                await asyncio.wait((auditing, breaking), return_when="FIRST_COMPLETED")
                if auditing.done():
                    auditing.result()
                    return
            finally:
                auditing.cancel()
                breaking.cancel()
                await asyncio.wait((auditing, breaking))

    async def _until_streaming(self) -> None:
        """Return once a stream is open: the SDK may resume that of its session, else there is a new one."""
        if self.host.has_stream and not self._has_gap:
            return
        if self.era == SESSIONS and self.host.is_connected and not self._has_gap:
            try:
                await self.host.listen(self.handle)
                return
            except LostAnswer:
                self.run.counts["streams given up by the SDK"] += 1
        await self.come_back()

    async def come_back(self) -> None:
        """Open a stream that begins now, and read what came before it by the cursor; again until both succeed."""
        began = time.monotonic()
        while True:
            self.inbox.hold()
            self.run.counts["gaps read by cursor"] += 1
            try:
                if self.era == SESSIONS and (self._is_bound or not self.host.is_connected):
                    await self.host.connect()  # a new session: the SDK has no other way to a new stream
                    self._shown = False
                status = await self._asked("get_status", {}, 0.0)
                if status.code:
                    raise WrongAnswer(f"{self.who.name}: get_status was refused: {status.code}")
                self._is_bound = True
                await self.host.listen(self.handle)
            except LostAnswer as lost:
                self.who.did(f"no stream: {lost}")
                await self._pause(began)
                continue
            self._silent_since, self._has_gap = time.monotonic(), False
            for stream in self.host.streams:
                if stream.closed_s is None:
                    self.who.listens(stream, time.time())
            await self.read_next_page()
            if not self._has_gap:
                self.inbox.caught_up()
                return

    async def _asked(self, tool: str, arguments: dict[str, Any], wait_s: float) -> ToolResult:
        if self._is_bound and not self.host.is_connected:
            self.inbox.hold()
            self._has_gap = True
        return await super()._asked(tool, arguments, wait_s)

    def _forget_early(self) -> None:
        if self._early is not None:
            self._early.clear()

    def _heard(self, data: bytes) -> None:
        told = frame(data)
        if self._early is not None:
            self._early.append(told)
        elif told.params is not None:
            self.inbox.frame(told)

    def _stream_opened(self, stream: OpenStream) -> None:
        if self._is_bound and self._shown:
            self.who.did(f"has a stream at {stream.worker}")
            self.who.listens(stream, time.time())


class ToolUser(OfficialParticipant, PollingParticipant):
    """A person who only calls tools, and hears by results."""

    def __init__(self, run: ChaosRun, number: int, era: str) -> None:
        super().__init__(run, number, era, listens=False)

    async def come(self) -> None:
        """Enter; notifications are read from the result's cursor on."""
        await self.begin()
        await self.enter_anew(stands_before=0)

    async def turn(self) -> None:
        """Wait for events while thinking, then act."""
        await self._wait(self.run.rate.draw(self.rng) * 2)
        await self._lot()()

    def _lot(self) -> Deed:
        deeds: Sequence[tuple[Deed, float]] = (
            (self._say, 84),
            (self.step_out, 3),
            (self.next_partner, 1.5),
            (self.leave_chat, 1),
            (self.forsake, 0.7),
        )
        if self.member is None:
            deeds = ((self.enter, 90), (self.leave_queue, 4), (self.check, 6))
        return self.rng.choices([deed for deed, _ in deeds], [weight for _, weight in deeds])[0]

    async def come_back(self) -> None:
        """Connect again, in another session, and read from the same cursor."""
        await self.begin()
        await self.read_next_page()


class Vanishing(Listener):
    """A person who comes, talks for a while if there is a partner, and vanishes for good without a word.

    Every other one has an interest of its own. So it waits alone for a while, and has vanished when its patience ends.
    """

    def __init__(self, run: ChaosRun, number: int, era: str, *, is_lonely: bool) -> None:
        super().__init__(run, number, era)
        self._is_lonely = is_lonely

    async def live(self) -> None:
        """Come and vanish, over and over."""
        try:
            while self.run.is_open:
                await asyncio.sleep(self.rng.uniform(0, 6))
                self.interests = [f"only {self.number} {self._lives}"] if self._is_lonely else ["talk"]
                await self.come()
                for _ in range(self.rng.randrange(2 if self._is_lonely else 8)):
                    if self.run.is_open:
                        await self.turn()
                await self.vanish_for_good()
        except Exception as error:  # noqa: BLE001 (reported, with the last acts of this client)
            self.run.fail(error, self.who)
        finally:
            await self.host.hang_up()
