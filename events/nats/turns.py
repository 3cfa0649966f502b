"""Turns to write: a stream with one message, and a consumer. One broker at a time has the message.

The server gives it to the oldest request. A holder gives it back with its append. A holder without a sign of life loses
it after `TURN_MS`: the server takes it for lost then, and delivers it again.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import msgspec
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.js.errors import APIError

from events.commit import BrokenChainError, Commit
from events.ids import Position
from events.known_commits import KnownCommits
from events.log import MISSED_COMMITS_MAX, TURN_MS, LogUnavailableError, UnusableLogError
from events.nats.client import CLOSE_SECONDS, Client
from events.nats.entries import Entry, commits_known, read_page
from events.nats.errors import ERRORS
from events.nats.layout import Layout
from events.nats.requests import EXPECTED_SEQUENCE, Draft, api, publish

CONSUMER = "line"
ANSWER_MS = 400
"""The time for the server's answer, after a wait of `TURN_MS`."""


async def prepare(nats: Nats, layout: Layout) -> None:
    """Make the message and the consumer, if they are missing. The stream has to be there."""
    with suppress(APIError):  # there is one already
        await publish(nats, Draft(layout.turns_subject, b"", {EXPECTED_SEQUENCE: "0"}))
    config = {
        "name": CONSUMER,
        "durable_name": CONSUMER,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": TURN_MS * 1_000_000,
        "max_ack_pending": 1,
        "max_deliver": -1,
    }
    request = {"stream_name": layout.turns_stream, "config": config}
    await api(nats, f"CONSUMER.CREATE.{layout.turns_stream}.{CONSUMER}", request)


class TurnNotes:
    """The notes of holders to other brokers about their turns."""

    def __init__(self, layout: Layout) -> None:
        self._subject = layout.turn_notes_subject
        self._own = secrets.token_hex(8).encode()
        self._holder = b""
        self._until = 0.0

    async def listen(self, nats: Nats) -> None:
        """Hear the notes from now on."""
        await nats.subscribe(self._subject, cb=self._hear)

    async def _hear(self, note: Msg) -> None:
        is_begin, holder = note.data[:1] == b"+", note.data[1:]
        if holder == self._own:
            return
        if is_begin:
            self._holder, self._until = holder, time.monotonic() + TURN_MS / 1_000
        elif holder == self._holder:
            self._until = 0.0

    @property
    def is_taken(self) -> bool:
        """True if another broker has a turn."""
        return time.monotonic() < self._until

    async def begin(self, nats: Nats) -> None:
        """Announce a turn of this broker."""
        await nats.publish(self._subject, b"+" + self._own)

    async def end(self, nats: Nats) -> None:
        """Announce its end."""
        await nats.publish(self._subject, b"-" + self._own)


class _Turn(NamedTuple):
    """A turn, and the entries with it."""

    nats: Nats
    reply: str
    until: float
    missed: Sequence[Entry] = ()


class Turns:
    """The turns of one broker."""

    def __init__(self, layout: Layout, client: Client, notes: TurnNotes, known: KnownCommits) -> None:
        """`client`: the one for appends, as notes about turns are to come before the answers to appends."""
        self._layout = layout
        self._client = client
        self._notes = notes
        self._known = known
        self._line = asyncio.Lock()  # one wait at a time
        self._tasks: set[asyncio.Task[Any]] = set()
        self._held: _Turn | None = None

    @property
    def has_one(self) -> bool:
        """True if this broker has a turn."""
        return self._held is not None and time.monotonic() < self._held.until

    def pass_on(self) -> None:
        """End the turn of this broker, if it has one; nothing waits for it."""
        turn, self._held = self._held, None
        if turn is not None:
            self._in_background(self._give(turn))

    @asynccontextmanager
    async def turn(self, after: Position) -> AsyncIterator[Sequence[Commit]]:
        """Wait in line; see `EventLog.turn`."""
        waiting = self._in_background(self._wait(after))
        try:
            await asyncio.wait({waiting}, timeout=(TURN_MS + ANSWER_MS) / 1_000)
        except asyncio.CancelledError:
            waiting.add_done_callback(self._give_back)
            raise
        if not waiting.done():
            waiting.add_done_callback(self._give_back)
        turn = waiting.result() if waiting.done() and not waiting.cancelled() else None
        if turn is None:
            yield ()
            return
        self._held = turn
        try:
            yield self._commits(turn)
        finally:
            if self._held is turn:
                self.pass_on()

    def _commits(self, turn: _Turn) -> Sequence[Commit]:
        with suppress(UnusableLogError, BrokenChainError):  # the next read says it
            return commits_known(self._known, turn.missed)
        return ()

    async def _wait(self, after: Position) -> _Turn | None:
        """Wait for the turn, and read the entries after `after`; `None` if no turn came."""
        async with self._line:
            try:
                return await self._client.ask(partial(self._ask, after))
            except (LogUnavailableError, UnusableLogError):
                return None

    async def _ask(self, after: Position, nats: Nats) -> _Turn | None:
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._layout.turns_stream}.{CONSUMER}"
        request = msgspec.json.encode({"batch": 1, "expires": TURN_MS * 1_000_000})
        try:
            # Its own inbox: a message of a stream comes with the stream's subject, and not with the inbox's.
            answer = await nats.request(subject, request, timeout=(TURN_MS + ANSWER_MS) / 1_000, old_style=True)
        except NoRespondersError:
            await prepare(nats, self._layout)  # for the next one
            return None
        except TimeoutError:  # a busy server, and no reason to leave it
            return None
        if not answer.reply:
            return None  # the time is over
        turn = _Turn(nats, answer.reply, time.monotonic() + TURN_MS / 1_000)
        try:
            await self._notes.begin(nats)
            entries, _, base = await read_page(nats, self._layout, after, MISSED_COMMITS_MAX)
        except BaseException:
            self._in_background(self._give(turn))
            raise
        return turn._replace(missed=entries if base is None or base.position <= after else ())

    def _give_back(self, waited: asyncio.Task[_Turn | None]) -> None:
        """Pass on a late turn."""
        if not waited.cancelled() and (turn := waited.result()) is not None:
            self._in_background(self._give(turn))

    async def _give(self, turn: _Turn) -> None:
        with suppress(*ERRORS):
            await self._notes.end(turn.nats)
            if time.monotonic() < turn.until:  # later, it is another broker's
                await turn.nats.publish(turn.reply, b"-NAK")

    def _in_background(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Pass on the turn, and end all waits; before the client is closed."""
        self.pass_on()
        while self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
