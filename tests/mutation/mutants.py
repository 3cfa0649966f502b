"""What is tried: each place of a source file with each small fault that could stand there.

The faults are mutmut's own, applied to all of a file: mutmut itself leaves out decorated functions, the bodies of
classes and the tables of a module, where half of what a log promises stands. Those that it does not know follow below.

Left out, since nothing that runs could tell: annotations, the words of an assertion, the names of type variables, and
of types that only annotations use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators, operator_string

STATEMENTS = (cst.BaseSmallStatement, cst.BaseCompoundStatement, cst.ExceptHandler, cst.MatchCase)
SWAPPED = (cst.Equal, cst.NotEqual, cst.Is, cst.IsNot, cst.In, cst.NotIn)
TYPING_CALLS = {"NewType", "ParamSpec", "TypeVar", "TypeVarTuple"}
SQL = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|WHERE|AND|ORDER BY|CREATE|PRAGMA)\b")
SQL_FAULTS = (
    (" >= ", " > "),
    (" > ", " >= "),
    (" <= ", " < "),
    (" < ", " <= "),
    (" = ", " != "),
    (" + ", " - "),
    (" AND ", " OR "),
    (" OR ", " AND "),
    (" IS NOT NULL", " IS NULL"),
    (" IS NULL", " IS NOT NULL"),
    (" NOT IN ", " IN "),
    (" DESC", ""),
    ("min(", "max("),
    ("max(", "min("),
)


class Mutant(NamedTuple):
    """One fault in one file."""

    file: str
    inside: str  # the function or class that it is in, by its qualified name; empty at the level of the module
    function: str  # the function in whose body it is, by its qualified name; empty if it is in none
    first_line: int  # of the statement that it is in
    last_line: int
    before: str  # the lines that differ, stripped
    after: str
    source: str  # the whole file with the fault in it

    def __str__(self) -> str:
        return f"{self.file}:{self.first_line} {self.before!r} -> {self.after!r}"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What stays the same as lines move."""
        return self.file, self.inside, self.before, self.after


