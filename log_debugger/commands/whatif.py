"""`chat-broker whatif LOG --matching RULE`: compare a log with a counterfactual run under another matching."""

from __future__ import annotations

import argparse
import re

from broker.errors import UsageError
from broker.matching import MATCHINGS, Matching
from broker.own_matching import import_matching
from broker.verification.safe_text import printable
from log_debugger.reading.dumps import LOG_HELP
from log_debugger.reading.short_names import names_of
from log_debugger.reading.sources import open_source
from log_debugger.terminal import Terminal, ascii_json
from log_debugger.whatif.comparison import compare
from log_debugger.whatif.comparison_text import comparison_lines
from log_debugger.whatif.counterfactual import Rule

DIGITS_MAX = 15

_PATH = re.compile(r"(?P<module>\w+(?:\.\w+)*)[:.](?P<function>\w+)", re.ASCII)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.add_argument("log", metavar="LOG", help=LOG_HELP)
    rule = f"{', '.join(MATCHINGS)}, or a broker.matching.Matching of yours, as package.module:function"
    parser.add_argument("--matching", metavar="RULE", required=True, help=rule)
    patience = "for how long someone holds out for a shared interest (default: the log's)"
    parser.add_argument("--patience-ms", metavar="N", help=patience)
    parser.add_argument("--json", action="store_true", help="all of it, as one JSON object")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print the comparison; return 0.

    Raises:
        UsageError: there is no such log or matching, or the matching failed.
    """
    rule = rule_of(options.matching, _patience_ms(options.patience_ms))
    source = open_source(options.log)
    try:
        with terminal.progress("deciding again", source.tip().position - source.base.tip.position) as advance:
            comparison = compare(source, rule, advance)
        for line in [ascii_json(comparison)] if options.json else comparison_lines(comparison, names_of(source)):
            terminal.line(line)
    finally:
        source.close()
    return 0


def rule_of(name: str, patience_ms: int | None = None) -> Rule:
    """Return the rule for `--matching` and `--patience-ms`.

    Args:
        name: a key of `MATCHINGS`, or `package.module:function`.
        patience_ms: the time to hold out for a shared interest; `None` is the log's policy.

    Raises:
        UsageError: there is no such matching, or it has no patience to set.
    """
    for known, matching in MATCHINGS.items():
        if known == name:
            if known == "first-come" and patience_ms is not None:
                raise UsageError("under --matching first-come nobody holds out: leave --patience-ms out")
            return Rule(name, matching, known != "first-come", patience_ms)
    return Rule(name, _imported(name), has_patience=True, patience_ms=patience_ms)


def _imported(name: str) -> Matching:
    path = _PATH.fullmatch(name)
    if path is None:
        known = ", ".join(MATCHINGS)
        raise UsageError(f"--matching is one of {known}, or package.module:function, not {printable(name)}")
    return import_matching(f"{path['module']}:{path['function']}")


def _patience_ms(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX and int(text)):
        raise UsageError(f"--patience-ms must be a whole number of at least 1, not {printable(text)}")
    return int(text)
