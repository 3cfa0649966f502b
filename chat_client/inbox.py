"""The events of one client, read from the broker in the background: each once, in order.

Events come from `wait_for_events` alone, whose pages are complete and ordered by cursor. While a stream is open, it
says when there is something to read, and no call has to wait; without one, the calls wait. So nothing changes for
the caller when a stream breaks off, or never opens. (The frames of a stream carry the same events, but the SDK hands
them on in no certain order, and drops some if there are many.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import anyio
from mcp.shared.exceptions import MCPError

from chat_client.calls import RETRY_SECONDS, Calls, Sleep, sleep_until
from chat_client.errors import ChatError, RateLimitedError, RefusedError, UnknownHandleError
from chat_client.events import Event, HistoryMissed, MessageReceived, PartnerSilent, StrangerFound, TimedOut, told
from chat_client.wire import Json, LostError, Wire

WAIT_SECONDS = 25
"""How long a call waits for events, if there is no stream. Few proxies end a request that early."""

QUIET_SECONDS = 25.0
"""The longest pause between two reads beside a stream; each also asks for signs of the stranger's life."""

NO_STREAM_SECONDS = 60.0
"""The pause before a stream is asked for again where the broker has refused one."""

SILENT_SECONDS = 60
"""From when on a stranger counts as silent."""

EVENTS_MAX = 1_000
"""How many events may wait to be taken; then reading pauses until there are fewer."""


class Inbox:
    """Reads the events of one handle, and keeps them until they are taken.

    Attributes:
        handle: the client's secret; `None` until it has entered.
        is_open: more events can come; not so once the client is neither in the queue nor in a conversation.
    """

    def __init__(self, wire: Wire, calls: Calls, sleep: Sleep) -> None:
        self.handle: str | None = None
        self.is_open = False
        self._wire = wire
        self._calls = calls
        self._sleep = sleep
        self._events: deque[Event] = deque()
        self._failure: ChatError | None = None
        self._changed = anyio.Event()
        self._cursor = 0
        self._stays = 0  # counts entries and departures: a late answer about an earlier stay closes nothing
        self._room_id = ""
        self._is_silent = False
        self._missed_after: int | None = None
        self._stream: anyio.CancelScope | None = None
        self._is_streaming = False
        self._hint = anyio.Event()

    def start(self, handle: str, cursor: int, found: StrangerFound | None) -> None:
        """Begin with a new handle; `found` is a stranger found by the entry itself."""
        if self._stream is not None:
            self._stream.cancel()
        self.handle, self._cursor = handle, cursor
        self._events.clear()
        if found is not None:
            self.put(found)
        self.reopen()

    def reopen(self) -> None:
        """Read on: the client has entered again."""
        self.is_open, self._failure = True, None
        self._stays += 1
        self._hint.set()
        self._wake()

    def close(self) -> None:
        """Read no more: the client has left. Events already here can be taken."""
        self.is_open = False
        self._stays += 1
        self._wake()

    def put(self, event: Event) -> None:
        """Add an event."""
        if isinstance(event, StrangerFound):
            self._room_id, self._is_silent = event.room_id, False
        elif isinstance(event, MessageReceived):
            self._is_silent = False
        self._events.append(event)
        self._wake()

    async def take(self) -> Event | None:
        """Wait for the next event, and remove it; `None` if no more can come.

        Raises:
            ChatError: the broker does not know the handle any more.
        """
        while not self._events:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            if not self.is_open:
                return None
            await self._changed.wait()
        event = self._events.popleft()
        self._wake()
        return event

    async def read(self) -> None:
        """Read page after page, until cancelled."""
        while True:
            await self._until(lambda: self.is_open and len(self._events) < EVENTS_MAX)
            stay, cursor = self._stays, self._cursor
            try:
                page = await self._page()
            except RateLimitedError as error:
                await self._sleep(error.retry_after_seconds)
            except RefusedError as error:
                if stay == self._stays:
                    await self._refused(error)
            else:
                if cursor == self._cursor:
                    self._take_in(page, stay)

    async def listen(self) -> None:
        """Keep a stream open until cancelled, as a sign of something to read."""
        failures = 0
        while True:
            await self._until(lambda: self.is_open)
            pause_seconds = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
            failures += 1
            with anyio.CancelScope() as self._stream:
                try:
                    await self._wire.listen(f"chat://inbox/{self.handle}", self._on_stream, self._hint_at_news)
                except LostError:
                    pass
                except MCPError:
                    pause_seconds = NO_STREAM_SECONDS
            if self._is_streaming:
                failures, self._is_streaming = 0, False
                self._hint.set()
            await self._sleep(pause_seconds)

    async def _page(self) -> Json:
        wait_seconds = 0
        if self._is_streaming:
            await sleep_until(self._hint, QUIET_SECONDS, self._sleep)
        else:
            wait_seconds = WAIT_SECONDS
        self._hint = anyio.Event()
        arguments = {"handle": self.handle, "cursor": self._cursor, "wait_seconds": wait_seconds}
        return await self._calls.tool("wait_for_events", arguments, wait_seconds)

    def _take_in(self, page: Json, stay: int) -> None:
        if page.get("missed") and self._missed_after != self._cursor:
            self._missed_after = self._cursor
            self.put(HistoryMissed())
        for event in map(told, page["events"]):
            if event is not None and event.cursor > self._cursor:
                self.put(event)
        if page["cursor"] > self._cursor:
            self._cursor = page["cursor"]
            self._hint.set()  # there may be more than a page
            return
        self._note_silence(page.get("partner_idle_seconds"))
        if page["status"] == "idle" and stay == self._stays:
            reason = page.get("idle_reason")
            if reason == "you_timed_out" or reason == "missed_match":
                self.put(TimedOut(reason))
            self.close()

    def _note_silence(self, seconds: int | None) -> None:
        if seconds is None or seconds < SILENT_SECONDS:
            self._is_silent = False
        elif not self._is_silent:
            self._is_silent = True
            self.put(PartnerSilent(self._room_id, seconds))

    async def _refused(self, error: RefusedError) -> None:
        """End with `error`; but replace a cursor unknown to the broker, which may have lost its newest commits."""
        if error.code == "invalid_arguments":
            try:
                status = await self._calls.tool("get_status", {"handle": self.handle})
            except RefusedError as again:
                error = again
            else:
                self._cursor = status["cursor"]
                self.put(HistoryMissed())
                return
        if isinstance(error, UnknownHandleError):
            self.handle = None
        self._failure = error
        self.close()

    def _on_stream(self) -> None:
        self._is_streaming = True
        self._hint.set()

    def _hint_at_news(self) -> None:
        self._hint.set()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()
