"""The guarantees of a log with several writing brokers, as tests: subclass one of the contracts with the factories.

`SharedLogContract` holds for every shared log, also those of tests. `SharedStoreContract` and `CoordinationContract`
hold for every engine.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest

from events.commit import EMPTY_TIP, Tip, redact
from events.coordination import NOTE_BYTES_MAX, Coordination
from events.ids import CommitId
from events.log import MISSED_COMMITS_MAX, TURN_MS, Conflict, EventLog, LogRolledBackError, Snapshot
from projections.state import fold
from tests.support import log_contract, session_records_contract
from tests.support.fake_clock import settle
from tests.support.limits import HUNG_SECONDS
from tests.support.log_contract import LogContract, all_of, another_after, chain, conversation
from tests.support.logs import run

TRIES = 20
HOLDER = -1


class ClosesLogs:
    """For tests of a contract over an engine: closes the logs in `self.logs` at the end of each scenario."""

    logs: list[EventLog]

    @pytest.fixture(autouse=True)
    def _closing_logs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.logs = []
        for module in (log_contract, sys.modules[__name__], session_records_contract):
            monkeypatch.setattr(module, "run", self.run)

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run an async test to its end, and close its logs."""

        async def whole() -> None:
            try:
                await work()
            finally:
                await asyncio.gather(*(log.close() for log in self.logs))
                self.logs.clear()

        asyncio.run(whole())


class SharedLogContract(LogContract):
    """The promises of a log with several writing brokers."""

    async def make_another(self, log: EventLog) -> EventLog:
        """Return another broker's access to the same log."""
        raise NotImplementedError

    async def make_some(self, count: int) -> list[EventLog]:
        """Return the access of `count` brokers to one empty log."""
        log = await self.make()
        return [log, *[await self.make_another(log) for _ in range(count - 1)]]

    async def until_in_line(self, log: EventLog, count: int) -> None:
        """Return once `count` brokers are in line; the last request came by `log`."""
        await log.tip()

    def test_it_says_that_others_write_it(self) -> None:
        """A broker follows such a log and confirms its answers; calls of the log may wait."""

        async def scenario() -> None:
            for log in await self.make_some(2):
                assert log.is_shared
                assert not log.never_waits

        run(scenario)

    def test_each_hears_what_the_other_appends(self) -> None:
        """A follower, a read and the tip have the other's commits."""

        async def scenario() -> None:
            (here, there), commits = await self.make_some(2), chain(4)
            await here.append(commits[:2], expected=EMPTY_TIP)
            await there.append(commits[2:], expected=commits[1].tip)
            for log in (here, there):
                heard = []
                async with aclosing(log.follow(0)) as followed:
                    while len(heard) < len(commits):
                        heard.append(await asyncio.wait_for(anext(followed), HUNG_SECONDS))
                assert heard == await all_of(log) == commits
                assert await log.tip() == commits[3].tip

        run(scenario)

    def test_a_conflict_brings_what_was_missed(self) -> None:
        """A lost race costs no second round trip; commits beyond the limit are left to be read."""

        async def scenario() -> None:
            (here, there), commits = await self.make_some(2), chain(MISSED_COMMITS_MAX + 3)
            await there.append(commits, expected=EMPTY_TIP)
            for length in (1, len(commits) - 2):
                with pytest.raises(Conflict) as conflict:
                    await here.append([another_after(commits[:length])], expected=commits[length - 1].tip)
                assert list(conflict.value.missed) == commits[length : length + MISSED_COMMITS_MAX]

        run(scenario)

    def test_a_turn_brings_what_was_missed(self) -> None:
        """With it, an append is likely to be the next."""

        async def scenario() -> None:
            (here, there), commits = await self.make_some(2), chain(MISSED_COMMITS_MAX + 3)
            await there.append(commits, expected=EMPTY_TIP)
            for after in (1, len(commits) - 2, len(commits)):
                async with here.turn(after) as missed:
                    assert list(missed) == commits[after : after + MISSED_COMMITS_MAX]

        run(scenario)

    def test_turns_are_taken_in_the_order_in_which_they_were_asked_for(self) -> None:
        """Each begins when the one before has ended. A busy machine may need another try."""

        async def scenario() -> None:
            loop, logs = asyncio.get_running_loop(), await self.make_some(5)
            for _ in range(TRIES):
                asked_s = loop.time()
                order = await in_line(*logs)
                if loop.time() - asked_s < TURN_MS / 1_000:  # else some have done without
                    assert order == [HOLDER, 0, 0, 1, 1, 2, 2, 3, 3]
                    return
            pytest.skip("this machine is too busy for turns")

        async def in_line(holder: EventLog, *logs: EventLog) -> list[int]:
            order: list[int] = []

            async def take(number: int, log: EventLog) -> None:
                async with log.turn(0):
                    order.append(number)
                    await settle(3)
                    order.append(number)

            async with holder.turn(0):
                taking = []
                for number, log in enumerate(logs):
                    taking.append(asyncio.ensure_future(take(number, log)))
                    await self.until_in_line(log, number + 1)
                order.append(HOLDER)
            await asyncio.gather(*taking)
            return order

        run(scenario)

    def test_an_append_passes_the_turn_on(self) -> None:
        """The next one gets the new commits."""

        async def scenario() -> None:
            (here, there), commits = await self.make_some(2), chain(2)
            async with here.turn(0), AsyncExitStack() as left:
                await here.append(commits, expected=EMPTY_TIP)
                assert list(await left.enter_async_context(there.turn(0))) == commits

        run(scenario)

    def test_an_append_without_a_turn_learns_that_another_broker_has_one(self) -> None:
        """It then asks for turns as well. One with a turn does not, nor one before any turn."""

        async def scenario() -> None:
            (here, there), commits = await self.make_some(2), chain(2 * TRIES + 1)
            tip = await there.append(commits[:1], expected=EMPTY_TIP)
            assert not there.is_contended
            loop = asyncio.get_running_loop()
            for number in range(TRIES):
                asked_s = loop.time()
                async with here.turn(tip.position):
                    without, within = commits[2 * number + 1 : 2 * number + 3]
                    await there.append([without], expected=tip)
                    tip = await here.append([within], expected=without.tip)
                    if loop.time() - asked_s < TURN_MS / 1_000:  # else the turn was over
                        assert (here.is_contended, there.is_contended) == (False, True)
                        return
            pytest.skip("this machine is too busy for turns")

        run(scenario)

    def test_a_turn_survives_a_holder_that_dies(self) -> None:
        """The turn is passed on after a while; a broker waiting for it goes on without it or gets it."""

        async def scenario() -> None:
            (dead, here, there), commits = await self.make_some(3), chain(2)
            turn = dead.turn(0)
            await turn.__aenter__()
            async with here.turn(0):
                await here.append(commits, expected=EMPTY_TIP)
            async with there.turn(0) as missed:
                assert list(missed) == commits
            await turn.__aexit__(None, None, None)

        run(scenario)

    def test_one_who_gives_up_leaves_the_line(self) -> None:
        """A cancelled request does not delay the next turn."""

        async def scenario() -> None:
            (holder, gone, here), commits = await self.make_some(3), chain(2)
            async with holder.turn(0):
                waiting = asyncio.ensure_future(gone.turn(0).__aenter__())
                await self.until_in_line(gone, 1)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
                await holder.append(commits, expected=EMPTY_TIP)
            async with here.turn(0) as missed:
                assert list(missed) == commits

        run(scenario)


