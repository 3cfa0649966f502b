"""Messages leave the log in time, and nothing else does."""

from __future__ import annotations

from structlog.testing import capture_logs

from broker.clock import WatchedClock
from broker.retention import SWEEP_MS, Redaction
from events.commands import SendMessage
from events.text import RedactedText
from projections.state import digest, fold
from tests.support.bench import LENIENT, BrokerBench, with_broker
from tests.support.fake_clock import FakeClock
from tests.support.logs import FaultyLog, run, unavailable
from tests.support.people import ANN, BOB, CAT, DAN, leave, move_on, say

AFTER_MS = 600_000
DAY_MS = 86_400_000


def redaction_of(bench: BrokerBench, after_ms: int = AFTER_MS) -> Redaction:
    """The redaction of the bench's log, not running by itself."""
    broker = bench.broker
    return Redaction(bench.log, bench.clock, WatchedClock(bench.clock), after_ms, broker.replica, broker.writer.submit)


async def texts(bench: BrokerBench) -> list[str | None]:
    """Return the messages in the log; `None` for a redacted one."""
    commits = await bench.log.inner.read(0, 10_000)
    said = [commit.command.text for commit in commits if isinstance(commit.command, SendMessage)]
    return [None if isinstance(text, RedactedText) else text for text in said]


async def talk(bench: BrokerBench) -> Redaction:
    """Let two pairs talk, and end one conversation; return the redaction."""
    first, second = await bench.pair(ANN, BOB), await bench.pair(CAT, DAN)
    await bench.do(say(ANN, "one", None, first))
    await bench.do(say(CAT, "two", None, second))
    await bench.do(say(BOB, "three", None, first))
    await bench.do(leave(ANN, first))
    return redaction_of(bench)


@with_broker()
async def test_texts_go_so_long_after_their_room_closed(bench: BrokerBench) -> None:
    """They stay until the last millisecond, and texts of an open room stay."""
    redaction = await talk(bench)
    await bench.clock.advance(AFTER_MS - 1)
    await redaction.sweep()
    assert await texts(bench) == ["one", "two", "three"]
    await bench.clock.advance(1)
    await redaction.sweep()
    assert await texts(bench) == [None, "two", None]


@with_broker()
async def test_the_chain_and_the_state_hold(bench: BrokerBench) -> None:
    """The remains of a text are enough for both."""
    redaction = await talk(bench)
    before = digest(bench.broker.state)
    await bench.clock.advance(AFTER_MS)
    await redaction.sweep()
    commits = await bench.log.inner.read(0, 10_000)
    upto = [commit for commit in commits if commit.position <= 8]
    assert digest(fold(commits)) == digest(bench.broker.state)
    assert (len(upto), before != "") == (8, True)


@with_broker()
async def test_a_room_that_closes_later_is_not_forgotten(bench: BrokerBench) -> None:
    """Its messages are older than the sweeps already done."""
    redaction = await talk(bench)
    await bench.clock.advance(AFTER_MS)
    await redaction.sweep()
    room = bench.broker.state.rooms.by_id
    (second,) = [one for one in room if CAT in (room[one].first, room[one].second)]
    # Their grace has ended meanwhile, and with it the room.
    assert not room[second].is_open
    await bench.clock.advance(AFTER_MS)
    await redaction.sweep()
    assert await texts(bench) == [None, None, None]


def test_a_restart_goes_on_where_the_present_people_came() -> None:
    """Nothing is left out, and nothing finished is read again."""

    async def scenario() -> None:
        log, clock = FaultyLog(), FakeClock()
        bench = BrokerBench(log, clock)
        await bench.broker.start(LENIENT)
        first = await bench.pair(ANN, BOB)
        await bench.do(say(ANN, "early", None, first))
        await bench.do(leave(ANN, first))
        gone = bench.broker.state.position
        second = await bench.pair(CAT, DAN)
        await bench.do(say(CAT, "late", None, second))
        await clock.advance(1)
        with bench.broker.presence.call(CAT), bench.broker.presence.call(DAN):
            await clock.advance(AFTER_MS)
            await redaction_of(bench).sweep()
            assert log.redacted_to == gone
            await bench.do(move_on(DAN, second))
            await clock.advance(AFTER_MS)
            await redaction_of(bench).sweep()
        assert await texts(bench) == [None, None]
        await bench.broker.close()

    run(scenario)


@with_broker()
async def test_a_log_that_does_not_answer_puts_it_off(bench: BrokerBench) -> None:
    """A later sweep makes up for it; the beginning and the end are a line each."""
    redaction = await talk(bench)
    await bench.clock.advance(AFTER_MS)
    bench.log.before_redact = [unavailable] * 3
    with capture_logs() as logged:
        bench.broker.in_background(redaction.run())
        await bench.clock.advance(2 * SWEEP_MS)
        assert await texts(bench) == ["one", "two", "three"]
        await bench.clock.advance(SWEEP_MS)
    assert await texts(bench) == [None, "two", None]
    lines = [(line["event"], line.get("after_s")) for line in logged if line["event"].startswith("redaction")]
    assert lines == [("redaction_put_off", None), ("redaction_resumed", 180)]


@with_broker()
async def test_a_clock_that_jumps_ahead_redacts_nothing_too_early(bench: BrokerBench) -> None:
    """The clock may be corrected, and a redacted text does not come back."""
    redaction = await talk(bench)
    bench.clock.jump_wall(DAY_MS)
    await redaction.sweep()
    assert await texts(bench) == ["one", "two", "three"]
    bench.clock.jump_wall(-DAY_MS)
    await bench.clock.advance(AFTER_MS)
    await redaction.sweep()
    assert await texts(bench) == [None, "two", None]


@with_broker()
async def test_texts_that_were_stamped_in_a_jump_go_in_time(bench: BrokerBench) -> None:
    """So long after the process knew them, not when the wall clock is there at last; and not before."""
    bench.clock.jump_wall(DAY_MS)
    redaction = await talk(bench)
    bench.clock.jump_wall(-DAY_MS)
    await redaction.sweep()
    for _ in range(AFTER_MS // SWEEP_MS - 1):
        await bench.clock.advance(SWEEP_MS)
        await redaction.sweep()
    assert await texts(bench) == ["one", "two", "three"]
    await bench.clock.advance(SWEEP_MS)
    await redaction.sweep()
    assert await texts(bench) == [None, "two", None]


@with_broker()
async def test_a_long_time_to_redaction_keeps_few_sightings(bench: BrokerBench) -> None:
    """Sweeps in quick succession share one."""
    redaction = redaction_of(bench, 1_000 * SWEEP_MS)
    for _ in range(2):
        await redaction.sweep()
        await bench.clock.advance(SWEEP_MS - 1)
    assert len(redaction._sightings) == 1


def test_a_broker_that_is_told_to_does_it_by_itself() -> None:
    """Once a minute."""

    async def scenario() -> None:
        bench = BrokerBench()
        await bench.broker.start(LENIENT, redact_after_ms=AFTER_MS)
        await talk(bench)
        await bench.clock.advance(AFTER_MS + SWEEP_MS)
        assert (await texts(bench))[0] is None
        await bench.broker.close()

    run(scenario)
