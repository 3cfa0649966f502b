"""A client that only calls tools, like a host with a model: it hears by results."""

import time
from collections.abc import Sequence

from benchmarks.soak.participant import Deed, Participant


class PollingParticipant(Participant):
    """A client that waits for events and sends with a wait; waits break off, sessions change, nothing is lost."""

    async def come(self) -> None:
        """Enter; notifications are read from the result's cursor on."""
        await self.begin()
        self.rename()
        await self.enter_anew(stands_before=0)

    async def turn(self) -> None:
        """Wait for events while thinking, then act."""
        until = time.monotonic() + self.run.rate.draw(self.rng)
        before = self.member
        while (left_s := until - time.monotonic()) > 0.01 and self.member is before:
            await self._wait(left_s)
        if not await self.answer_flood():
            await self._lot()()

    def _lot(self) -> Deed:
        deeds: Sequence[tuple[Deed, float]] = (
            (self._say, 75),
            (self._break_wait, 8),
            (self._change_session, 4),
            (self.step_out, 3),
            (self.next_partner, 3),
            (self.leave_chat, 2),
            (self.forsake, 3),
            (self.vanish, 2),
        )
        if self.member is None:
            deeds = (
                (self.enter, 80),
                (self._break_wait, 8),
                (self.leave_queue, 6),
                (self.vanish, 2),
                (self.forsake, 4),
            )
        return self.rng.choices([deed for deed, _ in deeds], [weight for _, weight in deeds])[0]

    async def check(self) -> None:
        """Read to the log's end."""
        await self.read_next_page()
        self.run.ledger.caught_up(self.who)

    async def go_away(self) -> None:
        """Disconnect during a wait, or between two calls."""
        if self.rng.random() < 0.5:
            await self._break_wait()
        self.client.hang_up()

    async def come_back(self) -> None:
        """Reconnect, perhaps in another session, and read from the same cursor."""
        if self.client.has_sessions and self.rng.random() < 0.5:
            await self.begin()
        await self.read_next_page()

    async def _wait(self, seconds: float) -> None:
        """Wait in one call until there is an event; for an idle client it returns at once."""
        waited = await self.call(
            "wait_for_events", wait_s=seconds, cursor=self.inbox.cursor, wait_seconds=round(seconds, 2)
        )
        self.inbox.page(waited.events, waited.cursor, missed=waited.missed)
        self.run.counts["waits"] += 1
        if not waited.events and waited.status == "idle":
            await self._be_idle()

    async def _be_idle(self) -> None:
        member = self.member
        if member is not None:  # it was closed while they were away
            member.left = True
            await self.check()
        else:
            await self.enter()

    async def _say(self) -> None:
        """Send a message and wait for the answer, in one call or in two."""
        if self.rng.random() < 0.5:
            await self.say()
            return
        seconds = round(self.run.rate.draw(self.rng), 2)
        said = await self.say(cursor=self.inbox.cursor, wait_seconds=seconds)
        if not said.code:
            self.inbox.page(said.events, said.cursor, missed=said.missed)

    async def _break_wait(self) -> None:
        """Break off a wait; the next one starts from the same cursor, so nothing is lost."""
        self.run.counts["waits broken off"] += 1
        request = self.request("wait_for_events", {"cursor": self.inbox.cursor, "wait_seconds": 30})
        await self.client.break_off(request, self.rng.uniform(0, self.run.rate.think_s))

    async def _change_session(self) -> None:
        """Change to a new session, as hosts do."""
        await self.begin()
