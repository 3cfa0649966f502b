"""Logs of a crowd's chats: made by the rules of chat, from a seed, the same every time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import count

from broker.decide import decide
from broker.decision import Rejection
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
from events.commit import Commit, Facts, commit_after
from events.ids import ClientMessageId, ConnectionId, RoomId, connection_id_of, room_id_from
from events.policy import MatchingName, Policy
from projections.connections import Chatting, Waiting
from projections.state import INITIAL_STATE, State, evolve
from tests.support.specs import NOON_MS

NAMES = """
Ada Bo Cleo Dara Eli Fern Gus Hana Ivo June Kit Lena Milo Nia Otis Pia Quin Rosa Sam Tove Uma Vik Wren Xenia Yuri Zoe
Arlo Bea Cyd Dov Esme Finn Greta Hugo Ines Jory Kaya Lior Mina Noor Odd Paz Rafi Suki Theo Una Vera Wim Yara
"""
INTERESTS = (
    "astronomy",
    "baking",
    "chess",
    "gardening",
    "go",
    "jazz",
    "knitting",
    "maps",
    "poetry",
    "sailing",
    "trains",
)
LINES = (
    "Hello, stranger.",
    "Hi! Where does this find you?",
    "On a train, somewhere between two tunnels.",
    "What are you reading at the moment?",
    "An old atlas. Half of its countries are gone.",
    "Do you play chess, or any game where losing is fun?",
    "Only badly, which is the honest way.",
    "It has been raining here for three days.",
    "Same. The garden doesn't mind.",
    "Tell me something that I could not have guessed.",
    "I once taught a parrot to say the time, and it is always four o'clock.",
    "Ha! So it is right twice a day.",
    "I should go and look after the bread.",
    "One more question before you go?",
    "Of course.",
    "ok",
    "Let me think about that for a moment, it deserves more than a quick answer.",
)


class Crowd:
    """People at the broker: they come, wait, talk and go, each at times of their own."""

    def __init__(
        self, seed: int, *, people: int, every_ms: int, policy: Policy | None = None, talks: bool = True
    ) -> None:
        """Let one of `people` come about each `every_ms`, perhaps again. If `talks` is false, pairs part soon."""
        self.state: State = INITIAL_STATE
        self.commits: list[Commit] = []
        self._random = random.Random(seed)
        self._order = count()
        self._due: list[tuple[int, int, Callable[[int], None]]] = []
        self._people = [connection_id_of(f"{seed} {n}") for n in range(people)]
        names = NAMES.split()
        self._random.shuffle(names)
        self._names = {who: names[n] if n < len(names) else "Anonymous" for n, who in enumerate(self._people)}
        self._every_ms = every_ms
        self._talks = talks
        if policy is not None:
            self._submit(NOON_MS, AdoptPolicy(policy))
        self._at(NOON_MS, self._someone_comes)

    def chat(self, commits: int) -> list[Commit]:
        """Let time pass until there are `commits` of them; return these."""
        while len(self.commits) < commits:
            at_ms, _, act = heapq.heappop(self._due)
            act(at_ms)
        return self.commits[:commits]

    def _at(self, at_ms: int, act: Callable[[int], None]) -> None:
        heapq.heappush(self._due, (at_ms, next(self._order), act))

    def _later(self, at_ms: int, mean_ms: float, act: Callable[[int], None]) -> None:
        self._at(at_ms + 200 + round(self._random.expovariate(1 / mean_ms)), act)

    def _submit(self, at_ms: int, command: Command) -> bool:
        facts = Facts(at_ms, room_id_from(self._random.randbytes(16)), self._random.randbytes(16).hex())
        if isinstance(command, SendMessage | LeaveRoom | LeaveQueue | Disconnect | AdoptPolicy):
            facts = Facts(at_ms, None, facts.salt if isinstance(command, SendMessage) else None)
        decision = decide(self.state, command, facts)
        if isinstance(decision, Rejection) or not decision:
            return False
        self.commits.append(commit_after(self.state.tip, command, facts, decision))
        self.state = evolve(self.state, self.commits[-1])
        return True

    def _someone_comes(self, at_ms: int) -> None:
        who = self._random.choice(self._people)
        self._later(at_ms, self._every_ms, self._someone_comes)
        known = self.state.connections.get(who)
        if known is None or not isinstance(known.place, Waiting | Chatting):
            interests = tuple(sorted(self._random.sample(INTERESTS, self._random.choice([0, 0, 1, 2, 3]))))
            self._submit(at_ms, EnterQueue(who, self._names[who], interests))
            self._settle(at_ms, who)

    def _settle(self, at_ms: int, who: ConnectionId) -> None:
        """Schedule the next act of `who`: after a match, a conversation; in the queue, the end of their patience."""
        place = self.state.connections.by_id[who].place
        if isinstance(place, Chatting):
            lines = round(self._random.expovariate(1 / 9)) + self._random.choice([0, 2, 6]) if self._talks else 0
            self._later(at_ms, 2_500 if self._talks else 40_000, lambda now: self._talk(now, place.room_id, lines))
        elif isinstance(place, Waiting):
            self._at(at_ms + self.state.policy.interest_patience_ms, lambda now: self._tire(now, who))
            self._later(at_ms, 100_000, lambda now: self._give_up(now, who))

    def _tire(self, at_ms: int, who: ConnectionId) -> None:
        if self.state.policy.matching == "interests" and self._submit(at_ms, MatchDue(who)):
            self._settle(at_ms, who)

    def _give_up(self, at_ms: int, who: ConnectionId) -> None:
        if who not in self.state.queue.entered:
            return
        if self._random.random() < 0.5:
            self._submit(at_ms, LeaveQueue(who))
        else:
            self._submit(at_ms, Disconnect(who, self._random.choice(["timeout", "disconnected"]), self.state.position))

    def _talk(self, at_ms: int, room_id: RoomId, lines: int) -> None:
        room = self.state.rooms.get(room_id)
        if room is None or not room.is_open:
            return
        who = self._random.choice([room.first, room.second])
        if not lines:
            self._part(at_ms, who, room_id)
            return
        message_id = ClientMessageId(f"m-{self.state.position}") if self._random.random() < 0.2 else None
        self._submit(at_ms, SendMessage(who, room_id, self._random.choice(LINES), message_id))
        self._later(at_ms, 6_000, lambda now: self._talk(now, room_id, lines - 1))

    def _part(self, at_ms: int, who: ConnectionId, room_id: RoomId) -> None:
        chance = self._random.random()
        if chance < 0.45:
            self._submit(at_ms, LeaveRoom(who, room_id))
        elif chance < 0.75:
            if self._submit(at_ms, NextPartner(who, room_id)):
                self._settle(at_ms, who)
        else:
            self._submit(at_ms, Disconnect(who, "timeout" if chance < 0.9 else "disconnected", self.state.position))


def crowd(
    commits: int,
    *,
    seed: int = 7,
    people: int = 40,
    every_ms: int = 9_000,
    matching: MatchingName = "first-come",
    talks: bool = True,
) -> list[Commit]:
    """Return the first `commits` commits of a crowd."""
    policy = Policy(matching=matching) if matching != "first-come" else None
    return Crowd(seed, people=people, every_ms=every_ms, policy=policy, talks=talks).chat(commits)
