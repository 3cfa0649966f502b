"""The changes that a counterfactual run makes: commits left out, policy fields with other values, another matching."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

import msgspec

from broker.errors import UsageError
from broker.matching import MATCHINGS, Matching
from broker.own_matching import import_matching
from broker.setting_reader import whole_number
from broker.verification.safe_text import printable
from events.codec import UnreadableCommitError
from events.ids import Position
from events.policy import LIMITS, MAY_BE_OFF, Policy, is_own_matching
from log_debugger.reading.sources import Source
from log_debugger.reading.times import duration_ms

ID_DIGITS_MIN = 4
ID_DIGITS = 32

OF_PROCESS = frozenset(
    {
        "stream_grace_ms",
        "idle_grace_queue_ms",
        "idle_grace_room_ms",
        "message_bytes_max",
        "handles_minted_per_10s_max",
        "waits_per_connection_max",
        "wait_ms_max",
        "events_per_page_max",
        "log_commits_max",
        "streams_max",
        "stream_backlog_max",
        "handles_per_stream_max",
        "sessions_max",
        "session_idle_ms",
        "body_bytes_max",
        "peers_tracked_max",
        "command_timeout_ms",
        "commands_pending_max",
        "snapshot_every_commits",
    }
)
"""The fields that a running broker reads, and no decision: in a run they change nothing."""

_PATH = re.compile(r"(?P<module>\w+(?:\.\w+)*)[:.](?P<function>\w+)", re.ASCII)
_ID = re.compile(rf"[0-9a-f]{{{ID_DIGITS_MIN},{ID_DIGITS}}}")


class Changes(msgspec.Struct, frozen=True):
    """The changes of a run.

    Args:
        policy: the values in place of the log's, by field, in each of its policies.
        matching: a function in place of the one that the policy names; `None` is the policy's own.
        without: the positions of the commits left out.
    """

    policy: Mapping[str, int | str] = {}
    matching: Matching | None = None
    without: frozenset[Position] = frozenset()

    def policy_of(self, policy: Policy) -> Policy:
        """Return `policy` with the values of the run."""
        return msgspec.structs.replace(policy, **self.policy)


def parse_matching(name: str) -> tuple[str, Matching | None]:
    """Return the name of a matching as a policy has it, and its function if it is no broker's.

    Args:
        name: a key of `MATCHINGS`, or `package.module:function`.

    Raises:
        UsageError: there is no such matching.
    """
    if name in MATCHINGS:
        return name, None
    path = _PATH.fullmatch(name)
    full_name = f"{path['module']}:{path['function']}" if path is not None else ""
    if not is_own_matching(full_name):
        known = ", ".join(MATCHINGS)
        raise UsageError(f"the matching is one of {known}, or package.module:function, not {printable(name)}")
    return full_name, import_matching(full_name)


def parse_policy_field(text: str) -> tuple[str, int | str]:
    """Parse `NAME=VALUE` of `--policy`. A matching's value is its name, for `parse_matching`.

    Raises:
        UsageError: there is no such field, or it can't have that value.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--policy takes NAME=VALUE, as in messages_per_10s_max=5, not {printable(text)}")
    field = name.strip().replace("-", "_")
    if field not in Policy.__struct_fields__:
        near = get_close_matches(field, Policy.__struct_fields__, 1)
        hint = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(Policy.__struct_fields__)}"
        raise UsageError(f"--policy: {printable(name)} is no field of a policy; {hint}")
    return field, value if field == "matching" else _limit(field, value)


def _limit(field: str, value: str) -> int:
    assert field in LIMITS
    found = whole_number(value)
    if found is None and field.endswith("_ms"):
        found = duration_ms(value)
    least = 0 if field in MAY_BE_OFF else 1
    if found is None or found < least:
        units = " of milliseconds, or a duration as in 30s" if field.endswith("_ms") else ""
        raise UsageError(
            f"--policy: {field} is a whole number of at least {least}{units}, not {printable(value)}; "
            f"in an empty log it is {getattr(Policy(), field)}"
        )
    return found


def find_commit(source: Source, text: str) -> Position:
    """Return the position of the commit that `text` names: its position, or its id or the beginning of it.

    Raises:
        UsageError: there is none, or there is more than one.
    """
    base, tip = source.base.tip.position, source.tip().position
    there = f"it has those from position {base + 1} to {tip}" if tip > base else "it has none"
    position = whole_number(text)
    if position is not None and base < position <= tip:
        return position
    if position is None and not _ID.fullmatch(text):
        what = f"a position, or a commit's id or at least the first {ID_DIGITS_MIN} digits of it"
        raise UsageError(f"--without takes {what}, not {printable(text)}")
    found = list(_with_id(source, text.encode())) if _ID.fullmatch(text) else []
    if len(found) > 1:
        raise UsageError(f"--without: the ids of {len(found)} commits begin with {text}; give more of it")
    if not found:
        what = f"with the id {text}" if position is None else f"at position {position}"
        raise UsageError(f"--without: there is no commit {what} in {source.name}; {there}")
    return found[0]


def _with_id(source: Source, beginning: bytes) -> Iterator[Position]:
    """Yield the positions of commits, as far as they can be read; reading them again reports the fault."""
    base, mark = source.base.tip.position, b'"commit_id":"' + beginning
    try:
        for position, line in enumerate(source.lines(base), base + 1):
            if mark in line:
                yield position
    except UnreadableCommitError:
        return
