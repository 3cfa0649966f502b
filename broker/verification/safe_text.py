"""What a log holds, as words that are safe for a terminal, whatever a stranger typed or an altered log says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from events.policy import Policy

TEXT_CHARACTERS_MAX = 60

_DEFAULT_POLICY = Policy()


def safe_repr(value: Any) -> str:
    """`value`, which stands in a command or an event, as an expression in Python; long texts are cut."""
    if isinstance(value, str):
        return printable(value if len(value) <= TEXT_CHARACTERS_MAX else f"{value[:TEXT_CHARACTERS_MAX]}...")
    if isinstance(value, tuple):
        return f"({', '.join(safe_repr(item) for item in value)}{',' if len(value) == 1 else ''})"
    if isinstance(value, Policy):
        changed = [name for name in value.__struct_fields__ if getattr(value, name) != getattr(_DEFAULT_POLICY, name)]
        return f"Policy({', '.join(f'{name}={safe_repr(getattr(value, name))}' for name in changed)})"
    if isinstance(value, msgspec.Struct):
        fields = ((name, getattr(value, name)) for name in value.__struct_fields__)
        return f"{type(value).__name__}({', '.join(f'{name}={safe_repr(field)}' for name, field in fields)})"
    return repr(value)


def safe(text: str) -> str:
    """`text`, which is mostly ours, with a mark in the place of whatever a terminal would obey."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def diff(stored: Sequence[Any], decided: Sequence[Any]) -> list[str]:
    """What is stored and what should be, one a line: `-` is stored alone, `+` decided alone, and the rest is both."""
    lines = [f"  {safe_repr(one)}" if one in decided else f"- {safe_repr(one)}" for one in stored]
    return [*lines, *(f"+ {safe_repr(one)}" for one in decided if one not in stored)]


def printable(text: str) -> str:
    """`text` in quotes on one line, as a JSON string, and nothing in it that a terminal would obey."""
    escaped = "".join(
        one if one.isprintable() else _escaped(one) for one in text.replace("\\", "\\\\").replace('"', '\\"')
    )
    return f'"{escaped}"'


def _escaped(one: str) -> str:
    short = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(one)
    return short if short is not None else json_escape(one)


def json_escape(one: str) -> str:
    """A character as JSON writes one that it does not want to show, of whatever plane."""
    units = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[n]:02x}{units[n + 1]:02x}" for n in range(0, len(units), 2))
