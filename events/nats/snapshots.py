"""Snapshots in an object store, each an object of parts, as the tools of NATS show and read it (see its ADR-20).

A snapshot counts once it has an entry in the store's list, and that is written last. So an interrupted one does not
count; its parts are removed later.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import msgspec
from nats.aio.client import Client as Nats

from events.commit import EMPTY_TIP, Tip
from events.ids import CommitId, Position
from events.log import LogRolledBackError, LogUnavailableError, Snapshot, StateCodec, UnreadableSnapshotError
from events.nats import meta
from events.nats.client import Client
from events.nats.entries import read_page
from events.nats.errors import damaged
from events.nats.layout import Layout
from events.nats.requests import ROLLUP, Draft, api, erase, publish, stored, subjects
from events.snapshot_parts import PART_BYTES, lines_of, parts_of

SNAPSHOTS_MAX = 16
"""At this number, every other snapshot is dropped: the older they are, the further apart they are."""

PARTS_AT_ONCE = 4
ERASED_AT_ONCE = 32
UNFINISHED = timedelta(hours=1)
"""The age at which parts without an entry in the list are of no use to any broker."""


class SnapshotRow(NamedTuple):
    """A finished snapshot, without its content."""

    tip: Tip
    sha256: str
    parts: Sequence[int]
    """The sequences of its parts."""
    entry: int
    """The sequence of its entry in the list."""


class _Details(msgspec.Struct, frozen=True):
    """The part of an entry's `metadata` with the values of this program."""

    position: str
    commit_id: str
    sha256: str
    parts: str


class _ObjectInfo(msgspec.Struct, frozen=True):
    """An entry of the list, as far as it is read."""

    metadata: _Details
    nuid: str


