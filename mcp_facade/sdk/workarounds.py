"""Every work-around for the SDK and its dependencies: its symptom, and its condition of removal.

Written against mcp 2.3.0 and sse-starlette 3.7. Where no upstream issue is named, none was found in November 2026.
The module imports neither, so the server can start before they are loaded. Their log lines that quote secrets are
silenced in `broker.logging`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
    from mcp_types import ServerCapabilities

GC_THRESHOLDS = (5_000, 20, 50)
"""Symptom: each request leaves a reference cycle, and frequent collections are 10 to 49% of the CPU and all of the p99.

Fewer collections keep the pauses out of the slowest answers. Remove when a request leaves no cycle.
"""

_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPES = re.compile(_HIGH + _LOW + b"|" + _HIGH + b"|" + _LOW + rb"|\\.")
_LONE = 6  # the length of one half; a pair has twice that, any other match two
_REPLACEMENT = rb"\ufffd"


def may_have_lone_surrogates(body: bytes) -> bool:
    """Return whether `body` may hold an escaped surrogate; a quick look."""
    return rb"\ud" in body or rb"\uD" in body


def replace_lone_surrogates(body: bytes) -> tuple[bytes, bool]:
    """Return JSON with U+FFFD for each escaped lone surrogate, and whether there was one.

    Symptom: the JSON parser of the 2025 side refuses the whole body (400, -32700), where a tool can explain the fault.
    Remove when both eras parse such a body.
    """
    replaced = False

    def whole(escape: re.Match[bytes]) -> bytes:
        nonlocal replaced
        if len(escape[0]) != _LONE:
            return escape[0]
        replaced = True
        return _REPLACEMENT

    return _ESCAPES.sub(whole, body), replaced


def without_connection_header(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return `headers` of a response without `Connection`.

    Symptom: event streams say `Connection: keep-alive` even if the client asked for `close`. Whether a connection is
    kept is for the server to say. Remove when the SDK leaves the header out.
    """
    return [header for header in headers if header[0] != b"connection"]


def without_list_changed(capabilities: ServerCapabilities) -> ServerCapabilities:
    """Return `capabilities` without `listChanged`.

    Symptom: the SDK declares changes of lists for any server with `subscriptions/listen`. Ours never change. Remove
    when the SDK lets a server say so.
    """
    for kind in (capabilities.tools, capabilities.prompts, capabilities.resources):
        if kind is not None:
            kind.list_changed = None
    return capabilities


def extensions_in_handshake(extensions: dict[str, dict[str, Any]]) -> ServerMiddleware[Any]:
    """Return a middleware that declares `extensions` in the result of `initialize`.

    Symptom: the SDK leaves `capabilities.extensions` out of it, and a host opens no window of a server without its
    extension (https://github.com/anthropics/claude-ai-mcp/issues/165). Remove when the SDK writes them.
    """

    async def declare(ctx: ServerRequestContext[Any], call_next: CallNext) -> HandlerResult:
        result = await call_next(ctx)
        if ctx.method == "initialize" and isinstance(result, dict):
            result["capabilities"]["extensions"] = extensions
        return result

    return declare


def no_input_schema(tool: str) -> None:
    """Stand in for a lookup of a tool's input schema.

    Symptom: without `get_tool_input_schema` every call lists the tools first, to find `x-mcp-header` (73 us). No schema
    of ours has it. Remove when the SDK looks once.
    """


def keep_streams_through_a_signal() -> None:
    """Turn off sse-starlette's own reaction to signals.

    Symptom: event streams end as soon as the process gets a signal, before waits have their answers
    (https://github.com/sysid/sse-starlette/pull/157 added the switch). Remove when the SDK writes its streams without
    sse-starlette.
    """
    from sse_starlette.sse import AppStatus

    AppStatus.enable_automatic_graceful_drain = False
