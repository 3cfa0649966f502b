"""A scenario: requests as they are laid on the wire, with names for what is only known once there is a server.

`@SESSION@` and its like stand for live values (`PLACEHOLDERS`). A scenario can be written to a file and read back,
byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

PLACEHOLDERS = (
    b"@SESSION@",  # of 2025; in a room with the other
    b"@OTHER@",  # the other's session
    b"@DEAD@",  # a session that was ended
    b"@HANDLE@",
    b"@PARTNER@",  # the handle of the one of 2026 who is the partner
    b"@WAITING@",  # the handle of someone who has left
    b"@ROOM@",
    b"@CLOSED@",  # a room that is closed
    b"@CURSOR@",
    b"@EPOCH@",
)

SHOWN_BYTES_MAX = 2_000

Framing = Literal["length", "chunked", "none", "short", "long", "both"]
Then = Literal["go on", "listen", "hang up"]


class Request(NamedTuple):
    """One request. `framing` says how the body's end is told; `short` and `long` lie about it, `both` says it twice."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    version: bytes = b"HTTP/1.1"
    framing: Framing = "length"
    raw: bytes | None = None  # instead of all of the above

    def wire(self, values: Mapping[bytes, bytes]) -> bytes:
        """Its bytes."""
        if self.raw is not None:
            return filled(self.raw, values)
        body = filled(self.body, values)
        headers = [(filled(name, values), filled(value, values)) for name, value in self.headers]
        lengths = {"length": len(body), "short": max(0, len(body) - 3), "long": len(body) + 3, "both": len(body)}
        if self.framing in lengths:
            headers.append((b"content-length", b"%d" % lengths[self.framing]))
        if self.framing in ("chunked", "both"):
            headers.append((b"transfer-encoding", b"chunked"))
            body = chunked(body)
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        return b"%b %b %b\r\n%b\r\n%b" % (self.method, filled(self.target, values), self.version, lines, body)

    def __repr__(self) -> str:
        """What goes over the wire, cut where it gets long."""
        wire = self.wire({})
        return repr(wire) if len(wire) <= SHOWN_BYTES_MAX else f"{wire[:SHOWN_BYTES_MAX]!r} and {len(wire)} in all"

    @property
    def is_owed_an_answer(self) -> bool:
        """Whether a server has to answer it, whatever it says, with the connection open."""
        is_framed = self.framing in ("length", "chunked") or (self.framing == "none" and not self.body)
        return self.raw is None and is_framed


class Act(NamedTuple):
    """Something that a client does on its `connection`: send a request, or the first `cut` hundredths of it.

    `then`: what becomes of a request that was cut: the rest is sent when all other acts are done, or the client
    hangs up. A whole request may be hung up on too, or the client listens for a moment, so that what it does next on
    this connection comes while it is answered.
    """

    connection: int
    request: Request
    cut: int = 100
    then: Then = "go on"


Scenario = tuple[Act, ...]


def filled(text: bytes, values: Mapping[bytes, bytes]) -> bytes:
    """`text` with each placeholder's value in its place."""
    if b"@" in text:
        for name, value in values.items():
            text = text.replace(name, value)
    return text


def chunked(body: bytes) -> bytes:
    """`body` in two chunks."""
    half = len(body) // 2
    chunks = [chunk for chunk in (body[:half], body[half:]) if chunk]
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def to_text(scenarios: Sequence[Scenario]) -> str:
    """`scenarios` as JSON that `from_text` reads; each byte is one character."""
    acts = [[act._asdict() | {"request": act.request._asdict()} for act in scenario] for scenario in scenarios]
    return json.dumps(acts, indent=1, default=lambda text: text.decode("latin-1"))


def from_text(text: str) -> list[Scenario]:
    """The scenarios that `to_text` wrote.

    Raises:
        ValueError: it did not write this; the error says in one line what is wrong.
    """
    try:
        return [tuple(_act(act) for act in scenario) for scenario in json.loads(text)]
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}, {error}") from error


def _act(act: dict[str, Any]) -> Act:
    request = act["request"]
    for name in ("method", "target", "body", "version", "raw"):
        request[name] = request[name].encode("latin-1") if request[name] is not None else None
    request["headers"] = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request["headers"]]
    # An instance would be taken as it is; a tuple is looked at, each value of it.
    return msgspec.convert((*Act(**act | {"request": (*Request(**request),)}),), Act, builtin_types=[bytes])
