"""The share of the busiest peer in the latest matches."""

from __future__ import annotations

from broker.peer_share import MATCHES_COUNTED, MATCHES_COUNTED_MIN, PeerShare


def share_of(*matches: set[str]) -> PeerShare:
    """The share after these matches."""
    share = PeerShare()
    for peers in matches:
        share.add(frozenset(peers))
    return share


def test_a_few_matches_are_no_share() -> None:
    """One match alone would look like an attack."""
    matches = [{"a", f"b{number}"} for number in range(MATCHES_COUNTED_MIN)]
    assert share_of(*matches[1:]).busiest() == 0
    assert share_of(*matches).busiest() == 1


def test_the_busiest_peer_counts() -> None:
    """Once a match, also if both members are of it; a match of exempt peers counts as a match."""
    assert share_of(*([{"a"}] * 10), *([{"a", "b"}] * 10), *([set()] * 20)).busiest() == 0.5
    assert share_of(*([set()] * 40)).busiest() == 0


def test_older_matches_do_not_count() -> None:
    """The window is bounded, and so are the records of peers."""
    share = share_of(*([{"a"}] * MATCHES_COUNTED), *({f"b{number}"} for number in range(MATCHES_COUNTED)))
    assert share.busiest() == 1 / MATCHES_COUNTED
    assert len(share._counts) == MATCHES_COUNTED
