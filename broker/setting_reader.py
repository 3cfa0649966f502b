"""Reading settings: the value of each is checked, and an invalid one is refused in one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, get_args

import msgspec

from broker.addresses import PORT_MAX
from broker.errors import UsageError
from broker.flags import EXPECTED, FLAGS, NOT_SET, field_of, variable_of
from events.policy import MatchingName, is_own_matching

DIGITS_MAX = 15

UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")


def parse_duration(text: str) -> int | None:
    """Return the duration `text` in milliseconds; `None` if it is no duration, or is zero."""
    found = _DURATION.fullmatch(text)
    return (int(found[1]) * UNITS_MS[found[2]] or None) if found else None


def whole_number(text: str) -> int | None:
    """Return the number that `text` is; `None` if it is none, or too long to be one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else None


class SettingReader:
    """Reads a flag, else its variable, else its default."""

    def __init__(self, given: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self._given = given
        self._environment = environment

    def text(self, flag: str) -> str:
        """Return the text of `flag`."""
        given: str | None = self._given[field_of(flag)]
        return given if given is not None else self._environment.get(variable_of(flag), FLAGS[flag][0])

    def switch(self, flag: str) -> bool:
        """Return whether the flag is given or its variable is 1. An inherited variable is turned off by 0 or empty."""
        given: bool = self._given[field_of(flag)]
        variable = self._environment.get(variable_of(flag), "")
        if variable not in ("", "0", "1"):
            raise UsageError(f"{variable_of(flag)} is 1 or 0")
        return given or variable == "1"

    def texts(self, flag: str) -> tuple[str, ...]:
        """Return the texts of a flag that may be repeated."""
        given: list[str] | None = self._given[field_of(flag)]
        variable = self._environment.get(variable_of(flag), "")
        return tuple(given if given is not None else filter(None, map(str.strip, variable.split(","))))

    def parsed(self, flag: str, parse: Callable[[str], object | None]) -> tuple[str, ...]:
        """Return the texts of `flag` in small letters; `parse` returns `None` for one that is invalid."""
        texts = self.texts(flag)
        if any(parse(text) is None for text in texts):
            raise UsageError(f"--{flag} ({variable_of(flag)}) takes {EXPECTED[flag]}")
        return tuple(text.lower() for text in texts)

    def optional(self, flag: str, is_valid: Callable[[str], bool]) -> str | None:
        """Return the text of `flag` as it is given; `None` if it is not set."""
        text = self.text(flag)
        if text == NOT_SET:
            return None
        if not is_valid(text):
            raise UsageError(f"--{flag} ({variable_of(flag)}) takes {EXPECTED[flag]}, or {NOT_SET}")
        return text

    def one_of(self, flag: str, names: Any) -> Any:
        """Return the text of `flag`, which is one of the literal type `names`."""
        try:
            return msgspec.convert(self.text(flag), names)
        except msgspec.ValidationError:
            *others, last = get_args(names)
            raise UsageError(f"--{flag} ({variable_of(flag)}) is {', '.join(others)} or {last}") from None

    def matching(self) -> str:
        """Return the name of a matching: one of `MatchingName`, or an operator's own."""
        name = self.text("matching")
        if name not in get_args(MatchingName) and not is_own_matching(name):
            known = ", ".join(get_args(MatchingName))
            raise UsageError(f"--matching ({variable_of('matching')}) is {known}, or package.module:function")
        return name

    def is_given(self, flag: str) -> bool:
        """Return whether `flag` or its variable is set."""
        return self._given[field_of(flag)] is not None or variable_of(flag) in self._environment

    def duration_ms(self, flag: str) -> int | None:
        """Return the duration of `flag`; `None` for its default, which is none."""
        text = self.text(flag)
        duration_ms = parse_duration(text)
        if duration_ms is None and text != FLAGS[flag][0]:
            raise UsageError(f"--{flag} ({variable_of(flag)}) is a time like 7d, 12h, 30m or 90s, or {FLAGS[flag][0]}")
        return duration_ms

    def number(self, name: str, default: int, least: int = 1) -> int:
        """Return the number of a limit, `least` or more."""
        given: str | None = self._given[field_of(name)]
        text = given if given is not None else self._environment.get(variable_of(name))
        if text is None:
            return default
        number = whole_number(text)
        if number is None or number < least:
            flag = f"--{name.replace('_', '-')} ({variable_of(name)})"
            raise UsageError(f"{flag} must be a whole number of at least {least}")
        return number

    def port(self, flag: str, least: int = 0) -> int:
        """Return the port of `flag`, `least` or more."""
        port = whole_number(self.text(flag))
        if port is None or not least <= port <= PORT_MAX:
            raise UsageError(f"--{flag} ({variable_of(flag)}) must be a whole number from {least} to {PORT_MAX}")
        return port

    def optional_port(self, flag: str) -> int | None:
        """Return the port of `flag`; `None` if it is not set."""
        return None if self.text(flag) == NOT_SET else self.port(flag, least=1)
