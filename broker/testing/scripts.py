"""Hypothesis strategies for histories: one member's script, and whole logs made from scripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from broker.decide import decide
from broker.decision import Rejection
from broker.testing import strategies
from broker.testing.systems import START_MS, facts_for
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
from events.commit import Commit, commit_after
from events.events import RoomOpened
from events.ids import POSITION_MAX, ClientMessageId, ConnectionId, RoomId
from events.policy import Policy
from projections.state import INITIAL_STATE, evolve

CURRENT_ROOM = RoomId("r_here")
"""A placeholder in a script: the room that the member is in at that time, or else was in last."""


class TimedCommand(NamedTuple):
    """A command and its delay after the command before it."""

    after_ms: int
    command: Command


Script = Sequence[TimedCommand]
"""The commands of one member, in order."""


def scripts(connection_id: ConnectionId) -> SearchStrategy[list[TimedCommand]]:
    """Return scripts of one member: it enters the queue, then does anything, in any order and at any pace.

    The broker's own commands about the member are among them.
    """
    enters = st.builds(
        EnterQueue,
        st.just(connection_id),
        strategies.names(),
        strategies.interests(few=True),
        strategies.idle_graces_ms(),
    )
    message_id = st.none() | st.sampled_from("abc").map(ClientMessageId)
    says = st.builds(SendMessage, st.just(connection_id), st.just(CURRENT_ROOM), strategies.texts(), message_id)
    goes = st.sampled_from(
        [
            NextPartner(connection_id, CURRENT_ROOM),
            LeaveRoom(connection_id, CURRENT_ROOM),
            LeaveQueue(connection_id),
            MatchDue(connection_id),
            Disconnect(connection_id, "timeout", POSITION_MAX),
            Disconnect(connection_id, "disconnected", 1),
            CancelMatch(CURRENT_ROOM, (connection_id,), is_other_present=True),
            CancelMatch(CURRENT_ROOM, (connection_id,), is_other_present=False),
            BlockPartner(connection_id, CURRENT_ROOM),
            ReportPartner(connection_id, CURRENT_ROOM, "spam", "buy this"),
            ForgetNames((connection_id,), POSITION_MAX),
        ]
    )
    pause = st.sampled_from([0, 1, 400, 3_000, 20_000, 90_000])
    first = st.builds(TimedCommand, pause, enters)
    rest = st.lists(st.builds(TimedCommand, pause, says | says | goes | enters))
    return st.builds(lambda one, more: [one, *more], first, rest)


def logs(
    people: Sequence[ConnectionId] = strategies.PEOPLE, policies: SearchStrategy[Policy] | None = None
) -> SearchStrategy[list[Commit]]:
    """Return whole logs as brokers write them, from position 1 on.

    Each of `people` follows a script of its own, or none; all of them under one of `policies`.
    """
    policy = policies if policies is not None else st.just(Policy()) | strategies.tiny_policies()
    return st.builds(log_of, st.tuples(*(st.just([]) | scripts(connection_id) for connection_id in people)), policy)


def log_of(scripts: Iterable[Script], policy: Policy | None = None) -> list[Commit]:
    """Return the log made by `scripts` under `policy`. All begin at `START_MS`; rejections leave no commit."""
    state, commits, rooms = INITIAL_STATE, list[Commit](), dict[ConnectionId, RoomId]()
    timed = _by_time(scripts)
    for number, (at_ms, scripted) in enumerate([(START_MS, AdoptPolicy(policy or Policy())), *timed], 1):
        command = _in_current_room(scripted, rooms)
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


def _by_time(scripts: Iterable[Script]) -> list[tuple[int, Command]]:
    """Return all commands with their times (Unix ms); at the same time, in the order of the scripts."""
    return sorted((one for script in scripts for one in _timed(script)), key=lambda one: one[0])


def _timed(script: Script) -> Iterator[tuple[int, Command]]:
    at_ms = START_MS
    for step in script:
        at_ms += step.after_ms
        yield at_ms, step.command


def _in_current_room(command: Command, rooms: dict[ConnectionId, RoomId]) -> Command:
    if isinstance(command, CancelMatch):
        who = command.missed_by[0]
    elif isinstance(command, SendMessage | LeaveRoom | NextPartner | BlockPartner | ReportPartner):
        who = command.connection_id
    else:
        return command
    is_here = command.room_id == CURRENT_ROOM
    return msgspec.structs.replace(command, room_id=rooms.get(who, CURRENT_ROOM)) if is_here else command
