"""Tables of numbers, and their encoding for the page."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Iterable, Sequence
from itertools import pairwise

_WIDTHS = {"B": (0, 2**8 - 1), "H": (0, 2**16 - 1), "i": (-(2**31), 2**31 - 1)}


def packed(values: Sequence[int]) -> str:
    """Return `values` in base64, least byte first, at the smallest sufficient width; a prefix names the width.

    `B` and `H` are unsigned of 1 and 2 bytes, `i` is signed of 4, `d` is a double.
    """
    low, high = min(values, default=0), max(values, default=0)
    width = next((width for width, (least, most) in _WIDTHS.items() if least <= low and high <= most), "d")
    column = array(width, values)
    if sys.byteorder == "big":
        column.byteswap()
    return width + base64.b64encode(column.tobytes()).decode()


def ascending(values: Sequence[int]) -> str:
    """Return the differences between successive `values`, as `packed`, with the prefix `+`."""
    return "+" + packed([after - before for before, after in pairwise((0, *values))])


class StringTable:
    """Texts numbered from 1 on, in order of first use."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str | None) -> int:
        """Return the number of `text`, adding it if it is new; 0 for `None`."""
        if text is None:
            return 0
        number = self._numbers.setdefault(text, len(self.texts) + 1)
        if number > len(self.texts):
            self.texts.append(text)
        return number

    def known(self, text: str | None) -> int:
        """Return the number of `text`; 0 if it has none."""
        return self._numbers.get(text, 0) if text is not None else 0


class Table:
    """Columns of equal length; subclasses name them."""

    columns: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._of = {name: list[int]() for name in self.columns}

    def __len__(self) -> int:
        return len(self._of[self.columns[0]])

    def __getitem__(self, name: str) -> list[int]:
        return self._of[name]

    def add(self, *values: int) -> int:
        """Append a row; return its number, from 1 on."""
        for column, value in zip(self._of.values(), values, strict=True):
            column.append(value)
        return len(self)

    def packed(self, rising: Iterable[str] = ()) -> dict[str, str]:
        """Return the columns by name; the ones in `rising` as `ascending`."""
        return {name: (ascending if name in rising else packed)(column) for name, column in self._of.items()}


class SparseColumn:
    """Values that few commits have, with their moments."""

    def __init__(self) -> None:
        self.moments: list[int] = []
        self.values: list[object] = []

    def add(self, moment: int, value: object) -> None:
        """Set the value of the commit at `moment`."""
        self.moments.append(moment)
        self.values.append(value)

    def packed(self) -> dict[str, object]:
        """Return both columns."""
        return {"moment": ascending(self.moments), "value": self.values}
