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
from tests.support.plants import KINDS, is_untouched, plant


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return the path of a log."""
    return str(tmp_path / "chat.db")


def test_it_is_a_file_beside_the_log(path: str) -> None:
    """The file has one byte after any number of wake-ups, is its owner's alone, and is not inherited."""
    wakeup = Wakeup(path)
    assert wakeup_path(path) == f"{path}.wake"
    assert stat.S_IMODE(os.stat(wakeup_path(path)).st_mode) == 0o600
    assert wakeup._fd is not None
    assert not os.get_inheritable(wakeup._fd)
    for _ in range(3):
        wakeup.notify()
    assert Path(wakeup_path(path)).read_bytes() == b"\n"
    wakeup.close()


def test_a_wakeup_is_a_write(path: str) -> None:
    """Each wake-up changes the file's time."""
    wakeup = Wakeup(path)
    wakeup.notify()
    os.utime(wakeup_path(path), (1, 1))
    wakeup.notify()
    assert os.stat(wakeup_path(path)).st_mtime > 1
    wakeup.close()


def test_an_existing_file_is_used(path: str) -> None:
    """An existing file of another broker is reused."""
    Path(wakeup_path(path)).write_bytes(b"x")
    wakeup = Wakeup(path)
    assert Path(wakeup_path(path)).read_bytes() == b"x"
    wakeup.notify()
    assert Path(wakeup_path(path)).read_bytes() == b"\n"
    wakeup.close()


@pytest.mark.parametrize("kind", KINDS)
def test_what_another_user_has_put_there_is_not_written_to(path: str, kind: str) -> None:
    """Nor waited for: there are no wake-ups then, and followers poll."""
    victim = plant(kind, Path(wakeup_path(path)))
    wakeup = Wakeup(path)
    wakeup.notify()
    wakeup.close()
    assert is_untouched(victim)


def test_a_file_that_can_not_be_made_is_no_error(path: str) -> None:
    """A file that can't be made is no error."""
    wakeup = Wakeup(f"{path}/deep")
    wakeup.notify()
    wakeup.close()


def test_a_file_that_can_not_be_written_is_no_error(path: str) -> None:
    """A file that can't be written any more is no error."""
    wakeup = Wakeup(path)
    assert wakeup._fd is not None
    os.close(wakeup._fd)
    wakeup.notify()
    wakeup._fd = None


def test_it_is_given_back_once(path: str) -> None:
    """Closing twice closes the descriptor once."""
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


def test_the_watcher_logs_no_line_for_each_wakeup() -> None:
    """`watchfiles` logs nothing below warnings."""
    assert logging.getLogger("watchfiles").level == logging.WARNING
    assert logging.getLogger().level <= logging.WARNING


@pytest.mark.parametrize("end", [RuntimeError("the watcher is gone"), FileNotFoundError()])
def test_a_watcher_is_called_for_each_wakeup_until_the_watch_ends(
    path: str, monkeypatch: pytest.MonkeyPatch, end: Exception
) -> None:
    """A watcher is called for each wake-up within 20 ms, until the watch ends or fails."""
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


def test_an_error_of_the_callback_is_raised(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the callback is raised."""

    async def fake_awatch(*_: str, **__: object) -> AsyncIterator[set[object]]:
        yield set()

    def break_down() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("events.sqlite.wakeup.awatch", fake_awatch)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(watch(path, break_down))
