"""Random logs of many people, and ways to damage a log without breaking its chain."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence

import msgspec

from broker.decide import decide
from broker.decision import Rejection
from broker.matching import patience_steps_ms
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
    ReportPartner,
    SendMessage,
)
from events.commit import EMPTY_TIP, Commit, Facts, Tip, commit_after, commit_id_of
from events.events import QueueEntered
from events.ids import ClientMessageId, ConnectionId, RoomId
from events.policy import Policy
from projections.connections import Chatting, Waiting
from projections.state import INITIAL_STATE, State, evolve
from tests.log_debugger.logs import FAIR, START_MS

NAMES = ("Ann", "Bob", "Cat", "Dan", "Anonymous")
INTERESTS = ("chess", "film", "go", "tea")
FAIR_LITTLE = msgspec.structs.replace(
    FAIR, rematch_after_ms=60_000, rematch_patience_ms=6_000, closed_rooms_kept=5, connections_kept=12
)
LITTLE = Policy(closed_rooms_kept=5, connections_kept=12, message_ids_kept=4, inbox_events_max=64)


def crowd(
    seed: int,
    commands: int,
    *,
    people: int = 8,
    policy: Policy | None = None,
    base: State = INITIAL_STATE,
    has_peers: bool = False,
) -> list[Commit]:
    """Return a log of about so many commands by `people`; the same seed always gives the same log.

    If it `has_peers`, two of the people share a peer address; all others avoid it.
    """
    return list(_Crowd(seed, people, base, has_peers=has_peers).commits(commands, policy))


class _Crowd:
    def __init__(self, seed: int, people: int, base: State, *, has_peers: bool) -> None:
        self._has_peers = has_peers
        self._random = random.Random(seed)
        self._people = [ConnectionId(f"c_{self._digits('person', n)}") for n in range(people)]
        self._seed = seed
        self._state = base
        self._asked = 0
        self._due: list[tuple[int, ConnectionId, int]] = []

    def commits(self, commands: int, policy: Policy | None) -> Iterator[Commit]:
        now_ms = max(START_MS, self._state.at_ms)
        if policy is not None:
            yield from self._ask(AdoptPolicy(policy), now_ms)
        for _ in range(commands):
            now_ms += self._random.choice((0, 300, 700, 2_000, 9_000))
            for due_ms, who, entered in sorted(self._due):
                if due_ms <= now_ms:
                    self._due.remove((due_ms, who, entered))
                    if self._state.queue.entered.get(who) == entered:
                        yield from self._ask(MatchDue(who), max(due_ms, self._state.at_ms))
            yield from self._ask(self._anything(), now_ms)
            if self._state.policy.confirm_grace_ms:
                yield from self._ask(self._conduct(), now_ms)

    def _anything(self) -> Command:
        who = self._random.choice(self._people)
        known = self._state.connections.get(who)
        place = known.place if known is not None else None
        chance = self._random.random()
        if isinstance(place, Chatting):
            return self._in_room(who, place.room_id, chance)
        if isinstance(place, Waiting) and chance < 0.2:
            return LeaveQueue(who)
        if isinstance(place, Waiting) and chance < 0.3:
            return Disconnect(who, "timeout", self._state.position)
        interests = sorted(self._random.sample(INTERESTS, self._random.randrange(3)))
        return EnterQueue(who, self._random.choice(NAMES), tuple(interests))

    def _conduct(self) -> Command:
        """Return a missed match, a block, a report or forgotten names; most are refused, or done already."""
        rooms = sorted(self._state.rooms.by_id.values(), key=lambda room: room.opened_position)
        room, chance = self._random.choice(rooms) if rooms else None, self._random.random()
        if room is None or chance < 0.1:
            return ForgetNames(tuple(self._people), max(0, self._state.position - 20))
        who = self._random.choice((room.first, room.second))
        if chance < 0.7:
            missed_by = (who,) if chance < 0.6 else (room.first, room.second)
            return CancelMatch(room.room_id, missed_by, is_other_present=chance < 0.5)
        return BlockPartner(who, room.room_id) if chance < 0.85 else ReportPartner(who, room.room_id, "spam", "a note")

    def _in_room(self, who: ConnectionId, room_id: RoomId, chance: float) -> Command:
        if chance < 0.1:
            return LeaveRoom(who, room_id)
        if chance < 0.25:
            return NextPartner(who, room_id)
        if chance < 0.3:
            return Disconnect(who, "disconnected", self._state.position)
        named = ClientMessageId(f"m{self._asked}") if chance < 0.6 else None
        return SendMessage(who, room_id, f"words {self._asked}", named)

    def _ask(self, command: Command, at_ms: int) -> Iterator[Commit]:
        self._asked += 1
        has_text = isinstance(command, SendMessage | ReportPartner) or self._state.policy.confirm_grace_ms
        salt = self._digits("salt", self._asked) if has_text else None
        may_match = isinstance(command, EnterQueue | NextPartner | MatchDue)
        room_id = RoomId(f"r_{self._digits('room', self._asked)}") if may_match else None
        facts = Facts(max(at_ms, self._state.at_ms), room_id, salt, self._to_avoid(command))
        decision = decide(self._state, command, facts)
        if isinstance(decision, Rejection) or not decision:
            return
        commit = commit_after(self._state.tip, command, facts, decision)
        self._state = evolve(self._state, commit)
        for event in decision:
            if isinstance(event, QueueEntered):
                self._schedule(event.connection_id)
        yield commit

    def _to_avoid(self, command: Command) -> tuple[ConnectionId, ...]:
        if not self._has_peers or not isinstance(command, EnterQueue | NextPartner | MatchDue):
            return ()
        shared = self._people[:2]
        return tuple(who for who in shared if command.connection_id not in shared and who in self._state.queue.entered)

    def _schedule(self, who: ConnectionId) -> None:
        """Let the broker ask again for `who` at each step of its patience, and at once after a missed match."""
        entered, now_ms = self._state.queue.entered.get(who), self._state.at_ms
        if entered is None:
            return
        since_ms = self._state.connections.by_id[who].waiting_since_ms()
        steps = [since_ms + step_ms for step_ms in patience_steps_ms(self._state.policy)]
        is_requeued = entered < self._state.position
        self._due += [(now_ms, who, entered)] if is_requeued else []
        self._due += [(due_ms, who, entered) for due_ms in steps if due_ms > now_ms]

    def _digits(self, kind: str, number: int) -> str:
        return hashlib.sha256(f"{kind} {number}".encode()).hexdigest()[:32]


def rechained(commits: Sequence[Commit], tip: Tip = EMPTY_TIP) -> list[Commit]:
    """Return `commits` with previous ids and ids computed anew, as a chain after `tip`."""
    chain = []
    for commit in commits:
        unsigned = msgspec.structs.replace(commit, position=tip.position + 1, previous_id=tip.commit_id)
        chain.append(msgspec.structs.replace(unsigned, commit_id=commit_id_of(unsigned)))
        tip = chain[-1].tip
    return chain


def with_events(commits: Sequence[Commit], position: int, *events: object) -> list[Commit]:
    """Return `commits` with other events at `position`, in a whole chain."""
    changed = list(commits)
    changed[position - 1] = msgspec.structs.replace(changed[position - 1], events=events)
    return rechained(changed)


def states_of(commits: Sequence[Commit], base: State = INITIAL_STATE) -> list[State]:
    """Return the state before the first of `commits`, and after each."""
    states = [base]
    for commit in commits:
        states.append(evolve(states[-1], commit))
    return states
