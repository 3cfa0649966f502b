"""`-o FILE`: where a command writes what it has made."""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import UnsupportedOperation
from pathlib import Path
from typing import BinaryIO, NamedTuple

from broker.config import SQLITE_SCHEME
from broker.errors import UsageError
from log_debugger.terminal import Terminal

STDOUT = "-"


class Output(NamedTuple):
    """What is written to, and whether it is standard output, which then must not hold anything else."""

    write: Callable[[bytes], object]
    is_stdout: bool


def add_output_argument(parser: argparse.ArgumentParser, what: str, default: str | None = None) -> None:
    """Let `parser` take the name of what is written: `what`."""
    standard = f"{STDOUT} is standard output" + (", the default" if default == STDOUT else "")
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=default is None, default=default, help=f"{what}; {standard}"
    )


@contextmanager
def output(name: str, log: str, terminal: Terminal) -> Iterator[Output]:
    """Where to write what is made of `log`, and is to be had as `name`.

    A regular file is replaced once its successor is whole: until then, what was there stays. Links are followed. What
    is no regular file, as a pipe or a device, is written into.

    Raises:
        UsageError: there is no name, it is a directory or the log itself, or it can't be written.
    """
    if not name:
        raise UsageError(f"the path is missing behind -o; name a file, or {STDOUT} for standard output")
    there = _status(name)
    if name == STDOUT or (there is not None and _is_stdout(there, terminal)):
        yield Output(terminal.data, is_stdout=True)
        return
    if name.endswith("/") or (there is not None and stat.S_ISDIR(there.st_mode)):
        raise UsageError(f"{name} is a directory; name a file")
    if there is not None and _is_the_log(there, log):
        raise UsageError(f"{name} is the log itself; name another file")
    is_regular = there is None or stat.S_ISREG(there.st_mode)
    try:
        with _replacing(Path(os.path.realpath(name))) if is_regular else Path(name).open("wb") as file:
            yield Output(file.write, is_stdout=False)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(f"can't write {name}: {error.strerror}; {_way_out(error)}") from None


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path`, and its permissions, once it is whole."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with aside.open("wb") as file:
            with suppress(FileNotFoundError):
                shutil.copymode(path, aside)
            yield file
        aside.replace(path)
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def _way_out(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space, or name a file on another disk"
    return "name a file in a directory that is there and that you may write to"


def _status(name: str) -> os.stat_result | None:
    with suppress(OSError):
        return os.stat(name)
    return None


def _is_stdout(there: os.stat_result, terminal: Terminal) -> bool:
    """Whether it is where the answer goes, by another name."""
    try:
        return os.path.samestat(there, os.fstat(terminal.out.fileno()))
    except (OSError, UnsupportedOperation):  # closed, or none that the system knows of
        return False


def _is_the_log(there: os.stat_result, log: str) -> bool:
    found = _status(log.removeprefix(SQLITE_SCHEME))
    return found is not None and os.path.samestat(there, found)
