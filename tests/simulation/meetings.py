"""Blocks and former meetings, by rules of its own from the stored events."""

from __future__ import annotations

from collections import defaultdict

from events.commands import MatchDue
from events.commit import Commit
from events.events import PartnerBlocked, RoomClosed, RoomOpened
from events.ids import ConnectionId
from events.policy import Policy
from tests.simulation.loop import World
from tests.simulation.sometimes import Sometimes

REMEMBERED = 8


class Meetings:
    """The blocks and the last partners of each connection."""

    def __init__(self, world: World, sometimes: Sometimes) -> None:
        self._world = world
        self._sometimes = sometimes
        self._blocked: defaultdict[ConnectionId, list[ConnectionId]] = defaultdict(list)
        self._met: defaultdict[ConnectionId, list[tuple[ConnectionId, int]]] = defaultdict(list)

    def begins_anew(self, who: ConnectionId) -> None:
        """Forget `who`."""
        self._blocked.pop(who, None)
        self._met.pop(who, None)

    def blocks(self, event: PartnerBlocked, policy: Policy) -> None:
        """Keep a block."""
        self._sometimes.reached("someone was blocked")
        if event.blocked in self._blocked[event.blocker]:
            self._world.fail(f"{event.blocker} blocked {event.blocked} twice")
        self._blocked[event.blocker].append(event.blocked)
        del self._blocked[event.blocker][: -policy.blocks_per_connection_max]

    def has_blocked(self, who: ConnectionId, other: ConnectionId) -> bool:
        """Return whether `who` has blocked `other`."""
        return other in self._blocked[who]

    def closes(self, event: RoomClosed, at_ms: int) -> None:
        """Keep a meeting, unless a member never came."""
        if event.missed_by:
            return
        for who, other in ((event.closed_by, event.other), (event.other, event.closed_by)):
            others = [met for met in self._met[who] if met[0] != other]
            self._met[who] = [*others, (other, at_ms)][-REMEMBERED:]

    def reason(self, one: ConnectionId, other: ConnectionId, at_ms: int, policy: Policy) -> str | None:
        """Return the reason against a match of the two at `at_ms`, if there is one; their peers are ignored."""
        if self.has_blocked(one, other) or self.has_blocked(other, one):
            return "blocked"
        for who, met in ((one, other), (other, one)):
            for partner, met_ms in self._met[who]:
                if partner == met and at_ms - met_ms < policy.rematch_after_ms:
                    return "met"
        return None

    def met_since(self, who: ConnectionId, at_ms: int) -> list[ConnectionId]:
        """Return the connections met by `who` since then."""
        return [partner for partner, met_ms in self._met[who] if met_ms > at_ms]

    def check_opened(
        self, commit: Commit, event: RoomOpened, policy: Policy, waiting_since_ms: dict[ConnectionId, int]
    ) -> None:
        """Check that neither has blocked the other, and that two recent partners were both patient."""
        reason = self.reason(event.first, event.second, commit.at_ms, policy)
        if reason == "blocked":
            self._world.fail(f"promise 9: at {commit.position}, {event.first} meets {event.second} in spite of a block")
        if reason == "met":
            waited_ms = [commit.at_ms - waiting_since_ms[who] for who in (event.first, event.second)]
            if not isinstance(commit.command, MatchDue) or min(waited_ms) < policy.rematch_patience_ms:
                self._world.fail(f"at {commit.position}, {event.first} and {event.second} meet again after {waited_ms}")
            self._sometimes.reached("two met again, since both had waited")
