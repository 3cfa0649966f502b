"""The check of Host, Origin and Content-Type: the SDK's, cached, with the operator's remedy in each refusal."""

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
"""The refusals by status. Neither text repeats the header: the caller chooses its content."""


_Checked = tuple[bool, bytes, bytes, bytes]
"""The checked parts of a request: whether it is a POST, Content-Type, Host, Origin."""


class HostOriginCheck:
    """The SDK's check of a request's headers, with its verdict cached: a client sends the same with every request."""

    def __init__(self, settings: TransportSecuritySettings, clock: Clock) -> None:
        self._security = TransportSecurityMiddleware(settings)
        self._clock = clock
        self._accepted: set[_Checked] = set()
        self._silent_until_ms: dict[int, float] = {}

    def is_known(self, scope: Scope, headers: Headers) -> bool:
        """Return whether such a request was accepted before."""
        return _checked(scope, headers) in self._accepted

    async def refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """Return the response that refuses the request; `None` if it is accepted."""
        checked = _checked(scope, headers)
        response = await self._security.validate_request(Request(scope), is_post=checked[0])
        if response is None:
            self._remember(checked)
            return None
        refusal = _REFUSALS.get(response.status_code)
        if refusal is None:
            return response
        self._log(response.status_code, refusal)
        return PlainTextResponse(refusal.text, response.status_code)

    def _remember(self, checked: _Checked) -> None:
        if sum(len(value) for value in checked[1:]) > REMEMBERED_BYTES_MAX:
            return
        if len(self._accepted) >= REMEMBERED_MAX:
            self._accepted.clear()
        self._accepted.add(checked)

    def _log(self, status: int, refusal: _Refusal) -> None:
        """Warn the operator, once a minute for each kind of refusal."""
        now_ms = self._clock.now_ms()
        if now_ms >= self._silent_until_ms.get(status, now_ms):
            self._silent_until_ms[status] = now_ms + REFUSALS_LOGGED_EVERY_MS
            logger.warning(refusal.event, hint=refusal.hint)


def _checked(scope: Scope, headers: Headers) -> _Checked:
    is_post = scope["method"] == "POST"
    return is_post, headers.get(b"content-type", b""), headers.get(b"host", b""), headers.get(b"origin", b"")
