"""How a client begins: with a connection, and in 2025-11-25 with a session."""

from collections.abc import Callable

from benchmarks.connections import SessionCalls, dial
from benchmarks.wire import SESSIONS, Wire


async def greet(
    port: int, protocol_version: str, on_failure: Callable[[Exception], None], *, reads: bool = False
) -> tuple[SessionCalls, Wire]:
    """A connection for calls, and how to speak on it; in 2025-11-25 within a new session."""
    calls = SessionCalls(on_failure)
    await dial(port, calls)
    wire = Wire(port, reads=reads)
    if protocol_version == SESSIONS:
        await calls.ask(wire.initialize())
        wire = Wire(port, calls.session_id)
        await calls.ask(wire.initialized())
    return calls, wire
