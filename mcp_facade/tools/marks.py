"""Combining marks: normalised in linear time, and at most a few on one character.

Sources: UAX #15 for the normal form; UTS #39, section 5.4, for piles of marks.
"""

from __future__ import annotations

import re
from itertools import groupby
from unicodedata import category, combining, normalize

from mcp_facade.tools.character_sets import MARKS, for_class

NONSPACING_MARKS_MAX = 4  # UTS #39; Burmese needs all four, and elsewhere more is only ever a pile
MARKS_MAX = 6  # with those that take room of their own; Burmese needs five

_LONG_RUN = re.compile(r"\W{32,}")  # every combining mark is \W
_PILE = re.compile(r"[^\w\s!-~][^\w\s!-~]{4,}")  # has any run of more marks than NONSPACING_MARKS_MAX
_PILE_OF_COMMON = re.compile(rf"[{for_class(MARKS)}]{{{NONSPACING_MARKS_MAX + 1}}}")
_JOINERS = "\u200c\u200d"
_TALL = (
    (re.compile(r"[\u0f40-\u0f6c]"), 8),  # Tibetan: seven subjoined letters and a sign, in one word of a mantra
    (re.compile(r"[\u05d0-\u05f2\ufb1d-\ufb4f\u1a20-\u1a54]"), 6),  # Hebrew with vowels and accents, Tai Tham
)


def nfc(text: str) -> str:
    """Return `text` in NFC, in linear time: CPython's sorting of marks is quadratic in the length of a run of them."""
    return normalize("NFC", _LONG_RUN.sub(_in_canonical_order, text))


def may_have_piled_marks(text: str) -> bool:
    """Return whether `text` has a run of more than a few marks below U+10000; it is a fast check."""
    return _PILE_OF_COMMON.search(text) is not None


def without_piled_marks(text: str) -> str:
    """Return `text`, in NFC, without the marks beyond a few on one character; the result is in NFC too.

    `NONSPACING_MARKS_MAX` without a width and `MARKS_MAX` in all stay; a few more on a Tibetan, a Hebrew and a Tai Tham
    letter.
    """
    return _PILE.sub(_without_pile, text)


def is_mark(char: str) -> bool:
    """Return whether `char` is a combining mark."""
    return category(char)[0] == "M"


def _in_canonical_order(run: re.Match[str]) -> str:
    decomposed = "".join(normalize("NFD", char) for char in run[0])
    stretches = groupby(decomposed, key=lambda char: combining(char) != 0)
    return "".join(char for _, stretch in stretches for char in sorted(stretch, key=combining))


def _without_pile(run: re.Match[str]) -> str:
    kept = []
    nonspacing_max = _nonspacing_marks_max(run.string[max(run.start() - 1, 0) : run.start()])
    nonspacing = marks = 0
    for char in run[0]:
        kind = category(char)
        if kind[0] == "M":
            nonspacing += kind != "Mc"
            marks += 1
            # Once one is dropped so are the rest, or one could slip into its place and combine with the letter.
            if nonspacing > nonspacing_max or marks > max(MARKS_MAX, nonspacing_max):
                nonspacing = nonspacing_max
                marks = MARKS_MAX * 2
                continue
        elif char not in _JOINERS:  # a joiner between two marks doesn't begin a new pile
            nonspacing_max = _nonspacing_marks_max(char)
            nonspacing = marks = 0
        kept.append(char)
    return "".join(kept)


def _nonspacing_marks_max(base: str) -> int:
    return next((most for letters, most in _TALL if letters.match(base)), NONSPACING_MARKS_MAX)
