"""Settings of a broker: by a flag, or by an environment variable `CHAT_BROKER_<NAME>`; the flag wins."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import msgspec

from broker.addresses import PORT_MAX, is_mail_address, is_web_address, parse_authority, parse_network, parse_origin
from broker.errors import UsageError
from broker.peers import CONNECTIONS_PER_PEER_MAX, LOOPBACK, QUEUE_ENTRIES_PER_PEER_10S_MAX
from broker.presence import ATTENDED_GRACE_MS
from broker.reads import PAGE_BYTES_MAX, READS_PER_10S_MAX
from broker.stores import LOG_URLS, MEMORY_URL, SHARED_SCHEMES, SQLITE_SCHEME, Synchronous, scheme_of
from events.policy import LIMITS, MAY_BE_OFF, MatchingName, Policy

LogFormat = Literal["console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

PREFIX = "CHAT_BROKER_"
NOT_SET = "none"
DIGITS_MAX = 15

FLAGS: Mapping[str, tuple[str, str]] = {
    "host": ("127.0.0.1", "the address to listen on"),
    "port": ("8000", "the port to listen on; 0 takes a free one"),
    "log": (MEMORY_URL, f"where the event log is: {LOG_URLS}"),
    "log-synchronous": (
        "full",
        "what a stored commit outlives: full, a loss of power; normal, a crash of the broker",
    ),
    "redact-after": ("never", "texts of closed rooms and names of idle people go from the log after so long, as in 7d"),
    "matching": ("first-come", "who meets whom: first-come, or interests"),
    "log-format": ("console", "how log lines look: console or json"),
    "log-level": ("info", "what is logged: debug (every commit), info (every commit but messages), warning or error"),
    "deny-peers": (NOT_SET, "a file of addresses and networks whose requests are refused, read again when it changes"),
    "rules-url": (NOT_SET, "the address of a page with your rules, told to clients"),
    "operator-contact": (NOT_SET, "your mail address, or that of a page, told to clients"),
}
SWITCHES: Mapping[str, str] = {
    "no-page": "leave out the page at / on which people chat in a browser",
    "no-fast-lane": "let the SDK answer every request by itself: slower, and the reference for what is answered",
    "log-peers": "let log lines of reports name the address from which the reported one last called",
}
LISTS: Mapping[str, str] = {
    "allow-host": "a Host header to accept besides this machine's names; may be repeated",
    "allow-origin": "an Origin (http://...) to accept, and to let a browser's page call from; may be repeated",
    "trust-proxy": "an address or network of proxies whose X-Forwarded-For is believed; may be repeated",
    "peer-exempt": "an address or network that many share, without limits for a peer; may be repeated",
}
_EXPECTED: Mapping[str, str] = {
    "allow-host": "a name or an address, as in chat.example.com, 192.168.1.5 or [2001:db8::1], without https://",
    "allow-origin": "what a page's address begins with, as in https://page.example.com, and no path",
    "trust-proxy": "an address or a network, as in 127.0.0.1 or 10.0.0.0/8",
    "peer-exempt": "an address or a network, as in 192.0.2.7 or 10.0.0.0/8",
    "rules-url": "the address of a page, as in https://chat.example.com/rules, in at most 500 ASCII characters",
    "operator-contact": "a mail address or that of a page, as in abuse@example.com, in at most 500 ASCII characters",
}

SERVED: Mapping[str, int] = {
    "handles_minted_per_10s_max": 100,
    "confirm_grace_ms": 25_000,
    "requeue_on_missed_match": 1,
    "rematch_after_ms": 600_000,
    "rematch_patience_ms": 20_000,
    "blocks_per_connection_max": 100,
    "reports_per_10min_max": 3,
    "evidence_keep_ms": 2_592_000_000,
}
"""Limits of a served broker that differ from the policy's defaults, which are those of old logs."""

SERVED_POLICY = Policy(**SERVED)  # type: ignore[arg-type]  # none of them is the matching

BOUNDS: Mapping[str, int] = {
    "session_age_max_ms": 86_400_000,  # the validity of a 2025 session's id
    "page_bytes_max": PAGE_BYTES_MAX,  # an answer with events
    "unread_bytes_max": 1_048_576,  # the unread part of a connection's answers
    "reads_per_10s_max": READS_PER_10S_MAX,  # a connection's
    "connections_per_peer_max": CONNECTIONS_PER_PEER_MAX,  # waiting and chatting together
    "queue_entries_per_peer_10s_max": QUEUE_ENTRIES_PER_PEER_10S_MAX,  # of a peer's connections together
    "idle_grace_attended_ms": ATTENDED_GRACE_MS,  # of a window or a page; stored with its entry
}
"""Limits that no decision reads, so they are not in the log's policy."""

