"""The guarantees of `EventLog` as tests for any backend: subclass `LogContract` with a factory."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from events.commands import Command, Disconnect, EnterQueue
from events.commit import EMPTY_TIP, Commit, Tip, redact
from events.ids import POSITION_MAX, CommitId, RoomId
from events.log import Conflict, DeliveryRecord, EventLog, OperationRecord, Snapshot, UnreadableSnapshotError
from projections.state import State, fold
from tests.support.fake_clock import settle
from tests.support.limits import HUNG_SECONDS
from tests.support.logs import log_of, run
from tests.support.people import ANN, BOB, CAT, DAN, enter, leave_queue, say


def chain(length: int) -> list[Commit]:
    """Return a log of `length` commits."""
    again: list[Command] = [enter(ANN), leave_queue(ANN)]
    return log_of(*(again * (length // 2 + 1)), step_ms=20_000)[:length]


def another_after(commits: Sequence[Commit]) -> Commit:
    """Return another possible next commit after `commits`."""
    return log_of(enter(DAN), state=fold(commits))[0]


def conversation(*texts: str) -> list[Commit]:
    """Return a log: Ann and Bob are paired at position 2, and Ann sends each text."""
    return log_of(enter(ANN), enter(BOB), *(say(ANN, text, room=RoomId("r_2")) for text in texts))


async def all_of(log: EventLog) -> list[Commit]:
    """Return all commits of a log."""
    return list(await log.read(0, 10_000))


class PickledStates:
    """A codec of test states as lines of JSON."""

    def encode(self, state: Any) -> Iterator[bytes]:
        """Return a line for each 500 bytes."""
        pickled = pickle.dumps(state).hex()
        for start in range(0, len(pickled), 1_000):
            yield msgspec.json.encode(pickled[start : start + 1_000])

    def decode(self, lines: Iterable[bytes]) -> Any:
        """Return the original state."""
        try:
            return pickle.loads(bytes.fromhex("".join(msgspec.json.decode(line, type=str) for line in lines)))
        except (msgspec.DecodeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise UnreadableSnapshotError(str(error)) from error


class LogContract:
    """The guarantees of `events.log.EventLog`."""

    lost_tip_error: type[Exception] = Conflict
    """Raised by an append after a tip that the log does not have, and can't have trimmed."""

    async def make(self) -> EventLog:
        """Return an empty log."""
        raise NotImplementedError

    def test_an_empty_log_is_at_position_0(self) -> None:
        """An empty log has no commits, no base and no snapshot."""

        async def scenario() -> None:
            log = await self.make()
            assert (await log.tip(), await all_of(log), log.base) == (EMPTY_TIP, [], EMPTY_TIP)
            assert await log.newest_snapshot() is None

        run(scenario)

    def test_what_was_appended_is_read_in_order(self) -> None:
        """Commits are read as they were appended, one by one or in batches."""

        async def scenario() -> None:
            log, commits = await self.make(), chain(7)
            assert await log.append(commits[:1], expected=EMPTY_TIP) == commits[0].tip
            assert await log.append(commits[1:5], expected=commits[0].tip) == commits[4].tip
            assert await log.append(commits[5:], expected=commits[4].tip) == commits[6].tip
            assert await all_of(log) == commits
            assert await log.tip() == commits[-1].tip

        run(scenario)

    def test_a_read_begins_behind_its_position_and_keeps_its_limit(self) -> None:
        """A read begins after its position and returns up to its limit."""

        async def scenario() -> None:
            log, commits = await self.make(), chain(7)
            await log.append(commits, expected=EMPTY_TIP)
            assert list(await log.read(0, 3)) == commits[:3]
            assert list(await log.read(3, 2)) == commits[3:5]
            assert list(await log.read(6, 10)) == commits[6:]
            assert list(await log.read(7, 10)) == []
            assert list(await log.read(99, 10)) == []

        run(scenario)

    def test_a_batch_of_nothing_changes_nothing(self) -> None:
        """An empty append is done at the tip, and a conflict elsewhere."""

        async def scenario() -> None:
            log, commits = await self.make(), chain(2)
            await log.append(commits, expected=EMPTY_TIP)
            assert await log.append([], expected=commits[1].tip) == commits[1].tip
            with pytest.raises(Conflict):
                await log.append([], expected=commits[0].tip)
            assert await all_of(log) == commits

        run(scenario)

    @pytest.mark.parametrize("expected", [EMPTY_TIP, Tip(2, CommitId("f" * 32)), Tip(9, CommitId("f" * 32))])
    def test_another_tip_is_a_conflict_that_stores_nothing(self, expected: Tip) -> None:
        """An append after any other tip is refused, and stores nothing."""

        async def scenario() -> None:
            log, commits = await self.make(), chain(2)
            await log.append(commits, expected=EMPTY_TIP)
            late = msgspec.structs.replace(another_after(commits), position=expected.position + 1)
            with pytest.raises(Conflict if expected == EMPTY_TIP else self.lost_tip_error):
                await log.append([late], expected=expected)
            assert await all_of(log) == commits
            assert await log.tip() == commits[1].tip

        run(scenario)

    def test_a_batch_is_stored_as_a_whole_or_not_at_all(self) -> None:
        """A batch with only a beginning like the stored commits is a conflict."""

        async def scenario() -> None:
            log, commits = await self.make(), chain(3)
            await log.append(commits, expected=EMPTY_TIP)
            with pytest.raises(Conflict):
                await log.append([commits[2], another_after(commits)], expected=commits[1].tip)
            with pytest.raises(Conflict):
                await log.append([another_after(commits[:2]), another_after(commits)], expected=commits[1].tip)
            assert await all_of(log) == commits

        run(scenario)

    def test_an_append_that_had_landed_is_answered_as_done(self) -> None:
        """A repeated append is done already, also after later commits."""

        async def scenario() -> None:
            log, commits = await self.make(), chain(5)
            await log.append(commits[:3], expected=EMPTY_TIP)
            assert await log.append(commits[:3], expected=EMPTY_TIP) == commits[2].tip
            assert await log.append(commits[1:3], expected=commits[0].tip) == commits[2].tip
            await log.append(commits[3:], expected=commits[2].tip)
            assert await log.append(commits[:3], expected=EMPTY_TIP) == commits[4].tip
            assert await all_of(log) == commits

        run(scenario)

    def test_a_conflict_brings_the_next_commits_or_none(self) -> None:
        """The loser need not read them; after a tip of another log, there is no next commit."""

        async def scenario() -> None:
            log, commits = await self.make(), chain(4)
            await log.append(commits, expected=EMPTY_TIP)
            for length in range(4):
                with pytest.raises(Conflict) as conflict:
                    await log.append(
                        [another_after(commits[:length])], expected=commits[length - 1].tip if length else EMPTY_TIP
                    )
                assert list(conflict.value.missed) in (commits[length:], [])
            for never in (Tip(2, CommitId("f" * 32)), Tip(9, CommitId("f" * 32))):
                with pytest.raises(self.lost_tip_error) as error:
                    await log.append([], expected=never)
                assert not isinstance(error.value, Conflict) or list(error.value.missed) == []

        run(scenario)

    def test_a_turn_brings_the_next_commits_or_none(self) -> None:
        """An append during the turn works as usual."""

        async def scenario() -> None:
            log, commits = await self.make(), chain(4)
            await log.append(commits[:3], expected=EMPTY_TIP)
            async with log.turn(1) as missed:
                assert list(missed) in (commits[1:3], [])
                await log.append(commits[3:], expected=commits[2].tip)
            assert await all_of(log) == commits

        run(scenario)

    def test_a_probe_makes_no_commit(self) -> None:
        """This holds for an empty log, and between two appends."""

        async def scenario() -> None:
            log, commits = await self.make(), chain(2)
            await log.probe()
            assert await log.tip() == EMPTY_TIP
            await log.append(commits[:1], expected=EMPTY_TIP)
            await log.probe()
            await log.append(commits[1:], expected=commits[0].tip)
            assert await all_of(log) == commits

        run(scenario)

    def test_of_two_writers_at_one_tip_one_wins(self) -> None:
        """One of two writers gets a conflict, and stores nothing."""

        async def scenario() -> None:
            log, commits = await self.make(), chain(2)
            await log.append(commits, expected=EMPTY_TIP)
            rivals = [log_of(enter(who), state=fold(commits)) for who in (ANN, BOB, CAT, DAN)]
            answers = await asyncio.gather(
                *(log.append(rival, expected=commits[1].tip) for rival in rivals), return_exceptions=True
            )
            won = [n for n, answer in enumerate(answers) if isinstance(answer, Tip)]
            assert len(won) == 1
            assert all(isinstance(answer, Conflict) for n, answer in enumerate(answers) if n not in won)
            assert await all_of(log) == [*commits, *rivals[won[0]]]

        run(scenario)

    def test_many_writers_that_try_again_make_one_chain(self) -> None:
        """Writers with a fold and a retry all succeed, each once, in one chain."""

        async def scenario() -> None:
            log = await self.make()

            async def writer(number: int) -> None:
                who = type(ANN)(f"c_{number}")
                for command in (enter(who), Disconnect(who, "disconnected", POSITION_MAX)):
                    while True:
                        state = fold(await log.read(0, 10_000))
                        commits = log_of(command, state=state)
                        await settle(1)
                        try:
                            await log.append(commits, expected=state.tip)
                        except Conflict:
                            continue
                        break

            await asyncio.gather(*(writer(number) for number in range(8)))
            commits = await all_of(log)
            fold(commits)
            entered = [c.command.connection_id for c in commits if isinstance(c.command, EnterQueue)]
            assert sorted(entered) == [f"c_{number}" for number in range(8)]

        run(scenario)

    def test_a_follower_gets_each_commit_once_in_order(self) -> None:
        """A follower gets the stored commits, then the new ones, each once and in order."""

        async def scenario() -> None:
            log, commits = await self.make(), chain(6)
            await log.append(commits[:3], expected=EMPTY_TIP)
            heard: asyncio.Queue[Commit] = asyncio.Queue()

            async def follow() -> None:
                async with aclosing(log.follow(1)) as followed:
                    async for commit in followed:
                        heard.put_nowait(commit)

            async def hear(count: int) -> list[Commit]:
                return [await asyncio.wait_for(heard.get(), HUNG_SECONDS) for _ in range(count)]

            following = asyncio.ensure_future(follow())
            assert await hear(2) == commits[1:3]
            await log.append(commits[3:4], expected=commits[2].tip)
            await log.append(commits[4:], expected=commits[3].tip)
            assert await hear(3) == commits[3:]
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            assert heard.empty()

        run(scenario)

    def test_two_followers_hear_the_same(self) -> None:
        """Two followers get the same commits."""

        async def scenario() -> None:
            log, commits = await self.make(), chain(4)

            async def follow() -> list[Commit]:
                heard = []
                async with aclosing(log.follow(0)) as followed:
                    async for commit in followed:
                        heard.append(commit)
                        if len(heard) == len(commits):
                            break
                return heard

            following = [asyncio.ensure_future(follow()) for _ in range(2)]
            await settle(1)
            for number, commit in enumerate(commits):
                await log.append([commit], expected=commits[number - 1].tip if number else EMPTY_TIP)
            assert await asyncio.wait_for(asyncio.gather(*following), HUNG_SECONDS) == [commits, commits]

        run(scenario)

    def test_followers_end_when_the_log_is_closed(self) -> None:
        """Closing the log ends its followers."""

        async def scenario() -> None:
            log = await self.make()

            async def follow() -> list[Commit]:
                return [commit async for commit in log.follow(0)]

            following = asyncio.ensure_future(follow())
            await settle(1)
            await log.close()
            assert await asyncio.wait_for(following, HUNG_SECONDS) == []

        run(scenario)

    def test_a_snapshot_stands_in_for_what_is_forgotten(self) -> None:
        """After compaction, the fold from the base gives the same state."""

        async def scenario() -> None:
            log, commits = await self.make(), chain(6)
            await log.append(commits, expected=EMPTY_TIP)
            await log.compact(Snapshot(commits[3].tip, fold(commits[:4])))
            base = await log.newest_snapshot()
            assert base is not None
            assert base.tip == log.base == commits[3].tip
            assert list(await log.read(4, 10)) == commits[4:]
            assert list(await log.read(0, 10)) == commits[4:]
            assert list(await log.read(5, 10)) == commits[5:]
            assert isinstance(base.state, State)
            assert fold(await log.read(base.tip.position, 10), base.state) == fold(commits)

        run(scenario)

    def test_a_compacted_log_goes_on(self) -> None:
        """A compacted log takes appends, also if only the base is left."""

        async def scenario() -> None:
            log, commits = await self.make(), chain(4)
            await log.append(commits[:3], expected=EMPTY_TIP)
            await log.compact(Snapshot(commits[2].tip, fold(commits[:3])))
            assert (await log.tip(), await all_of(log)) == (commits[2].tip, [])
            with pytest.raises(Conflict):
                await log.append([another_after(commits[:2])], expected=commits[1].tip)
            await log.append(commits[3:], expected=commits[2].tip)
            assert await all_of(log) == commits[3:]

        run(scenario)

    def test_an_older_snapshot_changes_nothing(self) -> None:
        """Compacting with an older snapshot changes nothing."""

        async def scenario() -> None:
            log, commits = await self.make(), chain(6)
            await log.append(commits, expected=EMPTY_TIP)
            newer, older = (Snapshot(commits[n].tip, fold(commits[: n + 1])) for n in (3, 1))
            await log.compact(newer)
            await log.compact(older)
            await log.compact(newer)
            assert log.base == newer.tip
            assert await log.newest_snapshot() == newer
            assert await all_of(log) == commits[4:]

        run(scenario)

    def test_a_snapshot_of_a_log_that_is_all_there_shortens_a_start(self) -> None:
        """A saved snapshot gives the same state, and no commit is lost."""

        async def scenario() -> None:
            log, commits = await self.make(), chain(6)
            await log.append(commits, expected=EMPTY_TIP)
            for length in (2, 4):
                await log.save(Snapshot(commits[length - 1].tip, fold(commits[:length])))
            assert (log.base, await all_of(log)) == (EMPTY_TIP, commits)
            start = await log.newest_snapshot()
            if start is not None:
                assert start.tip == commits[3].tip
                assert fold(await log.read(start.tip.position, 10), start.state) == fold(commits)

        run(scenario)

    def test_a_snapshot_behind_the_base_is_of_no_use(self) -> None:
        """Saving a snapshot at or below the base changes nothing."""

        async def scenario() -> None:
            log, commits = await self.make(), chain(6)
            await log.append(commits, expected=EMPTY_TIP)
            base = Snapshot(commits[3].tip, fold(commits[:4]))
            await log.compact(base)
            await log.save(Snapshot(commits[1].tip, fold(commits[:2])))
            assert await log.newest_snapshot() == base

        run(scenario)

    def test_what_was_said_can_be_forgotten(self) -> None:
        """Redaction removes texts, keeps the chain, skips other positions, and can be repeated."""

        async def scenario() -> None:
            log, commits = await self.make(), conversation("one", "two", "three")
            await log.append(commits, expected=EMPTY_TIP)
            assert log.redacted_to == 0
            for _ in range(2):
                await log.redact([3, 5, 99], done_to=3)
            assert await all_of(log) == [redact(c) if c.position in (3, 5) else c for c in commits]
            assert fold(await all_of(log)) == fold(commits)
            assert log.redacted_to == 3
            await log.compact(Snapshot(commits[3].tip, fold(commits[:4])))
            await log.redact([4], done_to=5)
            assert (await all_of(log), log.redacted_to) == ([redact(commits[4])], 5)

        run(scenario)

    def test_snapshots_from_before_a_redaction_can_be_dropped(self) -> None:
        """The base and the snapshots from `snapshots_before` on stay; a start finds one of them, or none."""

        async def scenario() -> None:
            log, commits = await self.make(), conversation("one", "two", "three")
            await log.append(commits, expected=EMPTY_TIP)
            kept = Snapshot(commits[3].tip, fold(commits[:4]))
            await log.save(kept)
            await log.redact([3], done_to=3, snapshots_before=4)
            assert await log.newest_snapshot() in (kept, None)
            await log.redact([3], done_to=3, snapshots_before=5)
            assert await log.newest_snapshot() is None
            await log.compact(kept)
            await log.redact([5], done_to=5, snapshots_before=5)
            assert await log.newest_snapshot() == kept

        run(scenario)

    def test_delivery_records_are_never_an_error(self) -> None:
        """Delivery records of any position are accepted, and do not change the log."""

        async def scenario() -> None:
            log, commits = await self.make(), chain(2)
            await log.append(commits, expected=EMPTY_TIP)
            await log.record(
                [
                    DeliveryRecord(1, ANN, "get", 1),
                    DeliveryRecord(1, ANN, "get", 1),
                    DeliveryRecord(99, BOB, "inbox", 2),
                ]
            )
            await log.record([])
            assert await all_of(log) == commits

        run(scenario)

    def test_operation_records_are_never_an_error(self) -> None:
        """Operation records are accepted with and without deliveries, and do not change the log."""

        async def scenario() -> None:
            log, commits = await self.make(), chain(2)
            await log.append(commits, expected=EMPTY_TIP)
            refused = OperationRecord("refused", 5, 99, ANN, "send_message", "room_not_found")
            await log.record([], [OperationRecord("started", 1, 0), refused, refused])
            await log.record([DeliveryRecord(1, ANN, "get", 1)], [OperationRecord("stopped", 2, 2)])
            assert await all_of(log) == commits

        run(scenario)

    def test_an_epoch_names_one_log_for_its_lifetime(self) -> None:
        """Each log has its own constant epoch, without a dot."""

        async def scenario() -> None:
            log, other = await self.make(), await self.make()
            epoch = log.epoch
            await log.append(chain(2), expected=EMPTY_TIP)
            assert log.epoch == epoch != other.epoch
            assert epoch
            assert "." not in epoch

        run(scenario)
