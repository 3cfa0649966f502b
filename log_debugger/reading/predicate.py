"""Predicates over a state, as typed by users: `waiting > 3 and not rooms_open == 0`.

    or:         and ("or" and)*
    and:        not ("and" not)*
    not:        "not" not | "(" or ")" | comparison
    comparison: operand (("<" | "<=" | ">" | ">=" | "==" | "!=") operand)+
    operand:    a name of `VARIABLES`, or a whole number

The parser limits length and depth, and nothing is evaluated as Python. Negations are pushed down to the comparisons,
so `not messages < 5` is `messages >= 5`. The rest is joined by `and` and `or` alone, and is monotone if each of its
comparisons is.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from broker.errors import UsageError
from projections.state import State

LENGTH_MAX = 1_000
DEPTH_MAX = 50
DIGITS_MAX = 15

StateValue = Callable[[State], int]
Condition = Callable[[State], bool]

VARIABLES: Mapping[str, StateValue] = {
    "waiting": lambda state: len(state.queue),
    "rooms_open": lambda state: state.rooms.open_count,
    "rooms_closed": lambda state: state.rooms_closed,
    "connections": lambda state: len(state.connections),
    "messages": lambda state: state.messages_sent,
    "position": lambda state: state.position,
}
"""The variables of a predicate. Messages and closed rooms count from the beginning, connections only while known."""

MONOTONE = frozenset({"messages", "position", "rooms_closed"})
"""The variables that never decrease."""

COMPARE: Mapping[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
NEGATED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}

OTHER_SPELLINGS = {"=": "==", "&&": "and", "&": "and", "||": "or", "|": "or", "!": "not"}
"""Spellings of other languages."""

_WHAT_IS_EXPECTED = f"a name ({', '.join(VARIABLES)}) or a whole number"
_TOKEN = re.compile(r"\s*(?:(?P<number>[0-9]+)|(?P<word>[a-z_]+)|(?P<sign>[<>=!]=|[<>()]))", re.ASCII)


class Predicate(NamedTuple):
    """A condition on a state."""

    holds: Condition
    names: frozenset[str]
    """The variables in it."""
    is_monotone: bool
    """Once it holds, it holds at every later position."""

    def __call__(self, state: State) -> bool:
        """Return `True` if `state` satisfies the condition."""
        return self.holds(state)


def parse_predicate(text: str, where: str = "--when") -> Predicate:
    """Parse `text`; errors name `where` as its origin.

    Raises:
        UsageError: naming the column, counted from 1, and the expected token.
    """
    if len(text) > LENGTH_MAX:
        raise UsageError(f"a predicate has at most {LENGTH_MAX} characters")
    try:
        return _PredicateParser(_tokens(text)).whole()
    except _PredicateError as error:
        raise UsageError(f"{where}, column {error}") from None


class _PredicateError(Exception):
    """A fault in the text; the message begins with its column."""


class _Token(NamedTuple):
    kind: str
    text: str
    column: int


def _tokens(text: str) -> list[_Token]:
    tokens, at, end = [], 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None:
            rest = text[at:].lstrip()
            raise _no_token(len(text) - len(rest) + 1, rest)
        kind = found.lastgroup
        assert kind is not None
        tokens.append(_Token(kind, found[kind], found.start(kind) + 1))
        at = found.end()
    return [*tokens, _Token("end", "", end + 1)]


class _PredicateParser:
    """A recursive descent parser; `negated` means an odd number of `not` before the part being parsed."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    def whole(self) -> Predicate:
        read = self._any_of(negated=False)
        if self._token.kind != "end":
            raise _expected(self._token.column, "'and', 'or' or the end")
        return read

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _any_of(self, *, negated: bool) -> Predicate:
        parts = [self._all_of(negated=negated)]
        while self._took("or"):
            parts.append(self._all_of(negated=negated))
        return _joined(parts, all_must_hold=negated)

    def _all_of(self, *, negated: bool) -> Predicate:
        parts = [self._one(negated=negated)]
        while self._took("and"):
            parts.append(self._one(negated=negated))
        return _joined(parts, all_must_hold=not negated)

    def _one(self, *, negated: bool) -> Predicate:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise _PredicateError(f"{self._token.column}: more than {DEPTH_MAX} levels deep")
        if self._took("not"):
            read = self._one(negated=not negated)
        elif self._took("("):
            read = self._any_of(negated=negated)
            if not self._took(")"):
                raise _expected(self._token.column, "'and', 'or' or ')'")
        else:
            read = self._comparison(negated=negated)
        self._depth -= 1
        return read

    def _comparison(self, *, negated: bool) -> Predicate:
        parts: list[Predicate] = []
        left = self._operand()
        while not parts or self._token.text in COMPARE:
            sign = self._sign()
            right = self._operand()
            parts.append(_compared(left, NEGATED[sign] if negated else sign, right))
            left = right
        return _joined(parts, all_must_hold=not negated)

    def _sign(self) -> str:
        token = self._token
        if token.text not in COMPARE:
            raise _expected(token.column, f"a comparison ({' '.join(COMPARE)})")
        self._next += 1
        return token.text

    def _operand(self) -> str:
        token = self._token
        if token.kind == "number" and len(token.text) > DIGITS_MAX:
            raise _expected(token.column, f"a number of at most {DIGITS_MAX} digits")
        if token.kind != "number" and token.text not in VARIABLES:
            raise _expected(token.column, _WHAT_IS_EXPECTED)
        self._next += 1
        return token.text

    def _took(self, text: str) -> bool:
        took = self._token.text == text
        self._next += took
        return took


def _compared(left: str, sign: str, right: str) -> Predicate:
    compare, names = COMPARE[sign], frozenset({left, right} & set(VARIABLES))
    if right in VARIABLES and left in VARIABLES:
        one, other = VARIABLES[left], VARIABLES[right]
        return Predicate(lambda state: compare(one(state), other(state)), names, left == right)
    if not names:
        always = compare(int(left), int(right))
        return Predicate(lambda state: always, names, is_monotone=True)
    if left not in VARIABLES:
        return _compared(right, MIRRORED[sign], left)
    value, number = VARIABLES[left], int(right)
    return Predicate(lambda state: compare(value(state), number), names, left in MONOTONE and sign in (">", ">="))


def _joined(parts: list[Predicate], *, all_must_hold: bool) -> Predicate:
    if len(parts) == 1:
        return parts[0]
    conditions = [part.holds for part in parts]
    names = frozenset[str]().union(*(part.names for part in parts))
    join = all if all_must_hold else any
    return Predicate(
        lambda state: join(condition(state) for condition in conditions),
        names,
        all(part.is_monotone for part in parts),
    )


def _expected(column: int, what: str) -> _PredicateError:
    return _PredicateError(f"{column}: expected {what}")


def _no_token(column: int, rest: str) -> _PredicateError:
    for sign, meant in OTHER_SPELLINGS.items():
        if rest.startswith(sign):
            return _PredicateError(f"{column}: {sign} is no sign here; did you mean {meant}?")
    return _expected(column, "a name, a whole number, a comparison or a parenthesis")
