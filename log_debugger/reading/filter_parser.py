"""Filters as typed by users: `person == Ida and (waiting > 3 or wait > 30s) and not "hello" in text`.

The text is read as tokens, and each value is replaced by a placeholder. Python's own parser (`ast`) finds the structure
of the rest: `and`, `or`, `not`, comparisons and their chains, parentheses. Nothing is evaluated as Python.

Negations are pushed down to the comparisons, so `not messages < 5` is `messages >= 5`. The rest is joined by `and` and
`or` alone, and is monotone if each of its comparisons is.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from broker.errors import UsageError
from broker.verification.safe_text import printable
from log_debugger.reading.decided_again import is_reproduced
from log_debugger.reading.filter_fields import (
    ALL_FIELDS,
    COMPARE,
    COUNTS,
    NAMES,
    REJECTION,
    RISING,
    Bind,
    Condition,
    Field,
    FilterContext,
)
from log_debugger.reading.filter_tokens import DEPTH_MAX, FilterError, Token, check_order, expected, tokens_of
from log_debugger.reading.short_names import HANDLE_PREFIX
from log_debugger.reading.sources import Step
from projections.state import State

LENGTH_MAX = 1_000
NEGATED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
FILTER_HELP = (
    "an expression about the commit and the state after it, of "
    f"{', '.join(NAMES)}, with and, or, not, comparisons and parentheses, as in "
    "'person == Ida and wait > 30s or \"chess\" in text'"
)

_SIGNS: Mapping[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.In: "in",
    ast.NotIn: "not in",
}
_PLACEHOLDER = "t"


class Filter(NamedTuple):
    """A condition on a commit and the state after it."""

    holds: Condition
    names: frozenset[str]
    """The names in it."""
    is_monotone: bool
    """It depends on the state alone, and once it holds, it holds at every later position."""

    def matches(self, step: Step) -> bool:
        """Return true if the step satisfies the filter."""
        return self.holds(step.after, step)


BoundLater = Callable[[FilterContext], Filter]
"""A filter whose rooms, connections and times are still to be looked up in a log.

Raises `UsageError` if the log has no such room, connection or time.
"""


def parse_filter(text: str, where: str = "--when") -> BoundLater:
    """Parse `text`; errors name `where` as its origin.

    Raises:
        UsageError: naming the column, counted from 1, and the text to write instead.
    """
    if len(text) > LENGTH_MAX:
        raise UsageError(f"a filter has at most {LENGTH_MAX} characters")
    try:
        tokens = tokens_of(text)
        check_order(tokens, ", ".join(NAMES))
        return _FilterReader(tokens).whole()
    except FilterError as fault:
        raise UsageError(f"{where}, column {fault}") from None


def equal(name: str, value: str) -> BoundLater:
    """Return the filter `name == value`.

    Raises:
        UsageError: the name has no such value.
    """
    return _bound(name, "==", ALL_FIELDS[name].compared("==", value), negated=False)


def rejection(*, negated: bool = False) -> BoundLater:
    """Return the filter for commits that would not be stored again as they are."""

    def holds(state: State, step: Step | None) -> bool:
        return (step is not None and not is_reproduced(step)) != negated

    found = Filter(holds, frozenset({REJECTION}), is_monotone=False)
    return lambda log: found


def joined(parts: Sequence[BoundLater], *, all_must_hold: bool) -> BoundLater:
    """Return the filter that holds if all of `parts` do, or else if one of them does."""
    if len(parts) == 1:
        return parts[0]

    def bind(log: FilterContext) -> Filter:
        bound = [part(log) for part in parts]
        conditions = [one.holds for one in bound]
        join = all if all_must_hold else any
        return Filter(
            lambda state, step: join(condition(state, step) for condition in conditions),
            frozenset[str]().union(*(one.names for one in bound)),
            all(one.is_monotone for one in bound),
        )

    return bind


class _FilterReader:
    """Turns Python's tree over the placeholders into a filter."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._at: dict[int, Token] = {}  # by the offset in the source
        source = ""
        for number, token in enumerate(tokens):
            self._at[len(source)] = token
            source += (f"{_PLACEHOLDER}{number}" if token.is_value else token.text) + " "
        self._source = source

    def whole(self) -> BoundLater:
        try:
            tree = ast.parse(self._source.strip(), mode="eval")
        except (SyntaxError, RecursionError, MemoryError):
            raise FilterError(f"1: expected comparisons joined by 'and' and 'or', as in {_example()}") from None
        return self._read(tree.body, 0, negated=False)

    def _read(self, node: ast.expr, depth: int, *, negated: bool) -> BoundLater:
        """Return the filter of `node`; `negated` means an odd number of `not` before it."""
        if depth > DEPTH_MAX:
            raise FilterError(f"{self._token(node).column}: more than {DEPTH_MAX} levels deep")
        match node:
            case ast.BoolOp(op=op, values=values):
                parts = [self._read(value, depth + 1, negated=negated) for value in values]
                return joined(parts, all_must_hold=isinstance(op, ast.And) != negated)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self._read(operand, depth + 1, negated=not negated)
            case ast.Compare():
                return self._chain(node, negated=negated)
            case ast.Name() if self._token(node).kind == "word" and self._token(node).text == REJECTION:
                return rejection(negated=negated)
        raise self._no_condition(self._token(node))

    def _chain(self, node: ast.Compare, *, negated: bool) -> BoundLater:
        parts, left = [], node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            sign = _SIGNS.get(type(op), "")
            parts.append(self._compared(left, sign.removeprefix("not "), right, negated=negated != (sign == "not in")))
            left = right
        return joined(parts, all_must_hold=not negated)

    def _compared(self, left: ast.expr, sign: str, right: ast.expr, *, negated: bool) -> BoundLater:
        if sign == "in":
            return self._contained(left, right, negated=negated)
        one, other = self._operand(left), self._operand(right)
        if _is_field(one):
            return _leaf(one, sign, other, negated=negated)
        if _is_field(other):
            return _leaf(other, MIRRORED[sign], one, negated=negated)
        raise _unknown(one, other)

    def _contained(self, left: ast.expr, right: ast.expr, *, negated: bool) -> BoundLater:
        """Return the filter of `VALUE in text` or `NAME in (VALUE, ...)`."""
        one = self._operand(left)
        if isinstance(right, ast.Name) and not _is_field(one):
            field = self._operand(right)
            if field.text == "text" and _is_field(field):
                return _bound("text", "in", ALL_FIELDS["text"].compared("in", one.text), negated=negated)
            if _is_field(field):
                raise expected(field, f"text after in; for {field.text} write {ALL_FIELDS[field.text].example}")
            raise _unknown(field, one)
        if not _is_field(one):
            raise _unknown(one)
        if one.text == "text" and isinstance(right, ast.Name):
            raise expected(one, f"the words first, as in {ALL_FIELDS['text'].example}")
        values = right.elts if isinstance(right, ast.Tuple) else [right]
        parts = [_leaf(one, "==", self._operand(value), negated=negated) for value in values]
        return joined(parts, all_must_hold=negated)

    def _operand(self, node: ast.expr) -> Token:
        if not isinstance(node, ast.Name):
            raise expected(self._token(node), f"a name and a value on the sides of a comparison, as in {_example()}")
        return self._token(node)

    def _token(self, node: ast.expr) -> Token:
        return self._at[node.col_offset]

    def _no_condition(self, token: Token) -> FilterError:
        if not token.is_value:
            return expected(token, f"a comparison, as in {_example()}")
        if not _is_field(token):
            return _unknown(token)
        end = Token("end", "", token.column + len(token.text))
        return expected(end, f"a comparison ({' '.join(COMPARE)} in), as in {ALL_FIELDS[token.text].example}")


