"""An ASGI extension: writing to the connection of a request at once, without `send` and its tasks.

A server offers its `DirectResponse` in `scope["extensions"]`. What it can't do at the moment goes through `send`,
which may wait; so does everything under a server that offers none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from starlette.types import Scope

DIRECT_RESPONSE_KEY = "chat_broker.direct_response"
"""Where `scope["extensions"]` holds the `DirectResponse`."""

Header = tuple[bytes, bytes]


class DirectResponse(Protocol):
    """The connection that a request came on. Nothing here waits."""

    def body(self) -> bytes | None:
        """The body of the request, if all of it has come; it is there to be received all the same."""
        ...

    def respond(self, headers: Sequence[Header], body: bytes) -> bool:
        """Write a whole response of status 200, head and body in one piece; `False` if nothing was written."""
        ...

    def write(self, body: bytes) -> bool:
        """Write more of a response that has begun; `False` if nothing was written: the client reads too slowly."""
        ...

    def abort(self) -> None:
        """Drop the connection, whatever is still to be written."""
        ...


class NoDirectResponse:
    """The `DirectResponse` of a server that offers none."""

    def body(self) -> bytes | None:
        """It can't tell."""
        return None

    def respond(self, headers: Sequence[Header], body: bytes) -> bool:
        """It can't."""
        return False

    def write(self, body: bytes) -> bool:
        """It can't."""
        return False

    def abort(self) -> None:
        """It can't, and ends with the client."""


NO_DIRECT_RESPONSE = NoDirectResponse()


def direct_response_of(scope: Scope) -> DirectResponse:
    """Return the extension of the server that serves `scope`."""
    direct: DirectResponse = scope.get("extensions", {}).get(DIRECT_RESPONSE_KEY, NO_DIRECT_RESPONSE)
    return direct
