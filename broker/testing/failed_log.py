"""The log of a failing run, as a dump for `chat-broker report` and the other commands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hypothesis.configuration import storage_directory

from events.codec import encode_commit
from events.commit import Commit

DIRECTORY = "chat-broker"
"""The directory in Hypothesis's own, which is `.hypothesis` unless it is set."""


def write_failed_log(machine: type, commits: Sequence[Commit]) -> Path | None:
    """Write `commits` as the newest failure of `machine`; `None` if there are none, or they can't be written."""
    if not commits:
        return None
    try:
        lines = [encode_commit(commit) + b"\n" for commit in commits]
        directory = storage_directory(DIRECTORY)
        directory.path.mkdir(parents=True, exist_ok=True)
        path = directory.path / f"{machine.__module__}.{machine.__qualname__}.jsonl".replace("<locals>.", "")
        path.write_bytes(b"".join(lines))
    except (OSError, TypeError, ValueError):  # a system under test may store anything
        return None
    relative = os.path.relpath(path)
    return Path(relative) if not relative.startswith(os.pardir) else path
