"""What is wrong with how the program was called, and what it exits with."""

from __future__ import annotations

EXIT_OK, EXIT_USAGE, EXIT_INTERRUPTED = 0, 2, 130


class UsageError(Exception):
    """What was asked for can't be done; its text is one line that says what to change."""
