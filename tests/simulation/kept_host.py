"""A host with one session for one or two people; it resumes the GET stream after each break."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from events.ids import ConnectionId
from mcp_facade.session_tokens import TokenSealer
from mcp_facade.streams.frames import CONNECTION_META_KEY, RESOURCE_UPDATED
from tests.simulation.hosts import HANDSHAKE, STREAM, Host, delete
from tests.simulation.loop import sleep_ms
from tests.simulation.network import Broken, Exchanged
from tests.simulation.sdk import KEPT
from tests.simulation.sse import Event, EventReader

if TYPE_CHECKING:
    from tests.simulation.people import Person
    from tests.simulation.surroundings import Surroundings

REPLAY_MS = 15_000.0
"""For so long after it began, a stream may still be reading what was missed, and the log be trimmed meanwhile."""


class StreamLine:
    """A client's observations of one line of streams: the first one and its resumptions."""

    def __init__(self, begins_at: int) -> None:
        self.begins_at = begins_at  # all positions from here on belong to the line
        self.last_id: str | None = None
        self.marks: str | None = None  # for the handles of the stream, in a shared log
        self.at = (0, 0)
        self.gone_through = 0  # trimmed from the log before a resumption
        self.heard: dict[tuple[int, ConnectionId], None] = {}
        self.sure_from: dict[ConnectionId, int] = {}  # the position since when the session surely has the handle


