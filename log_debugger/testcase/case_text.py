"""The text of a pytest module for a scenario, formatted as `ruff format` would."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from rich.pretty import Node

from broker.matching import MATCHINGS
from broker.verification.safe_text import default_values
from broker.verification.scenario import MAY_MATCH, LoggedCommand, Scenario
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
from events.events import (
    Event,
    MessageSent,
    PartnerBlocked,
    PartnerReported,
    QueueEntered,
    QueueEntry,
    RoomClosed,
    RoomOpened,
)
from events.ids import Position
from events.policy import Policy
from log_debugger.telling.describe import policy_changes

LINE_MAX = 88
"""The default of `ruff format` and of black."""

INDENT = "    "
_NO_LAST_COMMA = re.compile(r"(?<![,(\[])(?=\n *[)\]])")
_KEYWORDS = frozenset(
    {"client_message_id", "is_other_present", "last", "missed_by", "retry_after_ms", "since", "through"}
)
"""Fields whose values do not explain themselves."""
_SALTS = frozenset({"salt", "first_salt", "second_salt"})

_MODULE = '''"""A situation from the log of a chat broker, at its position {position}.

Written by `chat-broker test`: who, where and what was said are made up.
"""

{imports}
{provided}
NOON_MS = 1_790_000_000_000


def given(*past):
    """The state after commands: each with its time in ms, its room, whom to avoid."""
    state = INITIAL_STATE
    for after_ms, command, room_id, *avoid in past:
        facts = Facts(NOON_MS + after_ms, room_id, avoid=tuple(avoid))
        events = decide(state, command, facts)
        assert events, command
        assert not isinstance(events, Rejection), (command, events)
        facts = Facts(facts.at_ms, room_id, "salt", facts.avoid)
        state = evolve(state, commit_after(state.tip, command, facts, events))
    return state


def test_position_{position}():
    """{sentence}"""
{body}
'''

_DOING: dict[type[Command], str] = {
    AdoptPolicy: "adopts another policy",
    BlockPartner: "never wants to meet someone again",
    CancelMatch: "cancels a match",
    Disconnect: "is found absent",
    EnterQueue: "enters the queue",
    ForgetNames: "forgets names",
    LeaveQueue: "leaves the queue",
    LeaveRoom: "has had enough",
    MatchDue: "has held out long enough",
    NextPartner: "wants someone else",
    ReportPartner: "complains",
    SendMessage: "says something",
}


def case_text(scenario: Scenario, position: Position) -> str:
    """Return the module for `scenario`, found at `position` of a log."""
    return _MODULE.format(
        position=position,
        imports="\n".join(_imports(scenario)),
        provided="".join(f"\nprovide_matching({literal(policy)})\n" for policy in _own_matchings(scenario)),
        sentence=_sentence(scenario),
        body="\n".join(_body(scenario)),
    )


def _body(scenario: Scenario) -> Iterator[str]:
    steps = [_bracket("(", _past_step(one), ")") for one in scenario.past]
    yield "    state = given(" + (")" if not steps else "")
    for step in steps:
        yield from _lines(step, indent=2, end=",")
    yield from ["    )"] if steps else []
    yield ""
    target = scenario.target
    arguments = [Node(value_repr="state"), literal(target.command), _facts(target)]
    yield from _lines(_bracket("events = decide(", arguments, ")"), indent=1)
    yield ""
    if scenario.decided != scenario.stored:
        yield "    # This is what was stored. The present code decides otherwise:"
        yield from (f"    # {line}" for line in _lines(literal(scenario.decided)))
    yield from _lines(_bracket("assert events == [", [literal(event) for event in scenario.stored], "]"), indent=1)


def _past_step(logged: LoggedCommand) -> list[Node]:
    return [literal(logged.facts.at_ms), literal(logged.command), _room(logged), *map(literal, logged.facts.avoid)]


def _facts(logged: LoggedCommand) -> Node:
    parts = [_moment(logged.facts.at_ms)] + ([_room(logged)] if isinstance(logged.command, MAY_MATCH) else [])
    return _bracket("Facts(", parts + ([literal(logged.facts.avoid, "avoid")] if logged.facts.avoid else []), ")")


def _moment(after_ms: int) -> Node:
    return Node(value_repr=f"NOON_MS + {literal(after_ms)}" if after_ms else "NOON_MS")


def _room(logged: LoggedCommand) -> Node:
    return literal(logged.facts.room_id if isinstance(logged.command, MAY_MATCH) else None)


def literal(value: Any, keyword: str = "") -> Node:
    """Return the expression for a command, an event or a value inside one, as the argument `keyword` if it has one."""
    if isinstance(value, Policy):
        parts = [literal(field, name) for name, field in policy_changes(value).items()]
        return _bracket("Policy(", parts, ")", keyword)
    if isinstance(value, QueueEntry):
        return _bracket("QueueEntry(", [literal(value.position), _moment(value.at_ms)], ")", keyword)
    if isinstance(value, msgspec.Struct):
        parts = [literal(field, keyword) for keyword, field in _arguments(value)]
        return _bracket(f"{type(value).__name__}(", parts, ")", keyword)
    if isinstance(value, tuple | list):
        opening, closing = "[]" if isinstance(value, list) else "()"
        node = _bracket(opening, [literal(item) for item in value], closing, keyword)
        node.is_tuple = isinstance(value, tuple)
        return node
    text = _quoted(value) if isinstance(value, str) else _digits(value)
    return Node(keyword, text, key_separator="=")


def _arguments(value: msgspec.Struct) -> Iterator[tuple[str, Any]]:
    """Yield the arguments that give `value`, each with its keyword, if it has one.

    Fields with a default are left out where they have it. Salts are left out too: the test decides without them.
    """
    defaults = dict(default_values(value))
    for name in value.__struct_fields__:
        field = getattr(value, name)
        if name not in defaults:
            yield name if name in _KEYWORDS else "", field
        elif name not in _SALTS and field != defaults[name]:
            yield name, field


def _bracket(opening: str, parts: list[Node], closing: str, keyword: str = "") -> Node:
    for part in parts[-1:]:
        part.last = True
    return Node(
        keyword,
        key_separator="=",
        open_brace=opening,
        close_brace=closing,
        empty=opening + closing,
        children=parts,
    )


def _lines(node: Node, indent: int = 0, end: str = "") -> Iterator[str]:
    """Yield `node` and `end` as lines of at most `LINE_MAX` characters, as `ruff format` and black would.

    A split bracket has a comma after its last part, so it stays split at any line length.
    """
    text, width = f"{node}", LINE_MAX - len(INDENT) * indent
    if len(text + end) > width:
        # Rich counts the space after a comma, which no line ends with; and it leaves out the last comma.
        text = _NO_LAST_COMMA.sub(",", node.render(min(len(text) - 1, width + 1)))
    yield from (f"{INDENT * indent}{line}" for line in (text + end).split("\n"))


def _quoted(text: str) -> str:
    return json.dumps(text).replace("\x7f", "\\x7f")


def _digits(value: object) -> str:
    return f"{value:_}" if isinstance(value, int) and value >= 10_000 else repr(value)


def _imports(scenario: Scenario) -> Iterator[str]:
    commands = [asked.command for asked in (*scenario.past, scenario.target)]
    yield "from broker.decide import decide"
    yield "from broker.decision import Rejection"
    if any(_own_matchings(scenario)):
        yield "from broker.own_matching import provide_matching"
    yield from _import("events.commands", {type(command).__name__ for command in commands})
    yield "from events.commit import Facts, commit_after"
    yield from _import("events.events", set(_event_names(scenario.stored)))
    if any(isinstance(command, AdoptPolicy) for command in commands):
        yield f"from events.policy import {Policy.__name__}"
    yield "from projections.state import INITIAL_STATE, evolve"


def _own_matchings(scenario: Scenario) -> list[Policy]:
    """Return a policy for each of the operator's own matchings that decide in `scenario`."""
    commands = [asked.command for asked in (*scenario.past, scenario.target)]
    names = dict.fromkeys(command.policy.matching for command in commands if isinstance(command, AdoptPolicy))
    return [Policy(matching=name) for name in names if name not in MATCHINGS]


