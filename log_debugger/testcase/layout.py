"""Python expressions laid out over lines, so that `ruff format` and black leave them as they are.

What does not fit on a line has each of its parts on a line of its own and a comma behind the last, which keeps it so
whatever length of a line a reader prefers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from events.policy import Policy

LINE_MAX = 88
"""The default of both formatters."""

_INDENT = "    "


class Bracket(NamedTuple):
    """Parts between brackets; `Bracket("f(", ...)` is a call."""

    opening: str
    parts: Sequence[Part]
    closing: str
    is_open: bool = False
    """Whether each part has a line of its own, also where all of it would fit on one."""


class Keyword(NamedTuple):
    """`name=value`."""

    name: str
    value: str | Bracket


Part = str | Bracket | Keyword
"""Text that stands on a line as it is, or what can be laid out."""


def laid_out(part: Part, before: str = "", after: str = "", indent: int = 0) -> list[str]:
    """`before`, `part` and `after` as lines, at `indent` levels."""
    start = _INDENT * indent + before
    whole = f"{start}{_joined(part)}{after}"
    inner = part.value if isinstance(part, Keyword) else part
    if isinstance(inner, str) or not inner.parts or (len(whole) <= LINE_MAX and not inner.is_open):
        return [whole]
    name = f"{part.name}=" if isinstance(part, Keyword) else ""
    lines = [line for one in inner.parts for line in laid_out(one, "", ",", indent + 1)]
    return [f"{start}{name}{inner.opening}", *lines, f"{_INDENT * indent}{inner.closing.lstrip(',')}{after}"]


def literal(value: Any) -> str | Bracket:
    """A command, an event or a value in one as the expression that makes it."""
    if isinstance(value, Policy):
        return Bracket("Policy(", [Keyword(n, literal(getattr(value, n))) for n in _other_than_default(value)], ")")
    if isinstance(value, msgspec.Struct):
        fields = [(name, literal(getattr(value, name))) for name in value.__struct_fields__]
        parts: list[Part] = [Keyword(name, part) if name in _NAMED else part for name, part in fields]
        return Bracket(f"{type(value).__name__}(", parts, ")")
    if isinstance(value, tuple | list):
        opening, closing = "[]" if isinstance(value, list) else "()"
        parts = [literal(one) for one in value]
        return Bracket(opening, parts, ",)" if isinstance(value, tuple) and len(value) == 1 else closing)
    return _quoted(value) if isinstance(value, str) else _digits(value)


_NAMED = frozenset({"client_message_id", "retry_after_ms", "since"})
"""Fields whose values would not say what they are."""


def _joined(part: Part) -> str:
    if isinstance(part, Keyword):
        return f"{part.name}={_joined(part.value)}"
    if isinstance(part, Bracket):
        return f"{part.opening}{', '.join(_joined(one) for one in part.parts)}{part.closing}"
    return part


def _other_than_default(policy: Policy) -> list[str]:
    default = Policy()
    return [name for name in policy.__struct_fields__ if getattr(policy, name) != getattr(default, name)]


def _quoted(text: str) -> str:
    return json.dumps(text).replace("\x7f", "\\x7f")


def _digits(value: object) -> str:
    return f"{value:_}" if isinstance(value, int) and value >= 10_000 else repr(value)