OFF_AT_0 = MAY_BE_OFF | {"connections_per_peer_max", "queue_entries_per_peer_10s_max"}
"""The limits that 0 turns off; every other one is at least 1."""


DEFAULTS: Mapping[str, int] = {name: getattr(SERVED_POLICY, name) for name in LIMITS} | dict(BOUNDS)
"""The default of every limit of a served broker."""


class Settings(msgspec.Struct, frozen=True):
    """The settings of one broker."""

    host: str = "127.0.0.1"
    port: int = 8000
    log: str = MEMORY_URL
    log_synchronous: Synchronous = "full"
    redact_after_ms: int | None = None
    log_format: LogFormat = "console"
    log_level: LogLevel = "info"
    page: bool = True
    fast_lane: bool = True
    allow_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    trust_proxies: tuple[str, ...] = ()
    deny_peers: str | None = None
    rules_url: str | None = None
    operator_contact: str | None = None
    log_peers: bool = False
    exempt_peers: tuple[str, ...] = LOOPBACK
    """The networks of `--peer-exempt`, and this machine's, unless the broker is public."""
    session_age_max_ms: int = BOUNDS["session_age_max_ms"]
    page_bytes_max: int = BOUNDS["page_bytes_max"]
    unread_bytes_max: int = BOUNDS["unread_bytes_max"]
    reads_per_10s_max: int = BOUNDS["reads_per_10s_max"]
    connections_per_peer_max: int = BOUNDS["connections_per_peer_max"]
    queue_entries_per_peer_10s_max: int = BOUNDS["queue_entries_per_peer_10s_max"]
    idle_grace_attended_ms: int = BOUNDS["idle_grace_attended_ms"]
    policy: Policy = SERVED_POLICY


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every setting to `parser`."""
    for flag, (default, meaning) in FLAGS.items():
        parser.add_argument(f"--{flag}", metavar=_field(flag).upper(), help=f"{meaning} (default {default})")
    for flag, meaning in SWITCHES.items():
        parser.add_argument(f"--{flag}", action="store_true", help=meaning)
    for flag, meaning in LISTS.items():
        parser.add_argument(f"--{flag}", action="append", metavar=_field(flag).upper(), help=meaning)
    limits = parser.add_argument_group("limits and graces", "each a whole number of at least 1")
    for name, bound in DEFAULTS.items():
        off = "; 0 is off" if name in OFF_AT_0 else ""
        limits.add_argument(f"--{name.replace('_', '-')}", metavar="N", help=f"(default {bound}{off})")


def settings_from(options: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
    """Return the settings of a command line, parsed with `add_flags`, and of an environment.

    Raises:
        UsageError: a value is invalid.
    """
    read = _Reader(vars(options), environment)
    numbers = {name: read.number(name, default) for name, default in DEFAULTS.items()}
    allow_hosts, trust_proxies = read.parsed("allow-host", parse_authority), read.parsed("trust-proxy", parse_network)
    exempt_peers = read.parsed("peer-exempt", parse_network)
    return Settings(
        host=read.text("host"),
        port=_port(read.text("port")),
        log=_log_url(read.text("log")),
        log_synchronous=read.one_of("log-synchronous", Synchronous),
        redact_after_ms=read.duration_ms("redact-after"),
        log_format=read.one_of("log-format", LogFormat),
        log_level=read.one_of("log-level", LogLevel),
        page=not read.switch("no-page"),
        fast_lane=not read.switch("no-fast-lane"),
        allow_hosts=allow_hosts,
        allow_origins=tuple(
            _without_slash(origin)
            for origin in read.parsed("allow-origin", lambda text: parse_origin(_without_slash(text)))
        ),
        trust_proxies=trust_proxies,
        deny_peers=read.optional("deny-peers", lambda _: True),
        rules_url=read.optional("rules-url", is_web_address),
        operator_contact=read.optional("operator-contact", _is_contact),
        log_peers=read.switch("log-peers"),
        exempt_peers=exempt_peers if allow_hosts or trust_proxies else (*LOOPBACK, *exempt_peers),
        **{name: numbers[name] for name in BOUNDS},
        policy=Policy(matching=read.one_of("matching", MatchingName), **{name: numbers[name] for name in LIMITS}),
    )


class _Reader:
    """Reads a flag, else its variable, else its default."""

    def __init__(self, given: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self._given = given
        self._environment = environment

    def text(self, flag: str) -> str:
        given: str | None = self._given[_field(flag)]
        return given if given is not None else self._environment.get(_variable(flag), FLAGS[flag][0])

    def switch(self, flag: str) -> bool:
        """Return whether the flag is given or its variable is 1. An inherited variable is turned off by 0 or empty."""
        given: bool = self._given[_field(flag)]
        variable = self._environment.get(_variable(flag), "")
        if variable not in ("", "0", "1"):
            raise UsageError(f"{_variable(flag)} is 1 or 0")
        return given or variable == "1"

    def texts(self, flag: str) -> tuple[str, ...]:
        given: list[str] | None = self._given[_field(flag)]
        variable = self._environment.get(_variable(flag), "")
        return tuple(given if given is not None else filter(None, map(str.strip, variable.split(","))))

    def parsed(self, flag: str, parse: Callable[[str], object | None]) -> tuple[str, ...]:
        """Return the texts of `flag` in small letters; `parse` returns `None` for one that is invalid."""
        texts = self.texts(flag)
        if any(parse(text) is None for text in texts):
            raise UsageError(f"--{flag} ({_variable(flag)}) takes {_EXPECTED[flag]}")
        return tuple(text.lower() for text in texts)

    def optional(self, flag: str, is_valid: Callable[[str], bool]) -> str | None:
        """Return the text of `flag` as it is given; `None` if it is not set."""
        text = self.text(flag)
        if text == NOT_SET:
            return None
        if not is_valid(text):
            raise UsageError(f"--{flag} ({_variable(flag)}) takes {_EXPECTED[flag]}, or {NOT_SET}")
        return text

    def one_of(self, flag: str, names: Any) -> Any:
        try:
            return msgspec.convert(self.text(flag), names)
        except msgspec.ValidationError:
            *others, last = get_args(names)
            raise UsageError(f"--{flag} ({_variable(flag)}) is {', '.join(others)} or {last}") from None

    def duration_ms(self, flag: str) -> int | None:
        text = self.text(flag)
        duration_ms = parse_duration(text)
        if duration_ms is None and text != FLAGS[flag][0]:
            raise UsageError(f"--{flag} ({_variable(flag)}) is a time like 7d, 12h, 30m or 90s, or {FLAGS[flag][0]}")
        return duration_ms

    def number(self, name: str, default: int) -> int:
        given: str | None = self._given[name]
        text = given if given is not None else self._environment.get(_variable(name))
        if text is None:
            return default
        number, least = _whole_number(text), 0 if name in OFF_AT_0 else 1
        if number is None or number < least:
            flag = f"--{name.replace('_', '-')} ({_variable(name)})"
            raise UsageError(f"{flag} must be a whole number of at least {least}")
        return number


def serve_help() -> str:
    """Return the description in the `--help` of `serve`."""
    return f"Run the broker. Every flag is also an environment variable: {PREFIX} and its name, as {PREFIX}PORT."


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the variables named like settings, but unknown: a typo, or a container's service links."""
    known = {_variable(name) for name in (*FLAGS, *SWITCHES, *LISTS, *LIMITS, *BOUNDS)}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


