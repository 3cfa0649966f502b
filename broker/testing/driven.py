"""One system under a machine, and its witness: whatever it does is held against what was promised.

Rooms have names of their own in each system. A machine calls them `r_1`, `r_2` and so on, in the order of their
opening, so that what it says to several systems, and what they answer, can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn, TypeVar

import msgspec

from broker.decide import Rejection
from broker.testing.comparison import plain_told
from broker.testing.matchings import WatchedMatching
from broker.testing.reference import IllegalChoiceError
from broker.testing.systems import Happened, System, facts_for
from broker.testing.witness import Broken, Witness, unlike_refusal
from broker.testing.world import Told
from broker.verification.safe_text import safe, shown
from events.commands import AdoptPolicy, Command
from events.commit import Commit, redact
from events.events import Event, RoomOpened
from events.ids import ConnectionId, Position, RoomId
from events.policy import Policy
from projections.notifications import deliveries
from projections.state import State, digest, fold

S = TypeVar("S", bound=msgspec.Struct)

OnCommit = Callable[[State, Commit, State], None]
"""Is told of each commit, with the states before and after it."""


class BrokenPromiseError(AssertionError):
    """A system did not keep a promise; its text is the report of `broken`."""

    def __init__(self, broken: Broken) -> None:
        super().__init__(str(broken))
        self.broken = broken


class Outcome(NamedTuple):
    """What a system did, in a machine's words: what it refused, what has happened, and who was told of what."""

    refused: Rejection | None
    events: Sequence[Sequence[Event]]
    told: Sequence[Told]


