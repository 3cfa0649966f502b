"""A client for one conversation with a stranger after the other."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self, get_args

import anyio
from anyio.abc import TaskGroup

from chat_client.address import endpoint
from chat_client.answers import Lobby, Sent, Status
from chat_client.calls import UNKNOWN_TOOL, Calls, Sleep
from chat_client.errors import ChatEndedError, ChatError, NotChattingError, RefusedError, refusal
from chat_client.events import ConnectionLost, ConnectionRestored, Event, PartnerLeft, StrangerFound, TimedOut
from chat_client.inbox import Inbox
from chat_client.leaving import leave, say_goodbye
from chat_client.wire import Json, Wire

LEAVE_SECONDS = 3.0
"""How long the end of `async with` may take to say goodbye."""

NOT_THERE = "You are not there yet: call enter() first."

Category = Literal["spam", "harassment", "sexual", "minor", "threat", "other"]
CATEGORIES: tuple[Category, ...] = get_args(Category)


class Stranger:
    """Anonymous conversations at one broker, as an async context manager.

    Leaving the context leaves the conversation or the queue: no stranger is left with a ghost. It takes at most
    `LEAVE_SECONDS`. The broker misses a killed process within a minute.

    A lost connection is mended in the background, and so is a restart of a broker with a durable log. Calls wait
    meanwhile; put them into `asyncio.timeout()` if you can't. An event comes once, and in order.

    Use it from one event loop. Calls may be made by several tasks; `events()` is for one at a time.
    """

    def __init__(
        self, address: str, *, name: str = "Anonymous", interests: Sequence[str] = (), sleep: Sleep = anyio.sleep
    ) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            address: the broker's, as in `localhost:8000`, `chat.example.com` or `https://chat.example.com/mcp`.
            name: shown to the stranger; at most 40 characters of it.
            interests: at most ten; some brokers match people by them, others use none.
            sleep: for tests with a time of their own.

        Raises:
            AddressError: `address` is not one.
        """
        self.name = name
        self.interests = list(interests)
        self._wire = Wire(endpoint(address))
        self._calls = Calls(self._wire, self._on_lost, self._on_restored, sleep)
        self._inbox = Inbox(self._wire, self._calls, sleep)
        self._tasks: TaskGroup | None = None
        self._saying = anyio.Lock()
        self._moving = anyio.Lock()  # keeps entries and departures in the order of the calls
        self._entry: anyio.Event | None = None  # the first one, while it is in flight
        self._room_id: str | None = None
        self._is_chatting = False
        self._enter_tool = "chat_enter"

    @property
    def url(self) -> str:
        """The URL of the broker's endpoint."""
        return self._wire.url

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._wire.open(self._tasks)
        self._tasks.start_soon(self._inbox.read)
        self._tasks.start_soon(self._inbox.listen)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        try:
            with anyio.move_on_after(LEAVE_SECONDS, shield=True):
                if self._entry is not None:
                    await self._entry.wait()
                self._inbox.close()
                if self._inbox.handle is not None:
                    await say_goodbye(self.url, self._inbox.handle, self._open_room())
        finally:
            self._tasks.cancel_scope.cancel()
            await self._tasks.__aexit__(None, None, None)  # with `error`, it would raise a group

    async def enter(self) -> int | None:
        """Queue for a stranger; return the place in the queue, from 1, or `None` if a stranger is there already.

        In the queue or in a conversation it changes nothing.

        Raises:
            UnreachableError: no broker answers, and none has before.
            FullError: the queue is full.
            RateLimitedError: too many entries.
        """
        async with self._moving:
            return await self._enter()

    async def events(self) -> AsyncIterator[Event]:
        """Iterate over the events, waiting for each.

        The loop ends when nothing more can come: after `leave()`, `block()` and `report()`, and once the conversation
        is over and you have called neither `enter()` nor `next()`. After one of those, a new loop goes on.

        Raises:
            NotChattingError: you have not called `enter()`.
            UnknownHandleError: the broker does not know this client any more; `enter()` begins anew.
        """
        if self._inbox.handle is None:
            raise NotChattingError(NOT_THERE)
        while (event := await self._inbox.take()) is not None:
            self._note(event)
            yield event

    async def say(self, text: str, *, message_id: str | None = None) -> Sent:
        """Say `text` to the stranger of the last `StrangerFound`; return once the broker has it.

        Messages are sent one after the other, in the order of the calls. A lost connection is waited out; the
        message is not said twice.

        Args:
            text: the message.
            message_id: its name, 1 to 64 of `[A-Za-z0-9_-]`, for saying it again after an error; a new one by default.

        Raises:
            NotChattingError: no stranger has been found yet.
            ChatEndedError: the conversation is over.
            MessageRefusedError: the message is empty or too large.
            RateLimitedError: too many messages.
        """
        if self._room_id is None:
            raise NotChattingError("There is nobody to talk to yet: wait for StrangerFound.")
        if not self._is_chatting:
            raise refusal({"code": "chat_ended"})
        message_id = message_id or new_message_id()
        arguments = {"room_id": self._room_id, "message": text, "message_id": message_id}
        async with self._saying:
            sent = await self._tool("send_message", **arguments)
        return Sent(message_id, datetime.fromisoformat(sent["timestamp"]))

    async def next(self) -> int | None:
        """End the conversation and queue for another stranger; return as `enter` does.

        Raises:
            FullError: the queue is full; the conversation goes on.
            RateLimitedError: too many entries; the conversation goes on.
        """
        async with self._moving:
            if self._room_id is None or self._inbox.handle is None:
                return await self._enter()
            try:
                queued = await self._tool("next_partner", room_id=self._room_id)
            except ChatEndedError:  # it ended long ago, and the broker has forgotten it
                return await self._enter()
            self._is_chatting = False
            self._inbox.reopen()
            position: int | None = queued.get("position")
            return position

    async def leave(self) -> None:
        """Leave the conversation or the queue; the stranger is told. Anywhere else it does nothing."""
        async with self._moving:
            if self._entry is not None:
                await self._entry.wait()
            if self._inbox.handle is None:
                return
            room_id, self._is_chatting = self._open_room(), False
            self._inbox.close()
            await leave(self._calls, self._inbox.handle, room_id)

    async def block(self) -> None:
        """Never meet the stranger of this conversation, or of the last one, again; it ends the conversation.

        Raises:
            NotChattingError: there was none.
        """
        await self._end("block_partner", {})

    async def report(self, category: Category, note: str = "") -> None:
        """Report the stranger of this conversation, or of the last one, to the operator; it blocks them, too.

        Args:
            category: `spam`, `harassment`, `sexual`, `minor` (a child may be in danger), `threat` or `other`.
            note: more than the conversation itself shows.

        Raises:
            NotChattingError: there was none.
            RateLimitedError: too many reports.
        """
        await self._end("report_partner", {"category": category} | ({"note": note} if note else {}))

    async def status(self) -> Status:
        """Return where you are, as the broker sees it."""
        given = await self._tool("get_status") if self._inbox.handle else await self._calls.tool("get_status", {})
        return Status(**{name: given[name] for name in Status.__slots__ if name in given})

    async def lobby(self) -> Lobby:
        """Return the numbers of people, and the operator's addresses."""
        given = json.loads(await self._calls.resource("chat://lobby"))
        return Lobby(**{name: given[name] for name in Lobby.__slots__ if name in given})

    async def _enter(self) -> int | None:
        if self._entry is not None:
            await self._entry.wait()
        try:
            entered = await (self._enter_again() if self._inbox.handle is not None else self._enter_anew())
        except RefusedError as error:
            if error.code != "already_chatting":
                raise
            self._inbox.reopen()
            return None
        position: int | None = entered.get("position")
        return position

    async def _enter_again(self) -> Json:
        entered = await self._call_enter({"handle": self._inbox.handle})
        self._inbox.reopen()
        return entered

    async def _enter_anew(self) -> Json:
        """Enter in the background: if the caller is cancelled meanwhile, the handle is known, and can be left."""
        if self._tasks is None:
            raise RuntimeError("use the client within its `async with`")
        outcome: list[Json | ChatError] = []
        self._entry = done = anyio.Event()

        async def enter() -> None:
            try:
                entered = await self._call_enter({})
                found = None
                if entered["status"] == "matched":
                    now = datetime.now(UTC)
                    found = StrangerFound(entered["room_id"], entered["partner"], now, entered["cursor"])
                self._room_id, self._is_chatting = None, False
                self._inbox.start(entered["handle"], entered["cursor"], found)
                outcome.append(entered)
            except ChatError as error:
                outcome.append(error)
            finally:
                self._entry = None
                done.set()

        self._tasks.start_soon(enter)
        await done.wait()
        if not outcome:  # the context has ended meanwhile
            raise NotChattingError(NOT_THERE)
        if isinstance(outcome[0], ChatError):
            raise outcome[0]
        return outcome[0]

    async def _call_enter(self, arguments: Json) -> Json:
        """Enter with the short grace of an attended client; older brokers know one grace alone."""
        arguments = {"display_name": self.name, "interests": self.interests} | arguments
        try:
            return await self._calls.tool(self._enter_tool, arguments)
        except RefusedError as error:
            if error.code != UNKNOWN_TOOL:
                raise
            self._enter_tool = "enter_queue"
            return await self._calls.tool(self._enter_tool, arguments)

    async def _end(self, tool: str, arguments: Json) -> None:
        if self._room_id is None:
            raise NotChattingError("There has been no stranger to block or to report.")
        async with self._moving:
            await self._tool(tool, room_id=self._room_id, **arguments)
            if self._is_chatting:
                self._is_chatting = False
                self._inbox.close()

    async def _tool(self, name: str, **arguments: Any) -> Json:
        handle = self._inbox.handle
        if handle is None:
            raise NotChattingError(NOT_THERE)
        return await self._calls.tool(name, {"handle": handle} | arguments)

    def _open_room(self) -> str | None:
        return self._room_id if self._is_chatting else None

    def _note(self, event: Event) -> None:
        """Let calls from now on go by `event`, since the caller knows of it."""
        if isinstance(event, StrangerFound):
            self._room_id, self._is_chatting = event.room_id, True
        elif isinstance(event, PartnerLeft | TimedOut):
            self._is_chatting = False

    def _on_lost(self, why: str) -> None:
        if self._inbox.is_open:
            self._inbox.put(ConnectionLost(why))

    def _on_restored(self) -> None:
        if self._inbox.is_open:
            self._inbox.put(ConnectionRestored())


def new_message_id() -> str:
    """Return a new name for a message."""
    return secrets.token_urlsafe(12)