def _leaf(name: Token, sign: str, value: Token, *, negated: bool) -> BoundLater:
    """Return one comparison; faults in the value name its column."""
    if _is_field(value) and value.text in COUNTS and name.text in COUNTS:
        return _counts_compared(name.text, NEGATED[sign] if negated else sign, value.text)
    field: Field = ALL_FIELDS[name.text]
    if sign not in field.signs:
        raise expected(value, f"{name.text} to be compared by {' '.join(field.signs)}, as in {field.example}")
    is_complement = sign == "!=" and name.text not in COUNTS
    try:
        bind = field.compared("==" if is_complement else sign, value.text)
    except UsageError as error:
        raise FilterError(f"{value.column}: {error}") from None
    return _bound(name.text, sign, bind, negated=negated != is_complement)


def _bound(name: str, sign: str, bind: Bind, *, negated: bool) -> BoundLater:
    is_monotone = name in RISING and (NEGATED[sign] if negated else sign) in (">", ">=")

    def bound(log: FilterContext) -> Filter:
        holds = bind(log)
        return Filter(
            (lambda state, step: not holds(state, step)) if negated else holds, frozenset({name}), is_monotone
        )

    return bound


def _counts_compared(one: str, sign: str, other: str) -> BoundLater:
    read, read_other, compare = COUNTS[one], COUNTS[other], COMPARE[sign]
    found = Filter(
        lambda state, step: compare(read(state), read_other(state)),
        frozenset({one, other}),
        is_monotone=one == other,
    )
    return lambda log: found


def _is_field(token: Token) -> bool:
    return token.kind == "word" and token.text in ALL_FIELDS


def _unknown(*tokens: Token) -> FilterError:
    """Return the fault that none of `tokens` is a name; it is told of the one that is nearly a name, or the first."""
    for token in tokens:
        if token.text == REJECTION:
            return expected(token, f"{REJECTION} alone, without a comparison")
    names = [*NAMES, *ALL_FIELDS]
    words = [token for token in tokens if token.kind == "word"]
    near = [(token, close[0]) for token in words if (close := get_close_matches(token.text.casefold(), names, 1))]
    token, meant = near[0] if near else (tokens[0], "")
    said = "this" if token.text.startswith(HANDLE_PREFIX) else printable(token.text)  # a secret, not to be repeated
    hint = f"; did you mean {meant}?" if meant else ""
    return FilterError(
        f"{token.column}: {said} is no name of a filter, which are {', '.join(NAMES)} and policy.FIELD{hint}"
    )


def _example() -> str:
    return "waiting > 3 and person == Ida"
