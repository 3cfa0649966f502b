"""Invisible characters: each is dropped, unless a language or an emoji is spelt with it in its place.

A rule looks at the neighbours of a character in NFC. Where the rules leave a choice that a reader may not see, the
number of such choices in a text is bounded by that of its letters, so it can't be the writing of a second text.

Sources: UTS #37 for ideographs; UAX #29, rule GB11, and UTS #51 for emoji; RFC 5892, appendix A, for joiners.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import takewhile
from unicodedata import category

from mcp_facade.tools import character_sets as sets
from mcp_facade.tools.marks import may_have_piled_marks
from mcp_facade.tools.spaces import with_plain_spaces

VARIANTS_MAX = 8
"""Glyph variants in a text, as in names; with more of them it loses all, since each could carry a byte."""
STYLES_MAX = 16
"""Emoji of a chosen style in a text; with more of them, an emoji that is in different styles loses them."""
EMOJI_JOINED_MAX = 4
"""Joiners in a sequence of emoji; the longest in use have three."""
EMOJI_JOINERS_MAX = 16
"""Joiners between emoji in a text; with more of them, two emoji that are also side by side without one come apart."""
EMOJI_PAIRS_MAX = 32
"""Different pairs of joined emoji in a text; with more of them all come apart."""

_Rule = Callable[[str, int, str, str], bool]
"""Returns whether the invisible character of a text, at an index, belongs between the characters before and after."""

_ZWSP, _ZWNJ, _ZWJ, _CGJ = "\u200b", "\u200c", "\u200d", "\u034f"
_TEXT_STYLE, _EMOJI_STYLE = "\ufe0e", "\ufe0f"
_FLAGS = tuple(
    "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in region) + "\U000e007f"
    for region in ("gbeng", "gbsct", "gbwls")
)

# Most clean texts have none of these. Some have one where it belongs, or marks; U+FE0F is looked at by itself.
_SUSPECT_BELOW = sets.for_class(
    frozenset(char for char in sets.INVISIBLE | sets.ODD_SPACES if char < "\uffff") - {_EMOJI_STYLE}
)
_NOTABLE = re.compile(rf"[\ud800-\udfff\uffff{_SUSPECT_BELOW}{sets.for_class(sets.MARKS - {_EMOJI_STYLE})}]")
_NOTABLE_BEYOND = re.compile(r"[\U00010000-\U0010ffff]")
_SUSPECT = re.compile(rf"[\ud800-\udfff\uffff{_SUSPECT_BELOW}]")
_SUSPECT_BEYOND = re.compile(r"[\U000101fd-\U0001efff\U0001fffe-\U0010ffff]")  # marks beyond U+FFFF are among them
_STRAY_STYLE = re.compile(rf"\ufe0f(?<![{sets.for_class(sets.STYLED)}]\ufe0f)(?:(?<![0-9#*]\ufe0f)|(?!\u20e3))")

_JOINERS_IN_A_ROW = re.compile(rf"([{_ZWNJ}{_ZWJ}])[{_ZWNJ}{_ZWJ}]+")
_JOINED_CLASS = sets.for_class(sets.JOINED)
_EMOJI_JOINER = re.compile(rf"{_ZWJ}(?=[{_JOINED_CLASS}])")
_EMOJI_PAIR = re.compile(
    rf"([{sets.for_class(sets.JOINING)}])(\ufe0f|[\U0001f3fb-\U0001f3ff])?({_ZWJ}?)(?=([{_JOINED_CLASS}]))"
)
_EMOJI_CHAIN = re.compile(rf"(?:{_ZWJ}[{_JOINED_CLASS}]\ufe0f?[\U0001f3fb-\U0001f3ff]?){{{EMOJI_JOINED_MAX + 1},}}")
_STYLES = f"[{_TEXT_STYLE}{_EMOJI_STYLE}]?"
_STYLED = re.compile(rf"([{sets.for_class(sets.STYLED)}]|[0-9#*](?={_STYLES}\u20e3))({_STYLES})")
# Letters of Latin words amid Persian ones; signs and rare letters are not needed.
_LATIN = re.compile(r"[A-Za-z\xc0-\xd6\xd8-\xf6\xf8-\u024f]")


def may_need_cleaning(text: str) -> bool:
    """Return False if `text` is sure to need nothing but NFC; it is a fast check. A lone surrogate needs more."""
    if _NOTABLE.search(text) and (_SUSPECT.search(text) or may_have_piled_marks(text)):
        return True
    if _NOTABLE_BEYOND.search(text) and _SUSPECT_BEYOND.search(text):
        return True
    return _EMOJI_STYLE in text and (
        _STRAY_STYLE.search(text) is not None or text.count(_EMOJI_STYLE) > STYLES_MAX or may_have_piled_marks(text)
    )


def is_blank(text: str) -> bool:
    """Return whether `text` shows nothing: it has only spaces, invisible characters and others without a glyph."""
    stripped = text.strip()
    return not stripped or (stripped[0] in sets.BLANK and all(char in sets.BLANK for char in stripped))


def without_hidden(text: str) -> str:
    """Return `text`, in NFC, without invisible characters out of place, and with plain spaces for odd ones.

    The result need not be in NFC, and a second call may find more.
    """
    if not sets.INVISIBLE.isdisjoint(text):
        text = _JOINERS_IN_A_ROW.sub(r"\1", text)
        text = "".join(char for at, char in enumerate(text) if char not in sets.INVISIBLE or _belongs(text, at))
        text = _with_few_choices(text)
    return with_plain_spaces(text)


def without_invisible(text: str) -> str:
    """Return `text` without any invisible character, in place or not, and with plain spaces only."""
    return "".join(" " if char in sets.ODD_SPACES else char for char in text if char not in sets.INVISIBLE)


def _belongs(text: str, at: int) -> bool:
    rule = _RULES.get(text[at])
    return rule is not None and rule(text, at, text[at - 1] if at else "", text[at + 1 : at + 2])


def _is_style(text: str, at: int, before: str, after: str) -> bool:
    """One style of an emoji that has two, or of a keycap."""
    return before in sets.STYLED or (before in {*"0123456789#*"} and after == "\u20e3")


def _is_of_a_flag(text: str, at: int, before: str, after: str) -> bool:
    """The tags of the flags of England, Scotland and Wales."""
    start = text.rfind(_FLAGS[0][0], max(at - len(_FLAGS[0]) + 1, 0), at)
    return start >= 0 and text.startswith(_FLAGS, start)


def _is_variant(text: str, at: int, before: str, after: str) -> bool:
    """One variant of an ideograph or another character that has some."""
    if sets.is_ideograph(before):
        return True
    return (before in sets.VARIED and text[at] == "\ufe00") or (before in sets.PLACED and text[at] in "\ufe00\ufe01")


def _is_joiner(text: str, at: int, before: str, after: str) -> bool:
    """A joiner of either kind: beside a virama, before a Khmer vowel, or where it places a Hebrew meteg or holam.

    After a virama it may end a word, as in Malayalam and Telugu.
    """
    if before in sets.BRAHMIC and after in sets.BRAHMIC and (before in sets.VIRAMAS or after in sets.VIRAMAS):
        return after in sets.VIRAMAS or text[at - 2 : at - 1] in sets.BRAHMIC
    if _ends_with_virama(text, at):
        return True
    if after in sets.KHMER_VOWELS:
        return before in sets.KHMER
    return after in {"\u05b9", "\u05bd"} and (before in sets.HEBREW_LETTERS or before in sets.HEBREW_MARKS)


def _ends_with_virama(text: str, at: int) -> bool:
    """Return whether the characters before an index are an Indic letter, or its marks, and a virama."""
    return text[at - 1 : at] in sets.VIRAMAS and text[at - 2 : at - 1] in sets.BRAHMIC


def _is_zwnj(text: str, at: int, before: str, after: str) -> bool:
    """A ZWNJ in a word of an Arabic kind, and after a Kurdish e at its end."""
    if before in sets.CURSIVE and (after in sets.CURSIVE or (before == "\u0647" and not after.isalnum())):
        return True
    return _joins_arabic(text, at, before, after) or _is_joiner(text, at, before, after)


def _joins_arabic(text: str, at: int, before: str, after: str) -> bool:
    """Between an Arabic (or Persian) word and a number or a Latin word, as in a plural of PDF."""
    if after in sets.ARABIC and category(after)[0] == "L":
        return category(before or " ") == "Nd" or _LATIN.match(before) is not None
    if before in sets.ARABIC:
        return category(after or " ") == "Nd" or all(map(_LATIN.match, text[at + 1 : at + 3].ljust(2)))
    return False


def _is_zwj(text: str, at: int, before: str, after: str) -> bool:
    """A ZWJ between emoji; after the last letter of an Arabic word (Persian)."""
    if after in sets.JOINED:
        styled = before == _EMOJI_STYLE or before in sets.SKIN_TONES
        return (text[at - 2 : at - 1] if styled else before) in sets.JOINING
    if before in sets.DUAL_JOINING:
        return not after.isalnum() and after not in sets.CURSIVE
    return _is_joiner(text, at, before, after)


def _is_line_break_opportunity(text: str, at: int, before: str, after: str) -> bool:
    """Between letters of Thai and its kind, and between one and a number, punctuation or another script's word."""
    if before in sets.UNSPACED:
        return after in sets.UNSPACED or category(after or " ")[0] in "LNP"
    return after in sets.UNSPACED and category(before or " ")[0] in "LMNP"


