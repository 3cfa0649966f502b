"""The checks of a server and of its streams, and the promise for an acknowledged commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from nats.aio.client import Client as Nats

from events.log import UnusableLogError

Synchronous = Literal["full", "normal"]

LEAST_VERSION = (2, 12, 2)
"""2.12.0 and 2.12.1 have atomic batches too, but stop for good when two brokers append at once."""

LEAST_PAYLOAD_BYTES = 1_048_576
"""A server's own default for `max_payload`. A commit has less, and a part of a snapshot a quarter."""

JEPSEN = (
    "; in December 2025, Jepsen saw NATS 2.12.1 lose acknowledged messages by power failures with the default"
    " sync_interval of two minutes (nats-server issue 7564), and by changes of a cluster's members even with always"
    " (7545)"
)

UNSYNCED = (
    "NATS may lose a stored commit with a power failure: unless its sync_interval says otherwise, it writes to the disk"
    " every two minutes; no client can read that, so set sync_interval: always in each server's jetstream block and add"
    " synced=always to the log's URL, or start with --log-synchronous normal"
)

_PLAIN: Mapping[str, Any] = {
    "retention": "limits",
    "max_age": 0,
    **dict.fromkeys(("max_msgs", "max_bytes", "max_msgs_per_subject", "max_msg_size", "max_consumers"), -1),
    **dict.fromkeys(("sealed", "no_ack", "deny_delete", "deny_purge", "discard_new_per_subject", "persist_mode")),
    **dict.fromkeys(("mirror", "sources", "subject_transform")),
}
"""The settings of a stream without limits and changes."""


def check_server(nats: Nats) -> None:
    """Check the server of a connection.

    Raises:
        UnusableLogError: it can't hold a log.
    """
    version = nats.connected_server_version
    found = version.major, version.minor, version.patch
    if found < LEAST_VERSION:
        raise UnusableLogError(f"NATS {_dotted(found)} is too old; use nats-server {_dotted(LEAST_VERSION)} or newer")
    if nats.max_payload < LEAST_PAYLOAD_BYTES:
        raise UnusableLogError(
            f"NATS takes messages of {nats.max_payload} bytes at most; set max_payload to {LEAST_PAYLOAD_BYTES} or more"
        )


def check_sync(*, is_synced: bool, synchronous: Synchronous) -> None:
    """Check the operator's statement about the servers' `sync_interval`.

    Raises:
        UnusableLogError: there is none, and `synchronous` demands it.
    """
    if synchronous == "full" and not is_synced:
        raise UnusableLogError(UNSYNCED)


def check_replicas(stream: str, replicas: int, asked: int) -> None:
    """Check the number of replicas of one of the log's streams; the log's URL asks for `asked` at least.

    Raises:
        UnusableLogError: it is too low, or of no use.
    """
    if replicas == 2:
        raise UnusableLogError(
            f"the stream {stream} has 2 replicas, which stop when one is lost; make it 3 (nats stream edit)"
        )
    if replicas < asked:
        raise UnusableLogError(
            f"the stream {stream} has {replicas} replica, and the log's URL asks for {asked};"
            " change one of them (nats stream edit)"
        )


def fault_of(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Return the first setting of a stream with another value than wanted; `None` if there is none."""
    return _first_fault(found, {**_PLAIN, **wanted})


def dropping_fault_of(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Return the first setting for which a server drops stored messages; `None` if there is none."""
    names = ["retention", "max_age", "max_msgs_per_subject"]
    if found["discard"] != "new":
        names += ["max_msgs", "max_bytes"]
    settings = {**_PLAIN, **wanted}
    return _first_fault(found, {name: settings[name] for name in names})


def _first_fault(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    for name, value in wanted.items():
        if (found.get(name) or None) != (value or None):
            return f"{name} {_text(found.get(name))} instead of {_text(value)}"
    return None


def survives(replicas: int, *, is_synced: bool) -> str:
    """Return the promise for an acknowledged commit, in words for an operator."""
    survivors = (replicas - 1) // 2
    if not is_synced:
        promise = "a crash; a power failure may take the last two minutes, or as much as sync_interval says"
    elif survivors:
        promise = f"a crash, a power failure and the loss of {survivors} of {replicas} servers"
    else:
        promise = "a crash and a power failure, but not the loss of the server's disk"
    return promise + JEPSEN


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _text(value: object) -> str:
    return "unset" if value is None else str(value)
