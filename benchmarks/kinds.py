"""What is measured in one run: the limit, the broker, and the same chat on other people's libraries."""

import shutil
from pathlib import Path
from typing import Final

from benchmarks.server import DIRECTORY, python
from benchmarks.target import Kind
from benchmarks.wire import MODERN, SESSIONS

BARE: Final = Kind("bare ASGI", MODERN, python("benchmarks.bare"), crowded=True, times=5)

BROKER: Final = python("mcp_facade.main", "serve")
_IN_A_FILE: Final = (*BROKER, "--log", f"sqlite:{DIRECTORY}/chat.db", "--log-synchronous", "full")
_PLAIN: Final = python("benchmarks.plain_sdk")
_MCPSERVER: Final = python("benchmarks.mcpserver")
_TYPESCRIPT: Final = Path(__file__).parent / "typescript"

_PYTHON_KINDS: Final = (
    BARE,
    Kind(f"chat-broker, {MODERN}", MODERN, BROKER, crowded=True),
    Kind(f"chat-broker, {SESSIONS}", SESSIONS, BROKER, crowded=True),
    Kind(f"chat-broker, {MODERN}, log in a file", MODERN, _IN_A_FILE),
    Kind(f"chat-broker, {SESSIONS}, log in a file", SESSIONS, _IN_A_FILE),
    Kind(f"plain SDK, {MODERN}", MODERN, _PLAIN),
    Kind(f"plain SDK, {SESSIONS}", SESSIONS, _PLAIN),
    Kind(f"MCPServer, {MODERN}", MODERN, _MCPSERVER, reads=True),
    Kind(f"MCPServer, {SESSIONS}", SESSIONS, _MCPSERVER),
)


def kinds() -> tuple[Kind, ...]:
    """The bare server first; those in TypeScript where Node is, and their packages are installed."""
    node = shutil.which("node")
    if node is None or not (_TYPESCRIPT / "node_modules" / "@modelcontextprotocol").is_dir():
        return _PYTHON_KINDS
    return (
        *_PYTHON_KINDS,
        Kind(f"TypeScript SDK, {MODERN}", MODERN, (node, str(_TYPESCRIPT / "modern.mjs")), reads=True),
        Kind(f"TypeScript SDK, {SESSIONS}", SESSIONS, (node, str(_TYPESCRIPT / "sessions.mjs"))),
    )