def _event_names(events: Sequence[Event]) -> Iterator[str]:
    for event in events:
        yield type(event).__name__
        if any(isinstance(getattr(event, name), QueueEntry) for name in event.__struct_fields__):
            yield QueueEntry.__name__


def _import(module: str, names: set[str]) -> Iterator[str]:
    if names:
        ordered = sorted(names)
        line = f"from {module} import {', '.join(ordered)}"
        split = [f"from {module} import (", *(f"{INDENT}{name}," for name in ordered), ")"]
        yield from [line] if len(line) <= LINE_MAX else split


def _sentence(scenario: Scenario) -> str:
    """Return one sentence about the scenario, for the docstring of the test."""
    command = scenario.target.command
    who = getattr(command, "connection_id", "the broker")
    parts = [_DOING[type(command)], *(words for event in scenario.stored if (words := _words(event, who)))]
    kinds = {type(event) for event in scenario.stored}
    if QueueEntered in kinds and RoomOpened not in kinds and not isinstance(command, CancelMatch):
        parts.append("waits")
    return f"{who[0].upper()}{who[1:]} {', '.join(parts[:-1])}{' and ' if len(parts) > 1 else ''}{parts[-1]}."


def _words(event: Event, who: str) -> str:
    match event:
        case RoomOpened(first=first, second=second):
            return f"meets {(second if first == who else first).capitalize()}"
        case RoomClosed(missed_by=missed_by) if missed_by:
            return f"{' and '.join(map(str.capitalize, missed_by))} missed it"
        case QueueEntered(connection_id=waiting, earlier=QueueEntry()):
            return f"{waiting.capitalize()} waits again"
        case PartnerBlocked(blocked=blocked):
            return f"blocks {blocked.capitalize()}"
        case PartnerReported(reported=reported):
            return f"reports {reported.capitalize()}"
        case RoomClosed(other=other):
            return f"leaves {other.capitalize()}"
        case MessageSent(recipient=recipient):
            return f"{recipient.capitalize()} is told"
        case _:
            return ""
