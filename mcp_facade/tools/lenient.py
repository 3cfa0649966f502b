"""Arguments as hosts write them, read as they mean them.

Some hosts send every value as text, some a number where text is due; some fill optional arguments with empty values,
add keys of their own, or write our names in camelCase. Each is understood here if it has one meaning. Text is never
parsed: a message `"true"` or `"1, 2"` stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

FOREIGN_KEYS_MAX = 32
"""Limit of keys that no tool has; each takes time, since it is compared with every name."""

NUMBER_CHARS_MAX = 32
EXACT_NUMBER_MAX = 2**53
"""Numbers beyond it may be changed on their way through a host, so they are no text."""

LONG_NAME_CHARS = 7
"""From this length on, a name with two wrong letters is recognised, else with one."""

KEY_CHARS_MAX = 64
KEYS_REMEMBERED = 512

NOTHING = ("null", "None", "undefined")
"""What hosts make of no value by writing it as text."""

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?", re.ASCII)
_SEPARATORS = re.compile("[,\n\u060c\u3001\uff0c]")  # a comma of Latin, Arabic, Chinese and Japanese script


class UnclearKeysError(Exception):
    """A key is close to `name`, an argument that is not given; without a name, there are too many keys."""

    def __init__(self, name: str | None) -> None:
        super().__init__()
        self.name = name


def understood(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return `arguments` under the names and in the types of a tool's input `schema`, where that is clear.

    The others stay as they are. Empty optional values, and keys of no argument, are left out.

    Raises:
        UnclearKeysError: a key is almost the name of an argument that is not given, or there are too many keys.
    """
    properties, required = schema["properties"], schema["required"]
    named = _named(properties, arguments)
    values = {name: _value(properties[name], value) for name, value in named.items()}
    due = [name for name in required if properties[name]["type"] == "string"]  # an empty text is a text
    return {
        name: value
        for name, value in values.items()
        if not (value is None or (value == "" and name not in due) or (value in NOTHING and _is_id(name, schema)))
    }


def _is_id(name: str, schema: Mapping[str, Any]) -> bool:
    """Return whether an argument is an optional text without a default: no id is `null`, though a name may be."""
    described = schema["properties"][name]
    return described["type"] == "string" and "default" not in described and name not in schema["required"]


def _named(properties: Mapping[str, Mapping[str, Any]], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values by the names of arguments.

    The exact name wins over another form of it, unless it holds nothing or the default, which some hosts fill in.
    """
    names = tuple(properties)
    foreign = [key for key in arguments if key not in names]
    if len(foreign) > FOREIGN_KEYS_MAX:
        raise UnclearKeysError(None)
    named = {}
    for key in foreign:
        name, near = _meant(names, key) if len(key) <= KEY_CHARS_MAX else (None, ())
        if name is not None:
            named[name] = arguments[key]
        elif candidates := [one for one in near if _is_filled_in(properties[one], arguments.get(one))]:
            raise UnclearKeysError(candidates[0])
    for name in names:
        if name in arguments and not (name in named and _is_filled_in(properties[name], arguments[name])):
            named[name] = arguments[name]
    return named


@lru_cache(KEYS_REMEMBERED)
def _meant(names: tuple[str, ...], key: str) -> tuple[str | None, tuple[str, ...]]:
    """Return the name that `key` is another form of; if there is none, the names of which it may be a misspelt one."""
    form = _form(key)
    for name in names:
        if form == _form(name):
            return name, ()
    near: dict[str, int] = {}
    for name in names:
        edits_max = 1 if len(_form(name)) < LONG_NAME_CHARS else 2
        edits = _edits(form, _form(name), edits_max)
        if edits <= edits_max:
            near[name] = edits
    return None, tuple(name for name, edits in near.items() if edits == min(near.values()))


def _form(name: str) -> str:
    """Return what `room_id`, `roomId`, `RoomID` and `room-id` have in common."""
    return name.replace("_", "").replace("-", "").lower()


def _edits(one: str, other: str, edits_max: int) -> int:
    """Return how many letters to insert, delete, change or swap make `one` into `other`; any more count as too many."""
    if abs(len(one) - len(other)) > edits_max:
        return edits_max + 1
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        row_edits = [row]
        for column, wanted in enumerate(other, 1):
            edits = min(last[column] + 1, row_edits[-1] + 1, last[column - 1] + (letter != wanted))
            if row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == wanted:
                edits = min(edits, before[column - 2] + 1)
            row_edits.append(edits)
        before, last = last, row_edits
    return last[-1]


def _value(described: Mapping[str, Any], value: Any) -> Any:
    kind = described["type"]
    if kind == "array":
        return _list(value)
    if "enum" in described:
        return _choice(described["enum"], value)
    return _text(value) if kind == "string" else _number(value)


def _is_filled_in(described: Mapping[str, Any], value: Any) -> bool:
    return value is None or value == "" or value == described.get("default")


def _text(value: Any) -> Any:
    """Return a number as the text it was before a host parsed it."""
    if type(value) is int or type(value) is float:
        return msgspec.json.encode(value).decode() if -EXACT_NUMBER_MAX <= value <= EXACT_NUMBER_MAX else value
    return value


def _choice(choices: Sequence[str], value: Any) -> Any:
    """Return the one of `choices` that a text is but for case and the spaces around it."""
    form = value.strip().lower() if isinstance(value, str) else None
    return form if form in choices else value


def _number(value: Any) -> Any:
    return number_in(value) if isinstance(value, str) else value


def number_in(value: str) -> float | str | None:
    """Return the number that a text holds, in the form of JSON; `None` for no number, and other texts as they are."""
    text = value.strip()
    if text == "" or text in NOTHING:
        return None
    if len(text) > NUMBER_CHARS_MAX or not (found := _NUMBER.fullmatch(text)):
        return value
    return float(text) if found[2] or found[3] else int(text)


def _list(value: Any) -> Any:
    """Return the list that a text holds, as JSON or with commas; a single text or number is a list of one."""
    if isinstance(value, str):
        text = value.strip()
        if text == "" or text in NOTHING:
            return None
        is_json = text.startswith(("[", "{"))
        value = _json(text) if is_json else [part for part in _SEPARATORS.split(text) if part.strip()]
    elif type(value) is int or type(value) is float:
        value = [value]
    return [_text(item) for item in value if item is not None] if isinstance(value, list) else value


def _json(text: str) -> Any:
    """Return the list that `text` is in JSON; else `text`, which is none."""
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return text
