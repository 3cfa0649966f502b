"""Decide, append, evolve, announce: over a log that conflicts, hangs, fails, or stores without an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker import batch as draft_module
from broker.batch import Accepted, CommandAnswer
from broker.batch_storage import RETRY_MS
from broker.decide import decide
from broker.decision import UNAVAILABLE, Rejection
from broker.line_limit import LINES_EVERY_MS
from events.commands import AdoptPolicy, Command, Disconnect, EnterQueue, LeaveQueue
from events.commit import BrokenChainError, Commit, Tip
from events.events import MessageSent, QueueEntered, RoomOpened
from events.ids import ConnectionId
from events.log import Conflict, LogUnavailableError, Snapshot
from events.memory import MemoryLog
from events.policy import Policy
from projections.connections import Waiting
from projections.invariants import check_state
from projections.state import INITIAL_STATE, State, digest, fold
from tests.support.fake_clock import FakeClock, settle
from tests.support.logs import FaultyLog, log_of, nothing, run, unavailable, until
from tests.support.people import ANN, BOB, CAT, DAN, enter, leave_queue, say
from tests.support.writer_bench import PATIENT, Bench, accepted, new_writer, on_bench, room_of


@on_bench
async def test_an_answer_is_the_commit_and_the_state_after_it(bench: Bench) -> None:
    """Appended, folded and announced by then."""
    answer = accepted(await bench.writer.submit(enter(ANN)))
    assert answer.commit is not None
    assert answer.commit.command == enter(ANN)
    assert answer.state is bench.state
    assert bench.announced == [answer.commit]
    assert await bench.log.tip() == answer.commit.tip


@on_bench
async def test_a_repeat_is_answered_without_a_commit(bench: Bench) -> None:
    """In the state's present terms, and the log is left alone."""
    await bench.writer.submit(enter(ANN))
    again = accepted(await bench.writer.submit(enter(ANN)))
    assert again == Accepted(bench.state, None)
    assert len(bench.log.batches) == 1


@on_bench
async def test_a_refusal_is_a_value_and_leaves_the_log_alone(bench: Bench) -> None:
    """Nothing is stored of it."""
    assert await bench.writer.submit(say(ANN)) == Rejection("room_not_found")
    assert bench.log.batches == []


@on_bench
async def test_facts_are_fresh(bench: Bench) -> None:
    """Each command with a possible match has its own room id, each text a salt; all others have neither."""
    for who in (ANN, BOB, CAT, DAN):
        await bench.writer.submit(enter(who))
    for who in (ANN, BOB):
        await bench.writer.submit(say(who, "same", None, room_of(bench.state, ANN)))
    await bench.writer.submit(enter(ConnectionId("c_eve")))
    await bench.writer.submit(leave_queue(ConnectionId("c_eve")))
    entries, texts, rest = bench.announced[:4], bench.announced[4:6], bench.announced[7:]
    assert len({commit.facts.room_id for commit in entries}) == 4
    assert len({commit.facts.salt for commit in texts}) == 2
    assert all(len(commit.facts.salt or "") == 32 for commit in texts)
    assert all(commit.facts.room_id is None for commit in texts)
    assert [(c.facts.room_id, c.facts.salt) for c in rest] == [(None, None)]


@on_bench
async def test_what_arrives_during_an_append_goes_in_one_batch(bench: Bench) -> None:
    """Group commit: decided one upon the other, stored all at once."""
    landed = asyncio.Event()
    bench.log.before_append = [until(landed)]
    first = bench.submit(enter(ANN))
    await settle()
    later = [bench.submit(enter(who)) for who in (BOB, CAT, DAN)]
    await settle()
    assert [len(batch) for batch in bench.log.batches] == [1]
    landed.set()
    answers = [accepted(answer) for answer in await asyncio.gather(first, *later)]
    assert [len(batch) for batch in bench.log.batches] == [1, 3]
    assert [answer.state.position for answer in answers] == [2, 3, 4, 5]
    assert bench.state.rooms.open_count == 2


@on_bench
async def test_an_answer_waits_for_what_it_was_decided_upon(bench: Bench) -> None:
    """A refusal and a repeat too: were the append lost, they would be wrong."""
    landed = asyncio.Event()
    bench.log.before_append = [until(landed)]
    answers = [bench.submit(c) for c in (enter(ANN), enter(BOB), enter(ANN), enter(BOB), leave_queue(CAT))]
    await settle()
    assert not any(answer.done() for answer in answers)
    landed.set()
    assert [type(await answer).__name__ for answer in answers] == [
        "Accepted",
        "Accepted",
        "Rejection",
        "Rejection",
        "Accepted",
    ]


