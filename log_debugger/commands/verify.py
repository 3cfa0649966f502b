"""`chat-broker verify LOG`: check every promise at every position, and print the first violation."""

from __future__ import annotations

import argparse
import re

from broker.verification.checking import PROMISES, CheckResult, check_log
from broker.verification.faults import ViolationReport
from broker.verification.safe_text import safe
from events.codec import UnreadableCommitError
from events.commit import BrokenChainError
from log_debugger.reading.dumps import LOG_HELP
from log_debugger.reading.sources import open_source
from log_debugger.terminal import Terminal

EXIT_SOUND, EXIT_BROKEN = 0, 1

_SOME_OF_IT_IS_A_LOG = re.compile(r": a line behind commit (?!0)[0-9]+ is empty")
"""The error for a dump with an empty line, found on opening it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.add_argument("log", metavar="LOG", help=LOG_HELP)


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Check the log.

    Returns:
        The exit status: 0 if every promise holds, else 1.

    Raises:
        UsageError: the log can't be opened.
    """
    try:
        source = open_source(options.log)
    except (BrokenChainError, UnreadableCommitError) as error:
        if isinstance(error, UnreadableCommitError) and not _SOME_OF_IT_IS_A_LOG.search(str(error)):
            raise  # no log at all, rather than a broken one
        terminal.line(f"promise 5 is broken: {safe(str(error))}")
        terminal.line(f"  {PROMISES[5]}")
        return EXIT_BROKEN
    try:
        total = source.tip().position - source.base.tip.position
        with terminal.progress("checking", total) as advance:
            verdict = check_log(source, advance)
    finally:
        source.close()
    return _print_verdict(verdict, terminal)


def _print_verdict(verdict: CheckResult, terminal: Terminal) -> int:
    if verdict.fault is None:
        terminal.line(
            f"every promise holds: {verdict.commits:,} commits, "
            f"position {verdict.tip.position}, digest {verdict.digest}"
        )
        return EXIT_SOUND
    _print_fault(verdict.fault, terminal)
    return EXIT_BROKEN


def _print_fault(fault: ViolationReport, terminal: Terminal) -> None:
    terminal.line(str(fault.violation))
    terminal.line(f"  {PROMISES[fault.violation.promise]}")
    for line in fault.evidence:
        terminal.line(f"  {line}")
    if any(line.startswith(("-", "+")) for line in fault.evidence):
        terminal.line("  (- is stored, + is what deciding again gives)")
