"""HTTP refusals with a JSON-RPC error, without a request id."""

from __future__ import annotations

from collections.abc import Mapping

from mcp_types import INVALID_REQUEST, ErrorData, JSONRPCError
from starlette.responses import Response

SESSION_NOT_FOUND = -32001
"""The SDKs' code for a session that is not known (any more); their clients then open another."""


def session_not_found() -> Response:
    """Return the refusal of a request in a session that is not known (any more)."""
    return json_rpc_refusal(404, "Session not found: initialize to open another.", SESSION_NOT_FOUND)


def not_acceptable() -> Response:
    """Return the refusal of a request whose client would not take every kind of answer."""
    return json_rpc_refusal(406, "Not Acceptable: Client must accept both application/json and text/event-stream")


def session_missing() -> Response:
    """Return the refusal of a request that names no session, and is not allowed to."""
    return json_rpc_refusal(400, "Bad Request: Missing session ID")


def json_rpc_refusal(
    status: int, message: str, code: int = INVALID_REQUEST, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response of `status` with a JSON-RPC error of `code` as its body."""
    error = JSONRPCError(jsonrpc="2.0", id=None, error=ErrorData(code=code, message=message))
    body = error.model_dump_json(by_alias=True, exclude_unset=True)
    return Response(body, status_code=status, headers=headers, media_type="application/json")
