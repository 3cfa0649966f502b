"""News of sessions on the roster's channel."""

from __future__ import annotations

from broker.notes import CALL_CANCELLED, SESSION_CHANGED, SessionNote
from broker.roster import BEAT_MS, FLUSH_MS, LEASE_MS
from broker.roster_link import SESSION_NOTES_MAX
from events.coordination import NOTE_BYTES_MAX
from tests.support.bench import BrokerBench, two_brokers
from tests.support.channel import MemoryChannel
from tests.support.fake_clock import settle
from tests.support.logs import run


class Reader:
    """A record of all notes received."""

    def __init__(self, bench: BrokerBench) -> None:
        self.notes: list[SessionNote] = []
        self.misses = 0
        link = bench.broker.roster_link
        assert link is not None
        self.link = link
        link.subscribe(self)

    def receive(self, note: SessionNote) -> None:
        """Keep it."""
        self.notes.append(note)

    def notes_missed(self) -> None:
        """Count it."""
        self.misses += 1


def channel_of(bench: BrokerBench) -> MemoryChannel:
    """The channel of a broker."""
    channel = bench.log.coordination
    assert channel is not None
    return channel


def test_news_reach_the_other_brokers_in_order_and_not_their_own() -> None:
    """At once, not with the next beat."""

    async def scenario() -> None:
        async with two_brokers() as (_, here, there):
            own, others = Reader(here), Reader(there)
            news = [SessionNote("key", SESSION_CHANGED), SessionNote("key", CALL_CANCELLED, "digest")]
            for note in news:
                own.link.tell_session(note)
            await settle()
            assert (own.notes, others.notes, others.misses) == ([], news, 0)

    run(scenario)


def test_many_news_fit_the_channel() -> None:
    """No note is longer than the channel carries."""

    async def scenario() -> None:
        async with two_brokers() as (clock, here, there):
            own, others = Reader(here), Reader(there)
            news = [SessionNote("k" * 32, SESSION_CHANGED, "d" * 16)] * SESSION_NOTES_MAX
            for note in news:
                own.link.tell_session(note)
            await clock.advance(FLUSH_MS)
            assert others.notes == news
            assert max(map(len, channel_of(here).notes)) <= NOTE_BYTES_MAX

    run(scenario)


def test_more_news_than_may_wait_are_seen_to_be_missing() -> None:
    """Their number goes with them, so the other brokers know."""

    async def scenario() -> None:
        async with two_brokers() as (clock, here, there):
            own, others = Reader(here), Reader(there)
            for _ in range(SESSION_NOTES_MAX + 1):
                own.link.tell_session(SessionNote("key", SESSION_CHANGED))
            await clock.advance(BEAT_MS)
            assert len(others.notes) == SESSION_NOTES_MAX
            assert others.misses == 1

    run(scenario)


def test_lost_news_are_noticed_with_the_next_beat() -> None:
    """A gap in the numbers is enough."""

    async def scenario() -> None:
        async with two_brokers() as (clock, here, there):
            own, others = Reader(here), Reader(there)
            channel_of(here).is_lossy = True
            own.link.tell_session(SessionNote("key", SESSION_CHANGED))
            await settle()
            channel_of(here).is_lossy = False
            assert (others.notes, others.misses) == ([], 0)
            await clock.advance(BEAT_MS)
            assert (others.notes, others.misses) == ([], 1)

    run(scenario)


def test_after_a_new_subscription_news_may_be_missing() -> None:
    """It is unknown whether there were any."""

    async def scenario() -> None:
        async with two_brokers() as (clock, _, there):
            others = Reader(there)
            channel_of(there).break_it()
            await settle()
            channel_of(there).mend()
            await clock.advance(BEAT_MS)
            assert others.misses >= 1

    run(scenario)


def test_a_lost_broker_may_have_had_news() -> None:
    """Nothing of it came back before it fell silent."""

    async def scenario() -> None:
        async with two_brokers() as (clock, here, there):
            own, others = Reader(here), Reader(there)
            assert own.link._timer is not None
            own.link._timer.cancel()
            await clock.advance(LEASE_MS - BEAT_MS)
            assert others.misses == 0
            await clock.advance(2 * BEAT_MS)
            assert others.misses == 1

    run(scenario)