@on_bench
async def test_answers_come_in_the_order_of_the_commits(bench: Bench) -> None:
    """The order is that of the commands."""
    order: list[int] = []
    landed = asyncio.Event()
    bench.log.before_append = [until(landed)]

    async def ask(number: int) -> None:
        accepted(await bench.writer.submit(enter(ConnectionId(f"c_{number}"))))
        order.append(number)

    asking = [asyncio.ensure_future(ask(number)) for number in range(20)]
    await settle()
    landed.set()
    await asyncio.gather(*asking)
    assert order == list(range(20))


@on_bench
async def test_two_hundred_at_once_make_a_hundred_rooms(bench: Bench) -> None:
    """Each room has two different people, and each person has one room."""
    people = [ConnectionId(f"c_{number}") for number in range(200)]
    await asyncio.gather(*(bench.writer.submit(enter(who)) for who in people))
    rooms = [event for commit in bench.announced for event in commit.events if isinstance(event, RoomOpened)]
    assert len({room.room_id for room in rooms}) == len(rooms) == 100
    assert sorted(who for room in rooms for who in (room.first, room.second)) == sorted(people)
    assert len(bench.state.queue) == 0


@on_bench
async def test_a_conflict_is_folded_and_decided_again(bench: Bench) -> None:
    """Another writer was faster and matched the partner, so the newcomer waits instead."""
    await bench.writer.submit(enter(ANN))

    async def another_writes() -> None:
        await bench.log.appended_by_another(enter(BOB), state=bench.state)

    bench.log.before_append = [another_writes]
    answer = accepted(await bench.writer.submit(enter(CAT)))
    assert bench.state.connections.by_id[CAT].place == Waiting(4)
    assert room_of(bench.state, ANN) == room_of(bench.state, BOB)
    assert [type(commit.command) for commit in bench.announced] == [EnterQueue] * 3
    tried, stored = bench.log.batches[-2][0], bench.log.batches[-1][0]
    assert stored == answer.commit
    assert (tried.facts.room_id, tried.position) == (stored.facts.room_id, stored.position - 1)
    assert isinstance(tried.events[-1], RoomOpened)
    assert isinstance(stored.events[-1], QueueEntered)


@on_bench
async def test_a_conflict_may_change_the_answer(bench: Bench) -> None:
    """Another writer's commit can turn a success into a refusal, or into a repeat."""
    await bench.writer.submit(enter(ANN))

    async def another_writes() -> None:
        await bench.log.appended_by_another(enter(BOB), state=bench.state)

    bench.log.before_append = [another_writes]
    assert await bench.writer.submit(enter(BOB)) == Rejection("already_chatting")
    bench.log.before_append = [lambda: bench.log.appended_by_another(enter(CAT), state=bench.state)]
    assert accepted(await bench.writer.submit(enter(CAT))).commit is None


@on_bench
async def test_conflicts_again_and_again_are_followed(bench: Bench) -> None:
    """Each time, missed commits are folded and announced in order, and the command is decided anew."""
    others = [ConnectionId(f"c_{number}") for number in range(10)]

    def entering(who: ConnectionId) -> Callable[[], Coroutine[Any, Any, None]]:
        return lambda: bench.log.appended_by_another(enter(who), state=bench.state)

    bench.log.before_append = [entering(who) for who in others]
    answer = accepted(await bench.writer.submit(enter(ANN)))
    assert answer.state.position == 12
    assert len(bench.announced) == 11


@on_bench
async def test_a_message_is_not_stored_twice_by_a_conflict(bench: Bench) -> None:
    """The second decision recognises a repeat already stored by another worker."""
    await bench.writer.submit(enter(ANN))
    await bench.writer.submit(enter(BOB))
    hello = say(ANN, "hello", "m1", room_of(bench.state, ANN))
    bench.log.before_append = [lambda: bench.log.appended_by_another(hello, state=bench.state)]
    assert accepted(await bench.writer.submit(hello)).commit is None
    sent = [event for commit in bench.announced for event in commit.events if isinstance(event, MessageSent)]
    assert len(sent) == 1


