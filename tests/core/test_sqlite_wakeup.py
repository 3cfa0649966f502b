"""The bell by which one process tells others that it has stored something."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from events.sqlite.wakeup import Bell, bell_of, listen


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where a log would be."""
    return str(tmp_path / "chat.db")


def test_it_is_a_file_beside_the_log(path: str) -> None:
    """Of a byte, however often it is rung; only its owner may ring it, and no process that is started has it."""
    bell = Bell(path)
    assert bell_of(path) == f"{path}.wake"
    assert stat.S_IMODE(os.stat(bell_of(path)).st_mode) == 0o600
    assert bell._fd is not None
    assert not os.get_inheritable(bell._fd)
    for _ in range(3):
        bell.ring()
    assert Path(bell_of(path)).read_bytes() == b"\n"
    bell.close()


def test_a_ring_is_a_write(path: str) -> None:
    """That is what others see: the file's time is another."""
    bell = Bell(path)
    bell.ring()
    os.utime(bell_of(path), (1, 1))
    bell.ring()
    assert os.stat(bell_of(path)).st_mtime > 1
    bell.close()


def test_one_that_is_there_already_is_rung(path: str) -> None:
    """It was another broker's."""
    Path(bell_of(path)).write_bytes(b"x")
    bell = Bell(path)
    assert Path(bell_of(path)).read_bytes() == b"x"
    bell.ring()
    assert Path(bell_of(path)).read_bytes() == b"\n"
    bell.close()


def test_a_bell_that_can_not_be_is_silent(path: str) -> None:
    """It costs others time, and nobody anything else."""
    bell = Bell(f"{path}/deep")
    bell.ring()
    bell.close()


def test_one_that_can_not_be_rung_any_more_is_silent(path: str) -> None:
    """The disk has gone, say."""
    bell = Bell(path)
    assert bell._fd is not None
    os.close(bell._fd)
    bell.ring()
    bell._fd = None


def test_it_is_given_back_once(path: str) -> None:
    """By then its number may be another file's."""
    bell = Bell(path)
    fd = bell._fd
    assert fd is not None
    bell.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    with open(os.devnull) as other:
        assert other.fileno() == fd
        bell.close()
        bell.ring()
        os.fstat(fd)


def test_the_watcher_has_no_line_for_each_ring() -> None:
    """Whatever the level of the log is."""
    assert logging.getLogger("watchfiles").level == logging.WARNING
    assert logging.getLogger().level <= logging.WARNING


@pytest.mark.parametrize("end", [RuntimeError("the watcher is gone"), FileNotFoundError()])
def test_whoever_listens_hears_each_ring_until_there_is_nothing_to_hear(
    path: str, monkeypatch: pytest.MonkeyPatch, end: Exception
) -> None:
    """Of the bell alone, whatever is done to it, within 20 ms."""
    asked: list[tuple[tuple[str, ...], dict[str, object]]] = []

    async def watch(*paths: str, **how: object) -> AsyncIterator[set[object]]:
        asked.append((paths, how))
        yield set()
        yield set()
        raise end

    monkeypatch.setattr("events.sqlite.wakeup.awatch", watch)
    heard: list[int] = []
    asyncio.run(listen(path, lambda: heard.append(1)))
    assert heard == [1, 1]
    assert asked == [((f"{path}.wake",), {"watch_filter": None, "step": 10, "debounce": 20, "recursive": False})]


def test_an_error_of_the_listeners_own_is_one(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken for the end of the bell."""

    async def watch(*_: str, **__: object) -> AsyncIterator[set[object]]:
        yield set()

    def break_down() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("events.sqlite.wakeup.awatch", watch)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(listen(path, break_down))
