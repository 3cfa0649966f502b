"""The tools as the SDK serves them: `tools/list`, and `tools/call` from its context to its result."""

from __future__ import annotations

import msgspec
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)

from mcp_facade.sdk.context import Context, exchange_of
from mcp_facade.texts import STILL_WAITING
from mcp_facade.tools.calls import Call, Report
from mcp_facade.tools.catalogue import TOOL_NAMES, TOOLS
from mcp_facade.tools.handlers import Tools
from mcp_facade.tools.results import Answer
from mcp_facade.web.window import ChatWindow


class SdkTools:
    """`tools/list` and `tools/call` of one broker."""

    def __init__(self, tools: Tools, window: ChatWindow) -> None:
        self._tools = tools
        self._listed = window.offered_by(TOOLS)

    async def list(self, ctx: Context, params: PaginatedRequestParams | None) -> ListToolsResult:
        """Return all tools, always in the same order."""
        return ListToolsResult(tools=self._listed)

    async def call(self, ctx: Context, params: CallToolRequestParams) -> CallToolResult:
        """Carry out a tool; a refusal is a result, and so is a fault of ours."""
        if params.name not in TOOL_NAMES:
            raise MCPError(INVALID_PARAMS, "Unknown tool. tools/list names those that there are.")
        call = Call(exchange_of(ctx), _report(ctx))
        return _result(await self._tools.call(params.name, params.arguments, call))


def _report(ctx: Context) -> Report | None:
    """Return a function that reports the progress of a wait; `None` if the caller gave no progress token."""
    if ctx.meta is None or "progress_token" not in ctx.meta:
        return None
    return lambda waited_seconds, total_seconds: ctx.session.report_progress(
        waited_seconds, total_seconds, STILL_WAITING
    )


def _result(answer: Answer) -> CallToolResult:
    """Return the answer as structured content, and the same JSON as text."""
    text = msgspec.json.encode(answer.payload).decode()
    return CallToolResult(
        content=[TextContent(type="text", text=text)], structured_content=answer.payload, is_error=answer.is_refusal
    )