@on_bench
async def test_an_append_that_landed_unanswered_is_not_made_again(bench: Bench) -> None:
    """The same commits once more are answered as done; the answer is late, and it is yes."""
    bench.log.after_append = [unavailable]
    answer = bench.submit(enter(ANN))
    await settle()
    assert not answer.done()
    await bench.clock.advance(RETRY_MS)
    assert accepted(await answer).commit == bench.log.batches[0][0]
    assert bench.log.batches[0] == bench.log.batches[1]
    assert len(bench.announced) == 1


@on_bench
async def test_an_append_that_failed_is_tried_again(bench: Bench) -> None:
    """Until it lands; nothing is announced before."""
    bench.log.before_append = [unavailable] * 3
    answer = bench.submit(enter(ANN))
    await bench.clock.advance(2 * RETRY_MS)
    assert not answer.done()
    assert bench.announced == []
    await bench.clock.advance(RETRY_MS)
    accepted(await answer)
    assert len(bench.log.batches) == 4


@on_bench
async def test_a_landed_append_with_others_behind_it_is_done(bench: Bench) -> None:
    """Unanswered, and then overtaken: still yes, and the others are folded with the next command."""

    async def landed_and_overtaken() -> None:
        state = fold(await bench.log.inner.read(1, 10), bench.state)
        await bench.log.appended_by_another(enter(BOB), state=state)
        raise LogUnavailableError

    bench.log.after_append = [landed_and_overtaken]
    answer = bench.submit(enter(ANN))
    await bench.clock.advance(RETRY_MS)
    assert accepted(await answer).state.position == 2
    await bench.writer.submit(enter(CAT))
    assert bench.state.position == 4


@on_bench
async def test_a_log_that_hangs_is_unavailable_in_time(bench: Bench) -> None:
    """Each command has its own deadline, and may still be carried out after it."""
    landed = asyncio.Event()
    bench.log.before_append = [until(landed)]
    first = bench.submit(enter(ANN))
    await bench.clock.advance(3_000)
    second = bench.submit(enter(BOB))
    await bench.clock.advance(1_999)
    assert not first.done()
    await bench.clock.advance(1)
    assert first.result() == Rejection("unavailable")
    assert not second.done()
    await bench.clock.advance(3_000 + RETRY_MS)
    assert second.result() == Rejection("unavailable")
    landed.set()
    await bench.writer.drained()
    assert room_of(bench.state, ANN) == room_of(bench.state, BOB)


@on_bench
async def test_a_log_that_hung_is_used_again(bench: Bench) -> None:
    """The next command is answered as if nothing had been."""
    landed = asyncio.Event()
    bench.log.before_append = [until(landed)]
    lost = bench.submit(enter(ANN))
    await bench.clock.advance(5_000)
    assert lost.result() == Rejection("unavailable")
    landed.set()
    await settle()
    assert accepted(await bench.writer.submit(enter(ANN))).commit is None
    assert accepted(await bench.writer.submit(enter(BOB))).state.rooms.open_count == 1


@on_bench
async def test_a_log_that_stays_away_is_given_up(bench: Bench) -> None:
    """The last timeout ends the attempts."""
    bench.log.before_append = [unavailable] * 200
    answer = bench.submit(enter(ANN))
    await bench.clock.advance(5_000 + RETRY_MS)
    assert answer.result() == Rejection("unavailable")
    await bench.writer.drained()
    tries = len(bench.log.batches)
    await bench.clock.advance(60_000)
    assert len(bench.log.batches) == tries
    bench.log.before_append = []
    accepted(await bench.writer.submit(enter(BOB)))
    assert bench.state.connections.get(ANN) is None


@on_bench
async def test_what_landed_unseen_is_known_before_the_next_decision(bench: Bench) -> None:
    """A given-up append may have landed: a repeat, a refusal and a leaving take account of it."""
    bench.log.after_append = [unavailable]
    bench.log.before_append = [nothing] + [unavailable] * 200
    answer = bench.submit(enter(ANN))
    await bench.clock.advance(5_000 + RETRY_MS)
    assert answer.result() == Rejection("unavailable")
    await bench.writer.drained()
    bench.log.before_append = []
    left = accepted(await bench.writer.submit(leave_queue(ANN)))
    assert left.commit is not None
    assert len(bench.state.queue) == 0


@on_bench
async def test_a_caller_who_goes_cancels_nothing(bench: Bench) -> None:
    """A submitted command belongs to the runtime."""
    landed = asyncio.Event()
    bench.log.before_append = [until(landed)]
    gone, stays = bench.submit(enter(ANN)), bench.submit(enter(BOB))
    await settle()
    in_line = bench.submit(enter(CAT))
    await settle()
    for caller in (gone, in_line):
        caller.cancel()
    await settle()
    landed.set()
    accepted(await stays)
    await bench.writer.drained()
    assert gone.cancelled()
    assert in_line.cancelled()
    assert room_of(bench.state, ANN) == room_of(bench.state, BOB)
    assert bench.state.connections.by_id[CAT].place == Waiting(4)


