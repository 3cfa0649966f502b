"""The upkeep of a log's streams while its brokers run, against an operator's slips.

A stream that was deleted beside the log is made anew, and so are the log's lost values. A stream that was edited is
reported; one that drops stored commits since is no log any more, before more of them are acknowledged and lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import structlog
from nats.aio.client import Client as Nats

from events.log import LogUnavailableError, UnusableLogError
from events.nats import meta
from events.nats.client import Client
from events.nats.layout import Layout
from events.nats.settings import dropping_fault_of
from events.nats.streams import Configs, configs_of, faults_of, make_missing, wanted_streams

logger = structlog.get_logger(__name__)

LOOK_SECONDS = 10.0
"""The time between two looks at the streams."""


class Upkeep:
    """The upkeep by one broker."""

    def __init__(self, layout: Layout, client: Client, values: Mapping[str, bytes]) -> None:
        """`values`: those of the bucket `META` at the opening."""
        self._layout = layout
        self._client = client
        self._values = dict(values)
        self._wanted = wanted_streams(layout)
        self._told: Mapping[str, str] = {}
        self._missing = set[str]()
        self._fault: str | None = None
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, now and then."""
        self._looking = asyncio.get_running_loop().create_task(self._look_again())

    async def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})

    def check(self) -> None:
        """Check that the log keeps its commits, as of the last look.

        Raises:
            UnusableLogError: a server drops them.
        """
        if self._fault is not None:
            raise UnusableLogError(self._fault)

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with suppress(LogUnavailableError, UnusableLogError):  # the next calls say it
                await self.look()

    async def look(self) -> None:
        """Look once.

        Raises:
            LogUnavailableError: the server does not answer.
        """
        await self._client.ask(self._look)

    async def _look(self, nats: Nats) -> None:
        found = await configs_of(nats, self._wanted)
        log = found[self._layout.log_stream]
        if log is None:
            return  # the next read and the followers say it; nothing is made in its place
        self._compare(found)
        missing = {name for name, config in found.items() if config is None}
        # A server that has just begun, or lost its leader, may not know a stream yet.
        is_sure, self._missing = missing <= self._missing, missing
        if not is_sure:
            return
        if missing:
            made = await make_missing(nats, self._layout, found, log["num_replicas"])
            logger.warning("streams_made_anew", streams=made)
        await self._restore_values(nats)

    def _compare(self, found: Configs) -> None:
        """Report edited streams, each fault once."""
        faults = faults_of(found, self._wanted)
        for name, fault in faults.items():
            if self._told.get(name) != fault:
                logger.warning("stream_changed", stream=name, fault=fault, hint="set it back: nats stream edit")
        self._told = faults
        self._fault = None
        for name in (self._layout.log_stream, f"KV_{self._layout.redacted_bucket}"):
            config = found[name]
            if config is not None and (drops := dropping_fault_of(config, self._wanted[name])) is not None:
                self._fault = f"the stream {name} drops stored commits ({drops}); set it back: nats stream edit"

    async def _restore_values(self, nats: Nats) -> None:
        """Put back the values that are gone; none is ever removed by this program."""
        found = await meta.values(nats, self._layout)
        lost = [key for key in self._values if key not in found]
        for key in lost:
            await meta.create(nats, self._layout, key, self._values[key])
        if lost:
            logger.warning("values_restored", bucket=self._layout.meta_bucket, keys=lost)
        self._values.update(found)
