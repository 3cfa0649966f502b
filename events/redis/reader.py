"""Reading a log in Redis for tools, by plain commands: a replica, or a user that may only read, is enough."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from events.codec import UnreadableCommitError, decode_commit
from events.commit import Tip
from events.ids import ConnectionId, Position
from events.log import DeliveryRecord, LogUnavailableError, OperationRecord, Snapshot, StateCodec, UnusableLogError
from events.packed_records import RECORDS_AT_ONCE, deliveries_in, deliveries_of, operations_in, operations_since
from events.redis import snapshots
from events.redis.address import Address
from events.redis.client import Client
from events.redis.entries import RESTORE, Entry, is_split, position_of, tip_of, unreadable, with_missing
from events.redis.texts import join_line
from events.store_reader import CLOCKS_DIFFER_MS

LINES_AT_ONCE = 500


class _CommitTime(msgspec.Struct):
    at_ms: int


_decode_time = msgspec.json.Decoder(_CommitTime).decode


class RedisReader:
    """`StoreReader` over one connection. `events.redis.open.open_reader` makes one."""

    def __init__(self, address: Address, base: Tip) -> None:
        self.base = base
        self.recorded_after: Position = 0
        self._keys = address.keys
        self._client = Client(address)

    async def tip(self) -> Tip:
        """Return the last commit's tip; see `StoreReader.tip`."""
        (entries,) = await self._with_base((b"XREVRANGE", self._keys.log, "+", "-", b"COUNT", 1))
        return tip_of(position_of(entries[0]), entries[0][1][1]) if entries else self.base

    async def lines(self, after: Position, limit: int) -> Sequence[bytes]:
        """Return commits as lines of JSON; see `StoreReader.lines`.

        Raises:
            UnusableLogError: the first of them is missing, or can't be read. A later one ends the result.
        """
        found: list[bytes] = []
        last = after
        while len(found) < limit:
            count = min(limit - len(found), LINES_AT_ONCE)
            page = await self._page(last, count)
            if found and self.base.position > last:  # trimmed meanwhile
                break
            last = max(last, self.base.position)
            for entry, missing in page:
                try:
                    found.append(_line_of(entry, missing, last + 1))
                except UnusableLogError:
                    if found:
                        return found
                    raise
                last += 1
            if len(page) < count:
                break
        return found

    async def snapshot_tips(self) -> Sequence[Tip]:
        """Return the tips of the snapshots; see `StoreReader.snapshot_tips`."""
        await self._with_base()
        rows = await snapshots.finished(self._client, self._keys, self.base.position, None)
        tips = [await snapshots.tip_of(self._client, row) for row in reversed(rows)]
        return [tip for tip in tips if tip is not None]

    async def load_snapshot(self, at_most: Position | None, codec: StateCodec) -> Snapshot | None:
        """Return the newest readable snapshot up to `at_most`; see `StoreReader.load_snapshot`."""
        await self._with_base()
        return await snapshots.newest(self._client, self._keys, self.base, codec, at_most)

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
        await self.see_recorded_after()
        found = [
            record async for entry in self._entries(self._keys.deliveries) for record in deliveries_in(entry[1][3])
        ]
        return deliveries_of(found, max(after, self.base.position), last, connection_id)

    async def operation_records(self, since_ms: int = 0) -> Sequence[OperationRecord] | None:
        """Return the operation records since a time; see `StoreReader.operation_records`."""
        await self._with_base()
        found = await self._operations(self._keys.operations, since_ms)
        found += await self._operations(self._keys.refusals, since_ms)
        running = await self._client.call(b"HVALS", self._keys.running)
        found += [record for packed in running for record in operations_in(b"[%b]" % packed)]
        return operations_since(found, self.base.position, since_ms)

    async def _operations(self, key: str, since_ms: int) -> list[OperationRecord]:
        """Return the records of one stream, as they were stored: of its pages, the last that may hold wanted ones."""
        found = list[OperationRecord]()
        end = b"+"
        while page := await self._client.call(b"XREVRANGE", key, end, b"-", b"COUNT", RECORDS_AT_ONCE):
            records = [record for entry in reversed(page) for record in operations_in(entry[1][3])]
            found[:0] = records
            if all(record.at_ms < since_ms - CLOCKS_DIFFER_MS for record in records):
                break
            end = b"(" + page[-1][0]
        return found

    async def _entries(self, key: str) -> AsyncIterator[Entry]:
        """Yield the entries of a stream of records."""
        start = "-"
        while page := await self._client.call(b"XRANGE", key, start, "+", b"COUNT", RECORDS_AT_ONCE):
            for entry in page:
                yield entry
            start = f"({page[-1][0].decode()}"

    async def close(self) -> None:
        """Disconnect; see `StoreReader.close`."""
        await self._client.close()

    async def see_recorded_after(self) -> None:
        """Read up to where deliveries may be missing: they were not loaded, or made room for later ones."""
        loaded, first = await self._client.call_all(
            [
                (b"HGET", self._keys.meta, b"handings_after"),
                (b"XRANGE", self._keys.deliveries, "-", "+", b"COUNT", 1),
            ]
        )
        self.recorded_after = int(loaded or 0)
        for entry in first:
            if position_of(entry) > len(deliveries_in(entry[1][3])):  # it is not the first that was ever recorded
                self.recorded_after = max(self.recorded_after, int(entry[1][1]))

    async def _page(self, start: Position, count: int) -> list[tuple[Entry, bytes | None]]:
        """Return the entries after `start`, or after the base if that is higher, with what their lines lack."""
        wanted = (b"XRANGE", self._keys.log, f"({start}-0", "+", b"COUNT", count)
        (found,) = await self._with_base(wanted)
        if self.base.position > start:  # trimmed meanwhile
            (found,) = await self._with_base((*wanted[:2], f"({self.base.position}-0", *wanted[3:]))
        split = [entry[0].partition(b"-")[0] for entry in found if is_split(entry)]
        texts = await self._client.call(b"HMGET", self._keys.texts, *split) if split else ()
        return list(with_missing(found, texts))

    async def _at_ms(self, position: Position) -> int:
        at = f"{position}-0"
        entries = await self._client.call(b"XRANGE", self._keys.log, at, at)
        if not entries:
            raise _gap_before(position + 1)
        try:
            return _decode_time(entries[0][1][3]).at_ms
        except msgspec.DecodeError as error:
            raise unreadable(position, error) from error

    async def _with_base(self, *commands: Any) -> list[Any]:
        """Return the answers to `commands`, and set `base` as of the same moment."""
        base, *answers = await self._client.call_all(
            [(b"HMGET", self._keys.meta, b"base_position", b"base_id"), *commands]
        )
        if base[0] is None:
            raise LogUnavailableError("the log is gone from Redis; restore it")
        self.base = max(self.base, tip_of(int(base[0]), base[1]))
        return answers


def _line_of(entry: Entry, missing: bytes | None, expected: Position) -> bytes:
    """Return the line of the entry that stands at position `expected`.

    Raises:
        UnusableLogError: it is of another position, or damaged.
    """
    entry_id, fields = entry
    if entry_id != b"%d-0" % expected:
        raise _gap_before(position_of(entry))
    try:
        if b'"commit_id":"%b"' % fields[1] not in fields[3]:
            _check_id(fields)
        return join_line(fields[3], missing) if missing is not None else fields[3]
    except (UnreadableCommitError, msgspec.DecodeError, LookupError) as error:
        raise unreadable(expected, error) from error


def _check_id(fields: Sequence[bytes]) -> None:
    """Check the commit id of an entry, which may be spelled in another way than this program's."""
    if decode_commit(fields[3]).commit_id.encode() != fields[1]:
        raise LookupError("it stands under another id")


def _gap_before(position: Position) -> UnusableLogError:
    return UnusableLogError(f"the log is damaged (commits before position {position} are missing); {RESTORE}")