@on_bench
async def test_time_never_goes_back(bench: Bench) -> None:
    """The machine's clock may jump in both directions."""
    await bench.writer.submit(enter(ANN))
    bench.clock.jump_wall(-3_600_000)
    await bench.writer.submit(enter(BOB))
    await bench.clock.advance(1_000)
    await bench.writer.submit(enter(CAT))
    bench.clock.jump_wall(2 * 3_600_000)
    await bench.writer.submit(enter(DAN))
    times = [commit.at_ms for commit in bench.announced]
    assert times[0] == times[1] < times[2] < times[3]
    assert times[3] == bench.clock.wall_ms()


def test_a_clock_that_is_set_back_costs_nobody_their_allowance() -> None:
    """The wait is short, and does not last until the clock is back."""

    async def scenario() -> None:
        bench = await Bench.started(Policy(messages_per_10s_max=1))
        await bench.writer.submit(enter(ANN))
        await bench.writer.submit(enter(BOB))
        room = room_of(bench.state, ANN)
        bench.clock.jump_wall(-3_600_000)
        accepted(await bench.writer.submit(say(ANN, "one", None, room)))
        refused = await bench.writer.submit(say(ANN, "two", None, room))
        assert isinstance(refused, Rejection)
        assert refused.retry_after_ms is not None
        await bench.clock.advance(refused.retry_after_ms)
        accepted(await bench.writer.submit(say(ANN, "two", None, room)))
        await bench.check()

    run(scenario)


def test_a_clock_that_was_a_day_ahead_leaves_rate_limits_at_their_speed() -> None:
    """This holds after a restart on a log a day ahead, too, and `at_ms` never goes back."""

    async def scenario() -> None:
        policy = Policy(messages_per_10s_max=1)
        bench = await Bench.started(policy)
        await bench.writer.submit(enter(ANN))
        await bench.writer.submit(enter(BOB))
        room = room_of(bench.state, ANN)
        bench.clock.jump_wall(86_400_000)
        accepted(await bench.writer.submit(say(ANN, "one", None, room)))
        bench.clock.jump_wall(-86_400_000)
        await bench.clock.advance(9_999)
        refused = await bench.writer.submit(say(ANN, "two", None, room))
        assert isinstance(refused, Rejection)
        assert refused.retry_after_ms == 1
        await bench.clock.advance(1)
        accepted(await bench.writer.submit(say(ANN, "two", None, room)))
        await bench.check()

        again = Bench(bench.log, FakeClock())
        await again.start(policy)
        assert isinstance(await again.writer.submit(say(ANN, "three", None, room)), Rejection)
        await again.clock.advance(10_000)
        accepted(await again.writer.submit(say(ANN, "three", None, room)))
        await again.check()

    run(scenario)


@on_bench
async def test_a_conflict_is_decided_again_at_its_own_time(bench: Bench) -> None:
    """The time is never before that of earlier commits."""

    async def another_writes_later() -> None:
        bench.clock.jump_wall(-7_000)
        await bench.log.appended_by_another(enter(BOB), state=bench.state)

    await bench.writer.submit(enter(ANN))
    bench.log.before_append = [another_writes_later]
    await bench.writer.submit(enter(CAT))
    assert [commit.at_ms for commit in bench.announced] == sorted(commit.at_ms for commit in bench.announced)


@on_bench
async def test_the_absent_are_taken_out_before_anyone_is_matched(bench: Bench) -> None:
    """In the same batch, so no connection past its grace is ever met."""
    await bench.writer.submit(enter(ANN))
    bench.absent = [Disconnect(ANN, "timeout", 2)]
    answer = accepted(await bench.writer.submit(enter(BOB)))
    assert [type(commit.command) for commit in bench.log.batches[-1]] == [Disconnect, EnterQueue]
    assert len({commit.at_ms for commit in bench.log.batches[-1]}) == 1
    assert bench.state.connections.by_id[BOB].place == Waiting(4)
    assert answer.state.position == 4


