"""The SDK's check of Host and Origin, which also says what to do about a refusal: to the caller, and in the log."""

from __future__ import annotations

from typing import NamedTuple

import structlog
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from broker.clock import Clock

REFUSALS_LOGGED_EVERY_MS = 60_000

logger = structlog.get_logger(__name__)


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


class Entrance(TransportSecurityMiddleware):
    """Turns away as its base does."""

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
