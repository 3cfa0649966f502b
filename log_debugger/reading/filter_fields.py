"""The names of a filter: their values, and reading them from a commit and the state after it.

At the beginning of a log there is a state without a commit: `Step` is `None` there, and no comparison with a part of a
commit holds.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, get_args
from unicodedata import normalize

from broker.errors import UsageError
from broker.setting_reader import whole_number
from broker.verification.safe_text import printable
from broker.verification.scenario import connections_in
from events.commands import Command, ReportCategory
from events.commit import Commit
from events.events import Event, MessageSent, PartnerReported, QueueLeft, QueueLeftReason, RoomClosed, RoomClosedReason
from events.ids import RoomId
from events.policy import MatchingName, Policy
from log_debugger.reading.short_names import ShortNames
from log_debugger.reading.sources import Step
from log_debugger.reading.times import LogSpan, duration_ms, written_time
from log_debugger.reading.waits import ended_waits
from projections.state import State

Condition = Callable[[State, Step | None], bool]
"""Asked of the state after a commit, and the step to it."""

MISSED = "missed"
"""The reason for the end of a room whose match was missed."""
REASONS = tuple(
    dict.fromkeys((*get_args(QueueLeftReason), *get_args(RoomClosedReason), MISSED, *get_args(ReportCategory)))
)
DIGITS_MAX = 15
EQUALITY = ("==", "!=", "in")
ORDER = ("<", "<=", ">", ">=")

COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}

COUNTS: Mapping[str, Callable[[State], int]] = {
    "waiting": lambda state: len(state.queue),
    "rooms_open": lambda state: state.rooms.open_count,
    "rooms_closed": lambda state: state.rooms_closed,
    "connections": lambda state: len(state.connections),
    "messages": lambda state: state.messages_sent,
    "position": lambda state: state.position,
}
"""Messages and closed rooms count from the beginning, connections only while known."""

RISING = frozenset({"messages", "position", "rooms_closed", "time"})
"""The names whose values never decrease."""

TYPES: Mapping[str, type[Any]] = {
    name.casefold(): one
    for one in (*get_args(Command), *get_args(Event))
    for name in (one.__name__, str(one.__struct_config__.tag))
}
"""Commands and events by stored tag and by class name, both in lower case."""


class FilterContext(Protocol):
    """The parts of a log that a filter's values are looked up in."""

    @property
    def names(self) -> ShortNames:
        """The short names of the log."""
        ...

    @property
    def span(self) -> LogSpan:
        """The times between which the log goes."""
        ...


Bind = Callable[[FilterContext], Condition]
"""Looks up a comparison's value in a log."""


class Field(NamedTuple):
    """A name that is compared with values."""

    signs: tuple[str, ...]
    compared: Callable[[str, str], Bind]
    """Returns the comparison for a sign and a value; `!=` is left to `==`. Raises `UsageError` for a wrong value."""
    example: str


def _count(name: str) -> Field:
    read = COUNTS[name]

    def compared(sign: str, value: str) -> Bind:
        number, compare = whole_number(value), COMPARE[sign]
        if number is None:
            raise UsageError(f"expected a whole number of at most {DIGITS_MAX} digits")
        return lambda log: lambda state, step: compare(read(state), number)

    return Field((*ORDER, *EQUALITY), compared, f"{name} > 3")


def _time(sign: str, value: str) -> Bind:
    written, compare = written_time(value), COMPARE[sign]

    def bind(log: FilterContext) -> Condition:
        at_ms = written.within(log.span)
        return lambda state, step: compare(state.at_ms, at_ms)

    return bind


def _wait(sign: str, value: str) -> Bind:
    lasted_ms, compare = duration_ms(value), COMPARE[sign]
    if lasted_ms is None:
        raise UsageError("expected a duration with its unit, as in 30s, 1.5m or 250ms")
    return lambda log: (
        lambda state, step: step is not None and any(compare(wait.lasted_ms, lasted_ms) for wait in ended_waits(step))
    )


def _person(sign: str, value: str) -> Bind:
    def bind(log: FilterContext) -> Condition:
        who = log.names.connection_of(value)
        return lambda state, step: step is not None and who in connections_in(step.commit)

    return bind


def _room(sign: str, value: str) -> Bind:
    def bind(log: FilterContext) -> Condition:
        room_id = log.names.room_of(value)
        return lambda state, step: step is not None and room_id in rooms_in(step.commit)

    return bind


