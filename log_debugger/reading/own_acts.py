"""A person's own acts in a log: the commands of their client, unlike what the broker or a partner did to them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from events.commands import OWN_COMMANDS
from events.commit import Commit
from events.ids import ConnectionId, Position
from log_debugger.reading.iterate import commit_at
from log_debugger.reading.sources import Source

PAGE_COMMITS = 1_000


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


def newest_own_act(source: Source, last: Position, who: ConnectionId) -> OwnAct | None:
    """Return the newest act of `who` up to position `last`; `None` if there is none, or it is not in the log any more.

    Raises:
        UnreadableCommitError: a commit with that connection can't be decoded; the message names the position.
        BrokenChainError: a commit of an older schema was altered.
    """
    base = source.base.tip.position
    for end in range(last, base, -PAGE_COMMITS):
        start = max(base, end - PAGE_COMMITS)
        act = _newest_in(list(islice(source.lines(start), end - start)), start, who)
        if act is not None:
            return act
    return None


def _newest_in(lines: Sequence[bytes], after: Position, who: ConnectionId) -> OwnAct | None:
    """Return the newest act in `lines`, which are stored after position `after`."""
    stored_id = who.encode()
    for number in range(len(lines), 0, -1):
        line = lines[number - 1]
        is_named = stored_id in line or b"\\u" in line  # an id may be escaped
        if is_named and (act := own_act(commit_at(after + number, line), who)) is not None:
            return act
    return None
