"""Wake-ups from one process to others after an append."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from events.sqlite.wakeup import Wakeup, wakeup_path, watch


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where a log would be."""
    return str(tmp_path / "chat.db")


def test_it_is_a_file_beside_the_log(path: str) -> None:
    """Of a byte, however often it is rung; only its owner may ring it, and no process that is started has it."""
    wakeup = Wakeup(path)
    assert wakeup_path(path) == f"{path}.wake"
    assert stat.S_IMODE(os.stat(wakeup_path(path)).st_mode) == 0o600
    assert wakeup._fd is not None
    assert not os.get_inheritable(wakeup._fd)
    for _ in range(3):
        wakeup.notify()
    assert Path(wakeup_path(path)).read_bytes() == b"\n"
    wakeup.close()


def test_a_ring_is_a_write(path: str) -> None:
    """That is what others see: the file's time is another."""
    wakeup = Wakeup(path)
    wakeup.notify()
    os.utime(wakeup_path(path), (1, 1))
    wakeup.notify()
    assert os.stat(wakeup_path(path)).st_mtime > 1
    wakeup.close()


def test_one_that_is_there_already_is_rung(path: str) -> None:
    """It was another broker's."""
    Path(wakeup_path(path)).write_bytes(b"x")
    wakeup = Wakeup(path)
    assert Path(wakeup_path(path)).read_bytes() == b"x"
    wakeup.notify()
    assert Path(wakeup_path(path)).read_bytes() == b"\n"
    wakeup.close()


def test_a_bell_that_can_not_be_is_silent(path: str) -> None:
    """It costs others time, and nobody anything else."""
    wakeup = Wakeup(f"{path}/deep")
    wakeup.notify()
    wakeup.close()


def test_one_that_can_not_be_rung_any_more_is_silent(path: str) -> None:
    """The disk has gone, say."""
    wakeup = Wakeup(path)
    assert wakeup._fd is not None
    os.close(wakeup._fd)
    wakeup.notify()
    wakeup._fd = None


def test_it_is_given_back_once(path: str) -> None:
    """By then its number may be another file's."""
    wakeup = Wakeup(path)
    fd = wakeup._fd
    assert fd is not None
    wakeup.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    with open(os.devnull) as other:
        assert other.fileno() == fd
        wakeup.close()
        wakeup.notify()
        os.fstat(fd)


def test_the_watcher_has_no_line_for_each_ring() -> None:
    """Whatever the level of the log is."""
    assert logging.getLogger("watchfiles").level == logging.WARNING
    assert logging.getLogger().level <= logging.WARNING


@pytest.mark.parametrize("end", [RuntimeError("the watcher is gone"), FileNotFoundError()])
def test_whoever_listens_hears_each_ring_until_there_is_nothing_to_hear(
    path: str, monkeypatch: pytest.MonkeyPatch, end: Exception
) -> None:
    """Of the wakeup alone, whatever is done to it, within 20 ms."""
    asked: list[tuple[tuple[str, ...], dict[str, object]]] = []

    async def fake_awatch(*paths: str, **how: object) -> AsyncIterator[set[object]]:
        asked.append((paths, how))
        yield set()
        yield set()
        raise end

    monkeypatch.setattr("events.sqlite.wakeup.awatch", fake_awatch)
    heard: list[int] = []
    asyncio.run(watch(path, lambda: heard.append(1)))
    assert heard == [1, 1]
    assert asked == [((f"{path}.wake",), {"watch_filter": None, "step": 10, "debounce": 20, "recursive": False})]


def test_an_error_of_the_listeners_own_is_one(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken for the end of the wakeup."""

    async def fake_awatch(*_: str, **__: object) -> AsyncIterator[set[object]]:
        yield set()

    def break_down() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("events.sqlite.wakeup.awatch", fake_awatch)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(watch(path, break_down))
