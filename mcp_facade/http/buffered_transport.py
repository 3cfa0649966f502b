"""A transport that writes once a turn of the event loop, all that was written in it.

Each write of its own is a system call, which for a head and a body is one too many. And whoever reads is woken by
it: a server that writes between other work wakes its clients one by one, and those that it has woken sleep again by
the next frame; one that writes when its work is done wakes them together.
"""

from __future__ import annotations

import asyncio
from typing import Any

HELD_BYTES_MAX = 16_384
"""What is more is written at once, so that a writer that never waits is paused when nobody reads."""


class BufferedTransport(asyncio.Transport):
    """Stands before a connection's own transport."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes | bytearray | memoryview[Any]] = []
        self._held_bytes = 0

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Write `data` at the end of this turn, behind all that was written before."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > HELD_BYTES_MAX:
            self._flush()

    def _flush(self) -> None:
        held, self._held, self._held_bytes = self._held, [], 0
        if held and not self._transport.is_closing():  # the peer may have gone since it was written
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))

    def get_write_buffer_size(self) -> int:
        """How much is written and not sent yet, in bytes."""
        return self._held_bytes + self._transport.get_write_buffer_size()

    def close(self) -> None:
        """Send what was written, then close."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once, whatever was written."""
        self._held, self._held_bytes = [], 0
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closing, or closed."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """About the connection."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Hear nothing for a while."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Hear again."""
        self._transport.resume_reading()
