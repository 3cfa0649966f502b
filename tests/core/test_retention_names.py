"""Names and interests of idle people are redacted in time, and a fold of the redacted log gives the live state."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path

import msgspec
import pytest

from broker.replica import Replica
from broker.retention import FORGOTTEN_AT_ONCE, NAMES_MS, SWEEP_MS
from events.commands import ForgetNames, ReportPartner
from events.commit import Commit
from events.events import QueueEntered, RoomOpened
from events.ids import ConnectionId
from events.log import EventLog, LogUnavailableError
from events.memory import MemoryLog
from events.policy import Policy
from events.sqlite.log import SqliteLog
from events.text import ANONYMOUS
from projections.connections import Chatting, Idle
from projections.snapshots import STATE_CODEC
from projections.state import digest, fold
from tests.core.test_retention import AFTER_MS, redaction_of
from tests.support.bench import LENIENT, BrokerBench, with_broker
from tests.support.fake_clock import FakeClock
from tests.support.logs import FaultyLog, run
from tests.support.people import ANN, BOB, CAT, DAN, enter, leave, leave_queue, move_on, say

LONG_MS = AFTER_MS + NAMES_MS
EVIDENCE_MS = 3 * NAMES_MS
FAIR = Policy(
    evidence_keep_ms=EVIDENCE_MS, confirm_grace_ms=25_000, rematch_after_ms=AFTER_MS, snapshot_every_commits=9
)


async def commits(log: EventLog) -> Sequence[Commit]:
    """Return all commits of a short log."""
    return await log.read(0, 100_000)


async def names(log: EventLog) -> list[str]:
    """Return the remaining names of the log, in order."""
    found: list[object] = []
    for commit in await commits(log):
        for event in commit.events:
            if isinstance(event, QueueEntered):
                found.append(event.display_name)
            elif isinstance(event, RoomOpened):
                found += [event.first_name, event.second_name]
    return [name for name in found if isinstance(name, str)]


async def folds_to_the_state(bench: BrokerBench) -> bool:
    """Return whether a fold of the stored commits gives the live state."""
    return digest(fold(await commits(bench.log))) == digest(bench.broker.state)


@with_broker()
async def test_names_go_so_long_after_their_people(bench: BrokerBench) -> None:
    """Not a millisecond before; the state forgets them too, with the interests."""
    redaction = redaction_of(bench)
    await bench.do(enter(ANN, "Ann", "chess"))
    await bench.do(leave_queue(ANN))
    await bench.clock.advance(AFTER_MS - 1)
    await redaction.sweep()
    assert await names(bench.log) == ["Ann"]
    await bench.clock.advance(NAMES_MS)
    await redaction.sweep()
    known = bench.broker.state.connections.by_id[ANN]
    assert (await names(bench.log), known.display_name, known.interests, known.salt) == ([], ANONYMOUS, (), None)
    assert b"chess" not in b"".join(STATE_CODEC.encode(bench.broker.state))
    assert await folds_to_the_state(bench)


@with_broker()
async def test_a_room_names_its_members_while_it_is_open(bench: BrokerBench) -> None:
    """Names of present people stay, also in the state; those of a closed room are in no state."""
    redaction, room = redaction_of(bench), await bench.pair(ANN, BOB)
    with bench.broker.presence.call(ANN), bench.broker.presence.call(BOB):
        await bench.clock.advance(LONG_MS)
        await redaction.sweep()
        assert await names(bench.log) == ["Ann", "Bob", "Ann", "Bob"]
        await bench.do(leave(ANN, room))
    closed = bench.broker.state.rooms.by_id[room]
    assert (closed.first_name, closed.second_name) == (ANONYMOUS, ANONYMOUS)
    await bench.clock.advance(LONG_MS)
    await redaction.sweep()
    assert await names(bench.log) == []
    assert await folds_to_the_state(bench)


@with_broker()
async def test_an_earlier_name_goes_while_its_person_is_there_again(bench: BrokerBench) -> None:
    """The present name is in a later commit, and stays."""
    redaction = redaction_of(bench)
    await bench.do(enter(ANN, "Early"))
    await bench.do(leave_queue(ANN))
    await bench.do(enter(ANN, "Late"))
    with bench.broker.presence.call(ANN):
        await bench.clock.advance(LONG_MS)
        await redaction.sweep()
        assert (await names(bench.log), bench.waits(ANN)) == (["Late"], True)
    assert await folds_to_the_state(bench)


@with_broker()
async def test_a_person_without_a_name_can_go_on(bench: BrokerBench) -> None:
    """After the name was forgotten, `next_partner` waits as `Anonymous`, not a name to redact."""
    redaction, room = redaction_of(bench), await bench.pair(ANN, BOB)
    await bench.do(leave(BOB, room))
    await bench.clock.advance(LONG_MS)
    await redaction.sweep()
    await bench.do(enter(CAT))
    await bench.do(move_on(ANN, room))
    assert await names(bench.log) == ["Cat", ANONYMOUS, "Cat", ANONYMOUS]
    place = bench.place_of(ANN)
    assert isinstance(place, Chatting)
    await bench.do(leave(ANN, place.room_id))
    await bench.clock.advance(LONG_MS)
    await redaction.sweep()
    assert await names(bench.log) == [ANONYMOUS, ANONYMOUS]
    assert await folds_to_the_state(bench)


@with_broker()
async def test_names_take_turns_of_an_hour(bench: BrokerBench) -> None:
    """Each turn saves a snapshot, so there are few of them; nothing to forget needs none."""
    redaction = redaction_of(bench)
    await redaction.sweep()
    assert bench.log.saved == []
    await bench.do(enter(ANN))
    await bench.do(leave_queue(ANN))
    await bench.clock.advance(AFTER_MS)
    await redaction.sweep()
    assert (await names(bench.log), bench.log.saved) == (["Ann"], [])
    await bench.clock.advance(NAMES_MS - AFTER_MS)
    await redaction.sweep()
    (snapshot,) = bench.log.saved
    assert (await names(bench.log), snapshot.tip) == ([], bench.broker.state.tip)


@with_broker()
async def test_many_names_are_forgotten_by_several_commands(bench: BrokerBench) -> None:
    """No commit grows without a bound."""
    people = [ConnectionId(f"c_{number}") for number in range(FORGOTTEN_AT_ONCE + 1)]
    for who in people:
        await bench.do(enter(who, "Somebody"))
        await bench.do(leave_queue(who))
    await bench.clock.advance(AFTER_MS)
    await redaction_of(bench).sweep()
    commands = [commit.command for commit in await commits(bench.log)]
    sizes = [len(command.connection_ids) for command in commands if isinstance(command, ForgetNames)]
    assert (sizes, await names(bench.log)) == ([FORGOTTEN_AT_ONCE, 1], [])


@with_broker()
async def test_a_command_that_is_not_carried_out_puts_it_off(bench: BrokerBench) -> None:
    """A name in the state is never redacted."""
    redaction = redaction_of(bench)
    await bench.do(enter(ANN))
    await bench.do(leave_queue(ANN))
    await bench.clock.advance(AFTER_MS)
    submit = redaction._submit
    redaction._submit = lambda command: submit(leave(ANN))  # it is refused
    with pytest.raises(LogUnavailableError):
        await redaction.sweep()
    assert await names(bench.log) == ["Ann"]
    redaction._submit = submit
    await redaction.sweep()
    assert await names(bench.log) == []


@with_broker()
async def test_a_state_that_lags_behind_puts_it_off(bench: BrokerBench) -> None:
    """In a shared log, the state may be behind the read."""
    redaction = redaction_of(bench)
    await bench.do(enter(ANN))
    await bench.do(leave_queue(ANN))
    await bench.clock.advance(AFTER_MS)
    redaction._replica = Replica(bench.log, bench.clock, bench.broker.metrics, bench.broker, lambda: None)
    await redaction.sweep()
    assert await names(bench.log) == ["Ann"]


def test_two_brokers_may_do_it() -> None:
    """In a shared log, the second one finds nothing left to do."""

    async def scenario() -> None:
        clock = FakeClock()
        benches = [BrokerBench(log, clock) for log in FaultyLog.shared(2)]
        for bench in benches:
            await bench.broker.start(LENIENT)
        await benches[0].do(enter(ANN))
        await benches[1].do(leave_queue(ANN))
        await clock.advance(AFTER_MS)
        redactions = [redaction_of(bench) for bench in benches]
        for _ in range(2):
            for redaction in redactions:
                await redaction.sweep()
            await clock.advance(NAMES_MS)
        assert await names(benches[0].log) == []
        commands = [type(commit.command) for commit in await commits(benches[0].log)]
        assert commands.count(ForgetNames) == 1
        for bench in benches:
            assert await folds_to_the_state(bench)
            await bench.broker.close()

    run(scenario)


class Histories:
    """A random history over a log with several brokers in turn."""

    def __init__(self, log: EventLog, seed: int, policy: Policy = FAIR) -> None:
        self.log = log
        self._policy = policy
        self._draw = random.Random(seed)
        self._clock = FakeClock()
        self._people = [ANN, BOB, CAT, DAN]
        self._count = 0

    async def live(self, rounds: int) -> None:
        """Start brokers one after the other; each time the log folds to the state, after any redaction."""
        for _ in range(rounds):
            bench = BrokerBench(FaultyLog(self.log), self._clock)
            await bench.broker.start(self._policy)
            assert await folds_to_the_state(bench)
            redaction = redaction_of(bench)
            for _ in range(self._draw.randint(10, 40)):
                await self._step(bench)
                if self._draw.random() < 0.2:
                    await redaction.sweep()
                    assert await folds_to_the_state(bench)
            await self._end(bench)

    async def end(self) -> None:
        """Let a last broker wait until everything is due."""
        bench = BrokerBench(FaultyLog(self.log), self._clock)
        await bench.broker.start(self._policy)
        await self._clock.advance(EVIDENCE_MS + LONG_MS)
        await redaction_of(bench).sweep()
        assert await folds_to_the_state(bench)
        await self._end(bench)

    async def _end(self, bench: BrokerBench) -> None:
        await bench.broker.writer.stop(0)
        bench.broker.deadlines.stop()
        bench.broker.store_watch.stop()

    async def _step(self, bench: BrokerBench) -> None:
        draw, writer = self._draw, bench.broker.writer
        who, rooms = draw.choice(self._people), bench.broker.state.rooms.by_id
        mine = [room.room_id for room in sorted(rooms.values(), key=attrgetter("opened_position")) if room.has(who)]
        self._count += 1
        match draw.randint(0, 6):
            case 0 | 1:
                name = draw.choice([ANONYMOUS, f"name{self._count}"])
                await writer.submit(enter(who, name, *draw.sample(["chess", "tea"], draw.randint(0, 2))))
            case 2:
                await writer.submit(leave_queue(who))
            case 3 if mine:
                await writer.submit(say(who, f"text{self._count}", None, mine[-1]))
            case 4 if mine:
                await writer.submit(draw.choice([leave, move_on])(who, draw.choice(mine)))
            case 5 if mine:
                await writer.submit(ReportPartner(who, draw.choice(mine), "other", f"note{self._count}"))
            case _:
                await self._clock.advance(draw.choice([1_000, SWEEP_MS, AFTER_MS, NAMES_MS]))


@pytest.mark.parametrize("seed", range(12))
def test_a_redacted_log_in_memory_folds_to_the_live_state(seed: int) -> None:
    """This holds at every moment and after each restart; in the end no text is left."""

    async def scenario() -> None:
        history = Histories(MemoryLog(), seed)
        await history.live(4)
        await history.end()
        stored = msgspec.json.encode(await commits(history.log))
        assert not re.findall(rb'"(?:name|text|note)[0-9]', stored)

    run(scenario)


@pytest.mark.parametrize("seed", range(3))
def test_a_redacted_file_folds_to_the_live_state(seed: int, tmp_path: Path) -> None:
    """This holds although a start begins at a snapshot; and no byte of the file has a redacted text."""

    async def scenario() -> None:
        history = Histories(SqliteLog(tmp_path / "log.db", STATE_CODEC), seed)
        await history.live(3)
        await history.end()
        await history.log.close()
        stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())  # noqa: ASYNC240 - nothing else runs
        assert not re.findall(rb'"(?:name|text|note)[0-9]', stored)

    run(scenario)


def test_idle_people_stay_in_their_order() -> None:
    """Forgetting a name moves no one."""

    async def scenario() -> None:
        bench = BrokerBench()
        await bench.broker.start(LENIENT)
        for who in (ANN, BOB):
            await bench.do(enter(who))
            await bench.do(leave_queue(who))
        before = list(bench.broker.state.connections.idle.items())
        await bench.clock.advance(AFTER_MS)
        await redaction_of(bench).sweep()
        assert list(bench.broker.state.connections.idle.items()) == before
        assert all(isinstance(bench.place_of(who), Idle) for who in (ANN, BOB))
        await bench.broker.close()

    run(scenario)
