"""The log in Redis or Valkey: `EventLog` over a stream.

An append is one script, so one round trip, and no command's cost grows with the log. Texts stand beside the stream:
see `events.redis.texts`. All calls go through clients of this log, so a cancelled caller leaves nothing behind; what
blocks (followers, turns, subscribers) has connections of its own.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress

import msgspec
import structlog

from events.commit import Commit, Tip
from events.ids import Position
from events.known_commits import KnownCommits
from events.log import (
    MISSED_COMMITS_MAX,
    Conflict,
    DeliveryRecord,
    LogRolledBackError,
    LogUnavailableError,
    OperationRecord,
    Snapshot,
    StateCodec,
)
from events.redis import snapshots
from events.redis.address import Address
from events.redis.client import Argument, Client
from events.redis.coordination import RedisCoordination
from events.redis.entries import check_answer, check_folded, commits_known, commits_of, tip_of
from events.redis.following import Followers
from events.redis.scripts import APPEND, PROBE, READ, RECORD, REDACT, RUN, TIP
from events.redis.session_records import RedisSessionRecords
from events.redis.texts import split
from events.redis.turns import Turns

logger = structlog.get_logger(__name__)

DELIVERY_RECORDS_KEPT = 100_000
OPERATIONS_KEPT = 10_000
"""Operation records kept: so many refusals, and as many others."""

BROKERS_KEPT = 1_000
"""Brokers with a last sign of life that is kept."""
STORED, STORED_OUT_OF_TURN, LATE, ROLLED_BACK = 1, 3, 0, -1
"""Answers of the script `APPEND`."""

REWRITE_SECONDS = 3_600
"""The shortest time between two rewrites of the append-only file for the sake of redacted texts."""


class Opened(msgspec.Struct, frozen=True):
    """What is known of a log when it is opened."""

    epoch: str
    secret: bytes
    base: Tip
    redacted_to: Position
    survives: str
    has_file: bool
    """Whether the engine keeps an append-only file."""


class RedisLog:
    """`EventLog` in an engine. `events.redis.open.open_log` makes one; `survives` says how durable `append` is.

    Every method but `save`, `record` and `close` raises `LogUnavailableError` while the engine can't be reached or
    refuses, and works again once it can.
    """

    is_shared = True
    never_waits = False
    keeps_delivery_records = True
    keeps_operation_records = True

    def __init__(self, address: Address, codec: StateCodec, opened: Opened) -> None:
        keys = self._keys = address.keys
        self.epoch = opened.epoch
        self.survives = opened.survives
        self._codec = codec
        self._base = opened.base
        self._redacted_to = opened.redacted_to
        self._writing, self._reading, self._aside = Client(address), Client(address), Client(address)
        self._known = KnownCommits()
        self._followers = Followers(address, self._known)
        self._turns = Turns(address, self._writing, self._known)
        self.coordination = RedisCoordination(address, self._aside)
        self.session_records = RedisSessionRecords(opened.secret, keys, self._aside)
        self._append_keys = (keys.log, keys.texts, keys.meta, keys.pen, keys.turn)
        self._read_keys = (keys.log, keys.texts, keys.meta)
        self._has_file = opened.has_file
        self._is_rewrite_due = False
        self._rewritten = -float(REWRITE_SECONDS)
        self.is_contended = False

    async def connect(self) -> None:
        """Connect what has to be quick from the first use on; raises as `events.redis.client.connect`."""
        await self._turns.connect()

    @property
    def base(self) -> Tip:
        """The last trimmed commit, as of the last answer; see `EventLog.base`."""
        return self._base

    @property
    def redacted_to(self) -> Position:
        """See `EventLog.redacted_to`; as of the last `redact` here, or of the opening."""
        return self._redacted_to

    async def append(self, commits: Sequence[Commit], *, expected: Tip) -> Tip:
        """Store `commits` by one script; see `EventLog.append`. It passes on the turn, if this log has it."""
        assert not commits or commits[-1].position == expected.position + len(commits)
        arguments: list[Argument] = [*expected, self._turns.pass_on(), MISSED_COMMITS_MAX, len(commits)]
        for commit in commits:
            arguments += (commit.commit_id, *split(commit))
        self._known.add(commits)
        code, *found = check_folded(await self._writing.run(APPEND, self._append_keys, *arguments))
        self.is_contended = code == STORED_OUT_OF_TURN
        if code in (STORED, STORED_OUT_OF_TURN):
            return commits[-1].tip if commits else expected
        if code == LATE:
            base, entries, texts = found
            self._see_base(*base)
            raise Conflict(commits_known(self._known, entries, texts))
        tip = tip_of(*found)
        if code == ROLLED_BACK:
            raise LogRolledBackError(
                f"the log was rolled back: it ends at position {tip.position} with commit {tip.commit_id or 'none'},"
                f" and lacks commit {expected.commit_id} at position {expected.position}, which it had"
            )
        return tip

    async def read(self, after: Position, limit: int) -> Sequence[Commit]:
        """Read the commits after `after`; see `EventLog.read`. Never waits for an append."""
        position, commit_id, entries, texts = check_answer(await self._reading.run(READ, self._read_keys, after, limit))
        self._see_base(position, commit_id)
        return commits_of(entries, texts)

    def follow(self, after: Position) -> AsyncIterator[Commit]:
        """Follow the commits after `after`, of all brokers; see `EventLog.follow`."""
        return self._followers.follow(after)

    async def tip(self) -> Tip:
        """Return the last commit's tip; see `EventLog.tip`."""
        found = check_answer(await self._reading.run(TIP, (self._keys.log, self._keys.meta)))
        self._see_base(*found[:2])
        return tip_of(*found[2:])

    def turn(self, after: Position) -> AbstractAsyncContextManager[Sequence[Commit]]:
        """Wait in line to write; see `EventLog.turn`."""
        return self._turns.turn(after)

    async def newest_snapshot(self) -> Snapshot | None:
        """Return the newest readable snapshot; see `EventLog.newest_snapshot`."""
        await self.tip()
        return await snapshots.newest(self._reading, self._keys, self._base, self._codec)

    async def save(self, snapshot: Snapshot) -> None:
        """Keep `snapshot`, if possible; see `EventLog.save`. Appends go on meanwhile."""
        with suppress(LogUnavailableError, LogRolledBackError):
            await snapshots.write(self._aside, self._keys, snapshot, self._codec, is_base=False)

    async def compact(self, snapshot: Snapshot) -> None:
        """Forget the commits up to `snapshot`; see `EventLog.compact`. Appends go on meanwhile, of any broker.

        The commits count as gone at once, for every reader. If deleting them is cut short, the next call or the next
        start finishes it.

        Raises:
            LogUnavailableError: the engine did not answer.
            LogRolledBackError: the snapshot's tip is no commit of this log.
        """
        if snapshot.tip.position > self._base.position:
            await snapshots.write(self._aside, self._keys, snapshot, self._codec, is_base=True)
        await self.tip()
        await snapshots.trim(self._aside, self._keys)

    async def redact(self, positions: Sequence[Position], *, done_to: Position, snapshots_before: Position = 0) -> None:
        """Redact the texts at `positions`; see `EventLog.redact`.

        The engine's memory holds nothing of them then. The append-only file does until its next rewrite, which this
        asks for, once an hour at most.
        """
        keys = (self._keys.texts, self._keys.meta, self._keys.snapshots)
        (reached,) = check_answer(await self._aside.run(REDACT, keys, done_to, snapshots_before, *positions))
        self._redacted_to = max(self._redacted_to, int(reached))
        self._is_rewrite_due |= bool(positions) and self._has_file
        if self._is_rewrite_due and time.monotonic() - self._rewritten >= REWRITE_SECONDS:
            await self._rewrite()

    async def record(
        self, delivery_records: Sequence[DeliveryRecord], operation_records: Sequence[OperationRecord] = ()
    ) -> None:
        """Store the records, if they can be; see `EventLog.record`."""
        others: list[OperationRecord] = []
        refusals: list[OperationRecord] = []
        with suppress(LogUnavailableError):
            await self._keep(self._keys.deliveries, DELIVERY_RECORDS_KEPT, delivery_records)
            for record in operation_records:
                if record.kind == "running":
                    running = self._keys.running, self._keys.meta
                    await self._aside.run(RUN, running, BROKERS_KEPT, record.broker, msgspec.json.encode(record))
                else:
                    (refusals if record.kind == "refused" else others).append(record)
            await self._keep(self._keys.operations, OPERATIONS_KEPT, others)
            await self._keep(self._keys.refusals, OPERATIONS_KEPT, refusals)

    async def _keep(self, key: str, kept: int, records: Sequence[DeliveryRecord] | Sequence[OperationRecord]) -> None:
        """Store `records` of one kind as one entry."""
        if records:
            highest = max(one.position if isinstance(one, DeliveryRecord) else one.after for one in records)
            packed = msgspec.json.encode(records)
            await self._aside.run(RECORD, (key, self._keys.meta), kept, len(records), highest, packed)

    async def probe(self) -> None:
        """Write a field that means nothing; see `EventLog.probe`."""
        check_answer(await self._writing.run(PROBE, (self._keys.meta,)))

    async def close(self) -> None:
        """Finish the calls that were made, and disconnect; followers and subscribers end. See `EventLog.close`."""
        await self._followers.close()
        await self.coordination.close()
        await self._turns.close()
        for client in (self._writing, self._reading, self._aside):
            await client.close()

    def _see_base(self, position: int, commit_id: bytes) -> None:
        self._base = max(self._base, tip_of(int(position), commit_id))

    async def _rewrite(self) -> None:
        try:
            await self._aside.call(b"BGREWRITEAOF")
        except LogUnavailableError as error:
            if "already in progress" in str(error):
                return  # one that may have begun before; the next call asks again
            logger.warning("redacted_texts_stay_in_file", reason=str(error))
        self._is_rewrite_due, self._rewritten = False, time.monotonic()
