"""Conversations at two brokers alike: clients enter, talk, wait, listen and leave, with some malformed requests."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from hypothesis import strategies as st

from mcp_facade.streams.frames import EXTENSION
from tests.facade.lane.twins import AsgiExchange, Twins
from tests.facade.people import SESSIONS
from tests.hostile.changes import CHANGES, changed, weighed
from tests.hostile.messages import (
    TOOLS,
    Draft,
    Json,
    Known,
    arguments,
    end_session,
    get_stream,
    in_session,
    listen_params,
    messages,
    modern,
    opening,
    posted,
)
from tests.hostile.values import HANDLES, ROOMS, SESSION_VERSIONS, WAITS, mostly, rarely

MAYBE = rarely(4)


class Conversation:
    """The next steps, drawn from the existing handles, rooms, sessions and open requests."""

    def __init__(self, twins: Twins, data: st.DataObject, likely: Collection[str] = ()) -> None:
        """Favour the steps, tools and changes named in `likely`."""
        self.twins = twins
        self.likely = likely
        self.draw = data.draw
        self.handles: list[str] = []
        self.rooms: list[str] = ["r_" + "0" * 32]
        self.sessions: list[str] = []
        self.called: list[tuple[str, Any]] = []
        self.next_id = 1

    async def begin(self) -> None:
        """Pair two clients, one of them with a session; a third waits, and listens."""
        await self.session(version="2025-06-18", is_good=True)
        await self._send(in_session("tools/list", {}, self.sessions[0]))
        enter: Json = {"name": "enter_queue", "arguments": {}}
        await self._send(modern("tools/call", enter, 1, "enter_queue"))
        await self._send(in_session("tools/call", enter, self.sessions[0]))
        await self._send(modern("tools/call", enter, "1", "enter_queue"))
        await self._send(modern("subscriptions/listen", {"notifications": {EXTENSION: {"handles": self.handles}}}))

    async def step(self) -> None:
        """Draw and carry out one step."""
        happens = self.draw(
            st.sampled_from(
                weighed(
                    [self.call] * 10
                    + [self.changed_call] * 10
                    + [self.listen] * 3
                    + [self.session, self.session, self.end_session, self.get_stream]
                    + [self.other_request, self.cancel, self.hang_up, self.time],
                    self.likely,
                )
            )
        )
        await happens()

    async def call(self) -> None:
        """Send a well-formed call of a tool, with any arguments."""
        await self._send(self._call())

    async def changed_call(self) -> None:
        """Send a call of a tool, or a request for a stream, with changes."""
        draft = self._stream() if self.draw(MAYBE) else self._call()
        await self._send(self.draw(changed(draft, CHANGES, self.likely)))

    async def listen(self) -> None:
        """Open a stream of 2026-07-28."""
        await self._send(self._listen())

    async def session(self, *, version: str | None = None, is_good: bool = False) -> None:
        """Open a session of some version, or fail to; the SDK serves its first requests."""
        version = version or self.draw(st.sampled_from(SESSION_VERSIONS))
        draft = opening(version)
        if not is_good and self.draw(MAYBE):
            params = draft.body["params"]
            params.pop(self.draw(st.sampled_from(sorted(params))))
        answered = await self._send(draft)
        session_id = answered.header(b"mcp-session-id")
        if session_id:
            self.sessions.append(session_id)
            if self.draw(st.booleans()):
                await self._send(in_session("notifications/initialized", {}, session_id), notification=True)
            if self.draw(st.booleans()):
                await self._send(in_session("tools/list", {}, session_id))

    async def end_session(self) -> None:
        """Send a DELETE; all open requests of the session end."""
        if self.sessions:
            await self._send(end_session(self.draw(st.sampled_from(self.sessions))))

    async def get_stream(self) -> None:
        """Open the GET stream of a session."""
        if self.sessions:
            await self._send(get_stream(self.draw(st.sampled_from(self.sessions))))

    async def other_request(self) -> None:
        """Send a JSON-RPC message of any kind, and an odder one than a tool call now and then."""
        if self.sessions and self.draw(st.booleans()):
            message = self.draw(messages(is_modern=False, known=self._known))
            await self._send(posted(message, self.draw(st.sampled_from(self.sessions)), SESSIONS))
        else:
            await self._send(posted(self.draw(messages(is_modern=True, known=self._known))))

    async def cancel(self) -> None:
        """Cancel a call in progress, or any number."""
        if self.sessions:
            newest = self.called[-2:]
            session_id, request_id = self.draw(
                st.sampled_from(
                    [*newest, *newest, *((one, self.next_id) for one in self.sessions), (self.sessions[0], None)]
                )
            )
            other = self.draw(st.sampled_from([request_id, request_id, str(request_id)]))
            params = {"requestId": other, "reason": "because"}
            request = in_session("notifications/cancelled", params, session_id)
            await self._send(request, notification=True)

    async def hang_up(self) -> None:
        """Hang up an open request."""
        if self.twins.open:
            await self.twins.hang_up(self.draw(st.sampled_from(self.twins.open)))

    async def time(self) -> None:
        """Advance the clock, mostly by too little for a ping."""
        by_ms = self.draw(st.sampled_from([1, 500, 3_000, 10_500]))
        await self.twins.do(lambda twin: twin.clock.advance(by_ms))

    @property
    def _known(self) -> Known:
        """Return the existing handles, rooms and cursors, and rarely others."""
        handles = mostly(st.sampled_from(self.handles), HANDLES) if self.handles else HANDLES
        cursors = st.integers(0, self.twins.lane.broker.state.position + 1)
        return Known(
            handles,
            mostly(st.sampled_from(self.rooms[-3:]), ROOMS),
            mostly(cursors, Known().cursors),
            mostly(st.sampled_from([0, 1, 2.5, 8]), WAITS),
        )

    def _values(self) -> dict[bytes, bytes]:
        """Return values for all placeholders."""
        sessions, handles = [*self.sessions, "none"], [*self.handles, "none"]
        broker = self.twins.lane.broker
        values = {
            "SESSION": sessions[0],
            "OTHER": sessions[1 % len(sessions)],
            "DEAD": "0" * 32,
            "HANDLE": handles[0],
            "PARTNER": handles[1 % len(handles)],
            "WAITING": handles[-1],
            "ROOM": self.rooms[-1],
            "CLOSED": self.rooms[0],
            "CURSOR": str(broker.state.position),
            "EPOCH": broker.log.epoch,
        }
        return {f"@{name}@".encode(): value.encode() for name, value in values.items()}

    def _call(self) -> Draft:
        name = self.draw(st.sampled_from(weighed(TOOLS, self.likely)))
        params: Json = {"name": name, "arguments": self.draw(arguments(name, self._known))}
        if not params["arguments"] and self.draw(st.booleans()):
            del params["arguments"]
        self.next_id += 1
        request_id = self.draw(st.sampled_from([self.next_id, f"é-{self.next_id}", str(self.next_id)]))
        if self.sessions and self.draw(st.booleans()):
            version = self.draw(st.sampled_from([None, *SESSION_VERSIONS]))
            session_id = self.draw(st.sampled_from(self.sessions))
            self.called.append((session_id, request_id))
            return in_session("tools/call", params, session_id, request_id, version)
        return modern("tools/call", params, request_id, name)

    def _stream(self) -> Draft:
        if self.sessions and self.draw(MAYBE):
            return get_stream(self.draw(st.sampled_from(self.sessions)))
        return self._listen()

    def _listen(self) -> Draft:
        self.next_id += 1
        params = self.draw(listen_params(self._known))
        return modern("subscriptions/listen", params, self.draw(st.sampled_from([self.next_id, "é"])))

    async def _send(self, draft: Draft, *, notification: bool = False) -> AsgiExchange:
        if notification:
            del draft.body["id"]
        kind = draft.kind + (", changed" if draft.changes else "")
        request = draft.request().filled(self._values())
        cut = self.draw(st.integers(0, len(request.body))) if draft.changes and self.draw(MAYBE) else None
        ours, _ = await self.twins.request(request, kind=kind, cut=cut)
        self._learn(ours)
        return ours

    def _learn(self, exchange: AsgiExchange) -> None:
        """Remember the handles and rooms in an answer."""
        for message in exchange.results:
            result: Any = message.get("result", {})
            given = result.get("structuredContent") or {}
            for key, known in (("handle", self.handles), ("room_id", self.rooms)):
                if given.get(key) and given[key] not in known:
                    known.append(given[key])
