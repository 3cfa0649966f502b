"""Names of log files for the commands that write to one."""

from __future__ import annotations

from pathlib import Path

from broker.errors import UsageError
from broker.stores import MEMORY_URL, SQLITE_SCHEME
from broker.verification.safe_text import printable
from log_debugger.reading.sources import SQLITE_MAGIC


def path_of(name: str) -> str:
    """Return the path of the log file `name`: `sqlite:PATH`, or the path of an existing broker's file.

    Raises:
        UsageError: it names something else.
    """
    if name == MEMORY_URL:
        raise UsageError("a log in memory is its broker's alone; name one in a file, as sqlite:PATH")
    path = name.removeprefix(SQLITE_SCHEME)
    if not path:
        raise UsageError(f"the path is missing in {printable(name)}; name the log as sqlite:PATH")
    if path == name and not _is_sqlite(path):
        raise UsageError(_what_to_name(name))
    return path


def _what_to_name(name: str) -> str:
    if Path(name).exists():
        return f"{name} is no broker's file; one is made of a dump by chat-broker log load sqlite:PATH < DUMP"
    if ":" in name:
        return f"{name} is no log in a file; name one as sqlite:PATH"
    return f"a log in a file is named as sqlite:PATH; write {SQLITE_SCHEME}{name}"


def _is_sqlite(path: str) -> bool:
    try:
        with Path(path).open("rb") as file:
            return file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC
    except OSError:
        return False
