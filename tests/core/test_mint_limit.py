"""How many handles one peer address may ask for."""

from __future__ import annotations

import asyncio

from broker.minting import MintLimiter
from events.policy import Policy
from tests.support.fake_clock import FakeClock

THREE = Policy(handles_minted_per_10s_max=3, peers_tracked_max=2)


def uses(limiter: MintLimiter, peer: str, times: int) -> list[int]:
    """What each of so many tries is answered."""
    return [limiter.use(peer, THREE) for _ in range(times)]


def test_a_peer_may_mint_its_limit_at_once() -> None:
    """The next one is told how long to wait."""
    assert uses(MintLimiter(FakeClock()), "192.0.2.1", 5) == [0, 0, 0, 3_334, 3_334]


def test_a_refusal_costs_nothing_and_the_wait_is_enough() -> None:
    """Whoever waits as long as told gets the next one."""

    async def scenario() -> None:
        clock = FakeClock()
        limiter = MintLimiter(clock)
        wait_ms = uses(limiter, "192.0.2.1", 9)[-1]
        await clock.advance(wait_ms - 1)
        assert limiter.use("192.0.2.1", THREE) == 1
        await clock.advance(1)
        assert limiter.use("192.0.2.1", THREE) == 0

    asyncio.run(scenario())


def test_each_peer_has_its_own_allowance() -> None:
    """One that floods does not shut the others out."""
    limiter = MintLimiter(FakeClock())
    uses(limiter, "192.0.2.1", 9)
    assert uses(limiter, "192.0.2.2", 3) == [0, 0, 0]


def test_of_the_peers_those_that_asked_last_are_remembered() -> None:
    """The table has a bound."""
    limiter = MintLimiter(FakeClock())
    for peer in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3"):
        uses(limiter, peer, 3)
    assert list(limiter._spent_until_us) == ["192.0.2.1", "192.0.2.3"]
    assert limiter.use("192.0.2.1", THREE) > 0
    assert limiter.use("192.0.2.2", THREE) == 0


def test_a_subscriber_of_ipv6_is_one_peer() -> None:
    """Its addresses are as many as it likes; the next subscriber's are another's."""
    limiter = MintLimiter(FakeClock())
    asked = [limiter.use(f"2001:db8:1:2::{number}", THREE) for number in range(4)]
    assert asked == [0, 0, 0, 3_334]
    assert limiter.use("2001:db8:1:3::1", THREE) == 0


def test_an_ipv4_address_in_the_form_of_ipv6_is_the_same_peer() -> None:
    """A socket of IPv6 tells IPv4 peers so."""
    limiter = MintLimiter(FakeClock())
    uses(limiter, "192.0.2.1", 3)
    assert limiter.use("::ffff:192.0.2.1", THREE) == 3_334
