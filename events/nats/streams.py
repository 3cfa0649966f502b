"""The streams of a log: made where they are missing, and checked where they are there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from nats.aio.client import Client as Nats
from nats.js.errors import APIError, NotFoundError

from events.log import UnusableLogError
from events.nats import meta
from events.nats.entries import last_position
from events.nats.errors import GONE, NO_STREAM
from events.nats.layout import Layout
from events.nats.requests import NO_CLUSTER, NO_PEERS, JsonObject, api
from events.nats.settings import check_replicas, fault_of

DELIVERY_RECORDS_KEPT = 100_000
"""The number of messages with records of deliveries; each has those of one call."""

OPERATION_MESSAGES_KEPT = 20_000
"""The number of messages with operation records: half of them for refusals, and the rest for the others."""

_REMEDIES: Mapping[int | None, str] = {
    10027: "; a log needs 8 streams: raise max_streams of the account",
    10113: "; turn max_bytes_required off for the account",
}
"""By the server's code for a refusal to make a stream."""

Configs = Mapping[str, Mapping[str, Any] | None]
"""The settings of streams by their names; `None` for a missing one."""


def wanted_streams(layout: Layout) -> Mapping[str, JsonObject]:
    """Return the settings of each stream of a log, except for its replicas."""
    bucket = {"max_msgs_per_subject": 1, "discard": "new", "allow_rollup_hdrs": True, "allow_msg_ttl": True}
    store = {"discard": "new", "allow_rollup_hdrs": True}
    settings: dict[str, JsonObject] = {
        layout.log_stream: {"subjects": [layout.log_subjects], "discard": "new", "allow_atomic": True},
        layout.deliveries_stream: {
            "subjects": [layout.deliveries_subject],
            "discard": "old",
            "max_msgs": DELIVERY_RECORDS_KEPT,
        },
        layout.operations_stream: {
            "subjects": [layout.operations_subjects],
            "discard": "old",
            "max_msgs": OPERATION_MESSAGES_KEPT,
            "max_msgs_per_subject": OPERATION_MESSAGES_KEPT // 2,
            "allow_rollup_hdrs": True,
        },
        layout.turns_stream: {"subjects": [layout.turns_subject], "discard": "new"},
        f"OBJ_{layout.snapshots_store}": {
            "subjects": [f"$O.{layout.snapshots_store}.C.>", f"$O.{layout.snapshots_store}.M.>"],
            **store,
        },
    }
    for name in (layout.meta_bucket, layout.redacted_bucket, layout.sessions_bucket):
        settings[f"KV_{name}"] = {"subjects": [f"$KV.{name}.>"], **bucket}
    return {name: {"storage": "file", "allow_direct": True, **setting} for name, setting in settings.items()}


async def make_streams(nats: Nats, layout: Layout, replicas: int) -> int:
    """Make the missing streams of a log; return the least number of replicas of all of them.

    A commit survives no more than its log does: without the values and the stand-ins beside it, it can't be read.

    Raises:
        UnusableLogError: a stream of their names is another program's or has too few replicas, or the log's own is
            gone.
        APIError: the servers refuse to make them.
    """
    wanted = wanted_streams(layout)
    found = await configs_of(nats, wanted)
    for name, fault in faults_of(found, wanted).items():
        if await _has_format(nats, layout, found):
            raise UnusableLogError(f"the stream {name} was changed ({fault}); set it back: nats stream edit")
        raise UnusableLogError(
            f"NATS has a stream {name} that is no log of this program ({fault}); name another log: ?name="
        )
    kept = {name: replicas if config is None else config["num_replicas"] for name, config in found.items()}
    for name, count in kept.items():
        check_replicas(name, count, replicas)
    if found[layout.log_stream] is None and await _has_format(nats, layout, found):
        raise UnusableLogError(f"{GONE}, with another name: ?name=")
    await make_missing(nats, layout, found, replicas)
    return min(kept.values())


async def _has_format(nats: Nats, layout: Layout, found: Configs) -> bool:
    """Return whether there is a log of this program, or was one."""
    return found[f"KV_{layout.meta_bucket}"] is not None and await meta.get(nats, layout, meta.FORMAT) is not None


async def make_missing(nats: Nats, layout: Layout, found: Configs, replicas: int) -> list[str]:
    """Make the streams that have no settings in `found`; return their names. Raises as `make_streams`."""
    wanted = wanted_streams(layout)
    missing = [name for name, config in found.items() if config is None]
    is_new = found[layout.log_stream] is None or found[f"KV_{layout.meta_bucket}"] is None
    if layout.deliveries_stream in missing and not is_new:
        # The deliveries of its commits are lost, and not missing.
        last = await last_position(nats, layout)
        await meta.raise_position(nats, layout, meta.RECORDED_AFTER, last)
    for name in missing:
        await _make(nats, name, {**wanted[name], "num_replicas": replicas})
    return missing


async def delete_streams(nats: Nats, layout: Layout) -> None:
    """Delete a log's streams, with all that is in them; those that are gone already are skipped.

    The last one has the mark of an unfinished load, so an interrupted deletion leaves nothing that counts as a log.
    """
    for name in layout.streams:
        try:
            await api(nats, f"STREAM.DELETE.{name}")
        except NotFoundError:
            continue


def faults_of(found: Configs, wanted: Mapping[str, JsonObject]) -> Mapping[str, str]:
    """Return the streams with other settings than wanted, and the first of these."""
    there = {name: config for name, config in found.items() if config is not None}
    return {name: fault for name, config in there.items() if (fault := fault_of(config, wanted[name])) is not None}


async def configs_of(nats: Nats, names: Iterable[str]) -> Configs:
    """Return the settings of streams by their names; `None` for a missing one."""
    names = list(names)
    return dict(zip(names, await asyncio.gather(*(_config(nats, name) for name in names)), strict=True))


async def _config(nats: Nats, name: str) -> Mapping[str, Any] | None:
    try:
        config: Mapping[str, Any] = (await api(nats, f"STREAM.INFO.{name}"))["config"]
    except NotFoundError as error:
        if error.err_code != NO_STREAM:
            raise
        return None
    return config


async def _make(nats: Nats, name: str, settings: Mapping[str, Any]) -> None:
    """Make a stream. Another broker may make the same one at the same moment."""
    try:
        await api(nats, f"STREAM.CREATE.{name}", {"name": name, "retention": "limits", **settings})
    except APIError as error:
        if error.err_code == NO_PEERS or (error.code != 400 and error.err_code != NO_CLUSTER):
            raise  # other servers may come yet
        remedy = _REMEDIES.get(error.err_code, "")
        raise UnusableLogError(f"NATS refuses to make the stream {name}: {error.description}{remedy}") from error
