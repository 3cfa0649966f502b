"""The branches of a matching that never ran, over all examples of a run.

A call is traced instruction by instruction: for each condition in the matching's file it is noted which way it went. So
conditions inside a line count too. Nothing else of the program is slowed down.
"""

from __future__ import annotations

import ast
import dis
import functools
import inspect
import linecache
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FrameType
from typing import Any, NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

Steps = set[tuple[int, int]]
"""Offsets of instructions that ran one after the other."""

_ENTRY = -1
"""The offset before the first instruction of a frame."""

_TRUE, _FALSE, _NONE, _NOT_NONE = "was never true", "was never false", "was never None", "was always None"
_BODY, _END = "never had anything to go through", "never came to its end"


class UntriedBranchWarning(UserWarning):
    """A branch of a matching never ran, so nothing is known about it."""


class BranchLog:
    """Which way each condition in the file of `function` went, in all calls so far."""

    def __init__(self, function: Callable[..., object]) -> None:
        """Note nothing of a function that is not written in Python."""
        while isinstance(function, functools.partial):
            function = function.func
        code = getattr(inspect.unwrap(function), "__code__", None) or getattr(type(function).__call__, "__code__", None)
        self._file: str | None = code.co_filename if code is not None else None
        self._steps: dict[CodeType, Steps] = {}

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` and note its branches. Another tracer, such as a debugger's, sees nothing of this call."""
        previous, here = sys.gettrace(), inspect.currentframe()
        assert here is not None
        here.f_trace_opcodes = True  # Python 3.12 looks whether any frame wants this when the tracer is set
        sys.settrace(self._enter)
        try:
            return function(*args, **kwargs)
        finally:
            sys.settrace(previous)

    def untried(self) -> list[str]:
        """Return a line for each branch that never ran though its condition was reached, in the order of the source."""
        source = linecache.getlines(self._file) if self._file is not None else []
        if not source:
            return []
        conditions = _Conditions(source)
        for code, steps in self._steps.items():
            conditions.add(code, steps)
        return [f"{self._file}:{line}: {what}" for line, what in conditions.untried()]

    def _enter(self, frame: FrameType, event: str, arg: object) -> Callable[[FrameType, str, object], Any] | None:
        if frame.f_code.co_filename != self._file:
            return None
        steps, last = self._steps.setdefault(frame.f_code, set()), _ENTRY

        def step(frame: FrameType, event: str, arg: object) -> Callable[[FrameType, str, object], Any]:
            nonlocal last
            if event == "opcode":
                steps.add((last, frame.f_lasti))
                last = frame.f_lasti
            return step

        frame.f_trace = step  # Python 3.13 ignores the next line without it
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return step


class _Place(NamedTuple):
    """A part of the source; columns count the bytes of UTF-8."""

    line: int
    column: int
    end_line: int
    end_column: int


class _Conditions:
    """The conditions of one file, and the ways that they went."""

    def __init__(self, source: list[str]) -> None:
        self._source = source
        self._nodes = [*ast.walk(ast.parse("".join(source)))]
        self._ran: set[int] = set()  # lines
        self._possible: dict[_Place, set[str]] = defaultdict(set)
        self._happened: dict[_Place, set[str]] = defaultdict(set)
        self._loops = dict(_loops(self._nodes))
        self._unasked = {line for node in self._nodes for line in _unasked_lines(node)}

    def add(self, code: CodeType, steps: Steps) -> None:
        """Add the conditions of `code` that were reached."""
        instructions = [*dis.get_instructions(code)]
        number_at = _numbers(instructions)
        after: dict[int, set[int]] = defaultdict(set)
        for last, offset in steps:
            self._ran.add(_line_of(instructions[number_at[offset]]))
            if last != _ENTRY and number_at[last] != number_at[offset]:
                after[number_at[last]].add(number_at[offset])
        for number, instruction in enumerate(instructions):
            ways, place = _ways(instruction.opname), self._place_of_condition(instructions, number)
            if ways is None or place is None or not after[number]:
                continue
            went_on = after[number] & _following(instructions, number)
            self._happened[place] |= {ways[0]} if went_on else set()
            self._happened[place] |= {ways[1]} if after[number] - went_on else set()
            is_partial = code.co_flags & inspect.CO_GENERATOR  # whoever reads a generator need not read all of it
            self._possible[place] |= {way for way in ways if not (is_partial and way == _END)}

    def untried(self) -> list[tuple[int, str]]:
        """Return the line of each branch that never ran, and what never happened there."""
        found = [
            (place.line, f"`{self._text(place)}` {way}")
            for place, ways in self._possible.items()
            for way in ways - self._happened[place]
            if place.line not in self._unasked
        ]
        return sorted([*found, *self._untried_handlers()])

    def _untried_handlers(self) -> Iterator[tuple[int, str]]:
        """Yield each `except` that never ran, of a `try` that ran."""
        for node in self._nodes:
            if isinstance(node, ast.Try) and node.body[0].lineno in self._ran:
                for handler in node.handlers:
                    if not self._ran.intersection(range(handler.body[0].lineno, (handler.end_lineno or 0) + 1)):
                        yield handler.lineno, f"`{self._source[handler.lineno - 1].strip()}` never ran"

    def _place_of_condition(self, instructions: list[dis.Instruction], number: int) -> _Place | None:
        """Return the place of the value that a jump depends on: that of the instruction before, which makes it."""
        if instructions[number].opname == "FOR_ITER":
            place = _place_in(instructions[number])
            return self._loops.get(place, place) if place is not None else None
        makers = (
            one for one in reversed(instructions[:number]) if one.opname not in ("COPY", "TO_BOOL", "EXTENDED_ARG")
        )
        maker = next(makers, None)
        return _place_in(maker) if maker is not None else None

    def _text(self, place: _Place) -> str:
        line = self._source[place.line - 1]
        if place.line != place.end_line:
            return line.strip()
        return line.encode()[place.column : place.end_column].decode()


def _place_of(node: ast.expr | ast.stmt) -> _Place:
    return _Place(node.lineno, node.col_offset, node.end_lineno or node.lineno, node.end_col_offset or 0)


def _loops(nodes: list[ast.AST]) -> Iterator[tuple[_Place, _Place]]:
    """Yield the place of each loop, and of what it goes through."""
    for node in nodes:
        if isinstance(node, ast.For):
            yield _place_of(node), _place_of(node.iter)
        elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            yield _place_of(node), _place_of(node.generators[0].iter)


def _unasked_lines(node: ast.AST) -> Iterable[int]:
    """Return the lines of conditions that are no branches: of assertions, and of the kinds of errors to handle."""
    if isinstance(node, ast.Assert):
        return range(node.lineno, (node.end_lineno or node.lineno) + 1)
    if isinstance(node, ast.ExceptHandler):
        return range(node.lineno, node.body[0].lineno)
    return ()


def _place_in(instruction: dis.Instruction) -> _Place | None:
    """Return the part of the source that `instruction` was made from, if it was made from any."""
    at = instruction.positions
    if at is None or at.lineno is None or at.col_offset is None:
        return None
    return _Place(at.lineno, at.col_offset, at.end_lineno or at.lineno, at.end_col_offset or 0)


def _line_of(instruction: dis.Instruction) -> int:
    return (instruction.positions.lineno if instruction.positions is not None else None) or 0


def _numbers(instructions: list[dis.Instruction]) -> dict[int, int]:
    """Return the number of the instruction at each offset; a prefix belongs to the instruction after it."""
    number_at: dict[int, int] = {}
    prefixes: list[int] = []
    for number, instruction in enumerate(instructions):
        prefixes.append(instruction.offset)
        if instruction.opname != "EXTENDED_ARG":
            number_at.update(dict.fromkeys(prefixes, number))
            prefixes.clear()
    return number_at


def _following(instructions: list[dis.Instruction], number: int) -> set[int]:
    """Return the numbers of the instructions at which a jump that is not taken goes on."""
    following = {number + 1}
    while instructions[max(following)].opname in ("EXTENDED_ARG", "NOT_TAKEN"):  # a prefix; a mark of Python 3.14
        following.add(max(following) + 1)
    return following


def _ways(name: str) -> tuple[str, str] | None:
    """Return what is missing if a conditional jump never goes on, and if it never jumps; `None` for another one."""
    if name == "FOR_ITER":
        return _BODY, _END
    if "JUMP" not in name or "_IF_" not in name:
        return None
    if "NONE" in name:
        return (_NONE, _NOT_NONE) if "NOT_NONE" in name else (_NOT_NONE, _NONE)
    return (_TRUE, _FALSE) if "FALSE" in name else (_FALSE, _TRUE)
