"""Calls of a matching that a decision must not depend on: of clocks, of random numbers, of files.

Its answers may be the same in every run of a test, and others in production or when a log is checked.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from datetime import date
from types import FrameType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_CLOCKS = frozenset({"clock_gettime", "clock_gettime_ns", "monotonic", "monotonic_ns", "perf_counter"})
_CLOCKS |= {"perf_counter_ns", "process_time", "process_time_ns", "sleep", "time", "time_ns"}

_OF_DATES = frozenset({"now", "today", "utcnow"})

_OF_SYSTEM = frozenset({"getrandom", "open", "urandom"})

_SHARED_RANDOM: object = random.random.__self__  # type: ignore[attr-defined]
"""The generator behind the functions of `random`; one with a seed of its own is pure."""

_UNASKED = frozenset({"_pytest", "coverage", "hypothesis", "importlib", "logging", "structlog", "warnings"})
"""Packages whose calls don't make an answer: they note it, or test it."""


def impure_calls(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T, list[str]]:
    """Call `function`; return its result and its impure calls, each with what to do in its place."""
    found: dict[str, None] = {}

    def watch(frame: FrameType, event: str, called: object) -> None:
        if event == "c_call" and (what := _impure(called)) is not None and not _is_unasked(frame):
            found[what] = None

    previous = sys.getprofile()
    sys.setprofile(watch)
    try:
        return function(*args, **kwargs), [*found]
    finally:
        sys.setprofile(previous)


def _impure(called: object) -> str | None:
    """Return what is wrong with a call of `called`, a function written in C."""
    name, owner = getattr(called, "__name__", ""), getattr(called, "__self__", None)
    module = getattr(called, "__module__", None)
    if module == "time" and name in _CLOCKS:
        return f"calls time.{name}(); the time is at_ms"
    if isinstance(owner, type) and issubclass(owner, date) and name in _OF_DATES:
        return f"calls {owner.__name__}.{name}(); the time is at_ms"
    if owner is _SHARED_RANDOM:
        return "draws from the module random; draw from random.Random(seed), with a seed from its arguments"
    if module in ("_io", "io", "nt", "posix") and name in _OF_SYSTEM:
        return f"calls {name}(); what it reads belongs where its module is imported"
    return None


def _is_unasked(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code is not impure_calls.__code__:
        if str(frame.f_globals.get("__name__")).partition(".")[0] in _UNASKED:
            return True
        frame = frame.f_back
    return False