class SharedStoreContract(SharedLogContract):
    """The promises of a log in an engine, each broker with a client of its own."""

    lost_tip_error = LogRolledBackError

    async def lose_after(self, log: EventLog, position: int) -> None:
        """Drop the commits after `position`, as a failover to a late replica does."""
        raise NotImplementedError

    def test_both_clients_open_the_same_log(self) -> None:
        """They have one epoch and one secret; another log has others."""

        async def scenario() -> None:
            (here, there), other = await self.make_some(2), await self.make()
            assert here.epoch == there.epoch != other.epoch
            assert here.session_records.secret == there.session_records.secret != other.session_records.secret
            assert here.survives
            assert here.survives == there.survives

        run(scenario)

    def test_a_rolled_back_log_is_refused_by_both(self) -> None:
        """The log became shorter, or has another commit there; the error's one line has both tips."""

        async def scenario() -> None:
            (here, there), commits = await self.make_some(2), chain(4)
            await here.append(commits[:3], expected=EMPTY_TIP)
            await self.lose_after(here, 2)
            for log in (here, there):
                with pytest.raises(LogRolledBackError) as error:
                    await log.append(commits[3:], expected=commits[2].tip)
                text = str(error.value)
                assert "\n" not in text
                for tip in (commits[2].tip, commits[1].tip):
                    assert f"{tip.position}" in text
                    assert tip.commit_id in text
            another = another_after(commits[:2])
            await there.append([another], expected=commits[1].tip)
            for log in (here, there):
                with pytest.raises(LogRolledBackError):
                    await log.append(commits[3:], expected=commits[2].tip)
                assert await all_of(log) == [*commits[:2], another]

        run(scenario)

    def test_a_lost_race_is_no_rollback(self) -> None:
        """An append after an earlier tip of the log is a conflict."""

        async def scenario() -> None:
            (here, there), commits = await self.make_some(2), chain(4)
            await here.append(commits[:3], expected=EMPTY_TIP)
            for length in (1, 2):
                with pytest.raises(Conflict):
                    await there.append([another_after(commits[:length])], expected=commits[length - 1].tip)

        run(scenario)

    def test_a_snapshot_of_another_log_changes_nothing(self) -> None:
        """For a tip beyond the log or of another commit, `compact` refuses it, and `save` does not keep it."""

        async def scenario() -> None:
            (here, there), commits = await self.make_some(2), chain(6)
            await here.append(commits[:4], expected=EMPTY_TIP)
            for foreign in (commits[5].tip, Tip(2, CommitId("f" * 32)), Tip(4, CommitId("f" * 32))):
                snapshot = Snapshot(foreign, fold(commits[:2]))
                with pytest.raises(LogRolledBackError) as error:
                    await here.compact(snapshot)
                assert "\n" not in str(error.value)
                await here.save(snapshot)
            for log in (here, there):
                assert (await all_of(log), log.base) == (commits[:4], EMPTY_TIP)
                assert await log.newest_snapshot() is None

        run(scenario)

    def test_a_snapshot_of_commits_that_were_lost_changes_nothing(self) -> None:
        """A failover took them between the fold and the snapshot."""

        async def scenario() -> None:
            (here, there), commits = await self.make_some(2), chain(6)
            await here.append(commits, expected=EMPTY_TIP)
            await self.lose_after(here, 3)
            late = Snapshot(commits[4].tip, fold(commits[:5]))
            with pytest.raises(LogRolledBackError):
                await here.compact(late)
            await here.save(late)
            assert (await all_of(there), there.base) == (commits[:3], EMPTY_TIP)
            assert await (await self.make_another(here)).newest_snapshot() is None

        run(scenario)

    def test_redacted_to_does_not_go_back(self) -> None:
        """Neither a late call of one broker nor one of a less informed broker sets it back."""

        async def scenario() -> None:
            (here, there), commits = await self.make_some(2), conversation("one", "two", "three")
            await here.append(commits, expected=EMPTY_TIP)
            await here.redact([4], done_to=4)
            await here.redact([3], done_to=3)
            assert here.redacted_to == 4
            await there.redact([1, 2, 5], done_to=2)
            assert there.redacted_to == 4
            assert (await self.make_another(here)).redacted_to == 4
            assert await all_of(here) == [redact(commit) for commit in commits]

        run(scenario)

    def test_a_broker_can_ask_how_far_another_has_redacted(self) -> None:
        """A redaction of no position reads it, so that the broker goes on there."""

        async def scenario() -> None:
            (here, there), commits = await self.make_some(2), conversation("one", "two", "three")
            await here.append(commits, expected=EMPTY_TIP)
            await here.redact([3], done_to=3)
            await there.redact([], done_to=0)
            assert there.redacted_to == 3

        run(scenario)

    def test_what_one_redacts_is_gone_for_the_other(self) -> None:
        """The texts are gone from reads, turns, conflicts and followers."""

        async def scenario() -> None:
            (here, there), commits = await self.make_some(2), conversation("one", "two")
            await here.append(commits, expected=EMPTY_TIP)
            await here.redact([1, 2, 3, 4], done_to=4)
            left = [redact(commit) for commit in commits]
            assert await all_of(there) == left
            async with there.turn(0) as missed:
                assert list(missed) == left
            with pytest.raises(Conflict) as conflict:
                await there.append([another_after([])], expected=EMPTY_TIP)
            assert list(conflict.value.missed) == left
            async with aclosing(there.follow(0)) as followed:
                assert [await asyncio.wait_for(anext(followed), HUNG_SECONDS) for _ in commits] == left

        run(scenario)

    def test_nobody_waits_longer_than_a_turn(self) -> None:
        """A line of brokers after a dead holder ends in little more than the time of one turn."""

        async def scenario() -> None:
            dead, *waiting = await self.make_some(4)
            turn = dead.turn(0)
            await turn.__aenter__()
            started = time.monotonic()

            async def take(log: EventLog) -> None:
                async with log.turn(0):
                    pass

            await asyncio.gather(*(take(log) for log in waiting))
            assert time.monotonic() - started < 2
            await turn.__aexit__(None, None, None)

        run(scenario)


