"""The file of `--deny-peers`: one address or network a line, read again when it changes.

`#` begins a comment, and blank lines are allowed. An IPv4-mapped IPv6 network is the IPv4 network.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable

from broker.addresses import IPNetwork, parse_network
from broker.networks import NetworkSet

DENY_FILE_BYTES_MAX = 4_194_304
"""Limit of the file: some 250,000 lines."""

_Stamp = tuple[int, int, int, int, int]


class DenyFileError(Exception):
    """The file can't be used. The text names the number of an invalid line, and never its content."""


class DenyFile:
    """The networks of one file, as of its last version that could be used."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read `path`.

        Raises:
            DenyFileError: it can't be read, or a line is invalid.
        """
        self.networks = NetworkSet()
        self._path = path
        self._stamp: _Stamp | None = None  # of the version last read, valid or not
        self._fault: str | None = None  # the reason why the last look found nothing to read
        self.refresh()

    def refresh(self) -> bool:
        """Read the file if it has changed; return whether `networks` is new. It may block: call it in a thread.

        Raises:
            DenyFileError: the new version can't be used, and `networks` stays. It is raised once for each version, and
                once while the file can't be read.
        """
        try:
            content = self._changed_content()
        except OSError as error:
            fault, known = error.strerror or "unknown error", self._fault
            self._fault = fault
            if fault == known:
                return False
            raise DenyFileError(f"the file can't be read: {fault}") from None
        self._fault = None
        if content is None:
            return False
        self.networks = NetworkSet(_networks_in(content))
        return True

    def _changed_content(self) -> bytes | None:
        """Return the file's content; `None` if it is the version that was read last.

        Raises:
            OSError: it can't be read; also if it is no regular file, or too big.
        """
        status = os.stat(self._path)
        if not stat.S_ISREG(status.st_mode):  # to open a pipe might block for ever
            raise OSError(errno.EINVAL, "it is not a regular file")
        if status.st_size > DENY_FILE_BYTES_MAX:
            raise OSError(errno.EFBIG, f"it has more than {DENY_FILE_BYTES_MAX} bytes")
        if _stamp_of(status) == self._stamp:
            return None
        with open(self._path, "rb") as file:
            stamp = _stamp_of(os.fstat(file.fileno()))  # before the content, so no later change is missed
            content = file.read(DENY_FILE_BYTES_MAX)
        self._stamp = stamp
        return content


def _stamp_of(status: os.stat_result) -> _Stamp:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _networks_in(content: bytes) -> Iterable[IPNetwork]:
    """Yield the networks of a file.

    Raises:
        DenyFileError: a line is invalid.
    """
    text = content.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n")
    for number, line in enumerate(text.split("\n"), 1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        network = parse_network(entry)
        if network is None:
            raise DenyFileError(f"line {number} is not an address or a network, as in 192.0.2.7 or 2001:db8::/32")
        yield network