def _orders_hebrew_marks(text: str, at: int, before: str, after: str) -> bool:
    """Between two marks, once on a letter."""
    if before not in sets.HEBREW_MARKS or after not in sets.HEBREW_MARKS:
        return False
    on_letter = takewhile(lambda char: char == _CGJ or char in sets.HEBREW_MARKS, reversed(text[max(at - 8, 0) : at]))
    return _CGJ not in on_letter


def _selects_mongolian(text: str, at: int, before: str, after: str) -> bool:
    return before in sets.MONGOLIAN_LETTERS


def _separates_mongolian_vowel(text: str, at: int, before: str, after: str) -> bool:
    """Before a last a or e."""
    return after in {"\u1820", "\u1821"} and (before in sets.MONGOLIAN_LETTERS or before in sets.MONGOLIAN_SELECTORS)


def _fills_leading(text: str, at: int, before: str, after: str) -> bool:
    """A filler for the missing first part of an old Hangul syllable that has another part."""
    return after in sets.VOWEL_JAMO or (after == "\u1160" and text[at + 2 : at + 3] in sets.TRAILING_JAMO)


def _fills_vowel(text: str, at: int, before: str, after: str) -> bool:
    """A filler for the missing vowel of an old Hangul syllable that has another part."""
    return (before == "\u115f" and after in sets.TRAILING_JAMO) or (
        before in sets.LEADING_JAMO and after not in sets.VOWEL_JAMO
    )


