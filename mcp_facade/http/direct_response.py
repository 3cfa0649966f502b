"""An ASGI extension: writing to the connection of a request at once, without `send` and its tasks.

A server offers its `DirectResponse` in `scope["extensions"]`. Writes not possible at the moment go through `send`,
which may wait; so does every write under a server without the extension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from starlette.types import Scope

DIRECT_RESPONSE_KEY = "chat_broker.direct_response"
"""The key of the `DirectResponse` in `scope["extensions"]`."""

Header = tuple[bytes, bytes]


class DirectResponse(Protocol):
    """The connection of a request. Nothing here waits."""

    def body(self) -> bytes | None:
        """Return the body of the request if all of it has come, else `None`; `receive` still gives it."""
        ...

    def respond(self, headers: Sequence[Header], body: bytes) -> bool:
        """Write a whole response of status 200, head and body in one piece; `False` if nothing was written."""
        ...

    def is_writable(self) -> bool:
        """Return whether `write` can write: a response has begun, and the client reads it fast enough."""
        ...

    def is_open(self) -> bool:
        """Return whether the connection is neither lost nor closing; a response that is complete may close it."""
        ...

    def write(self, body: bytes) -> None:
        """Write more of a response that has begun, only while it `is_writable`."""
        ...

    def abort(self) -> None:
        """Drop the connection and any unsent data."""
        ...


class NoDirectResponse:
    """The `DirectResponse` of a server without the extension."""

    def body(self) -> bytes | None:
        """Return `None`: the body is not known."""
        return None

    def respond(self, headers: Sequence[Header], body: bytes) -> bool:
        """Return `False`: nothing was written."""
        return False

    def is_writable(self) -> bool:
        """Return `False`: writes go through `send`."""
        return False

    def is_open(self) -> bool:
        """Return `True`: no more is known."""
        return True

    def write(self, body: bytes) -> None:
        """Never called."""

    def abort(self) -> None:
        """Do nothing: the response ends with the client."""


NO_DIRECT_RESPONSE = NoDirectResponse()


def direct_response_of(scope: Scope) -> DirectResponse:
    """Return the server's extension for `scope`."""
    direct: DirectResponse = scope.get("extensions", {}).get(DIRECT_RESPONSE_KEY, NO_DIRECT_RESPONSE)
    return direct
