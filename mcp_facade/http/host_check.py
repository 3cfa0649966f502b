"""The check of Host, Origin and Content-Type before a request is served (RFC 9110, 7.2; RFC 6454).

A page in a browser may reach a server on its user's machine, by a name of its own that is bound to that machine's
address, or by a request across origins. Neither passes here. Each refusal names the setting that would allow it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import structlog
from starlette.responses import PlainTextResponse, Response
from starlette.types import Scope

from broker.addresses import DEFAULT_PORTS, parse_authority, parse_origin
from broker.clock import Clock
from broker.line_limit import LineLimit
from mcp_facade.http.headers import Headers

logger = structlog.get_logger(__name__)

REMEMBERED_MAX = 1_024
REMEMBERED_BYTES_MAX = 512


class _Refusal(NamedTuple):
    text: str
    event: str
    hint: str


_REFUSALS = {
    400: _Refusal(
        "Invalid Host header: a request has exactly one",
        "host_malformed",
        "a request had no Host header, or several; if it came through a proxy, have that send one",
    ),
    421: _Refusal(
        "Invalid Host header: the operator of this broker lets in another name than its machine's with --allow-host",
        "host_refused",
        "a request named a host that is not allowed; where clients use another name than this machine's, allow it "
        "with --allow-host",
    ),
    403: _Refusal(
        "Invalid Origin header: the operator of this broker lets in the pages of another origin with --allow-origin",
        "origin_refused",
        "a page called from an origin that is not allowed; where it should, allow it with --allow-origin",
    ),
}
"""The refusals by status. No text repeats the header: the caller chooses its content."""


_Checked = tuple[bool, bytes, bytes, bytes]
"""The checked parts of a request: whether it is a POST, Content-Type, Host, Origin."""


class HostOriginCheck:
    """The check of a request's headers, with its verdict cached: a client sends the same with every request."""

    def __init__(self, hosts: Iterable[str], origins: Iterable[str], clock: Clock) -> None:
        """Allow `hosts`, each with any port unless it names one, the origins of `hosts`, and `origins`."""
        self._hosts = {authority for host in hosts if (authority := parse_authority(host)) is not None}
        self._origins = {parse_origin(origin) for origin in origins}
        self._lines = LineLimit(clock.now_ms)
        self._accepted: set[_Checked] = set()

    def refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """Return the response that refuses the request; `None` if it is accepted."""
        is_post = scope["method"] == "POST"
        content_type, origin = headers.get(b"content-type", b""), headers.get(b"origin", b"")
        checked = is_post, content_type, headers.get(b"host", b""), origin
        has_repeated = len(headers) != len(scope["headers"])
        if checked in self._accepted and not has_repeated:
            return None
        status = self._refused(scope, headers)
        if status is not None:
            self._log(status)
            return PlainTextResponse(_REFUSALS[status].text, status)
        if is_post and not content_type.lower().startswith(b"application/json"):
            return PlainTextResponse("Invalid Content-Type header", 400)
        if not has_repeated:
            self._remember(checked)
        return None

    def allows_origin(self, scope: Scope, headers: Headers) -> bool:
        """Return whether the request comes from a page whose origin is allowed."""
        if _count(scope, b"origin") != 1:
            return False
        return self._is_allowed_origin(headers[b"origin"]) or self._is_own_page(scope, headers)

    def _refused(self, scope: Scope, headers: Headers) -> int | None:
        if _count(scope, b"host") != 1:
            return 400
        if not self._is_allowed_host(headers[b"host"]):
            return 421
        has_origin = headers.get(b"origin", b"") != b"" or _count(scope, b"origin") > 1
        return 403 if has_origin and not self.allows_origin(scope, headers) else None

    def _is_allowed_host(self, header: bytes) -> bool:
        authority = parse_authority(header.decode("latin-1"))
        if authority is None:
            return False
        ports = (authority.port,) if authority.port is not None else tuple(DEFAULT_PORTS.values())
        return any((authority.host, port) in self._hosts for port in (None, *ports))

    def _is_allowed_origin(self, header: bytes) -> bool:
        origin = parse_origin(header.decode("latin-1"))
        if origin is None:
            return False
        is_of_a_host = any((origin.host, port) in self._hosts for port in (None, origin.port))
        return origin in self._origins or (origin.scheme in DEFAULT_PORTS and is_of_a_host)

    def _is_own_page(self, scope: Scope, headers: Headers) -> bool:
        """Return whether the request comes from a page served under the very name and port that it is sent to.

        A proxy may speak TLS, so the scheme says nothing.
        """
        origin = parse_origin(headers[b"origin"].decode("latin-1"))
        if origin is None or origin.scheme not in DEFAULT_PORTS or _count(scope, b"host") != 1:
            return False
        host = headers[b"host"]
        authority = parse_authority(host.decode("latin-1"))
        if authority is None or not self._is_allowed_host(host):
            return False
        port = authority.port if authority.port is not None else DEFAULT_PORTS[origin.scheme]
        return (authority.host, port) == (origin.host, origin.port)

    def _remember(self, checked: _Checked) -> None:
        if sum(len(value) for value in checked[1:]) > REMEMBERED_BYTES_MAX:
            return
        if len(self._accepted) >= REMEMBERED_MAX:
            self._accepted.clear()
        self._accepted.add(checked)

    def _log(self, status: int) -> None:
        """Warn the operator, once a minute for each kind of refusal."""
        fields = self._lines.admit(status)
        if fields is not None:
            refusal = _REFUSALS[status]
            logger.warning(refusal.event, hint=refusal.hint, **fields)


def _count(scope: Scope, name: bytes) -> int:
    return sum(header[0] == name for header in scope["headers"])