def _after(signs: sets.Characters) -> _Rule:
    """Return the rule of what modifies or ends: after one of `signs`."""
    return lambda text, at, before, after: before in signs


def _before(signs: sets.Characters) -> _Rule:
    """Return the rule of what begins: before one of `signs`."""
    return lambda text, at, before, after: after in signs


def _between(signs: sets.Characters, others: sets.Characters | None = None) -> _Rule:
    """Return the rule of what joins: after one of `signs` and before one of `others`, if given, or of `signs`."""
    return lambda text, at, before, after: before in signs and after in (others or signs)


# From an Egyptian character with these rules, one comes to a sign by going left, or right for the start of a group.
_EGYPTIAN_GROUPS = sets.EGYPTIAN_SIGNS | sets.EGYPTIAN_BLANKS | sets.EGYPTIAN_MODIFIERS | sets.EGYPTIAN_ENDS
_EGYPTIAN_GROUPS_BEGIN = sets.EGYPTIAN_SIGNS | sets.EGYPTIAN_BLANKS | sets.EGYPTIAN_BEGINS

_RULES: Mapping[str, _Rule] = {
    char: rule
    for chars, rule in (
        (_TEXT_STYLE + _EMOJI_STYLE, _is_style),
        ("".join(_FLAGS)[1:], _is_of_a_flag),
        ("\ufe00\ufe01\ufe02" + "".join(map(chr, range(0xE0100, 0xE01F0))), _is_variant),
        (_ZWNJ, _is_zwnj),
        (_ZWJ, _is_zwj),
        (_ZWSP, _is_line_break_opportunity),
        (_CGJ, _orders_hebrew_marks),
        ("\u180b\u180c\u180d\u180f", _selects_mongolian),
        ("\u180e", _separates_mongolian_vowel),
        ("\u115f", _fills_leading),
        ("\u1160", _fills_vowel),
        (sets.EGYPTIAN_JOINERS, _between(_EGYPTIAN_GROUPS, _EGYPTIAN_GROUPS_BEGIN)),
        (sets.EGYPTIAN_BEGINS, _before(sets.EGYPTIAN_SIGNS | sets.EGYPTIAN_BEGINS)),
        (sets.EGYPTIAN_ENDS, _after(_EGYPTIAN_GROUPS)),
        (sets.EGYPTIAN_BLANKS, _after(_EGYPTIAN_GROUPS | sets.EGYPTIAN_JOINERS)),
        (sets.EGYPTIAN_MODIFIERS, _after(_EGYPTIAN_GROUPS - sets.EGYPTIAN_ENDS)),
        ("\u2d7f", _between(sets.TIFINAGH)),
        ("\U0001107f", _between(sets.BRAHMI_NUMBERS)),
        ("\U00011a47", _between(sets.ZANABAZAR_CONSONANTS)),
        ("\U00011a99", _between(sets.SOYOMBO_CONSONANTS)),
        ("\U00016fe4", _after(sets.KHITAN)),
        ("\U0001bc9d", _after(sets.DUPLOYAN)),
        (sets.SIGNWRITING_FILLS, _after(sets.SIGNWRITING)),
        (sets.SIGNWRITING_ROTATIONS, _after(sets.SIGNWRITING | sets.SIGNWRITING_FILLS)),
    )
    for char in chars
}

