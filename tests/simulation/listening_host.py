"""A client of 2026-07-28 with a stream: nothing is replayed, so it reads missed events by cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from events.ids import ConnectionId
from mcp_facade.streams.frames import CONNECTION_META_KEY, EXTENSION, RESOURCE_UPDATED
from mcp_facade.streams.subscriptions import ACKNOWLEDGED
from tests.simulation.hosts import Host, alone
from tests.simulation.loop import sleep_ms
from tests.simulation.network import Broken, Exchanged
from tests.simulation.sse import EventReader

if TYPE_CHECKING:
    from tests.simulation.people import Person
    from tests.simulation.surroundings import Surroundings

LISTEN_ID = 1_000_000


class ListeningHost(Host):
    """A host of one person, with pushed notifications while a stream is open."""

    kind = "listening"

    def __init__(self, around: Surroundings, name: str) -> None:
        super().__init__(around, name)
        self.person: Person | None = None
        self.streaming: Exchanged | None = None
        self.live_since: int | None = None  # the store's tip at the acknowledgement
        self.heard: list[int] = []
        self.listens_to: ConnectionId | None = None
        self.wants_stream = True

    def hang_up(self) -> None:
        """Drop the stream."""
        if self.streaming is not None:
            self.streaming.close()

    async def keep_streaming(self) -> None:
        """Keep a stream open while it is wanted."""
        while self.wants_stream and not self.has_vanished:
            if self.person is not None and self.person.handle is not None:
                try:
                    await self._listen(self.person, self.person.handle)
                except Broken:
                    pass
                finally:
                    self.live_since = None
            await sleep_ms(20 + 600 * self.random.random() ** 2)

    async def _listen(self, person: Person, handle: str) -> None:
        uri = f"chat://inbox/{handle}"
        asked = {EXTENSION: {"handles": [handle]}, "resourceSubscriptions": [uri]}
        headers, method, params = alone("subscriptions/listen", {"notifications": asked})
        message = {"jsonrpc": "2.0", "id": LISTEN_ID, "method": method, "params": params}
        body = msgspec.json.encode(message)
        exchanged = self.request(self.somewhere, "POST", headers, body, about="listen")
        self.streaming = exchanged
        try:
            if await exchanged.answered() == 200:
                await self._read(exchanged, person)
        finally:
            exchanged.close()
            self.streaming = None

    async def _read(self, exchanged: Exchanged, person: Person) -> None:
        reader, who = EventReader(), person.who
        self.listens_to = who
        while data := await exchanged.read():
            for event in reader.feed(data):
                self._hear(event.message or {}, person)
            if person.who != who:
                return  # they have a new handle by now
            if self.around.faulty and self.random.random() < 0.03:
                return

    def _hear(self, message: dict[str, Any], person: Person) -> None:
        method, params, world = message.get("method", ""), message.get("params", {}), self.around.world
        if method == ACKNOWLEDGED:
            known = params["notifications"][EXTENSION]["handles"]
            self.live_since, self.heard = (self.around.disk.tip.position if known else None), []
        elif method == RESOURCE_UPDATED:
            self.around.sometimes.reached("a mark came with its notification")
        elif method:
            who, position = params["_meta"][CONNECTION_META_KEY], params["cursor"]
            world.note(self.name, f"<~ {position} {method} for {who[:10]}")
            if self.around.owners.get(who) is not self:
                world.fail(f"{self.name} hears what is for {who}, whose handle it was never given")
            owed = self.around.record.person(who).positions
            if self.heard and owed[owed.index(self.heard[-1]) + 1] != position:
                world.fail(f"{self.name} hears {position} after {self.heard[-1]}, owed are {owed}")
            self.heard.append(position)
            self.around.record.check_heard(who, method, params, "listen")
            self.around.check_prompt(position, f"{self.name}, who listens", 0)
            if person.who == who:
                person.hears(method, params)

    def missing(self) -> list[str]:
        """Return the due notifications that it did not hear."""
        if self.live_since is None or self.listens_to is None:
            return []
        due = filter(self.around.is_due, self.around.record.person(self.listens_to).positions)
        owed = [p for p in due if p > self.live_since]
        return [
            f"{self.name}, who listens since {self.live_since}, never heard {p}" for p in owed if p not in self.heard
        ]
