"""Redaction: the redacted commit is stored beside the log first, then the message is deleted and its bytes overwritten.

So there is one of them at each position. An interrupted redaction is finished by the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from nats.aio.client import Client as Nats

from events.codec import UnreadableCommitError, redact_line
from events.ids import Position
from events.nats import meta
from events.nats.entries import entry_of
from events.nats.errors import damaged
from events.nats.layout import COMMIT_HEADER, STAND_INS_PER_GROUP, Layout
from events.nats.requests import Draft, api, erase, publish, stored, subjects

REDACTED_AT_ONCE = 16
"""A server writes a file of up to 8 MB anew for each of them."""


async def redact_page(nats: Nats, layout: Layout, positions: Sequence[Position]) -> None:
    """Redact the texts at `positions`, up to `REDACTED_AT_ONCE`. A commit without a text stays as it is.

    Raises:
        UnusableLogError: one of the commits can't be read.
    """
    assert len(positions) <= REDACTED_AT_ONCE
    changed = await asyncio.gather(*(_put_stand_in(nats, layout, position) for position in positions))
    # One after the other: an append waits for one of them at most.
    await erase(nats, layout.log_stream, [position for position in changed if position])


async def _put_stand_in(nats: Nats, layout: Layout, position: Position) -> Position:
    """Store the redacted commit for the one at `position`, and return it; 0 if redaction does not change it."""
    found = await stored(nats, layout.log_stream, {"seq": position})
    if found is None:
        return 0  # trimmed, redacted, or not there yet; or deleted by a server that crashed before it erased it
    entry = entry_of(position, found.headers, found.data)
    try:
        redacted = redact_line(entry.line)
    except UnreadableCommitError as error:
        raise damaged(f"the log's commit at position {position} can't be read ({error})") from error
    if redacted == entry.line:
        return 0
    await publish(nats, Draft(layout.stand_in_subject(position), redacted, {COMMIT_HEADER: entry.commit_id}))
    return position


async def trim(nats: Nats, layout: Layout) -> None:
    """Delete the commits up to the base, and the groups of their stand-ins."""
    position, _ = await meta.base(nats, layout)
    if position == 0:
        return
    await api(nats, f"STREAM.PURGE.{layout.log_stream}", {"seq": position + 1})
    stream = f"KV_{layout.redacted_bucket}"
    groups = {int(subject.split(".")[-2]) for subject in await subjects(nats, stream, layout.stand_in_subjects)}
    for group in sorted(groups):
        if (group + 1) * STAND_INS_PER_GROUP <= position + 1:
            of_group = layout.stand_in_subjects.removesuffix(">") + f"{group}.*"
            await api(nats, f"STREAM.PURGE.{stream}", {"filter": of_group})
