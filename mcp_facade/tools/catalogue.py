"""The published tools: names, schemas, hints. Static, so a host may cache them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcp_types import Tool, ToolAnnotations
from pydantic import BaseModel

from mcp_facade.texts import TOOL_DESCRIPTIONS
from mcp_facade.tools.arguments import (
    EnterQueueArguments,
    HandleArguments,
    OpenChatArguments,
    ReportArguments,
    RoomArguments,
    SendMessageArguments,
    WaitForEventsArguments,
    input_schema,
)
from mcp_facade.tools.results import (
    DoneResult,
    OpenedResult,
    PageResult,
    QueuedResult,
    RoomResult,
    SentResult,
    StatusResult,
    WaitedResult,
    output_schema,
)


def _tool(
    name: str,
    title: str,
    takes: type[BaseModel],
    gives: Sequence[type[BaseModel]],
    hints: dict[str, Any],
    meta: dict[str, Any] | None = None,
) -> Tool:
    return Tool(
        _meta=meta,
        name=name,
        title=title,
        description=TOOL_DESCRIPTIONS[name],
        input_schema=input_schema(takes),
        output_schema=output_schema(*gives),
        annotations=ToolAnnotations(**hints),
    )


# A stranger's words come from an open world. Leaving is destructive: a conversation is over for good.
_STRANGER = {"open_world_hint": True}
_ADDS = {"read_only_hint": False, "destructive_hint": False}
_ENDS = {"read_only_hint": False, "destructive_hint": True}
_READS = {"read_only_hint": True, "destructive_hint": False, "idempotent_hint": True}
_OURS = {"open_world_hint": False}

_FOR_WINDOWS = {"ui": {"visibility": ["app"]}}
"""Hosts with MCP Apps hide such a tool from the model (ext-apps 2026-01-26, 'Visibility')."""

TOOLS = (
    _tool(
        "enter_queue",
        "Find a stranger",
        EnterQueueArguments,
        (QueuedResult,),
        {**_ADDS, **_STRANGER, "idempotent_hint": False},
    ),
    _tool(
        "chat_enter",
        "For the chat window only",
        EnterQueueArguments,
        (QueuedResult,),
        {**_ADDS, **_STRANGER, "idempotent_hint": False},
        _FOR_WINDOWS,
    ),
    _tool(
        "send_message",
        "Say something",
        SendMessageArguments,
        (PageResult, SentResult),
        {**_ADDS, **_STRANGER, "idempotent_hint": False},
    ),
    _tool(
        "wait_for_events",
        "Wait for the stranger",
        WaitForEventsArguments,
        (WaitedResult,),
        {**_READS, **_STRANGER},
    ),
    _tool("leave_chat", "Leave", RoomArguments, (DoneResult,), {**_ENDS, **_OURS, "idempotent_hint": True}),
    _tool(
        "next_partner",
        "Next stranger",
        RoomArguments,
        (QueuedResult,),
        {**_ENDS, **_STRANGER, "idempotent_hint": True},
    ),
    _tool("block_partner", "Block", RoomArguments, (DoneResult,), {**_ENDS, **_OURS, "idempotent_hint": True}),
    _tool("report_partner", "Report", ReportArguments, (DoneResult,), {**_ENDS, **_OURS, "idempotent_hint": True}),
    _tool(
        "leave_queue",
        "Stop waiting",
        HandleArguments,
        (RoomResult, DoneResult),
        {**_ADDS, **_STRANGER, "idempotent_hint": True},
    ),
    _tool("get_status", "Where am I?", HandleArguments, (StatusResult,), {**_READS, **_STRANGER}),
    _tool("open_chat", "Open a chat window", OpenChatArguments, (OpenedResult,), {**_READS, **_OURS}),
)

TOOL_NAMES = frozenset(tool.name for tool in TOOLS)
