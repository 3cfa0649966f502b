"""A reported room is redacted only after its evidence was held for so long; other rooms do not wait for it."""

from __future__ import annotations

from broker.retention import NAMES_MS
from events.commands import ReportPartner
from events.events import MessageSent, PartnerReported
from events.ids import ConnectionId, RoomId
from events.policy import Policy
from tests.core.test_retention import AFTER_MS, redaction_of
from tests.core.test_retention_names import folds_to_the_state, names
from tests.support.bench import BrokerBench, with_broker
from tests.support.fake_clock import FakeClock
from tests.support.logs import FaultyLog, run
from tests.support.people import ANN, BOB, CAT, DAN, leave, say

KEEP_MS = 10 * AFTER_MS
FAIR = Policy(evidence_keep_ms=KEEP_MS, blocks_per_connection_max=9, reports_kept=2)


def report(who: ConnectionId, room: RoomId, note: str = "rude") -> ReportPartner:
    """Return a report by `who` of the other member of `room`."""
    return ReportPartner(who, room, "harassment", note)


async def said(bench: BrokerBench) -> list[str]:
    """Return the remaining messages and notes of the log, in order."""
    events = await bench.events()
    texts = [event.text if isinstance(event, MessageSent) else getattr(event, "note", None) for event in events]
    return [text for text in texts if isinstance(text, str)]


async def talk(bench: BrokerBench, who: ConnectionId, other: ConnectionId, text: str) -> RoomId:
    """Let two meet, and one of them say `text`."""
    room = await bench.pair(who, other)
    await bench.do(say(who, text, None, room))
    return room


@with_broker(FAIR)
async def test_a_reported_room_is_kept_for_longer(bench: BrokerBench) -> None:
    """Its messages, the note and both names stay, not a millisecond longer; a room beside it goes when it is due."""
    redaction = redaction_of(bench)
    await bench.do(report(ANN, await talk(bench, ANN, BOB, "bad")))
    await bench.do(leave(CAT, await talk(bench, CAT, DAN, "good")))
    await bench.clock.advance(AFTER_MS)
    await redaction.sweep()
    assert (await said(bench), await names(bench.log)) == (["bad", "rude"], ["Bob", "Ann", "Bob"])
    await bench.clock.advance(KEEP_MS - AFTER_MS - 1)
    await redaction.sweep()
    assert await said(bench) == ["bad", "rude"]
    await bench.clock.advance(1)
    await redaction.sweep()
    assert await said(bench) == []
    await bench.clock.advance(NAMES_MS)
    await redaction.sweep()
    assert await names(bench.log) == []
    assert await folds_to_the_state(bench)


@with_broker(FAIR)
async def test_each_report_holds_the_room(bench: BrokerBench) -> None:
    """The last one counts, for the note of the first too."""
    redaction, room = redaction_of(bench), await talk(bench, ANN, BOB, "bad")
    await bench.do(report(ANN, room, "first"))
    await bench.clock.advance(AFTER_MS)
    await bench.do(report(BOB, room, "second"))
    await bench.clock.advance(KEEP_MS - 1)
    await redaction.sweep()
    assert await said(bench) == ["bad", "first", "second"]
    await bench.clock.advance(1)
    await redaction.sweep()
    assert await said(bench) == []


@with_broker(FAIR)
async def test_a_note_about_a_redacted_room_goes_too(bench: BrokerBench) -> None:
    """A report that comes too late for the messages keeps its own note for as long as any."""
    redaction, room = redaction_of(bench), await talk(bench, ANN, BOB, "bad")
    await bench.do(leave(BOB, room))
    await bench.clock.advance(AFTER_MS)
    await redaction.sweep()
    await bench.do(report(ANN, room))
    await bench.clock.advance(KEEP_MS - 1)
    await redaction.sweep()
    assert await said(bench) == ["rude"]
    await bench.clock.advance(1)
    await redaction.sweep()
    assert await said(bench) == []


@with_broker(Policy(blocks_per_connection_max=9))
async def test_where_no_evidence_is_kept_a_report_holds_nothing(bench: BrokerBench) -> None:
    """The note goes as the messages do."""
    redaction = redaction_of(bench)
    await bench.do(report(ANN, await talk(bench, ANN, BOB, "bad")))
    await bench.clock.advance(AFTER_MS)
    await redaction.sweep()
    assert await said(bench) == []


@with_broker(FAIR)
async def test_a_report_that_is_pushed_out_releases_its_room(bench: BrokerBench) -> None:
    """`reports_kept` bounds the kept rooms; the oldest goes first."""
    redaction = redaction_of(bench)
    for text in ("one", "two", "three"):
        await bench.do(report(ANN, await talk(bench, ANN, ConnectionId(f"c_{text}"), text), f"about {text}"))
    await bench.clock.advance(AFTER_MS)
    await redaction.sweep()
    assert await said(bench) == ["two", "about two", "three", "about three"]


def test_a_restart_finds_what_is_held() -> None:
    """Also if the report has left the state meanwhile: its texts still go in time."""

    async def scenario() -> None:
        log, clock = FaultyLog(), FakeClock()
        bench = BrokerBench(log, clock)
        await bench.broker.start(FAIR)
        await bench.do(report(ANN, await talk(bench, ANN, BOB, "bad")))
        await bench.do(leave(CAT, await talk(bench, CAT, DAN, "good")))
        await clock.advance(AFTER_MS)
        for _ in range(2):
            await redaction_of(bench).sweep()
            assert await said(bench) == ["bad", "rude"]
        await clock.advance(KEEP_MS)
        await bench.do(report(CAT, await talk(bench, CAT, DAN, "worse"), "newer"))
        (held,) = bench.broker.state.reports.items()
        (newest,) = [c for c in await log.read(0, 1_000) if c.position == held[0]]
        assert [event.note for event in newest.events if isinstance(event, PartnerReported)] == ["newer"]
        await redaction_of(bench).sweep()
        assert await said(bench) == ["worse", "newer"]
        await bench.broker.close()

    run(scenario)
