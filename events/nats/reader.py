"""Reading a log in NATS for tools, by requests that change nothing: a user that may only read is enough."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from events.codec import UnreadableCommitError, decode_commit
from events.commit import BrokenChainError, Tip
from events.ids import ConnectionId, Position
from events.log import DeliveryRecord, OperationRecord, Snapshot, StateCodec, UnusableLogError
from events.nats import entries, meta
from events.nats.address import Address
from events.nats.client import Client
from events.nats.entries import Entry
from events.nats.errors import damaged
from events.nats.requests import PAGE_BYTES, JsonObject, Message, page, state_of, stored
from events.nats.snapshots import Snapshots
from events.packed_records import RECORDS_AT_ONCE, deliveries_in, deliveries_of, operations_in, operations_since
from events.store_reader import CLOCKS_DIFFER_MS

LINES_AT_ONCE = 500


class _CommitTime(msgspec.Struct):
    at_ms: int


_decode_time = msgspec.json.Decoder(_CommitTime).decode


class NatsReader:
    """`StoreReader` over one connection. `events.nats.open.open_reader` makes one."""

    def __init__(self, address: Address, base: Tip) -> None:
        self.base = base
        self.recorded_after: Position = 0
        self._layout = address.layout
        self._client = Client(address)

    async def tip(self) -> Tip:
        """Return the last commit's tip; see `StoreReader.tip`."""
        await self._look_at_base()
        return await self._client.ask(lambda nats: entries.tip(nats, self._layout))

    async def lines(self, after: Position, limit: int) -> Sequence[bytes]:
        """Return commits as lines of JSON; see `StoreReader.lines`.

        Raises:
            UnusableLogError: the first of them is missing, or can't be read. A later one ends the result.
        """
        found: list[bytes] = []
        at_once = LINES_AT_ONCE
        while len(found) < limit:
            try:
                at_once = min(at_once, limit - len(found))
                read = await self._client.ask(partial(self._page, after, at_once))
                if read.base is not None:
                    self.base = max(self.base, read.base)
                    if found and read.base.position > after:  # trimmed meanwhile
                        break
                for entry in read.entries:
                    found.append(_line_of(entry))
                    after = entry.position
            except UnusableLogError:
                if at_once > 1:
                    at_once //= 2  # what stands before the fault can be read
                    continue
                if found:
                    break
                raise
            if not read.entries or after >= read.last:
                break
        return found

    async def _page(self, after: Position, limit: int, nats: Nats) -> entries.Page:
        return await entries.read_page(nats, self._layout, after, limit)

    async def snapshot_tips(self) -> Sequence[Tip]:
        """Return the tips of the snapshots; see `StoreReader.snapshot_tips`."""
        await self._look_at_base()
        rows = await self._client.ask(Snapshots(self._layout, self._client, None).finished)
        return [row.tip for row in reversed(rows) if row.tip >= self.base]

    async def load_snapshot(self, at_most: Position | None, codec: StateCodec) -> Snapshot | None:
        """Return the newest readable snapshot up to `at_most`; see `StoreReader.load_snapshot`."""
        await self._look_at_base()
        return await Snapshots(self._layout, self._client, codec).newest(self.base, at_most)

    async def position_at(self, at_ms: int) -> Position:
        """Return the last position at `at_ms` or before; see `StoreReader.position_at`. It reads O(log n) commits."""
        high = (await self.tip()).position
        low = self.base.position
        while low < high:
            middle = (low + high + 1) // 2
            if await self._at_ms(middle) <= at_ms:
                low = middle
            else:
                high = middle - 1
        return low

    async def delivery_records(
        self, *, after: Position, last: Position, connection_id: ConnectionId | None
    ) -> Sequence[DeliveryRecord]:
        """Return the deliveries of some commits; see `StoreReader.delivery_records`. It reads all that are kept."""
        await self._look_at_base()
        await self.see_recorded_after()
        if await self._client.ask(self._state_of_deliveries) is None:
            return []
        found = [
            record
            async for message in self._messages(self._layout.deliveries_stream)
            for record in deliveries_in(message.data)
        ]
        return deliveries_of(found, max(after, self.base.position), last, connection_id)

    async def operation_records(self, since_ms: int = 0) -> Sequence[OperationRecord] | None:
        """Return the operation records since a time; see `StoreReader.operation_records`."""
        await self._look_at_base()
        if await self._client.ask(partial(state_of, stream=self._layout.operations_stream)) is None:
            return None
        messages = self._messages(self._layout.operations_stream, since_ms - CLOCKS_DIFFER_MS)
        found = [record async for message in messages for record in operations_in(message.data)]
        return operations_since(found, self.base.position, since_ms)

    async def _messages(self, stream: str, since_ms: int = 0) -> AsyncIterator[Msg]:
        """Yield the messages of a stream of records that were stored at Unix time `since_ms` or later."""
        start: dict[str, Any] = {"seq": 1}
        if since_ms > 0:
            start = {"start_time": datetime.fromtimestamp(since_ms / 1_000, UTC).isoformat()}
        while True:
            request = {**start, "batch": RECORDS_AT_ONCE, "max_bytes": PAGE_BYTES}
            messages = await self._client.ask(partial(page, stream=stream, request=request))
            for message in messages:
                start = {"seq": int((message.headers or {})["Nats-Sequence"]) + 1}
                yield message
            if not messages or (messages[-1].headers or {})["Nats-Num-Pending"] == "0":
                return

    async def close(self) -> None:
        """Disconnect; see `StoreReader.close`."""
        await self._client.close()

    async def see_recorded_after(self) -> None:
        """Read up to where deliveries may be missing: they were not loaded, are gone, or made room for later ones."""
        loaded = await self._client.ask(lambda nats: meta.position(nats, self._layout, meta.RECORDED_AFTER))
        self.recorded_after = max(self.recorded_after, loaded)
        state = await self._client.ask(self._state_of_deliveries)
        if state is None or (state["messages"] == 0 < state["last_seq"]):  # deleted or purged
            tip = await self._client.ask(lambda nats: entries.tip(nats, self._layout))
            self.recorded_after = max(self.recorded_after, tip.position)
            return
        first = await self._client.ask(self._first_deliveries)
        if first is not None and first.sequence > 1:
            # Those before it are gone. They were of commits that were there when it came, or that it names.
            came_ms = int(datetime.fromisoformat(first.time).timestamp() * 1_000)
            named = [record.position for record in deliveries_in(first.data)]
            self.recorded_after = max(self.recorded_after, await self.position_at(came_ms), *named)

    async def _state_of_deliveries(self, nats: Nats) -> JsonObject | None:
        return await state_of(nats, self._layout.deliveries_stream)

    async def _first_deliveries(self, nats: Nats) -> Message | None:
        request = {"seq": 1, "next_by_subj": self._layout.deliveries_subject}
        return await stored(nats, self._layout.deliveries_stream, request)

    async def _at_ms(self, position: Position) -> int:
        read = await self._client.ask(partial(self._page, position - 1, 1))
        if not read.entries:
            raise damaged(f"the log's commit at position {position} is missing")
        try:
            return _decode_time(read.entries[0].line).at_ms
        except msgspec.DecodeError as error:
            raise _unreadable(position, error) from error

    async def _look_at_base(self) -> None:
        self.base = max(self.base, await self._client.ask(lambda nats: meta.base(nats, self._layout)))


def _line_of(entry: Entry) -> bytes:
    """Return the line of an entry.

    Raises:
        UnusableLogError: it is damaged, or stands under another id.
    """
    if b'"commit_id":"%b"' % entry.commit_id.encode() in entry.line:
        return entry.line
    try:
        commit_id = decode_commit(entry.line).commit_id  # it may be spelled in another way than this program's
    except (UnreadableCommitError, BrokenChainError) as error:
        raise _unreadable(entry.position, error) from error
    if commit_id != entry.commit_id:
        raise _unreadable(entry.position, LookupError("it stands under another id"))
    return entry.line


def _unreadable(position: Position, error: Exception) -> UnusableLogError:
    return damaged(f"the log's commit at position {position} can't be read ({error})")
