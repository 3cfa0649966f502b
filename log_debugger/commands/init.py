"""`chat-broker log init URL`: make a log in PostgreSQL, for brokers whose role may use one and not make one.

A broker whose role may make a schema does that at its first start. After an upgrade, `init` brings functions and views
up to date. With `--print` it prints its statements for `psql`, and connects to nothing.
"""

from __future__ import annotations

import argparse
import asyncio

from broker.errors import UsageError
from broker.stores import SHARED_SCHEMES, scheme_of, store_module, without_password
from broker.verification.safe_text import printable
from log_debugger.terminal import Terminal

POSTGRESQL = SHARED_SCHEMES["postgresql"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.add_argument(
        "log", metavar="URL", help="postgresql://USER:PASSWORD@HOST/DATABASE, of a role that may make it"
    )
    parser.add_argument("--brokers", metavar="ROLE", help="let this role serve the log")
    parser.add_argument("--readers", metavar="ROLE", help="let this role read the log and its history")
    parser.add_argument("--print", action="store_true", help="print the statements, and do nothing")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Make the log, or print its statements; return 0.

    Raises:
        UsageError: the URL is of no store that several brokers can share.
        UnusableLogError: the log can't be made.
        LogUnavailableError: the server can't be reached.
    """
    store = SHARED_SCHEMES.get(scheme_of(options.log))
    if store is None:
        raise UsageError(f"log init takes postgresql://HOST/DATABASE, not {printable(without_password(options.log))}")
    if store != POSTGRESQL:
        terminal.line("nothing is needed: a broker makes its log in this store at its first start")
        return 0
    store_module(options.log)  # so that a missing library is told of
    from events.postgresql.open import init_log, init_statements

    roles = {"brokers": options.brokers, "readers": options.readers}
    if options.print:
        terminal.line(init_statements(options.log, **roles))
        return 0
    asyncio.run(init_log(options.log, **roles))
    terminal.line(f"the log is there: {printable(without_password(options.log))}")
    return 0