# Choices that are made for letters and may not be seen; the letters and marks; how many of those there are for each
# choice, beyond the first few. Kurdish has a ZWNJ for each e, and between Thai or Khmer words may be a ZWSP each.
# A subjoined letter, and the fill and rotation of a sign in SignWriting, are seen.
_FREE_CHOICES = 4
_CHOICES = (
    (frozenset(_ZWNJ + _ZWJ), sets.CURSIVE | sets.BRAHMIC | sets.HEBREW_LETTERS, 4),
    (frozenset(_ZWSP), sets.UNSPACED, 3),
    (sets.MONGOLIAN_SELECTORS | {"\u180e"}, sets.MONGOLIAN_LETTERS, 4),
    (frozenset(_CGJ), sets.HEBREW_LETTERS, 4),
    (frozenset("\u115f\u1160"), sets.LEADING_JAMO | sets.VOWEL_JAMO | sets.TRAILING_JAMO, 8),
    (_EGYPTIAN_GROUPS - sets.EGYPTIAN_SIGNS | sets.EGYPTIAN_JOINERS | sets.EGYPTIAN_BEGINS, sets.EGYPTIAN_SIGNS, 3),
    (frozenset("\u2d7f"), sets.TIFINAGH, 8),
    (frozenset("\U0001107f"), sets.BRAHMI_NUMBERS, 4),
    (frozenset("\U00016fe4"), sets.KHITAN, 8),
    (frozenset("\U0001bc9d"), sets.DUPLOYAN, 8),
)
_VARIANTS = frozenset(char for char, rule in _RULES.items() if rule is _is_variant)


def _with_few_choices(text: str) -> str:
    """Return `text` without the invisible characters of a kind that has too many, each in its place though it is."""
    text = _with_few_emoji_joined(text)
    if sum(char in _VARIANTS for char in text) > VARIANTS_MAX:
        text = "".join(char for char in text if char not in _VARIANTS)
    text = _with_few_styles(text)
    words = _EMOJI_JOINER.sub("", text) if _ZWJ in text else text
    for choices, letters, letters_each in _CHOICES:
        count = sum(map(words.count, choices))
        if count > _FREE_CHOICES and count > _FREE_CHOICES + sum(char in letters for char in words) // letters_each:
            text = "".join(char for char in text if char not in choices)
    return text


def _with_few_emoji_joined(text: str) -> str:
    text = _EMOJI_CHAIN.sub(lambda chain: chain[0].replace(_ZWJ, ""), text)
    if len(_EMOJI_JOINER.findall(text)) <= EMOJI_JOINERS_MAX:
        return text
    pairs = {(pair[1], pair[4], pair[3]) for pair in _EMOJI_PAIR.finditer(text)}
    joined = {(first, second) for first, second, joiner in pairs if joiner}
    if len(joined) > EMOJI_PAIRS_MAX:
        return _EMOJI_JOINER.sub("", text)
    apart = {(first, second) for first, second, joiner in pairs if not joiner}
    return _EMOJI_PAIR.sub(
        lambda pair: pair[1] + (pair[2] or "") if (pair[1], pair[4]) in apart else pair[0],
        text,
    )


def _with_few_styles(text: str) -> str:
    if text.count(_TEXT_STYLE) + text.count(_EMOJI_STYLE) <= STYLES_MAX:
        return text
    styles = set(_STYLED.findall(text))
    seen = Counter(base for base, _ in styles)
    return _STYLED.sub(lambda styled: styled[1] if seen[styled[1]] > 1 else styled[0], text)
