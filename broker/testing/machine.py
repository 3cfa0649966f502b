"""A Hypothesis state machine of the broker, to be subclassed: random commands, and every result is checked.

class TeaMachine(BrokerMachine):
    matching = my_matching

TestTea = TeaMachine.TestCase  # pytest and unittest run it
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar, TypeVar

import msgspec
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from broker.matching import Matching
from broker.testing import strategies
from broker.testing.checked_matching import override_matchings
from broker.testing.checker import Counterexample, history_lines
from broker.testing.failed_log import write_failed_log
from broker.testing.machine_case import MachineTestCase, run_of
from broker.testing.system_under_test import BrokenPromiseError, Outcome, SystemUnderTest
from broker.testing.systems import CoreSystem, System
from broker.verification.safe_text import safe_repr
from events.commands import (
    AdoptPolicy,
    BlockPartner,
    CancelMatch,
    Command,
    Disconnect,
    EnterQueue,
    ForgetNames,
    LeaveQueue,
    LeaveRoom,
    MatchDue,
    NextPartner,
    ReportCategory,
    ReportPartner,
    SendMessage,
)
from events.commit import Commit
from events.ids import ClientMessageId, ConnectionId, RoomId
from events.policy import Policy
from projections.connections import Chatting, Idle, Place, Waiting
from projections.state import State

T = TypeVar("T")

_MACHINE: st.SearchStrategy[Any] = st.runner()


def _mostly(place: type[Place]) -> st.SearchStrategy[ConnectionId]:
    """Return any of the members, and mostly one in `place`: most rules do nothing anywhere else."""
    return _MACHINE.flatmap(lambda machine: st.sampled_from([*machine.members_in(place) * 4, *machine.people]))


MEMBERS: st.SearchStrategy[ConnectionId] = _MACHINE.flatmap(lambda machine: st.sampled_from(machine.people))
"""Any of a machine's members, for rules."""

MOSTLY_WAITING = _mostly(Waiting)
"""Any member, mostly a waiting one."""

MOSTLY_CHATTING = _mostly(Chatting)
"""Any member, mostly one in a room."""

MOSTLY_IDLE = _mostly(Idle)
"""Any member, mostly an idle one."""

ROOM_NUMBERS = st.integers(0, 20)
"""A choice of a room: see `BrokerMachine.room_of`."""

_SAID = st.tuples(strategies.texts(), st.none() | st.sampled_from("abcde").map(ClientMessageId))

_COMPLAINTS = st.tuples(strategies.categories(), st.none() | strategies.texts())

_INTERESTS = _MACHINE.flatmap(lambda machine: _some_of(machine.interests))

_OTHER_POLICIES = _MACHINE.flatmap(lambda machine: machine.other_policies)


def _some_of(interests: Sequence[str]) -> st.SearchStrategy[tuple[str, ...]]:
    chosen = st.lists(st.sampled_from(interests), unique=True, max_size=10) if interests else st.just([])
    return chosen.map(lambda some: tuple(sorted(some)))


