"""From a setting to the log that it names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from broker.settings import MEMORY_URL, SQLITE_SCHEME, Settings
from events.log import EventLog
from events.memory import MemoryLog

SYNCHRONOUS: Mapping[str, Literal["FULL", "NORMAL"]] = {"full": "FULL", "normal": "NORMAL"}


def open_log(settings: Settings) -> EventLog:
    """The log that `settings`, whose URL has been checked, names; a file that is not there is made.

    Raises:
        UnusableLogError: it can't be used, and was left as it was.
    """
    if settings.log == MEMORY_URL:
        return MemoryLog()
    from events.sqlite.log import SqliteLog
    from projections.snapshots import STATE_CODEC

    path = settings.log.removeprefix(SQLITE_SCHEME)
    return SqliteLog(path, STATE_CODEC, synchronous=SYNCHRONOUS[settings.log_synchronous])


def commits_kept(settings: Settings) -> int | None:
    """How many commits the log may hold; `None` where it may hold all of them."""
    return settings.policy.log_commits_max if settings.log == MEMORY_URL else None