class Driven:
    """A system that a machine drives. Whatever is not as promised raises `BrokenPromiseError` at once."""

    def __init__(self, system: System, matching: WatchedMatching | None, on_commit: OnCommit) -> None:
        self.system = system
        self.commits: list[Commit] = []
        self.rooms: list[RoomId] = []  # in the order of their opening, under their own names
        self._matching = matching
        self._witness = Witness(matching)
        self._on_commit = on_commit

    @property
    def state(self) -> State:
        """What the system must know, by its log."""
        return self._witness.state

    def start(self, policy: Policy) -> Outcome:
        """Begin to serve."""
        return self._outcome(self._done(lambda: self.system.start(policy), AdoptPolicy(policy)))

    def pass_time(self, by_ms: int) -> Outcome:
        """Let time pass."""
        return self._outcome(self._done(lambda: self.system.pass_time(by_ms)))

    def restart(self) -> Outcome:
        """End, and go on from what is stored."""
        return self._outcome(self._done(self.system.restart))

    def submit(self, command: Command) -> Outcome:
        """Carry out `command`, in which rooms have the machine's names."""
        __tracebackhide__ = True
        command = self.in_own_words(command)
        happened = self._done(lambda: self.system.submit(command), command)
        answer = happened.answer
        if isinstance(answer, Commit):
            if not self.commits or answer != self.commits[-1] or answer.command != command:
                self._fail(4, "the answer is not what was stored last", command)
        else:
            self._check_refusal(command, answer)
        return self._outcome(happened)

    def check_page(self, who: ConnectionId, cursor: Position) -> Position:
        """Let `who`, if they are known, read on after `cursor`; what they read up to."""
        person = self._witness.reference.world.person(who)
        if person is None:
            return self.state.position
        cursor = max(cursor, person.known_since - 1)
        page = self.system.page(who, cursor)
        limit = self.state.policy.events_per_page_max
        owed = [(position, told) for position, told in person.told if position > cursor][:limit]
        given = [plain_told(who, notification) for notification in page.events]
        if given != [told for _, told in owed]:
            self._fail(4, f"{who} read {given} after {cursor}, and was told {owed}")
        read_to = owed[-1][0] if len(owed) == limit else max(cursor, self.state.position)
        if page.cursor != read_to or page.missed:
            self._fail(4, f"{who} read up to {page.cursor} after {cursor}, to be {read_to}")
        return read_to

    def check_all(self) -> None:
        """All that can be seen in the end: the log, its fold, also redacted, and whatever everyone can read."""
        if [*self.system.stored()] != self.commits:
            self._fail(4, "the log does not hold what was stored")
        known = digest(self.state)
        for commits in (self.commits, [redact(commit) for commit in self.commits]):
            if digest(fold(commits)) != known:
                self._fail(6, "folding the log does not give the live state")
        for who in self.state.connections.by_id:
            cursor = 0
            while cursor < self.state.position:
                cursor = self.check_page(who, cursor)

    def named(self, room_id: RoomId) -> RoomId:
        """A room's name in the machine's words."""
        return RoomId(f"r_{self.rooms.index(room_id) + 1}") if room_id in self.rooms else room_id

    def _done(self, do: Callable[[], Happened], command: Command | None = None) -> Happened:
        """What happens when something is done; all that was stored is looked at."""
        __tracebackhide__ = True
        try:
            happened = do()
            if self._matching is not None and self._matching.fault is not None:
                raise self._matching.fault
        except IllegalChoiceError as error:
            self._fail(3, str(error), command)
        for commit in happened.commits:
            self._see(commit)
        self._check_heard(happened)
        if self.system.state != self.state:
            self._fail(6, "the live state is not what folding the log gives")
        return happened

    def _see(self, commit: Commit) -> None:
        __tracebackhide__ = True
        before = self.state
        self.commits.append(commit)
        broken = self._witness.see(commit)
        if broken is not None:
            raise BrokenPromiseError(msgspec.structs.replace(broken, history=self.commits))
        for event in commit.events:
            if isinstance(event, RoomOpened):
                if event.room_id in self.rooms:
                    self._fail(5, f"{event.room_id} had been there before")
                self.rooms.append(event.room_id)
        self._on_commit(before, commit, self.state)

    def _check_heard(self, happened: Happened) -> None:
        owed = [one for commit in happened.commits for one in sorted(deliveries(commit), key=lambda one: one[0])]
        heard = sorted(happened.heard, key=lambda one: (one[1].params.cursor, one[0]))
        if heard != owed:
            self._fail(7, f"heard was {heard}, to be heard {owed}")

    def _check_refusal(self, command: Command, answer: Rejection | None) -> None:
        facts = facts_for(command, max(self.state.at_ms, self.system.now_ms), 0)  # they won't be stored
        unlike = unlike_refusal(self._witness.reference.apply(command, facts), answer)
        if unlike is not None:
            self._fail(6, unlike, command)

    def _fail(self, promise: int, what: str, command: Command | None = None) -> NoReturn:
        """What is wrong as things stand, or with what `command` would have led to next."""
        __tracebackhide__ = True  # pytest shows who asked for it, and the report
        evidence = [f"the next command is {shown(command)}"] if command is not None else []
        position = self.state.position + len(evidence)
        raise BrokenPromiseError(Broken(promise, position, safe(what), evidence, self.commits)) from None

    def _outcome(self, happened: Happened) -> Outcome:
        refused = happened.answer if isinstance(happened.answer, Rejection) else None
        events = [[self.in_machines_words(event) for event in commit.events] for commit in happened.commits]
        told = [plain_told(who, n) for commit in happened.commits for who, n in deliveries(commit)]
        return Outcome(refused, events, [(w, m, {**p, "room_id": self.named(p["room_id"])}) for w, m, p in told])

    def in_machines_words(self, event: S) -> S:
        """`event`, with its room under the machine's name for it."""
        room_id = getattr(event, "room_id", None)
        return msgspec.structs.replace(event, room_id=self.named(room_id)) if room_id is not None else event

    def in_own_words(self, command: S) -> S:
        """`command`, with rooms under the names that they have in this system."""
        room_id = getattr(command, "room_id", None)
        names = {self.named(room): room for room in self.rooms}
        return msgspec.structs.replace(command, room_id=names.get(room_id, room_id)) if room_id else command
