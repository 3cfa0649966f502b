"""Servers of the stores, each with a directory of its own; they can be killed and started again."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Literal, Protocol, get_args

from tests.support.engines import postgresql
from tests.support.engines.nats import NatsServer
from tests.support.engines.redis import RedisServer

Store = Literal["redis", "postgresql", "nats"]
STORES: Final[tuple[Store, ...]] = get_args(Store)


class Engine(Protocol):
    """A running server. Every acknowledged write of it is on the disk."""

    url: str
    """The URL of a log in it."""

    def url_of(self, name: str) -> str:
        """Return the URL of the log of that name."""
        ...

    async def kill(self) -> None:
        """End it, without a chance to do anything more."""
        ...

    async def start(self) -> None:
        """Start it again with its data; return once it takes connections."""
        ...

    def remove(self) -> None:
        """End it, and delete its data."""
        ...


class Valkey:
    """Valkey with `appendfsync always`."""

    def __init__(self) -> None:
        self._server = RedisServer("valkey")
        self._server.start()
        self.url = self._server.url()

    def url_of(self, name: str) -> str:
        """Return the URL of the log of that name."""
        return self._server.url(name)

    async def kill(self) -> None:
        """Kill its process (`SIGKILL`)."""
        self._server.kill()

    async def start(self) -> None:
        """Start it again."""
        await asyncio.to_thread(self._server.start)

    def remove(self) -> None:
        """End it, and delete its data."""
        self._server.stop()


class Postgresql:
    """PostgreSQL with its defaults for durability."""

    def __init__(self) -> None:
        binaries = next(found for version in postgresql.VERSIONS if (found := postgresql.binaries(version)) is not None)
        self._server = postgresql.Server(binaries)
        self.url = self._server.url("chat")

    def url_of(self, name: str) -> str:
        """Return the URL of the log of that name."""
        return self._server.url(name)

    async def kill(self) -> None:
        """End all its processes at once, as `pg_ctl stop -m immediate` does: they recover from the WAL afterwards."""
        await asyncio.to_thread(self._server.kill)

    async def start(self) -> None:
        """Start it again."""
        await asyncio.to_thread(self._server.start)

    def remove(self) -> None:
        """End it, and delete its data."""
        self._server.remove()


class Nats:
    """A NATS server with `sync_interval: always`."""

    def __init__(self) -> None:
        self._server = NatsServer()
        self._server.start()
        self.url = self._server.url()

    def url_of(self, name: str) -> str:
        """Return the URL of the log of that name."""
        return self._server.url(name)

    async def kill(self) -> None:
        """Kill its process (`SIGKILL`)."""
        self._server.kill()

    async def start(self) -> None:
        """Start it again."""
        await asyncio.to_thread(self._server.start)

    def remove(self) -> None:
        """End it, and delete its data."""
        self._server.stop()


ENGINES: Final[Mapping[Store, Callable[[], Engine]]] = {"redis": Valkey, "postgresql": Postgresql, "nats": Nats}


def started(store: Store) -> Engine:
    """Return a new engine, ready for connections."""
    return ENGINES[store]()
