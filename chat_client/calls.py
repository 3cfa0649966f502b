"""Calls with patience: they outlast a lost connection and a rate limit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS

from chat_client.errors import RateLimitedError, RefusedError, UnreachableError
from chat_client.wire import Json, LostError, Wire

RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0)
"""The pauses between attempts to reach a broker; the last one is repeated. The first attempt again is at once."""

RATE_LIMIT_SECONDS_MAX = 30.0
"""The longest that a call waits by itself for rate limits."""

UNKNOWN_TOOL = "unknown_tool"
"""The code of a refusal because the broker has no such tool."""

Sleep = Callable[[float], Awaitable[None]]
"""Sleeps for so many seconds, as `anyio.sleep` does."""

T = TypeVar("T")


async def sleep_until(event: anyio.Event, seconds: float, sleep: Sleep) -> None:
    """Return once `event` is set, and after `seconds` at the latest."""
    async with anyio.create_task_group() as race:

        async def doze() -> None:
            await sleep(seconds)
            race.cancel_scope.cancel()

        race.start_soon(doze)
        await event.wait()
        race.cancel_scope.cancel()


class Calls:
    """The calls of one client. An outage is told once, and so is its end, however many calls are affected.

    Attributes:
        is_reached: the broker has answered once; before that, a failed call raises.
    """

    def __init__(
        self, wire: Wire, on_lost: Callable[[str], None], on_restored: Callable[[], None], sleep: Sleep
    ) -> None:
        self.is_reached = False
        self._wire = wire
        self._on_lost = on_lost
        self._on_restored = on_restored
        self._sleep = sleep
        self._outage: anyio.Event | None = None

    async def tool(self, name: str, arguments: Json, wait_seconds: float = 0) -> Json:
        """Return the result of a tool.

        Args:
            name: the tool.
            arguments: its arguments.
            wait_seconds: how long the arguments ask the broker to wait.

        Raises:
            UnreachableError: no broker answers, and none has before.
            RefusedError: the broker refused; `RateLimitedError` if the wait would be too long.
        """
        waited_seconds = 0.0
        while True:
            try:
                return await self.steadily(lambda: self._once(name, arguments, wait_seconds))
            except RateLimitedError as error:
                waited_seconds += error.retry_after_seconds
                if waited_seconds > RATE_LIMIT_SECONDS_MAX:
                    raise
                await self._sleep(error.retry_after_seconds)

    async def resource(self, uri: str) -> str:
        """Return the text of a resource; raises `UnreachableError` as `tool` does."""
        return await self.steadily(lambda: self._wire.read(uri))

    async def steadily(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `attempt`, made again until the broker answers.

        Raises:
            UnreachableError: no broker answers, and none has before.
        """
        failures = 0
        while True:
            try:
                result = await attempt()
            except (LostError, MCPError) as error:
                if not self.is_reached:
                    raise self._unreachable(error) from None
                failures += 1
                await self._pause(failures, str(error))
            except RefusedError:
                self._restored()
                raise
            else:
                self._restored()
                return result

    async def _once(self, name: str, arguments: Json, wait_seconds: float) -> Json:
        try:
            return await self._wire.call(name, arguments, wait_seconds)
        except RefusedError as error:
            if error.code == "unavailable":
                raise LostError("the broker can't answer now") from None
            raise
        except MCPError as error:
            if error.code == INVALID_PARAMS:
                raise RefusedError(UNKNOWN_TOOL, error.message) from None
            raise

    async def _pause(self, failures: int, why: str) -> None:
        if failures == 1 and self._outage is None:
            return  # a connection may just have been idle for too long
        if self._outage is None:
            self._outage = anyio.Event()
            self._on_lost(why)
        seconds = RETRY_SECONDS[min(max(failures - 2, 0), len(RETRY_SECONDS) - 1)]
        await sleep_until(self._outage, seconds, self._sleep)

    def _unreachable(self, error: Exception) -> UnreachableError:
        url, why = self._wire.url, " ".join(str(error).split()).rstrip(".")
        if isinstance(error, MCPError):
            return UnreachableError(f"there is no chat broker at {url}, or it takes no calls from here ({why})")
        return UnreachableError(
            f"no broker answers at {url} ({why}). Check the address, or start one: chat-broker serve"
        )

    def _restored(self) -> None:
        self.is_reached = True
        if self._outage is not None:
            self._outage.set()
            self._outage = None
            self._on_restored()
