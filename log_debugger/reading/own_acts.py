"""A person's own acts in a log: the commands of their client, unlike what the broker or a partner did to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from events.commands import OWN_COMMANDS
from events.commit import Commit
from events.ids import ConnectionId, Position
from log_debugger.reading.iterate import commit_at


class OwnAct(NamedTuple):
    """The commit that a connection's client asked for."""

    position: Position
    at_ms: int


def own_act(commit: Commit, who: ConnectionId) -> OwnAct | None:
    """Return `commit` as an act of `who`; `None` if it is the broker's, or another connection's."""
    command = commit.command
    if isinstance(command, OWN_COMMANDS) or command.connection_id != who:
        return None
    return OwnAct(commit.position, commit.at_ms)


def newest_own_act(lines: Sequence[bytes], last: Position, who: ConnectionId) -> OwnAct | None:
    """Return the newest act of `who` in `lines`, the last of which is stored at `last`; `None` if there is none.

    Raises:
        UnreadableCommitError: a commit with that connection can't be decoded; the message names the position.
        BrokenChainError: a commit of an older schema was altered.
    """
    stored_id = who.encode()
    for position, line in zip(range(last, last - len(lines), -1), reversed(lines), strict=True):
        is_named = stored_id in line or b"\\u" in line  # an id may be escaped
        if is_named and (act := own_act(commit_at(position, line), who)) is not None:
            return act
    return None
