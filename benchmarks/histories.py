"""Logs to measure with: pairs talk in turn, and now and then one moves on. A size always gives the same log."""

import hashlib
from collections.abc import Iterator
from itertools import islice
from typing import Final

from broker.decide import decide
from broker.decision import Rejection
from events.commands import AdoptPolicy, Command, EnterQueue, LeaveRoom, SendMessage
from events.commit import EMPTY_TIP, Commit, Facts, commit_after
from events.events import MessageSent
from events.ids import ClientMessageId, ConnectionId, RoomId
from events.policy import Policy
from projections.state import INITIAL_STATE, State, fold

START_MS: Final = 1_790_000_000_000
TEXT: Final = "Hello there, stranger. How are you doing over there today?"
NAMED_EVERY: Final = 4
"""One of so many messages has a message id."""


def history(commits: int) -> Iterator[Commit]:
    """Return the first `commits` of a log."""
    return islice(ChatHistory().commits(), commits)


class ChatHistory:
    """Commits, nearly all of them messages; after every `talk` messages one pair parts and meets anew.

    A `policy` is adopted first.
    """

    def __init__(self, pairs: int = 100, talk: int = 500, policy: Policy | None = None) -> None:
        self._people = [(_person(2 * n), _person(2 * n + 1)) for n in range(pairs)]
        self._rooms = [RoomId("")] * pairs
        self._talk = talk
        self._policy = policy
        self._at_ms = START_MS
        self._step_ms = 600 // min(pairs, 600) + 1  # below every rate limit
        self._state: State = INITIAL_STATE
        self._pending: list[Commit] = []
        self._tip = EMPTY_TIP

    def state(self) -> State:
        """Return the state after all commits so far."""
        self._state = fold(self._pending, self._state)
        self._pending.clear()
        return self._state

    def commits(self) -> Iterator[Commit]:
        """Yield commits without end."""
        if self._policy is not None:
            yield self._decided(AdoptPolicy(self._policy))
        for pair in range(len(self._people)):
            yield from self._meet(pair)
        while True:
            for _ in range(self._talk):
                yield self._say(self._tip.position)
            pair = (self._tip.position // self._talk) % len(self._people)
            yield self._decided(LeaveRoom(self._people[pair][0], self._rooms[pair]))
            yield from self._meet(pair)

    def _meet(self, pair: int) -> Iterator[Commit]:
        for who in self._people[pair]:
            self._rooms[pair] = RoomId(f"r_{digits(self._tip.position)}")
            yield self._decided(EnterQueue(who, "Somebody", ("chess", "tea")), self._rooms[pair])

    def _decided(self, command: Command, room_id: RoomId | None = None) -> Commit:
        """Decide `command` and return its commit."""
        self._at_ms += self._step_ms
        facts = Facts(self._at_ms, room_id)
        decision = decide(self.state(), command, facts)
        assert not isinstance(decision, Rejection)
        return self._stored(commit_after(self._tip, command, facts, decision))

    def _say(self, number: int) -> Commit:
        """Return the commit of a message, equal to a decided one."""
        self._at_ms += self._step_ms
        pair = number % len(self._people)
        turn = number // len(self._people) % 2
        who, other = self._people[pair][turn], self._people[pair][1 - turn]
        named = ClientMessageId(f"m{number}") if number % NAMED_EVERY == 0 else None
        command = SendMessage(who, self._rooms[pair], TEXT, named)
        event = MessageSent(self._rooms[pair], who, other, TEXT, named)
        return self._stored(commit_after(self._tip, command, Facts(self._at_ms, None, digits(number)), [event]))

    def _stored(self, commit: Commit) -> Commit:
        self._tip = commit.tip
        self._pending.append(commit)
        return commit


def _person(number: int) -> ConnectionId:
    return ConnectionId(f"c_{digits(number)}")


def digits(number: int) -> str:
    """Return the digits of an id, always the same for a number."""
    return hashlib.sha256(b"%d" % number).hexdigest()[:32]
