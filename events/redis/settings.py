"""The engine's settings: the ones that are refused, and what an acknowledged commit survives under the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from events.log import LogUnavailableError, UnusableLogError
from events.redis.errors import READ_ONLY

LEAST_VERSION = (7, 0)
Fields = Mapping[str, str]

DURABLE = (
    "set appendonly yes, appendfsync always and no-appendfsync-on-rewrite no in Redis, or start with"
    " --log-synchronous normal"
)


class Verdict(NamedTuple):
    """What holds of a log in an engine with acceptable settings."""

    survives: str
    warnings: tuple[str, ...] = ()
    has_file: bool = True
    """Whether the engine keeps an append-only file; it may, if its settings can't be read."""
    is_reduced: bool = False
    """Whether a power failure may take a stored commit."""


def parse_info(text: str) -> Fields:
    """Return the fields of the answer to `INFO`."""
    lines = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, separator, value in lines if separator}


def judge(info: Fields, config: Fields | None, synchronous: Literal["full", "normal"]) -> Verdict:
    """Judge the engine's settings; `config` is `None` if they may not be read.

    Raises:
        UnusableLogError: they do not keep what the broker promises; one line says what to change.
        LogUnavailableError: the engine is a replica for now.
    """
    _check_engine(info)
    if config is None:
        if synchronous == "full":
            allow = "allow the log's user +config|get, or start with --log-synchronous normal"
            raise UnusableLogError(f"Redis does not show its settings, so nobody knows what it keeps; {allow}")
        warning = "Redis does not show its settings: what a stored commit survives is not known"
        return Verdict("a crash of the broker; what else, Redis does not show" + _failover(info), (warning,))
    if config.get("maxmemory", "0") != "0" and config.get("maxmemory-policy") != "noeviction":
        policy = config.get("maxmemory-policy")
        raise UnusableLogError(
            f"Redis drops data when memory is full (maxmemory-policy {policy}); set maxmemory-policy noeviction"
        )
    return _durability(info, config, synchronous)


def _check_engine(info: Fields) -> None:
    version = info.get("redis_version", "")
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < LEAST_VERSION:
        raise UnusableLogError(f"Redis {version or '?'} is too old; use Redis 7.0, Valkey 7.2 or newer")
    if info.get("cluster_enabled") == "1":
        raise UnusableLogError("Redis runs as a cluster, which is not supported; use a single primary")
    if info.get("role") == "slave":
        raise LogUnavailableError(READ_ONLY)  # it may be promoted, or the address lead to the primary again


def _durability(info: Fields, config: Fields, synchronous: Literal["full", "normal"]) -> Verdict:
    appendonly, appendfsync = config.get("appendonly", ""), config.get("appendfsync", "")
    pauses = config.get("no-appendfsync-on-rewrite") == "yes"
    settings = f"appendonly {appendonly}, appendfsync {appendfsync}"
    settings += ", no-appendfsync-on-rewrite yes" if pauses else ""
    is_durable = (appendonly, appendfsync, pauses) == ("yes", "always", False)
    if synchronous == "full" and not is_durable:
        raise UnusableLogError(f"Redis may lose a stored commit with a power failure ({settings}); {DURABLE}")
    if appendonly != "yes":
        survives = "a crash of the broker; an end of Redis takes what it has not saved"
        return Verdict(survives, has_file=False, is_reduced=True)
    warnings: tuple[str, ...] = ()
    if config.get("auto-aof-rewrite-percentage") == "0":
        warnings = (
            "Redis does not rewrite its append-only file by itself (auto-aof-rewrite-percentage 0): redacted texts"
            " stay there until BGREWRITEAOF",
        )
    survives = {
        "always": "a crash and a power failure, but not the loss of the disk",
        "everysec": "a crash of the broker; a crash of Redis or a power failure may take the last second",
    }.get(appendfsync, "a crash of the broker; a power failure may take the last half minute")
    if pauses:
        survives = "a crash of the broker; a power failure may take what came while Redis rewrites its file"
    return Verdict(survives + _failover(info), warnings, is_reduced=not is_durable)


def _failover(info: Fields) -> str:
    """Say what a failover does, if there is a replica."""
    has_replicas = info.get("connected_slaves", "0") != "0"
    return "; a failover to a replica may take the last moments" if has_replicas else ""
