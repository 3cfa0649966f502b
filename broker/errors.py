"""Usage errors and exit codes of the program."""

from __future__ import annotations

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

HOW_FAR = "restore a copy of the log, or see how far it holds with chat-broker verify"
"""Advice on a log that does not say what it said before."""


class UsageError(Exception):
    """A request that can't be carried out; the text is one line and says what to change."""


class LogGivenUpError(Exception):
    """A broker ends by itself, since its shared log is lost to it; the text is one line. A new start may go well."""


class StartFailedError(Exception):
    """A broker could not start, for no reason that an operator is known to mend; the text is one line."""
