"""The file of refused peers: its lines, and the moments when it is read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker.addresses import parse_address
from mcp_facade.http.deny_file import DENY_FILE_BYTES_MAX, DenyFile, DenyFileError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a file with one denied address."""
    path = tmp_path / "denied.txt"
    path.write_text("192.0.2.1\n")
    return path


def denies(file: DenyFile, address: str) -> bool:
    """Tell if `address` is in the list in force."""
    parsed = parse_address(address)
    assert parsed is not None
    return parsed in file.networks


def replace(path: Path, content: str) -> None:
    """Write a new file in the place of the old one."""
    other = path.with_suffix(".new")
    other.write_text(content)
    other.replace(path)


def test_a_line_is_an_address_or_a_network(path: Path) -> None:
    """Both families are valid; comments, blank lines, line ends of any system and a byte-order mark are no matter."""
    path.write_bytes(
        b"\xef\xbb\xbf192.0.2.1\r\n\r\n# all of it: 0.0.0.0/0\n  10.0.0.0/8\t# office\r2001:DB8::/32\n"
        b"::ffff:198.51.100.0/120\n2001:db9::1"
    )
    file = DenyFile(path)
    assert len(file.networks) == 5
    for address in ("192.0.2.1", "10.255.0.1", "2001:db8:ffff::1", "198.51.100.9", "::ffff:192.0.2.1", "2001:db9::1"):
        assert denies(file, address), address
    for address in ("192.0.2.2", "11.0.0.1", "2001:db9::2", "198.51.101.9", "::1", "::a00:1"):
        assert not denies(file, address), address


@pytest.mark.parametrize(("network", "denied", "other"), [("0.0.0.0/0", "9.9.9.9", "::1"), ("::/0", "::1", "9.9.9.9")])
def test_all_of_a_family_is_a_network(path: Path, network: str, denied: str, other: str) -> None:
    """It holds nothing of the other family."""
    path.write_text(network)
    file = DenyFile(path)
    assert denies(file, denied)
    assert not denies(file, other)


def test_an_empty_file_denies_no_one(path: Path) -> None:
    """An operator can begin with it."""
    path.write_text("# nobody yet\n")
    assert len(DenyFile(path).networks) == 0


@pytest.mark.parametrize(
    "line",
    [
        *("evil.example", "10.0.0.1/8", "10.0.0.0/33", "192.0.2.1, 192.0.2.2", "192.0.2.1:80", "[::1]", "fe80::1%eth0"),
        *("192.0.2.1 192.0.2.2", "10", "deny 192.0.2.1", "\x00", "192.0.2.1\x0b192.0.2.2", "\udcff", "١.1.1.1"),
    ],
)
def test_an_invalid_line_is_named_by_its_number(path: Path, line: str) -> None:
    """Its content is not repeated."""
    path.write_bytes(f"# a comment\n192.0.2.1\n{line}\n".encode("utf-8", "surrogateescape"))
    with pytest.raises(DenyFileError) as raised:
        DenyFile(path)
    assert str(raised.value) == "line 3 is not an address or a network, as in 192.0.2.7 or 2001:db8::/32"


def test_a_file_that_cannot_be_read_is_refused(path: Path, tmp_path: Path) -> None:
    """Refused are a missing file, a folder, a pipe (which might never be written to), and an endless one."""
    reasons = {}
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "big").write_bytes(b"\n" * (DENY_FILE_BYTES_MAX + 1))
    for name in ("missing", ".", "pipe", "big"):
        with pytest.raises(DenyFileError) as raised:
            DenyFile(tmp_path / name)
        reasons[name] = str(raised.value).removeprefix("the file can't be read: ")
    assert reasons == {
        "missing": "No such file or directory",
        ".": "it is not a regular file",
        "pipe": "it is not a regular file",
        "big": "it has more than 4194304 bytes",
    }


def test_only_a_change_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unchanged file is not opened again."""
    file = DenyFile(path)
    monkeypatch.setattr("builtins.open", None)
    assert not file.refresh()


def test_a_file_that_is_edited_or_replaced_is_read_again(path: Path) -> None:
    """It is read even if its size and its time stay the same, as after a tool that sets the time."""
    file, status = DenyFile(path), path.stat()
    path.write_text("192.0.2.1\n192.0.2.2\n")
    assert file.refresh()
    assert denies(file, "192.0.2.2")
    replace(path, "192.0.2.3\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file.refresh()
    assert denies(file, "192.0.2.3")
    assert not denies(file, "192.0.2.1")
    assert not file.refresh()


def test_a_bad_version_leaves_the_last_good_list(path: Path) -> None:
    """It is logged once for each version; a good one is taken after it."""
    file = DenyFile(path)
    for content in ("192.0.2.2\nnonsense\n", "nonsense\n"):
        replace(path, content)
        with pytest.raises(DenyFileError, match="line"):
            file.refresh()
        assert not file.refresh()
        assert denies(file, "192.0.2.1")
        assert not denies(file, "192.0.2.2")
    replace(path, "192.0.2.3")
    assert file.refresh()
    assert denies(file, "192.0.2.3")


def test_a_missing_file_leaves_the_last_good_list(path: Path) -> None:
    """Each loss is logged once; the same file may come back, or another."""
    file, aside = DenyFile(path), path.with_suffix(".aside")
    for _ in range(2):
        path.rename(aside)
        with pytest.raises(DenyFileError, match="No such file"):
            file.refresh()
        assert not file.refresh()
        assert denies(file, "192.0.2.1")
        aside.rename(path)
        file.refresh()
        assert denies(file, "192.0.2.1")
    path.unlink()
    with pytest.raises(DenyFileError):
        file.refresh()
    path.write_text("192.0.2.2")
    assert file.refresh()
    assert denies(file, "192.0.2.2")
