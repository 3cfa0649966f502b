"""Checks of an operator's own matching: its signature, its answers, and a trial before it decides anything.

The trial asks it in a made-up lobby, so that a function of another kind is refused at the start of a broker and not by
every client's first call.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterator
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from broker.decide import decide
from broker.decision import Rejection
from broker.matching import Matching, MatchingError, Seeker
from broker.verification.safe_text import printable
from events.commands import AdoptPolicy, Command, EnterQueue, LeaveRoom
from events.commit import Facts, commit_after
from events.ids import ConnectionId, RoomId
from events.policy import Policy
from projections.state import INITIAL_STATE, State, evolve
from projections.view import StateView

_FITTING = frozenset({ConnectionId, str, NoneType, Any})
"""The accepted result annotations of a matching."""

_NOON_MS = 1_790_000_000_000
"""The time of a trial."""

_STEP_MS = 1_000
"""The time between two commands of the made-up lobby."""


class TrialQuestion(NamedTuple):
    """A question to a matching: the arguments, and the kind of seeker in words."""

    seeking: str
    state: State
    seeker: Seeker
    at_ms: int


def check_signature(name: str, found: Callable[..., object]) -> None:
    """Refuse a function whose parameters or annotated result don't fit a matching.

    Raises:
        MatchingError: they don't; the text begins with `name`.
    """
    try:
        inspect.signature(found).bind(INITIAL_STATE, None, 0)
    except TypeError:
        raise MatchingError(f"{name} takes other arguments than (state, seeker, at_ms)") from None
    except ValueError:
        return  # written in C, say, and silent about it
    if inspect.iscoroutinefunction(found):
        raise MatchingError(f"{name} is no matching: it is async, and a matching decides at once")
    try:
        given = get_type_hints(found).get("return", Any)
    except Exception:  # noqa: BLE001 - a hint may be anything, and need not be there when it is asked for
        return
    is_union = get_origin(given) in (Union, UnionType)
    if not _FITTING.issuperset(get_args(given) if is_union else (given,)):
        raise MatchingError(f"{name} is no matching: it gives back something else than a ConnectionId or None")


def answer_fault(answer: object, state: StateView, seeker: Seeker) -> str | None:
    """Return the fault of a matching's answer, as the rest of a sentence about it; `None` if it can be used."""
    if answer is None:
        return None
    if isinstance(answer, Coroutine):
        answer.close()  # Python would warn that it was never awaited
        return "is async, and a matching decides at once"
    if not isinstance(answer, str):
        return f"returned something of the type {type(answer).__name__}, and no ConnectionId or None"
    if answer == seeker.connection_id:
        return f"named {printable(answer)}, the seeker itself"
    if answer not in state.queue.entered:
        return f"named {printable(answer)}, who does not wait"
    return None


def try_out(name: str, matching: Matching) -> None:
    """Ask `matching`, which raises `MatchingError` for its faults, all questions of a trial, each of them twice.

    Raises:
        MatchingError: it failed, gave an answer that can't be used, or another one the second time.
    """
    for seeking, state, seeker, at_ms in _questions():
        try:
            first, again = (matching(state, seeker, at_ms) for _ in range(2))
        except MatchingError as error:
            raise MatchingError(f"{name} is no matching: in a trial, asked for {seeking}, {error}") from error
        if first != again:
            raise MatchingError(
                f"{name} is no matching: in a trial, asked for {seeking}, it named {first or 'nobody'}, and "
                f"{again or 'nobody'} when it was asked the same again; it has to decide by its arguments alone"
            )


def _questions() -> Iterator[TrialQuestion]:
    newcomer = Seeker(ConnectionId("c_newcomer"), ("tea",), 0)
    yield TrialQuestion("a newcomer while nobody waits", INITIAL_STATE, newcomer, _NOON_MS)
    lobby = _lobby()
    at_ms = lobby.at_ms + _STEP_MS
    yield TrialQuestion("a newcomer", lobby, newcomer, at_ms)
    yield TrialQuestion("a newcomer without interests", lobby, newcomer._replace(interests=()), at_ms)
    yield TrialQuestion("a connection that was here before", lobby, Seeker(ConnectionId("c_guest"), (), 0), at_ms)
    for who in sorted(who for who, _ in lobby.queue.entered.items()):
        waited_ms = at_ms - lobby.connections.by_id[who].waiting_since_ms()
        interests = lobby.queue.interests.get(who, ())
        yield TrialQuestion("a connection that waits itself", lobby, Seeker(who, interests, waited_ms), at_ms)


def _lobby() -> State:
    """Return a state in which two wait, two are in a room, and two have left theirs."""
    state = INITIAL_STATE
    for number, command in enumerate(_story()):
        facts = Facts(_NOON_MS + number * _STEP_MS, RoomId(f"r_{number}"), "salt")
        decision = decide(state, command, facts)
        assert not isinstance(decision, Rejection)
        state = evolve(state, commit_after(state.tip, command, facts, decision))
    return state


def _story() -> Iterator[Command]:
    yield AdoptPolicy(Policy(matching="interests", rematch_after_ms=600_000))
    for who, interest in (("guest", "go"), ("host", "go"), ("reader", "books"), ("writer", "books")):
        yield EnterQueue(ConnectionId(f"c_{who}"), "Anonymous", (interest,))
    yield LeaveRoom(ConnectionId("c_guest"), RoomId("r_2"))
    yield EnterQueue(ConnectionId("c_waiting"), "Anonymous", ("tea",))
    yield EnterQueue(ConnectionId("c_silent"), "Anonymous", ())
