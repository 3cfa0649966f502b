"""Several brokers on one log: each commit is read once, nothing stale is said, and all get their turn to write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from broker import replica as replica_module
from broker import writer as writer_module
from broker.batch_storage import CONTENDED_MS, RETRY_MS
from broker.broker import Broker
from broker.decision import Rejection
from broker.replica import CATCH_UP_MS, FOLLOW_AGAIN_MS, FOLLOWS_AFTER_MS
from events.commands import AdoptPolicy, Disconnect, EnterQueue
from events.commit import Commit
from events.ids import POSITION_MAX, ConnectionId
from events.log import LogUnavailableError, Snapshot
from events.memory import MemoryLog
from events.policy import Policy
from projections.connections import Waiting
from projections.state import digest
from tests.support.fake_clock import FakeClock, settle
from tests.support.limits import HUNG_SECONDS
from tests.support.logs import FaultyLog, log_of, run, unavailable, until
from tests.support.people import ANN, BOB, CAT, DAN, enter, leave_queue, say
from tests.support.writer_bench import Bench, accepted, room_of


async def deaf_and_other() -> tuple[Bench, Bench]:
    """Start two brokers on one log; the first does not hear appended commits for now."""
    here, there = await Bench.some_on_one_log()
    here.log.may_hear.clear()
    return here, there


class TestFollowing:
    """Commits of other brokers are folded as they are heard."""

    def test_what_another_writes_is_folded_and_announced(self) -> None:
        """A broker announces it though nothing is asked of it."""

        async def scenario() -> None:
            here, there = await Bench.some_on_one_log()
            await here.writer.submit(enter(ANN))
            await there.writer.submit(enter(BOB))
            await settle()
            assert [type(commit.command) for commit in here.announced] == [EnterQueue] * 2
            assert here.announced == there.announced
            assert digest(here.state) == digest(there.state)
            await here.writer.stop(1_000)

        run(scenario)

    def test_what_was_heard_is_not_read(self) -> None:
        """The log is asked for nothing, though each of two writes and hears the other."""

        async def scenario() -> None:
            benches = await Bench.some_on_one_log()
            for number in range(10):
                accepted(await benches[number % 2].writer.submit(enter(ConnectionId(f"c_{number}"))))
                await settle()
            assert [bench.log.reads for bench in benches] == [0, 0]
            assert digest(benches[0].state) == digest(benches[1].state)

        run(scenario)

    def test_what_a_conflict_brings_is_not_read(self) -> None:
        """A lost race costs one append more, and nothing else."""

        async def scenario() -> None:
            here, there = await deaf_and_other()
            accepted(await there.writer.submit(enter(ANN)))
            accepted(await here.writer.submit(enter(BOB)))
            assert room_of(here.state, ANN) == room_of(here.state, BOB)
            assert len(here.log.batches) == 2
            assert (here.log.reads, here.log.tips) == (0, 0)

        run(scenario)

    def test_what_a_conflict_does_not_bring_is_read(self) -> None:
        """The rest was heard."""

        async def scenario() -> None:
            here, there = await deaf_and_other()
            here.log.gives_missed = False
            accepted(await there.writer.submit(enter(ANN)))
            accepted(await here.writer.submit(enter(BOB)))
            assert room_of(here.state, ANN) == room_of(here.state, BOB)
            assert here.log.reads > 0

        run(scenario)

    def test_what_is_heard_during_an_append_is_folded_after_it(self) -> None:
        """The next batch is decided after it, so it does not conflict."""

        async def scenario() -> None:
            here, there = await Bench.some_on_one_log()
            landed = asyncio.Event()
            here.log.after_append = [until(landed)]
            first = here.submit(enter(ANN))
            await settle()
            accepted(await there.writer.submit(enter(BOB)))
            await settle()
            second = here.submit(enter(CAT))
            await settle()
            assert here.announced == []
            landed.set()
            accepted(await first)
            assert accepted(await second).state.connections.by_id[CAT].place == Waiting(4)
            assert (len(here.log.batches), here.log.reads) == (2, 0)

        run(scenario)

    def test_following_pauses_while_too_much_is_not_folded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The commits kept are bounded; all are folded in the end."""
        monkeypatch.setattr(replica_module, "FOLLOWED_COMMITS_MAX", 3)

        async def scenario() -> None:
            here, there = await Bench.some_on_one_log()
            landed = asyncio.Event()
            here.log.before_append = [until(landed)]
            waiting = here.submit(enter(ANN))
            await settle()
            for number in range(8):
                accepted(await there.writer.submit(enter(ConnectionId(f"c_{number}"))))
            await settle()
            assert len(here.writer.replica._heard) == 3
            landed.set()
            accepted(await waiting)
            await settle()
            assert digest(here.state) == digest(there.state)

        run(scenario)

    def test_following_goes_on_after_the_log_was_away(self) -> None:
        """A failed follower starts again after the last heard commit."""

        async def scenario() -> None:
            (log,), clock = FollowedLog.shared(1), FakeClock()
            bench = Bench(log, clock)
            await bench.writer.start(Policy())
            bench.announced.clear()
            await settle()
            await log.appended_by_another(enter(ANN), state=bench.state)
            await settle()
            assert bench.announced == []
            await clock.advance(FOLLOW_AGAIN_MS)
            assert [commit.command for commit in bench.announced] == [enter(ANN)]

        run(scenario)

    @pytest.mark.parametrize("is_busy", [True, False])
    def test_an_outage_of_the_follower_is_two_lines(self, is_busy: bool) -> None:
        """One at its beginning, one at its end with its length: at the next commit, or after a while without one."""

        async def scenario() -> None:
            (log,), clock = FollowedLog.shared(1), FakeClock()
            log.failing = 60
            bench = Bench(log, clock)
            with capture_logs() as logged:
                await bench.writer.start(Policy())
                await clock.advance(60 * FOLLOW_AGAIN_MS)
                assert [line["event"] for line in logged] == ["following_put_off"]
                if is_busy:
                    await log.appended_by_another(enter(ANN), state=bench.state)
                    await settle()
                else:
                    await clock.advance(FOLLOWS_AFTER_MS)
            assert logged[1:] == [{"event": "following_resumed", "after_s": 60, "log_level": "warning"}]
            await bench.writer.stop(0)

        run(scenario)

    def test_a_gap_in_what_is_heard_is_closed_by_a_snapshot(self) -> None:
        """The log was trimmed before all of it was heard."""

        async def scenario() -> None:
            here, there = await deaf_and_other()
            for who in (ANN, BOB, CAT):
                await there.writer.submit(enter(who))
                await settle()
            await there.log.compact(Snapshot(there.state.tip, there.state))
            await there.writer.submit(enter(DAN))
            here.log.may_hear.set()
            await settle()
            assert here.writer.replica.truncations == 1
            assert digest(here.state) == digest(there.state)

        run(scenario)

    def test_an_append_that_landed_unanswered_and_was_heard_is_not_repeated(self) -> None:
        """The store trimmed it and can't recognise it any more; the broker has heard its own commit."""

        async def scenario() -> None:
            here, there = await Bench.some_on_one_log()
            for who in (ANN, BOB):
                await there.writer.submit(enter(who))
            await settle()

            async def landed_and_trimmed() -> None:
                await settle()  # it is heard, by both
                await there.log.compact(Snapshot(there.state.tip, there.state))
                raise LogUnavailableError

            here.log.after_append = [landed_and_trimmed]
            hello = say(ANN, "hello", None, room_of(here.state, ANN))
            said = here.writer.submit(hello)
            await settle()
            await here.clock.advance(RETRY_MS)
            commit = accepted(await said).commit
            assert commit is not None
            assert here.state.tip == there.state.tip == (commit.position, commit.commit_id)
            assert [one.command for one in here.announced].count(hello) == 1
            assert len(here.log.batches[-1]) == 1

        run(scenario)

    def test_a_batch_that_begins_like_anothers_has_not_landed(self) -> None:
        """Two brokers may decide the same in one millisecond, as for an absent connection; the rest is stored too."""

        async def scenario() -> None:
            here, there = await deaf_and_other()
            here.log.may_hear.set()
            await there.writer.submit(AdoptPolicy(Policy(matching="interests")))
            for who in (ANN, BOB):
                await there.writer.submit(EnterQueue(who, "Anonymous", (who,)))
            await settle()
            assert set(here.state.queue.entered) == {ANN, BOB}
            here.log.may_hear.clear()
            for bench, gone in ((there, [ANN]), (here, [ANN, BOB])):
                answers = [bench.writer.submit(Disconnect(who, "timeout", POSITION_MAX)) for who in gone]
                await asyncio.gather(*answers)
            here.log.may_hear.set()
            await settle()
            assert not here.state.queue.entered
            assert digest(here.state) == digest(there.state)

        run(scenario)

    def test_a_log_that_another_rolled_back_is_not_looked_at_without_end(self) -> None:
        """A commit that can't be folded is tried again with the next command."""

        async def scenario() -> None:
            here, _ = await Bench.some_on_one_log()
            known = here.state
            here.log.inner._commits[:] = log_of(enter(CAT), enter(DAN), leave_queue(BOB), enter(BOB))
            here.log.inner._wake_followers()
            await here.clock.advance(10_000)
            assert here.state is known
            assert here.log.reads < 5
            assert await here.writer.submit(leave_queue(ANN)) == Rejection("unavailable")

        run(scenario)

    def test_a_broker_that_stops_follows_no_more(self) -> None:
        """Its follower ends with it, also where the log has been closed under it."""

        async def scenario() -> None:
            here, there = await Bench.some_on_one_log()
            await here.writer.stop(1_000)
            known = here.state
            await there.writer.submit(enter(ANN))
            await settle()
            assert here.state is known
            await there.log.close()
            await settle()
            await there.writer.stop(1_000)

        run(scenario)


