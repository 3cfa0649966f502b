"""Requests written byte by byte, for headers that an HTTP client would refuse to send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import NamedTuple

from tests.facade.people import ACCEPT, Person

HeaderLine = tuple[str, str]


class RawResponse(NamedTuple):
    """A response: its status, its headers in lower case, and its body up to the connection's end."""

    status: int
    headers: dict[str, str]
    text: str


def lines_of(person: Person, method: str = "tools/list") -> list[HeaderLine]:
    """Return the headers of a request of `person`, without `Host`."""
    given = {"content-type": "application/json", "accept": ACCEPT} | person.headers(method, None)
    return list(given.items())


async def raw(
    port: int, lines: Sequence[HeaderLine], body: bytes = b"", *, start: str = "POST /mcp HTTP/1.1"
) -> RawResponse:
    """Send a request with these header lines, as the last on its connection; close a stream at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [*lines, ("Content-Length", str(len(body))), ("Connection", "close")]
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    writer.write(f"{start}\r\n{head}\r\n".encode("latin-1") + body)
    try:
        status, *fields = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields if field)}
        is_stream = headers.get("content-type", "").startswith("text/event-stream") and start.startswith("GET")
        text = "" if is_stream else (await reader.read()).decode()
    finally:
        writer.close()
    return RawResponse(int(status.split()[1]), headers, text)


def body_of(person: Person) -> bytes:
    """Return the body of a `tools/list` of `person`."""
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": person.params({})}).encode()
