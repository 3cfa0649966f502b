"""Names of logs for the commands that write to one: a file, or a shared store."""

from __future__ import annotations

from pathlib import Path

from broker.errors import UsageError
from broker.stores import MEMORY_URL, SHARED_SCHEMES, SQLITE_SCHEME, scheme_of, without_password
from broker.verification.safe_text import printable
from log_debugger.reading.sources import LASTING, SQLITE_MAGIC

WRITTEN_LOG_HELP = "sqlite:PATH, or a shared store's URL (redis://HOST, postgresql://HOST/DATABASE, nats://HOST)"


def check_name(name: str) -> None:
    """Check that `name` is that of a log that can be written to.

    Raises:
        UsageError: it names something else.
    """
    if not is_shared(name):
        path_of(name)


def is_shared(name: str) -> bool:
    """Return true if `name` is the URL of a shared store."""
    return scheme_of(name) in SHARED_SCHEMES


def path_of(name: str) -> str:
    """Return the path of the log file `name`: `sqlite:PATH`, or the path of an existing broker's file.

    Raises:
        UsageError: it names something else.
    """
    if name == MEMORY_URL:
        raise UsageError(f"a log in memory is its broker's alone; name one that lasts: {LASTING}")
    path = name.removeprefix(SQLITE_SCHEME)
    if not path:
        raise UsageError(f"the path is missing in {printable(name)}; name the log as {LASTING}")
    if path == name and not _is_sqlite(path):
        raise UsageError(_what_to_name(name))
    return path


def _what_to_name(name: str) -> str:
    if Path(name).exists():
        return f"{name} is no broker's file; one is made of a dump by chat-broker log load sqlite:PATH < DUMP"
    if ":" in name:
        return f"{without_password(name)} is no log that can be written; name {LASTING}"
    return f"a log in a file is named as sqlite:PATH; write {SQLITE_SCHEME}{name}"


def _is_sqlite(path: str) -> bool:
    try:
        with Path(path).open("rb") as file:
            return file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC
    except OSError:
        return False
