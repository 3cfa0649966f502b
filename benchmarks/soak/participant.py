"""A client that comes, talks and goes, over and over, each time under a unique name."""

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Final

from benchmarks.connections import WrongAnswer, WrongStatus
from benchmarks.soak.client import ReconnectingClient
from benchmarks.soak.inbox import ObservedInbox
from benchmarks.soak.rooms import Identity, RoomMember
from benchmarks.soak.run import SoakRun
from benchmarks.wire import ToolResult, answer

NOT_FOUND: Final = 404
FIRST_CALL_ID: Final = 10
AWAY_S_MAX: Final = 1.2
"""Longest absence of a client that comes back within every grace."""
BROKEN_AFTER_S_MAX: Final = 0.03
WORDS: Final = ("and", "how", "is", "the", "weather", "where", "you", "are", "žluť", "雨", "🙂")
WORDS_MAX: Final = 40
OVER: Final = ("chat_ended", "room_not_found")

Deed = Callable[[], Awaitable[None]]


class Participant(ABC):
    """Behaviour common to clients with a stream and without."""

    def __init__(self, run: SoakRun, number: int, protocol_version: str) -> None:
        self.run = run
        self.number = number
        self.rng = random.Random(f"{run.options.seed}/{number}")
        self.client = ReconnectingClient(run.port, protocol_version, self.rng, lambda error: run.fail(error, self.who))
        self.who = Identity(f"p{number}")
        self.inbox: ObservedInbox
        self.handle = ""
        self._lives = 0
        self._calls = 0
        self._texts = 0
        self._in_session = False
        self._shown = False
        self._leaves = False

    @property
    def member(self) -> RoomMember | None:
        """Its side of its room, as far as it knows."""
        return next((member for member in self.who.rooms.values() if not member.is_over), None)

    async def live(self) -> None:
        """Come and go until the run closes; any error fails the run."""
        try:
            while self.run.is_open:
                async with self.run.gate:
                    await self.come()
                self._leaves = False
                while self.run.is_open and not self._leaves:
                    await self.turn()
                await self.retire()
        except Exception as error:  # noqa: BLE001 (reported, with the last acts of this client)
            self.run.fail(error, self.who)
        finally:
            self.client.hang_up()

    @abstractmethod
    async def come(self) -> None:
        """Enter the queue as a new identity."""

    @abstractmethod
    async def turn(self) -> None:
        """Think, then act."""

    @abstractmethod
    async def check(self) -> None:
        """Read all notifications up to now, and compare them with those heard already."""

    @abstractmethod
    async def go_away(self) -> None:
        """Disconnect without notice."""

    @abstractmethod
    async def come_back(self) -> None:
        """Reconnect, and read missed notifications."""

    async def begin(self) -> None:
        """Open a new session, without a known handle; the old one may be ended first."""
        if self._in_session:
            await self.end_session()
        self._shown = False
        await self.client.begin()
        self._in_session = self.client.has_sessions

    async def call(self, tool: str, *allowed: str, wait_s: float = 0.0, **arguments: Any) -> ToolResult:
        """Call a tool and return its result; a refusal must have a code among `allowed`."""
        while True:
            result = await self._tried(tool, arguments, wait_s)
            self.who.did(f"{tool} -> {result.code or result.status or result.success} {result.cursor or ''}")
            if result.code == "rate_limited":
                self.run.counts["rate limited"] += 1
                await asyncio.sleep(result.retry_after_ms / 1_000)
            elif result.code and result.code not in allowed:
                raise WrongAnswer(f"{self.who.name}: {tool} was refused: {result.code}")
            else:
                return result

    async def _tried(self, tool: str, arguments: dict[str, Any], wait_s: float) -> ToolResult:
        sent_at, started = time.time(), time.perf_counter()
        try:
            body = await self.client.ask(self.request(tool, arguments), wait_s + 30)
        except WrongStatus as error:
            if error.status != NOT_FOUND or not self.client.has_sessions:
                raise
            await self.begin_after_404()
            return await self._tried(tool, arguments, wait_s)
        result = answer(body).result
        if result is None or result.structured_content is None:
            raise WrongAnswer(f"{self.who.name}: {tool} was answered {body[:500]!r}")
        if not wait_s:
            self.run.latencies.answered(time.perf_counter() - started)
        given = result.structured_content
        self._shown = self._shown or not given.code
        self.who.called(sent_at, wait_s if given.timed_out else 0.0)
        return given

    def request(self, tool: str, arguments: dict[str, Any]) -> bytes:
        """Return a call; in a session with a known handle, half of the calls leave it out."""
        leave_out = self.client.has_sessions and self._shown and self.rng.random() < 0.5
        handle = {} if leave_out or not self.handle else {"handle": self.handle}
        self._calls += 1  # an id is used once a session
        return self.client.wire.call(tool, {**arguments, **handle}, FIRST_CALL_ID + self._calls)

    async def enter_anew(self, stands_before: int) -> ToolResult:
        """Become a new identity; its inbox starts `stands_before` positions before its own entry."""
        self._lives += 1
        result = await self.call("enter_queue", display_name=self.who.name)
        self.handle = result.handle
        self.inbox = ObservedInbox(self.run.ledger, self.who, result.connection_id, result.cursor - stands_before)
        self.entered(result)
        self.run.counts["identities"] += 1
        return result

    def rename(self) -> None:
        """Start the next identity, without a handle."""
        self.who, self.handle = Identity(f"p{self.number}.{self._lives}"), ""

    def entered(self, result: ToolResult) -> None:
        """Record the result of a call that queues; it may itself announce a match."""
        if result.status == "matched":
            member = self.run.ledger.found(self.who, result.room_id, result.partner, result.cursor, logged=False)
            member.needs_notice = result.cursor > self.inbox.begins

    async def enter(self) -> None:
        """Enter the queue, or repeat the call: that is safe."""
        result = await self.call("enter_queue", "already_chatting", display_name=self.who.name)
        if not result.code and result.handle != self.handle:
            raise WrongAnswer(f"{self.who.name} entered the queue, and has become someone else")
        if not result.code:
            self.entered(result)

    async def leave_queue(self) -> None:
        """Leave the queue, unless someone was found in that moment."""
        await self.call("leave_queue", "already_chatting")

    async def leave_chat(self) -> None:
        """End the conversation."""
        member = self.member
        if member is not None:
            member.closing.add("left")
            await self.call("leave_chat", "room_not_found", room_id=member.room.room_id)
            member.left = True
            await self.check()

    async def next_partner(self) -> None:
        """End the conversation and look for another."""
        member = self.member
        if member is not None:
            member.closing.add("next")
            # Of a room that closed so long ago that it is not kept, nothing is known.
            result = await self.call("next_partner", "room_not_found", room_id=member.room.room_id)
            member.left = True
            if not result.code:
                self.entered(result)
            await self.check()

    async def vanish(self) -> None:
        """Stay away for longer than any grace, then come back: the broker must have noticed."""
        self.run.counts["absences beyond the grace"] += 1
        await self.go_away()
        await asyncio.sleep(self.run.options.absence_s + self.rng.uniform(0, 2))
        await self.come_back()
        status = await self.call("get_status")
        if status.status != "idle":
            self.run.ledger.problem(f"{self.who.name} was away beyond the grace, and is {status.status}", self.who)
        else:
            await self.learn_that_all_is_over()

    async def learn_that_all_is_over(self) -> None:
        """Settle all rooms of an idle client: rooms closed by its own absence are not announced to it."""
        await self.check()
        for member in self.who.rooms.values():
            member.left = True
        self.run.ledger.caught_up(self.who)

    async def step_out(self) -> None:
        """Disconnect for a moment."""
        self.run.counts["drops"] += 1
        await self.go_away()
        await asyncio.sleep(self.rng.choice((0.0, self.rng.uniform(0, AWAY_S_MAX))))
        await self.come_back()

    async def forsake(self) -> None:
        """Give up this identity."""
        self._leaves = True

    async def retire(self) -> None:
        """Leave for good, with or without ending the room first."""
        if self.run.is_open and self.rng.random() < 0.3:
            await self.vanish()
        async with self.run.gate:
            while self.member is not None or (await self.call("get_status")).status != "idle":
                await (self.leave_chat() if self.member is not None else self.leave_queue())
                await self.check()
            await self.learn_that_all_is_over()
            self.run.ledger.gone(self.who)
            if self._in_session:
                await self.end_session()
            self.client.hang_up()
        self.who.has_left = True

    async def begin_after_404(self) -> None:
        """The server has ended the session, or forgotten it."""
        self.run.counts["sessions that the server had ended"] += 1
        self._in_session = False
        await self.begin()

    async def end_session(self) -> None:
        """Drop the session, sometimes with a DELETE."""
        self._in_session = False
        if self.rng.random() < self.run.options.deletes:
            self.run.counts["sessions deleted"] += 1
            try:
                await self.client.ask(self.client.wire.end_session())
            except WrongStatus as error:
                if error.status != NOT_FOUND:
                    raise

    async def read_next_page(self) -> None:
        """Read page after page, up to the log's end."""
        while True:
            before = self.inbox.cursor
            page = await self.call("wait_for_events", cursor=before, wait_seconds=0)
            self.inbox.page(page.events, page.cursor, missed=page.missed)
            if not page.events and page.cursor == before:  # a shorter page may be full in bytes
                return

    async def audit(self) -> None:
        """Compare the frames of the stream since the last time with the log, up to its end."""
        while True:
            before = self.inbox.audited
            page = await self.call("wait_for_events", cursor=before, wait_seconds=0)
            await self.inbox.audit(page.events, page.cursor, missed=page.missed)
            if not page.events and page.cursor == before:
                break
        self.run.counts["streams held against the log"] += 1
        self.run.ledger.caught_up(self.who)

    def text(self, least_bytes: int = 0) -> str:
        """Return a text, unique in the run."""
        self._texts += 1
        words = " ".join(self.rng.choices(WORDS, k=self.rng.randint(1, WORDS_MAX)))
        return f"{self.who.name} {self._texts} {words}{'.' * max(0, least_bytes - 2 * len(words))}"

    async def say(self, least_bytes: int = 0, **more: Any) -> ToolResult:
        """Send the next message until it has a final answer, sometimes with a broken call or a repeat."""
        member = self.member
        assert member is not None
        said = self.run.ledger.says(member, self.text(least_bytes))
        arguments = {"room_id": member.room.room_id, "message": said.text, **more}
        manner = self.rng.random()
        if manner < 0.2:
            arguments["message_id"] = f"m-{self._texts}"
        if manner < 0.07:
            self.run.counts["messages sent again after a broken call"] += 1
            await self.client.break_off(
                self.request("send_message", arguments), self.rng.uniform(0, BROKEN_AFTER_S_MAX)
            )
        result = await self.call("send_message", *OVER, wait_s=more.get("wait_seconds", 0.0), **arguments)
        if 0.07 <= manner < 0.14 and not result.code:
            self.run.counts["messages sent again after an answer"] += 1
            bare = {name: value for name, value in arguments.items() if name not in more}
            again = await self.call("send_message", "room_not_found", **bare)
            if again.timestamp != result.timestamp and not again.code:
                self.run.ledger.problem(f"{self.who.name}: a repeat was answered with another time", self.who)
        self.run.ledger.answered(member, said, accepted=not result.code)
        if result.code:
            member.left = True
            await self.check()
        return result

    async def answer_flood(self) -> bool:
        """Flood a slow reader, if it has asked for that; return true if so."""
        flood, self.who.flood = self.who.flood, None
        if flood is None:
            return False
        while (member := self.member) is not None and member.room is flood.room and flood.left:
            flood.left -= 1
            await self.say(flood.bytes_each)
        flood.done.set()
        return True
