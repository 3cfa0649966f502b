"""Settings of a broker: by a flag, or by an environment variable `CHAT_BROKER_<NAME>`; the flag wins."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Literal

import msgspec

from broker.addresses import PORT_MAX, is_mail_address, is_web_address, parse_authority, parse_network, parse_origin
from broker.errors import UsageError
from broker.flags import FLAGS, LISTS, PREFIX, SWITCHES, WORKER_VARIABLE, field_of, variable_of
from broker.limits import MEANINGS
from broker.peers import CONNECTIONS_PER_PEER_MAX, LOOPBACK, QUEUE_ENTRIES_PER_PEER_10S_MAX
from broker.presence import ATTENDED_GRACE_MS
from broker.reads import PAGE_BYTES_MAX, READS_PER_10S_MAX
from broker.setting_reader import SettingReader
from broker.stores import LOG_URLS, MEMORY_URL, SHARED_SCHEMES, SQLITE_SCHEME, Synchronous, scheme_of
from events.policy import LIMITS, MAY_BE_OFF, Policy

LogFormat = Literal["console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

WORKERS_MAX = 256

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
    workers: int = 1
    admin_port: int | None = None
    admin_host: str = "127.0.0.1"
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
    names_matching: bool = False
    """True if `--matching` is set: its default does not replace an operator's own matching that a log names."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every setting to `parser`."""
    for flag, (default, meaning) in FLAGS.items():
        parser.add_argument(f"--{flag}", metavar=field_of(flag).upper(), help=f"{meaning} (default {default})")
    for flag, meaning in SWITCHES.items():
        parser.add_argument(f"--{flag}", action="store_true", help=meaning)
    for flag, meaning in LISTS.items():
        parser.add_argument(f"--{flag}", action="append", metavar=field_of(flag).upper(), help=meaning)
    limits = parser.add_argument_group("limits and graces", "each a whole number of at least 1")
    for name, bound in DEFAULTS.items():
        off = "; 0 is off" if name in OFF_AT_0 else ""
        help_text = f"{MEANINGS[name]} (default {bound}{off})"
        limits.add_argument(f"--{name.replace('_', '-')}", metavar="N", help=help_text)


def settings_from(options: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
    """Return the settings of a command line, parsed with `add_flags`, and of an environment.

    Raises:
        UsageError: a value is invalid.
    """
    read = SettingReader(vars(options), environment)
    numbers = {name: read.number(name, default, 0 if name in OFF_AT_0 else 1) for name, default in DEFAULTS.items()}
    allow_hosts, trust_proxies = read.parsed("allow-host", parse_authority), read.parsed("trust-proxy", parse_network)
    exempt_peers = read.parsed("peer-exempt", parse_network)
    log = _log_url(read.text("log"))
    workers = _workers(read, log)
    return Settings(
        host=read.text("host"),
        port=read.port("port"),
        workers=workers,
        admin_port=_admin_port(read, workers),
        admin_host=read.text("admin-host"),
        log=log,
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
        policy=Policy(matching=read.matching(), **{name: numbers[name] for name in LIMITS}),
        names_matching=read.is_given("matching"),
    )


def serve_help() -> str:
    """Return the description in the `--help` of `serve`."""
    return f"Run the broker. Every flag is also an environment variable: {PREFIX} and its name, as {PREFIX}PORT."


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the variables named like settings, but unknown: a typo, or a container's service links."""
    known = {variable_of(name) for name in (*FLAGS, *SWITCHES, *LISTS, *LIMITS, *BOUNDS)}
    known.add(WORKER_VARIABLE)
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


def _workers(read: SettingReader, log: str) -> int:
    workers = read.number("workers", 1)
    if workers > WORKERS_MAX:
        raise UsageError(f"--workers ({variable_of('workers')}) is at most {WORKERS_MAX}")
    if workers > 1 and scheme_of(log) not in SHARED_SCHEMES:
        raise UsageError(
            "several workers need a log that they can share: --log redis://..., postgresql://... or nats://..."
        )
    return workers


def _admin_port(read: SettingReader, workers: int) -> int | None:
    port = read.optional_port("admin-port")
    if port is not None and workers > 1 and port + workers > PORT_MAX:
        raise UsageError(
            f"--admin-port ({variable_of('admin-port')}) is at most {PORT_MAX - workers}: each worker has one"
        )
    return port


def _is_contact(text: str) -> bool:
    return is_web_address(text) or is_mail_address(text.removeprefix("mailto:"))


def _without_slash(text: str) -> str:
    return text.removesuffix("/")


def _log_url(text: str) -> str:
    if text == MEMORY_URL or scheme_of(text) in SHARED_SCHEMES:
        return text
    if not (text.startswith(SQLITE_SCHEME) and len(text) > len(SQLITE_SCHEME)):
        hint = f"; write {SQLITE_SCHEME}{text}" if text and ":" not in text else ""
        raise UsageError(f"--log ({variable_of('log')}) is {LOG_URLS}{hint}")
    return text


def commits_kept(settings: Settings) -> int | None:
    """Return the most commits the log may hold; `None` for no limit."""
    store = SHARED_SCHEMES.get(scheme_of(settings.log))
    is_in_memory = settings.log == MEMORY_URL if store is None else store.is_in_memory
    return settings.policy.log_commits_max if is_in_memory else None
