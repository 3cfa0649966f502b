"""The protocol of a service manager, as systemd's `Type=notify`: datagrams to a socket of its choice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

SOCKET_VARIABLE = "NOTIFY_SOCKET"
WATCHDOG_VARIABLE = "WATCHDOG_USEC"
PID_VARIABLE = "WATCHDOG_PID"
VARIABLES = (SOCKET_VARIABLE, WATCHDOG_VARIABLE, PID_VARIABLE)

READY, STOPPING, ALIVE = "READY=1", "STOPPING=1", "WATCHDOG=1"
STILL_STARTING = "EXTEND_TIMEOUT_USEC=60000000"

ALIVE_EVERY_S_MAX = 10.0
"""Well below what `STILL_STARTING` asks for, so that one that comes late or is lost does no harm."""


def notify(state: str) -> None:
    """Tell the service manager `state`, if there is one."""
    address = os.environ.get(SOCKET_VARIABLE)
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


def alive_every_s() -> float:
    """Return how often to send `ALIVE` and `STILL_STARTING`: half the watchdog's time, or `ALIVE_EVERY_S_MAX`."""
    is_ours = os.environ.get(PID_VARIABLE, str(os.getpid())) == str(os.getpid())
    text = os.environ.get(WATCHDOG_VARIABLE, "") if is_ours else ""
    watchdog_s = int(text) / 1_000_000 if text.isdecimal() else 0.0
    return min(watchdog_s / 2, ALIVE_EVERY_S_MAX) if watchdog_s > 0 else ALIVE_EVERY_S_MAX


def sign_of_life(*, is_starting: bool) -> str:
    """Return what to send now and then; a start that waits for its log's store asks for more time."""
    return f"{ALIVE}\n{STILL_STARTING}" if is_starting else ALIVE


async def stay_alive(is_starting: Callable[[], bool]) -> None:
    """Show the service manager that the event loop turns; return if there is none."""
    while os.environ.get(SOCKET_VARIABLE):
        notify(sign_of_life(is_starting=is_starting()))
        await asyncio.sleep(alive_every_s())
