"""`chat-broker log trim LOG`: remove the oldest commits; a snapshot takes their place.

Safe while brokers are running: trimming takes turns with their appends. The removed commits are overwritten in a file,
and its WAL is emptied. A shared store forgets them in its own way.
"""

from __future__ import annotations

import argparse
import time
from contextlib import closing

from broker.errors import UsageError
from broker.logging import configure_logs
from broker.setting_reader import parse_duration
from broker.stores import SHARED_SCHEMES, SQLITE_SCHEME, open_log, scheme_of
from broker.verification.safe_text import printable
from events.ids import Position
from events.log import LogRolledBackError, Snapshot
from events.sqlite.file import SqliteFile
from log_debugger.reading.files import WRITTEN_LOG_HELP, check_name, is_shared, path_of
from log_debugger.reading.sources import Source, SqliteSource, state_at
from log_debugger.reading.store_source import StoreRunner, StoreSource
from log_debugger.reading.times import end_of, position_number, span
from log_debugger.telling.narrative import count
from log_debugger.terminal import Terminal
from projections.snapshots import STATE_CODEC
from projections.state import State

IN_WAL = "somebody was reading meanwhile: what went may stand in the -wal until the next checkpoint"
IN_STORE = {
    "redis": "what went may stand in the append-only file of Redis until its next rewrite (BGREWRITEAOF)",
    "postgresql": "what went may stand in the files of PostgreSQL until a vacuum, and in its archived WAL",
    "nats": "what went may stand in the files of NATS until it compacts them",
}
"""Where a trimmed commit may still be found, by the extra of a shared store."""

AHEAD_MS = 3_600_000
"""Commits dated by more than that in the future were stamped by a clock that was ahead."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.add_argument("log", metavar="LOG", help=f"{WRITTEN_LOG_HELP}; brokers may be running")
    upto = parser.add_mutually_exclusive_group(required=True)
    upto.add_argument(
        "--before", metavar="N", type=position_number, help="what stands before this position, which stays"
    )
    upto.add_argument("--older-than", metavar="TIME", help="what is older than that, as in 7d, 12h, 30m or 90s")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Trim the log and print a summary; return 0.

    Raises:
        UsageError: there is no such log or position.
    """
    check_name(options.log)
    with closing(_opened(options.log)) as source:
        base, tip = source.base.tip.position, source.tip().position
        last = _last(source, options)
        if options.before is None:
            _warn_of_future(source, tip, terminal)
        if last <= base:
            terminal.line(f"nothing to trim: {_left(base, tip)}")
            return 0
        with terminal.progress("trimming", last - base):
            state = state_at(source, last)
    configure_logs("console", "error", terminal.err)  # what a store's settings mean is for brokers to say
    what_stays = _trim(options.log, Snapshot(state.tip, state))
    terminal.line(f"trimmed {count(last - base, 'commit')}, up to position {last}; {_left(last, tip)}")
    held = _held_reports(state)
    if held:
        terminal.line(f"{count(held, 'report')} went with them whose evidence was still held (--evidence-keep-ms)")
    if what_stays is not None:
        terminal.line(what_stays)
    return 0


def _last(source: Source, options: argparse.Namespace) -> Position:
    """Return the last position to remove."""
    if options.before is not None:
        tip = source.tip().position
        if not 1 <= options.before <= tip + 1:
            raise UsageError(f"{source.name} ends at position {tip}, so --before is from 1 to {tip + 1}")
        last: Position = options.before - 1
        return last
    older_ms = parse_duration(options.older_than)
    if older_ms is None:
        raise UsageError(f"--older-than takes a time as in 7d, 12h, 30m or 90s, not {printable(options.older_than)}")
    return source.position_at(int(time.time() * 1_000) - older_ms)


def _warn_of_future(source: Source, tip: Position, terminal: Terminal) -> None:
    """Say that the newest commits are dated in the future, if they are: their age is not known."""
    ahead_ms = end_of(source, tip) - int(time.time() * 1_000)
    if ahead_ms > AHEAD_MS:
        terminal.line(
            f"the last commit is dated {span(ahead_ms)} ahead of this machine's clock: what was stamped while a clock"
            " was ahead stays until its date is old enough, or until --before names a position"
        )


def _held_reports(state: State) -> int:
    """Return the number of reports in `state` whose evidence was not to be redacted yet."""
    since_ms = int(time.time() * 1_000) - state.policy.evidence_keep_ms
    return sum(report.at_ms > since_ms for _, report in state.reports.items())


def _opened(name: str) -> Source:
    return StoreSource(name) if is_shared(name) else SqliteSource(f"{SQLITE_SCHEME}{path_of(name)}")


def _trim(name: str, snapshot: Snapshot) -> str | None:
    """Trim the log; return where a part of what went may still be found, if it may."""
    if is_shared(name):
        return _trim_store(name, snapshot)
    with closing(SqliteFile(path_of(name), "share")) as file:
        file.compact(snapshot, STATE_CODEC)
        while file.purge():
            pass
        return None if file.checkpoint() else IN_WAL


def _trim_store(url: str, snapshot: Snapshot) -> str:
    async def compact() -> None:
        log = await open_log(url, "normal")
        try:
            await log.compact(snapshot)
        finally:
            await log.close()

    store = StoreRunner(url)
    try:
        store.run(compact())
    except LogRolledBackError as error:
        raise UsageError(f"{store.name}: {error}; start again") from None
    finally:
        store.close()
    return IN_STORE[SHARED_SCHEMES[scheme_of(url)].extra]


def _left(base: Position, tip: Position) -> str:
    if tip <= base:
        return "no commits are left"
    return f"{count(tip - base, 'commit')} left, from position {base + 1} to {tip}"
