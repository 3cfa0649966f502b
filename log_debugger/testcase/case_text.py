"""A scenario as a module for pytest, as `ruff format` would have it."""

from __future__ import annotations

from collections.abc import Iterator

from broker.verification.scenario import MAY_MATCH, LoggedCommand, Scenario
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
from events.events import Event, MessageSent, QueueEntered, RoomClosed, RoomOpened
from events.ids import Position
from events.policy import Policy
from log_debugger.testcase.layout import LINE_MAX, Bracket, Part, laid_out, literal

_MODULE = '''"""A situation from the log of a chat broker, at its position {position}.

Written by `chat-broker test`: who, where and what was said are made up.
"""

{imports}

NOON_MS = 1_790_000_000_000


def given(*past):
    """The state after commands, each with its time in ms and the room that it opens."""
    state = INITIAL_STATE
    for after_ms, command, room_id in past:
        facts = Facts(NOON_MS + after_ms, room_id, "salt")
        events = decide(state, command, facts)
        assert events, command
        assert not isinstance(events, Rejection), (command, events)
        state = evolve(state, commit_after(state.tip, command, facts, events))
    return state


def test_position_{position}():
    """{sentence}"""
{body}
'''

_DOING: dict[type[Command], str] = {
    AdoptPolicy: "adopts another policy",
    Disconnect: "is found absent",
    EnterQueue: "enters the queue",
    LeaveQueue: "leaves the queue",
    LeaveRoom: "has had enough",
    MatchDue: "has held out long enough",
    NextPartner: "wants someone else",
    SendMessage: "says something",
}


def case_text(scenario: Scenario, position: Position) -> str:
    """The module that tests `scenario`, which was found at `position` of a log."""
    return _MODULE.format(
        position=position,
        imports="\n".join(_imports(scenario)),
        sentence=_sentence(scenario),
        body="\n".join(_body(scenario)),
    )


def _body(scenario: Scenario) -> Iterator[str]:
    steps = [Bracket("(", [literal(one.facts.at_ms), literal(one.command), _room(one)], ")") for one in scenario.past]
    yield from laid_out(Bracket("given(", steps, ")", is_open=True), "state = ", indent=1)
    yield ""
    target = scenario.target
    asked: list[Part] = ["state", literal(target.command), _facts(target)]
    yield from laid_out(Bracket("decide(", asked, ")"), "events = ", indent=1)
    yield ""
    if scenario.decided != scenario.stored:
        yield "    # This is what was stored. The present code decides otherwise:"
        yield from (f"    # {line}" for line in laid_out(literal(scenario.decided)))
    yield from laid_out(literal(scenario.stored), "assert events == ", indent=1)


def _facts(asked: LoggedCommand) -> Part:
    after_ms = asked.facts.at_ms
    at_ms = f"NOON_MS + {literal(after_ms)}" if after_ms else "NOON_MS"
    return Bracket("Facts(", [at_ms, _room(asked)] if isinstance(asked.command, MAY_MATCH) else [at_ms], ")")


def _room(asked: LoggedCommand) -> Part:
    return literal(asked.facts.room_id if isinstance(asked.command, MAY_MATCH) else None)


def _imports(scenario: Scenario) -> Iterator[str]:
    commands = [asked.command for asked in (*scenario.past, scenario.target)]
    yield "from broker.decide import Rejection, decide"
    yield from _import("events.commands", {type(command).__name__ for command in commands})
    yield "from events.commit import Facts, commit_after"
    yield from _import("events.events", {type(event).__name__ for event in scenario.stored})
    if any(isinstance(command, AdoptPolicy) for command in commands):
        yield f"from events.policy import {Policy.__name__}"
    yield "from projections.state import INITIAL_STATE, evolve"


def _import(module: str, names: set[str]) -> Iterator[str]:
    if names:
        ordered = sorted(names)
        line = f"from {module} import {', '.join(ordered)}"
        bracket = Bracket("(", ordered, ")", is_open=True)
        yield from [line] if len(line) <= LINE_MAX else laid_out(bracket, f"from {module} import ")


def _sentence(scenario: Scenario) -> str:
    """What happens, in the words of somebody who tells it."""
    command = scenario.target.command
    who = "the broker" if isinstance(command, AdoptPolicy) else command.connection_id
    parts = [_DOING[type(command)], *(words for event in scenario.stored if (words := _words(event, who)))]
    kinds = {type(event) for event in scenario.stored}
    if QueueEntered in kinds and RoomOpened not in kinds:
        parts.append("waits")
    return f"{who[0].upper()}{who[1:]} {', '.join(parts[:-1])}{' and ' if len(parts) > 1 else ''}{parts[-1]}."


def _words(event: Event, who: str) -> str:
    match event:
        case RoomOpened(first=first, second=second):
            return f"meets {(second if first == who else first).capitalize()}"
        case RoomClosed(other=other):
            return f"leaves {other.capitalize()}"
        case MessageSent(recipient=recipient):
            return f"{recipient.capitalize()} is told"
        case _:
            return ""
