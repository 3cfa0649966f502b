"""Hypothesis strategies for what goes on over time: what one person does, and whole logs that came about so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from broker.decide import Rejection, decide
from broker.testing import strategies
from broker.testing.systems import NOON_MS, facts_for
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
from events.commit import Commit, commit_after
from events.events import RoomOpened
from events.ids import POSITION_MAX, ClientMessageId, ConnectionId, RoomId
from events.policy import Policy
from projections.state import INITIAL_STATE, evolve

HERE = RoomId("r_here")
"""In a session: the room that they are in when it comes to that, or else the one that they were in last."""


class Step(NamedTuple):
    """Someone does something, so long after what they did before."""

    after_ms: int
    command: Command


Session = Sequence[Step]
"""What one person does, in its order."""


def sessions(who: ConnectionId) -> SearchStrategy[list[Step]]:
    """What `who` does over time: they enter the queue, and then whatever people do, in any order, at any pace."""
    enters = st.builds(EnterQueue, st.just(who), strategies.names(), strategies.interests(few=True))
    message_id = st.none() | st.sampled_from("abc").map(ClientMessageId)
    says = st.builds(SendMessage, st.just(who), st.just(HERE), strategies.texts(), message_id)
    goes = st.sampled_from(
        [
            NextPartner(who, HERE),
            LeaveRoom(who, HERE),
            LeaveQueue(who),
            MatchDue(who),
            Disconnect(who, "timeout", POSITION_MAX),
            Disconnect(who, "disconnected", 1),
        ]
    )
    pause = st.sampled_from([0, 1, 400, 3_000, 20_000, 90_000])
    first = st.builds(Step, pause, enters)
    rest = st.lists(st.builds(Step, pause, says | says | goes | enters))
    return st.builds(lambda one, more: [one, *more], first, rest)


def logs(
    people: Sequence[ConnectionId] = strategies.PEOPLE, policies: SearchStrategy[Policy] | None = None
) -> SearchStrategy[list[Commit]]:
    """Whole logs, from position 1 on, as brokers write them: what each of `people` did, under one of `policies`."""
    policy = policies if policies is not None else st.just(Policy()) | strategies.tiny_policies()
    return st.builds(log_of, st.tuples(*(st.just([]) | sessions(who) for who in people)), policy)


def log_of(sessions: Iterable[Session], policy: Policy | None = None) -> list[Commit]:
    """The log that comes of `sessions`, which all begin at `NOON_MS`, under `policy`; refusals are in no log."""
    state, commits, rooms = INITIAL_STATE, list[Commit](), dict[ConnectionId, RoomId]()
    asked = _by_time(sessions)
    for number, (at_ms, asked_for) in enumerate([(NOON_MS, AdoptPolicy(policy or Policy())), *asked], 1):
        command = _where_they_are(asked_for, rooms)
        facts = facts_for(command, at_ms, number)
        decision = decide(state, command, facts)
        if isinstance(decision, Rejection) or not decision:
            continue
        commits.append(commit_after(state.tip, command, facts, decision))
        state = evolve(state, commits[-1])
        for event in decision:
            if isinstance(event, RoomOpened):
                rooms[event.first] = rooms[event.second] = event.room_id
    return commits


def _by_time(sessions: Iterable[Session]) -> list[tuple[int, Command]]:
    """Everything that is asked for, and when; at the same moment, in the order of the sessions."""
    return sorted((one for session in sessions for one in _timed(session)), key=lambda one: one[0])


def _timed(session: Session) -> Iterator[tuple[int, Command]]:
    at_ms = NOON_MS
    for step in session:
        at_ms += step.after_ms
        yield at_ms, step.command


def _where_they_are(command: Command, rooms: dict[ConnectionId, RoomId]) -> Command:
    if isinstance(command, SendMessage | LeaveRoom | NextPartner) and command.room_id == HERE:
        return msgspec.structs.replace(command, room_id=rooms.get(command.connection_id, HERE))
    return command
