"""The argument `-o FILE`, and the file for a command's output."""

from __future__ import annotations

import argparse
import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import UnsupportedOperation
from pathlib import Path
from typing import BinaryIO, NamedTuple

from broker.errors import UsageError
from broker.stores import SQLITE_SCHEME
from log_debugger.terminal import Terminal

STDOUT = "-"


class Output(NamedTuple):
    """A destination; `is_stdout` means that nothing else may be written to standard output."""

    write: Callable[[bytes], object]
    is_stdout: bool


def add_output_argument(parser: argparse.ArgumentParser, what: str, default: str | None = None) -> None:
    """Add `-o` to `parser`; `what` describes the output."""
    standard = f"{STDOUT} is standard output" + (", the default" if default == STDOUT else "")
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=default is None, default=default, help=f"{what}; {standard}"
    )


@contextmanager
def output(name: str, log: str, terminal: Terminal, option: str = "-o") -> Iterator[Output]:
    """Open `name`, as `option` gave it, for writing a command's output; refuse if it is `log` itself.

    A regular file is replaced once the new one is complete. Until then, the old one stays. The new one is its owner's
    alone, as the log is, whatever the old one was. The user's own links are followed. A pipe or a device is written
    into.

    Raises:
        UsageError: `name` is empty, a directory, the log itself, or put there by another user, or can't be written.
    """
    if not name:
        raise UsageError(f"the path is missing behind {option}; name a file, or {STDOUT} for standard output")
    there = _status(name)
    if name == STDOUT or (there is not None and _is_stdout(there, terminal)):
        yield Output(terminal.data, is_stdout=True)
        return
    if name.endswith("/") or (there is not None and stat.S_ISDIR(there.st_mode)):
        raise UsageError(f"{name} is a directory; name a file")
    if there is not None and _is_the_log(there, log):
        raise UsageError(f"{name} is the log itself; name another file")
    is_regular = there is None or stat.S_ISREG(there.st_mode)
    if _is_planted(name):
        raise UsageError(f"{name} is a link or a pipe of another user; name another file")
    try:
        with _replacing(Path(os.path.realpath(name))) if is_regular else Path(name).open("wb") as file:
            yield Output(file.write, is_stdout=False)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(f"can't write {name}: {error.strerror}; {_way_out(error)}") from None


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file, readable by its owner alone; on success it replaces `path`."""
    fd, aside = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)  # new, and 0600 whatever the umask
    try:
        with open(fd, "wb") as file:
            yield file
        os.replace(aside, path)
    finally:
        with suppress(OSError):
            os.unlink(aside)


def _way_out(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space, or name a file on another disk"
    return "name a file in a directory that is there and that you may write to"


def _is_planted(name: str) -> bool:
    """Return `True` if another user has put a link or a pipe there, to have the output elsewhere."""
    with suppress(OSError):
        found = os.lstat(name)
        if stat.S_ISLNK(found.st_mode) or stat.S_ISFIFO(found.st_mode):
            return found.st_uid not in (os.geteuid(), 0)
    return False


def _status(name: str) -> os.stat_result | None:
    with suppress(OSError):
        return os.stat(name)
    return None


def _is_stdout(there: os.stat_result, terminal: Terminal) -> bool:
    """Return `True` if the file is standard output under another name."""
    try:
        return os.path.samestat(there, os.fstat(terminal.out.fileno()))
    except (OSError, UnsupportedOperation):  # closed, or without a file descriptor
        return False


def _is_the_log(there: os.stat_result, log: str) -> bool:
    found = _status(log.removeprefix(SQLITE_SCHEME))
    return found is not None and os.path.samestat(there, found)