class Snapshots:
    """The object store of one log."""

    def __init__(self, layout: Layout, client: Client, codec: StateCodec | None) -> None:
        """`codec` is `None` for a look at the list alone."""
        self._layout = layout
        self._client = client
        self._codec = codec
        self._stream = f"OBJ_{layout.snapshots_store}"
        self._prefix = f"$O.{layout.snapshots_store}"

    async def write(self, snapshot: Snapshot, *, is_base: bool) -> None:
        """Store `snapshot`, and let it be the base, or not; appends go on meanwhile. Encoding is another thread's work.

        One at or below the present base changes nothing.

        Raises:
            LogUnavailableError: it could not be stored, or was dropped by a redaction while it was written.
            LogRolledBackError: its tip is no commit of this log.
        """
        floor, base = await self._client.ask(self._bounds)
        if snapshot.tip.position <= base.position:
            return
        await self._client.ask(self._sweep)
        row, nuid, size = await self._put_parts(snapshot)
        await self._finish(row, nuid, size, floor, is_base)

    async def start(self, snapshot: Snapshot) -> None:
        """Store `snapshot` as the base of a log that has no commit yet, for loading a trimmed log."""
        row, nuid, size = await self._put_parts(snapshot)
        await self._client.ask(lambda nats: self._put_entry(nats, row, nuid, size))
        await self._client.ask(lambda nats: meta.raise_base(nats, self._layout, row.tip))

    async def _put_parts(self, snapshot: Snapshot) -> tuple[SnapshotRow, str, int]:
        """Store the parts of `snapshot`; return what its entry will say, the id of their subject and their size."""
        assert self._codec is not None
        nuid, digest, parts = secrets.token_hex(11), hashlib.sha256(), list[int]()
        pieces, size = parts_of(self._codec.encode(snapshot.state)), 0
        while (part := await asyncio.to_thread(next, pieces, None)) is not None:
            digest.update(part)
            size += len(part)
            answer = await self._client.ask(partial(self._put_part, nuid, part))
            parts.append(answer)
        return SnapshotRow(snapshot.tip, digest.hexdigest(), parts, 0), nuid, size

    async def _bounds(self, nats: Nats) -> tuple[Position, Tip]:
        floor = await meta.position(nats, self._layout, meta.SNAPSHOTS_FROM)
        return floor, await meta.base(nats, self._layout)

    async def _put_part(self, nuid: str, part: bytes, nats: Nats) -> int:
        answer = await publish(nats, Draft(f"{self._prefix}.C.{nuid}", part, {}))
        sequence: int = answer["seq"]
        return sequence

    async def _finish(self, row: SnapshotRow, nuid: str, size: int, floor: Position, is_base: bool) -> None:
        """Let a snapshot count, after its parts are stored."""
        try:
            await self._client.ask(partial(self._check_tip, tip=row.tip))
        except LogRolledBackError:
            await self._erase(row)
            raise
        row = row._replace(entry=await self._client.ask(lambda nats: self._put_entry(nats, row, nuid, size)))
        floor_now, _ = await self._client.ask(self._bounds)
        if row.tip.position < floor_now != floor:
            # It may hold texts redacted since. The redaction came too early to see it, or drops it too.
            await self._erase(row)
            raise LogUnavailableError("the snapshot was dropped while it was written; try again")
        if is_base:
            await self._client.ask(lambda nats: meta.raise_base(nats, self._layout, row.tip))
        await self._thin_out()

    async def _check_tip(self, nats: Nats, tip: Tip) -> None:
        entries, _, base = await read_page(nats, self._layout, tip.position - 1, 1)
        if (base is None or base.position < tip.position) and [entry.tip for entry in entries] != [tip]:
            raise LogRolledBackError(f"the log has no commit {tip.commit_id} at position {tip.position} any more")

    async def _put_entry(self, nats: Nats, row: SnapshotRow, nuid: str, size: int) -> int:
        name = f"{row.tip.position}-{nuid}"
        key = base64.urlsafe_b64encode(name.encode()).decode()
        digest = base64.urlsafe_b64encode(bytes.fromhex(row.sha256)).decode()
        position, commit_id = row.tip
        info = {
            "name": name,
            "metadata": _Details(str(position), commit_id, row.sha256, " ".join(map(str, row.parts))),
            "options": {"max_chunk_size": PART_BYTES},
            "bucket": self._layout.snapshots_store,
            "nuid": nuid,
            "size": size,
            "chunks": len(row.parts),
            "digest": f"SHA-256={digest}",
        }
        answer = await publish(nats, Draft(f"{self._prefix}.M.{key}", msgspec.json.encode(info), ROLLUP))
        sequence: int = answer["seq"]
        return sequence

    # Reading

    async def finished(self, nats: Nats) -> list[SnapshotRow]:
        """Return the finished snapshots, the newest first."""
        return sorted((row for row, _ in await self._list(nats)), reverse=True)

    async def _list(self, nats: Nats) -> list[tuple[SnapshotRow, str]]:
        """Return the finished snapshots, each with the id of its parts' subject."""
        entries = await subjects(nats, self._stream, f"{self._prefix}.M.*")
        found = await asyncio.gather(*(stored(nats, self._stream, {"last_by_subj": entry}) for entry in entries))
        rows = []
        for message in found:
            if message is None:
                continue  # dropped since
            try:
                info = msgspec.json.decode(message.data, type=_ObjectInfo)
                tip = Tip(int(info.metadata.position), CommitId(info.metadata.commit_id))
                parts = [int(part) for part in info.metadata.parts.split()]
            except (msgspec.DecodeError, ValueError):
                continue  # another program's object, or one deleted by its tools
            rows.append((SnapshotRow(tip, info.metadata.sha256, parts, message.sequence), info.nuid))
        return rows

    async def load(self, row: SnapshotRow) -> Snapshot:
        """Return the snapshot of a row.

        Raises:
            LogUnavailableError: the server does not answer.
            UnreadableSnapshotError: it is damaged, or gone since, or newer than this program.
        """
        parts: list[bytes] = []
        for start in range(0, len(row.parts), PARTS_AT_ONCE):
            parts += await self._client.ask(partial(self._parts, row.parts[start : start + PARTS_AT_ONCE]))

        codec = self._codec
        assert codec is not None

        def decoded() -> Any:
            return codec.decode(lines_of(parts, row.sha256, row.tip.position))

        return Snapshot(row.tip, await asyncio.to_thread(decoded))

    async def _parts(self, sequences: Sequence[int], nats: Nats) -> list[bytes]:
        found = await asyncio.gather(*(stored(nats, self._stream, {"seq": sequence}) for sequence in sequences))
        return [message.data for message in found if message is not None]

    async def newest(self, base: Tip, at_most: Position | None = None) -> Snapshot | None:
        """Return the newest readable snapshot from `base` on up to `at_most`; see `StoreReader.load_snapshot`.

        Raises:
            UnusableLogError: commits are trimmed, and the snapshot in their place can't be read.
        """
        if at_most is not None and at_most < base.position:
            return None
        for row in await self._client.ask(self.finished):
            if row.tip.position < base.position or (at_most is not None and row.tip.position > at_most):
                continue
            try:
                await self._client.ask(partial(self._check_tip, tip=row.tip))
                return await self.load(row)
            except (UnreadableSnapshotError, LogRolledBackError):
                continue
        if base == EMPTY_TIP:
            return None
        trimmed = f"the commits up to position {base.position} were trimmed"
        raise damaged(f"{trimmed}, and the snapshot in their place can't be read")

    # Removing

    async def drop_older(self, before: Position) -> None:
        """Erase the snapshots below position `before`, except for the base: no byte of them is left."""
        await self._client.ask(lambda nats: meta.raise_position(nats, self._layout, meta.SNAPSHOTS_FROM, before))
        await self._drop(lambda tip, base: tip.position < before and tip != base)

    async def drop_trimmed(self) -> None:
        """Erase the snapshots before the base."""
        await self._drop(lambda tip, base: tip.position < base.position)

    async def _thin_out(self) -> None:
        """Keep the store from filling with snapshots; the base and the newest stay."""
        rows = await self._client.ask(self.finished)
        if len(rows) >= SNAPSHOTS_MAX:
            others = {row.tip for row in rows[1::2]}
            await self._drop(lambda tip, base: tip in others and tip != base)

    async def _drop(self, is_over: Callable[[Tip, Tip], bool]) -> None:
        """Erase the snapshots with a tip for which `is_over` is true, given the base."""
        rows = await self._client.ask(self.finished)
        _, base = await self._client.ask(self._bounds)
        for row in rows:
            if is_over(row.tip, base):
                await self._erase(row)

    async def _erase(self, row: SnapshotRow) -> None:
        """Overwrite a snapshot, its entry first: so it does not count any more."""
        sequences = [row.entry, *row.parts] if row.entry else row.parts
        for start in range(0, len(sequences), ERASED_AT_ONCE):
            for_now = sequences[start : start + ERASED_AT_ONCE]
            await self._client.ask(partial(erase, stream=self._stream, sequences=for_now))

    async def _sweep(self, nats: Nats) -> None:
        """Remove the parts of snapshots without an entry, if they are old."""
        finished = {f"{self._prefix}.C.{nuid}" for _, nuid in await self._list(nats)}
        for subject in await subjects(nats, self._stream, f"{self._prefix}.C.*"):
            if subject not in finished:
                last = await stored(nats, self._stream, {"last_by_subj": subject})
                now = (await api(nats, f"STREAM.INFO.{self._stream}"))["ts"]
                if last is not None and datetime.fromisoformat(now) - datetime.fromisoformat(last.time) > UNFINISHED:
                    await api(nats, f"STREAM.PURGE.{self._stream}", {"filter": subject})
