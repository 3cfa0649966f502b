"""A fault put into a function that is there already: its code is replaced, and all else stays as it was imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any


def swap(module: str, function: str, source: str) -> bool:
    """Give `function` of `module`, by its qualified name, the code that it has in `source`.

    False, and nothing is changed, where that can't be done, as for a function that is nowhere to be found.
    """
    found = _function(sys.modules[module], function)
    code = next((each for each in _codes(compile(source, module, "exec")) if each.co_qualname == function), None)
    if found is None or code is None or code.co_freevars != found.__code__.co_freevars:
        return False
    found.__code__ = code
    return True


def _function(holder: Any, name: str) -> FunctionType | None:
    """What its decorators have left of it holds the function itself."""
    for part in name.split("."):
        holder = vars(holder).get(part)
        holder = getattr(holder, "fget", None) or getattr(holder, "__func__", holder)
        while hasattr(holder, "__wrapped__"):
            holder = holder.__wrapped__
    return holder if isinstance(holder, FunctionType) else None


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)
