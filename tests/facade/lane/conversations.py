"""What goes on at two brokers alike: people enter, talk, wait, listen and leave, and some of it is malformed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from hypothesis import strategies as st

from mcp_facade.streams.frames import EXTENSION
from tests.facade.lane.requests import (
    TEXTS,
    VALUES,
    Json,
    Request,
    changed,
    finished,
    in_session,
    modern,
    weighed,
)
from tests.facade.lane.twins import Exchanged, Twins
from tests.facade.people import CLIENT_INFO

TOOLS = ["enter_queue", "send_message", "wait_for_events", "leave_chat", "next_partner", "leave_queue", "get_status"]
VERSIONS = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]
MAYBE = st.sampled_from([True, False, False, False])


class Conversation:
    """Draws what happens next from what is there by now."""

    def __init__(self, twins: Twins, data: st.DataObject, likely: Collection[str] = ()) -> None:
        """`likely`: names of steps, of tools and of changes that come more often than others."""
        self.twins = twins
        self.likely = likely
        self.draw = data.draw
        self.handles: list[str] = []
        self.rooms: list[str] = ["r_" + "0" * 32]
        self.sessions: list[str] = []
        self.called: list[tuple[str, Any]] = []
        self.next_id = 1

    async def begin(self) -> None:
        """Two have met, one of whom has a session; a third waits, and listens."""
        await self.session(version="2025-06-18", is_good=True)
        await self._send(in_session("tools/list", {}, self.sessions[0]))
        enter: Json = {"name": "enter_queue", "arguments": {}}
        await self._send(modern("tools/call", enter, 1, "enter_queue"))
        await self._send(in_session("tools/call", enter, self.sessions[0]))
        await self._send(modern("tools/call", enter, "1", "enter_queue"))
        await self._send(modern("subscriptions/listen", {"notifications": {EXTENSION: {"handles": self.handles}}}))

    async def step(self) -> None:
        """One thing happens."""
        happens = self.draw(
            st.sampled_from(
                weighed(
                    [self.call] * 10
                    + [self.changed_call] * 10
                    + [self.listen] * 3
                    + [self.session, self.session, self.end_session, self.get_stream]
                    + [self.cancel, self.hang_up, self.time],
                    self.likely,
                )
            )
        )
        await happens()

    async def call(self) -> None:
        """A well-formed call of a tool, whatever it says."""
        await self._send(self._call())

    async def changed_call(self) -> None:
        """A call of a tool, or a listen request, with something done to it."""
        request = self._listen() if self.draw(MAYBE) else self._call()
        await self._send(self.draw(changed(request, self.likely)))

    async def listen(self) -> None:
        """A stream."""
        await self._send(self._listen())

    async def session(self, *, version: str | None = None, is_good: bool = False) -> None:
        """A session of some version, or one whose handshake failed; the SDK serves its first requests."""
        version = version or self.draw(st.sampled_from(VERSIONS))
        params: Json = {"protocolVersion": version, "capabilities": {}, "clientInfo": CLIENT_INFO}
        if not is_good and self.draw(MAYBE):
            params.pop(self.draw(st.sampled_from(sorted(params))))
        answered = await self._send(in_session("initialize", params, "", request_id=0), gone=b"mcp-session-id")
        session_id = answered.header(b"mcp-session-id")
        if session_id:
            self.sessions.append(session_id)
            if self.draw(st.booleans()):
                await self._send(in_session("notifications/initialized", {}, session_id), notification=True)
            if self.draw(st.booleans()):
                await self._send(in_session("tools/list", {}, session_id))

    async def end_session(self) -> None:
        """A DELETE; what the session had open ends."""
        if self.sessions:
            session_id = self.draw(st.sampled_from(self.sessions))
            await self._send(Request(in_session("", {}, session_id).headers, None, "DELETE", "DELETE"))

    async def get_stream(self) -> None:
        """The GET stream of a session."""
        if self.sessions:
            request = in_session("", {}, self.draw(st.sampled_from(self.sessions)), version="2025-11-25")
            request.headers[2] = (b"accept", b"text/event-stream")
            await self._send(Request(request.headers, None, "GET", "GET"))

    async def cancel(self) -> None:
        """A call that is under way, or any number, is called off."""
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
        """Whoever has a request open leaves."""
        if self.twins.open:
            await self.twins.hang_up(self.draw(st.sampled_from(self.twins.open)))

    async def time(self) -> None:
        """Time passes: for most, too little to be pinged."""
        by_ms = self.draw(st.sampled_from([1, 500, 3_000, 10_500]))
        await self.twins.do(lambda twin: twin.clock.advance(by_ms))

    def _call(self) -> Request:
        name = self.draw(st.sampled_from(weighed(TOOLS, self.likely)))
        params: Json = {"name": name, "arguments": self._arguments(name)}
        if not params["arguments"] and self.draw(st.booleans()):
            del params["arguments"]
        self.next_id += 1
        request_id = self.draw(st.sampled_from([self.next_id, f"é-{self.next_id}", str(self.next_id)]))
        if self.sessions and self.draw(st.booleans()):
            version = self.draw(st.sampled_from([None, *VERSIONS]))
            session_id = self.draw(st.sampled_from(self.sessions))
            self.called.append((session_id, request_id))
            return in_session("tools/call", params, session_id, request_id, version)
        return modern("tools/call", params, request_id, name)

    def _arguments(self, name: str) -> Json:
        """Mostly what the tool takes, mostly of someone who is there."""
        arguments: Json = {}
        if self.handles and not self.draw(MAYBE):
            arguments["handle"] = self.draw(st.sampled_from(self.handles))
        if name in ("send_message", "leave_chat", "next_partner"):
            arguments["room_id"] = self.draw(st.sampled_from(self.rooms[-3:]))
        if name == "send_message":
            arguments["message"] = self.draw(st.sampled_from(["hello", "hé 😀", "x" * 100]) | TEXTS)
        if name == "wait_for_events" or (name == "send_message" and self.draw(MAYBE)):
            arguments["cursor"] = self.draw(st.integers(0, self.twins.lane.broker.state.position + 1))
            arguments["wait_seconds"] = self.draw(st.sampled_from([0, 1, 2.5, 8]))
        if name == "send_message" and self.draw(MAYBE):
            arguments["message_id"] = self.draw(st.sampled_from(["a", "b", "", "é"]))
        if name == "enter_queue" and self.draw(st.booleans()):
            arguments |= {"display_name": self.draw(TEXTS), "interests": self.draw(st.lists(TEXTS, max_size=3))}
        if self.draw(MAYBE) and self.draw(MAYBE):
            arguments[self.draw(st.sampled_from([*arguments, "x"]))] = self.draw(VALUES)
        return arguments

    def _listen(self) -> Request:
        handles = self.draw(st.lists(st.sampled_from([*self.handles, "cb_nobody"]), max_size=3))
        notifications: Json = {EXTENSION: {"handles": handles}} if self.draw(st.booleans()) or handles else {}
        if self.draw(MAYBE):
            uris = [f"chat://inbox/{handle}" for handle in handles]
            notifications["resourceSubscriptions"] = self.draw(st.sampled_from([[], None, uris, ["chat://lobby"]]))
        if self.draw(MAYBE):
            notifications["toolsListChanged"] = self.draw(st.sampled_from([True, False, None, "yes", 1]))
        self.next_id += 1
        return modern(
            "subscriptions/listen", {"notifications": notifications}, self.draw(st.sampled_from([self.next_id, "é"]))
        )

    async def _send(self, request: Request, *, notification: bool = False, gone: bytes = b"") -> Exchanged:
        if notification:
            del request.body["id"]
        request.headers = [header for header in request.headers if header[0] != gone]
        if request.method in ("GET", "DELETE"):
            pieces = [b""]
        else:
            text = finished(request).text
            cut = self.draw(st.integers(0, len(text))) if request.changes and self.draw(MAYBE) else len(text)
            pieces = [text[:cut], text[cut:]] if cut < len(text) else [text]
        kind = request.kind + (", changed" if request.changes else "")
        ours, _ = await self.twins.request(request.method, request.headers, pieces, kind=kind)
        self._learn(ours)
        return ours

    def _learn(self, exchanged: Exchanged) -> None:
        """Handles and rooms that an answer tells."""
        for message in exchanged.results:
            result: Any = message.get("result", {})
            given = result.get("structuredContent") or {}
            for key, known in (("handle", self.handles), ("room_id", self.rooms)):
                if given.get(key) and given[key] not in known:
                    known.append(given[key])
