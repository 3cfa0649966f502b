"""What is wrong with how the program was called, and what it exits with."""

from __future__ import annotations

EXIT_OK, EXIT_USAGE, EXIT_INTERRUPTED = 0, 2, 130

HOW_FAR = "restore a copy of the log, or see how far it holds with chat-broker verify"
"""What to do about a log that does not say what it said before."""


class UsageError(Exception):
    """What was asked for can't be done; its text is one line that says what to change."""