class BrokerMachine(RuleBasedStateMachine):
    """A few members send random commands under limits within their reach.

    The class attributes are its configuration. A subclass may add rules (they call `submit`) and override `committed`.
    A failure raises `BrokenPromiseError` with the promise, the position and the history; Hypothesis shrinks the steps
    that lead there.
    """

    matching: ClassVar[Matching | None] = None
    """A custom matching, used in place of the policy's. `None` uses the policy's own."""

    policy: ClassVar[Policy] = Policy()
    """The policy at the start."""

    other_policies: ClassVar[st.SearchStrategy[Policy]] = strategies.tiny_policies()
    """The policies of later changes by an operator; `st.nothing()` for none."""

    people: ClassVar[Sequence[ConnectionId]] = strategies.PEOPLE
    """The members' connection ids."""

    interests: ClassVar[Sequence[str]] = strategies.FEW_INTERESTS
    """The interests that members draw from, in their cleaned form: name those that the matching treats on their own."""

    systems: ClassVar[Sequence[Callable[[], System]]] = (CoreSystem,)
    """The systems to drive. Several get the same commands and must give the same results."""

    TestCase = MachineTestCase()

    def __init__(self) -> None:
        super().__init__()
        self._has_failed = False
        self._outer_error = sys.exception()
        self._last: Command | None = None
        self._cursors: dict[ConnectionId, int] = {}
        self.under_test: list[SystemUnderTest] = []
        with ExitStack() as opened:
            checked = opened.enter_context(override_matchings(type(self).matching, *run_of(type(self))))
            for number, make in enumerate(type(self).systems):
                system = make()
                opened.callback(system.close)
                self.under_test.append(SystemUnderTest(system, checked, _ignore_commit if number else self.committed))
            self._do(lambda under_test: under_test.start(self._allowed(type(self).policy)))
            self._open = opened.pop_all()

    @property
    def state(self) -> State:
        """The state of the first system."""
        return self.under_test[0].state

    def submit(self, command: Command) -> Outcome:
        """Submit `command`, given with the machine's room names, and return the checked outcome."""
        self._last = command
        return self._do(lambda under_test: under_test.submit(command))

    def members_in(self, place: type[Place]) -> list[ConnectionId]:
        """Return the members in a place of that kind; an unknown one is idle."""
        known = self.state.connections.get
        return [who for who in self.people if isinstance(one.place if (one := known(who)) else Idle(0), place)]

    def room_of(self, who: ConnectionId, number: int) -> RoomId:
        """Return the room of a member; one time in four, or if there is none, any room so far."""
        first = self.under_test[0]
        known = first.state.connections.get(who)
        if known is not None and isinstance(known.place, Chatting) and number % 4:
            return first.room_name(known.place.room_id)
        return RoomId(f"r_{max(1, len(first.rooms) - number)}")

    def committed(self, before: State, commit: Commit, after: State) -> None:
        """Override to see each checked commit of the first system, with the states before and after it."""

    @initialize(crowd=st.lists(st.tuples(MEMBERS, _INTERESTS, st.sampled_from([0, 700])), max_size=6))
    def arrive(self, crowd: Sequence[tuple[ConnectionId, tuple[str, ...], int]]) -> None:
        """Let some members enter first, so many ms apart: in some runs nothing enters later."""
        for who, interests, after_ms in crowd:
            if after_ms:
                self.time_passes(after_ms)
            self.submit(EnterQueue(who, "Anonymous", interests))

    @rule(
        who=MOSTLY_IDLE,
        name=strategies.names(),
        interests=_INTERESTS,
        grace_ms=strategies.idle_graces_ms(),
    )
    def enter(self, who: ConnectionId, name: str, interests: tuple[str, ...], grace_ms: int | None = None) -> None:
        """Enter the queue; as an attended connection with `grace_ms`."""
        self.submit(EnterQueue(who, name, interests, grace_ms))

    @rule(who=MOSTLY_WAITING, waits=st.booleans(), early_ms=st.sampled_from([0, 1]))
    def match_due(self, who: ConnectionId, waits: bool, early_ms: int) -> None:
        """Submit `MatchDue`: when a patience of its sender ends, 1 ms before, or (not `waits`) at once."""
        known, policy = self.state.connections.get(who), self.state.policy
        if waits and known is not None and isinstance(known.place, Waiting):
            waited_ms = self.under_test[0].system.now_ms - known.waiting_since_ms()
            due_ms = [
                patience_ms - early_ms for patience_ms in (policy.interest_patience_ms, policy.rematch_patience_ms)
            ]
            self.time_passes(min((ms - waited_ms for ms in due_ms if ms > waited_ms), default=0))
        self.submit(MatchDue(who))

    @rule(who=MOSTLY_CHATTING, number=ROOM_NUMBERS)
    def next_partner(self, who: ConnectionId, number: int) -> None:
        """Ask for another partner."""
        self.submit(NextPartner(who, self.room_of(who, number)))

    @rule(who=MOSTLY_WAITING)
    def leave_queue(self, who: ConnectionId) -> None:
        """Leave the queue."""
        self.submit(LeaveQueue(who))

    @rule(who=MOSTLY_CHATTING, number=ROOM_NUMBERS, said=st.lists(_SAID, min_size=1, max_size=6))
    def send(self, who: ConnectionId, number: int, said: Sequence[tuple[str, ClientMessageId | None]]) -> None:
        """Send one or more messages; an id may repeat an earlier one."""
        for text, message_id in said:
            self.submit(SendMessage(who, self.room_of(who, number), text, message_id))

    @rule(who=MOSTLY_CHATTING, number=ROOM_NUMBERS)
    def leave_room(self, who: ConnectionId, number: int) -> None:
        """Leave the room."""
        self.submit(LeaveRoom(who, self.room_of(who, number)))

    @rule(
        who=MOSTLY_CHATTING, number=ROOM_NUMBERS, too=st.lists(MEMBERS, unique=True, max_size=2), present=st.booleans()
    )
    def cancel_match(self, who: ConnectionId, number: int, too: Sequence[ConnectionId], present: bool) -> None:
        """Find that a member missed a match, and so did those of `too` in the room."""
        missed_by = (who, *(other for other in too if other != who))
        self.submit(CancelMatch(self.room_of(who, number), missed_by, present))

    @rule(who=MOSTLY_CHATTING, number=ROOM_NUMBERS, complaint=st.none() | _COMPLAINTS)
    def part_for_good(
        self, who: ConnectionId, number: int, complaint: tuple[ReportCategory, str | None] | None
    ) -> None:
        """Block the partner in a room, open or closed, or report it."""
        room_id = self.room_of(who, number)
        self.submit(ReportPartner(who, room_id, *complaint) if complaint is not None else BlockPartner(who, room_id))

    @rule(people=st.lists(MEMBERS, unique=True, min_size=1), ago=st.integers(0, 10))
    def forget_names(self, people: Sequence[ConnectionId], ago: int) -> None:
        """Forget the names of members idle for a few positions."""
        self.submit(ForgetNames(tuple(people), max(0, self.state.position - ago)))

    @rule(who=MEMBERS, ago=st.integers(0, 3), abandoned=st.booleans())
    def disconnect(self, who: ConnectionId, ago: int, *, abandoned: bool) -> None:
        """Report an absence, found now or a few positions ago."""
        self.submit(Disconnect(who, "disconnected", max(0, self.state.position - ago), abandoned))

    @precondition(lambda machine: not machine.other_policies.is_empty)
    @rule(policy=_OTHER_POLICIES)
    def adopt(self, policy: Policy) -> None:
        """Change the policy."""
        self.submit(AdoptPolicy(self._allowed(policy)))

    @rule()
    def repeat(self) -> None:
        """Repeat the last command, as a client does after a lost answer: nothing is sent or queued twice."""
        if self._last is not None:
            self.submit(self._last)

    @rule(who=MEMBERS)
    def read(self, who: ConnectionId) -> None:
        """Read the next page."""
        cursor = self._cursors.get(who, 0)
        self._cursors[who] = self._do(lambda under_test: under_test.check_page(who, cursor))

    @rule(by_ms=st.sampled_from([1, 500, 3_000, 30_000]))
    def time_passes(self, by_ms: int) -> None:
        """Advance the clock."""
        self._do(lambda under_test: under_test.pass_time(by_ms))

    @rule()
    def restart(self) -> None:
        """Restart every system from its log."""
        self._do(lambda under_test: under_test.restart())

    def teardown(self) -> None:
        """Check the whole log and all pages; or explain the error that ends the run."""
        error = sys.exception()
        is_ending = isinstance(error, Exception) and error is not self._outer_error
        with self._open:
            if isinstance(error, Exception) and is_ending:
                self._explain(error)
                return
            try:
                self._do(lambda under_test: under_test.check_all())
            except Exception as failure:
                self._explain(failure)
                raise

    def _explain(self, error: Exception) -> None:
        """Add to `error` the history that leads there, and where its log is."""
        if isinstance(error, HypothesisException):
            return
        commits = self.under_test[0].commits
        if not isinstance(error, BrokenPromiseError):  # which tells its own
            error.add_note("\n".join(["the history that leads there:", *history_lines(commits)]))
            error.add_note(f"the last command was {safe_repr(self._last)}")
        if (path := write_failed_log(type(self), commits)) is not None:
            error.add_note(f"to see it in a browser: chat-broker report {path} -o failure.html")

    def _do(self, act: Callable[[SystemUnderTest], T]) -> T:
        """Return the result of `act` for each system; all must be equal."""
        __tracebackhide__ = True
        self._has_failed = True
        first, *others = [act(under_test) for under_test in self.under_test]
        for other in others:
            if other != first:
                what = f"the systems do not agree: {first} and {other}"
                raise BrokenPromiseError(Counterexample(6, self.state.position, what, (), self.under_test[0].commits))
        self._has_failed = False
        return first

    def _allowed(self, policy: Policy) -> Policy:
        """Return `policy`; with a custom matching, it must not be `first-come`, which promises an order."""
        return policy if type(self).matching is None else msgspec.structs.replace(policy, matching="interests")


def _ignore_commit(before: State, commit: Commit, after: State) -> None:
    """Do nothing: one system's commits are enough."""
