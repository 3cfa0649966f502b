"""Three resources: the public lobby, the chat window's page, and the inbox, which only its handle opens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    EmptyResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    SubscribeRequestParams,
    TextResourceContents,
    UnsubscribeRequestParams,
)

from broker.broker import Broker
from broker.matching import counted_as
from broker.waits import Waited
from events.ids import ConnectionId, Handle, connection_id_of
from events.log import LogUnavailableError
from mcp_facade.http.headers import is_modern
from mcp_facade.operator_notice import NO_NOTICE, OperatorNotice
from mcp_facade.sdk.context import Context, exchange_of
from mcp_facade.sessions import Sessions
from mcp_facade.texts import (
    INBOX_DESCRIPTION,
    INBOX_NOT_FOUND,
    INBOX_OF_A_WINDOW,
    LOBBY_DESCRIPTION,
    REFUSALS,
    RESOURCE_NOT_FOUND,
)
from mcp_facade.tools.calls import Caller
from mcp_facade.tools.lenient import number_in
from mcp_facade.tools.results import Json, idle_seconds_of, partner_idle_json, waited_json
from mcp_facade.web.window import ChatWindow

LOBBY_URI = "chat://lobby"
INBOX_TEMPLATE = "chat://inbox/{handle}{?cursor}"
JSON_TYPE = "application/json"
STATIC_MS = 3_600_000
"""How long a client may keep what changes only with the broker's version or settings."""

URI_CHARS_MAX = 1_000
"""Limit of an inbox's URI; sessions store the URIs of their subscriptions, and parsing takes time in their length."""

RESOURCE_NOT_FOUND_2025 = -32002
"""MCP 2025-11-25, server/resources; in 2026-07-28 the code is that of invalid params."""

LOBBY = Resource(uri=LOBBY_URI, name="lobby", title="Lobby", description=LOBBY_DESCRIPTION, mime_type=JSON_TYPE)
INBOX = ResourceTemplate(
    uri_template=INBOX_TEMPLATE, name="inbox", title="Inbox", description=INBOX_DESCRIPTION, mime_type=JSON_TYPE
)


class InboxUri(NamedTuple):
    """The parts of an inbox's URI; `cursor` is unparsed."""

    handle: Handle
    cursor: str | None


def parse_inbox_uri(uri: str) -> InboxUri | None:
    """Return the parts of `uri`; `None` if it is not an inbox's, is too long, or has other than printable ASCII.

    A URI of a subscription is stored, and not every store takes every character.
    """
    if len(uri) > URI_CHARS_MAX or not uri.isascii() or not uri.isprintable():
        return None
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    if parts.scheme != "chat" or parts.netloc != "inbox":
        return None
    cursors = parse_qs(parts.query, keep_blank_values=True).get("cursor", [None])
    return InboxUri(Handle(parts.path.removeprefix("/")), cursors[-1])


