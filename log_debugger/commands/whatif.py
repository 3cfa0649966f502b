"""`chat-broker whatif LOG`: compare a log with a counterfactual run: without some commits, or under another policy."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing

from broker.errors import UsageError
from broker.matching import MATCHINGS
from broker.setting_reader import whole_number
from broker.verification.safe_text import printable
from events.ids import Position
from log_debugger.reading.dumps import LOG_HELP
from log_debugger.reading.short_names import names_of
from log_debugger.reading.sources import Source, check_position, open_source
from log_debugger.reading.times import POSITION_HELP, position_of, span_of, start_of
from log_debugger.terminal import Terminal, ascii_json
from log_debugger.whatif.changes import Changes, find_commit, parse_matching, parse_policy_field
from log_debugger.whatif.comparison import compare
from log_debugger.whatif.comparison_text import comparison_lines

NOTHING_CHANGED = (
    "say what would have been different: another --matching, --policy NAME=VALUE, --patience-ms N, --without COMMIT, "
    "or --from and --to, which decide a part of the log again"
)
_PATIENCE = "interest_patience_ms"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.add_argument("log", metavar="LOG", help=LOG_HELP)
    rule = f"{', '.join(MATCHINGS)}, or a broker.matching.Matching of yours, as package.module:function"
    parser.add_argument("--matching", metavar="RULE", help=rule)
    policy = "any field of the policy, in every period of the log, as in messages_per_10s_max=5; may be repeated"
    parser.add_argument("--policy", metavar="NAME=VALUE", action="append", default=[], help=policy)
    patience = f"for how long someone holds out for a shared interest: short for --policy {_PATIENCE}=N"
    parser.add_argument("--patience-ms", metavar="N", help=patience)
    without = "a commit that did not happen: its position, or the beginning of its id; may be repeated"
    parser.add_argument("--without", metavar="COMMIT", action="append", default=[], help=without)
    parser.add_argument("--from", metavar="N", dest="start", help=f"begin with the log's state at {POSITION_HELP}")
    parser.add_argument("--to", metavar="M", help="end there, at a position or a time after it")
    parser.add_argument("--json", action="store_true", help="all of it, as one JSON object")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print the comparison; return 0.

    Raises:
        UsageError: there is no such log, matching, policy, commit or position, or the matching failed.
    """
    if not (_changes_policy(options) or options.without or options.start or options.to):
        raise UsageError(NOTHING_CHANGED)
    changes = changes_of(options.matching, options.policy, options.patience_ms)
    with closing(open_source(options.log)) as source:
        after, last = _window(source, options.start, options.to)
        without = _positions(source, options.without, after, last)
        changes = Changes(changes.policy, changes.matching, without)
        with terminal.progress("deciding again", last - after) as advance:
            comparison = compare(source, changes, after, last, advance)
        if options.json:
            terminal.line(ascii_json(comparison))
            return 0
        for line in comparison_lines(comparison, names_of(source), start_of(source)):
            terminal.line(line)
    return 0


def changes_of(matching: str | None, policy: Sequence[str] = (), patience_ms: str | None = None) -> Changes:
    """Return the changes for `--matching`, `--policy` and `--patience-ms`.

    Raises:
        UsageError: one can't be understood, or a field is given twice.
    """
    given = [parse_policy_field(text) for text in policy]
    if matching is not None:
        given.append(("matching", matching))
    if patience_ms is not None:
        given.append((_PATIENCE, _patience_ms(patience_ms)))
    fields = dict(given)
    if len(fields) < len(given):
        twice = next(name for number, (name, _) in enumerate(given) if name in dict(given[:number]))
        raise UsageError(f"{twice} is given twice: leave one of them out")
    function = None
    if "matching" in fields:
        fields["matching"], function = parse_matching(str(fields["matching"]))
    if fields.get("matching") == "first-come" and patience_ms is not None:
        raise UsageError("under --matching first-come nobody holds out: leave --patience-ms out")
    return Changes(fields, function)


def _changes_policy(options: argparse.Namespace) -> bool:
    return options.matching is not None or options.patience_ms is not None or bool(options.policy)


def _window(source: Source, start: str | None, end: str | None) -> tuple[Position, Position]:
    """Return the position to begin after, and that of the last commit."""
    asked = [
        position_of(text, lambda: span_of(source), source.position_at) if text is not None else default.position
        for text, default in ((start, source.base.tip), (end, source.tip()))
    ]
    for position in asked:
        check_position(source, position)
    after, last = asked
    if after >= last and (start is not None or end is not None):
        raise UsageError(
            f"there are no commits after position {after} up to {last}: --from has to be before --to, with one between"
        )
    return after, last


def _positions(source: Source, commits: Sequence[str], after: Position, last: Position) -> frozenset[Position]:
    positions = frozenset(find_commit(source, text) for text in commits)
    for position in sorted(positions):
        if not after < position <= last:
            why = (
                "and is part of the state that the run begins with" if position <= after else "where the run has ended"
            )
            side = f"not after --from, position {after}," if position <= after else f"after --to, position {last},"
            raise UsageError(f"--without: the commit at position {position} is {side} {why}")
    return positions


def _patience_ms(text: str) -> int:
    found = whole_number(text)
    if not found:
        raise UsageError(f"--patience-ms must be a whole number of at least 1, not {printable(text)}")
    return found
