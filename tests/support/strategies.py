"""Hypothesis strategies for everything that can be stored."""

from __future__ import annotations

from hypothesis import strategies as st

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
from events.commit import Commit, Facts, Tip, commit_after
from events.events import (
    Event,
    MessageSent,
    PolicyAdopted,
    QueueEntered,
    QueueLeft,
    RoomClosed,
    RoomOpened,
)
from events.ids import ClientMessageId, CommitId, ConnectionId, RoomId
from events.policy import LIMITS, Policy
from events.text import RedactedText
from tests.support.people import ANN, BOB, CAT, DAN, ROOM

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_connections = st.sampled_from([ANN, BOB, CAT, DAN]) | _texts.map(ConnectionId)
_rooms = st.just(ROOM) | _texts.map(RoomId)
_message_ids = st.none() | st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True).map(ClientMessageId)
_numbers = st.integers(0, 2**62)
_names = st.lists(_texts, max_size=3).map(tuple)
_said = _texts | st.builds(RedactedText, _numbers, st.text("0123456789abcdef", min_size=64, max_size=64))


def policies() -> st.SearchStrategy[Policy]:
    """Any policy."""
    limits = {name: st.integers(1, 2**31) for name in LIMITS}
    return st.builds(Policy, matching=st.sampled_from(["first-come", "interests"]), **limits)


def commands() -> st.SearchStrategy[Command]:
    """Any command, of anyone, about anything."""
    return st.one_of(
        st.builds(EnterQueue, _connections, _texts, _names),
        st.builds(NextPartner, _connections, _rooms),
        st.builds(LeaveQueue, _connections),
        st.builds(SendMessage, _connections, _rooms, _said, _message_ids),
        st.builds(LeaveRoom, _connections, _rooms),
        st.builds(Disconnect, _connections, st.sampled_from(["disconnected", "timeout"]), _numbers),
        st.builds(MatchDue, _connections),
        st.builds(AdoptPolicy, policies()),
    )


def events() -> st.SearchStrategy[Event]:
    """Any event."""
    reasons = st.sampled_from(["left", "next", "disconnected", "timeout"])
    return st.one_of(
        st.builds(QueueEntered, _connections, _texts, _names),
        st.builds(QueueLeft, _connections, st.sampled_from(["left", "disconnected", "timeout"])),
        st.builds(RoomOpened, _rooms, _connections, _connections, _texts, _texts),
        st.builds(MessageSent, _rooms, _connections, _connections, _said, _message_ids),
        st.builds(RoomClosed, _rooms, _connections, _connections, reasons),
        st.builds(PolicyAdopted, policies()),
    )


def commits() -> st.SearchStrategy[Commit]:
    """Any commit that could stand anywhere in a log; what it says need not make sense."""
    tips = st.builds(Tip, _numbers, st.text("0123456789abcdef", min_size=32, max_size=32).map(CommitId))
    facts = st.builds(Facts, _numbers, st.none() | _rooms, st.text("0123456789abcdef", min_size=32, max_size=32))
    return st.builds(commit_after, tips, commands(), facts, st.lists(events(), max_size=3))