def _type(sign: str, value: str) -> Bind:
    kind = type_of(value)
    return lambda log: lambda state, step: step is not None and has_type(step.commit, kind)


def _reason(sign: str, value: str) -> Bind:
    if value not in REASONS:
        raise UsageError(f"there is no reason {printable(value)}; there are {', '.join(REASONS)}")
    return lambda log: lambda state, step: step is not None and value in _reasons_in(step.commit)


def _text(sign: str, value: str) -> Bind:
    wanted = normalize("NFC", value).casefold()  # as a broker stores it
    is_wanted: Callable[[str], bool] = wanted.__eq__ if sign == "==" else lambda text: wanted in text
    return lambda log: lambda state, step: step is not None and any(map(is_wanted, _texts_in(step.commit)))


def _policy(name: str) -> Field:
    """Return the field of the policy called `name`."""
    if name == "matching":

        def is_matching(sign: str, value: str) -> Bind:
            if value not in get_args(MatchingName) and ":" not in value:
                raise UsageError(
                    f"there is no matching {printable(value)}; there are {', '.join(get_args(MatchingName))}"
                )
            return lambda log: lambda state, step: state.policy.matching == value

        return Field(EQUALITY, is_matching, "policy == interests")
    example = f"policy.{name} > {'15s' if '_ms' in name else '3'}"

    def compared(sign: str, value: str) -> Bind:
        number = whole_number(value)
        number = duration_ms(value) if number is None and "_ms" in name else number
        if number is None:
            raise UsageError(f"expected a number, as in {example}")
        compare = COMPARE[sign]
        return lambda log: lambda state, step: compare(getattr(state.policy, name), number)

    return Field((*ORDER, *EQUALITY), compared, example)


FIELDS: Mapping[str, Field] = {
    "text": Field(EQUALITY, _text, '"chess" in text'),
    "person": Field(EQUALITY, _person, "person == Ida"),
    "room": Field(EQUALITY, _room, "room == 2370"),
    "type": Field(EQUALITY, _type, "type == message_sent"),
    "reason": Field(EQUALITY, _reason, "reason == timeout"),
    "wait": Field((*ORDER, *EQUALITY), _wait, "wait > 30s"),
    "policy": _policy("matching"),
    "time": Field(ORDER, _time, "14:03:22 <= time < 14:03:23"),
    **{name: _count(name) for name in COUNTS},
}
POLICY_FIELDS: Mapping[str, Field] = {f"policy.{name}": _policy(name) for name in Policy.__struct_fields__}
"""Each field of the policy."""

ALL_FIELDS: Mapping[str, Field] = {**FIELDS, **POLICY_FIELDS}
REJECTION = "rejection"
"""A condition without a comparison: the present code would decide otherwise on the stored command."""

OF_COMMITS = frozenset({"text", "person", "room", "type", "reason", "wait", REJECTION})
"""The names of the parts of a commit; the state at the beginning of a log has none."""

NAMES = (*FIELDS, REJECTION)
"""The names of a filter, but the fields of a policy."""


def type_of(name: str) -> type[Any]:
    """Return the class of the command or event `name`: a stored tag or a class name, in any case.

    Raises:
        UsageError: there is none; the message lists them.
    """
    found = TYPES.get(name.casefold())
    if found is None:
        tags = sorted({str(one.__struct_config__.tag) for one in TYPES.values()})
        raise UsageError(f"there is no command or event {printable(name)}; there are {', '.join(tags)}")
    return found


def has_type(commit: Commit, kind: type[Any]) -> bool:
    """Return true if the command or an event of `commit` is a `kind`."""
    return type(commit.command) is kind or any(type(event) is kind for event in commit.events)


def rooms_in(commit: Commit) -> Iterator[RoomId]:
    """Yield the rooms in `commit`, some more than once."""
    for holder in (commit.command, *commit.events):
        if (found := getattr(holder, "room_id", None)) is not None:
            yield found


def _reasons_in(commit: Commit) -> Iterator[str]:
    for event in commit.events:
        match event:
            case QueueLeft():
                yield event.reason
            case RoomClosed():
                yield MISSED if event.missed_by else event.reason
            case PartnerReported():
                yield event.category


def _texts_in(commit: Commit) -> Iterator[str]:
    """Yield what was said or noted in `commit`, in one case; what is redacted is gone."""
    for event in commit.events:
        text = event.text if isinstance(event, MessageSent) else getattr(event, "note", None)
        if isinstance(text, str):
            yield text.casefold()
