"""A state machine of the broker, to be subclassed: people do anything at all, and every answer is checked.

class Mine(BrokerMachine):
matching = my_matching

TestMine = Mine.TestCase  # pytest and unittest run it
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar, TypeVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from broker.matching import Matching
from broker.testing import strategies
from broker.testing.driven import BrokenPromiseError, Driven, Outcome
from broker.testing.matchings import standing_in
from broker.testing.systems import Core, System
from broker.testing.witness import Broken
from events.commands import (
    AdoptPolicy,
    Command,
    Disconnect,
    EnterQueue,
    LeaveQueue,
    LeaveRoom,
    MatchDue,
    NextPartner,
    SendMessage,
)
from events.commit import Commit
from events.ids import ClientMessageId, ConnectionId, RoomId
from events.policy import Policy
from projections.connections import Chatting, Idle, Place, Waiting
from projections.state import State

T = TypeVar("T")

_MACHINE: st.SearchStrategy[Any] = st.runner()


def _one_of(place: type[Place]) -> st.SearchStrategy[ConnectionId]:
    """One of the people, and mostly of those who are in such a place: else little would come of what they do."""
    return _MACHINE.flatmap(lambda machine: st.sampled_from([*machine.people_in(place) * 4, *machine.people]))


WHO: st.SearchStrategy[ConnectionId] = _MACHINE.flatmap(lambda machine: st.sampled_from(machine.people))
"""One of a machine's people, for rules."""

WHO_WAITS = _one_of(Waiting)
"""One of them, and mostly one who waits."""

WHO_CHATS = _one_of(Chatting)
"""One of them, and mostly one who is in a room."""

WHO_IS_IDLE = _one_of(Idle)
"""One of them, and mostly one who is neither."""

NUMBER = st.integers(0, 20)
"""Which room: see `BrokerMachine.room_of`."""

_SAID = st.tuples(strategies.texts(), st.none() | st.sampled_from("abcde").map(ClientMessageId))

_OTHER_POLICIES = _MACHINE.flatmap(lambda machine: machine.other_policies)


