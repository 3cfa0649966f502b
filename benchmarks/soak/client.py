"""A client's calls: over a connection that is replaced when it is gone, and in 2025-11-25 in a session."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

from benchmarks.connections import CallConnection, WrongAnswer, connect_client, dial
from benchmarks.wire import SESSIONS, RequestBuilder

ANSWERED_WITHIN_S: Final = 30.0
KEPT_ALIVE_S: Final = 50.0
"""Idle time up to which a connection is used again; the server closes idle ones after 75 s."""


class ReconnectingClient:
    """A client that reconnects: a call raises its errors; `on_failure` gets errors between calls."""

    def __init__(
        self, port: int, protocol_version: str, rng: random.Random, on_failure: Callable[[Exception], None]
    ) -> None:
        self.port = port
        self.wire = RequestBuilder(port)
        self.protocol_version = protocol_version
        self._rng = rng
        self._on_failure = on_failure
        self._calls: CallConnection | None = None
        self._used_at = 0.0

    @property
    def has_sessions(self) -> bool:
        """True if this era has sessions."""
        return self.protocol_version == SESSIONS

    async def begin(self) -> None:
        """Open a new session, or in the stateless era a connection."""
        self.hang_up()
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            self._calls, self.wire = await connect_client(self.port, self.protocol_version, self._on_failure)
        self._used_at = time.monotonic()

    async def ask(self, request: bytes, within_s: float = ANSWERED_WITHIN_S) -> bytes:
        """Send a request and return the answer's body.

        Raises:
            WrongAnswer: there is none in time, or its status is not success.
        """
        calls = await self._connected()
        try:
            async with asyncio.timeout(within_s):
                return await calls.ask(request)
        except TimeoutError:
            raise WrongAnswer(f"no answer in {within_s:.0f} s to {request[-300:]!r}") from None
        finally:
            self._used_at = time.monotonic()

    async def break_off(self, request: bytes, after_s: float) -> None:
        """Send a request, and hang up before the answer or just as it comes."""
        calls = await self._connected()
        calls.on_answer = lambda _: None
        calls.on_failure = lambda _: None
        calls.write(request)
        await asyncio.sleep(after_s)
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection; every other time with a reset."""
        if self._calls is not None:
            self._calls.drop() if self._rng.random() < 0.5 else self._calls.close()
            self._calls = None

    async def _connected(self) -> CallConnection:
        if self._calls is not None and (
            self._calls.transport is None or time.monotonic() - self._used_at > KEPT_ALIVE_S
        ):
            self.hang_up()
        if self._calls is None:
            self._calls = CallConnection(self._on_failure)
            await dial(self.port, self._calls)
        return self._calls
