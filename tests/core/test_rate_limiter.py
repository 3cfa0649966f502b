"""Limits of use for each key."""

from __future__ import annotations

import asyncio

from broker.addresses import subscriber_of
from broker.rate_limiter import RateLimiter
from tests.support.fake_clock import FakeClock


def use(limiter: RateLimiter, peer: str) -> int:
    """Return the answer to one more use, of three in ten seconds."""
    return limiter.use(peer, per_10s_max=3, keys_max=2)


def uses(limiter: RateLimiter, peer: str, times: int) -> list[int]:
    """Return the answers to several uses."""
    return [use(limiter, peer) for _ in range(times)]


def test_a_peer_may_use_its_limit_at_once() -> None:
    """The next one is told how long to wait."""
    assert uses(RateLimiter(FakeClock()), "192.0.2.1", 5) == [0, 0, 0, 3_334, 3_334]


def test_a_limit_of_0_is_none() -> None:
    """Any number of uses, and nothing is remembered of them."""
    limiter = RateLimiter(FakeClock())
    assert [limiter.use("192.0.2.1", per_10s_max=0, keys_max=2) for _ in range(100)] == [0] * 100
    assert not limiter._spent_until_us


def test_a_refusal_costs_nothing_and_the_wait_is_enough() -> None:
    """The next use after the given time is allowed."""

    async def scenario() -> None:
        clock = FakeClock()
        limiter = RateLimiter(clock)
        wait_ms = uses(limiter, "192.0.2.1", 9)[-1]
        await clock.advance(wait_ms - 1)
        assert use(limiter, "192.0.2.1") == 1
        await clock.advance(1)
        assert use(limiter, "192.0.2.1") == 0

    asyncio.run(scenario())


def test_each_peer_has_its_own_allowance() -> None:
    """A flooding peer does not shut the others out."""
    limiter = RateLimiter(FakeClock())
    uses(limiter, "192.0.2.1", 9)
    assert uses(limiter, "192.0.2.2", 3) == [0, 0, 0]


def test_of_the_peers_those_that_asked_last_are_remembered() -> None:
    """The table has a bound."""
    limiter = RateLimiter(FakeClock())
    for peer in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3"):
        uses(limiter, peer, 3)
    assert list(limiter._spent_until_us) == ["192.0.2.1", "192.0.2.3"]
    assert use(limiter, "192.0.2.1") > 0
    assert use(limiter, "192.0.2.2") == 0


def test_a_subscriber_of_ipv6_is_one_peer() -> None:
    """Its addresses are as many as it likes; the next subscriber's are another's."""
    assert len({subscriber_of(f"2001:db8:1:2::{number}") for number in range(4)}) == 1
    assert subscriber_of("2001:db8:1:3::1") != subscriber_of("2001:db8:1:2::1")


def test_an_ipv4_address_in_the_form_of_ipv6_is_the_same_peer() -> None:
    """A socket of IPv6 tells IPv4 peers so."""
    assert subscriber_of("::ffff:192.0.2.1") == subscriber_of("192.0.2.1") != subscriber_of("192.0.2.2")
