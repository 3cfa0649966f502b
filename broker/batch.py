"""A batch of commands: each is decided on the state after the ones before it."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from broker.clock import RandomBytes
from broker.decide import decide
from broker.decision import Rejection
from events.commands import Command, EnterQueue, MatchDue, NextPartner, ReportPartner, SendMessage
from events.commit import Commit, Facts, commit_after
from events.ids import ID_BYTES, ConnectionId, RoomId, room_id_from
from projections.state import State, evolve

SALT_BYTES = 16

_WITH_TEXT = EnterQueue, SendMessage, ReportPartner
BATCH_COMMITS_MAX = 256
"""The most commands of a batch in a shared log. A batch that takes long to decide loses to quicker writers."""


class Accepted(NamedTuple):
    """The result of a command carried out, or done already: then there is no commit. `state` is right after it."""

    state: State
    commit: Commit | None


CommandAnswer = Accepted | Rejection


class PendingCommand:
    """A command in line, with the facts that every decision on it shares."""

    __slots__ = ("answer", "command", "deadline_ms", "room_id", "salt", "seeker")

    def __init__(self, command: Command, deadline_ms: float, random_bytes: RandomBytes) -> None:
        self.command = command
        self.deadline_ms = deadline_ms
        self.answer: asyncio.Future[CommandAnswer] = asyncio.get_running_loop().create_future()
        self.seeker: ConnectionId | None = None  # of a command that may match
        self.room_id: RoomId | None = None
        if isinstance(command, EnterQueue | NextPartner | MatchDue):
            self.seeker, self.room_id = command.connection_id, room_id_from(random_bytes(ID_BYTES))
        self.salt = random_bytes(SALT_BYTES).hex() if isinstance(command, _WITH_TEXT) else None


class Batch:
    """The commits and answers of commands that are decided one after the other; tentative, until it is stored."""

    def __init__(self, state: State) -> None:
        """Take `state`, which the first decision rests on."""
        self.state = state
        self.commits: list[Commit] = []
        """The commits to store, in order."""
        self.steps: list[tuple[State, Commit]] = []
        """The same, each with the state right after it."""
        self.answers: list[tuple[PendingCommand, CommandAnswer]] = []

    def decide(self, command: Command, facts: Facts) -> CommandAnswer:
        """Decide a command on the state after those before it, and fold its commit."""
        decision = decide(self.state, command, facts)
        if isinstance(decision, Rejection):
            return decision
        if not decision:
            return Accepted(self.state, None)
        commit = commit_after(self.state.tip, command, facts, decision)
        self.state = evolve(self.state, commit)
        self.commits.append(commit)
        self.steps.append((self.state, commit))
        return Accepted(self.state, commit)
