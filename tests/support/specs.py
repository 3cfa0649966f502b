"""`given(history).when(command).then(events)`: the form of a test for a rule of chat."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import ndiff
from typing import Any

from broker.decide import decide
from broker.decision import Decision, Rejection, RejectionCode
from events.commands import Command, LeaveQueue, ReportPartner, SendMessage
from events.commit import Facts, commit_after
from events.events import Event, PolicyAdopted
from events.ids import ConnectionId, RoomId
from events.policy import Policy
from projections.state import INITIAL_STATE, State, evolve
from tests.support.people import FRESH, ROOM, entered, opened

NOON_MS = 1_790_000_000_000
PAST = LeaveQueue(ConnectionId("c_past"))  # the author of past events does not matter

Step = tuple[Event, ...]
"""The events of one commit."""


def waiting(who: ConnectionId) -> list[Step]:
    """Return a history after which `who` waits."""
    return [(entered(who),)]


def chatting(first: ConnectionId, second: ConnectionId, room: RoomId = ROOM) -> list[Step]:
    """Return a history after which `first` and `second` are in `room`."""
    return [(entered(first),), (entered(second), opened(first, second, room))]


def then_also(*events: Event) -> list[Step]:
    """Return one more commit, of `events`."""
    return [events]


def under(**limits: Any) -> list[Step]:
    """Return the adoption of a policy with `limits`."""
    return [(PolicyAdopted(Policy(**limits)),)]


def state_after(*history: list[Step], at_ms: int = NOON_MS) -> State:
    """Return the state after `history`, all of it at one moment."""
    state = INITIAL_STATE
    for step in (step for steps in history for step in steps):
        state = evolve(state, commit_after(state.tip, PAST, Facts(at_ms, None, "salt"), step))
    return state


def given(*history: list[Step]) -> Given:
    """Return the past `history`, at noon."""
    return Given(state_after(*history))


def assert_same(actual: Sequence[Any], expected: Sequence[Any]) -> None:
    """Fail with a line for each missing and each additional item."""
    if list(actual) != list(expected):
        lines = ndiff([repr(one) for one in expected], [repr(one) for one in actual])
        raise AssertionError("- expected, + actual\n" + "\n".join(lines))


class Given:
    """A state reached by a history."""

    def __init__(self, state: State) -> None:
        self.state = state

    def when(
        self,
        command: Command,
        *,
        after_ms: int = 0,
        room_id: RoomId | None = FRESH,
        avoid: tuple[ConnectionId, ...] = (),
    ) -> When:
        """Decide `command`, `after_ms` after noon."""
        salt = "salt" if isinstance(command, SendMessage | ReportPartner) else None
        facts = Facts(NOON_MS + after_ms, room_id, salt, avoid)
        before = self.state
        decision = decide(self.state, command, facts)
        again = decide(before, command, facts)
        assert decision == again, "the same question has the same answer"
        return When(decision)


class When:
    """A decision to be checked."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision

    def then(self, *events: Event) -> None:
        """Assert that these events follow, in this order."""
        assert not isinstance(self.decision, Rejection), f"expected {list(events)}, was refused: {self.decision}"
        assert_same(self.decision, events)

    def then_nothing(self) -> None:
        """Assert that it is done already: nothing is stored, and nothing is refused."""
        self.then()

    def then_rejected(self, code: RejectionCode, retry_after_ms: int | None = None) -> None:
        """Assert that it is refused with `code`."""
        assert_same([self.decision], [Rejection(code, retry_after_ms)])
