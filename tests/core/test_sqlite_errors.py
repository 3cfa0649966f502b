"""The texts for SQLite's errors: one line with the cause and the remedy."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import apsw
import pytest

from events.log import LogUnavailableError, UnusableLogError
from events.sqlite.errors import PAGE_BYTES, translate_errors, translate_open_errors, unreadable

LOCKED = "another process keeps it locked; find out which, and end that one"
UNOPENED = "it can't be opened; check the owners and modes of it and of its directory"
BAD_DISK = "the disk reports an error; see the system's own log"


@pytest.mark.parametrize(
    "error", [apsw.CorruptError, apsw.NotADBError, apsw.FormatError, apsw.SQLError, apsw.MismatchError]
)
def test_damage_is_for_good(error: type[apsw.Error]) -> None:
    """Damage, including failing SQL, makes the log unusable."""
    with pytest.raises(UnusableLogError) as told, translate_errors("chat.db"):
        raise error("so")
    assert str(told.value) == "chat.db is damaged (so); restore it from a backup"


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (apsw.FullError, "the disk is full; free some space"),
        (apsw.BusyError, LOCKED),
        (apsw.LockedError, LOCKED),
        (apsw.ReadOnlyError, "it can't be written; check the owners and modes of it and of its directory"),
        (apsw.PermissionsError, UNOPENED),
        (apsw.CantOpenError, UNOPENED),
        (apsw.IOError, BAD_DISK),
        (apsw.MisuseError, "so"),
    ],
)
def test_anything_else_may_be_over_the_next_time(tmp_path: Path, error: type[apsw.Error], cause: str) -> None:
    """Any other error makes the log unavailable, and opening it unusable with the same text."""
    name = str(tmp_path / "chat.db")
    with pytest.raises(LogUnavailableError) as told, translate_errors(name):
        raise error("so")
    assert str(told.value) == f"{name}: {cause}"
    with pytest.raises(UnusableLogError) as refused, translate_open_errors(name):
        raise error("so")
    assert str(refused.value) == f"{name}: {cause}"


@pytest.mark.parametrize(
    ("pages", "page_bytes", "cause"),
    [
        (0, 4_096, "the disk is full; free some space"),
        (PAGE_BYTES - 1, 1, "the disk is full; free some space"),
        (PAGE_BYTES, 1, BAD_DISK),
        (PAGE_BYTES // 4_096, 4_096, BAD_DISK),
    ],
)
def test_an_error_of_a_disk_without_space_is_that_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: int, page_bytes: int, cause: str
) -> None:
    """An I/O error on a disk with less than 32 KiB free means a full disk, also through a link."""
    (tmp_path / "far").mkdir()
    (tmp_path / "chat.db").symlink_to(tmp_path / "far" / "real.db")
    space = {str(tmp_path / "far"): SimpleNamespace(f_bavail=pages, f_frsize=page_bytes)}
    monkeypatch.setattr(os, "statvfs", space.__getitem__)
    with pytest.raises(LogUnavailableError, match=f": {cause}$"), translate_errors(str(tmp_path / "chat.db")):
        raise apsw.IOError


def test_a_disk_that_can_not_be_asked_has_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error on a disk without a known size is not called full."""

    def gone(path: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "statvfs", gone)
    with pytest.raises(LogUnavailableError, match=f": {BAD_DISK}$"), translate_errors("chat.db"):
        raise apsw.IOError


@pytest.mark.parametrize(
    ("error", "words"), [(OSError(errno.EACCES, "Permission denied"), "Permission denied"), (OSError("odd"), "odd")]
)
def test_what_the_system_refuses_is_refused_in_its_words(error: OSError, words: str) -> None:
    """A system error is refused with its own text and a remedy."""
    with pytest.raises(UnusableLogError) as told, translate_open_errors("chat.db"):
        raise error
    why = "check the owners and modes of it and of its directory, and the space on its disk"
    assert str(told.value) == f"chat.db: {words}; {why}"


def test_a_bug_stays_one() -> None:
    """Other exceptions pass through."""
    with pytest.raises(ZeroDivisionError), translate_open_errors("chat.db"):
        raise ZeroDivisionError


def test_a_commit_that_can_not_be_read_may_be_newer() -> None:
    """An unreadable commit has two remedies: a backup or a newer program."""
    told = unreadable("chat.db", 7, ValueError("so"))
    why = "restore it from a backup, or use a newer version of this program"
    assert str(told) == f"chat.db: the commit at position 7 can't be read (so); {why}"