@on_bench
async def test_the_absent_are_asked_for_only_where_it_matters(bench: Bench) -> None:
    """A message or a leaving matches no connection."""
    await bench.writer.submit(enter(ANN))
    bench.absent = [Disconnect(ANN, "timeout", 2)]
    await bench.writer.submit(leave_queue(BOB))
    assert bench.state.connections.by_id[ANN].place == Waiting(2)


@on_bench
async def test_one_look_for_the_absent_serves_a_batch(bench: Bench) -> None:
    """A separate look for each command would be wasteful after a common silence and return."""
    await bench.writer.submit(enter(ANN))
    bench.absent = [Disconnect(ANN, "timeout", 2)]
    await asyncio.gather(*(bench.writer.submit(command) for command in (leave_queue(DAN), enter(BOB), enter(CAT))))
    assert bench.asked == 2
    assert [type(commit.command) for commit in bench.log.batches[-1]] == [Disconnect, EnterQueue, EnterQueue]
    assert room_of(bench.state, BOB) == room_of(bench.state, CAT)


@on_bench
async def test_a_batch_is_not_given_up_while_one_still_waits(bench: Bench) -> None:
    """The log comes back after the first deadline in the batch and before the second."""
    landed = asyncio.Event()
    bench.log.before_append = [until(landed)]
    first = bench.submit(enter(ANN))
    await bench.clock.advance(1_000)
    early = bench.submit(enter(BOB))
    await bench.clock.advance(2_000)
    late = bench.submit(enter(CAT))
    await bench.clock.advance(100)
    bench.log.before_append = [unavailable] * 10_000
    landed.set()
    await bench.clock.advance(3_500)
    accepted(first.result())
    assert early.result() == Rejection("unavailable")
    assert not late.done()
    bench.log.before_append = []
    await bench.clock.advance(RETRY_MS)
    accepted(late.result())
    assert bench.state.connections.by_id[CAT].place == Waiting(4)


def test_too_many_in_line_are_turned_away_at_once() -> None:
    """The line has a bound; those in it are served."""

    async def scenario() -> None:
        bench = await Bench.started(Policy(commands_pending_max=3))
        landed = asyncio.Event()
        bench.log.before_append = [until(landed)]
        in_flight = bench.submit(enter(ANN))
        await settle()
        in_line = [bench.submit(enter(who)) for who in (BOB, CAT, DAN)]
        await settle()
        assert await bench.writer.submit(leave_queue(ANN)) == Rejection("unavailable")
        landed.set()
        for answer in (in_flight, *in_line):
            accepted(await answer)
        accepted(await bench.writer.submit(leave_queue(ConnectionId("c_eve"))))
        await bench.check()

    run(scenario)


def test_a_bug_in_a_rule_is_unavailable_and_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch is refused, nothing of it is stored, and the next one is served."""

    async def scenario() -> None:
        bench = await Bench.started()

        def buggy(state: State, command: Command, facts: Any) -> Any:
            assert not isinstance(command, LeaveQueue), "a bug"
            return decide(state, command, facts)

        with monkeypatch.context() as patched:
            patched.setattr(draft_module, "decide", buggy)
            answers = await asyncio.gather(*(bench.writer.submit(c) for c in (enter(ANN), leave_queue(ANN))))
            assert answers == [Rejection("unavailable")] * 2
            assert bench.log.batches == []
            accepted(await bench.writer.submit(enter(ANN)))
        accepted(await bench.writer.submit(leave_queue(ANN)))
        await bench.check()

    run(scenario)


def test_a_log_that_was_rolled_back_is_never_folded_on() -> None:
    """Every command is unavailable, and the state stays the same."""

    async def scenario() -> None:
        bench = await Bench.started()
        await bench.writer.submit(enter(ANN))
        known = bench.state
        bench.log.inner = MemoryLog()
        await bench.log.inner.append(log_of(AdoptPolicy(PATIENT)), expected=INITIAL_STATE.tip)
        answer = bench.submit(enter(BOB))
        await bench.clock.advance(1_000)
        assert answer.result() == Rejection("unavailable")
        assert bench.state is known
        assert len(bench.log.batches) < 10

    run(scenario)


def test_a_log_that_was_replaced_is_never_folded_on() -> None:
    """The new log is as long as the old one, with another past."""

    async def scenario() -> None:
        bench = await Bench.started()
        await bench.writer.submit(enter(ANN))
        known = bench.state
        bench.log.inner = MemoryLog()
        await bench.log.inner.append(
            log_of(enter(CAT), enter(DAN), leave_queue(BOB), enter(BOB)), expected=INITIAL_STATE.tip
        )
        assert await bench.writer.submit(enter(BOB)) == Rejection("unavailable")
        assert bench.state is known

    run(scenario)


def test_a_start_folds_what_the_log_holds() -> None:
    """It begins at the first commit or at the base; a policy already in force is not adopted again."""

    async def scenario() -> None:
        before = await Bench.started()
        for who in (ANN, BOB, CAT):
            await before.writer.submit(enter(who))
        after = new_writer(before.log, before.clock)
        await after.start(PATIENT)
        assert digest(after.replica.state) == digest(before.state)
        half = fold(await before.log.read(0, 2))
        await before.log.compact(Snapshot(half.tip, half))
        based = new_writer(before.log, before.clock)
        await based.start(PATIENT)
        assert digest(based.replica.state) == digest(before.state)
        assert len(await before.log.read(0, 10)) == 2

    run(scenario)


def test_a_start_with_other_limits_says_so_in_the_log() -> None:
    """Every decision after it is made under them."""

    async def scenario() -> None:
        bench = await Bench.started()
        other = new_writer(bench.log, bench.clock)
        await other.start(Policy(messages_per_10s_max=7))
        assert other.replica.state.policy == Policy(messages_per_10s_max=7)
        assert other.replica.state.position == 2

    run(scenario)


def test_a_log_that_was_altered_is_not_started_on() -> None:
    """The fault is the log's, and it is loud."""

    async def scenario() -> None:
        log = MemoryLog()
        await log.append(log_of(enter(ANN), enter(BOB), enter(CAT)), expected=INITIAL_STATE.tip)
        del log._commits[1]
        with pytest.raises(BrokenChainError):
            await new_writer(log, FakeClock()).start(Policy())

    run(scenario)


