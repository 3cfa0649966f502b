"""The chat page at `/`, served to browsers under any name by which `/mcp` can be called."""

from __future__ import annotations

import base64
import functools
import hashlib

from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from mcp_facade.http.headers import headers_of
from mcp_facade.http.host_check import HostOriginCheck
from mcp_facade.web.bundle import Face, face

PAGE_PATH = "/"
METHODS = ("GET", "HEAD")
POLICY = (
    "default-src 'none'; script-src '$script'; style-src '$style'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@functools.cache
def chat_page() -> Face:
    """Return the page."""
    return face("page.js", "page.html", "page.css", POLICY)


class ChatPage:
    """An ASGI application with the one page."""

    def __init__(self, check: HostOriginCheck) -> None:
        """Refuse what `check` refuses."""
        self._check = check
        html, policy = chat_page()
        self._body = html.encode()
        self._etag = f'"{base64.urlsafe_b64encode(hashlib.sha256(self._body).digest()[:18]).decode()}"'
        self._headers = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",  # a browser asks each time whether it is still the newest
            "ETag": self._etag,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._response(scope)(scope, receive, send)

    def _response(self, scope: Scope) -> Response:
        if scope["method"] not in METHODS:
            return PlainTextResponse("Method Not Allowed", 405, {"Allow": ", ".join(METHODS)})
        headers = headers_of(scope)
        refusal = self._check.refusal(scope, headers)
        if refusal is not None:
            return refusal
        if self._is_known(headers.get(b"if-none-match", b"").decode("latin-1")):
            return Response(status_code=304, headers=self._headers)
        content = b"" if scope["method"] == "HEAD" else self._body
        response = Response(content, media_type="text/html", headers=self._headers)
        response.headers["Content-Length"] = str(len(self._body))
        return response

    def _is_known(self, if_none_match: str) -> bool:
        """Return whether a browser has this version (RFC 9110, 13.1.2)."""
        tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
        return self._etag in tags or tags == ["*"]