class FollowedLog(FaultyLog):
    """A log with a failure of its first followers."""

    failing = 1

    async def follow(self, after: int) -> AsyncIterator[Commit]:
        """Fail, then follow."""
        if self.failing:
            self.failing -= 1
            raise LogUnavailableError
        async for commit in super().follow(after):
            yield commit


class TestMetrics:
    """The cost of sharing a log, for an operator."""

    def test_conflicts_turns_and_others_commits_are_counted(self) -> None:
        """Each counts at its own broker."""

        async def scenario() -> None:
            here, there = await deaf_and_other()
            accepted(await there.writer.submit(enter(ANN)))
            accepted(await here.writer.submit(enter(BOB)))
            accepted(await here.writer.submit(enter(CAT)))
            await settle()
            lines = here.metrics.render().decode().splitlines()
            # The losing batch has a turn, and so has the next.
            for sample in ("conflicts_total 1.0", "turns_total 2.0", "turn_seconds_count 2.0"):
                assert f"chat_broker_{sample}" in lines
            lines_there = there.metrics.render().decode().splitlines()
            for sample in ("conflicts_total 0.0", "turns_total 0.0", "follow_seconds_count 2.0"):
                assert f"chat_broker_{sample}" in lines_there

        run(scenario)


class TestConfirming:
    """An answer without a commit is given only as of the log's tip."""

    def test_a_wait_does_not_end_since_one_was_idle(self) -> None:
        """Another broker has entered it and matched it since, so there is something to give."""

        async def scenario() -> None:
            clock, (here, there) = FakeClock(), FaultyLog.shared(2)
            brokers = [Broker(log, clock) for log in (here, there)]
            for broker in brokers:
                await broker.start(Policy())
            await settle()
            here.may_hear.clear()
            await brokers[1].writer.submit(enter(ANN))
            await brokers[1].writer.submit(enter(BOB))
            assert ANN not in brokers[0].state.connections.by_id
            waited = await brokers[0].waits.start(ANN, 0, 5_000).run()
            assert len(waited.page.events) == 1
            assert not waited.timed_out
            here.may_hear.set()
            for broker in brokers:
                await broker.close()

        run(scenario)

    def test_a_cursor_from_before_an_event_that_is_not_known_here_was_given(self) -> None:
        """Another broker gave it; it is looked for up to the log's tip."""

        async def scenario() -> None:
            clock, (here, there) = FakeClock(), FaultyLog.shared(2)
            brokers = [Broker(log, clock) for log in (here, there)]
            for broker in brokers:
                await broker.start(Policy())
            await brokers[1].writer.submit(enter(ANN))
            await settle()
            await brokers[1].writer.submit(enter(CAT))  # they meet
            await settle()
            room = room_of(brokers[1].state, ANN)
            await brokers[1].writer.submit(enter(BOB))
            await settle()
            here.may_hear.clear()
            await brokers[1].writer.submit(say(ANN, "hello", None, room))
            tip = brokers[1].state.position
            assert brokers[0].state.position == tip - 1
            assert await brokers[0].reads.has_given(CAT, tip - 1)
            assert not await brokers[0].reads.has_given(CAT, tip + 1)
            here.may_hear.set()
            for broker in brokers:
                await broker.close()

        run(scenario)

    def test_a_refusal_by_a_replica_that_is_behind_is_decided_again(self) -> None:
        """The unknown room exists in the log."""

        async def scenario() -> None:
            here, there = await deaf_and_other()
            for who in (ANN, BOB):
                await there.writer.submit(enter(who))
            hello = say(ANN, "hello", "m1", room_of(there.state, ANN))
            assert accepted(await here.writer.submit(hello)).commit is not None
            assert here.log.tips == 1

        run(scenario)

    def test_a_repeat_by_a_replica_that_is_behind_is_decided_again(self) -> None:
        """A member outside the queue enters it, and does not get its old entry."""

        async def scenario() -> None:
            here, there = await Bench.some_on_one_log()
            await here.writer.submit(enter(ANN))
            await settle()
            here.log.may_hear.clear()
            await there.writer.submit(leave_queue(ANN))
            assert accepted(await here.writer.submit(enter(ANN))).commit is not None
            assert isinstance(here.state.connections.by_id[ANN].place, Waiting)

        run(scenario)

    def test_a_refusal_that_the_log_bears_out_is_given_after_one_question(self) -> None:
        """At the tip nothing is read, and nothing appended."""

        async def scenario() -> None:
            here, _ = await Bench.some_on_one_log()
            assert await here.writer.submit(say(ANN)) == Rejection("room_not_found")
            assert (here.log.tips, here.log.reads, here.log.batches) == (1, 0, [])

        run(scenario)

    def test_an_append_confirms_the_refusals_of_its_batch(self) -> None:
        """The log was where they were decided."""

        async def scenario() -> None:
            here, _ = await Bench.some_on_one_log()
            refused, entered = await asyncio.gather(*(here.writer.submit(c) for c in (say(ANN), enter(BOB))))
            assert refused == Rejection("room_not_found")
            accepted(entered)
            assert here.log.tips == 0

        run(scenario)

    def test_one_question_serves_all_that_came_before_it(self) -> None:
        """Later commands wait for the next question, which serves them all."""

        async def scenario() -> None:
            here, _ = await Bench.some_on_one_log()
            answered = asyncio.Event()
            here.log.before_tip = [until(answered)]
            first = [here.submit(say(ANN)) for _ in range(20)]
            await settle()
            second = [here.submit(say(BOB)) for _ in range(20)]
            await settle()
            assert here.log.tips == 1
            answered.set()
            assert set(await asyncio.gather(*first, *second)) == {Rejection("room_not_found")}
            assert here.log.tips == 2

        run(scenario)

    def test_a_question_that_began_before_a_command_does_not_confirm_it(self) -> None:
        """The answer knows the commits in between."""

        async def scenario() -> None:
            here, there = await deaf_and_other()
            asked, answered = asyncio.Event(), asyncio.Event()

            async def tip_as_of_now() -> None:
                asked.set()

            here.log.before_tip = [tip_as_of_now]
            tip = here.log.inner.tip

            async def slow_tip() -> object:
                found = await tip()
                await answered.wait()
                return found

            here.log.inner.tip = slow_tip
            early = here.submit(say(CAT))
            await asked.wait()
            for who in (ANN, BOB):
                await there.writer.submit(enter(who))
            late = here.submit(say(ANN, "hello", "m1", room_of(there.state, ANN)))
            answered.set()
            assert await early == Rejection("room_not_found")
            assert accepted(await late).commit is not None

        run(scenario)

    def test_a_log_that_does_not_answer_is_asked_until_nobody_waits(self) -> None:
        """Within the command's time the refusal comes late; after it the command is unavailable."""

        async def scenario() -> None:
            here, _ = await Bench.some_on_one_log()
            here.log.before_tip = [unavailable] * 2
            answer = here.submit(say(ANN))
            await here.clock.advance(RETRY_MS)
            assert not answer.done()
            await here.clock.advance(RETRY_MS)
            assert answer.result() == Rejection("room_not_found")
            here.log.before_tip = [unavailable] * 200
            answer = here.submit(say(ANN))
            await here.clock.advance(5_000)
            assert answer.result() == Rejection("unavailable")
            await here.clock.advance(5_000)
            asked = here.log.tips
            await here.clock.advance(5_000)
            assert here.log.tips == asked
            here.log.before_tip = []
            assert await here.writer.submit(say(ANN)) == Rejection("room_not_found")

        run(scenario)

    def test_a_log_that_can_not_be_read_puts_it_off(self) -> None:
        """The log is read until it has the commits up to its tip."""

        async def scenario() -> None:
            here, there = await deaf_and_other()
            for who in (ANN, BOB):
                await there.writer.submit(enter(who))
            here.log.before_read = [unavailable] * 2
            answer = here.submit(say(ANN, "hello", "m1", room_of(there.state, ANN)))
            await here.clock.advance(2 * RETRY_MS)
            accepted(answer.result())

        run(scenario)

    def test_a_log_that_became_shorter_refuses_nothing(self) -> None:
        """The broker can't tell any more; `unavailable` says so."""

        async def scenario() -> None:
            here, there = await Bench.some_on_one_log()
            await there.writer.submit(enter(ANN))
            await settle()
            here.log.inner = MemoryLog()
            assert await here.writer.submit(say(ANN)) == Rejection("unavailable")
            assert here.state.position == 2

        run(scenario)

    def test_a_log_of_ones_own_is_asked_for_nothing(self) -> None:
        """A refusal, a repeat and a catch-up cost no question."""

        async def scenario() -> None:
            bench = await Bench.started()
            await bench.writer.submit(enter(ANN))
            for command in (say(ANN), enter(ANN)):
                await bench.writer.submit(command)
            assert await bench.writer.replica.caught_up()
            assert await bench.writer.replica.caught_up(99)
            assert (bench.log.tips, bench.log.reads) == (0, 0)

        run(scenario)