def _port(text: str) -> int:
    port = _whole_number(text)
    if port is None or port > PORT_MAX:
        raise UsageError(f"--port ({_variable('port')}) must be a whole number from 0 to {PORT_MAX}")
    return port


def _is_contact(text: str) -> bool:
    return is_web_address(text) or is_mail_address(text.removeprefix("mailto:"))


def _without_slash(text: str) -> str:
    return text.removesuffix("/")


def _whole_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else None


def _log_url(text: str) -> str:
    if text == MEMORY_URL or scheme_of(text) in SHARED_SCHEMES:
        return text
    if not (text.startswith(SQLITE_SCHEME) and len(text) > len(SQLITE_SCHEME)):
        hint = f"; write {SQLITE_SCHEME}{text}" if text and ":" not in text else ""
        raise UsageError(f"--log ({_variable('log')}) is {LOG_URLS}{hint}")
    return text


def _field(flag: str) -> str:
    return flag.replace("-", "_")


def _variable(name: str) -> str:
    return PREFIX + _field(name).upper()


UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")


def parse_duration(text: str) -> int | None:
    """Return the duration `text` in milliseconds; `None` if it is no duration, or is zero."""
    found = _DURATION.fullmatch(text)
    return (int(found[1]) * UNITS_MS[found[2]] or None) if found else None


def commits_kept(settings: Settings) -> int | None:
    """Return the most commits the log may hold; `None` for no limit."""
    store = SHARED_SCHEMES.get(scheme_of(settings.log))
    is_in_memory = settings.log == MEMORY_URL if store is None else store.is_in_memory
    return settings.policy.log_commits_max if is_in_memory else None
