"""One driven system with its checker: every result must be as promised.

Each system has its own room ids. A machine calls its rooms `r_1`, `r_2` and so on, in the order of their opening. So it
can give several systems the same commands and compare their results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn, TypeVar

import msgspec

from broker.decision import Rejection
from broker.testing.checked_matching import CheckedMatching
from broker.testing.checker import Checker, Counterexample, compare_rejection
from broker.testing.comparison import plain_notification, state_differences
from broker.testing.reference_matching import IllegalChoiceError
from broker.testing.reference_state import PlainNotification
from broker.testing.systems import Observation, System, facts_for
from broker.verification.safe_text import safe, safe_repr
from events.commands import AdoptPolicy, CancelMatch, Command, MatchDue, ReportPartner, SendMessage
from events.commit import Commit, redact
from events.events import Event, QueueEntered, RoomOpened
from events.ids import ConnectionId, Position, RoomId
from events.policy import Policy
from projections.notifications import deliveries
from projections.state import State, digest, fold

S = TypeVar("S", bound=msgspec.Struct)

OnCommit = Callable[[State, Commit, State], None]
"""Called with each commit, and the states before and after it."""


class BrokenPromiseError(AssertionError):
    """A system broke a promise; the text is the report of `counterexample`."""

    def __init__(self, counterexample: Counterexample) -> None:
        super().__init__(str(counterexample))
        self.counterexample = counterexample


class Outcome(NamedTuple):
    """A system's result: the rejection, the events by commit, the notifications.

    Rooms have the machine's names, and names no salts: those are a system's own.
    """

    rejection: Rejection | None
    events: Sequence[Sequence[Event]]
    notifications: Sequence[PlainNotification]


class SystemUnderTest:
    """A system with its checker. Every deviation raises `BrokenPromiseError` at once."""

    def __init__(self, system: System, matching: CheckedMatching | None, on_commit: OnCommit) -> None:
        self.system = system
        self.commits: list[Commit] = []
        self.rooms: list[RoomId] = []  # the system's ids, in the order of their opening
        self._matching = matching
        self._checker = Checker(matching)
        self._on_commit = on_commit

    @property
    def state(self) -> State:
        """The expected state of the system, folded from its log."""
        return self._checker.state

    def start(self, policy: Policy) -> Outcome:
        """Start the system under `policy`."""
        return self._outcome(self._observe(lambda: self.system.start(policy), AdoptPolicy(policy)))

    def pass_time(self, by_ms: int) -> Outcome:
        """Advance the system's clock."""
        return self._outcome(self._observe(lambda: self.system.pass_time(by_ms)))

    def restart(self) -> Outcome:
        """Stop the system, and start it again from its log."""
        return self._outcome(self._observe(self.system.restart))

    def submit(self, command: Command) -> Outcome:
        """Submit `command`, given with the machine's room names."""
        __tracebackhide__ = True
        command = self.with_system_room(command)
        observation = self._observe(lambda: self.system.submit(command), command)
        answer = observation.answer
        if isinstance(answer, Commit):
            later = [commit for commit in observation.commits if commit.position > answer.position]
            # A new policy may make some due, and so does a returned place in the queue.
            is_last = all(isinstance(commit.command, MatchDue | CancelMatch) for commit in later)
            if answer not in observation.commits or answer.command != command or not is_last:
                self._fail(4, "the answer is not what was stored last", command)
        else:
            self._check_rejection(command, answer)
        return self._outcome(observation)

    def check_page(self, connection_id: ConnectionId, cursor: Position) -> Position:
        """Read one page after `cursor`, check it, and return the next cursor; the same one if nothing was left.

        An unknown connection reads nothing.
        """
        connection = self._checker.reference.state.connection(connection_id)
        if connection is None:
            return cursor
        cursor = max(cursor, connection.known_since - 1)
        page = self.system.page(connection_id, cursor)
        limit = self.state.policy.events_per_page_max
        owed = [one for one in connection.notifications if one[0] > cursor][:limit]
        read = [plain_notification(connection_id, notification) for notification in page.events]
        if read != [notification for _, notification in owed]:
            self._fail(4, f"{connection_id} read {read} after {cursor}, and was told {owed}")
        read_to = owed[-1][0] if owed else cursor
        if page.cursor != read_to or page.missed:
            self._fail(4, f"{connection_id} read up to {page.cursor} after {cursor}, to be {read_to}")
        return read_to

    def check_all(self) -> None:
        """Check the whole log, its fold (also redacted), and every page of every connection.

        Messages and notes are in no state, so a log without them folds to the same one. One without names folds to the
        same but for names and interests.
        """
        if [*self.system.stored()] != self.commits:
            self._fail(4, "the log does not hold what was stored")
        known = digest(self.state)
        for commits in (self.commits, [_without_messages(commit) for commit in self.commits]):
            if digest(fold(commits)) != known:
                self._fail(6, "folding the log does not give the live state")
        if unlike := state_differences(self.state, fold(redact(commit) for commit in self.commits)):
            self._fail(6, f"folding the redacted log does not give the live state: {unlike[0]}")
        for connection_id in self.state.connections.by_id:
            cursor, following = -1, 0
            while following > cursor:
                cursor, following = following, self.check_page(connection_id, following)

    def room_name(self, room_id: RoomId) -> RoomId:
        """Return the machine's name of a room; an unknown id is returned as it is."""
        return RoomId(f"r_{self.rooms.index(room_id) + 1}") if room_id in self.rooms else room_id

    def _observe(self, act: Callable[[], Observation], command: Command | None = None) -> Observation:
        """Call `act`, and check all that it stored and sent."""
        __tracebackhide__ = True
        try:
            observation = act()
            if self._matching is not None and self._matching.fault is not None:
                raise self._matching.fault
            for commit in observation.commits:
                self._check_commit(commit)
        except IllegalChoiceError as error:
            self._fail(3, str(error), command)
        self._check_received(observation)
        if self.system.state != self.state:
            self._fail(6, "the live state is not what folding the log gives")
        return observation

    def _check_commit(self, commit: Commit) -> None:
        __tracebackhide__ = True
        before = self.state
        self.commits.append(commit)
        counterexample = self._checker.check(commit)
        if counterexample is not None:
            if self._matching is not None and self._matching.fault is not None:  # which is why it was decided otherwise
                self.commits.pop()
                raise self._matching.fault
            raise BrokenPromiseError(msgspec.structs.replace(counterexample, history=self.commits))
        for event in commit.events:
            if isinstance(event, RoomOpened):
                if event.room_id in self.rooms:
                    self._fail(5, f"{event.room_id} had been there before")
                self.rooms.append(event.room_id)
        self._on_commit(before, commit, self.state)

    def _check_received(self, observation: Observation) -> None:
        owed = [one for commit in observation.commits for one in sorted(deliveries(commit), key=lambda one: one[0])]
        received = sorted(observation.received, key=lambda one: (one[1].params.cursor, one[0]))
        if received != owed:
            self._fail(7, f"heard was {received}, to be heard {owed}")

    def _check_rejection(self, command: Command, answer: Rejection | None) -> None:
        at_ms = max(self.state.at_ms, self.system.now_ms)
        facts = facts_for(command, at_ms, 0, self.system.to_avoid)  # not stored, so any ids will do
        difference = compare_rejection(self._checker.decided(command, facts), answer)
        if difference is not None:
            self._fail(6, difference, command)

    def _fail(self, promise: int, what: str, command: Command | None = None) -> NoReturn:
        """Raise for the state as it is, or (with `command`) for the next result."""
        __tracebackhide__ = True  # pytest shows the caller and the report
        evidence = [f"the next command is {safe_repr(command)}"] if command is not None else []
        position = self.state.position + len(evidence)
        raise BrokenPromiseError(Counterexample(promise, position, safe(what), evidence, self.commits)) from None

    def _outcome(self, observation: Observation) -> Outcome:
        rejection = observation.answer if isinstance(observation.answer, Rejection) else None
        events = [[_unsalted(self.with_room_name(event)) for event in commit.events] for commit in observation.commits]
        sent = [plain_notification(*one) for commit in observation.commits for one in deliveries(commit)]
        named = [
            (who, method, {**params, "room_id": self.room_name(params["room_id"])}) for who, method, params in sent
        ]
        return Outcome(rejection, events, named)

    def with_room_name(self, event: S) -> S:
        """Return `event` with the machine's room name."""
        room_id = getattr(event, "room_id", None)
        return msgspec.structs.replace(event, room_id=self.room_name(room_id)) if room_id is not None else event

    def with_system_room(self, command: S) -> S:
        """Return `command` with the system's room id."""
        room_id = getattr(command, "room_id", None)
        ids = {self.room_name(room): room for room in self.rooms}
        return msgspec.structs.replace(command, room_id=ids.get(room_id, room_id)) if room_id else command


def _without_messages(commit: Commit) -> Commit:
    return redact(commit) if isinstance(commit.command, SendMessage | ReportPartner) else commit


def _unsalted(event: Event) -> Event:
    if isinstance(event, QueueEntered):
        return msgspec.structs.replace(event, salt=None)
    return msgspec.structs.replace(event, first_salt=None, second_salt=None) if isinstance(event, RoomOpened) else event
