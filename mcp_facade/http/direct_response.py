"""The connection under a request: what can be done with it at once, which ASGI has no word for.

A server offers its `Link` in `scope["extensions"]`. Whatever a link can't do at the moment goes by ASGI, where it
may wait; so does everything under a server that offers none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from starlette.types import Scope

LINK_KEY = "chat_broker.link"
"""Where `scope["extensions"]` holds the `Link`."""

Header = tuple[bytes, bytes]


class Link(Protocol):
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

    def cut(self) -> None:
        """Drop the connection, whatever is still to be written."""
        ...


class NoLink:
    """The `Link` of a server that offers none."""

    def body(self) -> bytes | None:
        """It can't tell."""
        return None

    def respond(self, headers: Sequence[Header], body: bytes) -> bool:
        """It can't."""
        return False

    def write(self, body: bytes) -> bool:
        """It can't."""
        return False

    def cut(self) -> None:
        """It can't, and ends with the client."""


NO_LINK = NoLink()


def link_of(scope: Scope) -> Link:
    """The link of the server that serves `scope`."""
    link: Link = scope.get("extensions", {}).get(LINK_KEY, NO_LINK)
    return link
