"""Requests of pages in a browser: the CORS protocol for allowed origins (Fetch, 3.2), preflights and answers alike."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcp_facade.http.direct_response import Header
from mcp_facade.http.headers import Headers, headers_of
from mcp_facade.http.host_check import HostOriginCheck

ORIGIN_HEADER = b"origin"
PREFLIGHT_AGE_S = 600

_READABLE: Header = (b"access-control-expose-headers", b"Mcp-Session-Id, Retry-After")
_name_of = itemgetter(0)

_PREFLIGHT_VARY = "Access-Control-Request-Headers, Access-Control-Request-Private-Network"


def is_from_page(scope: Scope) -> bool:
    """Return whether the request has an `Origin`, as pages' requests have."""
    return ORIGIN_HEADER in map(_name_of, scope["headers"])


class PageRequests:
    """Serves the requests of pages: an allowed origin's may call and read every answer, errors included."""

    def __init__(self, check: HostOriginCheck) -> None:
        self._check = check

    async def serve(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, or have `app` serve the request. `app` refuses origins that are not allowed."""
        headers = headers_of(scope)
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            app = self._check.refusal(scope, headers) or _preflight(headers)
        if not self._check.allows_origin(scope, headers):
            await app(scope, receive, send)
            return
        added = [(b"access-control-allow-origin", headers[ORIGIN_HEADER]), _READABLE]

        async def send_readable(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _with(message.get("headers", ()), added)}
            await send(message)

        await app(scope, receive, send_readable)


def _with(headers: Sequence[Header], added: Sequence[Header]) -> list[Header]:
    """Return `headers` and `added`, and that the answer depends on the origin."""
    vary = [value for name, value in headers if name.lower() == b"vary"]
    others = [header for header in headers if header[0].lower() != b"vary"]
    return [*others, *added, (b"vary", b", ".join([*vary, b"Origin"]))]


def _preflight(headers: Headers) -> Response:
    """Return the answer to a preflight of an allowed origin, also if it goes to a private network's address."""
    allowed = {
        "Access-Control-Allow-Methods": "GET, POST, DELETE",
        "Access-Control-Max-Age": str(PREFLIGHT_AGE_S),
        "Vary": _PREFLIGHT_VARY,
    }
    asked = headers.get(b"access-control-request-headers")
    if asked is not None:
        allowed["Access-Control-Allow-Headers"] = asked.decode("latin-1")
    if headers.get(b"access-control-request-private-network") == b"true":
        allowed["Access-Control-Allow-Private-Network"] = "true"
    return PlainTextResponse("OK", headers=allowed)
