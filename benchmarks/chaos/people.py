"""People on the official clients: each call is made until it is answered, and what was missed is read by the cursor."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from benchmarks.chaos.host import LostAnswer, OfficialHost, OpenStream
from benchmarks.chaos.presence import ObservedIdentity
from benchmarks.chaos.run import ChaosRun
from benchmarks.soak.inbox import ObservedInbox
from benchmarks.soak.participant import OVER, Deed, Participant
from benchmarks.soak.polling import PollingParticipant
from benchmarks.wire import SESSIONS, StreamFrame, ToolResult, frame

ANSWERED_WITHIN_S: Final = 12.0
"""Beyond the time that a call asks the broker to wait."""

AGAIN_S: Final = 0.1
AT_LEAST_S: Final = 90.0
"""A call without an answer for so long is a failure: all faults are over by then."""

GIVEN_UP_S: Final = 5.0
"""After so long without a stream, the SDK does not come back by itself."""

UNAVAILABLE: Final = "unavailable"


class OfficialParticipant(Participant):
    """A participant whose client is the official one, behind a proxy whose workers die."""

    run: ChaosRun
    who: ObservedIdentity

    def __init__(self, run: ChaosRun, number: int, era: str, *, listens: bool) -> None:
        super().__init__(run, number, era)
        self.era = era
        self.host = OfficialHost(run.url, era, listens=listens)
        self.who = run.identity(f"p{number}")

    async def live(self) -> None:
        """Come and go until the run closes; any error fails the run."""
        try:
            await super().live()
        finally:
            await self.host.hang_up()

    async def begin(self) -> None:
        """Make a new client, without a known handle."""
        self._shown = False
        while True:
            try:
                await self.host.connect()
                return
            except LostAnswer:
                await self._pause(time.monotonic())

    def rename(self) -> None:
        """Start the next identity, without a handle."""
        self.who, self.handle = self.run.identity(f"p{self.number}.{self._lives}"), ""

    async def enter_anew(self, stands_before: int) -> ToolResult:
        """Become a new identity. One whose entry got no answer may be in the queue: each try has a name of its own."""
        began = time.monotonic()
        while True:
            self._lives += 1
            self.rename()
            try:
                result = await self._asked("enter_queue", {"display_name": self.who.name}, 0.0)
            except LostAnswer:
                self.run.vanished(self.who)
                self._forget_early()
                await self.begin()
                await self._pause(began)
                continue
            self.handle, self.who.connection_id = result.handle, result.connection_id
            self.inbox = ObservedInbox(self.run.ledger, self.who, result.connection_id, result.cursor - stands_before)
            self.entered(result)
            self.run.counts["identities"] += 1
            return result

    async def _tried(self, tool: str, arguments: dict[str, Any], wait_s: float) -> ToolResult:
        """Call until there is an answer."""
        began = time.monotonic()
        while True:
            try:
                return await self._asked(tool, arguments, wait_s)
            except LostAnswer as lost:
                self.who.did(f"{tool}: {lost}")
                self.run.counts["calls without an answer"] += 1
                await self._pause(began)

    def _forget_early(self) -> None:
        """Drop what a stream told of an identity whose entry got no answer."""

    async def _pause(self, began: float) -> None:
        if time.monotonic() - began > AT_LEAST_S:
            raise TimeoutError(f"no answer in {AT_LEAST_S:.0f} s")
        await asyncio.sleep(AGAIN_S * self.rng.uniform(1, 3))

    async def _asked(self, tool: str, arguments: dict[str, Any], wait_s: float) -> ToolResult:
        if not self.host.is_connected:
            self._shown = False
            await self.host.connect()
        leave_out = self.era == SESSIONS and self._shown and self.rng.random() < 0.5
        handle = {} if leave_out or not self.handle else {"handle": self.handle}
        sent_s, started = time.time(), time.perf_counter()
        content = await self.host.call(tool, {**arguments, **handle}, wait_s + ANSWERED_WITHIN_S)
        result = msgspec.convert(content, ToolResult)
        if result.code == UNAVAILABLE:
            raise LostAnswer(UNAVAILABLE)
        if not wait_s:
            self.run.latencies.answered(time.perf_counter() - started)
        self._shown = self._shown or not result.code
        self.who.answered(sent_s, wait_s if result.timed_out else 0.0, self.host.answered_by)
        return result

    async def say(self, least_bytes: int = 0, **more: Any) -> ToolResult:
        """Send the next message, under one id until it is answered."""
        member = self.member
        assert member is not None
        said = self.run.ledger.says(member, self.text(least_bytes))
        arguments = {"room_id": member.room.room_id, "message": said.text, "message_id": f"m-{self._texts}", **more}
        result = await self.call("send_message", *OVER, wait_s=more.get("wait_seconds", 0.0), **arguments)
        self.run.ledger.answered(member, said, accepted=not result.code)
        if result.code:
            member.left = True
            await self.check()
        else:
            self.run.acknowledged.setdefault(self.who.connection_id, []).append(said.text)
        return result

    async def vanish_for_good(self) -> None:
        """Hang up without a word, and never come back."""
        await self.host.hang_up()
        self.run.vanished(self.who)
        self.run.counts["people vanished"] += 1

    async def end_session(self) -> None:
        """Drop the session without a word; others of the run test its end."""
        self._in_session = False

    async def go_away(self) -> None:
        """Disconnect without notice."""
        await self.host.hang_up()

    async def vanish(self) -> None:
        """Do not: who vanishes here does not come back."""


class Listener(OfficialParticipant):
    """A person with a stream, whose every frame is held against the log."""

    def __init__(self, run: ChaosRun, number: int, era: str) -> None:
        super().__init__(run, number, era, listens=True)
        self.host.on_data = self._heard
        self.host.on_stream = self._stream_opened
        self._silent_since = 0.0
        self._is_bound = False
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
        elif self.era != SESSIONS or time.monotonic() - self._silent_since > GIVEN_UP_S or not self.host.is_connected:
            await self.come_back()
        await self._lot()()

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
        if self.host.has_stream:
            return
        if self.era == SESSIONS and self.host.is_connected:
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
                await self._asked("get_status", {}, 0.0)
                self._is_bound = True
                await self.host.listen(self.handle)
            except LostAnswer as lost:
                self.who.did(f"no stream: {lost}")
                await self._pause(began)
                continue
            self._silent_since = time.monotonic()
            for stream in self.host.streams:
                if stream.closed_s is None:
                    self.who.listens(stream, time.time())
            await self.read_next_page()
            self.inbox.caught_up()
            return

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
    """A person who comes, talks for a while if there is a partner, and vanishes for good without a word."""

    async def live(self) -> None:
        """Come and vanish, over and over."""
        try:
            while self.run.is_open:
                await asyncio.sleep(self.rng.uniform(0, 6))
                await self.come()
                for _ in range(self.rng.randrange(8)):
                    if self.run.is_open:
                        await self.turn()
                await self.vanish_for_good()
        except Exception as error:  # noqa: BLE001 (reported, with the last acts of this client)
            self.run.fail(error, self.who)
        finally:
            await self.host.hang_up()
