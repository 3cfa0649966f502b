"""What another user may put in the place of a file in a shared directory."""

from __future__ import annotations

import os
from pathlib import Path

KINDS = ("link", "dangling link", "hard link", "pipe", "directory")


def plant(kind: str, where: Path) -> Path:
    """Put something of that kind at `where`; return the file of a victim that it may lead to."""
    victim = where.with_name(f"{where.name}-victim")
    if kind in ("link", "hard link"):
        victim.write_text("precious")
    if kind == "hard link":
        os.link(victim, where)
    elif kind == "pipe":
        os.mkfifo(where)
    elif kind == "directory":
        where.mkdir()
    else:
        where.symlink_to(victim)
    return victim


def is_untouched(victim: Path) -> bool:
    """Return true if nothing was written to the victim's file, nor was one made."""
    return not victim.exists() or victim.read_text() == "precious"
