"""Things that another user may put in the place of a file in a shared directory."""

from __future__ import annotations

import os
from pathlib import Path

KINDS = ("link", "dangling link", "hard link", "pipe", "directory")


def plant(kind: str, where: Path) -> Path:
    """Put a thing of this kind at `where`; return the victim's file behind it."""
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
    """Return true if the victim's file was neither written nor made."""
    return not victim.exists() or victim.read_text() == "precious"
