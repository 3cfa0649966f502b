"""`chat-broker chat`: talk to a stranger in this terminal.

Exit status: 0 when you have left, also by Ctrl+C or by the end of the input; 1 if no broker answers, it refuses to
let you in, or the output can't be written; 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping
from typing import Protocol, TextIO

from chat_client.address import LOCAL, endpoint
from chat_client.errors import AddressError

EXIT_OK, EXIT_UNREACHABLE, EXIT_USAGE = 0, 1, 2
INTERESTS_MAX = 10


class Streams(Protocol):
    """The output streams of the command."""

    out: TextIO
    err: TextIO


def add_url(parser: argparse.ArgumentParser) -> None:
    """Add the broker's address to `parser`."""
    parser.add_argument(
        "url",
        metavar="URL",
        nargs="?",
        help="the broker's address, as in chat.example.com or localhost:8140; by default the one on this machine",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    add_url(parser)
    parser.add_argument(
        "--name", metavar="NAME", default="Anonymous", help="what the stranger sees (default Anonymous)"
    )
    parser.add_argument(
        "--interest",
        metavar="INTEREST",
        action="append",
        default=[],
        help="something to talk about, where the broker matches people by that; may be repeated",
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="one line an event, and lines from the input, for pipes and screen readers; /help lists the commands",
    )
    parser.epilog = "Exit status: 0 when you have left; 1 if no broker answers; 2 for wrong arguments."


def run(options: argparse.Namespace, terminal: Streams) -> int:
    """Hold conversations until the user leaves; return the exit status."""
    try:
        url = endpoint(options.url if options.url is not None else local_url(os.environ))
    except AddressError as error:
        return _usage_error(terminal, str(error))
    if len(options.interest) > INTERESTS_MAX:
        return _usage_error(terminal, f"at most {INTERESTS_MAX} interests can be given")
    logging.getLogger("mcp").addHandler(logging.NullHandler())  # its warnings would go across the screen
    if options.plain or not (is_terminal(sys.stdin) and is_terminal(terminal.out)) or has_dumb_terminal(os.environ):
        from chat_client.terminal.plain import chat_in_lines

        return chat_in_lines(url, options.name, options.interest, terminal)
    from chat_client.terminal.app import ChatApp

    app = ChatApp(url, options.name, options.interest)
    status = app.run()
    if app.reason:
        terminal.err.write(f"chat-broker: {app.reason}\n")
    return EXIT_UNREACHABLE if status is None else status


def local_url(environment: Mapping[str, str]) -> str:
    """Return the endpoint of a broker started on this machine with this environment."""
    port = environment.get("CHAT_BROKER_PORT", "")
    return f"127.0.0.1:{port}" if port.isdecimal() and port != "0" else LOCAL


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal; a closed standard stream is `None`."""
    return stream is not None and stream.isatty()


def has_dumb_terminal(environment: Mapping[str, str]) -> bool:
    """Return whether the terminal knows lines alone."""
    return environment.get("TERM", "") in ("", "dumb")


def _usage_error(terminal: Streams, text: str) -> int:
    terminal.err.write(f"chat-broker: {text} (chat-broker chat --help lists what there is)\n")
    return EXIT_USAGE