class KeptHost(Host):
    """A session of 2025, replaced when it is lost."""

    kind = "kept"

    def __init__(self, around: Surroundings, name: str) -> None:
        super().__init__(around, name)
        self.people: list[Person] = []
        self.elsewhere = Host(around, f"{name}, elsewhere")
        self.elsewhere.home = self.home
        self.session_id: str | None = None
        self.line: StreamLine | None = None
        self.wants_stream = True
        self.streaming: Exchanged | None = None
        self.live = False
        self._live_since_ms = 0.0
        self._resumed_at: int | None = None
        self.default: ConnectionId | None = None  # the connection of the session's default handle, if sure
        self._presented: set[ConnectionId] = set()  # surely, in this session
        self._opening = False
        self._used_ms = 0.0  # the last sure use of the session

    async def ask(
        self, method: str, params: dict[str, Any], *, leave_after_ms: float | None = None
    ) -> dict[str, Any] | None:
        """Make the request in the session."""
        self._doubt_if_idle()
        try:
            session_id = await self._session()
            if session_id is None:
                return None
            headers = {"mcp-session-id": session_id, "mcp-protocol-version": KEPT}
            result = await self.post(self.home, headers, method, params, leave_after_ms)
        except Broken:
            return None
        if result is not None and result.get("status") == 404:
            self._lost(session_id)
            return None
        if result is not None and session_id != self.session_id:
            return None  # the session has ended meanwhile
        if result is not None:
            self._used_ms = self.around.world.now_ms
        return result

    def _doubt_if_idle(self) -> None:
        """Treat handles as unknown in time: a broker may forget a session's after half of `session_idle_ms` unused."""
        if self.around.world.now_ms - self._used_ms > self.around.plan.policy.session_idle_ms / 4:
            self.default = None
            self._presented.clear()

    async def _session(self) -> str | None:
        while self._opening:
            await sleep_ms(5)
        if self.session_id is None:
            self._opening = True
            try:
                opened = await self.post(self.home, {}, "initialize", HANDSHAKE)
                self.session_id = opened.get("session_id") if opened is not None else None
            finally:
                self._opening = False
        return self.session_id

    def _lost(self, session_id: str) -> None:
        if self.session_id == session_id:
            self.session_id = self.default = None
            self._presented.clear()

    async def end_session(self) -> None:
        """End the session, as the SDK's client does on closing."""
        session_id = self.session_id
        if session_id is not None:
            self._lost(session_id)
            self.hang_up()
            with suppress(Broken):
                await delete(self, self.home, session_id)

    def vanish(self) -> None:
        """See `Host.vanish`."""
        super().vanish()
        self.elsewhere.vanish()

    def hang_up(self) -> None:
        """Drop the stream; the next one resumes."""
        if self.streaming is not None:
            self.streaming.close()

    def forgotten(self, who: ConnectionId) -> None:
        """Forget the handle of `who`; it is not valid any more."""
        self._presented.discard(who)
        if self.line is not None:
            self.line.sure_from.pop(who, None)

    def shown(self, who: ConnectionId, minted: bool, at: int) -> None:
        """Note that the session has the handle of `who`: from its birth, or since position `at`."""
        self._presented.add(who)
        if self.line is not None:
            self.line.sure_from.setdefault(who, 0 if minted else at)

    async def keep_streaming(self) -> None:
        """Keep a stream open while it is wanted."""
        while self.wants_stream and not self.has_vanished:
            with suppress(Broken):
                await self._stream()
            await sleep_ms(20 + 400 * self.random.random() ** 2)

    async def _stream(self) -> None:
        if (session_id := await self._session()) is None:
            return
        self._doubt_if_idle()
        if self.line is not None and not await self._all_shown():
            return
        if session_id != self.session_id:
            return
        line = self.line
        headers = {"mcp-session-id": session_id, "mcp-protocol-version": KEPT, "accept": STREAM}
        if line is not None and line.last_id is not None:
            headers["last-event-id"] = line.last_id
            self._resumed_at = line.at[0]
        self.around.world.note(self.name, f"~> GET after {headers.get('last-event-id')}")
        exchanged = self.request(self.home, "GET", headers, about="get")
        if self.random.random() < 0.05:
            displaced, exchanged = exchanged, self.request(self.home, "GET", headers, about="get")
            self.around.sometimes.reached("a stream was displaced by a second one")
            self.around.world.after(5_000, displaced.close)
        self.streaming = exchanged
        try:
            if await exchanged.answered() != 200:
                if exchanged.status == 404:
                    self._lost(session_id)
                return
            await self._read(exchanged, line)
        finally:
            exchanged.close()
            self.streaming, self.live = None, False

    async def _all_shown(self) -> bool:
        """Present every handle; a stream carries only handles known to its session."""
        for person in self.people:
            if person.who is not None and person.who not in self._presented:
                self.around.sometimes.reached("a stream resumed in a new session")
                if not await person.show_yourself():
                    return False
        return True

    async def _read(self, exchanged: Exchanged, line: StreamLine | None) -> None:
        reader = EventReader()
        self._live_since_ms = float("inf")  # until the first bytes, which include all missed events
        replayed_by_ms = self.around.world.now_ms + REPLAY_MS
        while data := await exchanged.read():
            self._used_ms = self.around.world.now_ms
            if line is not None and self.around.world.now_ms < replayed_by_ms:
                line.gone_through = max(line.gone_through, self.around.disk.base.position)
            for event in reader.feed(data):
                if line is None and event.event_id is not None:
                    sealer = TokenSealer(self.around.disk.session_records.secret)
                    begins_at = sealer.open_position(event.event_id.split(".")[1])
                    assert begins_at is not None, "a stream begins with an id whose position is sealed"
                    line = self.line = StreamLine(begins_at)
                if line is not None:
                    self._hear(line, event)
            if not self.live:
                self.live, self._live_since_ms = line is not None, self.around.world.now_ms
            if not self.around.faulty:
                continue
            if self.random.random() < 0.03:
                return
            if self.random.random() < 0.05:
                await sleep_ms(3_000 * self.random.random())

    def _hear(self, line: StreamLine, event: Event) -> None:
        message, world = event.message, self.around.world
        assert event.event_id is not None
        epoch, position, had, *marks = event.event_id.split(".")
        if marks and line.marks is not None and len(marks[0]) > len(line.marks):
            self.around.sometimes.reached("a stream came to carry another handle")
        line.marks = marks[0] if marks else None
        if epoch != self.around.disk.epoch:
            world.fail(f"{self.name}: an event of another epoch, {event.event_id}")
        line.last_id = event.event_id
        if message is None:
            return
        who = message["params"]["_meta"][CONNECTION_META_KEY]
        world.note(self.name, f"<~ {event.event_id} {message['method']} for {who[:10]}")
        if self.around.owners.get(who, self) is not self:
            world.fail(f"{self.name} hears what is for {who}, whose handle it was never given")
        if message["method"] == RESOURCE_UPDATED:
            self.around.sometimes.reached("a mark came with its notification")
        elif position.isdigit():
            self._hear_in_order(line, (int(position), int(had)), who, message)
        else:
            self._hear_late(line, who, message)

    def _hear_late(self, line: StreamLine, who: ConnectionId, message: dict[str, Any]) -> None:
        """Take a missed event of a handle from another broker; after a break, all of them are sent again."""
        if len(self.around.processes) == 1:
            self.around.world.fail(f"{self.name} hears something late for {who}, with one broker alone")
        self._take(line, message["params"]["cursor"], who, message)

    def _hear_in_order(self, line: StreamLine, at: tuple[int, int], who: ConnectionId, message: dict[str, Any]) -> None:
        world, params = self.around.world, message["params"]
        if (at[0], who) in line.heard:
            world.fail(f"{self.name} hears position {at[0]} twice for {who} on one line of streams")
        if at <= line.at or params["cursor"] != at[0]:
            world.fail(f"{self.name} hears {at} after {line.at}, out of order")
        if at[0] == line.at[0]:
            self.around.sometimes.reached("two of one session met each other")
        if self._resumed_at == at[0]:
            self.around.sometimes.reached("a stream resumed within a position")
        self._resumed_at = None
        line.at = at
        self._take(line, at[0], who, message)
        self.around.check_prompt(at[0], f"{self.name} on its stream", self._live_since_ms)

    def _take(self, line: StreamLine, position: int, who: ConnectionId, message: dict[str, Any]) -> None:
        params = message["params"]
        line.heard[position, who] = None
        self.around.record.check_heard(who, message["method"], params, "stream")
        for person in self.people:
            if person.who == who:
                person.hears(message["method"], params)

    def missing(self) -> list[str]:
        """Return the due notifications that its streams did not bring."""
        line, found = self.line, []
        if line is None:
            return [f"{self.name} never had a stream"]
        for who, sure_from in line.sure_from.items():
            person = self.around.record.people.get(who)
            if person is None:
                continue
            for position in filter(self.around.is_due, person.positions):
                owed = position >= line.begins_at and position > max(sure_from, line.gone_through, person.known_since)
                if owed and (position, who) not in line.heard:
                    found.append(f"{self.name}, whose line began at {line.begins_at}, never heard {position} for {who}")
        return found
