"""Content of a log as text that is safe for a terminal, whatever a stranger typed or an altered log holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from events.policy import Policy

TEXT_CHARACTERS_MAX = 60

_DEFAULT_POLICY = Policy()


def safe_repr(value: Any) -> str:
    """Return a value of a command or an event as a Python expression; long texts are cut."""
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
    """Return `text`, mostly our own, with U+FFFD in place of every unprintable character."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def diff(stored: Sequence[Any], decided: Sequence[Any]) -> list[str]:
    """Return stored and decided values, one a line: `-` is stored only, `+` is decided only, others are both."""
    lines = [f"  {safe_repr(one)}" if one in decided else f"- {safe_repr(one)}" for one in stored]
    return [*lines, *(f"+ {safe_repr(one)}" for one in decided if one not in stored)]


def printable(text: str) -> str:
    """Return `text` as a quoted JSON string on one line, without unprintable characters."""
    escaped = "".join(
        one if one.isprintable() else _escaped(one) for one in text.replace("\\", "\\\\").replace('"', '\\"')
    )
    return f'"{escaped}"'


def _escaped(one: str) -> str:
    short = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(one)
    return short if short is not None else json_escape(one)


def json_escape(one: str) -> str:
    """Return a character of any plane as a JSON escape."""
    units = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[n]:02x}{units[n + 1]:02x}" for n in range(0, len(units), 2))
