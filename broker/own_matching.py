"""An operator's own matching: importing it by its name, `package.module:function`, and guarding its answers."""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from importlib import import_module

from broker.decide import decide
from broker.decision import Decision
from broker.flags import variable_of
from broker.matching import MATCHINGS, OWN_MATCHINGS, Matching, MatchingError, Seeker, matching_of
from broker.matching_trial import answer_fault, check_signature, try_out
from broker.verification.safe_text import printable
from events.commands import Command
from events.commit import Facts
from events.ids import ConnectionId
from events.policy import Policy
from projections.view import FoldView, StateView


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
        fault = answer_fault(named, state, seeker)
        if fault is not None:
            raise MatchingError(f"the matching {self.name} {fault}")
        return ConnectionId(str.__str__(named)) if isinstance(named, str) else None  # a log takes no subclass of `str`


def provide_matching(policy: Policy) -> None:
    """Import, try out and register the matching that an operator named for `policy`; see `import_matching`.

    Raises:
        MatchingError: it can't be imported, or is no matching; the text is one line and says why.
    """
    if policy.matching not in MATCHINGS:
        OWN_MATCHINGS[policy.matching] = import_matching(policy.matching)


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
        OWN_MATCHINGS[name] = _imported(name)  # untried: what it decided may be all that it can
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
    """Return the function `package.module:function`, guarded; its module may be in the working directory.

    It is tried out first: see `broker.matching_trial`.

    Raises:
        MatchingError: it can't be imported, or is no matching; the text is one line and says why.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does; a console script does not
    matching = _imported(name)
    try_out(name, matching)
    return matching


def _imported(name: str) -> OwnMatching:
    module, _, function = name.partition(":")
    try:
        found: object = getattr(import_module(module), function)
    except (Exception, SystemExit) as error:  # importing an operator's module may fail in any way
        raise MatchingError(f"can't import {name}: {_in_one_line(error)}") from error
    if not callable(found):
        raise MatchingError(f"{name} is no function; it has to be a broker.matching.Matching")
    check_signature(name, found)
    return OwnMatching(name, found)


def _code_digest(name: str) -> str:
    try:
        source = inspect.getsource(sys.modules[name.partition(":")[0]])
    except (OSError, TypeError):
        return ""  # a module without a source, such as a compiled one
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def _in_one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {printable(str(error))}"