def mutants_of(file: str, source: str, spared: Collection[str] = ()) -> Iterator[Mutant]:
    """Every fault to be tried in `source`, in its order, but in what the names in `spared` are given to."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    module = wrapper.module
    pieces = [module.code_for_node(statement) for statement in module.body]
    head = "".join(module.code_for_node(line) for line in module.header)
    for number, statement in enumerate(module.body):
        if _is_given_to(statement, spared):
            continue
        start, end = head + "".join(pieces[:number]), "".join(pieces[number + 1 :])
        tried = {pieces[number]}
        for place in _places_in(statement, wrapper):
            changed = module.code_for_node(statement.deep_replace(place.node, place.fault))
            if changed not in tried and _is_python(changed):
                tried.add(changed)
                before, after = _difference(pieces[number], changed)
                whole = start + changed + end
                yield Mutant(
                    file, place.inside, place.function, place.first_line, place.last_line, before, after, whole
                )


def _is_given_to(statement: cst.CSTNode, names: Collection[str]) -> bool:
    match statement:
        case cst.SimpleStatementLine(body=[cst.Assign(targets=[cst.AssignTarget(target=cst.Name(name))])]):
            return name in names
    return False


def _places_in(statement: cst.CSTNode, wrapper: MetadataWrapper) -> list[_Place]:
    places = _Places(wrapper.resolve(PositionProvider))
    statement.visit(places)
    return places.found


def _is_python(source: str) -> bool:
    try:
        compile(source, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


def _difference(source: str, changed: str) -> tuple[str, str]:
    old, new = source.splitlines(), changed.splitlines()
    start = next(
        (n for n, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), min(len(old), len(new))
    )
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    return _stripped(old[start : len(old) - end]), _stripped(new[start : len(new) - end])


def _stripped(lines: list[str]) -> str:
    return "\n".join(line.strip() for line in lines)


class _Place(NamedTuple):
    node: cst.CSTNode
    fault: cst.CSTNode
    inside: str
    function: str
    first_line: int
    last_line: int


class _Places(cst.CSTVisitor):
    def __init__(self, positions: Mapping[cst.CSTNode, CodeRange]) -> None:
        super().__init__()
        self.found: list[_Place] = []
        self._positions = positions
        self._names: list[str] = []
        self._function = ""
        self._words: cst.CSTNode | None = None  # of the assertion that this is in
        self._body: cst.CSTNode | None = None  # of the outermost function that this is in
        self._statements: list[tuple[int, int]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if _is_silent(node) or node is self._words:
            return False
        if isinstance(node, cst.Assert):
            self._words = node.msg
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self._names.append(node.name.value)
        if isinstance(node, cst.FunctionDef) and self._body is None:
            self._body = node.body
        if node is self._body:
            self._function = ".".join(self._names)
        if isinstance(node, STATEMENTS):
            self._statements.append(self._lines_of(node))
        for kind, faults in OPERATORS:
            if isinstance(node, kind):
                self.found += [self._place(node, fault) for fault in faults(node)]
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if _is_silent(original_node):
            return
        if original_node is self._body:
            self._function, self._body = "", None
        if isinstance(original_node, cst.FunctionDef | cst.ClassDef):
            self._names.pop()
        if isinstance(original_node, STATEMENTS):
            self._statements.pop()

    def _place(self, node: cst.CSTNode, fault: cst.CSTNode) -> _Place:
        return _Place(node, fault, ".".join(self._names), self._function, *self._statements[-1])

    def _lines_of(self, statement: cst.CSTNode) -> tuple[int, int]:
        """From the first to the last line of a statement, or of its head, if others stand in it."""
        where = self._positions[statement]
        body = getattr(statement, "body", None)
        if isinstance(body, cst.IndentedBlock):
            return where.start.line, max(where.start.line, self._positions[body.body[0]].start.line - 1)
        return where.start.line, where.end.line


def _is_silent(node: cst.CSTNode) -> bool:
    if isinstance(node, cst.Annotation | cst.Import | cst.ImportFrom):
        return True
    return (isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value in TYPING_CALLS) or (
        isinstance(node, cst.Assign) and _is_silent(node.value)
    )


def _string(node: cst.BaseString) -> Iterable[cst.CSTNode]:
    """Other words; in SQL, which does not mind upper and lower case, also other bounds."""
    if not isinstance(node, cst.SimpleString):
        return
    if SQL.search(node.value):
        yield from _sql(node, node.value)
    yield from list(operator_string(node))[:1]


def _text_in_f_string(node: cst.FormattedStringText) -> Iterable[cst.CSTNode]:
    if SQL.search(node.value):
        yield from _sql(node, node.value)
    yield node.with_changes(value=f"XX{node.value}XX")


def _sql(node: cst.CSTNode, text: str) -> Iterator[cst.CSTNode]:
    for old, new in SQL_FAULTS:
        for found in re.finditer(re.escape(old), text):
            yield node.with_changes(value=text[: found.start()] + new + text[found.end() :])


def _answer(node: cst.Return) -> Iterable[cst.CSTNode]:
    if node.value is not None and not _is_none(node.value):
        yield node.with_changes(value=cst.Name("None"))


def _nothing_done(node: cst.Expr | cst.Raise | cst.Del | cst.Assert) -> Iterable[cst.CSTNode]:
    if not isinstance(node, cst.Expr) or isinstance(node.value, cst.Call | cst.Await | cst.Yield):
        yield cst.Pass()


def _contrary(node: cst.If | cst.While | cst.CompIf) -> Iterable[cst.CSTNode]:
    """The condition negated, unless another fault comes to the same: `!=` for `==`, `not` removed."""
    test = node.test
    is_swapped = isinstance(test, cst.Comparison) and isinstance(test.comparisons[0].operator, SWAPPED)
    if not is_swapped and not isinstance(test, cst.UnaryOperation):
        parenthesised = test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), parenthesised))


def _slice(node: cst.Slice) -> Iterable[cst.CSTNode]:
    if node.lower is not None:
        yield node.with_changes(lower=None)
    if node.upper is not None:
        yield node.with_changes(upper=None)


def _narrower(node: cst.ExceptHandler) -> Iterable[cst.CSTNode]:
    """One kind of error less."""
    if isinstance(node.type, cst.Tuple):
        for n in range(len(node.type.elements)):
            rest = [*node.type.elements[:n], *node.type.elements[n + 1 :]]
            yield node.with_changes(type=node.type.with_changes(elements=_with_commas(rest)))


def _with_commas(elements: list[cst.BaseElement]) -> list[cst.BaseElement]:
    return [element.with_changes(comma=cst.Comma()) for element in elements]


def _is_none(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Name) and node.value == "None"


OPERATORS: list[tuple[type, Callable[[Any], Iterable[Any]]]] = [
    *((kind, operator) for kind, operator in mutation_operators if operator is not operator_string),
    (cst.BaseString, _string),
    (cst.FormattedStringText, _text_in_f_string),
    (cst.Return, _answer),
    (cst.Expr, _nothing_done),
    (cst.Raise, _nothing_done),
    (cst.Del, _nothing_done),
    (cst.If, _contrary),
    (cst.While, _contrary),
    (cst.CompIf, _contrary),
    (cst.Slice, _slice),
    (cst.ExceptHandler, _narrower),
]
