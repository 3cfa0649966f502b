"""The SDK's low-level server, with our handlers and our capabilities in each era."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from mcp.server.caching import CacheHint
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    GetPromptRequestParams,
    GetPromptResult,
    ListPromptsResult,
    PaginatedRequestParams,
    Prompt,
    PromptArgument,
    PromptMessage,
    ServerCapabilities,
    TextContent,
)

from broker.stores import DISTRIBUTION
from mcp_facade.http.headers import is_modern
from mcp_facade.operator_notice import OperatorNotice
from mcp_facade.resources import STATIC_MS, Resources
from mcp_facade.sdk.context import Context
from mcp_facade.sdk.subscriptions import SdkSubscriptions
from mcp_facade.sdk.tools import SdkTools
from mcp_facade.sdk.workarounds import extensions_in_handshake, no_input_schema, without_list_changed
from mcp_facade.streams.frames import EXTENSION
from mcp_facade.streams.subscriptions import Subscriptions
from mcp_facade.texts import PROMPT, PROMPT_DESCRIPTION
from mcp_facade.tools.arguments import EnterQueueArguments, InvalidArgumentsError, parse
from mcp_facade.tools.handlers import Tools
from mcp_facade.web.window import UI_EXTENSION, ChatWindow

STATIC = CacheHint(ttl_ms=STATIC_MS, scope="public")

CHAT_PROMPT = Prompt(
    name="chat",
    title="Chat with a stranger",
    description=PROMPT_DESCRIPTION,
    arguments=[
        PromptArgument(name="display_name", description="What the stranger sees.", required=False),
        PromptArgument(name="interests", description="Words separated by commas.", required=False),
    ],
)


class ChatServer(Server[Any]):
    """The low-level server, with correct capabilities in each era.

    A 2025 session can't negotiate extensions, so `experimental` names ours; that of the chat window is in `extensions`
    all the same, where hosts look for it. None of our lists ever changes.
    """

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """Return the result of `initialize`."""
        return super().create_initialization_options(
            notification_options, {EXTENSION: {}, **(experimental_capabilities or {})}, extensions
        )

    def get_capabilities(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
        *,
        protocol_version: str | None = None,
    ) -> ServerCapabilities:
        """Return the SDK's capabilities; for a session, without the extensions, which it can't negotiate."""
        capabilities = super().get_capabilities(
            notification_options, experimental_capabilities, extensions, protocol_version=protocol_version
        )
        if protocol_version is None or not is_modern(protocol_version):
            capabilities.extensions = None
        return without_list_changed(capabilities)


def chat_server(
    tools: Tools, resources: Resources, subscriptions: Subscriptions, window: ChatWindow, notice: OperatorNotice
) -> ChatServer:
    """Return the server of one broker; `notice` is at the end of its instructions."""
    sdk_tools = SdkTools(tools, window)
    server = ChatServer(
        DISTRIBUTION,
        version=version(DISTRIBUTION),
        title="Chat with a stranger",
        instructions=notice.instructions(),
        cache_hints={
            "tools/list": STATIC,
            "prompts/list": STATIC,
            "resources/list": STATIC,
            "resources/templates/list": STATIC,
        },
        get_tool_input_schema=no_input_schema,
        on_list_tools=sdk_tools.list,
        on_call_tool=sdk_tools.call,
        on_list_resources=resources.list,
        on_list_resource_templates=resources.list_templates,
        on_read_resource=resources.read,
        on_subscribe_resource=resources.subscribe,
        on_unsubscribe_resource=resources.unsubscribe,
        on_subscriptions_listen=SdkSubscriptions(subscriptions).listen,
        on_list_prompts=_list_prompts,
        on_get_prompt=_get_prompt,
    )
    server.extensions = {EXTENSION: {}, UI_EXTENSION: {}}
    # In place of the SDK's own: tracing without a collector, at every request.
    server.middleware[:] = [extensions_in_handshake({UI_EXTENSION: {}})]
    return server


async def _list_prompts(ctx: Context, params: PaginatedRequestParams | None) -> ListPromptsResult:
    return ListPromptsResult(prompts=[CHAT_PROMPT])


async def _get_prompt(ctx: Context, params: GetPromptRequestParams) -> GetPromptResult:
    if params.name != CHAT_PROMPT.name:
        raise MCPError(INVALID_PARAMS, "Unknown prompt. prompts/list names those that there are.")
    try:
        asked = parse(EnterQueueArguments, params.arguments)
    except InvalidArgumentsError as error:
        raise MCPError(INVALID_PARAMS, str(error)) from None
    words = asked.interests
    text = PROMPT.format(name=asked.display_name, interests=f" and interests {list(words)}" if words else "")
    content = TextContent(type="text", text=text)
    return GetPromptResult(description=PROMPT_DESCRIPTION, messages=[PromptMessage(role="user", content=content)])
