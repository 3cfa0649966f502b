"""The stdio MCP server that Claude Code starts for a channel.

It speaks the handshake of 2025 alone: Claude Code registers no channel of a server that negotiates 2026-07-28. See
https://code.claude.com/docs/en/channels-reference for the capability and the notification.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any, cast

import anyio
from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.runner import serve_connection
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.transport_context import TransportContext
from mcp_types import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    PROTOCOL_VERSION_META_KEY,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)

from chat_client.channel.backlog import push_from
from chat_client.channel.bridge import Bridge
from chat_client.channel.tools import ARGUMENTS, INSTRUCTIONS, tools
from chat_client.stranger import Stranger
from chat_client.terminal.plain import read_lines

CAPABILITY = "claude/channel"
"""Its sibling `claude/channel/permission` is never declared: by that, a stranger could approve tools."""

NOTIFICATION = "notifications/claude/channel"

Context = ServerRequestContext[Any]


async def serve(url: str, turns_max: int) -> None:
    """Serve one Claude Code on standard input and output until its end; then leave the conversation.

    Args:
        url: the broker.
        turns_max: how many turns a model has without its user.
    """
    async with Stranger(url) as chat:
        bridge = Bridge(chat, turns_max)
        async with stdio_server(stdin=cast("anyio.AsyncFile[str]", _input_lines())) as (read, write), write:
            dispatcher: JSONRPCDispatcher[TransportContext] = JSONRPCDispatcher(
                read, write, inline_methods=frozenset({"initialize"})
            )
            connection = Connection.for_loop(dispatcher)

            async def push(content: str, meta: dict[str, str]) -> None:
                await connection.notify(NOTIFICATION, {"content": content, "meta": meta})

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(bridge.listen)
                tasks.start_soon(push_from, bridge.backlog, push)
                server = channel_server(bridge)
                options = server.create_initialization_options(experimental_capabilities={CAPABILITY: {}})
                await serve_connection(
                    server, dispatcher, connection=connection, lifespan_state={}, init_options=options
                )
                tasks.cancel_scope.cancel()


def channel_server(bridge: Bridge) -> Server[Any]:
    """Return the server of `bridge`'s tools."""

    async def list_tools(_: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=tools())

    async def call_tool(_: Context, params: CallToolRequestParams) -> CallToolResult:
        if params.name not in ARGUMENTS:
            raise MCPError(INVALID_PARAMS, f"there is no such tool; there are {', '.join(ARGUMENTS)}")
        text, is_error = await bridge.call(params.name, params.arguments or {})
        return CallToolResult(content=[TextContent(type="text", text=text)], is_error=is_error)

    server: Server[Any] = Server(
        "chat-broker",
        version=version("mcp-chat-broker"),
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    server.middleware.append(_handshake_only)
    return server


async def _handshake_only(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Refuse requests of 2026-07-28, so that a client of both eras falls back to the handshake."""
    if ctx.request_id is None:  # a notification, which can't be refused
        return await call_next(ctx)
    meta = (ctx.params or {}).get("_meta")
    is_enveloped = isinstance(meta, dict) and PROTOCOL_VERSION_META_KEY in meta
    if ctx.method == "server/discover" or (is_enveloped and ctx.method != "initialize"):
        raise MCPError(METHOD_NOT_FOUND, "a channel speaks the handshake of 2025-11-25: begin with initialize")
    return await call_next(ctx)


async def _input_lines() -> AsyncIterator[str]:
    """Yield the lines of standard input; unlike the SDK's own reader, this one can be cancelled."""
    lines = read_lines(0 if sys.stdin is not None else None)
    while (line := await lines.get()) is not None:
        yield line