def test_a_start_on_a_log_that_can_only_be_read_fails() -> None:
    """It could keep none of its promises, least of all its limits."""

    async def scenario() -> None:
        log, clock = FaultyLog(), FakeClock()
        log.before_append = [unavailable] * 500
        starting = asyncio.ensure_future(new_writer(log, clock).start(PATIENT))
        await clock.advance(10_000)
        with pytest.raises(LogUnavailableError):
            await starting

    run(scenario)


def test_a_start_reads_a_long_log_to_its_end() -> None:
    """Page by page."""

    async def scenario() -> None:
        log = MemoryLog()
        again: list[Command] = [enter(ANN), leave_queue(ANN)]
        commits = log_of(*(again * 1_100), step_ms=20_000)
        await log.append(commits, expected=INITIAL_STATE.tip)
        runtime = new_writer(log, FakeClock())
        await runtime.start(Policy())
        assert runtime.replica.state.position == 2_200

    run(scenario)


@pytest.mark.parametrize("keep", [1, 2, 3, 10, 50])
def test_the_log_is_bounded_by_compaction(keep: int) -> None:
    """The log stays between about half of the bound and the bound plus one batch; nothing is lost."""

    async def scenario() -> None:
        bench = await Bench.started(keep_commits=keep)
        for number in range(4 * keep + 10):
            await bench.writer.submit(enter(ConnectionId(f"c_{number}")))
            await settle()
            held = len(await bench.log.read(0, 10_000))
            assert held <= keep + 1
            base = await bench.log.newest_snapshot()
            if base is not None:
                assert held >= keep // 2 - 1
            if base is not None and number % 7 == 0:
                held_state = fold(await bench.log.read(0, 10_000), base.state)
                assert digest(held_state) == digest(bench.state)

    run(scenario)


def test_a_compaction_that_fails_costs_nobody_an_answer() -> None:
    """It is tried again with the next batch; the beginning and the end of the trouble are a line each."""

    async def scenario() -> None:
        bench = await Bench.started(keep_commits=4)
        bench.log.before_compact = [unavailable] * 4
        with capture_logs() as logged:
            for number in range(12):
                accepted(await bench.writer.submit(enter(ConnectionId(f"c_{number}"))))
                await settle()
                await bench.clock.advance(1_000)
        assert bench.log.base.position > 0
        assert len(await bench.log.read(0, 100)) <= 5
        assert [(line["event"], line.get("after_s")) for line in logged] == [
            ("compaction_failed", None),
            ("compaction_resumed", 4),
        ]

    run(scenario)


