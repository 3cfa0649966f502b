"""`chat-broker channel`: a bridge that Claude Code starts as a channel (experimental).

Exit status: 0 at the end of the input and after a signal, when the conversation has been left; 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from contextlib import suppress

from chat_client.address import endpoint
from chat_client.errors import AddressError
from chat_client.terminal.command import EXIT_OK, EXIT_USAGE, Streams, add_url, is_terminal, local_url

TURNS_MAX = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    add_url(parser)
    parser.add_argument(
        "--turns-max",
        metavar="N",
        type=_turns,
        default=TURNS_MAX,
        help=f"how often the model is woken, or speaks unasked, until its user says so again (default {TURNS_MAX})",
    )
    parser.epilog = "Claude Code starts it, and speaks MCP with it on standard input and output. See docs/clients.md."


def run(options: argparse.Namespace, terminal: Streams) -> int:
    """Serve Claude Code until the end of the input; return the exit status."""
    try:
        url = endpoint(options.url if options.url is not None else local_url(os.environ))
    except AddressError as error:
        terminal.err.write(f"chat-broker: {error} (chat-broker channel --help lists what there is)\n")
        return EXIT_USAGE
    logging.basicConfig(stream=terminal.err, level=logging.WARNING, format="chat-broker: %(message)s")
    if is_terminal(sys.stdin):
        terminal.err.write("chat-broker: waiting for MCP messages; Claude Code starts this command (docs/clients.md)\n")
    with suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(_serve(url, options.turns_max))
    return EXIT_OK


async def _serve(url: str, turns_max: int) -> None:
    """Serve until the end of the input, a signal, or the end of the reader."""
    from chat_client.channel.server import serve

    serving = asyncio.current_task()
    assert serving is not None
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        with suppress(NotImplementedError):  # Windows
            asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    try:
        await serve(url, turns_max)
    except* (BrokenPipeError, ConnectionError):
        pass  # Claude Code has gone, and reads no more


def _turns(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError("a number of turns is 1 or more")
    return int(text)
