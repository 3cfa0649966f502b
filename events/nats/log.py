"""The log in NATS: `EventLog` over a stream of JetStream. The sequence of a message is the position of its commit.

An append is one message or an atomic batch. A redacted commit is deleted, with a stand-in beside the stream. A broker
has a connection for appends and turns, one for reads and one for chores; each follower and subscriber has its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial

import msgspec
from nats.aio.client import Client as Nats
from nats.js.errors import APIError

from events.commit import Commit, Tip
from events.ids import POSITION_MAX, Position
from events.known_commits import KnownCommits
from events.log import (
    Conflict,
    DeliveryRecord,
    LogRolledBackError,
    LogUnavailableError,
    OperationRecord,
    Snapshot,
    StateCodec,
    UnusableLogError,
)
from events.nats import entries, meta, redaction
from events.nats.address import Address
from events.nats.appending import Late, append
from events.nats.client import Client
from events.nats.coordination import NatsCoordination
from events.nats.entries import commits_known
from events.nats.errors import LogGoneError, not_stored
from events.nats.following import Followers
from events.nats.requests import EXPECTED_SEQUENCE, ROLLUP, WRONG_SEQUENCE, Draft, publish
from events.nats.session_records import NatsSessionRecords
from events.nats.snapshots import Snapshots
from events.nats.turns import TurnNotes, Turns
from events.nats.upkeep import Upkeep

READ_AT_ONCE = 1_000
RECORDS_PER_MESSAGE = 1_000


class Opened(msgspec.Struct, frozen=True):
    """The values of a log at its opening."""

    epoch: str
    secret: bytes
    base: Tip
    redacted_to: Position
    survives: str
    values: Mapping[str, bytes]
    """All of the bucket `META`, to be put back if they are lost."""


class NatsLog:
    """`EventLog` in a stream. `events.nats.open.open_log` makes one; `survives` says how durable `append` is.

    Every method but `save`, `record`, `turn` and `close` raises `LogUnavailableError` while the server does not answer,
    and works again once it does. An append has up to 1,000 commits.
    """

    is_shared = True
    never_waits = False
    keeps_delivery_records = True
    keeps_operation_records = True

    def __init__(self, address: Address, codec: StateCodec, opened: Opened) -> None:
        layout = self._layout = address.layout
        self.epoch = opened.epoch
        self.survives = opened.survives
        self._base = opened.base
        self._redacted_to = opened.redacted_to
        notes = TurnNotes(layout)
        self._writing, self._reading, self._aside = Client(address, notes.listen), Client(address), Client(address)
        self._known = KnownCommits()
        self._followers = Followers(address, self._known)
        self._turns = Turns(layout, self._writing, notes, self._known)
        self._turn_notes = notes
        self._snapshots = Snapshots(layout, self._aside, codec)
        self.coordination = NatsCoordination(address, self._aside)
        self.session_records = NatsSessionRecords(opened.secret, layout, self._aside)
        self._upkeep = Upkeep(layout, self._aside, opened.values)
        self.is_contended = False

    async def begin(self) -> None:
        """Connect early for quick first calls, and begin to look after the streams. Raises `LogUnavailableError`."""
        await self._writing.connection()
        await self._reading.connection()
        self._upkeep.start()

    @property
    def base(self) -> Tip:
        """The last trimmed commit, as of the last look; see `EventLog.base`."""
        return self._base

    @property
    def redacted_to(self) -> Position:
        """See `EventLog.redacted_to`; as of the last `redact` here, or of the opening."""
        return self._redacted_to

    async def append(self, commits: Sequence[Commit], *, expected: Tip) -> Tip:
        """Store `commits`, all or none; see `EventLog.append`. It passes on the turn, if this log has it."""
        assert not commits or commits[-1].position == expected.position + len(commits)
        self._upkeep.check()
        has_turn = self._turns.has_one
        self._known.add(commits)
        try:
            found = await self._writing.ask(lambda nats: append(nats, self._layout, commits, expected))
        except LogGoneError as error:
            raise LogRolledBackError(str(error)) from error
        except LogUnavailableError as error:
            raise not_stored(error) from error.__cause__
        finally:
            self._turns.pass_on()
        if isinstance(found, Late):
            raise Conflict(commits_known(self._known, found.missed))
        self.is_contended = not has_turn and self._turn_notes.is_taken
        return found

    async def read(self, after: Position, limit: int) -> Sequence[Commit]:
        """Read the commits after `after`; see `EventLog.read`. Never waits for an append."""
        commits: list[Commit] = []
        while len(commits) < limit:
            at_once = min(limit - len(commits), READ_AT_ONCE)
            page = await self._reading.ask(partial(self._page, after, at_once))
            commits += map(entries.commit_of, page.entries)
            if page.base is not None:
                self._see_base(page.base)
            if not page.entries or page.entries[-1].position >= page.last:
                break
            after = page.entries[-1].position
        return commits

    async def _page(self, after: Position, limit: int, nats: Nats) -> entries.Page:
        return await entries.read_page(nats, self._layout, after, limit)

    def follow(self, after: Position) -> AsyncIterator[Commit]:
        """Follow the commits after `after`, of all brokers; see `EventLog.follow`."""
        return self._followers.follow(after)

    async def tip(self) -> Tip:
        """Return the last commit's tip; see `EventLog.tip`."""
        self._upkeep.check()
        return await self._reading.ask(lambda nats: entries.tip(nats, self._layout))

    def turn(self, after: Position) -> AbstractAsyncContextManager[Sequence[Commit]]:
        """Wait in line to write; see `EventLog.turn`."""
        return self._turns.turn(after)

    async def newest_snapshot(self) -> Snapshot | None:
        """Return the newest readable snapshot; see `EventLog.newest_snapshot`."""
        await self._look_at_base()
        return await self._snapshots.newest(self._base)

    async def save(self, snapshot: Snapshot) -> None:
        """Keep `snapshot`, if possible; see `EventLog.save`. Appends go on meanwhile."""
        with suppress(LogUnavailableError, LogRolledBackError, UnusableLogError):
            await self._snapshots.write(snapshot, is_base=False)

    async def compact(self, snapshot: Snapshot) -> None:
        """Forget the commits up to `snapshot`; see `EventLog.compact`. Appends go on meanwhile, of any broker.

        The snapshot is stored first, then the commits are deleted. If that is cut short, the next call or the next
        start finishes it. Their bytes stay in the server's files until it compacts those.

        Raises:
            LogUnavailableError: the server did not answer.
            LogRolledBackError: the snapshot's tip is no commit of this log.
        """
        await self._snapshots.write(snapshot, is_base=True)
        await self._look_at_base()
        await self._aside.ask(lambda nats: redaction.trim(nats, self._layout))
        await self._snapshots.drop_trimmed()

    async def redact(self, positions: Sequence[Position], *, done_to: Position, snapshots_before: Position = 0) -> None:
        """Redact the texts at `positions`; see `EventLog.redact`. Their bytes are overwritten in the server's files.

        Servers of a cluster have them in their Raft logs until they compact those by themselves. A server that crashes
        after it has noted a deletion, and before it has overwritten the bytes, keeps those until it compacts their
        file: it takes the message for deleted then, and erases no deleted one.
        """
        for start in range(0, len(positions), redaction.REDACTED_AT_ONCE):
            page = positions[start : start + redaction.REDACTED_AT_ONCE]
            await self._aside.ask(partial(redaction.redact_page, layout=self._layout, positions=page))
        reached = await self._aside.ask(lambda nats: meta.raise_position(nats, self._layout, meta.REDACTED_TO, done_to))
        self._redacted_to = max(self._redacted_to, reached)
        if snapshots_before:
            await self._snapshots.drop_older(snapshots_before)

    async def record(
        self, delivery_records: Sequence[DeliveryRecord], operation_records: Sequence[OperationRecord] = ()
    ) -> None:
        """Store the records, if they can be; see `EventLog.record`.

        They are several messages. The ends of brokers are in one of the last, as the proof that all before were stored.
        """
        layout = self._layout
        drafts = _drafts(layout.deliveries_subject, delivery_records)
        others = [one for one in operation_records if one.kind not in ("refused", "running")]
        refusals = [one for one in operation_records if one.kind == "refused"]
        drafts += _drafts(layout.operations_subject("refused"), refusals)
        drafts += _drafts(layout.operations_subject("other"), others)
        for record in operation_records:
            if record.kind == "running":
                (draft,) = _drafts(layout.operations_subject(f"running.{record.broker}"), [record])
                drafts.append(draft._replace(headers=ROLLUP))
        with suppress(LogUnavailableError):
            for draft in drafts:
                await self._aside.ask(partial(publish, message=draft))

    async def probe(self) -> None:
        """Try an impossible append, and write an empty value; see `EventLog.probe`."""
        self._upkeep.check()
        await self._writing.ask(self._probe)

    async def _probe(self, nats: Nats) -> None:
        await entries.last_position(nats, self._layout)
        impossible = Draft(f"{self._layout.name}.log.probe", b"", {EXPECTED_SEQUENCE: str(POSITION_MAX)})
        try:
            await publish(nats, impossible)
        except APIError as error:
            if error.err_code not in WRONG_SEQUENCE:
                raise
        await meta.put(nats, self._layout, meta.PROBE, b"")

    async def close(self) -> None:
        """Disconnect; followers and subscribers end. See `EventLog.close`."""
        await self._followers.close()
        await self.coordination.close()
        await self._turns.close()
        await self._upkeep.close()
        for client in (self._writing, self._reading, self._aside):
            await client.close()

    async def _look_at_base(self) -> None:
        self._see_base(await self._reading.ask(lambda nats: meta.base(nats, self._layout)))

    def _see_base(self, base: Tip) -> None:
        self._base = max(self._base, base)


def _drafts(subject: str, records: Sequence[DeliveryRecord] | Sequence[OperationRecord]) -> list[Draft]:
    """Return the messages with `records`, some in each."""
    starts = range(0, len(records), RECORDS_PER_MESSAGE)
    return [Draft(subject, msgspec.json.encode(records[start : start + RECORDS_PER_MESSAGE]), {}) for start in starts]