def test_a_caretaker_that_is_new_keeps_half_of_the_log() -> None:
    """It knows no state of half a log ago, so it waits until it does."""

    async def scenario() -> None:
        is_caretaker = False
        log = FaultyLog()
        bench = Bench(log, FakeClock(), keep_commits=20, is_caretaker=lambda: is_caretaker)
        await bench.writer.start(PATIENT)
        held = []
        for number in range(60):
            is_caretaker = is_caretaker or number == 30
            accepted(await bench.writer.submit(enter(ConnectionId(f"c_{number}"))))
            await settle()
            held.append(len(await log.read(0, 100)))
        assert min(held[30:]) >= 10
        assert held[-1] <= 21

    run(scenario)


def test_no_command_waits_for_a_compaction() -> None:
    """It writes a whole snapshot, and the log may grow meanwhile; the next compaction waits for it."""

    async def scenario() -> None:
        bench, done = await Bench.started(keep_commits=4), asyncio.Event()
        bench.log.before_compact = [until(done)]
        for number in range(12):
            accepted(await bench.writer.submit(enter(ConnectionId(f"c_{number}"))))
        assert bench.log.base.position == 0
        done.set()
        await settle()
        for who in (ANN, BOB, CAT):  # the first of the next compactions are to states of long ago
            accepted(await bench.writer.submit(enter(who)))
            await settle()
        assert len(await bench.log.read(0, 100)) <= 5

    run(scenario)


def test_a_log_that_never_waits_is_compacted_at_once() -> None:
    """After each answer, the log is within its bound."""

    async def scenario() -> None:
        log = MemoryLog()
        runtime = new_writer(log, FakeClock(), keep_commits=4)
        await runtime.start(Policy())
        for number in range(12):
            runtime.submit(enter(ConnectionId(f"c_{number}")))
            assert len(await log.read(0, 100)) <= 5

    run(scenario)


def test_how_long_an_append_took_is_told() -> None:
    """For the metrics, in milliseconds."""

    async def scenario() -> None:
        bench = await Bench.started()
        landed = asyncio.Event()
        bench.log.before_append = [until(landed)]
        answer = bench.submit(enter(ANN))
        await bench.clock.advance(120)
        landed.set()
        await answer
        assert "chat_broker_append_seconds_sum 0.12" in bench.metrics.render().decode()

    run(scenario)


def test_several_workers_on_one_log_agree() -> None:
    """Each decides on its own replica; the log decides between them, and each person has one place."""

    async def scenario() -> None:
        inner, clock = MemoryLog(), FakeClock()
        benches = []
        for _ in range(3):
            log = FaultyLog(inner)
            bench = Bench(log, clock)
            await bench.writer.start(PATIENT)
            benches.append(bench)
        people = [ConnectionId(f"c_{number}") for number in range(60)]
        work: list[Awaitable[CommandAnswer]] = [
            benches[n % 3].writer.submit(enter(who)) for n, who in enumerate(people)
        ]
        for answer in await asyncio.gather(*work):
            accepted(answer)
        for bench in benches:  # each sees the end of the log with its next commit
            await bench.writer.submit(enter(ConnectionId("c_last")))
            await bench.writer.submit(leave_queue(ConnectionId("c_last")))
        state = fold(await inner.read(0, 1_000))
        assert state.rooms.open_count == 30
        assert check_state(state) == []
        assert digest(benches[-1].state) == digest(state)

    run(scenario)


def test_conflicts_without_end_cost_no_loop() -> None:
    """A store with conflicts and no new commits is out of order: commands fail, and later ones get a turn."""

    async def scenario() -> None:
        bench = await Bench.started()

        async def conflict() -> None:
            raise Conflict

        bench.log.before_append = [conflict] * 1_000
        answer = bench.submit(enter(ANN))
        await bench.clock.advance(100)
        assert answer.result() == Rejection("unavailable")
        bench.log.before_append = []
        accepted(await bench.writer.submit(enter(ANN)))

    run(scenario)


async def _trimmed_to_the_tip(log: MemoryLog) -> None:
    """Nothing is left of `log` but a snapshot."""
    base = await log.newest_snapshot()
    state = fold(await log.read(0, 10_000), base.state if base is not None else INITIAL_STATE)
    await log.compact(Snapshot(state.tip, state))


