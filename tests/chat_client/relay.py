"""A TCP relay in front of a broker; it can break off connections, and hold back streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

CHUNK_BYTES = 65_536


class Relay:
    """A relay of bytes in both directions.

    Attributes:
        port: the port it listens at.
        behind: the port of the broker.
        is_cut: connections are closed at once.
        holds_streams: no byte of an answer to `subscriptions/listen` arrives.
    """

    def __init__(self, behind: int) -> None:
        self.port = 0
        self.is_cut = False
        self.holds_streams = False
        self.refused = 0
        self.streams = 0
        self.behind = behind
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """The broker's endpoint, by way of the relay."""
        return f"http://127.0.0.1:{self.port}/mcp"

    def cut(self) -> None:
        """Break off every connection, and take no other until `mend`."""
        self.is_cut = True
        self.drop()

    def drop(self) -> None:
        """Break off every connection, once."""
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """Take connections again."""
        self.is_cut = False

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        if self.is_cut:
            self.refused += 1
            writer.transport.abort()
            return
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.behind)
        except ConnectionError:  # the broker has ended
            writer.transport.abort()
            return
        self._writers |= {writer, there_writer}
        state = {"is_stream": False}

        async def requests() -> None:
            while data := await reader.read(CHUNK_BYTES):
                if b"subscriptions/listen" in data:
                    state["is_stream"] = True
                    self.streams += 1
                there_writer.write(data)
            there_writer.close()

        async def answers() -> None:
            while data := await there_reader.read(CHUNK_BYTES):
                if not (state["is_stream"] and self.holds_streams):
                    writer.write(data)
            writer.close()

        with suppress(ConnectionError):
            await asyncio.gather(requests(), answers())
        self._writers -= {writer, there_writer}
        writer.transport.abort()
        there_writer.transport.abort()


@asynccontextmanager
async def relaying(port: int) -> AsyncIterator[Relay]:
    """Run a relay before the broker at `port`."""
    relay = Relay(port)
    server = await asyncio.start_server(relay.pass_on, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        relay.cut()
        await server.wait_closed()
