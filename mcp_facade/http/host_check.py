"""The check of Host, Origin and Content-Type: the SDK's, cached, with a refusal that says what the operator can do."""

from __future__ import annotations

from typing import NamedTuple

import structlog
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Scope

from broker.clock import Clock
from mcp_facade.http.headers import Headers

logger = structlog.get_logger(__name__)

REMEMBERED_MAX = 1_024
REMEMBERED_BYTES_MAX = 512
REFUSALS_LOGGED_EVERY_MS = 60_000


class _Refusal(NamedTuple):
    text: str
    event: str
    hint: str


_REFUSALS = {
    421: _Refusal(
        "Invalid Host header: whoever runs this broker lets in another name than its machine's with --allow-host",
        "host_refused",
        "a request named a host that is not allowed; where clients use another name than this machine's, allow it "
        "with --allow-host",
    ),
    403: _Refusal(
        "Invalid Origin header: whoever runs this broker lets in the pages of another origin with --allow-origin",
        "origin_refused",
        "a page called from an origin that is not allowed; where it should, allow it with --allow-origin",
    ),
}
"""By status. Neither text holds a word of the header: it is of the caller's choosing."""


class HostOriginCheck(TransportSecurityMiddleware):
    """LoopBufferedStream away as its base does."""

    def __init__(self, settings: TransportSecuritySettings, clock: Clock) -> None:
        super().__init__(settings)
        self._clock = clock
        self._silent_until_ms: dict[int, float] = {}

    async def validate_request(self, request: Request, is_post: bool = False) -> Response | None:
        """The answer to a request that may not come in; `None` for one that may."""
        response = await super().validate_request(request, is_post)
        refusal = _REFUSALS.get(response.status_code) if response is not None else None
        if response is None or refusal is None:
            return response
        now_ms = self._clock.now_ms()
        if now_ms >= self._silent_until_ms.get(response.status_code, now_ms):
            self._silent_until_ms[response.status_code] = now_ms + REFUSALS_LOGGED_EVERY_MS
            logger.warning(refusal.event, hint=refusal.hint)
        return PlainTextResponse(refusal.text, response.status_code)


Shown = tuple[bool, bytes, bytes, bytes]
"""What the check depends on: whether it is a POST, Content-Type, Host, Origin."""


class Admission:
    """Remembers what was let in: the headers it depends on are the same with every request of a client."""

    def __init__(self, security: TransportSecurityMiddleware) -> None:
        self._security = security
        self._let_in: set[Shown] = set()

    def remembers(self, scope: Scope, headers: Headers) -> bool:
        """Whether such a request was let in before."""
        return _shown(scope, headers) in self._let_in

    async def refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """What to answer to a request that may not come in; `None` to one that may."""
        shown = _shown(scope, headers)
        refusal = await self._security.validate_request(Request(scope), is_post=shown[0])
        if refusal is None and sum(len(value) for value in shown[1:]) <= REMEMBERED_BYTES_MAX:
            if len(self._let_in) >= REMEMBERED_MAX:
                self._let_in.clear()
            self._let_in.add(shown)
        return refusal


def _shown(scope: Scope, headers: Headers) -> Shown:
    is_post = scope["method"] == "POST"
    return is_post, headers.get(b"content-type", b""), headers.get(b"host", b""), headers.get(b"origin", b"")