class Resources:
    """`resources/*` of one broker."""

    def __init__(
        self, broker: Broker, sessions: Sessions, window: ChatWindow, notice: OperatorNotice = NO_NOTICE
    ) -> None:
        """Take `notice`, whose fields are in the lobby."""
        self._log_put_off = broker.log_put_off
        self._writer = broker.writer
        self._replica = broker.replica
        self._presence = broker.presence
        self._reads = broker.reads
        self._sessions = sessions
        self._window = window
        self._notice = notice.fields()

    async def list(self, ctx: Context, params: PaginatedRequestParams | None) -> ListResourcesResult:
        """List the lobby and the window's page; an inbox is a secret of its owner, and is not listed."""
        return ListResourcesResult(resources=[LOBBY, self._window.resource])

    async def list_templates(self, ctx: Context, params: PaginatedRequestParams | None) -> ListResourceTemplatesResult:
        """List the inbox's template."""
        return ListResourceTemplatesResult(resource_templates=[INBOX])

    async def read(self, ctx: Context, params: ReadResourceRequestParams) -> ReadResourceResult:
        """Return the lobby, the window's page, or a page of an inbox."""
        uri = str(params.uri)
        page = self._window.contents(uri)
        if page is not None:
            return ReadResourceResult(contents=[page], ttl_ms=STATIC_MS, cache_scope="public")
        with self._put_off_if_unavailable():
            payload = self._lobby() if uri == LOBBY_URI else await self._inbox(ctx, uri)
        text = msgspec.json.encode(payload).decode()
        return ReadResourceResult(contents=[TextResourceContents(uri=uri, mime_type=JSON_TYPE, text=text)])

    async def subscribe(self, ctx: Context, params: SubscribeRequestParams) -> EmptyResult:
        """Announce growth of the inbox on the stream of a 2025 session."""
        uri = str(params.uri)
        with self._put_off_if_unavailable():
            caller = await self._owner(ctx, uri)
        session = exchange_of(ctx).session
        assert session is not None, "2026-07-28 has no resources/subscribe"
        if self._reads.is_attended(caller.connection_id):
            raise MCPError(INVALID_PARAMS, INBOX_OF_A_WINDOW)
        with self._presence.call(caller.connection_id), self._put_off_if_unavailable():
            await self._sessions.refresh(session)
            session.bind(*caller)
            if not session.subscribe(uri, *caller):
                raise MCPError(INVALID_PARAMS, "Too many subscriptions in this session. Unsubscribe from one first.")
            await self._sessions.keep(session)
        return EmptyResult()

    async def unsubscribe(self, ctx: Context, params: UnsubscribeRequestParams) -> EmptyResult:
        """Stop announcing; unknown subscriptions are no error."""
        session = exchange_of(ctx).session
        assert session is not None
        with self._put_off_if_unavailable():
            await self._sessions.refresh(session)
        session.unsubscribe(str(params.uri))
        await self._sessions.keep(session)
        return EmptyResult()

    def subscriber(self, uri: str) -> ConnectionId | None:
        """Return the owner of the inbox `uri`; `None` if it is no inbox, or its handle is unknown."""
        inbox = parse_inbox_uri(uri)
        if inbox is None:
            return None
        connection_id = connection_id_of(inbox.handle)
        return connection_id if self._reads.knows(connection_id) else None

    def _lobby(self) -> Json:
        state = self._replica.state
        return {
            "waiting": len(state.queue),
            "chatting": 2 * state.rooms.open_count,
            "rooms_open": state.rooms.open_count,
            "matching": counted_as(state.policy),
            **self._notice,
        }

    async def _inbox(self, ctx: Context, uri: str) -> Json:
        caller = await self._owner(ctx, uri)
        session = exchange_of(ctx).session
        if session is not None and not self._reads.is_attended(caller.connection_id):
            session.bind(*caller)
            await self._sessions.keep(session)
        who = caller.connection_id
        retry_after_ms = self._reads.retry_after_ms(who)
        if retry_after_ms:
            text = REFUSALS["rate_limited"].format(retry_after_ms=retry_after_ms)
            raise MCPError(INTERNAL_ERROR, text, {"retry_after_ms": retry_after_ms})
        cursor = await self._cursor(uri, who)
        with self._presence.call(who):
            state = self._replica.state
            page = await self._reads.page(who, cursor)
            ending = await self._reads.ending(state, who)
        exchange_of(ctx).called_by(who)
        exchange_of(ctx).answer_ready(page.cursor)
        self._reads.record(who, page, "inbox")
        idle_seconds = idle_seconds_of(state, who, self._writer.time_ms())
        place = waited_json(Waited(page, state, timed_out=False), who, ending)
        return place | partner_idle_json(state, who, self._presence) | {"idle_seconds": idle_seconds}

    async def _cursor(self, uri: str, connection_id: ConnectionId) -> int | None:
        inbox = parse_inbox_uri(uri)
        cursor = number_in(inbox.cursor or "") if inbox is not None else None
        if cursor is None:
            await self._replica.confirm()
            return None
        position = int(cursor) if isinstance(cursor, int | float) and cursor == int(cursor) else -1
        if not await self._reads.has_given(connection_id, position):
            raise MCPError(INVALID_PARAMS, "cursor is not one that you were given. Leave it out for the newest events.")
        return position

    async def _owner(self, ctx: Context, uri: str) -> Caller:
        """Return the owner of the URI's handle.

        Raises:
            MCPError: there is no such resource. The URI is repeated unless it might hold a handle.
        """
        inbox = parse_inbox_uri(uri)
        if inbox is not None and await self._reads.is_known(connection_id := connection_id_of(inbox.handle)):
            return Caller(connection_id, inbox.handle)
        code = INVALID_PARAMS if is_modern(ctx.protocol_version) else RESOURCE_NOT_FOUND_2025
        if inbox is None and "inbox" not in uri.lower():
            raise MCPError(code, RESOURCE_NOT_FOUND, {"uri": uri})
        raise MCPError(code, INBOX_NOT_FOUND)

    @contextmanager
    def _put_off_if_unavailable(self) -> Iterator[None]:
        """Answer `unavailable` if the log does not answer.

        Raises:
            MCPError: it does not.
        """
        try:
            yield
        except LogUnavailableError as error:
            self._log_put_off("resource_put_off", error)
            raise MCPError(INTERNAL_ERROR, REFUSALS["unavailable"]) from None