class CoordinationContract:
    """The promises of `events.coordination.Coordination`."""

    async def make(self) -> EventLog:
        """Return an empty log."""
        raise NotImplementedError

    async def make_another(self, log: EventLog) -> EventLog:
        """Return another broker's access to the same log."""
        raise NotImplementedError

    async def make_pair(self) -> tuple[EventLog, EventLog]:
        """Return the accesses of two brokers to one log."""
        log = await self.make()
        return log, await self.make_another(log)

    def test_notes_reach_all_in_order(self) -> None:
        """The sender gets its own notes too; a note has any bytes, up to the longest."""

        async def scenario() -> None:
            here, there = await self.make_pair()
            async with AsyncExitStack() as left:
                listeners = [await Listener.started(log, left) for log in (here, there)]
                notes = [b"n%d" % number for number in range(50)]
                notes += [b"", bytes(range(256)), b"\xff" * NOTE_BYTES_MAX]
                for number, note in enumerate(notes):
                    await coordination_of((here, there)[number % 2]).publish(note)
                heard = [await listener.hear(len(notes)) for listener in listeners]
                for sender in (0, 1):
                    sent = notes[sender::2]
                    assert [[note for note in notes_ if note in sent] for notes_ in heard] == [sent, sent]

        run(scenario)

    def test_notes_published_together_keep_their_order(self) -> None:
        """They are in the order of the calls, without waiting for each other."""

        async def scenario() -> None:
            here, there = await self.make_pair()
            async with AsyncExitStack() as left:
                listener = await Listener.started(there, left)
                notes = [b"n%d" % number for number in range(50)]
                await asyncio.gather(*(coordination_of(here).publish(note) for note in notes))
                assert await listener.hear(len(notes)) == notes

        run(scenario)

    def test_ones_own_notes_are_heard_from_the_first_step_on(self) -> None:
        """A subscribed broker hears its own notes from then on."""

        async def scenario() -> None:
            log = await self.make()
            async with aclosing(coordination_of(log).subscribe()) as notes:
                first = asyncio.ensure_future(anext(notes))
                await settle(1)
                await coordination_of(log).publish(b"hello")
                assert await asyncio.wait_for(first, HUNG_SECONDS) == b"hello"

        run(scenario)

    def test_notes_of_another_log_are_not_heard(self) -> None:
        """Each log has a channel of its own."""

        async def scenario() -> None:
            here, other = await self.make(), await self.make()
            async with AsyncExitStack() as left:
                listener = await Listener.started(here, left)
                await coordination_of(other).publish(b"other")
                await coordination_of(here).publish(b"here")
                assert await listener.hear(1) == [b"here"]

        run(scenario)

    def test_listeners_end_when_the_log_is_closed(self) -> None:
        """They end without an error."""

        async def scenario() -> None:
            log = await self.make()

            async def listen() -> list[bytes]:
                return [note async for note in coordination_of(log).subscribe()]

            listening = asyncio.ensure_future(listen())
            await settle(1)
            await coordination_of(log).publish(b"last")
            await log.close()
            assert await asyncio.wait_for(listening, HUNG_SECONDS) in ([], [b"last"])

        run(scenario)

    def test_the_time_is_the_engines(self) -> None:
        """The engines of tests run on this machine's clock."""

        async def scenario() -> None:
            before = time.time() * 1_000 - 1
            answer = await coordination_of(await self.make()).time_ms()
            assert before <= answer <= time.time() * 1_000 + 1

        run(scenario)

    def test_an_epoch_is_renewed_once(self) -> None:
        """One of two requests of brokers renews it; it holds from the next start on."""

        async def scenario() -> None:
            here, there = await self.make_pair()
            was = here.epoch
            await coordination_of(here).renew_epoch(was)
            renewed = (await self.make_another(here)).epoch
            assert renewed != was
            assert renewed
            assert "." not in renewed
            await coordination_of(there).renew_epoch(was)
            assert (await self.make_another(here)).epoch == renewed
            assert (here.epoch, there.epoch) == (was, was)

        run(scenario)


class Listener:
    """Hears the notes of a log's brokers."""

    def __init__(self, log: EventLog) -> None:
        self._notes: asyncio.Queue[bytes] = asyncio.Queue()
        self._log = log

    @classmethod
    async def started(cls, log: EventLog, left: AsyncExitStack) -> Listener:
        """Return a started listener to all later notes; it ends with `left`."""
        listener = cls(log)
        listening = asyncio.ensure_future(listener._listen())
        left.push_async_callback(_cancelled, listening)
        while listener._notes.empty():
            await coordination_of(log).publish(b"started?")
            await settle(1)
        return listener

    async def hear(self, count: int) -> list[bytes]:
        """Return the next `count` notes."""
        async with asyncio.timeout(HUNG_SECONDS):
            return [await self._next() for _ in range(count)]

    async def _next(self) -> bytes:
        while (note := await self._notes.get()) == b"started?":
            pass
        return note

    async def _listen(self) -> None:
        async with aclosing(coordination_of(self._log).subscribe()) as notes:
            async for note in notes:
                self._notes.put_nowait(note)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def coordination_of(log: EventLog) -> Coordination:
    """Return the log's coordination; it must have one."""
    assert log.coordination is not None
    return log.coordination
