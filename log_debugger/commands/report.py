"""`chat-broker report LOG -o FILE.html`: write a log's timeline as one HTML page."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Iterator
from pathlib import PurePath
from urllib.parse import urlsplit

from broker.stores import SHARED_SCHEMES, SQLITE_SCHEME, name_of, scheme_of
from broker.verification.safe_text import safe
from events.codec import UnreadableCommitError
from events.commit import Commit
from events.log import DeliveryRecord, UnusableLogError
from log_debugger.reading.dumps import LOG_HELP
from log_debugger.reading.sources import WEB_SCHEMES, Source, commits, open_source
from log_debugger.report.data import FoldedLog, page_data
from log_debugger.report.html import page
from log_debugger.telling.output import add_output_argument, output
from log_debugger.terminal import Terminal

EXIT_SOUND, EXIT_BROKEN = 0, 1
PROGRESS_COMMITS = 1_000
RECORDS_COMMITS = 10_000

_STORE_URL = re.compile(rf"\b({'|'.join(SHARED_SCHEMES)})://[^\s;,]*")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.add_argument("log", metavar="LOG", help=LOG_HELP)
    add_output_argument(parser, "the page to write; a file that is there is replaced")
    parser.add_argument("--no-texts", action="store_true", help="leave out what was said, and names and interests")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Write the page, including any broken promises.

    Returns:
        The exit status, as for `verify`: 1 if a promise is broken, else 0.

    Raises:
        UsageError: the log can't be opened, or the file can't be written.
    """
    with (
        contextlib.closing(open_source(options.log)) as source,
        output(options.output, options.log, terminal) as out,
    ):
        folded = _fold(source, terminal, texts=not options.no_texts)
        delivery_records = _delivery_records(source, folded)
        noted = source.operation_records() or ()
        data = page_data(_shown(options.log), folded, delivery_records, source.recorded_after or 0, noted)
        written = page(data).encode()
        out.write(written)
    name = "the page" if out.is_stdout else options.output
    summary = f"{name}: {_counted(len(folded.columns.commits), 'commit')}, {_size(written)}{_broken(folded)}"
    (terminal.err if out.is_stdout else terminal.out).write(f"{summary}\n")
    if folded.stopped is not None:
        terminal.err.write(f"the page ends after position {folded.last}: {safe(folded.stopped)}\n")
    return EXIT_BROKEN if folded.breaches else EXIT_SOUND


def _fold(source: Source, terminal: Terminal, *, texts: bool) -> FoldedLog:
    base = source.base.state
    folded, behind = FoldedLog(base, texts=texts), base.position
    with terminal.progress("folding", source.tip().position - behind) as advance:
        for position in folded.fold(_commits(source)):
            if position - behind >= PROGRESS_COMMITS:
                advance(position - behind)
                behind = position
    return folded


def _commits(source: Source) -> Iterator[Commit]:
    """Yield the commits of `source` up to the first damaged one.

    Raises:
        UnreadableCommitError: the log is damaged; the message, which the page shows, omits the log's directory or host.
    """
    try:
        yield from commits(source, source.base.tip.position)
    except (UnreadableCommitError, UnusableLogError) as error:
        text = str(error).replace(source.name.removeprefix(SQLITE_SCHEME), _shown(source.name))
        raise UnreadableCommitError(_STORE_URL.sub(r"\1", text)) from None


def _delivery_records(source: Source, folded: FoldedLog) -> list[DeliveryRecord] | None:
    if source.recorded_after is None:
        return None
    found: list[DeliveryRecord] = []
    for after in range(folded.base.position, folded.last, RECORDS_COMMITS):
        found += source.delivery_records(after, min(after + RECORDS_COMMITS, folded.last), None)
    return found if found or source.recorded_after < folded.last else None


def _shown(log: str) -> str:
    """Return the log's name without its directory or host, since the page may be shown to others."""
    if scheme_of(log) in SHARED_SCHEMES:
        return f"{name_of(log)} in {scheme_of(log)}"
    path = urlsplit(log).path if log.startswith(WEB_SCHEMES) else log.removeprefix(SQLITE_SCHEME)
    return PurePath(path).name or log


def _broken(folded: FoldedLog) -> str:
    return f"; {_counted(len(folded.breaches), 'breach', 'es')} of a promise, in red" if folded.breaches else ""


def _counted(count: int, noun: str, plural: str = "s") -> str:
    return f"{count:,} {noun}{plural if count != 1 else ''}"


def _size(written: bytes) -> str:
    kilobytes = len(written) / 1_000
    return f"{kilobytes:,.0f} kB" if kilobytes < 1_000 else f"{kilobytes / 1_000:,.1f} MB"
