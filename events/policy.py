"""Every limit and every grace, in one place.

The values that a decision reads are part of the log (`AdoptPolicy`), so a decision can be repeated under its own
policy, whatever the flags of the broker that repeats it.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

import msgspec

MatchingName = Literal["first-come", "interests"]
"""The matchings that every broker has (`broker.matching`)."""

OWN_MATCHING = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
"""The name of an operator's own matching, as in `package.module:function`."""

OWN_MATCHING_CHARACTERS_MAX = 200


class Policy(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Limits and graces; the unit is at the end of the name.

    All but `matching` are whole numbers of at least 1. Those of `MAY_BE_OFF` may be 0: the rule or the limit is off.

    The defaults are those of an empty log. A changed default would change the meaning of old logs. So a broker writes
    other values into the log, and the defaults stay.
    """

    # Presence: how long an inactive connection without a stream counts as present.
    stream_grace_ms: int = 30_000
    idle_grace_queue_ms: int = 90_000
    idle_grace_room_ms: int = 300_000

    # Limits of one connection.
    message_bytes_max: int = 4_096
    messages_per_10s_max: int = 20
    queue_commands_per_10s_max: int = 10
    handles_minted_per_10s_max: int = 1_000  # a peer address
    waits_per_connection_max: int = 32
    wait_ms_max: int = 300_000

    # Limits of the state.
    queue_connections_max: int = 100_000
    connections_kept: int = 200_000
    rooms_open_max: int = 100_000
    closed_rooms_kept: int = 10_000
    message_ids_kept: int = 4_096  # a room
    inbox_events_max: int = 512  # positions indexed for a connection; older ones are found in the log
    events_per_page_max: int = 500
    log_commits_max: int = 200_000  # a log in memory or in Redis

    # Limits of open resources.
    streams_max: int = 20_000
    stream_backlog_max: int = 1_000
    handles_per_stream_max: int = 1_000
    sessions_max: int = 10_000
    session_idle_ms: int = 1_800_000
    body_bytes_max: int = 1_048_576
    peers_tracked_max: int = 10_000

    # Limits of command processing.
    command_timeout_ms: int = 5_000
    commands_pending_max: int = 10_000

    # Since schema version 2.
    matching: str = "first-come"  # or another `MatchingName`, or the name of an operator's own
    interest_patience_ms: int = 15_000  # the wait for a shared interest
    snapshot_every_commits: int = 50_000  # a log on disk

    # Since schema version 3, and off in older logs.
    confirm_grace_ms: int = 0  # a member without a sign of life for so long after the opening missed the match
    requeue_on_missed_match: int = 0  # 1: the other member waits again, in its old place
    rematch_after_ms: int = 0  # two do not meet again for so long after their last room
    rematch_patience_ms: int = 0  # unless both have waited so long
    blocks_per_connection_max: int = 0  # the newest are kept; with 0, none is
    reports_per_10min_max: int = 0  # of one connection
    evidence_keep_ms: int = 0  # a reported room is not redacted before
    reports_kept: int = 10_000  # reports that hold their room's texts

    def __post_init__(self) -> None:
        """Refuse invalid values.

        Raises:
            ValueError: naming the field.
        """
        if self.matching not in get_args(MatchingName) and not is_own_matching(self.matching):
            raise ValueError(f"matching must be one of {', '.join(get_args(MatchingName))}, or package.module:function")
        for name in LIMITS:
            value = getattr(self, name)
            least = 0 if name in MAY_BE_OFF else 1
            if type(value) is not int or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}")


def is_own_matching(name: str) -> bool:
    """Return whether `name` has the form of an operator's own matching's, which need not be there."""
    return (
        isinstance(name, str) and len(name) <= OWN_MATCHING_CHARACTERS_MAX and OWN_MATCHING.fullmatch(name) is not None
    )


LIMITS = tuple(name for name in Policy.__struct_fields__ if name != "matching")
"""The fields that are numbers."""

MAY_BE_OFF = frozenset(
    {
        "handles_minted_per_10s_max",
        "confirm_grace_ms",
        "requeue_on_missed_match",
        "rematch_after_ms",
        "rematch_patience_ms",
        "blocks_per_connection_max",
        "reports_per_10min_max",
        "evidence_keep_ms",
    }
)
"""The fields that may be 0."""
