"""Who may come in: the SDK's check of Host, Origin and Content-Type, made once for each combination of them."""

from __future__ import annotations

from collections.abc import Mapping

from mcp.server.transport_security import TransportSecurityMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

REMEMBERED_MAX = 1_024
REMEMBERED_BYTES_MAX = 512

Headers = Mapping[bytes, bytes]
"""The headers of a request by their lower-case names; of one that comes twice, the first, as the SDK reads them."""


Shown = tuple[bool, bytes, bytes, bytes]
"""What the check depends on: whether it is a POST, Content-Type, Host, Origin."""


def headers_of(scope: Scope) -> Headers:
    """The headers of `scope`, without the white space around a value that the parser leaves on.

    RFC 9110, 5.5: it is no part of the value.
    """
    scope["headers"] = stripped = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
    return dict(reversed(stripped))


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