def test_a_log_that_was_trimmed_to_its_tip_is_gone_on_with() -> None:
    """This holds for a broker that is behind, too: an unanswered append is only in the snapshot."""

    async def scenario() -> None:
        bench = await Bench.started()
        bench.log.before_append = [nothing] + [unavailable] * 200
        bench.log.after_append = [unavailable]
        lost = bench.submit(enter(ANN))
        await bench.clock.advance(5_000 + RETRY_MS)
        assert lost.result() == Rejection("unavailable")
        await _trimmed_to_the_tip(bench.log.inner)
        bench.log.before_append = []
        assert accepted(await bench.writer.submit(enter(ANN))).commit is None
        assert accepted(await bench.writer.submit(enter(BOB))).state.rooms.open_count == 1

    run(scenario)


def test_what_may_stand_among_what_was_trimmed_is_not_said_again() -> None:
    """It is unknown whether an append landed if the log was trimmed before the next look."""

    async def scenario() -> None:
        bench = await Bench.started()
        await bench.writer.submit(enter(ANN))
        await bench.writer.submit(enter(BOB))

        async def landed_and_trimmed() -> None:
            await _trimmed_to_the_tip(bench.log.inner)
            raise LogUnavailableError

        bench.log.after_append = [landed_and_trimmed]
        answer = bench.submit(say(ANN, "once", None, room_of(bench.state, ANN)))
        await bench.clock.advance(5_000 + RETRY_MS)
        assert answer.result() == Rejection("unavailable")
        accepted(await bench.writer.submit(leave_queue(CAT)))
        assert bench.state.messages_sent == 1

    run(scenario)


def test_a_start_goes_on_though_the_log_is_trimmed_meanwhile() -> None:
    """The trim comes between its snapshot and the commits after it."""

    async def scenario() -> None:
        before = await Bench.started()
        for who in (ANN, BOB, CAT):
            await before.writer.submit(enter(who))
        before.log.before_read = [lambda: _trimmed_to_the_tip(before.log.inner)]
        after = new_writer(before.log, before.clock)
        await after.start(PATIENT)
        assert digest(after.replica.state) == digest(before.state)

    run(scenario)


def test_over_a_log_in_memory_a_command_is_carried_out_at_once() -> None:
    """There is nothing to wait for: stored, folded, announced and answered when `submit` returns."""

    async def scenario() -> None:
        bench = Bench(MemoryLog(), FakeClock())
        await bench.writer.start(PATIENT)
        bench.announced.clear()
        answer = accepted(bench.submit(enter(ANN)).result())
        assert bench.announced == [answer.commit]
        assert answer.state is bench.state

    run(scenario)


def test_a_log_that_derives_from_the_one_in_memory_may_wait() -> None:
    """If it says so."""

    class Slow(MemoryLog):
        never_waits = False

        async def append(self, commits: Sequence[Commit], *, expected: Tip) -> Tip:
            await settle(1)
            return await super().append(commits, expected=expected)

    async def scenario() -> None:
        runtime = new_writer(Slow(), FakeClock())
        await runtime.start(PATIENT)
        assert accepted(await runtime.submit(enter(ANN))).state.position == 2

    run(scenario)


def test_refused_commands_are_a_line_a_minute() -> None:
    """It has the number of commands refused since the line before, while the log does not answer."""

    async def scenario() -> None:
        bench = await Bench.started()
        with capture_logs() as logged:
            bench.log.before_append = [unavailable] * 100_000
            for number in range(100):
                answer = bench.writer.submit(enter(ConnectionId(f"c_{number}")))
                await bench.clock.advance(PATIENT.command_timeout_ms)
                assert await answer == UNAVAILABLE
                await bench.clock.advance(1_000)
        lines = [line["commands"] for line in logged if line["event"] == "log_unavailable"]
        each_ms = PATIENT.command_timeout_ms + 1_000
        assert lines == [1, *[LINES_EVERY_MS // each_ms] * (100 * each_ms // LINES_EVERY_MS - 1)]

    run(scenario)


async def a_bug() -> None:
    """Raise what no log raises."""
    raise RuntimeError("a bug")


def test_a_fault_of_ours_is_a_traceback_a_minute() -> None:
    """Every batch may fail by it."""

    async def scenario() -> None:
        bench = await Bench.started()
        with capture_logs() as logged:
            for number in range(5):
                bench.log.before_append = [a_bug]
                assert await bench.writer.submit(enter(ConnectionId(f"c_{number}"))) == UNAVAILABLE
            await bench.clock.advance(LINES_EVERY_MS)
            bench.log.before_append = [a_bug]
            assert await bench.writer.submit(enter(ANN)) == UNAVAILABLE
        lines = [line for line in logged if line["event"] == "batch_failed"]
        assert [line.get("suppressed") for line in lines] == [None, 4]

    run(scenario)