class TestTurns:
    """While appends conflict, writers stand in line."""

    def test_without_a_conflict_no_turn_is_asked_for(self) -> None:
        """Compare-and-append is enough for a quiet log."""

        async def scenario() -> None:
            here, there = await Bench.some_on_one_log()
            for number in range(6):
                await (here, there)[number % 2].writer.submit(enter(ConnectionId(f"c_{number}")))
                await settle()
            assert (here.log.turns_taken, there.log.turns_taken) == (0, 0)

        run(scenario)

    def test_after_a_conflict_each_batch_has_a_turn_for_a_while(self) -> None:
        """Until two seconds have gone without another conflict or another's commit."""

        async def scenario() -> None:
            here, there = await deaf_and_other()
            await there.writer.submit(enter(ANN))
            await here.writer.submit(enter(BOB))
            assert here.log.turns_taken == 1
            here.log.may_hear.set()
            await here.clock.advance(CONTENDED_MS - 1)
            await there.writer.submit(enter(CAT))
            await settle()
            await here.clock.advance(CONTENDED_MS - 1)
            await here.writer.submit(enter(DAN))
            assert here.log.turns_taken == 2
            await here.clock.advance(1)
            await here.writer.submit(leave_queue(DAN))
            assert here.log.turns_taken == 2
            await there.writer.submit(leave_queue(CAT))
            await settle()
            await here.writer.submit(enter(DAN))
            assert here.log.turns_taken == 2

        run(scenario)

    def test_a_writer_that_never_conflicts_lets_others_have_their_turn(self) -> None:
        """It would be first every time, and the others would wait for ever."""

        async def scenario() -> None:
            here, there = await Bench.some_on_one_log()
            async with there.log.turn(here.state.position):
                await here.writer.submit(enter(ANN))
            assert here.log.turns_taken == 0
            await here.writer.submit(enter(BOB))
            assert here.log.turns_taken == 1
            await here.clock.advance(CONTENDED_MS)
            await here.writer.submit(leave_queue(CAT))
            assert here.log.turns_taken == 1

        run(scenario)

    def test_a_batch_takes_all_that_waits_when_its_turn_comes(self) -> None:
        """It folds earlier commits first, so it does not conflict."""

        async def scenario() -> None:
            here, there = await deaf_and_other()
            await there.writer.submit(enter(ANN))
            await here.writer.submit(enter(BOB))
            here.log.batches.clear()
            people = [ConnectionId(f"c_{number}") for number in range(5)]
            async with there.log.turn(0):
                answers = [here.submit(enter(people[0]))]
                await settle()
                answers += [here.submit(enter(who)) for who in people[1:]]
                await settle()
                await there.writer.submit(enter(CAT))
            for answer in answers:
                accepted(await answer)
            assert [len(batch) for batch in here.log.batches] == [5]
            assert here.log.reads == 0

        run(scenario)

    def test_a_batch_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A batch that takes long to decide would lose against quicker writers."""
        monkeypatch.setattr(writer_module, "BATCH_COMMITS_MAX", 3)

        async def scenario() -> None:
            here, there = await deaf_and_other()
            people = [ConnectionId(f"c_{number}") for number in range(7)]
            await asyncio.gather(*(here.writer.submit(enter(who)) for who in people))
            assert [len(batch) for batch in here.log.batches] == [3, 3, 1]
            await there.writer.submit(enter(ANN))
            here.log.batches.clear()
            await asyncio.gather(
                *(here.writer.submit(leave_queue(who)) for who in people), here.writer.submit(enter(BOB))
            )
            assert max(len(batch) for batch in here.log.batches) <= 3

        run(scenario)

    def test_a_turn_that_does_not_come_is_done_without(self) -> None:
        """Its holder may have died."""

        async def scenario() -> None:
            here, there = await deaf_and_other()
            await there.writer.submit(enter(ANN))
            await here.writer.submit(enter(BOB))
            turn = there.log.turn(0)
            await turn.__aenter__()
            accepted(await asyncio.wait_for(here.writer.submit(enter(CAT)), HUNG_SECONDS))
            await turn.__aexit__(None, None, None)

        run(scenario)

    def test_writers_that_conflict_all_get_through(self) -> None:
        """Each decides on its own replica; all are in one place, and the replicas agree."""

        async def scenario() -> None:
            benches = await Bench.some_on_one_log(3)
            people = [ConnectionId(f"c_{number}") for number in range(90)]
            answers = [benches[n % 3].submit(enter(who)) for n, who in enumerate(people)]
            for answer in await asyncio.gather(*answers):
                accepted(answer)
            await settle()
            assert benches[0].state.rooms.open_count == 45
            assert len({digest(bench.state) for bench in benches}) == 1
            assert [bench.log.reads for bench in benches] == [0, 0, 0]

        run(scenario)


class TestCatchingUp:
    """A reader waits for the replica."""

    def test_the_replica_is_at_the_tip_then(self) -> None:
        """It is the tip as of the call, though nothing was heard."""

        async def scenario() -> None:
            here, there = await deaf_and_other()
            await there.writer.submit(enter(ANN))
            assert here.state.connections.get(ANN) is None
            assert await here.writer.replica.caught_up()
            assert isinstance(here.state.connections.by_id[ANN].place, Waiting)

        run(scenario)

    def test_a_position_that_is_known_costs_nothing(self) -> None:
        """One above is waited for, and one above the log's tip is not."""

        async def scenario() -> None:
            here, there = await deaf_and_other()
            await there.writer.submit(enter(ANN))
            await there.writer.submit(enter(BOB))
            assert await here.writer.replica.caught_up(1)
            assert (here.log.tips, here.state.position) == (0, 1)
            assert await here.writer.replica.caught_up(2)
            assert here.state.position >= 2
            assert await here.writer.replica.caught_up(99)
            assert here.state.position == 3

        run(scenario)

    def test_many_share_one_question_at_a_time(self) -> None:
        """A flood costs one question per round trip."""

        async def scenario() -> None:
            here, _ = await Bench.some_on_one_log()
            answered = asyncio.Event()
            here.log.before_tip = [until(answered)]
            first = asyncio.ensure_future(here.writer.replica.caught_up())
            await settle()
            flood = [asyncio.ensure_future(here.writer.replica.caught_up()) for _ in range(500)]
            await settle()
            assert here.log.tips == 1
            answered.set()
            assert all(await asyncio.gather(first, *flood))
            assert here.log.tips == 2

        run(scenario)

    @pytest.mark.parametrize("silent", ["tip", "read"])
    def test_a_log_that_is_silent_is_given_up_in_time(self, silent: str) -> None:
        """Within two seconds, whether it is asked for its tip or for commits."""

        async def scenario() -> None:
            here, there = await deaf_and_other()
            await there.writer.submit(enter(ANN))
            answered = asyncio.Event()
            getattr(here.log, f"before_{silent}").append(until(answered))
            asked = [asyncio.ensure_future(here.writer.replica.caught_up(position)) for position in (None, 2)]
            await here.clock.advance(CATCH_UP_MS - 1)
            assert not any(one.done() for one in asked)
            await here.clock.advance(1)
            assert [one.result() for one in asked] == [False, False]
            answered.set()
            assert await here.writer.replica.caught_up()
            assert here.state.position == 2

        run(scenario)

    def test_a_log_that_does_not_answer_is_no_error(self) -> None:
        """The caller learns that it may be behind."""

        async def scenario() -> None:
            here, _ = await Bench.some_on_one_log()
            here.log.before_tip = [unavailable]
            assert not await here.writer.replica.caught_up()
            assert await here.writer.replica.caught_up()

        run(scenario)

    def test_one_who_goes_takes_nothing_from_the_others(self) -> None:
        """All its callers share a question."""

        async def scenario() -> None:
            here, _ = await Bench.some_on_one_log()
            answered = asyncio.Event()
            here.log.before_tip = [until(answered)]
            gone, stays = (asyncio.ensure_future(here.writer.replica.caught_up()) for _ in range(2))
            await settle()
            gone.cancel()
            await settle()
            answered.set()
            assert await stays
            assert here.log.tips == 1

        run(scenario)

    def test_a_stop_leaves_no_question_behind(self) -> None:
        """Its callers are told, and no task is left."""

        async def scenario() -> None:
            (here,) = await Bench.some_on_one_log(1)
            here.log.before_tip = [until(asyncio.Event())]
            waiting = asyncio.ensure_future(here.writer.replica.caught_up())
            await settle()
            await here.writer.stop(1_000)
            await asyncio.gather(waiting, return_exceptions=True)
            assert waiting.done()
            assert asyncio.all_tasks() == {asyncio.current_task()}

        run(scenario)
