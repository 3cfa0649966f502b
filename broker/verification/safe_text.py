"""Content of a log as text safe for a terminal, for any input of a stranger and any altered log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

TEXT_CHARACTERS_MAX = 60


def safe_repr(value: Any) -> str:
    """Return a value of a command or an event as a Python expression, without defaults; long texts are cut."""
    if isinstance(value, str):
        return printable(value if len(value) <= TEXT_CHARACTERS_MAX else f"{value[:TEXT_CHARACTERS_MAX]}...")
    if isinstance(value, tuple):
        return f"({', '.join(safe_repr(item) for item in value)}{',' if len(value) == 1 else ''})"
    if isinstance(value, msgspec.Struct):
        fields, defaults = msgspec.structs.asdict(value), default_values(value)
        given = [f"{name}={safe_repr(field)}" for name, field in fields.items() if (name, field) not in defaults]
        return f"{type(value).__name__}({', '.join(given)})"
    return repr(value)


def default_values(value: msgspec.Struct) -> list[tuple[str, Any]]:
    """Return the fields of a struct that have a default, with it."""
    names, defaults = value.__struct_fields__, value.__struct_defaults__
    return [*zip(names[len(names) - len(defaults) :], defaults, strict=True)]


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
