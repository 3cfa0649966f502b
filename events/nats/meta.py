"""The few values of a log beside its commits: keys of its bucket `META`. They are read from the bucket's leader."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from nats.aio.client import Client as Nats
from nats.js.errors import APIError

from events.commit import EMPTY_TIP, Tip
from events.ids import Position
from events.nats.errors import damaged
from events.nats.layout import Layout
from events.nats.requests import EXPECTED_SUBJECT_SEQUENCE, WRONG_SEQUENCE, Draft, publish, stored

FORMAT, EPOCH, SECRET, LOADING = "format", "epoch", "secret", "loading"
BASE = "base"
"""The key of the last trimmed commit's tip."""

REDACTED_TO = "redacted_to"
SNAPSHOTS_FROM = "snapshots_from"
"""The key of the position below which snapshots were dropped, as they may hold redacted texts."""

RECORDED_AFTER = "recorded_after"
"""The key of the position up to which commits were loaded, without their deliveries."""

PROBE = "probe"

KEPT = (EPOCH, SECRET, BASE, REDACTED_TO, SNAPSHOTS_FROM, RECORDED_AFTER, FORMAT)
"""The keys of a log in use. The format is the last one: with it, the others count."""

_decode_tip = msgspec.json.Decoder(Tip).decode


async def get(nats: Nats, layout: Layout, key: str) -> bytes | None:
    """Return the value of `key`; `None` if there is none."""
    value, _ = await _get(nats, layout, key)
    return value


async def change(nats: Nats, layout: Layout, key: str, to: Callable[[bytes | None], bytes | None]) -> bytes | None:
    """Set `key` to the result of `to` for its value, unless it is `None`; return the value then."""
    while True:
        value, sequence = await _get(nats, layout, key)
        new = to(value)
        if new is None:
            return value
        headers = {EXPECTED_SUBJECT_SEQUENCE: str(sequence)}
        try:
            await publish(nats, Draft(_subject(layout, key), new, headers))
        except APIError as error:
            if error.err_code in WRONG_SEQUENCE:
                continue  # another broker was first
            raise
        return new


async def create(nats: Nats, layout: Layout, key: str, value: bytes) -> bytes:
    """Set `key`, unless it has a value; return the value then."""
    return await change(nats, layout, key, lambda old: value if old is None else None) or b""


async def put(nats: Nats, layout: Layout, key: str, value: bytes) -> None:
    """Set `key`."""
    await publish(nats, Draft(_subject(layout, key), value, {}))


async def values(nats: Nats, layout: Layout) -> dict[str, bytes]:
    """Return the values of a log in use, as far as it has them, in the order of `KEPT`."""
    found = [(key, await get(nats, layout, key)) for key in KEPT]
    return {key: value for key, value in found if value is not None}


async def base(nats: Nats, layout: Layout) -> Tip:
    """Return the last trimmed commit's tip; `EMPTY_TIP` if all commits are there."""
    return _tip(await get(nats, layout, BASE))


async def raise_base(nats: Nats, layout: Layout, tip: Tip) -> Tip:
    """Let `tip` be the base, unless it is below the present one; return the base."""
    encoded = msgspec.json.encode(tip)
    return _tip(await change(nats, layout, BASE, lambda old: encoded if _tip(old).position < tip.position else None))


async def position(nats: Nats, layout: Layout, key: str) -> Position:
    """Return the position in `key`; 0 if there is none."""
    return int(await get(nats, layout, key) or 0)


async def raise_position(nats: Nats, layout: Layout, key: str, to: Position) -> Position:
    """Raise the position in `key`, if it is below `to`; return it."""
    return int(await change(nats, layout, key, lambda old: b"%d" % to if int(old or 0) < to else None) or 0)


async def _get(nats: Nats, layout: Layout, key: str) -> tuple[bytes | None, int]:
    """Return the value of a key, and its sequence; a deleted key has no value."""
    found = await stored(nats, f"KV_{layout.meta_bucket}", {"last_by_subj": _subject(layout, key)})
    if found is None:
        return None, 0
    return (None if "KV-Operation" in found.headers else found.data), found.sequence


def _subject(layout: Layout, key: str) -> str:
    return f"$KV.{layout.meta_bucket}.{key}"


def _tip(value: bytes | None) -> Tip:
    if value is None:
        return EMPTY_TIP
    try:
        return _decode_tip(value)
    except msgspec.DecodeError as error:
        raise damaged(f"the log's key {BASE} can't be read ({error})") from error
