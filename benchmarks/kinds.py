"""Servers measured in one run: the bare one, the broker, and the same chat on SDK servers."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.server import DIRECTORY, python
from benchmarks.wire import MODERN, SESSIONS


@dataclass(frozen=True)
class ServerKind:
    """A program to measure, and the protocol version of its clients."""

    name: str
    protocol_version: str
    command: tuple[str, ...]
    crowded: bool = False
    """True if it is also measured beside many streams; for a reference, few are enough."""
    times: int = 1
    """Factor on the messages of a measurement: a fast server needs more of them."""
    reads: bool = False
    """True if its streams only announce messages to read."""


FAST: Final = 20
"""A turn of these takes some seconds, as long as it takes the garbage collector to have its turn too."""

BARE: Final = ServerKind("bare ASGI", MODERN, python("benchmarks.bare"), crowded=True, times=FAST)
BARE_DIRECT: Final = ServerKind("bare, written directly", MODERN, python("benchmarks.bare_direct"), times=FAST)

BROKER: Final = python("mcp_facade.main", "serve")
_IN_A_FILE: Final = (*BROKER, "--log", f"sqlite:{DIRECTORY}/chat.db", "--log-synchronous", "full")
_PLAIN: Final = python("benchmarks.plain_sdk")
_MCPSERVER: Final = python("benchmarks.mcpserver")
_TYPESCRIPT: Final = Path(__file__).parent / "typescript"

_PYTHON_KINDS: Final = (
    BARE,
    BARE_DIRECT,
    ServerKind(f"chat-broker, {MODERN}", MODERN, BROKER, crowded=True, times=FAST),
    ServerKind(f"chat-broker, {SESSIONS}", SESSIONS, BROKER, crowded=True, times=FAST),
    ServerKind(f"chat-broker, {MODERN}, log in a file", MODERN, _IN_A_FILE, times=FAST),
    ServerKind(f"chat-broker, {SESSIONS}, log in a file", SESSIONS, _IN_A_FILE, times=FAST),
    ServerKind(f"plain SDK, {MODERN}", MODERN, _PLAIN),
    ServerKind(f"plain SDK, {SESSIONS}", SESSIONS, _PLAIN),
    ServerKind(f"MCPServer, {MODERN}", MODERN, _MCPSERVER, reads=True),
    ServerKind(f"MCPServer, {SESSIONS}", SESSIONS, _MCPSERVER),
)

MESSAGE_KINDS: Final = _PYTHON_KINDS[:4]
"""The bare servers, and the broker in both eras."""


def kinds() -> tuple[ServerKind, ...]:
    """Return all kinds, the bare server first; TypeScript ones only if Node and their packages are installed."""
    node = shutil.which("node")
    if node is None or not (_TYPESCRIPT / "node_modules" / "@modelcontextprotocol").is_dir():
        return _PYTHON_KINDS
    return (
        *_PYTHON_KINDS,
        ServerKind(f"TypeScript SDK, {MODERN}", MODERN, (node, str(_TYPESCRIPT / "modern.mjs")), reads=True),
        ServerKind(f"TypeScript SDK, {SESSIONS}", SESSIONS, (node, str(_TYPESCRIPT / "sessions.mjs"))),
    )
