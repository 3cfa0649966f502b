"""People in a chat, who speak both eras of the protocol by hand, so that tests see every byte."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Literal, NamedTuple

import httpx

from mcp_facade.streams.frames import CONNECTION_META_KEY, EXTENSION
from tests.support.limits import SOON_SECONDS
from tests.support.server import Running

Era = Literal["2025", "2026"]
Json = dict[str, Any]

MODERN = "2026-07-28"
SESSIONS = "2025-11-25"
ACCEPT = "application/json, text/event-stream"
CLIENT_INFO = {"name": "test", "version": "1"}
SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"


class Event(NamedTuple):
    """One frame of a stream."""

    id: str | None
    data: Json

    @property
    def method(self) -> str:
        """The method of the notification; empty for a result."""
        method: str = self.data.get("method", "")
        return method

    @property
    def params(self) -> Json:
        """Its params, without `_meta`."""
        return {key: value for key, value in self.data["params"].items() if key != "_meta"}

    @property
    def meta(self) -> Json:
        """The `_meta` of its params."""
        meta: Json = self.data["params"]["_meta"]
        return meta

    @property
    def connection_id(self) -> str:
        """The connection it is for."""
        connection_id: str = self.meta[CONNECTION_META_KEY]
        return connection_id


class Frames:
    """An SSE response, read in the background."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.events: list[Event] = []
        self.ids_alone: list[str] = []
        self.retries_ms: list[int] = []
        self.comments = 0
        self.ended = False
        self._taken = 0
        self._changed = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def next(self) -> Event:
        """Return the next frame, which must come soon."""
        await self.until(lambda: len(self.events) > self._taken or self.ended)
        assert len(self.events) > self._taken, "the stream has ended"
        self._taken += 1
        return self.events[self._taken - 1]

    async def take(self, frames: int) -> list[Event]:
        """Return the next so many frames."""
        return [await self.next() for _ in range(frames)]

    async def rest(self) -> list[Event]:
        """Return all frames before the stream's end, which must come soon."""
        await self.until(lambda: self.ended)
        rest = self.events[self._taken :]
        self._taken = len(self.events)
        return rest

    async def until(self, condition: Any) -> None:
        """Return once `condition` holds; it is checked on each arrival."""
        async with asyncio.timeout(SOON_SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def close(self) -> None:
        """Hang up."""
        self._reading.cancel()
        await asyncio.wait({self._reading})
        await self.response.aclose()

    async def _read(self) -> None:
        fields: dict[str, str] = {}
        try:
            async for line in self.response.aiter_lines():
                if line.startswith(":"):
                    self.comments += 1
                elif line:
                    name, _, value = line.partition(":")
                    fields[name] = value.removeprefix(" ")
                    continue
                elif fields.get("data"):
                    self.events.append(Event(fields.get("id"), json.loads(fields["data"])))
                elif "id" in fields:
                    self.ids_alone.append(fields["id"])
                    self.retries_ms += [int(fields["retry"])] if "retry" in fields else []
                fields = {} if not line else fields
                self._changed.set()
        except httpx.TransportError:
            pass  # it was cut
        finally:
            self.ended = True
            self._changed.set()


class RefusedError(AssertionError):
    """A tool refused a call that the test needs."""


def last_answer(response: httpx.Response) -> Json:
    """Return the JSON-RPC answer in a response, be it JSON or a stream of events."""
    if response.headers["content-type"].startswith("application/json"):
        answer: Json = response.json()
        return answer
    data = [line.partition(":")[2] for line in response.text.splitlines() if line.startswith("data:")]
    last: Json = json.loads(data[-1])
    return last


def _header(text: str) -> str:
    """Return `text` as the value of a header that mirrors the body (MCP 2026-07-28, basic/transports)."""
    if text.isascii() and text.isprintable() and text == text.strip():
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


class Person:
    """A client of either era; it keeps `handle`, `room_id` and `cursor` from results, like a host."""

    era: Era

    def __init__(self, running: Running) -> None:
        self.running = running
        # No certificates are needed, and reading them takes longer than most tests.
        self.http = httpx.AsyncClient(timeout=20, verify=False, trust_env=False)  # noqa: S501 - it speaks to loopback, in plain
        self.handle = ""
        self.connection_id = ""
        self.room_id = ""
        self.cursor = 0
        self.ids = count(1)

    async def start(self) -> None:
        """Make the era's requests before the first call, if any."""

    async def call_from(self, address: str) -> None:
        """Call from that address of this machine from now on, with one kept-alive connection."""
        await self.http.aclose()
        transport = httpx.AsyncHTTPTransport(local_address=address)
        self.http = httpx.AsyncClient(timeout=20, transport=transport, trust_env=False)

    def headers(self, method: str, name: str | None) -> dict[str, str]:
        """Return the headers of a request."""
        raise NotImplementedError

    def params(self, params: Mapping[str, Any]) -> Json:
        """Return `params`, with the era's additions."""
        return dict(params)

    async def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """Send a body as it is."""
        given = {"content-type": "application/json", "accept": ACCEPT} | dict(headers or {})
        return await self.http.post(self.running.url, content=body, headers=given)

    async def exchange(self, method: str, params: Mapping[str, Any], *, request_id: Any = None) -> httpx.Response:
        """Make a request; return the HTTP response."""
        body = {
            "jsonrpc": "2.0",
            "id": request_id if request_id is not None else next(self.ids),
            "method": method,
            "params": self.params(params),
        }
        name = params.get("name", params.get("uri"))
        return await self.post(json.dumps(body).encode(), self.headers(method, name))

    async def request(self, method: str, params: Mapping[str, Any] | None = None, *, request_id: Any = None) -> Json:
        """Make a request; return the JSON-RPC answer."""
        return last_answer(await self.exchange(method, params or {}, request_id=request_id))

    async def tool(self, name: str, arguments: Mapping[str, Any], **more: Any) -> Json:
        """Call a tool; return its result as it came, after a check that its text and its structure agree."""
        answer = await self.request("tools/call", {"name": name, "arguments": arguments, **more})
        result: Json = answer["result"]
        (content,) = result["content"]
        assert content["type"] == "text"
        assert json.loads(content["text"]) == result["structuredContent"]
        return result

    async def call(self, tool: str, **arguments: Any) -> Json:
        """Call a tool, which must not refuse; return its structured content."""
        result = await self.tool(tool, arguments)
        given: Json = result["structuredContent"]
        if result.get("isError"):
            raise RefusedError(given)
        for key in ("handle", "connection_id", "room_id", "cursor"):
            if key in given:
                setattr(self, key, given[key])
        return given

    async def refused(self, tool: str, **arguments: Any) -> Json:
        """Call a tool, which must refuse; return the refusal."""
        result = await self.tool(tool, arguments)
        assert result["isError"] is True
        refusal: Json = result["structuredContent"]
        return refusal

    def calling(self, tool: str, **arguments: Any) -> asyncio.Task[Json]:
        """Call a tool in the background."""
        return asyncio.create_task(self.call(tool, **arguments))

    async def enter(self, name: str = "Anonymous", **arguments: Any) -> Json:
        """Call `enter_queue`."""
        return await self.call("enter_queue", display_name=name, **arguments)

    async def say(self, message: str, **arguments: Any) -> Json:
        """Call `send_message` into the room."""
        return await self.call("send_message", room_id=self.room_id, message=message, handle=self.handle, **arguments)

    async def hear(self, wait_seconds: float = 20) -> list[Json]:
        """Call `wait_for_events` after the newest cursor; return the events."""
        given = await self.call("wait_for_events", cursor=self.cursor, handle=self.handle, wait_seconds=wait_seconds)
        events: list[Json] = given["events"]
        for event in events:
            if event["method"] == "chatroom.found":
                self.room_id = event["params"]["room_id"]
        return events

    async def hear_until(self, message: str) -> list[str]:
        """Hear until `message` came, which another worker may hold already; return the texts heard."""
        heard: list[str] = []
        while message not in heard:
            heard += texts(await self.hear())
        return heard

    async def read(self, uri: str) -> Json:
        """Read an existing resource; return its content."""
        answer = await self.request("resources/read", {"uri": uri})
        (contents,) = answer["result"]["contents"]
        assert contents["uri"] == uri
        said: Json = json.loads(contents["text"])
        return said

    async def close(self) -> None:
        """Hang up without leaving."""
        await self.http.aclose()

    @asynccontextmanager
    async def streaming(self, request: httpx.Request) -> AsyncIterator[Frames]:
        """Yield the frames of the response to `request`, as long as it is open."""
        frames = Frames(await self.http.send(request, stream=True))
        try:
            yield frames
        finally:
            await frames.close()


class Modern(Person):
    """A client without a session: every request stands alone."""

    era: Era = "2026"

    def __init__(self, running: Running, *, extension: bool = True) -> None:
        super().__init__(running)
        self.capabilities: Json = {"extensions": {EXTENSION: {}}} if extension else {}

    def headers(self, method: str, name: str | None) -> dict[str, str]:
        """Return the version, and the headers that mirror the body."""
        headers = {"mcp-protocol-version": MODERN, "mcp-method": method}
        return headers | ({"mcp-name": _header(name)} if name is not None else {})

    def params(self, params: Mapping[str, Any]) -> Json:
        """Add the client's identity."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": CLIENT_INFO,
            "io.modelcontextprotocol/clientCapabilities": self.capabilities,
        }
        return {**params, "_meta": meta | params.get("_meta", {})}

    @asynccontextmanager
    async def listening(self, notifications: Json, *, request_id: Any = "listen-1") -> AsyncIterator[Frames]:
        """Open a `subscriptions/listen` with that filter."""
        body = {
            "jsonrpc": "2.0",
            "id": request_id,
            "method": "subscriptions/listen",
            "params": self.params({"notifications": notifications}),
        }
        headers = {"accept": ACCEPT} | self.headers("subscriptions/listen", None)
        async with self.streaming(
            self.http.build_request("POST", self.running.url, json=body, headers=headers)
        ) as frames:
            yield frames

    @asynccontextmanager
    async def stream(self, *handles: str) -> AsyncIterator[Frames]:
        """Open an acknowledged stream of events for `handles`, or for the client's own."""
        async with self.listening(events_of(*(handles or (self.handle,)))) as frames:
            acknowledged = await frames.next()
            assert acknowledged.method == "notifications/subscriptions/acknowledged"
            yield frames


class InSession(Person):
    """A client with a session."""

    era: Era = "2025"

    def __init__(self, running: Running, version: str = SESSIONS) -> None:
        super().__init__(running)
        self.version = version
        self.session_id = ""

    async def start(self) -> None:
        """Open the session."""
        params = {"protocolVersion": self.version, "capabilities": {}, "clientInfo": CLIENT_INFO}
        response = await self.exchange("initialize", params)
        assert response.status_code == 200, response.text
        self.initialized = last_answer(response)["result"]
        self.session_id = response.headers["mcp-session-id"]
        assert (await self.notify("notifications/initialized")).status_code == 202

    def at(self, running: Running) -> InSession:
        """Return the same session as a client of `running`, with nothing except its id; the caller closes it."""
        other = InSession(running, self.version)
        other.session_id = self.session_id
        return other

    def headers(self, method: str, name: str | None) -> dict[str, str]:
        """Return the session, once there is one."""
        if not self.session_id:
            return {}
        return {"mcp-session-id": self.session_id, "mcp-protocol-version": self.version}

    async def notify(self, method: str, params: Json | None = None) -> httpx.Response:
        """Send a notification."""
        body = {"jsonrpc": "2.0", "method": method, "params": params or {}}
        return await self.post(json.dumps(body).encode(), self.headers(method, None))

    async def delete(self) -> httpx.Response:
        """End the session."""
        return await self.http.delete(self.running.url, headers=self.headers("", None))

    @asynccontextmanager
    async def stream(self, last_event_id: str | None = None, **headers: str) -> AsyncIterator[Frames]:
        """Open the GET stream; wait until it has begun."""
        given = {"accept": "text/event-stream"} | self.headers("", None) | headers
        if last_event_id is not None:
            given["last-event-id"] = last_event_id
        async with self.streaming(self.http.build_request("GET", self.running.url, headers=given)) as frames:
            await frames.until(lambda: frames.ids_alone or frames.comments or frames.ended)
            yield frames


def posted(
    person: Modern | InSession, method: str, params: Mapping[str, Any], name: str | None = None, request_id: int = 1
) -> tuple[dict[str, str], bytes]:
    """Return headers, without the length, and body of a person's request, for a test with a raw connection."""
    body = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": person.params(params)}
    headers = {"host": f"127.0.0.1:{person.running.port}", "accept": ACCEPT, "content-type": "application/json"}
    return headers | person.headers(method, name), json.dumps(body).encode()


def head_of(verb: str, headers: Mapping[str, str]) -> bytes:
    """Return all of a request before its body."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{verb} /mcp HTTP/1.1\r\n{lines}\r\n".encode()


def opening(person: Modern | InSession) -> bytes:
    """Return the request for a person's stream."""
    if isinstance(person, InSession):
        host = {"host": f"127.0.0.1:{person.running.port}", "accept": "text/event-stream"}
        return head_of("GET", host | person.headers("", None))
    headers, body = posted(person, "subscriptions/listen", {"notifications": events_of(person.handle)})
    return head_of("POST", headers | {"content-length": str(len(body))}) + body


def events_of(*handles: str) -> Json:
    """Return our extension's filter of `subscriptions/listen`."""
    return {EXTENSION: {"handles": list(handles)}}


def texts(events: list[Json] | list[Event]) -> list[str]:
    """Return the texts of the messages in `events`."""
    params = [event.params if isinstance(event, Event) else event["params"] for event in events]
    return [given["message"] for given in params if "message" in given]


class Crowd:
    """A maker of people, who all hang up at the end."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self._people: list[Person] = []

    async def modern(self, *, extension: bool = True) -> Modern:
        """Return a person of 2026."""
        return await self._joined(Modern(self.running, extension=extension))

    async def session(self, version: str = SESSIONS) -> InSession:
        """Return a person of 2025."""
        return await self._joined(InSession(self.running, version))

    async def person(self, era: Era, address: str | None = None) -> Modern | InSession:
        """Return a person of that era, with calls from `address` of this machine."""
        person = Modern(self.running) if era == "2026" else InSession(self.running)
        if address is not None:
            await person.call_from(address)
        joined: Modern | InSession = await self._joined(person)
        return joined

    async def pair(self, first_era: Era = "2026", second_era: Era = "2026") -> Any:
        """Pair Ann and Bob in one room; both know its id. Ann's cursor is from before its opening."""
        ann, bob = await self.person(first_era), await self.person(second_era)
        await ann.enter("Ann")
        matched = await bob.enter("Bob")
        assert matched["status"] == "matched"
        ann.room_id = bob.room_id
        return ann, bob

    async def _joined(self, person: Any) -> Any:
        self._people.append(person)
        await person.start()
        return person

    async def close(self) -> None:
        """Let all people hang up."""
        for person in self._people:
            await person.close()


@asynccontextmanager
async def crowd(running: Running) -> AsyncIterator[Crowd]:
    """Make people at one server."""
    people = Crowd(running)
    try:
        yield people
    finally:
        await people.close()
