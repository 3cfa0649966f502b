"""A request as bytes on the wire, with placeholders for values that only exist once a server runs.

`@SESSION@` and its like stand for live values (`PLACEHOLDERS`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

PLACEHOLDERS = (
    b"@SESSION@",  # of 2025; in a room with the other
    b"@OTHER@",  # the other's session
    b"@DEAD@",  # an ended session
    b"@HANDLE@",
    b"@PARTNER@",  # the handle of the partner, of 2026
    b"@WAITING@",  # the handle of a person after leaving
    b"@ROOM@",
    b"@CLOSED@",  # a closed room
    b"@CURSOR@",
    b"@EPOCH@",
)

SHOWN_BYTES_MAX = 2_000
CHUNK_BYTES = 400
SMALL_CHUNK_BYTES = 7
LAST_CHUNK = b"0\r\n\r\n"

Header = tuple[bytes, bytes]
Framing = Literal[
    "length", "chunked", "small chunks", "trailer", "zipped chunks", "none", "short", "long", "both", "twice",
    "zeros", "signed",
]  # fmt: skip
"""The way to give the body's end: `short` and `long` lie about it, `both` and `twice` give it more than once."""

FRAMINGS: tuple[Framing, ...] = get_args(Framing)
HONEST: tuple[Framing, ...] = ("length", "chunked", "small chunks")


class Request(NamedTuple):
    """One request."""

    method: bytes
    target: bytes
    headers: tuple[Header, ...]
    body: bytes = b""
    version: bytes = b"HTTP/1.1"
    framing: Framing = "length"
    raw: bytes | None = None  # instead of all of the above

    def wire(self, values: Mapping[bytes, bytes]) -> bytes:
        """Return its bytes, with `values` in the place of placeholders."""
        if self.raw is not None:
            return filled(self.raw, values)
        return self.head(values) + self._framed(filled(self.body, values))[1]

    def filled(self, values: Mapping[bytes, bytes]) -> Request:
        """Return the same with `values` in the place of placeholders."""
        return self._replace(
            target=filled(self.target, values),
            headers=tuple((filled(name, values), filled(value, values)) for name, value in self.headers),
            body=filled(self.body, values),
            raw=None if self.raw is None else filled(self.raw, values),
        )

    def head(self, values: Mapping[bytes, bytes]) -> bytes:
        """Return all bytes before the body."""
        headers = self.fields(values)
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        return b"%b %b %b\r\n%b\r\n" % (self.method, filled(self.target, values), self.version, lines)

    def fields(self, values: Mapping[bytes, bytes]) -> list[Header]:
        """Return all headers, with those for the end of the body."""
        given = [(filled(name, values), filled(value, values)) for name, value in self.headers]
        return given + self._framed(filled(self.body, values))[0]

    def _framed(self, body: bytes) -> tuple[list[Header], bytes]:
        """Return the headers for the end of `body`, and the body as sent."""
        size = len(body)
        lengths = {
            "length": [b"%d" % size],
            "both": [b"%d" % size],
            "twice": [b"%d" % size] * 2,
            "short": [b"%d" % max(0, size - 3)],
            "long": [b"%d" % (size + 3)],
            "zeros": [b"000000000000%d" % size],
            "signed": [b"+%d" % size],
        }
        headers = [(b"content-length", length) for length in lengths.get(self.framing, [])]
        match self.framing:
            case "chunked" | "both":
                halves = _chunks(body, max(1, -(-size // 2)))
                return [*headers, (b"transfer-encoding", b"chunked")], halves + LAST_CHUNK
            case "small chunks":
                return [(b"transfer-encoding", b"chunked")], _chunks(body, SMALL_CHUNK_BYTES) + LAST_CHUNK
            case "trailer":
                return [(b"transfer-encoding", b"chunked")], _chunks(body, CHUNK_BYTES) + b"0\r\nx: y\r\n\r\n"
            case "zipped chunks":  # a lie: they are not
                return [(b"transfer-encoding", b"gzip, chunked")], _chunks(body, CHUNK_BYTES) + LAST_CHUNK
        return headers, body

    def __repr__(self) -> str:
        """Show the bytes on the wire, cut where they get long."""
        wire = self.wire({})
        return repr(wire) if len(wire) <= SHOWN_BYTES_MAX else f"{wire[:SHOWN_BYTES_MAX]!r} and {len(wire)} in all"

    @property
    def is_owed_an_answer(self) -> bool:
        """Tell if a server has to answer it while the connection is open, no matter its content."""
        if self.raw is not None or {name for name, _ in self.headers} & {b"content-length", b"transfer-encoding"}:
            return False
        return self.framing in HONEST or (self.framing == "none" and not self.body)


def filled(text: bytes, values: Mapping[bytes, bytes]) -> bytes:
    """Return `text` with each placeholder's value in its place."""
    if b"@" in text:
        for name, value in values.items():
            text = text.replace(name, value)
    return text


def _chunks(body: bytes, chunk_bytes: int) -> bytes:
    """Return `body` in chunks of at most so many bytes, without the empty last one."""
    chunks = (body[at : at + chunk_bytes] for at in range(0, len(body), chunk_bytes))
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
