"""What an operator may set, by a flag or by an environment variable `CHAT_BROKER_<NAME>`; the flag wins."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Literal, NoReturn

import msgspec

from events.memory_log import MemoryLog
from events.policy import Policy

LogFormat = Literal["console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

DISTRIBUTION = "mcp-chat-broker"
PREFIX = "CHAT_BROKER_"
MEMORY_URL = "memory:"
PORT_MAX = 65_535
DIGITS_MAX = 15

FLAGS: Mapping[str, tuple[str, str]] = {
    "host": ("127.0.0.1", "the address to listen on"),
    "port": ("8000", "the port to listen on; 0 takes a free one"),
    "log": (MEMORY_URL, "where the event log is: memory:"),
    "log-format": ("console", "how log lines look: console or json"),
    "log-level": ("info", "what is logged: debug, info, warning or error; info has one line a commit"),
}
LISTS: Mapping[str, str] = {
    "allow-host": "a Host header to accept besides this machine's names; may be repeated",
    "allow-origin": "an Origin (http://...) to accept, and to let a browser's page call from; may be repeated",
}


class UsageError(Exception):
    """What was asked for can't be done; its text is one line that says what to change."""


class Settings(msgspec.Struct, frozen=True):
    """How one broker is run."""

    host: str = "127.0.0.1"
    port: int = 8000
    log: str = MEMORY_URL
    log_format: LogFormat = "console"
    log_level: LogLevel = "info"
    allow_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    policy: Policy = Policy()


class _Parser(argparse.ArgumentParser):
    """Errors of use are one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{' '.join(message.split())} (chat-broker serve --help lists the flags)")


def parse_arguments(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """The settings that a command line and an environment make.

    Raises:
        UsageError: for an unknown flag, or a value that can't be.
        SystemExit: 0, after `--help` or `--version`.
    """
    given = vars(_parser().parse_args(arguments))
    read = _Reader(given, environment)
    try:
        return Settings(
            host=read.text("host"),
            port=_port(read.text("port")),
            log=_log_url(read.text("log")),
            log_format=msgspec.convert(read.text("log-format"), LogFormat),
            log_level=msgspec.convert(read.text("log-level"), LogLevel),
            allow_hosts=read.texts("allow-host"),
            allow_origins=tuple(origin.rstrip("/") for origin in read.texts("allow-origin")),
            policy=Policy(**{name: value for name in Policy.__struct_fields__ if (value := read.number(name))}),
        )
    except msgspec.ValidationError:
        raise UsageError(
            f"--log-format ({_variable('log-format')}) is console or json; "
            f"--log-level ({_variable('log-level')}) is debug, info, warning or error"
        ) from None


def open_log(url: str) -> MemoryLog:
    """The log that `url`, which `parse_arguments` has checked, names."""
    assert url == MEMORY_URL
    return MemoryLog()


class _Reader:
    """A flag, else its variable, else its default."""

    def __init__(self, given: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self._given = given
        self._environment = environment

    def text(self, flag: str) -> str:
        given: str | None = self._given[_field(flag)]
        return given if given is not None else self._environment.get(_variable(flag), FLAGS[flag][0])

    def texts(self, flag: str) -> tuple[str, ...]:
        given: list[str] | None = self._given[_field(flag)]
        variable = self._environment.get(_variable(flag), "")
        return tuple(given if given is not None else filter(None, map(str.strip, variable.split(","))))

    def number(self, name: str) -> int | None:
        given: str | None = self._given[name]
        text = given if given is not None else self._environment.get(_variable(name))
        if text is None:
            return None
        number = _whole_number(text)
        if not number:
            raise UsageError(f"--{name.replace('_', '-')} ({_variable(name)}) must be a whole number of at least 1")
        return number


def _parser() -> _Parser:
    parser = _Parser(prog="chat-broker", description="Anonymous one-to-one chat for MCP clients.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"%(prog)s {version(DISTRIBUTION)}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="serve", parser_class=_Parser)
    serve = commands.add_parser("serve", help="run the broker", description=serve_help(), allow_abbrev=False)
    for flag, (default, meaning) in FLAGS.items():
        serve.add_argument(f"--{flag}", metavar=_field(flag).upper(), help=f"{meaning} (default {default})")
    for flag, meaning in LISTS.items():
        serve.add_argument(f"--{flag}", action="append", metavar=_field(flag).upper(), help=meaning)
    limits = serve.add_argument_group("limits and graces", "each a whole number of at least 1")
    for name in Policy.__struct_fields__:
        limits.add_argument(f"--{name.replace('_', '-')}", metavar="N", help=f"(default {getattr(Policy(), name)})")
    return parser


def serve_help() -> str:
    """What `serve` does, for its `--help`."""
    return f"Run the broker. Every flag is also an environment variable: {PREFIX} and its name, as {PREFIX}PORT."


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables that look like settings and are none: a slip of the pen, or a container's service links."""
    known = {_variable(name) for name in (*FLAGS, *LISTS, *Policy.__struct_fields__)}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


def _port(text: str) -> int:
    port = _whole_number(text)
    if port is None or port > PORT_MAX:
        raise UsageError(f"--port ({_variable('port')}) must be a whole number from 0 to {PORT_MAX}")
    return port


def _whole_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else None


def _log_url(text: str) -> str:
    if text != MEMORY_URL:
        raise UsageError(f"--log must be {MEMORY_URL}, the only kind of log there is so far")
    return text


def _field(flag: str) -> str:
    return flag.replace("-", "_")


def _variable(name: str) -> str:
    return PREFIX + _field(name).upper()
