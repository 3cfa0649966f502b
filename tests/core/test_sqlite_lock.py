"""One broker a file: who has the lock, who is told so, and that neither it nor its file outlives its holder."""

from __future__ import annotations

import errno
import gc
import os
import stat
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from events.log import UnusableLogError
from events.sqlite import lock as sqlite_lock
from events.sqlite.lock import WriterLock

TAKERS, TURNS = 4, 100


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where a log would be."""
    return str(tmp_path / "chat.db")


def lock_file(path: str) -> Path:
    """What stands beside it."""
    return Path(f"{path}.lock")


def open_files() -> int:
    """How many files this process has open."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_the_second_is_told_who_the_first_is(path: str) -> None:
    """And gets it once the first has let go."""
    first = WriterLock(path, "my log")
    with pytest.raises(UnusableLogError) as told:
        WriterLock(path, "my log")
    held = f"my log is in use by another broker (process {os.getpid()})"
    assert str(told.value) == f"{held}; stop that one, or name another file"
    first.release()
    WriterLock(path, "my log").release()


def test_the_file_goes_with_the_lock(path: str) -> None:
    """Whether it was there before or not, as after a `kill -9`."""
    WriterLock(path, "my log").release()
    assert not lock_file(path).exists()
    lock_file(path).write_text("1234567890\n")
    WriterLock(path, "my log").release()
    assert not lock_file(path).exists()


def test_a_file_that_went_while_it_was_being_locked_is_no_lock(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether nobody has made another since, or somebody has: the lock is on the one that the next will find."""
    lock = sqlite_lock._lock
    meanwhile: list[Callable[[], object]] = []

    def late(fd: int) -> None:
        if meanwhile:
            meanwhile.pop()()
        lock(fd)

    monkeypatch.setattr(sqlite_lock, "_lock", late)
    meanwhile.append(WriterLock(path, "my log").release)
    third = WriterLock(path, "my log")
    with pytest.raises(UnusableLogError):
        WriterLock(path, "my log")

    def followed() -> None:
        third.release()
        WriterLock(path, "my log")

    meanwhile.append(followed)
    before = open_files()
    with pytest.raises(UnusableLogError, match="my log is in use by another broker"):
        WriterLock(path, "my log")
    assert open_files() == before


def test_nobody_removes_what_is_anothers(path: str) -> None:
    """Somebody has removed the file by hand, and a second broker was started; another may not be, once one ends."""
    first = WriterLock(path, "my log")
    lock_file(path).unlink()
    second = WriterLock(path, "my log")
    first.release()
    with pytest.raises(UnusableLogError):
        WriterLock(path, "my log")
    second.release()
    first = WriterLock(path, "my log")
    lock_file(path).unlink()
    first.release()


def test_a_file_that_can_not_be_removed_is_left(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is given back all the same."""

    def forbidden(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "unlink", forbidden)
    WriterLock(path, "my log").release()
    assert lock_file(path).exists()
    WriterLock(path, "my log").release()


def test_two_never_have_it_at_once(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many take it and let go of it, at whatever moments; threads are as far apart as processes to `flock`."""
    lock_at_once = sqlite_lock._lock
    inside: list[int] = []
    most: list[int] = []

    def lock_in_time(fd: int) -> None:
        os.sched_yield()
        lock_at_once(fd)

    def take_turns(number: int) -> None:
        turns = 0
        while turns < TURNS:
            try:
                lock = WriterLock(path, "my log")
            except UnusableLogError:
                continue
            inside.append(number)
            os.sched_yield()
            most.append(len(inside))
            inside.remove(number)
            lock.release()
            turns += 1

    monkeypatch.setattr(sqlite_lock, "_lock", lock_in_time)
    often = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(TAKERS) as takers:
            list(takers.map(take_turns, range(TAKERS)))
    finally:
        sys.setswitchinterval(often)
    assert most == [1] * TAKERS * TURNS
    assert not lock_file(path).exists()


def test_the_holder_may_be_unknown(path: str) -> None:
    """Its number is a courtesy."""
    first = WriterLock(path, "my log")
    lock_file(path).write_bytes(b"")
    with pytest.raises(UnusableLogError, match=r"in use by another broker \(process unknown\)"):
        WriterLock(path, "my log")
    lock_file(path).write_bytes(b"\xff 12\n and much more nobody wrote there")
    with pytest.raises(UnusableLogError, match=r"\(process \ufffd 12\n and much more\)"):
        WriterLock(path, "my log")
    first.release()


def test_it_says_no_more_than_whose_it_is(path: str) -> None:
    """What an earlier holder left there is gone; only its owner may look."""
    lock = WriterLock(path, "my log")
    assert stat.S_IMODE(lock_file(path).stat().st_mode) == 0o600
    lock.release()
    lock_file(path).write_text("1234567890 1234567890\n")
    lock = WriterLock(path, "my log")
    assert lock_file(path).read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_process_that_it_starts_does_not_have_it(path: str) -> None:
    """Or the lock would outlive the broker in some helper."""
    lock = WriterLock(path, "my log")
    assert not os.get_inheritable(lock._fd)
    lock.release()


def test_a_disk_that_takes_no_number_takes_a_lock(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is full, say."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    lock = WriterLock(path, "my log")
    with pytest.raises(UnusableLogError):
        WriterLock(path, "my log")
    lock.release()


def test_whoever_does_not_get_it_keeps_nothing_open(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither if another has it, nor where there are no locks; that is the system's own error."""
    first = WriterLock(path, "my log")
    before = open_files()
    with pytest.raises(UnusableLogError):
        WriterLock(path, "my log")
    assert open_files() == before
    first.release()

    def no_locks(fd: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(sqlite_lock, "_lock", no_locks)
    with pytest.raises(OSError, match="No locks available"):
        WriterLock(path, "my log")
    assert open_files() == before - 1
