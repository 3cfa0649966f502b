"""The command line `chat-broker`: its commands, their parsing, and usage errors in one line.

What one command alone needs is imported for that command: the broker's parts take longer to load than a short log to
read.
"""

from __future__ import annotations

import argparse
import gc
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from broker.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, HOW_FAR, LogGivenUpError, StartFailedError, UsageError

if TYPE_CHECKING:
    from broker.config import Settings

Serve = Callable[["Settings"], None]

EXIT_OUTPUT_FAILED = 1

FORWARDED_VARIABLE = "FORWARDED_ALLOW_IPS"
"""A setting of uvicorn's, and of versions before `--trust-proxy`."""


class _Command(NamedTuple):
    """A module, loaded on demand: `add_arguments(parser)`, and `run(options, terminal) -> exit status`."""

    module: str
    summary: str
    package: str = "log_debugger.commands"


PEOPLE_COMMANDS: Mapping[str, _Command] = {
    "chat": _Command("command", "talk to a stranger in this terminal", "chat_client.terminal"),
    "channel": _Command("command", "wake Claude Code for a stranger (experimental)", "chat_client.channel"),
}
COMMANDS: Mapping[str, _Command] = {
    "replay": _Command("replay", "tell what happened, a line a commit, and what there was in the end"),
    "tail": _Command("tail", "tell what happens now, a line a commit, until Ctrl-C"),
    "top": _Command("top", "show who waits, who talks and what is refused now, until q"),
    "waits": _Command("waits", "tell who waited for how long, and the longest waits first"),
    "diff": _Command("diff", "tell what changed between two positions"),
    "trace": _Command("trace", "tell the life of one connection or one room"),
    "verify": _Command("verify", "check every promise at every position"),
    "bisect": _Command("bisect", "find the first position at which something holds"),
    "whatif": _Command("whatif", "tell what would have been without a commit, or under another policy"),
    "test": _Command("case", "write a pytest case that reproduces a situation"),
    "report": _Command("report", "write the timeline as one HTML page"),
    "reports": _Command("reports", "tell what people reported, with the conversations"),
}
LOG_COMMANDS: Mapping[str, _Command] = {
    "dump": _Command("dump", "write a log to standard output, one JSON commit a line"),
    "load": _Command("load", "fill an empty log with a dump from standard input"),
    "trim": _Command("trim", "forget the oldest commits; a snapshot stands in for them"),
    "diff": _Command("log_diff", "tell where two logs part, and what each has next"),
    "init": _Command("init", "prepare a database for a log, and give roles their rights"),
}


class _Parser(argparse.ArgumentParser):
    """A parser with usage errors in one line."""

    asked = ""
    """The command to name in an error, where another parser than the command's own finds it."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{' '.join(message.split())} ({self.prog}{self.asked} --help lists what there is)")


def main(arguments: Sequence[str], environment: Mapping[str, str], serve: Serve) -> int:
    """Run the command of `arguments`; return the exit status."""
    _stand_in_for_closed_streams()
    try:
        options = parser_for(arguments).parse_args(arguments)
        if options.command == "serve":
            _serve(options, environment, serve)
            return EXIT_OK
        return _run(options)
    except UsageError as error:
        print(f"chat-broker: {error}", file=sys.stderr)  # noqa: T201 - a command line's answer
        return EXIT_USAGE
    except (LogGivenUpError, StartFailedError) as error:
        print(f"chat-broker: {error}", file=sys.stderr)  # noqa: T201 - as above
        return EXIT_FAILED


def _stand_in_for_closed_streams() -> None:
    """Take what is written to a closed standard stream for written; Python has `None` in its place."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - as above


def parser_for(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser of every command, with the flags of the first one in `arguments`."""
    parser = _Parser(prog="chat-broker", description="Anonymous one-to-one chat for MCP clients.", allow_abbrev=False)
    version = _version() if "--version" in arguments else ""
    parser.add_argument("--version", action="version", version=f"%(prog)s {version}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    serve = commands.add_parser("serve", help="run the broker", allow_abbrev=False)
    if arguments[:1] == ["serve"]:
        from broker.config import add_flags, serve_help

        serve.description = serve_help()
        add_flags(serve)
    _add(commands, PEOPLE_COMMANDS, arguments[:1])
    _add(commands, COMMANDS, arguments[:1])
    if arguments and arguments[0] in commands.choices:
        parser.asked = f" {arguments[0]}"
    log = commands.add_parser("log", help="copy a log, shorten it, or compare two", allow_abbrev=False)
    _add(log.add_subparsers(dest="log_command", required=True, metavar="COMMAND"), LOG_COMMANDS, arguments[1:2])
    return parser


def _add(parsers: argparse._SubParsersAction[_Parser], commands: Mapping[str, _Command], asked: Sequence[str]) -> None:
    for name, command in commands.items():
        description = f"{command.summary[0].upper()}{command.summary[1:]}."
        parser = parsers.add_parser(name, help=command.summary, description=description, allow_abbrev=False)
        if name in asked:
            module = import_module(f"{command.package}.{command.module}")
            module.add_arguments(parser)
            parser.set_defaults(run=module.run)


def _version() -> str:
    from importlib.metadata import version

    from broker.stores import DISTRIBUTION

    return version(DISTRIBUTION)


def _serve(options: argparse.Namespace, environment: Mapping[str, str], serve: Serve) -> None:
    import structlog

    from broker.config import settings_from, unknown_variables
    from broker.flags import WORKER_VARIABLE
    from broker.logging import configure_logs

    settings = settings_from(options, environment)
    worker = environment.get(WORKER_VARIABLE)
    configure_logs(settings.log_format, settings.log_level, worker=worker)
    if worker is None:  # its supervisor has said it already
        logger = structlog.get_logger(__name__)
        for name in unknown_variables(environment):
            logger.warning("unknown_setting", variable=name)
        if FORWARDED_VARIABLE in environment:
            logger.warning("ignored_setting", variable=FORWARDED_VARIABLE, hint="name the proxies with --trust-proxy")
    serve(settings)


def _run(options: argparse.Namespace) -> int:
    """Run a command; any error of a log is one line."""
    from events.codec import UnreadableCommitError
    from events.commit import BrokenChainError
    from events.log import LogUnavailableError, UnusableLogError
    from log_debugger.terminal import Terminal

    # Few commits are in cycles: at the usual thresholds, garbage collection takes a quarter of a fold.
    gc.set_threshold(50_000, 20, 50)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # not every terminal has every letter
    try:
        status: int = options.run(options, Terminal(sys.stdout, sys.stderr))
        sys.stdout.flush()
    except BrokenChainError as error:
        raise UsageError(f"{error}; {HOW_FAR}") from None
    except (UnreadableCommitError, UnusableLogError, LogUnavailableError) as error:
        raise UsageError(" ".join(str(error).split())) from None
    except BrokenPipeError:  # the reader has enough of the answer, as `head` does
        _drop_output()
        return EXIT_OK
    except OSError as error:
        if error.filename is not None:
            raise  # it is not about the output
        _drop_output()
        print(f"chat-broker: the output failed: {error.strerror}", file=sys.stderr)  # noqa: T201 - as above
        return EXIT_OUTPUT_FAILED
    return status


def _drop_output() -> None:
    """Drop the rest of the output; else the interpreter would try to write it at its end, and report the failure."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
