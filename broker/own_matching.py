"""An operator's own matching: importing it by its name, `package.module:function`, and guarding its answers."""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from broker.decide import decide
from broker.decision import Decision, Rejection
from broker.flags import variable_of
from broker.matching import MATCHINGS, OWN_MATCHINGS, Matching, MatchingError, Seeker, matching_of
from broker.verification.safe_text import printable
from events.commands import Command, EnterQueue
from events.commit import EMPTY_TIP, Facts, commit_after
from events.ids import ConnectionId
from events.policy import Policy
from projections.state import INITIAL_STATE, State, evolve
from projections.view import FoldView, StateView

_FITTING = frozenset({ConnectionId, str, NoneType, Any})
"""The accepted result annotations of a matching."""

_AT_MS = 1_790_000_000_000
"""The time of a trial."""


class OwnMatching:
    """A `Matching` that checks the answers of an operator's own.

    `code_digest` is a hash of its module's source, which shows whether two processes have the same.
    """

    def __init__(self, name: str, matching: Matching) -> None:
        self.name = name
        self.code_digest = _code_digest(name)
        self._matching = matching

    def __call__(self, state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
        """Return the matching's answer.

        Raises:
            MatchingError: the matching failed, or named another than the seeker and the waiting connections.
        """
        try:
            named: object = self._matching(state, seeker, at_ms)
        except (Exception, SystemExit) as error:
            raise MatchingError(f"the matching {self.name} failed: {_in_one_line(error)}") from error
        if named is None:
            return None
        if not isinstance(named, str):
            raise MatchingError(f"the matching {self.name} returned {_kind(named)}, and no ConnectionId or None")
        if named == seeker.connection_id:
            raise MatchingError(f"the matching {self.name} paired the seeker with itself")
        if named not in state.queue.entered:
            raise MatchingError(f"the matching {self.name} named {printable(named)}, who does not wait")
        return ConnectionId(named)


def provide_matching(policy: Policy) -> None:
    """Import and register the matching that an operator named for `policy`; also from the working directory.

    Raises:
        MatchingError: it can't be imported, or is no matching; the text is one line and says why.
    """
    if policy.matching not in MATCHINGS:
        _register(policy.matching, import_matching(policy.matching))


def matching_of_log(policy: Policy) -> Matching:
    """Return the matching that the `policy` of a log names; an operator's own is imported.

    A log may be a stranger's, and must not choose a file of the working directory. So the module is looked for where
    Python looks by itself.

    Raises:
        MatchingError: it can't be imported, or is no matching; the text is one line and says what to do.
    """
    name = policy.matching
    if name not in MATCHINGS and name not in OWN_MATCHINGS:
        _register_logged(name)
    return matching_of(policy)


def decide_logged(state: FoldView, command: Command, facts: Facts) -> Decision:
    """Decide a command of a log again; see `broker.decide.decide`.

    Raises:
        MatchingError: an operator's own matching can't be imported, or failed.
    """
    return decide(state, command, facts, matching=matching_of_log(state.policy))


def _register_logged(name: str) -> None:
    try:
        _register(name, _imported(name))
    except MatchingError as error:
        hint = "install it, or name its directory in PYTHONPATH"
        raise MatchingError(f"this log is decided by the matching {name}, and {error}; {hint}") from error


def check_succession(logged: Policy, policy: Policy, *, is_named: bool) -> None:
    """Check that `policy` may replace the `logged` one: no default replaces an operator's own matching.

    Raises:
        MatchingError: it would; the text says which matching is needed, and how to name it.
    """
    if is_named or logged.matching in MATCHINGS or logged.matching == policy.matching:
        return
    named = f"--matching {logged.matching} ({variable_of('matching')})"
    raise MatchingError(
        f"it is decided by the matching {logged.matching}: name it with {named}, or name another to change to, "
        f"as in --matching {policy.matching}"
    )


def code_digest(policy: Policy) -> str:
    """Return the digest of the code of an operator's own matching; nothing for another one."""
    found = OWN_MATCHINGS.get(policy.matching)
    return found.code_digest if isinstance(found, OwnMatching) else ""


def import_matching(name: str) -> Matching:
    """Return the function `package.module:function`; its module may be in the working directory.

    Raises:
        MatchingError: it can't be imported, or is no matching; the text is one line and says why.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does; a console script does not
    return _imported(name)


def _imported(name: str) -> Matching:
    module, _, function = name.partition(":")
    try:
        found: object = getattr(import_module(module), function)
    except (Exception, SystemExit) as error:  # importing an operator's module may fail in any way
        raise MatchingError(f"can't import {name}: {_in_one_line(error)}") from error
    if not callable(found):
        raise MatchingError(f"{name} is no function; it has to be a broker.matching.Matching")
    _check_signature(name, found)
    matching: Matching = found
    return matching


def _check_signature(name: str, found: Callable[..., object]) -> None:
    """Refuse a function whose parameters or annotated result don't fit a matching."""
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


def _register(name: str, matching: Matching) -> None:
    """Register `matching` after a trial; one that fails in the trial may still decide other cases."""
    guarded = OwnMatching(name, matching)
    newcomer = Seeker(ConnectionId("c_newcomer"), ("tea",), 0)
    for state in _trial_states():
        try:
            guarded(state, newcomer, _AT_MS)
        except MatchingError as error:
            if error.__cause__ is None:
                raise MatchingError(f"{name} is no matching: in a trial, {error}") from None
    OWN_MATCHINGS[name] = guarded


def _trial_states() -> Iterator[State]:
    """Yield a state in which no one waits, and one in which a connection does."""
    yield INITIAL_STATE
    command, facts = EnterQueue(ConnectionId("c_waiting"), "Anonymous", ("tea",)), Facts(_AT_MS, None, "salt")
    decision = decide(INITIAL_STATE, command, facts)
    assert not isinstance(decision, Rejection)
    yield evolve(INITIAL_STATE, commit_after(EMPTY_TIP, command, facts, decision))


def _code_digest(name: str) -> str:
    try:
        source = inspect.getsource(sys.modules[name.partition(":")[0]])
    except (OSError, TypeError):
        return ""  # a module without a source, such as a compiled one
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def _in_one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {printable(str(error))}"


def _kind(value: object) -> str:
    return f"something of the type {type(value).__name__}"
