"""Every branch of a function without a run is found, and no other."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from broker.testing.branches import BranchLog


def untried(tmp_path: Path, source: str, *calls: tuple[Any, ...]) -> list[str]:
    """Return the report about `f` in `source` after `calls` of it."""
    path = tmp_path / "module.py"
    path.write_text(dedent(source))
    linecache.checkcache(str(path))
    names: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), names)
    log = BranchLog(names["f"])
    for arguments in calls:
        try:
            log.call(names["f"], *arguments)
        except ValueError:
            continue
    return [line.removeprefix(f"{path}:") for line in log.untried()]


IF = """
    def f(n):
        if n > 2:
            return "many"
        elif n == 1:
            return "one"
        return "few"
"""

TRY = """
def f(n):
    try:
        if n:
            raise ValueError
    except ValueError:
        return 1
"""
CALLABLE = """
class F:
    def __call__(self, n):
        return 1 if n else 2
f = F()
"""


def test_a_condition_has_two_ways(tmp_path: Path) -> None:
    """Each way of a condition must occur once; a condition that was never reached is not named."""
    assert untried(tmp_path, IF, (3,)) == ["3: `n > 2` was never false"]
    assert untried(tmp_path, IF, (0,)) == ["3: `n > 2` was never true", "5: `n == 1` was never true"]
    assert untried(tmp_path, IF, (3,), (1,), (0,)) == []
    assert untried(tmp_path, IF) == []


@pytest.mark.parametrize(
    ("source", "calls", "found"),
    [
        ("def f(n): return 'a' if n else 'b'", [(1,)], ["1: `n` was never false"]),
        ("def f(a, b): return a or b", [(0, 1)], ["1: `a` was never true"]),
        ("def f(a, b, c): return a and b and c", [(1, 0, 1)], ["1: `a` was never false", "1: `b` was never true"]),
        ("def f(a, b):\n    if a and b:\n        return 1", [(1, 1), (0, 1)], ["2: `b` was never false"]),
        ("def f(n):\n    if n is None:\n        return 1", [(1,)], ["2: `n` was never None"]),
        ("def f(n):\n    if n is not None:\n        return 1", [(1,)], ["2: `n` was never None"]),
        ("def f(n): return [i for i in n if i > 1]", [([1],)], ["1: `i > 1` was never true"]),
        ("def f(n): return [i for i in n]", [([],)], ["1: `n` never had anything to go through"]),
        ("def f(n):\n    for i in n:\n        return i\n    return 0", [([1],)], ["2: `n` never came to its end"]),
        ("def f(n): return next(i for i in n)", [([1],)], []),
        ("def f(n):\n    while n:\n        n -= 1", [(1,)], []),
        ("def f(n):\n    while n:\n        n -= 1", [(0,)], ["2: `n` was never true"]),
        ("def f(n):\n    assert n, 'n'\n    assert n and n", [(1,)], []),
        ("def f(n):\n    if not n:\n        return 1", [(0,)], ["2: `n` was never true"]),
        ("def f(ä):\n    return 'ö' if 'ü' in ä else 'é'", [("ü",)], ["2: `'ü' in ä` was never false"]),
        ("def f(n):\n    if (n\n            > 1):\n        return 1", [(1,)], ["2: `if (n` was never true"]),
        (
            TRY,
            [(0,)],
            ["4: `n` was never true", "6: `except ValueError:` never ran"],
        ),
        (
            TRY,
            [(0,), (1,)],
            [],
        ),
        ("def g(n):\n    return 1 if n else 2\ndef f(n):\n    return g(n)", [(0,)], ["2: `n` was never true"]),
        ("def f(n):\n    match n:\n        case 1:\n            return 1", [(1,)], ["3: `1` was never false"]),
        (
            CALLABLE,
            [(1,)],
            ["4: `n` was never false"],
        ),
    ],
)
def test_every_kind_of_branch_is_known(
    source: str, calls: list[tuple[Any, ...]], found: list[str], tmp_path: Path
) -> None:
    """Statements, parts of a line, loops and handlers, in the function and in others of its file."""
    assert untried(tmp_path, source, *calls) == found


def test_a_long_function_is_no_different(tmp_path: Path) -> None:
    """Its jumps need a prefix."""
    middle = "\n".join(f"        n = n + {number} * n - len(str(n)) * {number}" for number in range(200))
    source = f"def f(n):\n    if n > 5:\n{middle}\n    if n < -10**9:\n        return 0\n    return n"
    assert untried(tmp_path, source, (1,)) == ["2: `n > 5` was never true", "203: `n < -10**9` was never true"]
    assert untried(tmp_path, source, (6,))[0] == "2: `n > 5` was never false"


def test_what_has_no_source_has_no_branches() -> None:
    """A function written in C and one typed in have no source, and so no branches."""
    names: dict[str, Callable[[int], int]] = {}
    exec("def f(n): return 1 if n else 2", names)
    for function in (max, names["f"]):
        log = BranchLog(function)
        assert log.call(function, 1, *([2] if function is max else [])) in (1, 2)
        assert log.untried() == []


def test_another_tracer_goes_on_afterwards() -> None:
    """Such as a debugger's."""
    seen: list[str] = []

    def tracer(frame: object, event: str, arg: object) -> None:
        seen.append(event)

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        BranchLog(len).call(len, [])
        during = sys.gettrace()
    finally:
        sys.settrace(before)
    assert during is tracer
