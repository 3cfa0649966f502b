"""The official schemas of MCP Apps, strict to the last key, and checks of a window's messages by them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
from mcp_types import methods
from mcp_types.version import LATEST_HANDSHAKE_VERSION

Json = dict[str, Any]

_SCHEMAS = (
    Path(__file__).parents[1] / "clients/node_modules/@modelcontextprotocol/ext-apps/dist/src/generated/schema.json"
)

SCHEMA_OF = {
    "ui/initialize": "McpUiInitializeRequest",
    "ui/notifications/initialized": "McpUiInitializedNotification",
    "ui/notifications/size-changed": "McpUiSizeChangedNotification",
    "ui/message": "McpUiMessageRequest",
    "ui/update-model-context": "McpUiUpdateModelContextRequest",
    "ui/open-link": "McpUiOpenLinkRequest",
    "ui/request-display-mode": "McpUiRequestDisplayModeRequest",
}
"""The schemas of a window's messages, except the calls of tools."""


@cache
def _definitions() -> Json:
    assert _SCHEMAS.exists(), "make test-browser installs the schemas"
    definitions: Json = json.loads(_SCHEMAS.read_text("utf-8"))["$defs"]
    return definitions


def check(value: Any, name: str) -> None:
    """Raise an error unless `value` conforms to the schema `name`."""
    jsonschema.validate(value, _definitions()[name])


def check_message(message: Json) -> str:
    """Raise an error unless `message` is JSON-RPC and permitted for a window; return its method."""
    assert message["jsonrpc"] == "2.0"
    if "method" not in message:
        assert message.keys() == {"jsonrpc", "id", "result"}
        check(message["result"], "McpUiResourceTeardownResult")
        return ""
    method: str = message["method"]
    assert ("id" in message) == ("/notifications/" not in method)
    if method == "tools/call":
        methods.validate_client_request(method, LATEST_HANDSHAKE_VERSION, message["params"])
    else:
        check({"method": method, "params": message["params"]}, SCHEMA_OF[method])
    return method
