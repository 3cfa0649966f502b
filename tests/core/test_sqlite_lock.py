"""One broker a file: the lock, its refusal, and its removal with the holder."""

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
from tests.support.plants import KINDS, is_untouched, plant

TAKERS, TURNS = 4, 100


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return the path of a log."""
    return str(tmp_path / "chat.db")


def lock_file(path: str) -> Path:
    """Return the path of its lock file."""
    return Path(f"{path}.lock")


def open_files() -> int:
    """Return the number of this process's open files."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_the_second_is_told_who_the_first_is(path: str) -> None:
    """A second process is refused with the holder's number, and gets the lock after the release."""
    first = WriterLock(path, "my log")
    with pytest.raises(UnusableLogError) as told:
        WriterLock(path, "my log")
    held = f"my log is in use by another broker (process {os.getpid()})"
    assert str(told.value) == f"{held}; stop that one, or name another file"
    first.release()
    WriterLock(path, "my log").release()


def test_the_file_goes_with_the_lock(path: str) -> None:
    """The release removes the file, also one left by `kill -9`."""
    WriterLock(path, "my log").release()
    assert not lock_file(path).exists()
    lock_file(path).write_text("1234567890\n")
    WriterLock(path, "my log").release()
    assert not lock_file(path).exists()


def test_a_file_that_went_while_it_was_being_locked_is_no_lock(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is removed or replaced while it is locked is locked anew."""
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
    """A holder whose file was replaced does not remove the other broker's file."""
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
    """The lock is released even if the file can't be removed."""

    def forbidden(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "unlink", forbidden)
    WriterLock(path, "my log").release()
    assert lock_file(path).exists()
    WriterLock(path, "my log").release()


def test_two_never_have_it_at_once(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While many threads lock and release at random, only one holds it at a time."""
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
    """An empty lock file gives an unknown holder."""
    first = WriterLock(path, "my log")
    lock_file(path).write_bytes(b"")
    with pytest.raises(UnusableLogError, match=r"in use by another broker \(process unknown\)"):
        WriterLock(path, "my log")
    lock_file(path).write_bytes(b"\xff 12\n and much more nobody wrote there")
    with pytest.raises(UnusableLogError, match=r"\(process \ufffd 12\n and much more\)"):
        WriterLock(path, "my log")
    first.release()


def test_it_says_no_more_than_whose_it_is(path: str) -> None:
    """The file holds only the holder's number, and is readable by its owner alone."""
    lock = WriterLock(path, "my log")
    assert stat.S_IMODE(lock_file(path).stat().st_mode) == 0o600
    lock.release()
    lock_file(path).write_text("1234567890 1234567890\n")
    lock = WriterLock(path, "my log")
    assert lock_file(path).read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_process_that_it_starts_does_not_have_it(path: str) -> None:
    """A child process does not inherit the lock."""
    lock = WriterLock(path, "my log")
    assert not os.get_inheritable(lock._fd)
    lock.release()


def test_a_disk_that_takes_no_number_takes_a_lock(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock works on a full disk."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    lock = WriterLock(path, "my log")
    with pytest.raises(UnusableLogError):
        WriterLock(path, "my log")
    lock.release()


def test_whoever_does_not_get_it_keeps_nothing_open(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused lock leaves no file open, also where locks are impossible."""
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


@pytest.mark.parametrize("kind", KINDS)
def test_what_another_user_has_put_there_is_no_lock(path: str, kind: str) -> None:
    """It is refused with its name; it stays, and its target is unchanged."""
    planted = lock_file(path)
    victim = plant(kind, planted)
    before = open_files()
    with pytest.raises(UnusableLogError) as told:
        WriterLock(path, "my log")
    assert str(told.value).startswith(f"{planted} is not a file that a broker has made, ")
    assert "\n" not in str(told.value)
    assert open_files() == before
    assert os.path.lexists(planted)
    assert is_untouched(victim)


def test_a_link_that_takes_the_place_of_the_file_is_no_lock(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a link to the locked file itself is refused."""
    lock, elsewhere = sqlite_lock._lock, Path(f"{path}-elsewhere")

    def late(fd: int) -> None:
        lock_file(path).rename(elsewhere)
        lock_file(path).symlink_to(elsewhere)
        lock(fd)

    monkeypatch.setattr(sqlite_lock, "_lock", late)
    with pytest.raises(UnusableLogError, match="is not a file that a broker has made"):
        WriterLock(path, "my log")
    assert elsewhere.read_bytes() == b""