class BrokerMachine(RuleBasedStateMachine):
    """A few people do anything at all, again and again, under limits that they run into.

    What a subclass may say is in the class attributes. It may add rules, which call `submit`, and override
    `committed`. A failure raises `BrokenPromiseError`: its text says which promise, where, and by which history, and
    Hypothesis has looked for the shortest way there.
    """

    matching: ClassVar[Matching | None] = None
    """The matching to be tried, in the place of the ones that a policy can name. `None`: the policy's own."""

    policy: ClassVar[Policy] = Policy()
    """What is in force at the start."""

    other_policies: ClassVar[st.SearchStrategy[Policy]] = strategies.tiny_policies()
    """What an operator may change it to; `st.nothing()`: it stays."""

    people: ClassVar[Sequence[ConnectionId]] = strategies.PEOPLE
    """Who takes part."""

    systems: ClassVar[Sequence[Callable[[], System]]] = (Core,)
    """What is driven. Several are told the same, and must answer the same."""

    def __init__(self) -> None:
        super().__init__()
        self._has_failed = False
        self._last: Command | None = None
        self._cursors: dict[ConnectionId, int] = {}
        self.driven: list[Driven] = []
        with ExitStack() as opened:
            watched = opened.enter_context(standing_in(type(self).matching))
            for number, make in enumerate(type(self).systems):
                system = make()
                opened.callback(system.close)
                self.driven.append(Driven(system, watched, _unobserved if number else self.committed))
            self._do(lambda driven: driven.start(self._allowed(type(self).policy)))
            self._open = opened.pop_all()

    @property
    def state(self) -> State:
        """What the first of the systems knows."""
        return self.driven[0].state

    def submit(self, command: Command) -> Outcome:
        """Have `command` carried out, in which rooms have the machine's names; the outcome has been checked."""
        self._last = command
        return self._do(lambda driven: driven.submit(command))

    def people_in(self, place: type[Place]) -> list[ConnectionId]:
        """Those of the people who are in such a place; who is not known is idle."""
        known = self.state.connections.get
        return [who for who in self.people if isinstance(one.place if (one := known(who)) else Idle(0), place)]

    def room_of(self, who: ConnectionId, number: int) -> RoomId:
        """Mostly the room that `who` is in, else any that there ever was, in the machine's words."""
        first = self.driven[0]
        known = first.state.connections.get(who)
        if known is not None and isinstance(known.place, Chatting) and number % 4:
            return first.named(known.place.room_id)
        return RoomId(f"r_{max(1, len(first.rooms) - number)}")

    def committed(self, before: State, commit: Commit, after: State) -> None:
        """Is told of each commit of the first system, which has been checked, and of the states around it."""

    @initialize(crowd=st.lists(st.tuples(WHO, strategies.interests(few=True), st.sampled_from([0, 700])), max_size=6))
    def come(self, crowd: Sequence[tuple[ConnectionId, tuple[str, ...], int]]) -> None:
        """Some are there already, who came so many ms apart: in some stories nobody enters later."""
        for who, interests, after_ms in crowd:
            if after_ms:
                self.time_passes(after_ms)
            self.submit(EnterQueue(who, "Anonymous", interests))

    @rule(who=WHO_IS_IDLE, name=strategies.names(), interests=strategies.interests(few=True))
    def enter(self, who: ConnectionId, name: str, interests: tuple[str, ...]) -> None:
        """Someone wants to chat."""
        self.submit(EnterQueue(who, name, interests))

    @rule(who=WHO_WAITS, waits=st.booleans(), early_ms=st.sampled_from([0, 1]))
    def match_due(self, who: ConnectionId, waits: bool, early_ms: int) -> None:
        """Someone waits until their patience ends, or nearly; or the broker asks long before."""
        known = self.state.connections.get(who)
        if waits and known is not None:
            due_ms = known.last_at_ms + self.state.policy.interest_patience_ms - early_ms
            self.time_passes(max(0, due_ms - self.driven[0].system.now_ms))
        self.submit(MatchDue(who))

    @rule(who=WHO_CHATS, number=NUMBER)
    def next_partner(self, who: ConnectionId, number: int) -> None:
        """Someone wants someone else."""
        self.submit(NextPartner(who, self.room_of(who, number)))

    @rule(who=WHO_WAITS)
    def leave_queue(self, who: ConnectionId) -> None:
        """Someone does not want to wait."""
        self.submit(LeaveQueue(who))

    @rule(who=WHO_CHATS, number=NUMBER, said=st.lists(_SAID, min_size=1, max_size=6))
    def send(self, who: ConnectionId, number: int, said: Sequence[tuple[str, ClientMessageId | None]]) -> None:
        """Someone says something, or a lot at once; it may be what they have said before."""
        for text, message_id in said:
            self.submit(SendMessage(who, self.room_of(who, number), text, message_id))

    @rule(who=WHO_CHATS, number=NUMBER)
    def leave_room(self, who: ConnectionId, number: int) -> None:
        """Someone has had enough."""
        self.submit(LeaveRoom(who, self.room_of(who, number)))

    @rule(who=WHO, ago=st.integers(0, 3))
    def disconnect(self, who: ConnectionId, ago: int) -> None:
        """Someone was found absent, just now or a while ago."""
        self.submit(Disconnect(who, "disconnected", max(0, self.state.position - ago)))

    @precondition(lambda machine: not machine.other_policies.is_empty)
    @rule(policy=_OTHER_POLICIES)
    def adopt(self, policy: Policy) -> None:
        """An operator sets other limits."""
        self.submit(AdoptPolicy(self._allowed(policy)))

    @rule()
    def repeat(self) -> None:
        """A client did not get its answer, and asks again at once: nothing is sent or queued twice."""
        if self._last is not None:
            self.submit(self._last)

    @rule(who=WHO)
    def read(self, who: ConnectionId) -> None:
        """Someone reads on where they were: a page."""
        cursor = self._cursors.get(who, 0)
        self._cursors[who] = self._do(lambda driven: driven.check_page(who, cursor))

    @rule(by_ms=st.sampled_from([1, 500, 3_000, 30_000]))
    def time_passes(self, by_ms: int) -> None:
        """Allowances come back, and patience ends."""
        self._do(lambda driven: driven.pass_time(by_ms))

    @rule()
    def restart(self) -> None:
        """The process ends, and another goes on from the log."""
        self._do(lambda driven: driven.restart())

    def teardown(self) -> None:
        """The whole log once more, and nobody has missed anything."""
        with self._open:
            if not self._has_failed:
                self._do(lambda driven: driven.check_all())

    def _do(self, act: Callable[[Driven], T]) -> T:
        """What `act` gives with each of the systems, which must be the same."""
        __tracebackhide__ = True
        self._has_failed = True
        first, *others = [act(driven) for driven in self.driven]
        for other in others:
            if other != first:
                what = f"the systems do not agree: {first} and {other}"
                raise BrokenPromiseError(Broken(6, self.state.position, what, (), self.driven[0].commits))
        self._has_failed = False
        return first

    def _allowed(self, policy: Policy) -> Policy:
        """`policy`, and where the matching is somebody's own, no promise that it is first come, first served."""
        return policy if type(self).matching is None else msgspec.structs.replace(policy, matching="interests")


def _unobserved(before: State, commit: Commit, after: State) -> None:
    """The first system's commits are enough."""
