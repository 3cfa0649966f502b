"""The checks of a file's first hundred bytes, before SQLite opens it."""

from __future__ import annotations

from pathlib import Path

import pytest

from events.log import UnusableLogError
from events.sqlite.errors import RESTORE
from events.sqlite.schema import check_header, check_layout, has_wal

CHAT = 0x63686174


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a log."""
    return tmp_path / "chat.db"


def header(
    *,
    page_bytes: int = 4_096,
    pages: int = 3,
    changes: int = 0x01020304,
    valid_for: int = 0x01020304,
    version: int = 1,
    application: int = CHAT,
) -> bytes:
    """Return the first hundred bytes of a database."""
    made = bytearray(b"SQLite format 3\0".ljust(100, b"\x05"))
    made[16:18] = page_bytes.to_bytes(2, "big")
    for at, number in ((24, changes), (28, pages), (60, version), (68, application), (92, valid_for)):
        made[at : at + 4] = number.to_bytes(4, "big")
    return bytes(made)


def refusal(path: Path, content: bytes) -> str:
    """Return the text of the refusal, or nothing."""
    path.write_bytes(content)
    try:
        check_header(str(path), "my log")
    except UnusableLogError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("page_bytes", "size"), [(4_096, 12_288), (512, 1_536), (1, 196_608)])
def test_a_file_is_as_long_as_it_says(path: Path, page_bytes: int, size: int) -> None:
    """A file shorter than its header's page count is damaged; page size 1 means 65,536."""
    content = header(page_bytes=page_bytes).ljust(size + 1, b"\0")
    assert refusal(path, content) == ""
    assert refusal(path, content[:size]) == ""
    words = f"cut off: {size - 1:,} bytes of {size:,} are left"
    assert refusal(path, content[: size - 1]) == f"my log is damaged ({words}); {RESTORE}"


@pytest.mark.parametrize("valid_for", [0x01020305, 0x01020204, 0x02020304])
def test_an_older_program_may_have_left_the_length_as_it_was(path: Path, valid_for: int) -> None:
    """A page count from another change counter is ignored."""
    assert refusal(path, header(valid_for=valid_for)) == ""


def test_what_is_missing_may_stand_in_the_wal(path: Path) -> None:
    """A short file is accepted with a WAL that is not empty."""
    wal = path.with_name("chat.db-wal")
    assert not has_wal(str(path))
    assert refusal(path, header()) != ""
    wal.write_bytes(b"")
    assert not has_wal(str(path))
    assert refusal(path, header()) != ""
    wal.write_bytes(b"x")
    assert has_wal(str(path))
    assert refusal(path, header()) == ""


@pytest.mark.parametrize("application", [CHAT + 1, CHAT + 2**24, 0])
def test_another_programs_file_is_none_of_ours(path: Path, application: int) -> None:
    """Another application id is refused at any layout."""
    words = "my log is an SQLite database of another program; name another file"
    assert refusal(path, header(application=application, version=2, pages=0)) == words


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (1, ""),
        (2, "my log has layout 2, and this program knows up to 1; use a newer version"),
        (2**24, "my log has layout 16777216, and this program knows up to 1; use a newer version"),
        (0, f"my log is damaged (layout 0); {RESTORE}"),
    ],
)
def test_a_layout_is_known_or_newer_or_none(path: Path, version: int, words: str) -> None:
    """Layout 1 is accepted, a newer one refused, and 0 is damage."""
    assert refusal(path, header(version=version, pages=0)) == words


def test_a_file_begins_as_a_database_does(path: Path) -> None:
    """A file without SQLite's header of a hundred bytes is refused."""
    assert refusal(path, b"x" * 200) == "my log is no log of this program, nor any SQLite database; name another file"
    assert refusal(path, header()[:99]) == f"my log is damaged (cut off within its first bytes); {RESTORE}"
    assert refusal(path, header(pages=0)) == ""
    empty = f"my log is empty, which not even a new log is; {RESTORE}, or remove it to begin a new log"
    assert refusal(path, b"") == empty


def test_a_layout_below_the_first_is_damage() -> None:
    """A negative layout is damage."""
    with pytest.raises(UnusableLogError, match=r"^my log is damaged \(layout -1\)"):
        check_layout("my log", application_id=CHAT, version=-1)
