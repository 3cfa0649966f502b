"""A participant on the official client: each call is made until it is answered."""

import asyncio
import time
from typing import Any, Final

import msgspec

from benchmarks.chaos.host import LostAnswer, OfficialHost
from benchmarks.chaos.presence import ObservedIdentity
from benchmarks.chaos.run import ChaosRun
from benchmarks.connections import WrongAnswer
from benchmarks.soak.inbox import ObservedInbox
from benchmarks.soak.participant import OVER, Participant
from benchmarks.wire import SESSIONS, ToolResult

ANSWERED_WITHIN_S: Final = 12.0
"""Beyond the time that a call asks the broker to wait."""

AGAIN_S: Final = 0.1
UNANSWERED_S_MAX: Final = 90.0
"""A call without an answer for so long is a failure: all faults are over by then."""

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
        self.interests = ["talk"]

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
            if result.code:
                raise WrongAnswer(f"{self.who.name}: enter_queue was refused: {result.code}")
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
        if time.monotonic() - began > UNANSWERED_S_MAX:
            raise TimeoutError(f"no answer in {UNANSWERED_S_MAX:.0f} s")
        await asyncio.sleep(AGAIN_S * self.rng.uniform(1, 3))

    async def _asked(self, tool: str, arguments: dict[str, Any], wait_s: float) -> ToolResult:
        if not self.host.is_connected:
            self._shown = False
            await self.host.connect()
        leave_out = self.era == SESSIONS and self._shown and self.rng.random() < 0.5
        handle: dict[str, Any] = {} if leave_out or not self.handle else {"handle": self.handle}
        if tool == "enter_queue":
            handle["interests"] = self.interests
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
        """Do not: a vanished person does not come back here."""
