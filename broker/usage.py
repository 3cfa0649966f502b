"""What is wrong with how the program was called."""

from __future__ import annotations


class UsageError(Exception):
    """What was asked for can't be done; its text is one line that says what to change."""
