"""HTTP refusals with a JSON-RPC error, without a request id."""

from __future__ import annotations

from collections.abc import Mapping

from mcp_types import INVALID_REQUEST, ErrorData, JSONRPCError
from starlette.responses import Response


def json_rpc_refusal(
    status: int, message: str, code: int = INVALID_REQUEST, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response of `status` with a JSON-RPC error of `code` as its body."""
    error = JSONRPCError(jsonrpc="2.0", id=None, error=ErrorData(code=code, message=message))
    body = error.model_dump_json(by_alias=True, exclude_unset=True)
    return Response(body, status_code=status, headers=headers, media_type="application/json")
