"""Spaces that are not plain: each stays only where its language uses it.

Which space it is may not be seen. So beyond a few of them, a place where a text has different spaces gets plain ones.
"""

from __future__ import annotations

import re
from collections import defaultdict
from unicodedata import category

from mcp_facade.tools import character_sets as sets

ODD_SPACES_MAX = 16
"""Spaces other than plain ones in a text; with more of them, a kind of place with different spaces loses them."""
_SUFFIXES_FREE = 4
_LETTERS_FOR_A_SUFFIX = 6

_FIXED = re.compile(r"[\u2000-\u200a\u205f]")
_NO_BREAK = re.compile(r"[\xa0\u202f]")
# Wide characters, with which U+3000 is used: Han, kana, Hangul, their punctuation, full-width forms.
_WIDE = re.compile(
    r"[\u2e80-\u2fff\u3001-\u3163\u3165-\u9fff\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\uff01-\uff9f\U00020000-\U0003fffd]"
)
_BRAILLE = re.compile(r"[\u2801-\u28ff]")
_NEIGHBOURS = (
    ("\u3000", _WIDE),
    ("\u2800", _BRAILLE),
    ("\u1680", re.compile(r"[\u1681-\u169a]")),
)
_MONGOLIAN = sets.for_class(sets.MONGOLIAN_LETTERS)
_BEFORE_SUFFIX = re.compile(rf"\u202f(?=[{_MONGOLIAN}])")
_ODD = re.compile(rf"[\xa0\u1680\u2800\u3000]|\u202f(?![{_MONGOLIAN}])")
_SPACE = re.compile(rf" |{_ODD.pattern}")
# Signs with which French, and other languages, always have the same space.
_SIGNS_WITH_SPACE_BEFORE = frozenset("?!:;»›%‰€…")
_SIGNS_WITH_SPACE_AFTER = frozenset("«‹–—")


def with_plain_spaces(text: str) -> str:
    """Return `text` with a plain space for each odd one that its language does not use, or could hide bits in."""
    if sets.ODD_SPACES.isdisjoint(text):
        return text
    text = _NO_BREAK.sub(_no_break_space, _FIXED.sub(" ", text))
    for space, neighbours in _NEIGHBOURS:
        if space in text and not neighbours.search(text):
            text = text.replace(space, " ")
    return _with_few_odd_spaces(_with_few_suffixes(text))


def _no_break_space(space: re.Match[str]) -> str:
    """Keep one beside a number or a sign (French, units), and the narrow one before a Mongolian suffix."""
    before, after = _around(space)
    if not before.strip() or not after.strip():
        return " "
    in_mongolian = space[0] == "\u202f" and after in sets.MONGOLIAN_LETTERS
    return space[0] if in_mongolian or not (_is_of_a_word(before) and _is_of_a_word(after)) else " "


def _with_few_suffixes(text: str) -> str:
    count = len(_BEFORE_SUFFIX.findall(text))
    letters = sum(char in sets.MONGOLIAN_LETTERS for char in text) if count > _SUFFIXES_FREE else 0
    return _BEFORE_SUFFIX.sub(" ", text) if count > _SUFFIXES_FREE + letters // _LETTERS_FOR_A_SUFFIX else text


def _with_few_odd_spaces(text: str) -> str:
    if len(_ODD.findall(text)) <= ODD_SPACES_MAX:
        return text
    kinds = defaultdict[str, set[str]](set)
    for space in _SPACE.finditer(text):
        kinds[_place(space)].add(space[0])
    return _SPACE.sub(lambda space: " " if len(kinds[_place(space)]) > 1 else space[0], text)


def _place(space: re.Match[str]) -> str:
    """Return the kind of place where a space is; there are few, and they are the same beside spaces of any kind."""
    before, after = _around(space)
    if after in _SIGNS_WITH_SPACE_BEFORE:
        return after
    return before if before in _SIGNS_WITH_SPACE_AFTER else _kind(before) + _kind(after)


def _kind(char: str) -> str:
    """Return a letter for Braille, a wide character, a number, another letter or mark, a space, an end, or the rest."""
    if not char or char in sets.BLANK:
        return "Z" if char in sets.ODD_SPACES or char == " " else "-"
    kind = category(char)[0]
    if _WIDE.match(char):
        return "W"
    if kind in "LMN":
        return "N" if kind == "N" else "L"
    return "B" if _BRAILLE.match(char) else "S"


def _around(space: re.Match[str]) -> tuple[str, str]:
    return space.string[max(space.start() - 1, 0) : space.start()], space.string[space.end() : space.end() + 1]


def _is_of_a_word(char: str) -> bool:
    return category(char)[0] in "LM"
